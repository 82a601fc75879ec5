"""Rows every table needs beside the methods: what answering without the base would reach."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from workbench.fitting.prediction import Prediction
from workbench.models.sentence_encoder import SentenceEncoder
from workbench.tasks.base import Sample, Task

MAJORITY = "majority_class"
NEAREST = "nearest_neighbour_vote"
COPY = "nearest_neighbour_copy"
BASELINES = (MAJORITY, NEAREST, COPY)
_NEIGHBOURS = 5


def baseline_predictions(name: str, task: Task, embed: SentenceEncoder | None) -> list[Prediction]:
    """Return the predictions on the test split of a baseline that applies to the task.

    The nearest-neighbour vote answers with the most frequent label of the five training texts
    closest to the question in a sentence embedding (Liu et al. 2021,
    https://arxiv.org/abs/2101.06804, section 4: the control that tells retrieval from learning).
    For a task that asks for a text, the target of the closest training text is copied.
    """
    if name == MAJORITY:
        return [_answer(sample, task.majority_label) for sample in task.test]
    assert embed is not None, name
    known = embed.encode([_text(sample) for sample in task.train])  # (N_train, D), unit length
    asked = embed.encode([_text(sample) for sample in task.test])  # (N_test, D)
    nearest = np.argsort(-(asked @ known.T), axis=1, kind="stable")[:, :_NEIGHBOURS]
    if name == COPY:
        return [
            replace(_answer(sample, task.train[row[0]].target), references=sample.all_references)
            for sample, row in zip(task.test, nearest, strict=True)
        ]
    return [
        _answer(sample, _vote([task.train[i] for i in row]))
        for sample, row in zip(task.test, nearest, strict=True)
    ]


def applies(name: str, task: Task, embed: SentenceEncoder | None) -> bool:
    """Return whether a baseline has anything to say about a task, with the encoder at hand."""
    if name == MAJORITY:
        return bool(task.labels)
    return embed is not None and needs_neighbours(name, task)


def needs_neighbours(name: str, task: Task) -> bool:
    """Return whether a baseline applies to the task and looks for its nearest training texts."""
    return name == (COPY if task.kind == "generation" else NEAREST) and (
        bool(task.labels) or task.kind == "generation"
    )


def _answer(sample: Sample, label: str) -> Prediction:
    return Prediction(sample_id=sample.id, target=sample.target, answer=label)


def _text(sample: Sample) -> str:
    return "\n".join(sample.fields.values())


def _vote(neighbours: Sequence[Sample]) -> str:
    """Return the most frequent label; ties go to the nearest neighbour's."""
    counts = Counter(sample.target for sample in neighbours)
    return max((sample.target for sample in neighbours), key=lambda label: counts[label])
