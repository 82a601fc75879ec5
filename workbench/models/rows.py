"""From rows to tensors: token trees, positions, attention masks, and caches that share prefixes.

A row is a tree of tokens: its own tokens form a chain, and the tokens of several choices may
branch off the end of that chain, so that all multi-token choices are scored in one pass. Every mask
is made here from ancestry and positions, not from padding conventions of a library, which is
what makes batches of mixed prefixes exact.

Layout of keys along a row: [left padding][prefix][tokens of the tree][right padding].
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer

from workbench.models.base import PrefixStates


@dataclass
class TokenTree:
    """Tokens of one row with the index of each token's parent (-1: follows the prefix)."""

    token_ids: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)

    @classmethod
    def chain(cls, token_ids: Sequence[int]) -> "TokenTree":
        """Return the tree in which each token follows the one before it."""
        return cls(list(token_ids), list(range(-1, len(token_ids) - 1)))

    def extend(self, parent: int, token_id: int) -> int:
        """Return the node of `token_id` below `parent`, made if it is not there yet."""
        # Children always come after their parent, so the search starts there.
        for node in range(parent + 1, len(self.token_ids)):
            if self.parents[node] == parent and self.token_ids[node] == token_id:
                return node
        self.token_ids.append(token_id)
        self.parents.append(parent)
        return len(self.token_ids) - 1

    def __len__(self) -> int:
        return len(self.token_ids)

    def ancestry(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (T, T) bool "key is the query or one of its ancestors", and (T,) depths."""
        size = len(self)
        sees = np.zeros((size, size), dtype=bool)
        depth = np.zeros(size, dtype=np.int64)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                # Parents come first, so the parent's row is complete already.
                sees[node] = sees[parent]
                depth[node] = depth[parent] + 1
            sees[node, node] = True
        return sees, depth


@dataclass(frozen=True)
class PackedRows:
    """A batch ready for the model.

    Attributes:
        token_ids: (B, T) right-padded.
        position_ids: (B, T).
        allowed: (B, 1, T, P + T) bool, True where a query may look at a key.
        distances: (B, 1, T, P + T) query position minus key position, for sliding windows.
        prefix_lengths: Prefix positions of each row.
        row_lengths: Tree tokens of each row.
    """

    token_ids: torch.Tensor
    position_ids: torch.Tensor
    allowed: torch.Tensor
    distances: torch.Tensor
    prefix_lengths: tuple[int, ...]
    row_lengths: tuple[int, ...]


def pack_rows(
    trees: Sequence[TokenTree], prefix_lengths: Sequence[int], device: torch.device
) -> PackedRows:
    """Return the batch of `trees`, each after a prefix of the given length."""
    num_rows, width = len(trees), max(len(tree) for tree in trees)
    longest = max(prefix_lengths)
    ids = np.zeros((num_rows, width), dtype=np.int64)
    positions = np.zeros((num_rows, width), dtype=np.int64)
    allowed = np.zeros((num_rows, width, longest + width), dtype=bool)
    key_positions = np.zeros((num_rows, longest + width), dtype=np.int64)
    for row, (tree, prefix_length) in enumerate(zip(trees, prefix_lengths, strict=True)):
        size = len(tree)
        sees, depth = tree.ancestry()
        ids[row, :size] = tree.token_ids
        positions[row, :size] = prefix_length + depth
        # Prefixes end in the same column; what is left of a shorter one stays hidden.
        allowed[row, :, longest - prefix_length : longest] = True
        allowed[row, :size, longest : longest + size] = sees
        # A padding query that may look at nothing would turn into NaN.
        padding = np.arange(size, width)
        allowed[row, padding, longest + padding] = True
        # Negative in the left padding, which the mask hides anyway.
        key_positions[row, :longest] = np.arange(longest) - (longest - prefix_length)
        key_positions[row, longest:] = positions[row]
    distances = positions[:, :, None] - key_positions[:, None, :]
    return PackedRows(
        token_ids=torch.from_numpy(ids).to(device),
        position_ids=torch.from_numpy(positions).to(device),
        allowed=torch.from_numpy(allowed[:, None]).to(device),
        distances=torch.from_numpy(distances[:, None]).to(device),
        prefix_lengths=tuple(prefix_lengths),
        row_lengths=tuple(len(tree) for tree in trees),
    )


class _PrefixedLayer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed here
    """One layer's cache that puts each row's prefix in front of the row's own keys and values."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self._prefix_keys, self._prefix_values = keys, values

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *_args: object,
        **_kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return prefix and new keys and values (B, H, P + T, head width)."""
        keys = torch.cat([self._prefix_keys, key_states], dim=-2)
        return keys, torch.cat([self._prefix_values, value_states], dim=-2)

    def get_seq_length(self) -> int:
        """Positions already filled: the longest prefix."""
        return int(self._prefix_keys.shape[-2])


def recording_cache(num_layers: int) -> Cache:
    """Return an empty cache that keeps what a forward pass computes."""
    return Cache(layers=[DynamicLayer() for _ in range(num_layers)])


def prefixed_cache(
    states: Sequence[PrefixStates | None], num_layers: int, *, dtype: torch.dtype
) -> Cache | None:
    """Return a cache whose rows start with the given prefixes, padded on the left.

    It keeps nothing of the rows' own; `workbench.models.decoding_cache` has the one that does.

    Args:
        states: The prefix of each row, or None for a row without one.
        num_layers: Layers of the model.
        dtype: What the rows' own keys and values are stored in.

    Returns:
        None when there is nothing to start from.
    """
    present = [state for state in states if state is not None]
    if not present:
        return None
    # By identity: rows of one prefix share one object, and comparing tensors would cost more.
    unique = {id(state): state for state in present}
    longest = max(state.num_tokens for state in present)
    layers: list[CacheLayerMixin] = []
    for layer in range(num_layers):
        keys, values = (
            _rows_of_layer(states, unique, name, layer, longest, dtype)
            for name in ("keys", "values")
        )
        layers.append(_PrefixedLayer(keys, values))
    return Cache(layers=layers)


def _rows_of_layer(  # noqa: PLR0917  all six say which tensor
    states: Sequence[PrefixStates | None],
    unique: dict[int, PrefixStates],
    name: str,
    layer: int,
    longest: int,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Return (B, H, longest, head width) of one layer; a view where all rows share one prefix."""
    # Converted before it is repeated for all rows, not after.
    tensors = {key: getattr(state, name)[layer].to(dtype) for key, state in unique.items()}
    if len(tensors) == 1 and all(state is not None for state in states):
        shared: torch.Tensor = next(iter(tensors.values()))
        return shared[None].expand(len(states), *shared.shape)
    some = next(iter(tensors.values()))
    padded = {
        key: torch.nn.functional.pad(tensor, (0, 0, longest - tensor.shape[-2], 0))
        for key, tensor in tensors.items()
    }
    empty = some.new_zeros((some.shape[0], longest, some.shape[-1]))
    stacked: torch.Tensor = torch.stack(
        [empty if state is None else padded[id(state)] for state in states]
    )
    return stacked
