"""Labelled rows as tokens, which make the batch of a training step, and which run at once."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

PASS_TOKENS = 2048  # positions of a pass: more are no faster, and each takes memory in all layers
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


def rows_of_a_pass(own_tokens: int, shared_tokens: int) -> int:
    """Return how many rows of a length run at once where nobody says: `PASS_TOKENS`, or one row."""
    return max(1, (PASS_TOKENS - shared_tokens) // own_tokens)


def micro_batches(
    batch: Sequence[Example], size: int | None, shared_tokens: int
) -> list[Sequence[Example]]:
    """Return the batch in parts that are run one after the other, as even as can be.

    They follow from the arguments alone, never from the memory there is, because sums in another
    order have other last bits.

    Args:
        batch: The examples of a step.
        size: How many a part has at most; None: as many as `rows_of_a_pass` says.
        shared_tokens: Positions that every part runs before its rows.
    """
    longest = max(len(one.token_ids) + len(one.answer_ids) - 1 for one in batch)
    most = rows_of_a_pass(longest, shared_tokens) if size is None else size
    parts = math.ceil(len(batch) / most)
    even = math.ceil(len(batch) / parts)
    return [batch[start : start + even] for start in range(0, len(batch), even)]
