"""Labelled rows as tokens, and which of them make the batch of a training step."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_BATCHES_PER_WINDOW = 8  # batches of similar length are formed within this many random batches


@dataclass(frozen=True)
class Example:
    """One labelled row: the prompt's own tokens and the answer's tokens."""

    token_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]


def batch_at(examples: Sequence[Example], size: int, seed: int, step: int) -> list[Example]:
    """Return the batch of a step; it follows from the arguments alone."""
    per_epoch = max(1, math.ceil(len(examples) / size))
    epoch, place = divmod(step, per_epoch)
    for number, batch in enumerate(_epoch(examples, size, np.random.default_rng([seed, epoch]))):
        if number == place:
            return batch
    raise AssertionError(f"epoch of {len(examples)} examples has no batch {place}")


def _epoch(
    examples: Sequence[Example], size: int, generator: np.random.Generator
) -> Iterator[list[Example]]:
    """Yield batches of similar length in random order."""
    order = generator.permutation(len(examples)).tolist()
    # Sorted only within a window: less padding, and the batches still differ between epochs.
    window = size * _BATCHES_PER_WINDOW
    batches = []
    for start in range(0, len(order), window):
        part = sorted(order[start : start + window], key=lambda i: len(examples[i].token_ids))
        batches += [part[i : i + size] for i in range(0, len(part), size)]
    for number in generator.permutation(len(batches)):
        yield [examples[i] for i in batches[number]]
