"""How much of a prompt is needed: score its first and its last n vectors."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from workbench.estimates import Estimate
from workbench.fitting.learning import Outcome
from workbench.metrics import mean_with_interval, rate
from workbench.options import option
from workbench.presentation.blocks import Cell, Line, Lines, Table, line_of
from workbench.presentation.reading import Reading
from workbench.readings.base import NOT_ACTING, Cost, Kind, Subject

_SHARE = 0.95  # of the gain over no vectors at all
_NO_VECTORS = "With no vectors at all the base is asked {asked} instruction; that is the left end."
_NOTES = [
    "A prompt was trained whole: what its parts do on their own was never asked of it.",
]


@dataclass(frozen=True, kw_only=True)
class Truncation:
    """Loss and accuracy with only the first, or only the last, n vectors."""

    title: ClassVar[str] = "How many vectors are needed"
    summary: ClassVar[str] = "score the first and the last n vectors"
    kind: ClassVar[Kind] = "vectors"
    cost: ClassVar[Cost] = "minutes"
    needs_base: ClassVar[bool] = True

    points: int = option(
        9,
        minimum=2,
        maximum=200,
        public=(20, 50),
        help="How many lengths are tried, both ends included.",
    )

    def read(self, subject: Subject) -> Reading:
        """Return the two curves."""
        vectors = subject.soft_prompt.vectors
        size = len(vectors)
        acting = subject.acting("random vectors")
        lengths = sorted({int(n) for n in np.linspace(0, size, min(self.points, size + 1)).round()})
        parts = {
            "first": [vectors[:n] for n in lengths],
            "last": [vectors[size - n :] for n in lengths],
        }
        curves = {
            name: subject.scorer.outcomes(
                [subject.prefix(part) for part in kept], partial(subject.step, f"{name} vectors")
            )
            for name, kept in parts.items()
        }
        keeps = subject.keeps_instruction
        needed = _needed(lengths, curves["first"])
        verdict = NOT_ACTING
        if acting.is_better:
            verdict = (
                f"The first {needed} of {size} vectors bring {100 * _SHARE:.0f} % of what the "
                "whole prompt gains over none."
            )
        return Reading(
            name="truncation",
            title=self.title,
            verdict=verdict,
            standings=[acting],
            charts=[_accuracy_chart(lengths, curves), _loss_chart(lengths, curves)],
            tables=[_table(lengths, curves)],
            notes=[_NO_VECTORS.format(asked="with the" if keeps else "without an"), *_NOTES],
            data={"lengths": lengths, "needed": needed},
        )


def _needed(lengths: list[int], outcomes: list[Outcome]) -> int:
    """Return the smallest length from which on the gain in loss stays near the whole prompt's."""
    gains = [outcomes[0].loss - outcome.loss for outcome in outcomes]
    enough = [gain >= _SHARE * gains[-1] for gain in gains]
    first = max((i + 1 for i, is_enough in enumerate(enough) if not is_enough), default=0)
    return lengths[min(first, len(lengths) - 1)]


def _accuracy_chart(lengths: list[int], curves: dict[str, list[Outcome]]) -> Lines:
    lines = [
        _line(name, lengths, [rate(outcome.right.tolist()) for outcome in outcomes])
        for name, outcomes in curves.items()
    ]
    return Lines(
        title="Accuracy of a part",
        x="vectors kept",
        y="accuracy",
        lines=lines,
        is_percent=True,
        note="95 % Wilson intervals.",
    )


def _loss_chart(lengths: list[int], curves: dict[str, list[Outcome]]) -> Lines:
    lines = [
        _line(name, lengths, [mean_with_interval(outcome.losses.tolist()) for outcome in outcomes])
        for name, outcomes in curves.items()
    ]
    note = "95 % t-intervals over the items."
    return Lines(
        title="Loss of a part", x="vectors kept", y="mean loss, nats", lines=lines, note=note
    )


def _line(name: str, lengths: list[int], estimates: list[Estimate]) -> Line:
    return line_of(f"{name} n", [float(n) for n in lengths], estimates)


def _table(lengths: list[int], curves: dict[str, list[Outcome]]) -> Table:
    rows: list[list[Cell]] = [
        [
            n,
            round(100 * first.accuracy, 1),
            round(first.loss, 3),
            round(100 * last.accuracy, 1),
            round(last.loss, 3),
        ]
        for n, first, last in zip(lengths, curves["first"], curves["last"], strict=True)
    ]
    columns = [
        "vectors kept",
        "first: accuracy, %",
        "first: loss",
        "last: accuracy, %",
        "last: loss",
    ]
    return Table(title="Parts", columns=columns, rows=rows)
