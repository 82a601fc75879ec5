"""Adapters trained elsewhere as a method: the same answers as in PEFT, and what does not fit."""

import dataclasses
import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from toys import export_lora, export_prompt, open_tiny, write_base
from workbench.errors import ConfigError, ModelError
from workbench.fitting.prediction import predict
from workbench.methods.catalog import make_method
from workbench.methods.imported import Imported
from workbench.models.adapters.bank import AdapterBank
from workbench.models.adapters.peft_changes import adapter_of
from workbench.models.adapters.reading import import_adapter, read_adapter
from workbench.models.engine import Engine
from workbench.runs.execute import RunRequest, execute, restore
from workbench.runs.session import Session
from workbench.runs.spec import RunSpec
from workbench.runs.store import RunStore


def answers(context, fitted):
    return [p.probabilities for p in predict(context.engine, fitted, context.task.test)]


def answers_of_peft(base_folder, export, context, fitted):
    """Score every label with plain PEFT, one text at a time, without a cache."""
    base = AutoModelForCausalLM.from_pretrained(base_folder)
    model = PeftModel.from_pretrained(base, export).eval()
    found = []
    for sample in context.task.test:
        row = fitted.condition(sample.fields)
        shared = [i for piece in row.prefix.pieces if isinstance(piece, tuple) for i in piece]
        scores = []
        for choice in context.encoder.choice_ids():
            ids = torch.tensor([[*shared, *row.token_ids, *choice]])
            with torch.inference_mode():
                logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
            logprobs = logits.log_softmax(-1)[-len(choice) - 1 : -1]
            scores.append(logprobs[range(len(choice)), list(choice)].sum())
        found.append(torch.stack(scores).softmax(0).tolist())
    return found


@pytest.mark.parametrize("export", [export_lora, export_prompt])
def test_an_export_of_plain_peft_answers_as_in_peft(export, tiny_folder, toy_context, tmp_path):
    folder = export(tiny_folder, tmp_path / "export")
    plain = answers(toy_context, make_method("zero_shot", {}).fit(toy_context))

    fitted = Imported(adapter=str(folder)).fit(toy_context)

    found = answers(toy_context, fitted)
    theirs = answers_of_peft(tiny_folder, folder, toy_context, fitted)
    for one, other in zip(found, theirs, strict=True):
        assert list(one.values()) == pytest.approx(other, rel=1e-4)
    assert [p["good"] for p in found] != pytest.approx([p["good"] for p in plain], rel=0.1)
    assert fitted.cost is not None
    assert fitted.cost.trained_parameters > 0
    assert fitted.cost.train_seconds is None  # not known, which is not 0


@pytest.mark.parametrize("name", ["lora", "prompt_tuning"])
def test_our_own_export_answers_as_where_it_was_trained(name, toy_context, tmp_path):
    method = make_method(name, {"steps": 4, "batch_size": 4, "eval_every": 2})
    trained = method.fit(toy_context)
    expected = answers(toy_context, trained)
    method.save(toy_context, trained, tmp_path / "export")

    folder, _ = import_adapter(tmp_path / "export", tmp_path / "store")

    found = answers(toy_context, Imported(adapter=str(folder)).fit(toy_context))
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_two_adapters_live_side_by_side(tiny_folder, lora_export, toy_context, tmp_path):
    other = export_lora(tiny_folder, tmp_path / "other", r=2, target_modules="all-linear")
    first = Imported(adapter=str(lora_export)).fit(toy_context)
    before = answers(toy_context, first)

    second = dataclasses.replace(toy_context, adapter_name="second")
    Imported(adapter=str(other)).fit(second)

    assert toy_context.engine.adapters.names == ("adapter", "second")
    assert answers(toy_context, first) == before


