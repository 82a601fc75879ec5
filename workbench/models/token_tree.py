"""The tokens of one row as a tree, and which of them see each other as numbers of each token."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class TreeSpans(NamedTuple):
    """What decides who sees whom in a tree of T tokens.

    A token sees a key, itself or an ancestor, if `first[key] <= first[token] < last[key]`.

    Source: the ancestor test by preorder numbers, Dietz 1982, "Maintaining order in a linked list",
    https://doi.org/10.1145/800070.802184, section 2.

    Attributes:
        first: (T,) a token's number in preorder.
        last: (T,) the number after those of all that follow from it.
        depths: (T,) how many ancestors it has.
        trunk: Leading tokens that form a chain which every later token follows.
    """

    first: np.ndarray
    last: np.ndarray
    depths: np.ndarray
    trunk: int


@dataclass
class TokenTree:
    """Tokens of one row with the index of each token's parent (-1: follows the prefix).

    Parents come before their children.
    """

    token_ids: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    _branches: dict[tuple[int, int], int] = field(default_factory=dict, repr=False)

    @classmethod
    def chain(cls, token_ids: Sequence[int]) -> "TokenTree":
        """Return the tree in which each token follows the one before it."""
        return cls(list(token_ids), list(range(-1, len(token_ids) - 1)))

    def extend(self, parent: int, token_id: int) -> int:
        """Return the node of `token_id` below `parent`, made if it is not there yet."""
        following = parent + 1
        if following < len(self) and (self.parents[following], self.token_ids[following]) == (
            parent,
            token_id,
        ):
            return following
        found = self._branches.get((parent, token_id))
        return self.append(parent, [token_id]) if found is None else found

    def append(self, parent: int, token_ids: Sequence[int]) -> int:
        """Let a new chain of tokens follow `parent`; return its first node."""
        node = len(self)
        self._branches.setdefault((parent, token_ids[0]), node)
        self.token_ids += token_ids
        self.parents += [parent, *range(node, node + len(token_ids) - 1)]
        return node

    def __len__(self) -> int:
        return len(self.token_ids)

    def spans(self) -> TreeSpans:
        """Return who sees whom, in time and memory of the number of tokens."""
        size, parents = len(self), np.array(self.parents, dtype=np.int64)
        odd = np.flatnonzero(parents != np.arange(-1, size - 1))
        lead = int(odd[0]) if len(odd) else size
        trunk = min(lead, int(parents[lead:].min()) + 1) if len(odd) else size
        first, depths = np.arange(size), np.arange(size)
        last = np.full(size, size)
        sizes = [1] * (size - trunk)
        for node in range(size - 1, trunk - 1, -1):
            if self.parents[node] >= trunk:
                sizes[self.parents[node] - trunk] += sizes[node - trunk]
        # Where the next child of a node is numbered; the last is of all that follow the trunk.
        free = [0] * (size - trunk) + [trunk]
        for node in range(trunk, size):
            parent = self.parents[node]
            place = parent - trunk if parent >= trunk else -1
            first[node] = number = free[place]
            free[place] += sizes[node - trunk]
            free[node - trunk] = number + 1
            last[node] = number + sizes[node - trunk]
            depths[node] = depths[parent] + 1 if parent >= 0 else 0
        return TreeSpans(first, last, depths, trunk)
