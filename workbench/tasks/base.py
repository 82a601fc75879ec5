"""The nouns of labelled data: `Sample`, `Task`, and the counts of what was dropped on the way."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from workbench.answer_forms import as_number

TaskKind = Literal["classification", "short_answer", "generation"]

HEADLINE_METRICS: Mapping[TaskKind, str] = {
    "classification": "accuracy",
    "short_answer": "accuracy",
    "generation": "rouge_l",
}
"""By kind of task, the metric that its runs are ranked and compared by."""


@dataclass(frozen=True)
class Sample:
    """One item to be answered.

    Attributes:
        id: Unique within its task.
        fields: What a template may insert, by name (for example `text`, or `premise` and
            `hypothesis`).
        target: The correct answer: a label name, the short answer, or the text to be written.
        rationale: A worked solution, where the data brings one.
        references: All correct texts or short answers, the target first; empty where the target is
            the only one, and for labels. Training learns from the target alone.
    """

    id: str
    fields: Mapping[str, str]
    target: str
    rationale: str | None = None
    references: tuple[str, ...] = ()

    @property
    def all_references(self) -> tuple[str, ...]:
        """The texts that count as correct: the references, or the target alone."""
        return self.references or (self.target,)


@dataclass(frozen=True)
class TaskSource:
    """Where a task's rows came from; stored with every run."""

    kind: Literal["embedded", "generated", "file", "hub"]
    location: str
    licence: str
    revision: str | None = None


@dataclass(frozen=True)
class DroppedRows:
    """How many rows were left out while the splits were made, by reason and split.

    `counts` maps "split: reason" (for example "train: same text as a test row") to a number.
    """

    counts: Mapping[str, int]

    @property
    def total(self) -> int:
        """All dropped rows together."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class Task:
    """A labelled task with three frozen splits.

    Attributes:
        name: Short name, also the folder of its templates.
        kind: "classification" answers with one of `labels`; "short_answer" with a number or a few
            words, which are right or wrong; "generation" with a text that is held against
            references.
        labels: Label names in a fixed order; empty for the other kinds.
        field_names: The fields that every sample carries.
        train: Labelled budget: demonstrations are drawn from it, training learns from it.
        dev: For choices (learning rate, early stop); never reported.
        test: Reported; nothing is ever chosen on it.
        source: Where the rows came from.
        dropped: What was left out, counted.
        warnings: What may not be as meant: labels that look like one, a file read by a guess.
    """

    name: str
    kind: TaskKind
    labels: tuple[str, ...]
    field_names: tuple[str, ...]
    train: tuple[Sample, ...]
    dev: tuple[Sample, ...]
    test: tuple[Sample, ...]
    source: TaskSource
    dropped: DroppedRows
    warnings: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Content hash of all three splits, in order; equal data gives an equal digest."""
        rows = [
            [split, sample.id, dict(sample.fields), sample.target, sample.rationale]
            + ([list(sample.references)] if sample.references else [])
            for split in ("train", "dev", "test")
            for sample in getattr(self, split)
        ]
        payload = json.dumps([self.kind, self.labels, rows], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(payload.encode()).hexdigest()[:16]

    @property
    def majority_label(self) -> str:
        """The most frequent target of `train`; ties go to the first in `labels` order."""
        counts = Counter(sample.target for sample in self.train)
        order = self.labels or tuple(sorted(counts))
        return max(order, key=lambda label: counts[label])

    @cached_property
    def answers_are_numbers(self) -> bool:
        """Whether every answer to a short-answer task's train and dev rows reads as a number."""
        return self.kind == "short_answer" and all(
            as_number(answer) is not None
            for sample in (*self.train, *self.dev)
            for answer in sample.all_references
        )
