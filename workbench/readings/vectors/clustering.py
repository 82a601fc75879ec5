"""Clusters of vectors: how many, how apart, and whether another seed finds the same ones.

Sources: silhouette: Rousseeuw 1987; adjusted Rand index: Hubert and Arabie 1985; HDBSCAN:
Campello et al. 2013. Rows are directions (`projection.directions`): centred, of length one.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from threadpoolctl import ThreadpoolController

MAX_CLUSTERS = 8
MIN_ROWS = 4  # with three, every split leaves a cluster of one

_STARTS = 4  # of k-means; the best is kept
_SEEDS = 5  # whose clusters are compared


@dataclass(frozen=True, eq=False)
class Clustering:
    """Clusters of rows.

    Attributes:
        labels: (n,) cluster of each row, from 0; -1 belongs to none.
        silhouette: From -1 to 1: how much nearer rows are to their own cluster than to the next
            one; None where there are fewer than two clusters.
        by_count: Silhouette for each number of clusters that was tried.
    """

    labels: np.ndarray
    silhouette: float | None
    by_count: dict[int, float]

    @property
    def num_clusters(self) -> int:
        """How many clusters there are."""
        return len(set(self.labels.tolist()) - {-1})

    def members(self, cluster: int) -> np.ndarray:
        """Return the rows of a cluster."""
        return np.flatnonzero(self.labels == cluster)


def k_means(rows: np.ndarray, *, seed: int) -> Clustering | None:
    """Return the k-means clusters with the largest silhouette among 2 to 8; None if there are none.

    Args:
        rows: (n, D) directions.
        seed: What the starts are drawn from.

    Returns:
        None for fewer than three rows, or fewer than two different ones.
    """
    from sklearn.metrics import silhouette_score

    rows = np.asarray(rows, dtype=np.float64)
    most = min(MAX_CLUSTERS, len(rows) - 1, len(np.unique(rows.round(9), axis=0)))
    with _one_thread():
        tried = {count: _labels(rows, count, seed=seed) for count in range(2, most + 1)}
    scores = {count: float(silhouette_score(rows, labels)) for count, labels in tried.items()}
    if not scores:
        return None
    best = max(scores, key=lambda count: scores[count])
    return Clustering(tried[best], scores[best], scores)


def by_density(rows: np.ndarray) -> Clustering:
    """Return the clusters HDBSCAN finds, which may be none; it leaves out what is far from all.

    Args:
        rows: (n, D) directions, at least two.
    """
    from sklearn.cluster import HDBSCAN
    from sklearn.metrics import silhouette_score

    smallest = max(2, len(rows) // 20)
    labels = HDBSCAN(min_cluster_size=smallest, copy=True).fit_predict(np.array(rows))
    labels = np.where(labels < 0, -1, labels)
    inside = labels >= 0
    count = len(set(labels[inside].tolist()))
    if not 2 <= count < inside.sum():
        return Clustering(labels, None, {})
    score = float(silhouette_score(rows[inside], labels[inside]))
    return Clustering(labels, score, {count: score})


def stability(rows: np.ndarray, num_clusters: int, *, seed: int) -> float:
    """Return how alike the k-means clusters of five seeds are: mean adjusted Rand index.

    Returns:
        1 if all are the same, about 0 if they agree as chance would.
    """
    rows = np.asarray(rows, dtype=np.float64)
    with _one_thread():
        runs = [_labels(rows, num_clusters, seed=seed + 1 + i) for i in range(_SEEDS)]
    return float(np.mean([agreement(one, other) for one, other in combinations(runs, 2)]))


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Return the adjusted Rand index of two labellings (n,): 1 the same, about 0 by chance."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(one, other))


def _labels(rows: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans

    labels: np.ndarray = KMeans(count, n_init=_STARTS, random_state=seed).fit_predict(rows)
    return labels


def _one_thread() -> AbstractContextManager[object]:
    """Keep k-means to one thread: for so few rows several wait for each other, 20 times slower."""
    limits: AbstractContextManager[object] = _libraries().limit(limits=1, user_api="openmp")
    return limits


@cache
def _libraries() -> ThreadpoolController:
    """Return the loaded libraries that have threads; to look for them takes as long as k-means."""
    return ThreadpoolController()
