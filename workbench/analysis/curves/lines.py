"""Quality along an axis (training examples, an option, wordings): lines of points with seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from workbench import metrics
from workbench.analysis.answers import headline_metric_of, read_answers
from workbench.analysis.comparison import difference_of
from workbench.analysis.compatibility import require_finished, require_same_items
from workbench.analysis.leaderboard import interval_of_mean
from workbench.analysis.results import BASELINES, RunDetail
from workbench.analysis.tables import difference_text
from workbench.errors import ConfigError
from workbench.estimates import NOTHING_SCORED, Estimate
from workbench.presentation.display import one_line, percent
from workbench.presentation.quantities import metric_of
from workbench.runs.search import SearchOutcome, best_on_dev
from workbench.runs.store import StoredRun

Place = int | float | str


@dataclass(frozen=True)
class PlacedRun:
    """A finished run and where it stands.

    Attributes:
        line: Name of the line it is part of.
        place: Where on the axis; None for a line that is the same everywhere.
        run: The run, with its folder.
        search: How its learning rate was found, if it was looked for.
    """

    line: str
    place: Place | None
    run: StoredRun
    search: SearchOutcome | None = None


@dataclass(frozen=True)
class CurvePoint:
    """The runs of a line at one place.

    Attributes:
        place: Where on the axis; None for a line that is the same everywhere.
        quality: Headline metric on test, mean over seeds; the interval is over items.
        lowest: The lowest figure of a seed.
        highest: The highest figure of a seed.
        dev_accuracy: Mean over seeds, of the step kept; None for rows that choose nothing on dev.
        dev_loss: Mean over seeds of the loss of that step on dev, in nats.
        runs: One per seed.
    """

    place: Place | None
    quality: Estimate
    lowest: float | None
    highest: float | None
    dev_accuracy: float | None
    dev_loss: float | None
    runs: tuple[PlacedRun, ...]

    @property
    def is_lower_bound(self) -> bool:
        """Whether a learning rate lies at the edge of those tried."""
        return any(run.search is not None and run.search.is_lower_bound for run in self.runs)


@dataclass(frozen=True)
class CurveLine:
    """A row along the axis.

    Attributes:
        name: What the line is called where it is shown.
        points: Its points in the order of the axis; a single one, without a place, where the row is
            the same everywhere.
        is_trained: Whether its runs trained parameters.
        shows_examples: Whether labelled examples stand in its prompts.
        is_baseline: Whether it does not use the base at all.
    """

    name: str
    points: tuple[CurvePoint, ...]
    is_trained: bool
    shows_examples: bool
    is_baseline: bool

    @property
    def is_flat(self) -> bool:
        """Whether the row is the same everywhere."""
        return self.points[0].place is None

    def at(self, place: Place) -> CurvePoint | None:
        """Return the point at a place; a flat line's is the same everywhere."""
        if self.is_flat:
            return self.points[0]
        return next((point for point in self.points if point.place == place), None)


@dataclass(frozen=True)
class Curves:
    """Lines over one axis, all answered on the same test items.

    Attributes:
        axis: Title of the axis: "training examples", an option, or "wording".
        metric: Name of the headline metric of the task.
        places: All places of the axis, in its order.
        lines: The lines, in the order given.
        best: Line and place with the best dev score; None where nothing is chosen.
        title: What the picture is.
        base: Name of the base and its precision, for the page.
        task: Name of the task and its sizes, for the page.
        asks_for_spread: Whether the places are different ways to say one thing, so that the
            question is how far they lie apart.
        gap_to: Line that the others may catch up with along the axis; None where that is not the
            question.
    """

    axis: str
    metric: str
    places: tuple[Place, ...]
    lines: tuple[CurveLine, ...]
    best: tuple[str, Place] | None
    title: str
    base: str
    task: str
    asks_for_spread: bool = False
    gap_to: str | None = None

    @property
    def best_point(self) -> CurvePoint | None:
        """The point with the best dev score; None where nothing is chosen."""
        if self.best is None:
            return None
        name, place = self.best
        return next(line for line in self.lines if line.name == name).at(place)


@dataclass(frozen=True)
class Overtaking:
    """Whether training gets ahead of demonstrations, and from where on.

    Attributes:
        trained: Name of the trained line.
        shown: Name of the line with demonstrations.
        place: The first place from which on the difference is above 0 with its interval, at every
            place tried; None if there is none.
        differences: Trained minus shown at each place where both are, paired by item and seed.
    """

    trained: str
    shown: str
    place: Place | None
    differences: tuple[tuple[Place, Estimate], ...]


