"""How alike soft prompts are, and whether prompts of one task are more alike than others.

Source: prompts as embeddings of tasks: Vu et al. 2022 (SPoT), https://arxiv.org/abs/2110.07904
(cosine of the mean vectors); differences from the start: Belanec et al. 2024, "Task
Prompt Vectors", https://arxiv.org/abs/2408.01119.
Differs from the source: vectors are also matched one to one, because their order is free.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench.presentation.reading import LEVEL, Standing
from workbench.readings.vectors.chance import control_draws, standing

_TINY = 1e-12  # a vector shorter than this has no direction
_PERMUTATIONS = 999


@dataclass(frozen=True)
class Similarities:
    """How alike two prompts are, each from -1 to 1; None where there is no direction to compare.

    Attributes:
        mean: Cosine of the mean vectors.
        matched: Mean cosine of vectors matched one to one so that it is largest.
        slots: Mean cosine of the vectors at the same place; None for different lengths.
    """

    mean: float | None
    matched: float | None
    slots: float | None


def similarities(
    first: np.ndarray, second: np.ndarray, *, origin: np.ndarray | None = None
) -> Similarities:
    """Return how alike vectors (P, D) and (Q, D) are.

    Vectors of length zero have no direction and are left out.

    Args:
        first: One prompt, or what training added to its start.
        second: The other prompt.
        origin: (D,) subtracted from every vector first: the vocabulary's mean embedding.

    Raises:
        ValueError: the widths differ, or a prompt has no vectors.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"vectors of shapes {first.shape} and {second.shape} cannot be compared")
    if not len(first) or not len(second):
        raise ValueError("a prompt without vectors is like nothing")
    ours, theirs = (np.asarray(vectors, dtype=np.float64) for vectors in (first, second))
    if origin is not None:
        ours, theirs = ours - origin, theirs - origin
    cosines = _cosines(ours, theirs)
    return Similarities(
        mean=_single(_cosines(ours.mean(axis=0)[None], theirs.mean(axis=0)[None])),
        matched=_matched(cosines),
        slots=_mean(np.diag(cosines)) if len(ours) == len(theirs) else None,
    )


def mean_likeness(
    prompts: np.ndarray, others: Sequence[np.ndarray], origin: np.ndarray
) -> np.ndarray:
    """Return (N,) how alike prompts (N, P, D) and others are: cosine of mean vectors, on average.

    Args:
        prompts: Any number of prompts of P vectors.
        others: Each (Q, D).
        origin: (D,) subtracted first.
    """
    ours = np.asarray(prompts, dtype=np.float64).mean(axis=1) - origin
    theirs = np.stack([np.asarray(o, dtype=np.float64).mean(axis=0) for o in others]) - origin
    likeness: np.ndarray = np.nan_to_num(_cosines(ours, theirs)).mean(axis=1)
    return likeness


def _cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return (P, Q) cosines; NaN where a vector has no direction."""
    lengths = [np.linalg.norm(vectors, axis=1) for vectors in (first, second)]
    units = [
        vectors / np.where(length > _TINY, length, np.nan)[:, None]
        for vectors, length in zip((first, second), lengths, strict=True)
    ]
    cosines: np.ndarray = np.clip(units[0] @ units[1].T, -1.0, 1.0)
    return cosines


def _matched(cosines: np.ndarray) -> float | None:
    """Return the mean over the best one-to-one matching (Hungarian method)."""
    from scipy.optimize import linear_sum_assignment

    known = ~np.isnan(cosines)
    some = cosines[known.any(axis=1)][:, known.any(axis=0)]
    if not some.size:
        return None
    return float(some[linear_sum_assignment(some, maximize=True)].mean())


def _single(cosines: np.ndarray) -> float | None:
    return _mean(cosines.ravel())


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None


@dataclass(frozen=True)
class Grouping:
    """Whether prompts of one task are more alike than prompts of different tasks.

    Attributes:
        same: Mean similarity of pairs of one task; None without such pairs.
        different: Mean similarity of pairs of different tasks; None without such pairs.
        standing: Same less different beside tasks dealt out at random; None where there are too
            few prompts for any arrangement to be rarer than one in twenty.
    """

    same: float | None
    different: float | None
    standing: Standing | None


def grouping(what: str, matrix: np.ndarray, tasks: Sequence[str]) -> Grouping:
    """Return the mean similarities within and between tasks, with a permutation test.

    Args:
        what: Names the similarity.
        matrix: (N, N), symmetric; NaN where there is no figure. The diagonal is not used.
        tasks: N names; "" is a task that is not known, and takes no part.

    Source: Mantel 1967, https://pubmed.ncbi.nlm.nih.gov/6018555: prompts are permuted, not pairs.
    """
    known = [i for i, task in enumerate(tasks) if task]
    part = matrix[np.ix_(known, known)]
    names = np.array([tasks[i] for i in known])
    upper = np.triu(~np.isnan(part), k=1)
    same, different = _within_and_between(part, names, upper)
    if same is None or different is None or num_arrangements(names.tolist()) * LEVEL < 1:
        return Grouping(same, different, None)
    generator = control_draws(part)
    controls = []
    for _ in range(_PERMUTATIONS):
        inside, outside = _within_and_between(part, generator.permutation(names), upper)
        if inside is not None and outside is not None:  # too few figures are known else
            controls.append(inside - outside)
    if not controls:
        return Grouping(same, different, None)
    label = f"{what}: pairs of one task less pairs of different tasks"
    place = standing(label, same - different, "tasks dealt out at random", controls)
    return Grouping(same, different, place)


def _within_and_between(
    matrix: np.ndarray, names: np.ndarray, pairs: np.ndarray
) -> tuple[float | None, float | None]:
    """Return the mean of the `pairs` (N, N) that share a name, and of those that do not."""
    is_same = names[:, None] == names[None, :]
    return _mean(matrix[pairs & is_same]), _mean(matrix[pairs & ~is_same])


def num_arrangements(tasks: Sequence[str]) -> int:
    """Return in how many ways that differ prompts can be dealt out to tasks of these sizes.

    Tasks of one size can swap their names without changing which pairs belong together.
    """
    sizes = Counter(tasks).values()
    ways = math.factorial(len(tasks))
    for size in sizes:
        ways //= math.factorial(size)
    for equal in Counter(sizes).values():
        ways //= math.factorial(equal)
    return ways
