"""Tokens and vectors projected together to the plane, with how faithful the picture is.

Sources: UMAP: McInnes et al. 2018, https://arxiv.org/abs/1802.03426; t-SNE: van der Maaten and
Hinton 2008; both start from the principal components: Kobak and Linderman 2021, "Initialization is
critical for preserving global data structure in both t-SNE and UMAP"; trustworthiness: Venna and
Kaski 2001.
"""

import importlib
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np

Method = Literal["pca", "umap", "tsne"]
METHODS: tuple[Method, ...] = ("umap", "tsne", "pca")
MAX_TOKENS = 4000  # all distances between them are held at once: 64 MB

_MIN_TOKENS = 5  # fewer have no neighbourhoods to keep
_NEIGHBOURS = 15  # UMAP's own default; trustworthiness is judged over as many
_EPOCHS = 200  # UMAP's own for large sets; 500 look the same here and take twice as long
_PERPLEXITY = 30.0
_COMPARED = 2000  # rows that trustworthiness is computed over at most: under a second
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Projection:
    """Places in the plane.

    Attributes:
        tokens: (n, 2).
        vectors: (m, 2).
        fidelity: Trustworthiness from 0 to 1: how far neighbours in the plane are neighbours in
            the space too.
        num_compared: Rows it was computed over: all, or a sample of them with the vectors first.
    """

    tokens: np.ndarray
    vectors: np.ndarray
    fidelity: float
    num_compared: int


def directions(rows: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Return rows (n, D) seen from an origin (D,), scaled to length one; none stays zero."""
    moved = np.asarray(rows, dtype=np.float64) - origin
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    scaled: np.ndarray = np.divide(moved, lengths, out=np.zeros_like(moved), where=lengths > _TINY)
    return scaled


def check_rows(tokens: np.ndarray, vectors: np.ndarray, method: str) -> None:
    """Refuse what cannot be projected.

    Raises:
        ValueError: shapes that do not fit, too few or too many tokens, tokens that are all the
            same, figures that are not finite, or an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
    if tokens.ndim != 2 or vectors.ndim != 2 or tokens.shape[1] != vectors.shape[1]:
        raise ValueError(f"tokens {tokens.shape} and vectors {vectors.shape} do not fit together")
    if not _MIN_TOKENS <= len(tokens) <= MAX_TOKENS or tokens.shape[1] < 2:
        raise ValueError(
            f"{len(tokens)} tokens of width {tokens.shape[1]}; allowed: {_MIN_TOKENS} to "
            f"{MAX_TOKENS} of width 2 or more"
        )
    if not np.isfinite(tokens).all() or not np.isfinite(vectors).all():
        raise ValueError("tokens and vectors have to be finite")
    if not np.ptp(tokens, axis=0).any():
        raise ValueError("all tokens are the same; there is nothing to project")


def project(
    tokens: np.ndarray, vectors: np.ndarray, *, method: Method, seed: int = 0
) -> Projection:
    """Return tokens (n, D) and vectors (m, D) in the plane; the same for the same seed.

    Principal components are those of the tokens as they are. UMAP and t-SNE see directions only:
    rows less the tokens' mean, of length one, because a few long rows would tear the picture
    apart. UMAP is fitted on the tokens and then places the vectors; t-SNE places all together.

    Args:
        tokens: (n, D), a sample of the vocabulary.
        vectors: (m, D), m may be 0.
        method: "pca" takes no time, "tsne" and "umap" seconds; the first "umap" of a process
            compiles and holds the interpreter meanwhile (`projection_process.project_apart`).
        seed: What everything random is drawn from.

    Raises:
        ValueError: the rows cannot be projected (`check_rows`).
    """
    check_rows(tokens, vectors, method)
    origin = tokens.mean(axis=0, dtype=np.float64)
    if method == "pca":
        rows, others = np.asarray(tokens, np.float64), np.asarray(vectors, np.float64)
    else:
        rows, others = directions(tokens, origin), directions(vectors, origin)
    place = {"pca": _pca, "umap": _umap, "tsne": _tsne}[method]
    placed = place(rows, others, seed)
    fidelity, compared = _fidelity(np.concatenate([others, rows]), placed, len(others), seed)
    return Projection(placed[len(others) :], placed[: len(others)], fidelity, compared)


def _pca(rows: np.ndarray, others: np.ndarray, seed: int) -> np.ndarray:
    """Return (m + n, 2) places on the two main axes of the rows, the others first."""
    from sklearn.decomposition import PCA

    fitted = PCA(n_components=2, random_state=seed).fit(rows)
    placed: np.ndarray = fitted.transform(np.concatenate([others, rows]))
    return placed


def _tsne(rows: np.ndarray, others: np.ndarray, seed: int) -> np.ndarray:
    """Return (m + n, 2) places, the others first."""
    from sklearn.manifold import TSNE

    both = np.concatenate([others, rows])
    perplexity = min(_PERPLEXITY, (len(both) - 1) / 3)
    placed: np.ndarray = TSNE(
        n_components=2, perplexity=perplexity, init="pca", random_state=seed
    ).fit_transform(both)
    return placed.astype(np.float64)


def _umap(rows: np.ndarray, others: np.ndarray, seed: int) -> np.ndarray:
    """Return (m + n, 2) places, the others first.

    Distances are computed here, because umap-learn would call Python for each of millions.
    """
    from sklearn.decomposition import PCA
    from sklearn.metrics.pairwise import euclidean_distances

    start = PCA(n_components=2, random_state=seed).fit_transform(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # that TensorFlow is not installed
        warnings.filterwarnings("ignore", message=".*precomputed metric", category=UserWarning)
        umap = importlib.import_module("umap")  # imports and compiles for seconds: only if needed
        fitted = umap.UMAP(
            n_neighbors=min(_NEIGHBOURS, len(rows) - 1),
            n_epochs=_EPOCHS,
            metric="precomputed",
            init=(10 * start / np.abs(start).max()).astype(np.float32),  # as umap-learn scales it
            random_state=seed,
            transform_seed=seed,
            n_jobs=1,  # more would make it differ from run to run
        ).fit(euclidean_distances(rows).astype(np.float32))
        placed = np.empty((0, 2))
        if len(others):
            placed = fitted.transform(euclidean_distances(others, rows).astype(np.float32))
    return np.concatenate([placed, fitted.embedding_]).astype(np.float64)


def _fidelity(
    rows: np.ndarray, placed: np.ndarray, num_vectors: int, seed: int
) -> tuple[float, int]:
    """Return trustworthiness and the number of rows it was computed over."""
    from sklearn.manifold import trustworthiness

    if not np.isfinite(placed).all():
        raise ValueError("the projection is not finite")
    chosen = np.arange(min(num_vectors, _COMPARED // 2))
    rest = np.arange(num_vectors, len(rows))
    room = _COMPARED - len(chosen)
    if len(rest) > room:
        rest = np.sort(np.random.default_rng(seed).choice(rest, room, replace=False))
    chosen = np.concatenate([chosen, rest])
    neighbours = min(_NEIGHBOURS, (len(chosen) - 1) // 2)
    kept = trustworthiness(rows[chosen], placed[chosen], n_neighbors=neighbours)
    return float(np.clip(kept, 0.0, 1.0)), len(chosen)
