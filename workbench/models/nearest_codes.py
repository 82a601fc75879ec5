"""Four-bit codes of weights: what bitsandbytes finds by searching, found by comparing.

bitsandbytes looks for each weight among the midpoints of 16 codes (`torch.bucketize`), which on a
CPU is half of the time that a base takes to load. To compare all weights of a piece with one
midpoint after the other is several times faster on one core, and comes to the same code for every
weight, ties and what is no number included.
"""

import numpy as np
import numpy.typing as npt
import torch

_PIECE = 1 << 16  # weights that stay in a core's cache while the midpoints pass by
_LEAST = 1e-38  # a block is divided by, as in bitsandbytes
_Floats = npt.NDArray[np.float32]
_Numbers = npt.NDArray[np.int8]


def nearest_codes(
    values: torch.Tensor, code: torch.Tensor, block: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weights in four bits, and the scale of each block.

    Args:
        values: N weights of any shape and float dtype, on a CPU.
        code: (16,) float32, what the numbers 0 to 15 stand for, in any order.
        block: Weights that share a scale; the last block may be shorter.

    Returns:
        (ceil(N / 2),) uint8, two weights in a byte, the first in the upper half; and
        (ceil(N / block),) float32, the largest magnitude of each block.
    """
    flat = values.detach().reshape(-1).float()
    midpoints = _Midpoints(code)
    size, full = len(flat), len(flat) - len(flat) % block
    numbers = np.empty(size + size % 2, np.int8)
    blocks = flat[:full].view(full // block, block)
    scales = blocks.abs().amax(dim=-1)
    factors = (1.0 / scales.clamp(min=_LEAST)).unsqueeze(1)
    step = max(1, _PIECE // block)
    for begin in range(0, len(blocks), step):
        scaled = blocks[begin : begin + step] * factors[begin : begin + step]
        place = numbers[begin * block : begin * block + scaled.numel()]
        midpoints.look_up(scaled.view(-1).numpy(), place)
    if full < size:
        last = flat[full:].abs().max().clamp(min=_LEAST)
        scales = torch.cat([scales, last[None]])
        midpoints.look_up((flat[full:] / last).numpy(), numbers[full:size])
    if size % 2:
        midpoints.look_up(np.zeros(1, np.float32), numbers[size:])
    pairs = numbers.view("<u2")
    return torch.from_numpy((pairs << 4 | pairs >> 8).astype(np.uint8)), scales


class _Midpoints:
    """What lies between two neighbouring codes, and their numbers."""

    def __init__(self, code: torch.Tensor) -> None:
        order = torch.argsort(code)
        self._bounds: _Floats = ((code[order[:-1]] + code[order[1:]]) / 2).numpy()
        numbers = order.numpy().astype(np.int8)
        self._highest, self._steps = numbers[-1], np.diff(numbers)

    def look_up(self, scaled: _Floats, numbers: _Numbers) -> None:
        """Write the number of each value's code: of the highest whose lower midpoint is below it.

        Counted down from the highest one, so that what is no number gets that, as in bitsandbytes.
        """
        numbers.fill(self._highest)
        is_below = np.empty(scaled.shape, np.bool_)
        ones = is_below.view(np.int8)
        for bound, step in zip(self._bounds, self._steps, strict=True):
            np.less_equal(scaled, bound, out=is_below)
            numbers -= ones if step == 1 else ones * step
