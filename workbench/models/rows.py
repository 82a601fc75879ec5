"""From rows to tensors: positions, who sees whom, and caches that share prefixes.

A row is a tree of tokens: its own tokens form a chain, and the tokens of several choices may
branch off the end of that chain, so that all multi-token choices are scored in one pass. What a
token may look at follows from tree and positions, not from padding conventions of a library, which
is what makes batches of mixed prefixes exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer

from workbench.models.base import PrefixStates
from workbench.models.prefixed_states import PrefixedStates, SharedTensor
from workbench.models.row_layout import RowLayout, row_layout
from workbench.models.token_tree import TokenTree


@dataclass(frozen=True)
class PackedRows:
    """A batch ready for the model.

    Attributes:
        token_ids: (B, T) right-padded.
        position_ids: (B, T).
        layout: Which keys each token may look at.
        prefix_lengths: Prefix positions of each row.
        row_lengths: Tree tokens of each row.
    """

    token_ids: torch.Tensor
    position_ids: torch.Tensor
    layout: RowLayout
    prefix_lengths: tuple[int, ...]
    row_lengths: tuple[int, ...]


def pack_rows(
    trees: Sequence[TokenTree], prefix_lengths: Sequence[int], device: torch.device
) -> PackedRows:
    """Return the batch of `trees`, each after a prefix of the given length."""
    layout = row_layout([tree.spans() for tree in trees], prefix_lengths, device)
    ids = [torch.tensor(tree.token_ids) for tree in trees]
    return PackedRows(
        token_ids=torch.nn.utils.rnn.pad_sequence(ids, batch_first=True).to(device),
        position_ids=layout.positions.long(),
        layout=layout,
        prefix_lengths=tuple(prefix_lengths),
        row_lengths=tuple(len(tree) for tree in trees),
    )


class _PrefixedLayer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed here
    """One layer's cache that puts each row's prefix in front of the row's own keys and values."""

    def __init__(
        self, keys: Sequence[SharedTensor], values: Sequence[SharedTensor], *, keep: bool
    ) -> None:
        super().__init__()
        self._prefix_keys, self._prefix_values, self._keep = keys, values, keep
        self._longest = max(states.shape[-2] for _, states in keys)

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *_args: object,
        **_kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return prefix and new keys and values (B, H, P + T, head width); store them if asked."""
        keys = PrefixedStates(key_states, self._prefix_keys, self._longest)
        values = PrefixedStates(value_states, self._prefix_values, self._longest)
        if self._keep:
            self.keys, self.values, self.is_initialized = keys, values, True
        return keys, values

    def get_seq_length(self) -> int:
        """Positions already filled: the longest prefix."""
        return self._longest


class _WindowLayer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed here
    """One layer's cache in a buffer of fixed size, so that decoding copies nothing old."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, room: int) -> None:
        super().__init__()
        rows, heads, self._filled, width = keys.shape
        self._keys = keys.new_empty((rows, heads, self._filled + room, width))
        self._values = values.new_empty((rows, heads, self._filled + room, values.shape[-1]))
        self._keys[:, :, : self._filled] = keys
        self._values[:, :, : self._filled] = values

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *_args: object,
        **_kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append keys and values (B, H, 1, head width) and return everything so far."""
        end = self._filled + key_states.shape[-2]
        self._keys[:, :, self._filled : end] = key_states
        self._values[:, :, self._filled : end] = value_states
        self._filled = end
        return self._keys[:, :, :end], self._values[:, :, :end]

    def keep_rows(self, rows: torch.Tensor) -> None:
        """Drop every row but the given ones."""
        self._keys, self._values = self._keys[rows], self._values[rows]

    def get_seq_length(self) -> int:
        """Positions already filled."""
        return int(self._filled)


def recording_cache(num_layers: int) -> Cache:
    """Return an empty cache that keeps what a forward pass computes."""
    return Cache(layers=[DynamicLayer() for _ in range(num_layers)])


def prefixed_cache(
    states: Sequence[PrefixStates | None], num_layers: int, *, keep: bool
) -> Cache | None:
    """Return a cache whose rows start with the given prefixes, padded on the left.

    Args:
        states: The prefix of each row, or None for a row without one.
        num_layers: Layers of the model.
        keep: Whether the cache stores the rows' own keys and values too (for decoding).

    Returns:
        None when there is nothing to start from and nothing to keep.
    """
    # By identity: rows of one prefix share one object, and comparing tensors would cost more.
    unique = {id(state): state for state in states if state is not None}
    if not unique:
        return recording_cache(num_layers) if keep else None
    device = next(iter(unique.values())).keys[0].device
    rows: dict[int, torch.Tensor | None] = {}
    for key in unique:
        numbers = [row for row, state in enumerate(states) if id(state) == key]
        is_all = len(numbers) == len(states)
        rows[key] = None if is_all else torch.tensor(numbers, device=device)

    def of_layer(name: str, layer: int) -> list[SharedTensor]:
        return [(rows[key], getattr(state, name)[layer]) for key, state in unique.items()]

    layers: list[CacheLayerMixin] = [
        _PrefixedLayer(of_layer("keys", layer), of_layer("values", layer), keep=keep)
        for layer in range(num_layers)
    ]
    return Cache(layers=layers)


def decoding_cache(cache: Cache, packed: PackedRows, room: int) -> tuple[Cache, torch.Tensor]:
    """Return a cache with every row moved to the right edge, and (B, K) which keys are real.

    After it each row reads [left padding][prefix][tokens], so that new tokens of all rows are
    written in one column.
    """
    width = max(packed.row_lengths)
    longest = max(packed.prefix_lengths)
    shifts = torch.tensor([width - size for size in packed.row_lengths])
    # Column c of a shifted row comes from column c - shift; what wraps round to the left was
    # padding on the right, and `valid` hides it.
    columns = torch.arange(longest + width)
    source = ((columns[None] - shifts[:, None]) % (longest + width)).to(packed.token_ids.device)
    layers: list[CacheLayerMixin] = []
    for layer in cache.layers:
        index = source[:, None, :, None]
        layers.append(
            _WindowLayer(
                torch.take_along_dim(layer.keys, index, dim=2),
                torch.take_along_dim(layer.values, index, dim=2),
                room,
            )
        )
    real = torch.tensor(
        [p + t for p, t in zip(packed.prefix_lengths, packed.row_lengths, strict=True)]
    )
    valid = columns[None] >= (longest + width - real)[:, None]
    return Cache(layers=layers), valid.to(packed.token_ids.device)
