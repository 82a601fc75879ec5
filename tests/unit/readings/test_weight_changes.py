"""What a LoRA changed: figures against dense matrices, overlap beside random, what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import bitsandbytes as bnb
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from toys import TEST_DEVICE, export_prompt, open_tiny
from workbench.errors import ModelError
from workbench.methods.catalog import make_method
from workbench.models.loading import PRECISIONS
from workbench.models.quantised_layers import base_hash, dequantised_weight
from workbench.progress import Interrupted
from workbench.readings.base import Subject, WeightChange, open_vocabulary
from workbench.readings.catalog import make_reader
from workbench.readings.scoring import Scorer
from workbench.runs.session import Session

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
MODULE = "model.layers.1.self_attn.v_proj"


@pytest.fixture
def subject(tiny_engine, toy_encoder, lora_export) -> Subject:
    session = Session(tiny_engine, toy_encoder)
    weights = WeightChange("mine", lora_export, task="toy")
    return Subject(session, open_vocabulary(session), Scorer(session, 2), weights=weights)


def changed(source: Path, folder: Path, change, **config) -> Path:
    """Write an adapter again with every tensor changed."""
    folder.mkdir()
    tensors = {name: change(name, t) for name, t in load_file(source / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS)
    stored = json.loads((source / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(stored | config))
    return folder


def redrawn(source: Path, folder: Path, seed: int) -> WeightChange:
    generator = torch.Generator().manual_seed(seed)

    def draw(_name, tensor):
        return torch.randn(tensor.shape, generator=generator)

    return WeightChange("redrawn", changed(source, folder, draw))


def read(subject, *others, **options):
    return make_reader("weights", options).read(replace(subject, other_weights=others))


def dense_change(folder: Path, scaling: float) -> np.ndarray:
    tensors = load_file(folder / WEIGHTS)
    b, a = (tensors[f"base_model.model.{MODULE}.lora_{side}.weight"] for side in "BA")
    return scaling * (b @ a).double().numpy()


def test_sizes_and_spectra_are_those_of_the_dense_change(subject, lora_export, tiny_base):
    dense = dense_change(
        lora_export, json.loads((lora_export / CONFIG).read_text())["lora_alpha"] / 4
    )
    base = tiny_base.model.get_submodule(MODULE).weight.detach().double().cpu().numpy()

    reading = read(subject)

    assert reading.data["relative_norm"][MODULE] == pytest.approx(
        np.linalg.norm(dense) / np.linalg.norm(base), rel=1e-5
    )
    np.testing.assert_allclose(
        reading.data["singular_values"][MODULE], np.linalg.svd(dense)[1][:4], rtol=1e-5
    )
    chart = reading.charts[0]
    assert (chart.rows, chart.columns) == (["0", "1"], ["self_attn.q_proj", "self_attn.v_proj"])
    assert chart.values[1][1] == reading.data["relative_norm"][MODULE]


def test_rank_stabilised_scaling_is_by_the_root_of_the_rank(subject, lora_export, tmp_path):
    stable = changed(lora_export, tmp_path / "rs", lambda _, t: t, use_rslora=True)

    plain = read(subject).data["relative_norm"][MODULE]
    found = read(replace(subject, weights=WeightChange("rs", stable))).data["relative_norm"][MODULE]

    assert found == pytest.approx(2 * plain)  # rank 4


def test_figures_are_the_same_while_the_adapter_is_on_the_base(subject, lora_export):
    before = read(subject).data

    make_method("imported", {"adapter": str(lora_export)}).fit(
        subject.session.context(0, lora_export)
    )

    assert read(subject).data == before


def test_a_change_shares_all_directions_with_itself(subject, lora_export):
    reading = read(subject, WeightChange("again", lora_export))

    overlaps = [chart for chart in reading.charts if chart.title.startswith("Overlap")]
    assert len(overlaps) == 2
    np.testing.assert_allclose([chart.values for chart in overlaps], 1.0, atol=1e-6)
    assert "It writes into some of the same directions as again" in reading.verdict


def test_random_changes_are_no_better_than_chance(subject, lora_export, tmp_path):
    reading = read(subject, redrawn(lora_export, tmp_path / "redrawn", 3))

    assert "It shares directions with redrawn no better than chance" in reading.verdict
    assert not any(place.is_better for place in reading.standings[1:])
    (left,) = [s for s in reading.standings if s.what.endswith("directions written")]
    assert left.median == pytest.approx(np.mean([4 / 64, 4 / 32]), abs=0.04)


def test_one_direction_is_fewer_than_random_matrices_use(subject, lora_export, tmp_path):
    def keep_one(name, tensor):
        kept = torch.zeros_like(tensor)
        if "lora_A" in name:
            kept[0] = tensor[0]
        else:
            kept[:, 0] = tensor[:, 0]
        return kept

    folder = changed(lora_export, tmp_path / "one", keep_one)
    reading = read(replace(subject, weights=WeightChange("one", folder)))

    assert reading.standings[0].value == pytest.approx(1.0)
    assert "fewer than random matrices use" in reading.verdict


def test_weights_that_did_not_change_are_called_so(subject, lora_export, tmp_path):
    folder = changed(lora_export, tmp_path / "zero", lambda n, t: t * ("lora_A" in n))

    reading = read(replace(subject, weights=WeightChange("zero", folder)))

    assert reading.verdict.startswith("The weights are unchanged: no better than chance")


def test_a_base_of_another_shape_is_refused(subject, lora_export, tmp_path):
    folder = changed(
        lora_export, tmp_path / "wide", lambda n, t: torch.cat([t, t], 1) if "lora_A" in n else t
    )

    with pytest.raises(ModelError, match="Open the adapter with the base it was trained on"):
        read(replace(subject, weights=WeightChange("wide", folder)))


def test_a_module_the_base_lacks_is_refused(subject, lora_export, tmp_path):
    folder = tmp_path / "deep"
    folder.mkdir()
    tensors = {n.replace("layers.1", "layers.9"): t
               for n, t in load_file(lora_export / WEIGHTS).items()}  # fmt: skip
    save_file(tensors, folder / WEIGHTS)
    (folder / CONFIG).write_text((lora_export / CONFIG).read_text())

    with pytest.raises(ModelError, match=r"layers\.9.*is no weight of base model"):
        read(replace(subject, weights=WeightChange("deep", folder)))


def test_soft_prompts_are_refused(subject, tiny_folder, tmp_path):
    folder = export_prompt(tiny_folder, tmp_path / "prompt")

    with pytest.raises(ModelError, match="not a LoRA, DoRA or AdaLoRA"):
        read(replace(subject, weights=WeightChange("prompt", folder)))


@pytest.mark.parametrize("name", ["dora", "adalora"])
def test_other_low_rank_changes_are_read_as_the_weights_they_make(name, subject, tmp_path):
    context = subject.session.context(0, tmp_path)
    method = make_method(name, {"steps": 8, "batch_size": 4, "eval_every": 8, "learning_rate": 0.1})
    method.save(context, method.fit(context), tmp_path / "adapter")

    data = read(replace(subject, weights=WeightChange(name, tmp_path / "adapter"))).data

    layer = subject.session.engine.forward.model.get_submodule(MODULE)
    change = context.engine.adapters.adapter(context.adapter_name).changes[MODULE]
    identity = torch.eye(layer.in_features)[None]
    with torch.no_grad():
        base = layer.forward(identity)
        made = change.output(layer, identity, base)[0].T
    base = base[0].T
    cosine = torch.nn.functional.cosine_similarity(made, base, dim=1)
    assert data["direction_change"][MODULE] == pytest.approx(float((1 - cosine).mean()), rel=1e-3)
    length = (made.norm(dim=1) / base.norm(dim=1) - 1).abs().mean()
    assert data["length_change"][MODULE] == pytest.approx(float(length), rel=1e-3)


def test_it_stops_when_asked(subject):
    with pytest.raises(Interrupted):
        read(replace(subject, should_stop=lambda: True))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_restored_weight_is_what_the_layer_multiplies_by(precision, tiny_folder):
    base = open_tiny(tiny_folder, precision)
    layer, before = base.model.get_submodule(MODULE), base_hash(base.model)
    with torch.inference_mode():
        rows = layer(torch.eye(64, dtype=base.model.dtype, device=TEST_DEVICE)).float()  # (in, out)

    weight = dequantised_weight(layer)

    torch.testing.assert_close(weight, rows.T, rtol=0, atol=1e-4)
    weight.zero_()  # a copy: the base must not notice
    assert base_hash(base.model) == before


def test_a_restored_weight_is_the_same_before_the_first_pass(tiny_folder):
    base = open_tiny(tiny_folder, "int8")
    layer = base.model.get_submodule(MODULE)
    before = dequantised_weight(layer)

    with torch.inference_mode():
        layer(torch.eye(64, device=TEST_DEVICE))

    torch.testing.assert_close(dequantised_weight(layer), before, rtol=0, atol=0)


def test_a_repacked_weight_is_refused(tiny_folder, monkeypatch):
    layer = open_tiny(tiny_folder, "nf4").model.get_submodule(MODULE)
    assert isinstance(layer, bnb.nn.Linear4bit)
    monkeypatch.setattr(layer.weight.quant_state, "packing_format_for_cpu", True, raising=False)

    with pytest.raises(ModelError, match="repacked for inference"):
        dequantised_weight(layer)


def start_of(method, subject, tmp_path, *, seed, **options):
    context = replace(subject.session.context(seed, tmp_path), seed=seed)
    change = make_method(method, options).new_adapter(context).changes[MODULE]
    return {name: tensor.detach() for name, tensor in change.named_parameters()}


STARTS = {  # method, options, whether B is zero, whether B is the seed's
    "lora": ("lora", {}, True, False, "where B starts at zero, as in DoRA and plain LoRA"),
    "dora": ("dora", {}, True, False, "where B starts at zero, as in DoRA and plain LoRA"),
    "pissa": ("lora", {"init": "pissa"}, False, False, "so their runs overlap in both, whatever"),
    "adalora": ("adalora", {}, False, True, "so runs of one seed overlap in both without learning"),
}


@pytest.mark.parametrize("name", STARTS)
def test_what_is_said_of_the_start_is_so(name, subject, tmp_path):
    method, options, is_zero, is_of_seed, words = STARTS[name]
    first, again, other = (
        start_of(method, subject, tmp_path, seed=seed, **options)["lora_B"] for seed in (0, 0, 1)
    )
    assert (not first.any()) == is_zero
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (not is_of_seed)

    quick = {"steps": 2, "batch_size": 2, "eval_every": 2, **options}
    context, made = subject.session.context(0, tmp_path), make_method(method, quick)
    made.save(context, made.fit(context), tmp_path / "adapter")
    reading = read(replace(subject, weights=WeightChange(name, tmp_path / "adapter")))

    assert words in " ".join(reading.notes)
    assert "B starts at zero: the directions written are what to read" not in reading.notes


def test_lengths_alone_are_a_change_of_dora(subject, tmp_path):
    context = subject.session.context(0, tmp_path)
    method = make_method("dora", {"steps": 2, "batch_size": 2, "eval_every": 2})
    method.save(context, method.fit(context), tmp_path / "dora")

    def longer(name, tensor):
        return 1.1 * tensor if "magnitude" in name else tensor * ("lora_A" in name)

    folder = changed(tmp_path / "dora", tmp_path / "longer", longer)

    whole = read(replace(subject, weights=WeightChange("dora", tmp_path / "dora")))
    reading = read(replace(subject, weights=WeightChange("longer", folder)))

    assert whole.verdict.startswith("Apart from lengths, the weights change by")
    assert reading.verdict.startswith("Only the lengths of the weights' rows change, by 1")
