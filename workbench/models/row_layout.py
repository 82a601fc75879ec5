"""Who may look at whom in a batch of rows: a few numbers per token instead of a square of them.

Keys along a row: [left padding][prefix][tokens of the tree][right padding].
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from workbench.models.lazy_tensors import LazyTensor
from workbench.models.token_tree import TreeSpans

_KEPT_ELEMENTS = 1 << 20  # of mask blocks kept for the next layer

BlockKey = tuple[int, int, int, int, int | None]


@dataclass(frozen=True, eq=False)
class RowLayout:
    """Which keys each token of a batch may look at.

    A query sees a key if its number lies in the key's span; see `TreeSpans`.

    Attributes:
        numbers: (B, T) of the queries.
        first: (B, P + T) where each key's span begins.
        last: (B, P + T) where it ends.
        positions: (B, T) of the queries.
        key_positions: (B, P + T); negative in the left padding, which no query sees.
        num_prefix: Columns of the longest prefix (P).
        trunk: Leading columns of the rows' own tokens that see all before them and each other
            causally, in every row.
    """

    numbers: torch.Tensor
    first: torch.Tensor
    last: torch.Tensor
    positions: torch.Tensor
    key_positions: torch.Tensor
    num_prefix: int
    trunk: int
    _kept: dict[BlockKey, torch.Tensor] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Columns of the rows' own tokens (T)."""
        return int(self.numbers.shape[1])

    def block(self, queries: slice, keys: slice, window: int | None) -> torch.Tensor:
        """Return (B, 1, queries, keys) bool: True where a query may look at a key.

        Args:
            queries: Columns of the rows' own tokens.
            keys: Columns of prefix and own tokens.
            window: How many positions a query sees, its own included; None: all.
        """
        key = (queries.start, queries.stop, keys.start, keys.stop, window)
        if key in self._kept:
            return self._kept[key]
        numbers = self.numbers[:, queries, None]
        seen = (self.first[:, None, keys] <= numbers) & (numbers < self.last[:, None, keys])
        if window is not None:
            oldest = self.positions[:, queries, None] - window
            seen &= self.key_positions[:, None, keys] > oldest
        found = seen[:, None]
        if found.numel() + sum(one.numel() for one in self._kept.values()) <= _KEPT_ELEMENTS:
            self._kept[key] = found
        return found

    def keys_of(self, queries: slice, window: int | None) -> slice:
        """Return the columns of the keys that some of these queries may see."""
        end = self.num_prefix + queries.stop
        if window is None:
            return slice(0, end)
        oldest = self.positions[:, queries].amin(dim=1, keepdim=True) - window
        needed = (self.key_positions[:, :end] > oldest).any(dim=0)
        return slice(int(needed.int().argmax()), end)

    def columns(self, number: int) -> "RowLayout":
        """Return the layout of the first of the own tokens alone."""
        own, keys = slice(0, number), slice(0, self.num_prefix + number)
        return RowLayout(
            self.numbers[:, own],
            self.first[:, keys],
            self.last[:, keys],
            self.positions[:, own],
            self.key_positions[:, keys],
            self.num_prefix,
            min(self.trunk, number),
        )

    def needs_window(self, window: int | None) -> bool:
        """Return whether a window hides anything that is not hidden anyway."""
        return window is not None and int(self.positions.max()) >= window


def row_layout(
    spans: Sequence[TreeSpans], prefix_lengths: Sequence[int], device: torch.device
) -> RowLayout:
    """Return the layout of trees, each after a prefix of the given length."""
    num_rows, width = len(spans), max(len(tree.first) for tree in spans)
    longest = max(prefix_lengths)
    columns = np.arange(width, dtype=np.int32)
    # A padding query sees itself: with nothing to look at it would turn into NaN.
    numbers = np.tile(columns, (num_rows, 1))
    ends = numbers + 1
    positions = np.zeros((num_rows, width), dtype=np.int32)
    # Prefixes end in the same column; what is left of a shorter one has an empty span.
    first = np.full((num_rows, longest), -1, dtype=np.int32)
    last = np.full((num_rows, longest), width, dtype=np.int32)
    before = np.tile(np.arange(longest, dtype=np.int32), (num_rows, 1))
    for row, (tree, prefix_length) in enumerate(zip(spans, prefix_lengths, strict=True)):
        size = len(tree.first)
        numbers[row, :size], ends[row, :size] = tree.first, tree.last
        positions[row, :size] = prefix_length + tree.depths
        last[row, : longest - prefix_length] = -1
        before[row] -= longest - prefix_length

    def placed(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(device)

    return RowLayout(
        numbers=placed(numbers),
        first=placed(np.concatenate([first, numbers], axis=1)),
        last=placed(np.concatenate([last, ends], axis=1)),
        positions=placed(positions),
        key_positions=placed(np.concatenate([before, positions], axis=1)),
        num_prefix=longest,
        # Behind a chain comes padding, which may see what it likes and is seen by nothing.
        trunk=min(width if tree.trunk == len(tree.first) else tree.trunk for tree in spans),
    )


class LazyMask(LazyTensor):
    """The mask (B, 1, T, P + T) of a layout, made where it cannot be done without.

    Attributes:
        row_layout: What it says.
        window: How many positions a query sees, where that hides anything; else None.
    """

    @staticmethod
    def __new__(cls: type["LazyMask"], layout: RowLayout, window: int | None) -> "LazyMask":
        """Return a mask without memory."""
        rows, length = layout.numbers.shape
        made: LazyMask = torch.Tensor._make_wrapper_subclass(
            cls,
            (rows, 1, length, layout.num_prefix + length),
            dtype=torch.bool,
            device=layout.numbers.device,
        )
        return made

    def __init__(self, layout: RowLayout, window: int | None) -> None:
        super().__init__()
        self.row_layout = layout
        self.window = window if layout.needs_window(window) else None

    def _make(self) -> torch.Tensor:
        length = self.row_layout.length
        whole = slice(0, length), slice(0, self.row_layout.num_prefix + length)
        return self.row_layout.block(*whole, self.window)