def test_a_run_of_an_imported_adapter_is_stored_and_restored(
    lora_export, tiny_engine, toy_encoder, tmp_path
):
    session, store = Session(tiny_engine, toy_encoder), RunStore(tmp_path)
    request = RunRequest("theirs", Imported(adapter=str(lora_export)), 0)

    run = execute(session, store, request)
    fitted = restore(session, run)

    found = predict(tiny_engine, fitted, session.task.test)
    assert run.record.status == "finished"
    assert run.record.cost.labelled_examples == 0
    assert [p.answer for p in found] == [p["answer"] for p in run.predictions()]


@pytest.mark.parametrize("adapter", [None, ""])
def test_without_an_adapter_the_option_is_named(adapter, toy_context):
    with pytest.raises(ConfigError) as caught:
        make_method("imported", {"adapter": adapter}).fit(toy_context)

    assert str(caught.value) == (
        "methods.imported.adapter: no adapter is given. A folder with adapter_config.json and "
        "adapter_model.safetensors is needed. Example: --set methods.imported.adapter=my_adapter"
    )


def test_a_soft_prompt_of_another_width_is_refused(tiny_folder, toy_context, tmp_path):
    folder = export_prompt(tiny_folder, tmp_path / "export")
    path = folder / "adapter_config.json"
    path.write_text(path.read_text().replace('"token_dim": 64', '"token_dim": 32'))
    save_file({"prompt_embeddings": torch.zeros(5, 32)}, folder / "adapter_model.safetensors")

    with pytest.raises(ModelError) as caught:
        Imported(adapter=str(folder)).fit(toy_context)

    assert str(caught.value) == (
        f"adapter folder {folder}: prompt_embeddings has shape (5, 32); (P, 64) is needed for this "
        "base model."
    )


def test_prompt_tuning_refuses_to_restore_a_lora(lora_export, toy_context):
    with pytest.raises(ModelError) as caught:
        make_method("prompt_tuning", {}).restore(toy_context, lora_export)

    assert str(caught.value) == (
        f"adapter folder {lora_export}: holds a LORA adapter, not prompt tuning. Load it with the "
        "method it was trained by."
    )


OTHER_BASES = {
    "other features": (
        {"num_key_value_heads": 4},
        "has (in, out) features (64, 64) for module 'model.layers.0.self_attn.v_proj', which has "
        "(64, 32) in",
    ),
    "more layers": (
        {"num_hidden_layers": 3},
        "changes module 'model.layers.2.self_attn.q_proj', which is not in",
    ),
    "fewer layers": (
        {"num_hidden_layers": 1},
        "has no weights for module 'model.layers.1.self_attn.q_proj', which target_modules names "
        "in",
    ),
}


@pytest.mark.parametrize("occupied", [False, True], ids=["bare", "occupied"])
@pytest.mark.parametrize(("shape", "problem"), OTHER_BASES.values(), ids=OTHER_BASES)
def test_a_lora_for_another_base_is_refused(
    shape, problem, occupied, lora_export, tiny_folder, toy_context, tmp_path
):
    if occupied:  # PEFT has then put layers of its own in the place of the base's
        Imported(adapter=str(lora_export)).fit(toy_context)
    config = AutoConfig.from_pretrained(tiny_folder)
    config.update(shape)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    folder = export_lora(tmp_path / "base", tmp_path / "export")

    with pytest.raises(ModelError) as caught:
        Imported(adapter=str(folder)).fit(toy_context)

    base = toy_context.engine.info.name
    assert str(caught.value) == (
        f"adapter folder {folder}: {problem} base model '{base}'. Use the base it was trained on."
    )
    assert toy_context.engine.adapters.names == (("adapter",) if occupied else ())


def test_a_lora_on_what_is_no_linear_layer_is_refused(lora_export, toy_context, tmp_path):
    config = json.loads((lora_export / "adapter_config.json").read_text())
    config["target_modules"] = ["self_attn"]
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    name = "base_model.model.model.layers.0.self_attn.lora_{}.weight"
    tensors = {name.format("A"): torch.zeros(4, 64), name.format("B"): torch.zeros(64, 4)}
    save_file(tensors, tmp_path / "adapter_model.safetensors")

    with pytest.raises(ModelError) as caught:
        Imported(adapter=str(tmp_path)).fit(toy_context)

    assert str(caught.value) == (
        f"adapter folder {tmp_path}: changes module 'model.layers.0.self_attn', which is not "
        f"linear in base model '{toy_context.engine.info.name}'. Use the base it was trained on."
    )


