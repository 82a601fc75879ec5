"""Products with weights that come from memory each time: torch's `linear` over ours."""

import time
from collections.abc import Callable

import torch
from torch.nn.functional import linear

from measuring import Figure, interleave
from workbench.models.engine import Engine
from workbench.models.products import BlockedWeight, can_block, product

_SHAPES = ((1536, 576), (576, 1536))  # (out, in) of the default base's MLP
_ROWS = (1, 5, 16, 64, 256, 480)
_BYTES = 1 << 28  # of weights taken in turns: more than any cache holds
_REPEATS, _SECONDS = 3, 0.2


def measure(engine: Engine) -> list[Figure]:
    """Return time of `linear` over that of ours in the dtype of the engine's products."""
    dtype = getattr(torch, engine.info.compute_dtype)
    return [_compared(shape, rows, dtype) for shape in _SHAPES for rows in _ROWS]


def _compared(shape: tuple[int, int], rows: int, dtype: torch.dtype) -> Figure:
    size = shape[0] * shape[1] * dtype.itemsize
    weights = [torch.randn(shape).to(dtype) for _ in range(_BYTES // size)]
    inputs = torch.randn(rows, shape[1]).to(dtype)
    if can_block("cpu", dtype, torch.Size(shape)):
        blocks = [BlockedWeight(weight) for weight in weights]
        ours = [lambda one=one: one.product(inputs, None) for one in blocks]
    else:
        ours = [lambda one=one: product(inputs, one) for one in weights]
    theirs = [lambda one=one: linear(inputs, one) for one in weights]
    with torch.inference_mode():
        timings = interleave({"linear": _timed(theirs), "ours": _timed(ours)}, _REPEATS)
    ratio, lowest, highest = timings.ratio("linear", "ours")
    operations, told = 2 * rows * shape[0] * shape[1], []
    for name in timings.seconds:
        seconds = timings.median(name)
        told.append(
            f"{name} {1e6 * seconds:.0f} µs, {size / seconds / 1e9:.0f} GB/s, "
            f"{operations / seconds / 1e9:.0f} GFLOP/s"
        )
    return Figure(
        f"product of {rows} rows with {shape[0]} x {shape[1]}: linear / ours",
        ratio,
        lowest=lowest,
        highest=highest,
        details=f"{dtype}; {'; '.join(told)}",
    )


def _timed(products: list[Callable[[], torch.Tensor]]) -> Callable[[], float]:
    """Return a contender that takes the products in turns and returns the seconds of one."""

    def run() -> float:
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < _SECONDS:
            products[done % len(products)]()
            done += 1
        return (time.perf_counter() - began) / done

    return run
