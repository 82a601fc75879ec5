"""One table out of several finished runs: paired differences, spread over seeds, cautions."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from workbench import metrics
from workbench.analysis.answers import (
    headline_metric_of,
    is_classification,
    is_unanimous,
    read_answers,
    read_history,
)
from workbench.analysis.cautions import (
    caution_of_environments,
    caution_of_search,
    caution_of_tuning,
    cautions_of_row,
)
from workbench.analysis.compatibility import (
    require_finished,
    require_one_base,
    require_same_items,
)
from workbench.analysis.results import (
    BASELINES,
    MAJORITY_CLASS,
    NEAREST_COPY,
    ComparedRun,
    Comparison,
    ComparisonRow,
    Disagreement,
    RowDifference,
    RunDetail,
    SeedSpread,
)
from workbench.differences import holm, paired_difference, paired_score_difference
from workbench.errors import ConfigError, unknown_name
from workbench.presentation.display import one_line
from workbench.runs.failures import FailedRun
from workbench.runs.labels import read_label
from workbench.runs.store import StoredRun

__all__ = [
    "ComparedRun",
    "Comparison",
    "ComparisonRow",
    "Disagreement",
    "RowDifference",
    "RunDetail",
    "SeedSpread",
    "compare_runs",
    "counterpart",
    "difference_of",
]


def compare_runs(
    runs: Sequence[ComparedRun], *, reference: str, failed: Sequence[FailedRun] = ()
) -> Comparison:
    """Return the table of finished runs, each compared with the reference row.

    A run is paired with the reference run of its own seed or, if the reference has one run only,
    with that one. Without either, it has no difference and a warning says so. P-values are
    adjusted after Holm over all differences of the table. Where every run of the reference failed,
    the first row that uses the base takes its place, and a warning says so.

    Args:
        runs: All runs, in the order of the table; several seeds of a row have the same row name.
        reference: Name of one of the rows.
        failed: Runs that could not be made; they are named and part of no figure.

    Raises:
        ConfigError: no runs, no such row, or two runs of a row with the same seed.
        StoreError: a run is unfinished or unreadable, or the runs differ in base, task, template
            or items; names the runs and the first ids.
    """
    incomplete = {failure.row for failure in failed}
    asked, reference = reference, _reference(runs, reference, incomplete)
    _require_table(runs, reference)
    stored = [compared.run for compared in runs]
    require_finished(stored)
    require_one_base(stored)
    answers = [read_answers(run) for run in stored]
    require_same_items(stored, answers)
    order = {answer.sample_id: position for position, answer in enumerate(answers[0])}
    details = tuple(
        RunDetail(
            answers=tuple(sorted(given, key=lambda a: order[a.sample_id])),
            history=read_history(run),
            environment=run.record.environment,
            provenance=run.record.provenance,
            cautions=run.record.cautions,
            label=read_label(run.folder),
        )
        for run, given in zip(stored, answers, strict=True)
    )
    rows = _with_differences(tuple(map(_row, runs)), details, reference, incomplete=incomplete)
    comparison = Comparison(
        base=stored[0].spec.base,
        source="; ".join(dict.fromkeys(run.record.source for run in stored)),
        task=stored[0].spec.task.model_copy(update={"num_test": len(order)}),
        dropped=dict(stored[0].record.dropped),
        template=stored[0].spec.template,
        reference=reference,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        has_labels=is_classification(stored[0]),
        rows=rows,
        seeds=tuple(_spreads(rows, headline_metric_of(stored[0]))),
        disagreements=(),
        warnings=(),
        details=details,
        failed=tuple(failed),
    )
    found = (*_missing(comparison, asked), *_data_warnings(stored), *_warnings(comparison))
    return replace(comparison, disagreements=tuple(_disagreements(comparison)), warnings=found)


def _missing(comparison: Comparison, asked: str) -> list[str]:
    """Return what is left out of the table, and what takes the place of the reference asked for."""
    found = [one_line(failure.sentence) for failure in comparison.failed]
    if asked != comparison.reference:
        found.append(
            f"the reference {one_line(asked)} failed, so differences are against "
            f"{one_line(comparison.reference)} instead."
        )
    return found


def _reference(runs: Sequence[ComparedRun], asked: str, incomplete: Collection[str]) -> str:
    """Return the reference asked for, or the first row that uses the base if it has no run left."""
    names = [one.row for one in runs]
    if asked in names or asked not in incomplete:
        return asked
    used = [one.row for one in runs if one.run.spec.method not in BASELINES]
    return [*used, *names][0]


def difference_of(ours: RunDetail, other: RunDetail, *, against: str) -> RowDifference:
    """Return the paired difference of two runs, not adjusted for other comparisons."""
    if any(answer.score is not None for answer in ours.answers):
        paired = paired_score_difference(
            [answer.credit for answer in ours.answers], [answer.credit for answer in other.answers]
        )
    else:
        paired = paired_difference(
            [answer.is_correct for answer in ours.answers],
            [answer.is_correct for answer in other.answers],
        )
    return RowDifference(
        against=against,
        value=paired.value,
        low=paired.low,
        high=paired.high,
        p_value=paired.p_value,
        p_value_holm=None,
        num_items=paired.num_items,
        wins=paired.wins,
        losses=paired.losses,
    )


def counterpart(
    row: ComparisonRow,
    name: str,
    rows: Sequence[ComparisonRow],
    *,
    incomplete: Collection[str] = (),
) -> int | None:
    """Return the position of the run called `name` to pair `row` with: same seed, or the only.

    The only run left of a row whose others failed (`incomplete`) stands for its own seed alone.
    """
    found = [position for position, other in enumerate(rows) if other.row == name]
    same = [position for position in found if rows[position].seed == row.seed]
    if same:
        return same[0]
    return found[0] if len(found) == 1 and name not in incomplete else None


def _require_table(runs: Sequence[ComparedRun], reference: str) -> None:
    if not runs:
        raise ConfigError("compare: no runs given. Run an experiment first: workbench evaluate.")
    names = list(dict.fromkeys(compared.row for compared in runs))
    if reference not in names:
        raise ConfigError(f"reference: {unknown_name('row', reference, names)}")
    counts = Counter((compared.row, compared.run.spec.seed) for compared in runs)
    for (row, seed), count in counts.items():
        if count > 1:
            raise ConfigError(
                f"compare: row '{row}' has {count} runs with seed {seed}. Give each variant a "
                "row name of its own."
            )


def _row(compared: ComparedRun) -> ComparisonRow:
    spec, record = compared.run.spec, compared.run.record
    cost = record.cost
    if compared.search is not None:
        is_tried = record.run_id in {trial.run_id for trial in compared.search.trials}
        own = 0 if is_tried else cost.dev_evaluations or 0
        evaluations = compared.search.dev_evaluations + own
        cost = cost.model_copy(update={"dev_evaluations": evaluations})
    return ComparisonRow(
        row=compared.row,
        method=spec.method,
        run_id=record.run_id,
        seed=spec.seed,
        metrics=dict(record.metrics),
        difference=None,
        cost=cost,
        options=dict(spec.options),
        search=compared.search,
    )


def _with_differences(
    rows: tuple[ComparisonRow, ...],
    details: tuple[RunDetail, ...],
    reference: str,
    *,
    incomplete: Collection[str],
) -> tuple[ComparisonRow, ...]:
    differences: list[RowDifference | None] = []
    for row, detail in zip(rows, details, strict=True):
        position = None
        if row.row != reference:
            position = counterpart(row, reference, rows, incomplete=incomplete)
        differences.append(
            None
            if position is None
            else difference_of(detail, details[position], against=reference)
        )
    adjusted = holm([None if d is None else d.p_value for d in differences])
    return tuple(
        row if found is None else replace(row, difference=replace(found, p_value_holm=p_value))
        for row, found, p_value in zip(rows, differences, adjusted, strict=True)
    )


def _spreads(rows: Sequence[ComparisonRow], metric: str) -> list[SeedSpread]:
    spreads = []
    for name in dict.fromkeys(row.row for row in rows):
        found = [row.metrics.get(metric) for row in rows if row.row == name]
        values = [figure.value for figure in found if figure and figure.value is not None]
        if len(values) > 1:
            mean = metrics.mean_with_interval(values)
            spreads.append(
                SeedSpread(
                    row=name,
                    num_seeds=len(values),
                    metric=metric,
                    mean=mean.value,
                    low=mean.low,
                    high=mean.high,
                    minimum=min(values),
                    maximum=max(values),
                )
            )
    return spreads


def _disagreements(comparison: Comparison) -> list[Disagreement]:
    """Return the items that the first seeds of all rows but the baselines answer differently.

    Those whose rows differ most in what they score come first.
    """
    pairs = comparison.judged_rows()
    ranked: list[tuple[float, Disagreement]] = []
    for position, item in enumerate(pairs[0][1].answers):
        given = {row.row: detail.answers[position] for row, detail in pairs}
        if is_unanimous(list(given.values()), has_labels=comparison.has_labels):
            continue
        answers = {name: answer.answer for name, answer in given.items()}
        scores = [answer.credit for answer in given.values()]
        gap = max(scores) - min(scores)
        ranked.append((gap, Disagreement(item.sample_id, item.target, answers)))
    return [found for _, found in sorted(ranked, key=lambda pair: -pair[0])]


def _data_warnings(stored: Sequence[StoredRun]) -> list[str]:
    """Return what may not be as meant in the data that the runs had, each sentence once."""
    found = dict.fromkeys(warning for run in stored for warning in run.record.warnings)
    return [one_line(warning) for warning in found]


def _warnings(comparison: Comparison) -> list[str]:
    """Return the cautions of all rows; seeds that share a sentence share a line."""
    blind = next(
        (row for row in comparison.rows if row.method in (MAJORITY_CLASS, NEAREST_COPY)), None
    )
    majority = None if blind is None else comparison.quality(blind)
    seeds_of: dict[tuple[str, str], list[int]] = {}
    for row, detail in zip(comparison.rows, comparison.details, strict=True):
        sentences = [one_line(caution) for caution in detail.cautions]
        if row.difference is None and row.row != comparison.reference:
            sentences.append(
                f"the reference {one_line(comparison.reference)} has no run with this seed, so "
                "there is no paired difference."
            )
        if not row.is_baseline:
            sentences += cautions_of_row(
                detail.answers,
                comparison.quality(row),
                has_labels=comparison.has_labels,
                majority=majority,
                writes_texts=comparison.writes_texts,
            )
        if row.search is not None:
            sentences += caution_of_search(row.search)
        for sentence in sentences:
            seeds_of.setdefault((row.row, sentence), []).append(row.seed)
    num_runs = Counter(row.row for row in comparison.rows)
    found = []
    for (name, sentence), seeds in seeds_of.items():
        which = f", seed {', '.join(map(str, seeds))}" if num_runs[name] > 1 else ""
        which = ", every seed" if 1 < num_runs[name] == len(seeds) else which
        found.append(f"{one_line(name)}{which}: {sentence}")
    found += caution_of_tuning(
        {row.row: row.cost.dev_evaluations for row in reversed(comparison.rows)}
    )
    return found + caution_of_environments(
        [
            detail.environment
            for row, detail in zip(comparison.rows, comparison.details, strict=True)
            if not row.is_baseline
        ]
    )