VISION = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "image_size": 16}
TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "head_dim": 8}


@pytest.fixture(scope="module")
def seeing_folder(tiny_folder, tmp_path_factory):
    """Return the folder of a tiny base that sees pictures too."""
    return write_base(
        "gemma3",
        tmp_path_factory.mktemp("seeing"),
        tiny_folder,
        text_config=TEXT | {"vocab_size": 257, "num_hidden_layers": 2, "num_key_value_heads": 2},
        vision_config=VISION | {"patch_size": 8, "num_hidden_layers": 4},
        mm_tokens_per_image=4,
    )


@pytest.mark.parametrize("name", ["imported", "combined"])
def test_layers_that_only_see_pictures_are_left_out_with_a_caution(
    name, seeing_folder, toy_context, tmp_path
):
    folder = export_lora(seeing_folder, tmp_path / "export")
    context = dataclasses.replace(toy_context, engine=Engine(open_tiny(seeing_folder)))
    given = {"adapter": str(folder)} if name == "imported" else {"adapters": f"{folder},{folder}"}

    fitted = make_method(name, given).fit(context)

    where = "model.vision_tower.encoder.layers.{}.self_attn.{}_proj"
    assert fitted.cautions == (
        "8 of the adapter's 12 layers are left out, because no text runs through them: "
        f"{where.format(0, 'q')}, {where.format(0, 'v')}, {where.format(1, 'q')}, "
        f"{where.format(1, 'v')} and 4 more. Answers to texts are the same with and without them.",
    )


def test_the_linear_layers_of_gpt2_are_known(tmp_path):
    config = GPT2Config(vocab_size=64, n_embd=16, n_layer=1, n_head=2)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "base")
    options = {"target_modules": ["c_attn"], "fan_in_fan_out": True}
    folder = export_lora(tmp_path / "base", tmp_path / "export", **options)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    adapters, tokens = AdapterBank(model), torch.tensor([[3, 1, 4, 1, 5]])

    adapters.add("theirs", adapter_of(read_adapter(folder), model, base_name="gpt2"))

    with torch.no_grad(), adapters.active(["theirs"]):
        found = model(tokens).logits
    with torch.no_grad():
        theirs = PeftModel.from_pretrained(model, folder)(tokens).logits
    torch.testing.assert_close(found, theirs)


@pytest.mark.parametrize("method", ["imported", "combined", "prompt_tuning"])
def test_another_adapter_in_the_same_folder_is_another_run(
    method, tiny_folder, toy_context, tmp_path
):
    session = Session(toy_context.engine, toy_context.encoder)
    folder, store = tmp_path / "theirs", RunStore(tmp_path / "runs")
    export_prompt(tiny_folder, folder)
    options = {
        "imported": {"adapter": str(folder)},
        "combined": {"adapters": f"{folder}, {folder}", "way": "average"},
        "prompt_tuning": {"init": "prompt", "init_prompt": str(folder), "steps": 1},
    }[method]
    asked = RunRequest(method, make_method(method, options), 0)
    first, again = execute(session, store, asked), execute(session, store, asked)

    weights = folder / "adapter_model.safetensors"
    save_file({name: 2 * tensor for name, tensor in load_file(weights).items()}, weights)
    second = execute(session, store, asked)

    assert again.folder == first.folder != second.folder
    assert second.predictions() != first.predictions()
    assert RunSpec(**second.spec.model_dump()).digest == second.spec.digest
    assert "contents" not in session.spec_of(make_method("zero_shot", {}), 0).model_dump()
