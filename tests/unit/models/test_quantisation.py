"""Memory and error of quantised weights obey the formulas of QLoRA, sections 2 and 3."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from toys import TEST_DEVICE, open_tiny
from workbench.models.layers import linear_layers
from workbench.models.loading import (
    check_precision,
    load_base,
    products_of,
    uses_double_quantisation,
)
from workbench.models.quantisation import relative_error, weight_errors
from workbench.models.quantised_layers import base_hash, dequantised_weight, stored_bytes

BLOCK, SECOND_BLOCK = 64, 256  # weights per scale, scales per second scale
FOUR_BIT_CODES = 16 * 4  # bytes of a table of float32 codes
EIGHT_BIT_CODES = 256 * 4


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_four_bit_weights_take_what_the_formula_says(kind, tiny_folder):
    double = weight_errors(open_tiny(tiny_folder, kind).model, tiny_folder)
    single = weight_errors(open_tiny(tiny_folder, f"{kind}-single").model, tiny_folder)

    assert len(double) == 2 * 7  # layers, matrices of each
    for ours, theirs in zip(double, single, strict=True):
        scales = math.ceil(ours.num_weights / BLOCK)
        assert theirs.value_bytes == ours.value_bytes == ours.num_weights // 2
        assert theirs.scale_bytes == 4 * scales
        offset = 4
        assert ours.scale_bytes == scales + 4 * math.ceil(scales / SECOND_BLOCK) + offset
        assert theirs.table_bytes == FOUR_BIT_CODES
        assert ours.table_bytes == FOUR_BIT_CODES + EIGHT_BIT_CODES


def test_the_footprint_of_a_base_is_that_of_its_parts(tiny_folder):
    bases = [open_tiny(tiny_folder, precision) for precision in ("nf4", "nf4-single")]

    double, single = (weight_errors(base.model, tiny_folder) for base in bases)

    saved = sum(w.num_bytes for w in single) - sum(w.num_bytes for w in double)
    footprints = [base.info.footprint_bytes for base in bases]
    assert footprints[1] - footprints[0] == saved


def test_saved_bits_approach_the_claim_as_matrices_grow():
    """4 + 32/64 bits against 4 + 8/64 + 32/(64 * 256): 0.373 bits less (section 3)."""
    layer = quantised_layer("nf4", 1024, 4096)
    other = quantised_layer("nf4-single", 1024, 4096)

    saved = stored_bytes(other).scales - stored_bytes(layer).scales

    assert 8 * saved / (1024 * 4096) == pytest.approx(0.373, abs=5e-4)


def quantised_layer(precision: str, rows: int, columns: int) -> torch.nn.Module:
    import bitsandbytes as bnb

    layer = bnb.nn.Linear4bit(
        columns,
        rows,
        bias=False,
        quant_type="nf4",
        compress_statistics=uses_double_quantisation(check_precision(precision)),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        weight = torch.randn(rows, columns)
    layer.weight = bnb.nn.Params4bit(
        weight,
        requires_grad=False,
        quant_type="nf4",
        compress_statistics=layer.weight.compress_statistics,
    )
    return layer.to("cpu")


def test_full_precision_has_no_error_and_fewer_bits_have_more(tiny_folder):
    errors = {
        precision: [
            w.error for w in weight_errors(open_tiny(tiny_folder, precision).model, tiny_folder)
        ]
        for precision in ("fp32", "bf16", "int8", "nf4", "nf4-single", "fp4")
    }

    assert set(errors["fp32"]) == {0.0}
    for better, worse in (("bf16", "int8"), ("int8", "nf4"), ("nf4", "fp4")):
        assert all(b < w for b, w in zip(errors[better], errors[worse], strict=True))
    # For Gaussian weights NF4 is near 9 % (its weights are drawn from a normal distribution).
    assert errors["nf4"] == pytest.approx([0.09] * len(errors["nf4"]), abs=0.01)
    assert errors["nf4"] == pytest.approx(errors["nf4-single"], abs=2e-3)


def test_weights_stored_in_bfloat16_have_no_error_in_bfloat16(tiny_folder, tmp_path):
    AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.bfloat16).save_pretrained(
        tmp_path
    )
    for file in tiny_folder.glob("tokenizer*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())

    found = weight_errors(open_tiny(tmp_path, "bf16").model, tmp_path)

    assert [w.error for w in found] == [0.0] * 14


def test_weights_stored_the_other_way_round_are_turned(tmp_path):
    config = GPT2Config(vocab_size=257, n_embd=64, n_layer=1, n_head=2, n_positions=64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        GPT2LMHeadModel(config).save_pretrained(tmp_path)
    from transformers import BitsAndBytesConfig

    quantised = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    model = AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=quantised)
    whole = AutoModelForCausalLM.from_pretrained(tmp_path)

    found = weight_errors(model, tmp_path)

    assert [w.kind for w in found] == ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
    assert max(w.error for w in found) < 0.12  # the square one too, where a turn cannot be seen
    assert {w.error for w in weight_errors(whole, tmp_path)} == {0.0}


def test_a_matrix_the_file_does_not_have_is_counted_not_guessed(tiny_folder, tmp_path):
    base = open_tiny(tiny_folder, "nf4")
    (file,) = tiny_folder.glob("*.safetensors")
    tensors = load_file(file)
    missing = "model.layers.1.mlp.up_proj"
    del tensors[f"{missing}.weight"]
    save_file(tensors, tmp_path / "model.safetensors")

    found = weight_errors(base.model, tmp_path)

    assert [w.module for w in found if w.error is None] == [missing]


def test_the_codebook_of_nf4_has_sixteen_values_symmetric_ends_and_a_zero(tiny_folder):
    layer = next(iter(linear_layers(open_tiny(tiny_folder, "nf4").model).values()))

    codes = layer.weight.quant_state.code.tolist()

    assert len(set(codes)) == 16
    assert codes == sorted(codes)
    assert (codes[0], codes[-1]) == (-1.0, 1.0)
    assert codes[7] == 0.0


def test_the_error_is_that_of_the_frobenius_norm():
    original = torch.tensor([[3.0, 0.0], [0.0, 4.0]])

    assert relative_error(original, original) == 0.0
    assert relative_error(original + torch.tensor([[0.0, 1.0], [0.0, 0.0]]), original) == 0.2


def test_a_base_says_whether_its_scales_are_quantised(tiny_folder):
    found = {
        precision: load_base(str(tiny_folder), precision=precision).info.double_quantisation
        for precision in ("nf4", "nf4-single", "fp4-single", "int8")
    }

    assert found == {"nf4": True, "nf4-single": False, "fp4-single": False, "int8": None}


@pytest.mark.parametrize("precision", ["nf4-single", "int8", "bf16", "fp32"])
def test_device_and_products_are_known_before_a_base_is_loaded(precision, tiny_folder):
    info = load_base(str(tiny_folder), precision=precision).info

    assert products_of(precision) == (info.device, info.compute_dtype)


@pytest.mark.parametrize("precision", ["nf4", "fp4-single"])
def test_weights_are_quantised_from_the_files_whatever_the_rest_is_stored_in(
    precision, tiny_folder, monkeypatch
):
    whole = open_tiny(tiny_folder, precision).model
    monkeypatch.setattr(
        "workbench.models.loading._storage_dtype", lambda *_: torch.bfloat16
    )  # as on a GPU

    half = open_tiny(tiny_folder, precision).model

    assert half.get_input_embeddings().weight.dtype == torch.bfloat16
    layers = linear_layers(half)
    assert len(layers) == 2 * 7
    for name, layer in linear_layers(whole).items():
        assert torch.equal(layer.weight.data, layers[name].weight.data)
        assert torch.equal(layer.weight.quant_state.absmax, layers[name].weight.quant_state.absmax)


def test_a_base_stored_in_16_bits_is_kept_in_32_on_a_processor(tiny_folder, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    copy_tokenizer(tiny_folder, tmp_path)

    base = open_tiny(tmp_path, "nf4").model

    dtypes = {type(p): p.dtype for p in base.parameters() if not hasattr(p, "quant_state")}
    assert dtypes == {torch.nn.Parameter: torch.float32}
    assert base(torch.tensor([[1, 2, 3]], device=TEST_DEVICE)).logits.dtype == torch.float32
    for layer in linear_layers(base).values():
        eye = torch.eye(layer.in_features, device=TEST_DEVICE)
        with torch.inference_mode():
            forward = layer(eye).T  # what the layer multiplies by
        assert torch.equal(dequantised_weight(layer), forward)


def test_what_a_config_says_of_the_files_does_not_round_them(tiny_folder, tmp_path):
    config = json.loads((tiny_folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    (tmp_path / "model.safetensors").write_bytes((tiny_folder / "model.safetensors").read_bytes())
    copy_tokenizer(tiny_folder, tmp_path)

    told, untold = open_tiny(tmp_path, "nf4").model, open_tiny(tiny_folder, "nf4").model

    assert base_hash(told) == base_hash(untold)


def copy_tokenizer(source, target) -> None:
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (target / file).write_bytes((source / file).read_bytes())
