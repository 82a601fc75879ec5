"""What a low-rank change does to a weight: size, spectrum, rank and directions, without forming it.

Source: Hu et al. 2021 (LoRA), https://arxiv.org/abs/2106.09685, section 7.2 and appendix G;
Liu et al. 2024 (DoRA), https://arxiv.org/abs/2402.09353, section 3.2.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

_TINY = 1e-300  # keeps a sum of zeros from dividing


@dataclass(frozen=True, eq=False)
class LowRank:
    """The singular value decomposition of a change of rank r of a weight (out, in).

    Attributes:
        left: (out, r) orthonormal columns: directions that are written.
        values: (r,) singular values, the largest first.
        right: (in, r) orthonormal columns: directions that are read.
    """

    left: np.ndarray
    values: np.ndarray
    right: np.ndarray

    @property
    def norm(self) -> float:
        """Frobenius norm."""
        return float(np.linalg.norm(self.values))

    @cached_property
    def shares(self) -> np.ndarray:
        """(r,) singular values by their sum; zeros for no change."""
        total = self.values.sum()
        shares: np.ndarray = self.values / total if total > 0 else np.zeros_like(self.values)
        return shares

    @property
    def effective_rank(self) -> float:
        """Effective rank; see `effective_rank`."""
        return effective_rank(self.values)

    @property
    def stable_rank(self) -> float:
        """Squared Frobenius norm by the squared largest singular value: 1 to r; 0 for no change.

        Source: Rudelson and Vershynin 2007, https://arxiv.org/abs/math/0503442.
        """
        top = float(self.values[0])
        return float((self.values / top) @ (self.values / top)) if top > 0 else 0.0


def decompose(b: np.ndarray, a: np.ndarray, scaling: float = 1.0) -> LowRank:
    """Return the decomposition of scaling * B A at the cost of r, not of the weight.

    With B = Q R and A^T = S T it is Q (R T^T) S^T, and R T^T is only r by r.

    Args:
        b: (out, r).
        a: (r, in); where r is above out or in, the smallest of the three stands for it.
        scaling: What the product is multiplied by: alpha / r in LoRA.

    Raises:
        ValueError: the shapes do not fit.
    """
    if b.ndim != 2 or a.ndim != 2 or b.shape[1] != a.shape[0]:
        raise ValueError(f"B of shape {b.shape} and A of shape {a.shape} do not fit")
    outer, upper = np.linalg.qr(np.asarray(b, dtype=np.float64))
    inner, lower = np.linalg.qr(np.asarray(a, dtype=np.float64).T)
    left, values, right = np.linalg.svd(scaling * upper @ lower.T, full_matrices=False)
    return LowRank(outer @ left, values, inner @ right.T)


def subspace_similarity(first: np.ndarray, second: np.ndarray) -> float:
    """Return how much of the smaller subspace lies in the larger: phi, from 0 to 1.

    For random subspaces it is about max(i, j) / d.

    Args:
        first: (d, i) orthonormal columns.
        second: (d, j) orthonormal columns.

    Raises:
        ValueError: subspaces of different spaces.

    Source: Hu et al. 2021, section 7.2, equation 4.
    """
    if len(first) != len(second):
        raise ValueError(f"subspaces of {len(first)} and {len(second)} dimensions")
    inner = first.T @ second  # (i, j) cosines
    return float(np.clip((inner**2).sum() / min(inner.shape), 0.0, 1.0))


def effective_rank(values: np.ndarray) -> float:
    """Return the exponential of the entropy of singular values (r,) by their sum: 1 to r.

    It is 0 where there is no change.

    Source: Roy and Vetterli 2007, https://ieeexplore.ieee.org/document/7098875.
    """
    some = values[values > 0] / max(values.sum(), _TINY)
    return float(np.exp(-(some * np.log(some)).sum())) if some.size else 0.0


def random_values(
    shape: tuple[int, int], rank: int, generator: np.random.Generator, count: int
) -> np.ndarray:
    """Return singular values of B A of Gaussian B (out, r) and A (r, in): nothing learned.

    Returns:
        (count, min(out, r, in)), the largest of each draw first.

    Source: the decomposition of Bartlett 1933: the triangle R of a Gaussian
    matrix can be drawn without the matrix.
    """
    upper, lower = (_random_triangles(size, rank, generator, count) for size in shape)
    values: np.ndarray = np.linalg.svd(upper @ lower.swapaxes(1, 2), compute_uv=False)
    return values


def _random_triangles(
    size: int, rank: int, generator: np.random.Generator, count: int
) -> np.ndarray:
    """Return R of the decomposition Q R of Gaussian matrices (count, size, rank)."""
    if rank > size:
        return generator.normal(size=(count, size, rank))
    triangles = np.triu(generator.normal(size=(count, rank, rank)), k=1)
    diagonal = np.arange(rank)
    squares = generator.chisquare(size - diagonal, size=(count, rank))
    triangles[:, diagonal, diagonal] = np.sqrt(squares)
    return triangles


def random_similarity(
    first: int, second: int, dimensions: int, generator: np.random.Generator, count: int
) -> np.ndarray:
    """Return (count,) phi of a subspace and random ones; which the first is makes no difference.

    A rotation changes no overlap, so the first may be that of the first axes. Of a Gaussian matrix
    (d, j) with X on top of Y, phi is the trace of (X'X + Y'Y)^-1 X'X by min(i, j), and Y'Y follows
    from a triangle.

    Args:
        first: Dimensions of one subspace (i), at most d.
        second: Dimensions of the other (j), at most d.
        dimensions: How many the space has (d).
        generator: What the random subspaces are drawn from.
        count: How many.
    """
    top = generator.normal(size=(count, first, second))
    rest = _random_triangles(dimensions - first, second, generator, count)
    inside, outside = (part.swapaxes(1, 2) @ part for part in (top, rest))
    shared = np.trace(np.linalg.solve(inside + outside, inside), axis1=1, axis2=2)
    similarity: np.ndarray = np.clip(shared / min(first, second), 0.0, 1.0)
    return similarity


@dataclass(frozen=True)
class WeightDecomposition:
    """How far a change moves the rows of a weight in length and in direction.

    Attributes:
        magnitude: Mean change of a row's length, by its length in the base.
        direction: Mean of 1 - cosine of a row with the base's: 0 to 2.
    """

    magnitude: float
    direction: float


def weight_decomposition(
    weight: np.ndarray,
    b: np.ndarray,
    a: np.ndarray,
    *,
    scaling: float = 1.0,
    magnitudes: np.ndarray | None = None,
) -> WeightDecomposition:
    """Return the change in length and direction of the rows of a weight.

    Differs from the source: lengths by their length in the base; rows of (out, in) where the paper
    speaks of columns, as in its own code and in PEFT.

    Args:
        weight: (out, in) of the base; rows of length zero are left out.
        b: (out, r).
        a: (r, in).
        scaling: What B A is multiplied by.
        magnitudes: (out,) the lengths DoRA learned; None for LoRA, whose lengths follow from B A.

    Raises:
        ValueError: the shapes do not fit, or all rows are zero.

    Source: Liu et al. 2024, section 3.2.
    """
    if b.shape[0] != weight.shape[0] or a.shape[1] != weight.shape[1] or b.shape[1] != a.shape[0]:
        raise ValueError(f"B {b.shape} and A {a.shape} do not fit a weight {weight.shape}")
    base, down, up = (np.asarray(array, dtype=np.float64) for array in (weight, scaling * b, a))
    before = np.linalg.norm(base, axis=1)
    along = np.einsum("or,or->o", down, base @ up.T)  # row of B A times row of the base
    squares = np.einsum("or,or->o", down @ (up @ up.T), down)
    # Rounding may leave a row that the change cancels a hair below zero.
    after = np.sqrt(np.maximum(before**2 + 2 * along + squares, 0.0))
    some = (before > 0) & (after > 0)
    if not some.any():
        raise ValueError("a weight of zeros has no directions")
    lengths = after if magnitudes is None else np.asarray(magnitudes, dtype=np.float64)
    if lengths.shape != before.shape:
        raise ValueError(f"magnitudes of shape {lengths.shape}; ({len(before)},) is needed")
    cosines = np.clip((before**2 + along)[some] / (before * after)[some], -1.0, 1.0)
    return WeightDecomposition(
        magnitude=float((np.abs(lengths - before)[some] / before[some]).mean()),
        direction=float((1 - cosines).mean()),
    )