def draw_lines(
    runs: Sequence[PlacedRun],
    *,
    axis: str,
    places: Sequence[Place],
    title: str,
    marks_best: bool = False,
    asks_for_spread: bool = False,
) -> Curves:
    """Return the lines that finished runs make.

    Args:
        runs: All runs, in the order of the lines; several seeds of a place are averaged.
        axis: Title of the axis.
        places: All of them, in the order of the axis.
        title: What the picture is.
        marks_best: Whether the best place by dev is of interest.
        asks_for_spread: Whether the distance between the places is.

    Raises:
        ConfigError: no runs.
        StoreError: a run is unfinished or unreadable, or the runs answered different items.
    """
    if not runs:
        raise ConfigError("curve: no runs to draw.")
    stored = [placed.run for placed in runs]
    require_finished(stored)
    require_same_items(stored, [read_answers(run) for run in stored])
    names = dict.fromkeys(placed.line for placed in runs)
    lines = tuple(_line([placed for placed in runs if placed.line == name]) for name in names)
    lines = tuple(_in_order(line, places) for line in lines)
    spec = stored[-1].spec
    sizes = f"{spec.task.num_dev} dev, {spec.task.num_test} test"
    return Curves(
        axis=axis,
        metric=headline_metric_of(stored[0]),
        places=tuple(places),
        lines=lines,
        best=_best_place(lines) if marks_best else None,
        title=title,
        base=f"{spec.base.name}, {spec.base.precision}, {spec.base.device}",
        task=f"{spec.task.name}: {sizes}",
        asks_for_spread=asks_for_spread,
    )


def overtakings(curves: Curves) -> list[Overtaking]:
    """Return for each trained line and each with demonstrations when the first overtakes."""
    return [
        _overtaking(trained, shown, curves.places)
        for trained in ([] if curves.asks_for_spread or curves.gap_to else curves.lines)
        for shown in curves.lines
        if trained.is_trained and shown.shows_examples
    ]


def overtaking_text(found: Overtaking, *, axis: str) -> str:
    """Return the answer in one sentence."""
    trained, shown = one_line(found.trained), one_line(found.shown)
    if not found.differences:
        return f"{trained} and {shown} have no size in common."
    last, at_last = found.differences[-1]
    if found.place is None:
        first = found.differences[0][0]
        return (
            f"{trained} does not overtake {shown} within the sizes tried ({first} to {last} "
            f"{axis}): at {last} the difference is {difference_text(at_last)} points."
        )
    estimate = dict(found.differences)[found.place]
    rest = ", the largest size tried" if found.place == last else ""
    return (
        f"{trained} overtakes {shown} from {found.place} {axis} on{rest}: "
        f"{difference_text(estimate)} points there."
    )


def best_text(curves: Curves) -> str:
    """Return which place dev chooses, in one sentence; empty where nothing is chosen."""
    point = curves.best_point
    if curves.best is None or point is None:
        return ""
    name, place = curves.best
    several = "" if sum(not line.is_baseline for line in curves.lines) == 1 else f" ({name})"
    return one_line(
        f"Dev chooses {curves.axis} {place}{several}: dev accuracy {percent(point.dev_accuracy)}, "
        f"test {metric_of(curves.metric).title} "
        f"{percent(point.quality.value)}."
    )


def spread_texts(curves: Curves) -> list[str]:
    """Return how far the places of each line lie apart, a sentence a line, and what that means.

    Source: Sclar et al. 2023, https://arxiv.org/abs/2310.11324: a figure of one wording is no
    result; report the range.
    """
    texts, ranges = [], {}
    for line in curves.lines:
        known = [(p.quality.value, p.place) for p in line.points if p.quality.value is not None]
        if line.is_flat or line.is_baseline or len(known) < 2:
            continue
        (low, worst), (high, best) = min(known), max(known)
        mean = float(np.mean([value for value, _ in known]))
        ranges[line.name] = high - low
        texts.append(
            one_line(
                f"{line.name}: {percent(mean)} on average over {len(known)} {curves.axis}s, from "
                f"{percent(low)} ({worst}) to {percent(high)} ({best})."
            )
        )
    if ranges:
        widest = max(ranges, key=lambda name: ranges[name])
        texts.append(
            one_line(
                f"The {curves.axis} alone moves {widest} by {100 * ranges[widest]:.1f} points; a "
                "difference between rows that is smaller may be one between wordings."
            )
        )
    return texts


