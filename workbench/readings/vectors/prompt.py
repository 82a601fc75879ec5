"""A soft prompt as arrays: where its vectors are, where they started, and how they moved."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from workbench.readings.vectors.chance import control_draws

INSTEAD_OF_INSTRUCTION = "instead_of_instruction"


@dataclass(frozen=True, eq=False)
class SoftPrompt:
    """P learned vectors of width D, in the order in which the model reads them.

    Attributes:
        name: What it is called where it is shown.
        vectors: (P, D) float32.
        start: (P, D) where training began, or None where that is not known.
        path: Training steps and the vectors (P, D) at each, in order; empty where not kept.
        task: Name of the task it was trained on, or "".
        position: Where in the prompt they were trained to stand, see prompt tuning's option.
    """

    name: str
    vectors: np.ndarray
    start: np.ndarray | None = None
    path: tuple[tuple[int, np.ndarray], ...] = ()
    task: str = ""
    position: str = INSTEAD_OF_INSTRUCTION

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def digest(self) -> str:
        """Content hash of vectors, start and path, and of their place if it is not the usual."""
        sha = hashlib.sha256()
        if self.position != INSTEAD_OF_INSTRUCTION:
            sha.update(self.position.encode())
        for array in (self.vectors, self.start, *(vectors for _, vectors in self.path)):
            if array is not None:
                sha.update(repr(array.shape).encode())
                sha.update(np.ascontiguousarray(array, dtype=np.float32).tobytes())
        return sha.hexdigest()[:16]


def random_like(vectors: np.ndarray, *, seed: int | np.random.Generator) -> np.ndarray:
    """Return Gaussian vectors (P, D) with the norms of the given ones, in random directions."""
    drawn = np.random.default_rng(seed).normal(size=vectors.shape)
    scale = np.linalg.norm(vectors, axis=1) / np.linalg.norm(drawn, axis=1)
    random: np.ndarray = (drawn * scale[:, None]).astype(np.float32)
    return random


def random_prompts(vectors: np.ndarray, count: int, *, seed: int = 0) -> list[np.ndarray]:
    """Return `count` random prompts (P, D) with the norms of the given one: a control each.

    They are the given prompt's own (`chance.control_draws`); the first ones are the same for any
    count.
    """
    generator = control_draws(vectors, seed=seed)
    return [random_like(vectors, seed=generator) for _ in range(count)]
