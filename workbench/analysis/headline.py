"""The comparison in two or three plain sentences: who leads, and whether that is beyond noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench.analysis.comparison import counterpart, difference_of
from workbench.analysis.results import Comparison, ComparisonRow, RowDifference
from workbench.presentation.display import estimate_text, one_line, p_value_text, percent, points
from workbench.presentation.quantities import metric_of

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class RankedRow:
    """A row name with its figure in the headline metric, averaged over seeds."""

    name: str
    quality: float
    runs: tuple[ComparisonRow, ...]


def ranking(comparison: Comparison) -> list[RankedRow]:
    """Return the rows that were scored, best first; equal ones stay in the table's order."""
    ranked = []
    for name in dict.fromkeys(row.row for row in comparison.rows):
        runs = tuple(row for row in comparison.rows if row.row == name)
        figures = [comparison.quality(row).value for row in runs]
        values = [value for value in figures if value is not None]
        if values:
            ranked.append(RankedRow(name, float(np.mean(values)), runs))
    return sorted(ranked, key=lambda row: -row.quality)


def headline(comparison: Comparison) -> str:
    """Return which row is best and whether its lead over reference and runner-up is noise."""
    ranked = ranking(comparison)
    if not ranked:
        return "Nothing was scored."
    best, others = ranked[0], ranked[1:]
    sentences = [_best_sentence(best, comparison)]
    if not others:
        return sentences[0]
    if best.runs[0].is_baseline:
        sentences.append("That row does not use the base at all: no way of using it is better.")
    reference = next((row for row in others if row.name == comparison.reference), None)
    if reference is None and best.name == comparison.reference:
        sentences.append("It is the reference itself: no other row is better.")
    elif reference is not None:
        differences = [row.difference for row in best.runs if row.difference is not None]
        p_values = [d.p_value_holm for d in differences]
        sentences.append(
            f"Against the reference {one_line(reference.name)} that is "
            + _verdict(differences, p_values, note="Holm-adjusted ")
        )
    runner_up = others[0]
    if runner_up is not reference:
        differences = _between(best, runner_up, comparison)
        p_values = [d.p_value for d in differences]
        sentences.append(
            f"Against the runner-up {one_line(runner_up.name)} it is "
            + _verdict(differences, p_values, note="")
        )
    return " ".join(sentences)


def _best_sentence(best: RankedRow, comparison: Comparison) -> str:
    name, num_items = one_line(best.name), comparison.task.num_test
    metric = metric_of(comparison.headline_metric).title
    items = f"{'over' if comparison.writes_texts else 'of'} {num_items} test items"
    if len(best.runs) > 1:
        return (
            f"{name} has the highest {metric}: {percent(best.quality)} {items} "
            f"on average over {len(best.runs)} seeds."
        )
    figure = estimate_text(comparison.quality(best.runs[0]))
    return f"{name} has the highest {metric}: {figure} {items}."


def _between(best: RankedRow, other: RankedRow, comparison: Comparison) -> list[RowDifference]:
    """Return the paired differences of two rows, seed by seed."""
    found = []
    for row in best.runs:
        position = counterpart(row, other.name, comparison.rows, incomplete=comparison.incomplete)
        if position is not None:
            ours = comparison.details[comparison.rows.index(row)]
            theirs = comparison.details[position]
            found.append(difference_of(ours, theirs, against=other.name))
    return found


def _verdict(
    differences: Sequence[RowDifference], p_values: Sequence[float | None], *, note: str
) -> str:
    known = [
        (d.value, p)
        for d, p in zip(differences, p_values, strict=True)
        if d.value is not None and p is not None
    ]
    if not known:
        return "not known: the two have no run with the same seed."
    beyond = sum(p < SIGNIFICANCE and value > 0 for value, p in known)
    mean = points(float(np.mean([value for value, _ in known])))
    if len(known) > 1:
        return (
            f"{mean} points on average, beyond noise in {beyond} of {len(known)} seeds "
            f"({note}p below {SIGNIFICANCE})."
        )
    p_value = p_value_text(known[0][1])
    p_text = f"{note}p {p_value}".replace("<", "below ")
    if beyond:
        return f"{mean} points, beyond noise ({p_text})."
    return f"{mean} points, within noise ({p_text}): these items do not tell the two apart."
