"""Every precision loads, scores near full precision and leaves the base as it is."""

import time

import numpy as np
import pytest
import torch

from toys import open_tiny
from workbench.errors import ConfigError
from workbench.models.base import Conditioning, Prefix
from workbench.models.compute_dtype import processor_dtype
from workbench.models.engine import Engine
from workbench.models.loading import PRECISIONS, load_base, products_of
from workbench.models.quantised_layers import base_hash

# The tiny model's weights are random, so nothing averages out: these are loose on purpose.
LARGEST_GAP = {"fp32": 0.0, "bf16": 0.15, "int8": 0.3, "nf4": 1.5, "fp4": 2.5}  # nats
LARGEST_GAP |= {f"{kind}-single": LARGEST_GAP[kind] for kind in ("nf4", "fp4")}


@pytest.mark.usefixtures("kept_weights")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_scores_near_full_precision(precision, tiny_folder):
    row, choices = (
        Conditioning(Prefix((tuple(range(30, 50)),)), tuple(range(60, 70))),
        [[(5,), (9,)]],
    )
    expected = Engine(open_tiny(tiny_folder)).score([row], choices)[0].logprobs
    base = open_tiny(tiny_folder, precision)
    before = base_hash(base.model)

    found = Engine(base).score([row], choices)[0].logprobs

    assert base.info.precision == precision
    assert np.abs(found - expected).max() <= LARGEST_GAP[precision]
    assert base_hash(base.model) == before


def test_four_bits_take_less_memory_than_sixteen(tiny_folder):
    sizes = {p: open_tiny(tiny_folder, p).info.footprint_bytes for p in ("nf4", "int8", "fp32")}

    assert sizes["nf4"] < sizes["int8"] < sizes["fp32"]


def test_an_unknown_precision_is_refused():
    with pytest.raises(ConfigError) as caught:
        load_base("smollm2-135m-instruct", precision="nf5")

    assert str(caught.value) == (
        "precision: unknown precision 'nf5'. Did you mean 'nf4'? Known: bf16, fp32, fp4, "
        "fp4-single, int8, nf4, nf4-single."
    )


def test_products_do_not_hang_on_how_busy_the_machine_is(tmp_path, monkeypatch):
    linear = torch.nn.functional.linear

    def busy(*arguments):
        time.sleep(0.002)
        return linear(*arguments)

    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "quiet"))
    quiet = products_of("nf4", device="cpu")
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "busy"))
    monkeypatch.setattr(torch.nn.functional, "linear", busy)

    assert products_of("nf4", device="cpu") == quiet
    assert not list(tmp_path.iterdir())


# What processors say of themselves, in the words of torch or of /proc/cpuinfo.
PROCESSORS = {
    "Sapphire Rapids": ({"avx512_f", "avx512_bf16", "amx_bf16"}, torch.bfloat16, "AMX-BF16"),
    "Zen 4": ({"avx512_f", "avx512_bf16"}, torch.bfloat16, "AVX512-BF16"),
    "Ice Lake": ({"avx2", "avx512_f", "avx512_vnni"}, torch.float32, "no bfloat16"),
    "Neoverse V1": ({"neon", "bf16", "i8mm"}, torch.bfloat16, "BF16 of ARM"),
    "Cortex-A72": ({"neon"}, torch.float32, "no bfloat16"),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_products_follow_from_what_the_processor_multiplies(name):
    instructions, dtype, why = PROCESSORS[name]

    found = processor_dtype(frozenset(instructions))

    assert found.dtype == dtype
    assert why in found.reason


def test_where_torch_does_not_tell_the_system_is_asked(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu avx512f avx512_bf16\n")
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    monkeypatch.setattr("workbench.models.compute_dtype.CPUINFO", tmp_path / "cpuinfo")

    assert processor_dtype() == (torch.bfloat16, "this processor has AVX512-BF16")

    monkeypatch.setattr("workbench.models.compute_dtype.CPUINFO", tmp_path / "nowhere")

    assert processor_dtype().dtype == torch.float32


@pytest.mark.parametrize(
    ("precision", "asked", "dtype", "why"),
    [
        ("nf4", "float32", "float32", "asked for"),
        ("nf4", "bfloat16", "bfloat16", "asked for"),
        ("int8", "auto", "float32", "int8"),
        ("bf16", "auto", "bfloat16", "bf16"),
        ("nf4", "auto", None, "this processor"),
    ],
)
def test_a_base_knows_its_products_and_why(tiny_folder, precision, asked, dtype, why):
    info = load_base(str(tiny_folder), precision=precision, compute_dtype=asked, device="cpu").info

    assert info.compute_dtype == (dtype or str(processor_dtype().dtype).removeprefix("torch."))
    assert why in info.compute_reason
