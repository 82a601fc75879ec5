"""Interpolation: the straight way from one prompt to another, and sums of what prompts learned.

Source: barriers on straight paths: Frankle et al. 2020, https://arxiv.org/abs/1912.05671,
section 2; sums of differences from the start: Belanec et al. 2024, "Task Prompt Vectors",
https://arxiv.org/abs/2408.01119.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from workbench.differences import paired_difference
from workbench.estimates import Estimate
from workbench.fitting.learning import Outcome
from workbench.metrics import mean_with_interval, rate
from workbench.options import option
from workbench.presentation.blocks import Bar, Bars, Cell, Chart, Line, Lines, Table, line_of
from workbench.presentation.reading import NO_BETTER, Reading, Standing
from workbench.readings.base import NOT_ACTING, NUM_RANDOM, Cost, Kind, Subject
from workbench.readings.vectors.chance import standing
from workbench.readings.vectors.prompt import SoftPrompt, random_prompts

_NOTES = [
    "Scored on this session's items, also the end that was trained on another task.",
    "A low barrier says that the prompts lie in one valley of the loss; the vectors have an order, "
    "so a high one can also come from the same vectors in other places.",
    "The sum is start + (this prompt - its start) + (the other - its start). Where the two began "
    "with different vectors, each difference is from its own start, and the sum from this one's.",
]


@dataclass(frozen=True, kw_only=True)
class Interpolation:
    """Accuracy and loss on the straight path to each other prompt, and of sums of prompts."""

    title: ClassVar[str] = "Between prompts"
    summary: ClassVar[str] = "the straight path to other prompts, and sums of what they learned"
    kind: ClassVar[Kind] = "vectors"
    cost: ClassVar[Cost] = "minutes"
    needs_base: ClassVar[bool] = True

    points: int = option(
        7, minimum=3, maximum=101, public=(15, 31), help="Points on each path, both ends included."
    )
    controls: int = option(
        NUM_RANDOM,
        minimum=1,
        maximum=199,
        public=(19, 99),
        help="Paths to random vectors; with fewer than 19 nothing shows beyond chance at 5 %.",
    )

    def read(self, subject: Subject) -> Reading:
        """Return paths with their barriers, and sums where the starts are known."""
        acting = subject.acting("random vectors")
        if not subject.others:
            return Reading(
                name="interpolation",
                title=self.title,
                verdict="Another soft prompt is needed: a path has two ends.",
                standings=[acting],
                notes=_NOTES,
            )
        paths = [self._path(subject, other) for other in subject.others]
        barriers = [
            self._standing(subject, path, other)
            for path, other in zip(paths, subject.others, strict=True)
        ]
        sums = [total for other in subject.others if (total := _sum(subject, other)) is not None]
        verdict = NOT_ACTING
        if acting.is_better:
            verdict = " ".join(
                _words(path, place, failed=_failed(paths[:number], barriers[:number]))
                for number, (path, place) in enumerate(zip(paths, barriers, strict=True))
            )
        charts: list[Chart] = [_accuracy_chart(paths), _loss_chart(paths)]
        charts += [_sum_chart(total) for total in sums]
        tables = [_path_table(paths, barriers)]
        if sums:
            tables.append(_sum_table(sums))
        return Reading(
            name="interpolation",
            title=self.title,
            verdict=verdict,
            standings=[acting, *barriers],
            charts=charts,
            tables=tables,
            notes=[*_NOTES, *_shortened(subject, paths), *_without_sum(subject, sums)],
            data={
                "num_items": subject.scorer.num_items,
                "shares": self._shares.tolist(),
                "barriers": [path.barrier for path in paths],
                "loss": [[outcome.loss for outcome in path.outcomes] for path in paths],
                "accuracy": [[outcome.accuracy for outcome in path.outcomes] for path in paths],
            },
        )

    @property
    def _shares(self) -> np.ndarray:
        """(points,) how far each point is along the path, from 0 to 1."""
        return np.linspace(0.0, 1.0, self.points)

    def _path(self, subject: Subject, other: SoftPrompt) -> "_Path":
        mine, length = subject.soft_prompt.vectors, min(len(subject.soft_prompt), len(other))
        stops = straight_path(mine[:length], other.vectors[:length], self._shares)
        outcomes = subject.scorer.outcomes(
            [subject.prefix(vectors) for vectors in stops],
            partial(subject.step, f"path to {other.name}"),
        )
        return _Path(other.name, length, self._shares, tuple(outcomes))

    def _standing(self, subject: Subject, path: "_Path", other: SoftPrompt) -> Standing:
        """Return a barrier beside those of paths to random vectors in the other prompt's place."""
        mine, theirs = (v[: path.length] for v in (subject.soft_prompt.vectors, other.vectors))
        barriers = []
        for draw, random in enumerate(random_prompts(theirs, self.controls)):
            subject.step("paths to random vectors", draw, self.controls)
            stops = straight_path(mine, random, self._shares)
            found = tuple(subject.scorer.outcome(subject.prefix(vectors)) for vectors in stops)
            barriers.append(_Path("random", path.length, self._shares, found).barrier)
        subject.step("paths to random vectors", self.controls, self.controls)
        return standing(
            f"barrier on the path to {path.name}, nats",
            path.barrier,
            "paths to random vectors of its norms",
            barriers,
            low_is_better=True,
        )


