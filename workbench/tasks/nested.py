"""Training splits of growing size, each contained in the next: one labelled budget N at a time."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from workbench.errors import ConfigError
from workbench.tasks.base import Sample, Task


def with_train_size(task: Task, size: int, *, seed: int) -> Task:
    """Return the task with `size` of its training samples, balanced by label as far as possible.

    The first `size` of one seeded order are taken, so that a smaller split is contained in every
    larger one, and kept in the order of the whole split, so that all of them are the task itself.

    Args:
        task: Its dev and test splits stay.
        size: From 0 to the size of its training split.
        seed: Decides the order.

    Raises:
        ConfigError: the training split has fewer samples.
    """
    if not 0 <= size <= len(task.train):
        raise ConfigError(
            f"{size} training examples wanted, the training split of '{task.name}' has "
            f"{len(task.train)}. Use 0 to {len(task.train)}, or more training data."
        )
    kept = sorted(nested_order(task.train, task.labels, seed=seed)[:size])
    return replace(task, train=tuple(task.train[position] for position in kept))


def nested_order(samples: tuple[Sample, ...], labels: tuple[str, ...], *, seed: int) -> list[int]:
    """Return the positions of the samples in a random order in which the labels take turns.

    A label that runs out leaves its turns to the others; without labels the order is random alone.
    """
    generator = np.random.default_rng(seed)
    order = [int(position) for position in generator.permutation(len(samples))]
    if not labels:
        return order
    first = [labels[number] for number in generator.permutation(len(labels))]
    turn_of = dict.fromkeys(labels, 0)
    turns = {}
    for position in order:
        label = samples[position].target
        turns[position] = (turn_of[label], first.index(label))
        turn_of[label] += 1
    return sorted(order, key=turns.__getitem__)


def fixed_sample(samples: Sequence[Sample], num: int, *, stratify: bool) -> list[Sample]:
    """Return at most `num` samples, in their order, chosen by their content alone.

    So whoever asks looks at the same ones, and a smaller choice is contained in every larger one.
    With `stratify` each target has its share, and at least one sample where there is room for all.
    """
    if num >= len(samples):
        return list(samples)
    groups: dict[str, list[int]] = {}
    for position in sorted(range(len(samples)), key=lambda p: _content(samples[p])):
        groups.setdefault(samples[position].target if stratify else "", []).append(position)
    # Each group's positions at even distances between 0 and 1, the first of every group at 0:
    # whatever is cut off the front has each group in proportion.
    places = {
        position: (number / len(group), _content(samples[position]))
        for group in groups.values()
        for number, position in enumerate(group)
    }
    return [samples[position] for position in sorted(sorted(places, key=places.__getitem__)[:num])]


def _content(sample: Sample) -> str:
    text = json.dumps([dict(sample.fields), sample.target], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
