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

    def __init__(self, keys: Sequence[SharedTensor], values: Sequence[SharedTensor]) -> None:
        super().__init__()
        self._prefix_keys, self._prefix_values = keys, values
        self._longest = max(states.shape[-2] for _, states in keys)

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *_args: object,
        **_kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return prefix and new keys and values (B, H, P + T, head width)."""
        keys = PrefixedStates(key_states, self._prefix_keys, self._longest)
        return keys, PrefixedStates(value_states, self._prefix_values, self._longest)

    def get_seq_length(self) -> int:
        """Positions already filled: the longest prefix."""
        return self._longest


def recording_cache(num_layers: int) -> Cache:
    """Return an empty cache that keeps what a forward pass computes."""
    return Cache(layers=[DynamicLayer() for _ in range(num_layers)])


def prefixed_cache(states: Sequence[PrefixStates | None], num_layers: int) -> Cache | None:
    """Return a cache whose rows start with the given prefixes, padded on the left.

    It keeps nothing of the rows' own; `workbench.models.decoding_cache` has the one that does.

    Args:
        states: The prefix of each row, or None for a row without one.
        num_layers: Layers of the model.

    Returns:
        None when there is nothing to start from.
    """
    # By identity: rows of one prefix share one object, and comparing tensors would cost more.
    unique = {id(state): state for state in states if state is not None}
    if not unique:
        return None
    device = next(iter(unique.values())).keys[0].device
    rows: dict[int, torch.Tensor | None] = {}
    for key in unique:
        numbers = [row for row, state in enumerate(states) if id(state) == key]
        is_all = len(numbers) == len(states)
        rows[key] = None if is_all else torch.tensor(numbers, device=device)

    def of_layer(name: str, layer: int) -> list[SharedTensor]:
        return [(rows[key], getattr(state, name)[layer]) for key, state in unique.items()]

    layers: list[CacheLayerMixin] = [
        _PrefixedLayer(of_layer("keys", layer), of_layer("values", layer))
        for layer in range(num_layers)
    ]
    return Cache(layers=layers)