def straight_path(first: np.ndarray, last: np.ndarray, shares: np.ndarray) -> list[np.ndarray]:
    """Return vectors (P, D) at each share of the way, which rise from 0 to 1.

    The ends are the very arrays given: the same content has the same digest and outcome.
    """
    inner = [(first + share * (last - first)).astype(np.float32) for share in shares[1:-1]]
    return [first, *inner, last]


@dataclass(frozen=True, eq=False)
class _Path:
    """What the stops of a path answer; `length` vectors of both prompts were used."""

    name: str
    length: int
    shares: np.ndarray
    outcomes: tuple[Outcome, ...]

    @property
    def barrier(self) -> float:
        """Largest loss above the straight line between the losses of the ends, in nats."""
        losses = np.array([outcome.loss for outcome in self.outcomes])
        line = losses[0] + self.shares * (losses[-1] - losses[0])
        excess = losses - line
        excess[[0, -1]] = 0.0  # they are the line; rounding would say otherwise
        return float(excess.max())


@dataclass(frozen=True, eq=False)
class _Sum:
    """What the sum of two prompts answers, beside its parts."""

    name: str
    same_start: bool
    outcomes: dict[str, Outcome]


def _sum(subject: Subject, other: SoftPrompt) -> _Sum | None:
    """Return the sum of two prompts; None where a start is not known or lengths differ."""
    prompt = subject.soft_prompt
    starts = prompt.start, other.start
    if starts[0] is None or starts[1] is None:
        return None
    if not prompt.vectors.shape == other.vectors.shape == starts[0].shape == starts[1].shape:
        return None
    total = starts[0] + (prompt.vectors - starts[0]) + (other.vectors - starts[1])
    vectors = {
        f"{prompt.name} (this)": prompt.vectors,
        f"{other.name} (other)": other.vectors,
        "start": starts[0],
        "sum": total.astype(np.float32),
    }
    found = subject.scorer.outcomes(
        [subject.prefix(value) for value in vectors.values()],
        partial(subject.step, f"sum with {other.name}"),
    )
    outcomes = dict(zip(vectors, found, strict=True))
    return _Sum(other.name, bool(np.array_equal(starts[0], starts[1])), outcomes)


def _failed(paths: Sequence[_Path], barriers: Sequence[Standing]) -> str | None:
    """Return the name of the first path that is no better than chance, or None."""
    pairs = zip(paths, barriers, strict=True)
    return next((path.name for path, place in pairs if not place.is_better), None)


def _words(path: _Path, place: Standing, *, failed: str | None) -> str:
    """Return what a path comes to; paths are judged in turn, so that all share the 5 %."""
    text = f"The path to {path.name} rises at most {path.barrier:.2g} nats above its ends' line"
    if failed is not None:
        return f"{text}: not judged, as paths are judged in turn and that to {failed} came first."
    if place.is_better:
        return (
            f"{text}: less than almost all paths to random vectors, so the two lie in one valley."
        )
    if place.num_controls < NUM_RANDOM:
        return f"{text}: {place.num_controls} random paths are too few to tell from chance."
    return f"{text}: {NO_BETTER} ({place.control})."