def _line(runs: Sequence[PlacedRun]) -> CurveLine:
    first, cost = runs[0].run, runs[-1].run.record.cost
    trained = bool(cost.trained_parameters)
    points = [
        _point([run for run in runs if run.place == place])
        for place in dict.fromkeys(run.place for run in runs)
    ]
    return CurveLine(
        name=runs[0].line,
        points=tuple(points),
        is_trained=trained,
        shows_examples=not trained and bool(cost.labelled_examples),
        is_baseline=first.spec.method in BASELINES,
    )


def _point(runs: Sequence[PlacedRun]) -> CurvePoint:
    records = [placed.run.record for placed in runs]
    estimates = [
        placed.run.record.metrics.get(headline_metric_of(placed.run), NOTHING_SCORED)
        for placed in runs
    ]
    values = [estimate.value for estimate in estimates if estimate.value is not None]
    return CurvePoint(
        place=runs[0].place,
        quality=_mean_quality([placed.run for placed in runs], estimates),
        lowest=min(values, default=None),
        highest=max(values, default=None),
        dev_accuracy=_mean([record.cost.dev_accuracy for record in records]),
        dev_loss=_mean([record.cost.dev_loss for record in records]),
        runs=tuple(runs),
    )


def _mean_quality(runs: Sequence[StoredRun], estimates: Sequence[Estimate]) -> Estimate:
    """Return the only figure, or the mean of several; items answered again are not more items."""
    if len(runs) == 1:
        return estimates[0]
    means = np.mean([_credits(run) for run in runs], axis=0)  # (N,)
    quality = metrics.mean_with_interval(means.tolist())
    if quality.value is None or any(a.score is not None for a in read_answers(runs[0])):
        return quality
    low, high = interval_of_mean(quality.value, len(means))
    return replace(quality, low=low, high=high)


def _credits(run: StoredRun) -> list[float]:
    """Return what each item adds to the headline metric, in one order for all runs."""
    return [answer.credit for answer in sorted(read_answers(run), key=lambda a: a.sample_id)]


def _mean(values: Sequence[float | int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _in_order(line: CurveLine, places: Sequence[Place]) -> CurveLine:
    if line.is_flat:
        return line
    found = [point for place in places if (point := line.at(place)) is not None]
    return CurveLine(
        line.name, tuple(found), line.is_trained, line.shows_examples, line.is_baseline
    )


def _best_place(lines: Sequence[CurveLine]) -> tuple[str, Place] | None:
    placed = [
        (line.name, place, point)
        for line in lines
        for point in line.points
        if (place := point.place) is not None
    ]
    scores = [(point.dev_accuracy, point.dev_loss) for _, _, point in placed]
    # Of the fewest items that any of them was scored on, so that no tie is missed.
    seen = [one.run.num_dev_scored for _, _, point in placed for one in point.runs]
    best = best_on_dev(scores, num_items=min(seen, default=0))
    return None if best is None else placed[best][:2]


def _overtaking(trained: CurveLine, shown: CurveLine, places: Sequence[Place]) -> Overtaking:
    differences = []
    for place in places:
        ours, theirs = trained.at(place), shown.at(place)
        if ours is not None and theirs is not None:
            estimate = point_difference(ours, theirs)
            if estimate.value is not None:
                differences.append((place, estimate))
    start = None
    for place, estimate in reversed(differences):
        if estimate.low is None or estimate.low <= 0:
            break
        start = place
    return Overtaking(trained.name, shown.name, start, tuple(differences))


def point_difference(ours: CurvePoint, theirs: CurvePoint) -> Estimate:
    """Return ours minus theirs on the same items, paired by seed or with the only run."""
    by_seed = {placed.run.spec.seed: placed.run for placed in theirs.runs}
    only = theirs.runs[0].run if len(theirs.runs) == 1 else None
    pairs = [
        (placed.run, other)
        for placed in ours.runs
        if (other := by_seed.get(placed.run.spec.seed, only)) is not None
    ]
    if not pairs:
        return NOTHING_SCORED
    if len(pairs) == 1:
        first, second = (_detail(run) for run in pairs[0])
        found = difference_of(first, second, against=theirs.runs[0].line)
        return Estimate(found.value, found.low, found.high, found.num_items, num_unscored=0)
    gaps = np.mean([np.subtract(_credits(x), _credits(y)) for x, y in pairs], axis=0)  # (N,)
    return metrics.mean_with_interval(gaps.tolist())


def _detail(run: StoredRun) -> RunDetail:
    answers = sorted(read_answers(run), key=lambda answer: answer.sample_id)
    return RunDetail(tuple(answers), (), {}, None)
