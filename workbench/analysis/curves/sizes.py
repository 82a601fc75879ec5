"""Quality over the size of the base: a line for each row, differences within a base alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from workbench.analysis.comparison import Comparison
from workbench.analysis.curves.lines import (
    CurveLine,
    Curves,
    Place,
    PlacedRun,
    draw_lines,
    point_difference,
)
from workbench.analysis.results import BASELINES
from workbench.analysis.tables import difference_text
from workbench.errors import StoreError
from workbench.estimates import Estimate
from workbench.presentation.display import one_line
from workbench.runs.store import RunStore

AXIS = "million parameters"
NOTES = (
    "Differences are taken on one base alone, paired by item: what a row reaches on another base "
    "says more about the base than about the row.",
    "Bases differ in more than their size (training data, tuning for instructions, tokenizer): a "
    "line over a few of them is a picture of these bases and no law of scale.",
)
"""How to read a picture of several bases."""


@dataclass(frozen=True)
class OnBase:
    """A comparison and the base it was made on.

    Attributes:
        comparison: Its rows and differences.
        num_parameters: Of the base.
        report: Name of its report's folder.
    """

    comparison: Comparison
    num_parameters: int
    report: str

    @property
    def millions(self) -> float:
        """The base's parameters in millions."""
        return round(self.num_parameters / 1e6, 1)

    @property
    def sentence(self) -> str:
        """Which base it is, and where its report lies."""
        base = self.comparison.base
        return (
            f"{self.millions:,g} {AXIS}: {base.name}, {base.precision} ({self.report}/report.html)."
        )


def placed_runs(made: Sequence[OnBase], store: RunStore) -> list[PlacedRun]:
    """Return the runs of several comparisons, each at the size of its base.

    Bases of one size stand at their names.

    Raises:
        StoreError: a run is gone.
    """
    names = [one.comparison.base.name for one in made]
    at = places_of({name: (name, one.millions) for name, one in zip(names, made, strict=True)})
    found = []
    for one in sorted(made, key=lambda one: one.num_parameters):
        place = at[one.comparison.base.name]
        for row in one.comparison.rows:
            run = store.find(row.run_id)
            if run is None:
                raise StoreError(f"{row.run_id}: the run is gone. Run the same command again.")
            found.append(PlacedRun(row.row, place, run, row.search))
    return found


def places_of(bases: Mapping[str, tuple[str, float | None]]) -> dict[str, Place]:
    """Return where each base stands, the smallest first: at its size, or all at their names.

    Args:
        bases: Title and parameters in millions; names take the place of sizes where one is not
            known or two are the same.
    """
    sizes = [size for _, size in bases.values()]
    are_sizes = len(set(sizes)) == len(sizes)
    ordered = sorted(bases.items(), key=lambda one: math.inf if one[1][1] is None else one[1][1])
    found: dict[str, Place] = {}
    for key, (title, size) in ordered:
        found[key] = title if size is None or None in sizes or not are_sizes else size
    return found


def draw_sizes(runs: Sequence[PlacedRun], *, against: str | None = None) -> Curves:
    """Return the lines of rows over the bases they were run on.

    Rows that do not use the base are the same everywhere. Every other row is held against one of
    them on the same base: unless another is named that which trains most parameters, which is full
    fine-tuning if it is there, as in figure 1 of Lester et al. 2021
    (https://arxiv.org/abs/2104.08691); the first row where nothing is trained.

    Args:
        runs: All runs, each at the parameters of its base in millions, or at its name.
        against: Row that the others may catch up with, if it has runs.

    Raises:
        StoreError: a run is unfinished or unreadable, or the runs answered different items.
    """
    own = [one for one in runs if one.run.spec.method not in BASELINES]
    flat = {(one.line, one.run.spec.seed): one for one in runs if one not in own}
    same_everywhere = [replace(one, place=None) for one in flat.values()]
    places = list(dict.fromkeys(one.place for one in own if one.place is not None))
    are_sizes = not any(isinstance(place, str) for place in places)
    curves = draw_lines(
        [*same_everywhere, *own],
        axis=AXIS if are_sizes else "base",
        places=places,
        title="Quality over the size of the base" if are_sizes else "Quality on each base",
    )
    names = dict.fromkeys(one.run.spec.base.name for one in own)
    precisions = dict.fromkeys(one.run.spec.base.precision for one in own)
    base = f"{', '.join(names)}, {', '.join(precisions)}"
    return replace(curves, base=base, gap_to=_gap_to(own, against))


def _gap_to(runs: Sequence[PlacedRun], against: str | None) -> str:
    names = list(dict.fromkeys(one.line for one in runs))
    if against in names:
        return against
    trained = [one for one in runs if one.run.record.cost.trained_parameters]
    if not trained:
        return names[0]
    return max(trained, key=lambda one: one.run.record.cost.trained_parameters or 0).line


def gap_texts(curves: Curves, reference: str) -> list[str]:
    """Return how far each line is from the reference on each base, and whether it catches up.

    A line catches up at the smallest base from which on it is not below the reference by more
    than noise (the 95 % interval of the paired difference reaches 0 or lies above).
    """
    (theirs,) = [line for line in curves.lines if line.name == reference]
    return [
        text
        for line in curves.lines
        if line.name != reference and not line.is_flat and (text := _gap_text(line, theirs, curves))
    ]


def _gap_text(line: CurveLine, reference: CurveLine, curves: Curves) -> str:
    found: list[tuple[Place, Estimate]] = []
    for place in curves.places:
        ours, theirs = line.at(place), reference.at(place)
        if ours is not None and theirs is not None:
            estimate = point_difference(ours, theirs)
            if estimate.value is not None:
                found.append((place, estimate))
    if not found:
        return ""
    gaps = "; ".join(f"{difference_text(gap)} at {place}" for place, gap in found)
    begin = f"{line.name} against {reference.name}, points by {curves.axis}: {gaps}."
    if len(found) < 2 or curves.axis != AXIS:
        return one_line(begin)
    since = None
    for place, gap in reversed(found):
        if gap.high is None or gap.high < 0:
            break
        since = place
    if since is None:
        end = "It does not catch up within the bases tried."
    elif since == found[0][0]:
        end = "It is not below by more than noise on any base tried."
    else:
        end = f"From {since} on it is not below by more than noise."
    return one_line(f"{begin} {end}")
