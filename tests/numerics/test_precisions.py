"""Every precision loads, scores near full precision and leaves the base as it is."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from toys import open_tiny
from workbench.errors import ConfigError
from workbench.models.base import Conditioning, Prefix
from workbench.models.compute_dtype import measured_compute_dtype
from workbench.models.engine import Engine
from workbench.models.loading import PRECISIONS, base_hash, load_base

# The tiny model's weights are random, so nothing averages out: these are loose on purpose.
LARGEST_GAP = {"fp32": 0.0, "bf16": 0.15, "int8": 0.3, "nf4": 1.5, "fp4": 2.5}  # nats
LARGEST_GAP |= {f"{kind}-single": LARGEST_GAP[kind] for kind in ("nf4", "fp4")}


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


def test_the_measured_dtype_is_remembered(tmp_path):
    first = measured_compute_dtype(tmp_path)
    path = tmp_path / "compute_dtype.json"
    swapped = {"bfloat16": "float32", "float32": "bfloat16"}
    text = path.read_text()
    name = str(first).removeprefix("torch.")
    path.write_text(text.replace(f'"{name}"', f'"{swapped[name]}"'))

    assert str(measured_compute_dtype(tmp_path)) == f"torch.{swapped[name]}"


def test_two_that_ask_at_once_measure_once(tmp_path, monkeypatch):
    measured = []

    def slowly(dtype):
        measured.append(dtype)
        time.sleep(0.2)
        return 1.0

    monkeypatch.setattr("workbench.models.compute_dtype._seconds_per_product", slowly)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(measured_compute_dtype, [tmp_path, tmp_path]))

    assert found == [torch.float32, torch.float32]
    assert measured == [torch.float32, torch.bfloat16]