def _shortened(subject: Subject, paths: Sequence[_Path]) -> list[str]:
    size = len(subject.soft_prompt)
    others = zip(paths, subject.others, strict=True)
    return [
        f"{other.name}: lengths differ ({size} and {len(other)}), so only the first {path.length} "
        "vectors of both are used; an end that was cut is not the prompt that was trained."
        for path, other in others
        if len(other) != size
    ]


def _without_sum(subject: Subject, sums: Sequence[_Sum]) -> list[str]:
    summed = {total.name for total in sums}
    names = [other.name for other in subject.others if other.name not in summed]
    if not names:
        return []
    return [f"No sum with {', '.join(names)}: a start is not known, or the lengths differ."]


def _accuracy_chart(paths: Sequence[_Path]) -> Lines:
    return Lines(
        title="Accuracy on the path",
        x="share of the way",
        y="accuracy",
        lines=[
            _line(path, [rate(outcome.right.tolist()) for outcome in path.outcomes])
            for path in paths
        ],
        is_percent=True,
        note="95 % Wilson intervals.",
    )


def _loss_chart(paths: Sequence[_Path]) -> Lines:
    return Lines(
        title="Loss on the path",
        x="share of the way",
        y="mean loss, nats",
        lines=[
            _line(path, [mean_with_interval(outcome.losses.tolist()) for outcome in path.outcomes])
            for path in paths
        ],
        note="95 % t-intervals over the items.",
    )


def _line(path: _Path, estimates: Sequence[Estimate]) -> Line:
    return line_of(f"to {path.name}", path.shares.tolist(), estimates)


def _path_table(paths: Sequence[_Path], barriers: Sequence[Standing]) -> Table:
    rows: list[list[Cell]] = [
        [
            path.name,
            path.length,
            round(path.barrier, 4),
            round(place.p_value, 3),
            round(100 * path.outcomes[0].accuracy, 1),
            round(100 * min(outcome.accuracy for outcome in path.outcomes), 1),
            round(100 * path.outcomes[-1].accuracy, 1),
        ]
        for path, place in zip(paths, barriers, strict=True)
    ]
    return Table(
        title="Paths",
        columns=[
            "to",
            "vectors",
            "barrier, nats",
            "p",
            "accuracy here, %",
            "lowest, %",
            "accuracy there, %",
        ],
        rows=rows,
        note="p: share of paths to random vectors with as low a barrier.",
    )


def _sum_chart(total: _Sum) -> Bars:
    bars = []
    for name, outcome in total.outcomes.items():
        estimate = rate(outcome.right.tolist())
        bars.append(
            Bar(
                name=name,
                value=estimate.value or 0.0,
                low=estimate.low,
                high=estimate.high,
                is_notable=name == "sum",
            )
        )
    begun = "from the same start" if total.same_start else "each from its own start"
    return Bars(
        title=f"Sum with {total.name}",
        x="accuracy",
        bars=bars,
        is_percent=True,
        note=f"Learned {begun}; on this task's items; 95 % Wilson intervals.",
    )


def _sum_table(sums: Sequence[_Sum]) -> Table:
    rows: list[list[Cell]] = []
    for total in sums:
        for name, outcome in total.outcomes.items():
            if name == "sum":
                continue
            gap = paired_difference(total.outcomes["sum"].right.tolist(), outcome.right.tolist())
            rows.append(
                [
                    total.name,
                    name,
                    *(
                        None if value is None else round(100 * value, 1)
                        for value in (gap.value, gap.low, gap.high)
                    ),
                    None if gap.p_value is None else round(gap.p_value, 4),
                ]
            )
    return Table(
        title="Sums, beside their parts",
        columns=["sum with", "less the accuracy of", "points", "low", "high", "p"],
        rows=rows,
        note="Paired on the items: 95 % bootstrap intervals, McNemar's exact p.",
    )
