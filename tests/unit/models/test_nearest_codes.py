"""Weights quantised in less time are bitsandbytes' own to the last bit."""

from contextlib import nullcontext
from itertools import pairwise, product

import bitsandbytes as bnb
import pytest
import torch

from toys import open_tiny
from workbench.models import loading, quantised_layers
from workbench.models.nearest_codes import nearest_codes
from workbench.models.quantised_layers import base_hash, quantisation_tensors, quick_quantising

KINDS = ("nf4", "fp4")
LARGEST, SMALLEST = torch.finfo(torch.float32).max, 1e-45


def _drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def _ties(kind: str) -> torch.Tensor:
    """Return every midpoint of two codes, its neighbours, and ends: 49 values up to 1."""
    code = bnb.functional.get_4bit_type(kind, device="cpu").sort().values
    middles = torch.stack([(low + high) / 2 for low, high in pairwise(code)])
    near = [torch.nextafter(middles, torch.full_like(middles, side)) for side in (-2.0, 2.0)]
    return torch.cat([middles, *near, torch.tensor([-1.0, 1.0, 0.0, -0.0])])


def _scaled_ties(kind: str) -> torch.Tensor:
    """Return blocks of ties; by most scales, to divide and to multiply round to other sides."""
    block = torch.cat([_ties(kind), torch.zeros(15)])
    return torch.cat([block * scale for scale in (1.0, 0.5, 3.0, *torch.linspace(0.1, 2, 50))])


def _extremes() -> torch.Tensor:
    """Return blocks of zeros, of numbers at both ends of what a float holds, and a mixture."""
    zeros, signs = torch.zeros(64), torch.tensor([1.0, -1.0]).repeat(32)
    mixture = torch.cat([signs[:32] * LARGEST, signs[:30] * SMALLEST, torch.tensor([1e-38, 0.0])])
    return torch.cat([zeros, -zeros, signs * LARGEST, signs * SMALLEST, signs * 1e-39, mixture])


def _weights(kind: str) -> dict[str, torch.Tensor]:
    odd = ((1,), (3,), (63,), (65,), (7, 9), (129, 1), (2, 3, 43), (1025, 67))
    even = ((64,), (2, 64), (1024, 128), (1 << 16,), (3, 1 << 15))
    return {
        "ties": _scaled_ties(kind),
        **{f"ties at the end, {scale}": _ties(kind) * scale for scale in (1.0, 0.7, 1.3, 3.0)},
        "extremes": _extremes(),
        "zeros at the end": torch.zeros(67),
        "tiny at the end": torch.cat([_drawn(64), torch.tensor([SMALLEST, -1e-39, 0.0])]),
        "turned": _drawn(96, 33).t(),
        "half": _drawn(10, 64).half(),
        "bfloat16": _drawn(10, 63).bfloat16(),
        "no numbers": torch.cat([_drawn(63), torch.tensor([torch.nan]), _drawn(64)]),
        "infinite": torch.cat([_drawn(63), torch.tensor([-torch.inf]), _drawn(9)]),
        **{str(shape): _drawn(*shape) for shape in (*odd, *even)},
    }


def _quantised(weight: torch.Tensor, **options) -> list[torch.Tensor]:
    packed, state = bnb.functional.quantize_4bit(weight, **options)
    packed.quant_state = state
    return [packed, *quantisation_tensors(packed)]


@pytest.fixture
def searches(monkeypatch) -> list[int]:
    """Return a list that grows by one whenever bitsandbytes searches among midpoints."""
    found, search = [], torch.bucketize

    def noted(values, *given, **options):
        found.append(values.numel())
        return search(values, *given, **options)

    monkeypatch.setattr(torch, "bucketize", noted)
    return found


@pytest.mark.parametrize(("kind", "double"), [*product(KINDS, (True, False))])
def test_every_bit_is_that_of_bitsandbytes(kind, double, searches):
    for name, weight in _weights(kind).items():
        for block in (64, 32, 4096):
            how = {"quant_type": kind, "compress_statistics": double, "blocksize": block}
            theirs = _quantised(weight, **how)
            assert searches, "the oracle is bitsandbytes' own"
            searches.clear()
            with quick_quantising():
                ours = _quantised(weight, **how)
            assert not searches, "so ours has been compared with itself"
            assert len(ours) == len(theirs)
            for own, other in zip(ours, theirs, strict=True):
                assert own.dtype == other.dtype
                assert own.shape == other.shape, name
                assert torch.equal(*(one.view(torch.uint8) for one in _flat(own, other))), name


def _flat(*tensors: torch.Tensor) -> list[torch.Tensor]:
    return [one.contiguous().view(-1) for one in tensors]


@pytest.mark.parametrize("storage", [torch.uint8, torch.bfloat16, torch.float32])
def test_packed_weights_are_kept_in_the_dtype_that_is_asked_for(storage):
    weight = _drawn(8, 64)
    theirs, _ = bnb.functional.quantize_4bit(weight, quant_storage=storage)
    with quick_quantising():
        ours, _ = bnb.functional.quantize_4bit(weight, quant_storage=storage)
    assert ours.dtype == theirs.dtype == storage
    assert torch.equal(ours.view(torch.uint8), theirs.view(torch.uint8))


def test_the_weights_are_left_as_they_are():
    weight = _drawn(65, 3).requires_grad_()
    before = weight.detach().clone()
    packed, scales = nearest_codes(weight, bnb.functional.get_4bit_type("nf4", device="cpu"), 64)
    assert torch.equal(weight.detach(), before)
    assert packed.shape == (98,)
    assert scales.shape == (4,)


def test_outside_of_the_block_bitsandbytes_does_as_ever(searches):
    with pytest.raises(RuntimeError, match="torn"), quick_quantising():
        raise RuntimeError("torn")
    bnb.functional.quantize_4bit(_drawn(64))
    assert searches == [64]


def test_with_many_cores_bitsandbytes_shares_the_search_among_them(searches, monkeypatch):
    monkeypatch.setattr(quantised_layers, "_MANY_THREADS", 0)
    with quick_quantising():
        bnb.functional.quantize_4bit(_drawn(64))
    assert searches == [64]


@pytest.mark.parametrize("precision", [*KINDS, "nf4-single", "fp4-single"])
def test_a_base_is_the_same(tiny_folder, precision, monkeypatch, searches):
    ours = base_hash(open_tiny(tiny_folder, precision).model)
    assert not searches
    monkeypatch.setattr(loading, "quick_quantising", nullcontext)
    assert base_hash(open_tiny(tiny_folder, precision).model) == ours
    assert searches
