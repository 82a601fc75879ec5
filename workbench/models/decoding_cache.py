"""Keys and values of rows that are continued, in memory of a fixed size from the start.

Layout of a row: [left padding][prefix][tokens][room for new tokens]. The prompt is written where it
is read from later; rows shorter than the longest are then moved to its right edge, so that new
tokens of all rows go into one column, and finished rows leave the same memory.
"""

from collections.abc import Sequence

import torch
from transformers.cache_utils import Cache, DynamicLayer

from workbench.models.base import PrefixStates
from workbench.models.rows import PackedRows


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed here
    """One layer's keys and values (B, H, K, head width) in buffers with room behind them.

    Args:
        prefixes: Keys and values (H, P, head width) of each row's prefix in this layer, or None.
        length: Columns of the longest prefix, in which all of them end.
        room: Columns for tokens, the prompt's and new ones.
    """

    def __init__(
        self,
        prefixes: Sequence[tuple[torch.Tensor, torch.Tensor] | None],
        length: int,
        room: int,
    ) -> None:
        super().__init__()
        self._prefixes, self._filled, self._room = prefixes, length, room
        self._buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *_args: object,
        **_kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append keys and values (B, H, T, head width) and return everything so far."""
        if self._buffers is None:
            self._buffers = self._allocated(0, key_states), self._allocated(1, value_states)
        begin, end = self._filled, self._filled + key_states.shape[-2]
        self._filled = end
        keys, values = self._buffers
        keys[:, :, begin:end] = key_states
        values[:, :, begin:end] = value_states
        return keys[:, :, :end], values[:, :, :end]

    def _allocated(self, part: int, states: torch.Tensor) -> torch.Tensor:
        """Return a buffer for states like (B, H, T, head width) that has the prefixes' part."""
        rows, heads, _, width = states.shape
        length = self._filled
        # Zeros: what is hidden is multiplied by nothing, which leaves no other number out.
        buffer = states.new_zeros((rows, heads, length + self._room, width))
        # By identity: rows of one prefix share one object.
        of_prefix: dict[int, list[int]] = {}
        for row, prefix in enumerate(self._prefixes):
            if prefix is not None:
                of_prefix.setdefault(id(prefix[part]), []).append(row)
        for same in of_prefix.values():
            prefix = self._prefixes[same[0]]
            found = prefix[part] if prefix is not None else buffer[0]
            begin = length - found.shape[-2]
            if len(same) == rows:  # the usual case, without an index
                buffer[:, :, begin:length] = found
            else:
                buffer[same, :, begin:length] = found.to(buffer.dtype)
        return buffer

    def align(self, shifts: Sequence[int]) -> None:
        """Move each row to the right by so many columns, over its padding there."""
        for buffer in self._buffers or ():
            for row, shift in enumerate(shifts):
                if shift:
                    filled = buffer[row, :, : self._filled]
                    # What is left standing on the left is hidden from now on.
                    filled[:, shift:] = filled[:, : self._filled - shift].clone()

    def keep_rows(self, rows: torch.Tensor) -> None:
        """Drop every row but the given ones, in order; the buffers stay where they are."""
        if self._buffers is None:
            return
        for buffer in self._buffers:
            buffer[: len(rows), :, : self._filled] = buffer[rows, :, : self._filled]
        keys, values = self._buffers
        self._buffers = keys[: len(rows)], values[: len(rows)]

    def get_seq_length(self) -> int:
        """Positions already filled."""
        return int(self._filled)


class DecodingCache(Cache):  # type: ignore[misc]  # transformers is not typed here
    """A batch's keys and values, and what is known about their columns.

    Attributes:
        positions: (B,) position of each row's next token.
        num_keys: Columns that are filled.
        all_real: Whether no row has padding.
    """

    layers: list[RoomyLayer]
    positions: torch.Tensor
    all_real: bool

    def __init__(self, states: Sequence[PrefixStates | None], num_layers: int, room: int) -> None:
        longest = max((state.num_tokens for state in states if state is not None), default=0)
        super().__init__(
            layers=[
                RoomyLayer(
                    [
                        None if state is None else (state.keys[layer], state.values[layer])
                        for state in states
                    ],
                    longest,
                    room,
                )
                for layer in range(num_layers)
            ]
        )
        self._columns = longest + room
        self._is_aligned = False
        self._valid = torch.empty(0)
        self._hiding: torch.Tensor | None = None  # made when it is asked for, for all columns

    @property
    def num_keys(self) -> int:
        """Columns that are filled."""
        return self.layers[0].get_seq_length()

    def valid(self, num_keys: int) -> torch.Tensor:
        """Return (B, K) bool, which keys of the first columns are real; new ones always are."""
        return self._valid[:, :num_keys]

    def hiding(self, num_keys: int, dtype: torch.dtype) -> torch.Tensor:
        """Return (B, 1, 1, K) to be added to scores, so that no key is seen that is not real."""
        if self._hiding is None:
            self._hiding = added(self._valid[:, None, None, :], dtype)
        return self._hiding[..., :num_keys]

    def align(self, packed: PackedRows) -> None:
        """Move every row to the right edge, after the prompt has been run.

        After it each row reads [left padding][prefix][tokens].

        Raises:
            ValueError: they have been moved already.
        """
        if self._is_aligned:
            raise ValueError(
                "these rows are at the right edge already; copy them to use them twice"
            )
        self._is_aligned = True
        width = max(packed.row_lengths)
        shifts = [width - size for size in packed.row_lengths]
        for layer in self.layers:
            layer.align(shifts)
        device = packed.token_ids.device
        lengths = [p + t for p, t in zip(packed.prefix_lengths, packed.row_lengths, strict=True)]
        self.positions = torch.tensor(lengths, device=device)
        padding = self.num_keys - self.positions
        self._valid = torch.arange(self._columns, device=device)[None] >= padding[:, None]
        self.all_real = min(lengths) == self.num_keys

    @torch.inference_mode()
    def keep_rows(self, rows: torch.Tensor) -> None:
        """Drop every row but the given ones, which are in order."""
        for layer in self.layers:
            layer.keep_rows(rows)
        self.positions, self._valid = self.positions[rows], self._valid[rows]
        self._hiding = None


def added(allowed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return what is added to scores so that they count only where they are allowed."""
    nothing = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return nothing.masked_fill_(~allowed, -torch.inf)
