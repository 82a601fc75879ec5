"""The tokens nearest to vectors, exactly, over the whole vocabulary.

Token embeddings lie in a narrow cone, so plain cosines look high for everything; cosines after
subtracting the mean embedding, and ranks, are what to read (Ethayarajh 2019,
https://arxiv.org/abs/1909.00512; Mu and Viswanath 2018, https://arxiv.org/abs/1702.01417).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

Measure = Literal["centred", "cosine", "distance"]
MEASURES: tuple[Measure, ...] = ("centred", "cosine", "distance")
_BLOCK = 65_536  # tokens compared at once
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The tokens of a base and where they lie.

    Attributes:
        embeddings: (V, D) float32, as the first layer sees them.
        tokens: V texts to show.
        is_ordinary: (V,) bool, False for special and unused tokens.
    """

    embeddings: np.ndarray
    tokens: Sequence[str]
    is_ordinary: np.ndarray

    @cached_property
    def ordinary_ids(self) -> np.ndarray:
        """Ids of the tokens that ordinary text is made of."""
        return np.flatnonzero(self.is_ordinary)

    @cached_property
    def words(self) -> list[str]:
        """V texts in lower case, letters and digits only."""
        lower = (text.lower().removeprefix("\N{OPEN BOX}") for text in self.tokens)
        return [t if t.isalnum() else "".join(c for c in t if c.isalnum()) for t in lower]

    @cached_property
    def mean(self) -> np.ndarray:
        """(D,) mean embedding of the ordinary tokens."""
        mean: np.ndarray = self.embeddings[self.ordinary_ids].mean(axis=0)
        return mean

    @cached_property
    def norms(self) -> np.ndarray:
        """(V,) Euclidean norms."""
        norms: np.ndarray = np.sqrt(np.einsum("vd,vd->v", self.embeddings, self.embeddings))
        return norms

    @cached_property
    def along_mean(self) -> np.ndarray:
        """(V,) inner products with the mean embedding."""
        products: np.ndarray = self.embeddings @ self.mean
        return products

    @cached_property
    def centred_norms(self) -> np.ndarray:
        """(V,) norms after subtracting the mean embedding."""
        squares = self.norms**2 - 2 * self.along_mean + self.mean @ self.mean
        norms: np.ndarray = np.sqrt(np.maximum(squares, 0.0))
        return norms

    def norm_percentiles(self, vectors: np.ndarray) -> np.ndarray:
        """Return (P,) the share of ordinary tokens (0 to 100) with a smaller norm than each."""
        ordered = np.sort(self.norms[self.ordinary_ids])
        places = np.searchsorted(ordered, np.linalg.norm(vectors, axis=1))
        shares: np.ndarray = 100.0 * places / ordered.size
        return shares


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The k nearest tokens of P vectors by one measure.

    Attributes:
        ids: (P, k) token ids, the nearest first.
        values: (P, k) cosines, or distances.
    """

    ids: np.ndarray
    values: np.ndarray

    @property
    def margins(self) -> np.ndarray:
        """(P,) how far the nearest is ahead of the second, positive in every measure."""
        margins: np.ndarray = np.abs(self.values[:, 0] - self.values[:, 1])
        return margins


def nearest(
    vocabulary: Vocabulary,
    vectors: np.ndarray,
    *,
    k: int = 5,
    measures: Sequence[Measure] = MEASURES,
    without: np.ndarray | None = None,
) -> dict[Measure, Neighbours]:
    """Return the k ordinary tokens nearest to each vector, by each measure.

    All measures come from one matrix product per block, so three cost little more than one.

    Args:
        vocabulary: Where to look.
        vectors: (P, D).
        k: How many; at least 2, at most the ordinary tokens there are.
        measures: Cosine after subtracting the mean embedding, cosine, Euclidean distance.
        without: (P,) a token id to pass over for each vector: for tokens that are held out.

    Raises:
        ValueError: vectors of another width, or a k out of bounds.
    """
    size, width = vocabulary.embeddings.shape
    if vectors.ndim != 2 or vectors.shape[1] != width:
        raise ValueError(f"vectors of shape {vectors.shape} do not fit embeddings of width {width}")
    if not 2 <= k <= len(vocabulary.ordinary_ids):
        raise ValueError(f"k = {k}; allowed: 2 to {len(vocabulary.ordinary_ids)}")
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    found: dict[Measure, list[Neighbours]] = {measure: [] for measure in measures}
    for start in range(0, size, _BLOCK):
        block = slice(start, min(start + _BLOCK, size))
        products = vectors @ vocabulary.embeddings[block].T  # (P, block)
        skipped = np.broadcast_to(~vocabulary.is_ordinary[block], products.shape)
        if without is not None:
            skipped = skipped | (np.arange(start, block.stop)[None] == without[:, None])
        for measure in measures:
            scores = _scores(vocabulary, vectors, products, block, measure)
            np.copyto(scores, -np.inf, where=skipped)
            ids, best = _largest(scores, min(k, scores.shape[1]))
            found[measure].append(Neighbours(ids + start, best))
    return {measure: _merged(parts, k, measure) for measure, parts in found.items()}


def near_any(
    vocabulary: Vocabulary, ids: np.ndarray, wanted: np.ndarray, *, k: int, first_look: int
) -> np.ndarray:
    """Return (n,) whether any wanted token is among the k nearest of each token, itself included.

    Nearest by cosine after subtracting the mean. Where k of the first tokens looked at are nearer
    than any wanted one, none is among the nearest, so most tokens need no search.

    Args:
        vocabulary: Where to look.
        ids: (n,) ordinary tokens.
        wanted: (m,) ordinary tokens.
        k: How many are near; at least 2.
        first_look: How many tokens are looked at first.
    """
    found = np.zeros(len(ids), dtype=bool)
    if not wanted.size:
        return found
    step = -(-len(vocabulary.ordinary_ids) // first_look)
    others = np.setdiff1d(vocabulary.ordinary_ids[::step], wanted)
    directions = [
        (vocabulary.embeddings[some] - vocabulary.mean)
        / np.maximum(vocabulary.centred_norms[some], _TINY)[:, None]
        for some in (ids, wanted, others)
    ]
    best = (directions[0] @ directions[1].T).max(axis=1)
    nearer = (directions[0] @ directions[2].T > best[:, None] + 1e-4).sum(axis=1)
    open_ones = np.flatnonzero(nearer < k)
    if open_ones.size:
        vectors = vocabulary.embeddings[ids[open_ones]]
        near = nearest(vocabulary, vectors, k=k, measures=("centred",))["centred"]
        found[open_ones] = np.isin(near.ids, wanted).any(axis=1)
    return found


def _scores(
    vocabulary: Vocabulary,
    vectors: np.ndarray,
    products: np.ndarray,
    block: slice,
    measure: Measure,
) -> np.ndarray:
    """Return (P, block) scores, the nearest largest; distances as their negative."""
    norms = np.linalg.norm(vectors, axis=1)[:, None]
    if measure == "cosine":
        scores = products / np.maximum(norms * vocabulary.norms[block], _TINY)
    elif measure == "distance":
        squares = norms**2 + vocabulary.norms[block] ** 2 - 2 * products
        scores = -np.sqrt(np.maximum(squares, 0.0))
    else:
        mean = vocabulary.mean
        centred = products - vocabulary.along_mean[block] - (vectors @ mean)[:, None] + mean @ mean
        lengths = np.linalg.norm(vectors - mean, axis=1)[:, None] * vocabulary.centred_norms[block]
        scores = centred / np.maximum(lengths, _TINY)
    found: np.ndarray = scores
    return found


def _largest(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return columns and values (P, k) of the largest scores, the largest first."""
    some = np.argpartition(scores, -k, axis=1)[:, -k:]
    values = np.take_along_axis(scores, some, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(some, order, axis=1), np.take_along_axis(values, order, axis=1)


def _merged(parts: Sequence[Neighbours], k: int, measure: Measure) -> Neighbours:
    ids = np.concatenate([part.ids for part in parts], axis=1)
    scores = np.concatenate([part.values for part in parts], axis=1)
    columns, values = _largest(scores, k)
    values = -values if measure == "distance" else values
    return Neighbours(np.take_along_axis(ids, columns, axis=1), values)
