"""One run in facts, and two runs side by side: what was asked, and what came out."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from workbench.analysis.baseline_runs import baseline_text, baselines_beside
from workbench.analysis.notes import Fact, counts_text, options_text, pairs_text, sizes_text
from workbench.presentation.display import NOTHING, one_line
from workbench.presentation.quantities import cost_of, cost_text, metric_of, metric_text
from workbench.runs.labels import read_label
from workbench.runs.spec import BaseIdentity, RunSpec
from workbench.runs.store import RunRecord, StoredRun


@dataclass(frozen=True)
class SpecDifference:
    """A part of the spec that differs.

    Attributes:
        key: Dotted: "options.rank".
        first: Value in the first spec, as one safe line; a dash where the spec has no such key.
        second: Value in the second one.
    """

    key: str
    first: str
    second: str


@dataclass(frozen=True)
class FigurePair:
    """A metric or cost of two runs; not a paired difference, which needs a comparison.

    Attributes:
        name: Title of the figure.
        first: Value of the first run with its interval, or with its unit; a dash for none.
        second: The same of the second run.
    """

    name: str
    first: str
    second: str

    @property
    def is_equal(self) -> bool:
        """Whether both are shown alike."""
        return self.first == self.second


def diff_specs(first: RunSpec, second: RunSpec) -> list[SpecDifference]:
    """Return what differs, in the order of the spec and of the first run's options.

    Two specs without a difference have one digest.
    """
    ours, theirs = (dict(_leaves(spec.model_dump(mode="json"))) for spec in (first, second))
    parts = list(RunSpec.model_fields)
    keys = sorted(dict.fromkeys([*ours, *theirs]), key=lambda path: parts.index(path[0]))
    return [
        _spec_difference(key, ours.get(key), theirs.get(key))
        for key in keys
        if ours.get(key) != theirs.get(key)
    ]


def diff_records(first: RunRecord, second: RunRecord) -> list[FigurePair]:
    """Return every metric and cost that either run has, those that are equal too.

    The code that made them comes last, where a record knows it.
    """
    pairs = [
        FigurePair(
            metric_of(name).title,
            metric_text(name, first.metrics.get(name)),
            metric_text(name, second.metrics.get(name)),
        )
        for name in dict.fromkeys([*first.metrics, *second.metrics])
    ]
    ours, theirs = first.cost.figures, second.cost.figures
    pairs += [
        FigurePair(
            cost_of(name).title,
            cost_text(name, ours.get(name)),
            cost_text(name, theirs.get(name)),
        )
        for name in dict.fromkeys([*ours, *theirs])
    ]
    if first.provenance or second.provenance:
        made_by = (_provenance_text(record) for record in (first, second))
        pairs.append(FigurePair("workbench", *made_by))
    return pairs


def run_summary(run: StoredRun) -> list[Fact]:
    """Return what a run's page says, finished or not; values are single safe lines.

    Only the error keeps its lines, each of them safe.
    """
    spec, record = run.spec, run.record
    base, task = spec.base, spec.task
    label = read_label(run.folder)
    named = [Fact("name", label.name), Fact("note", label.note)]
    facts = [
        *(fact for fact in named if fact.value),
        Fact("status", run.status_text),
        Fact("method", spec.method),
        Fact("options", options_text(spec.options)),
        Fact("seed", str(spec.seed)),
        Fact("base", _base_text(base)),
        Fact("weights from", record.source),
        Fact("identity of the weights", base.identity),
        Fact("task", f"{task.name}, digest {task.digest}"),
        Fact("items", sizes_text(task)),
        Fact("rows dropped", counts_text(record.dropped)),
        Fact("template", pairs_text(spec.template.model_dump())),
    ]
    facts += [Fact(metric_of(n).title, metric_text(n, e)) for n, e in record.metrics.items()]
    if record.status == "finished":
        facts += [
            Fact(f"without the base: {one.record.row}", baseline_text(run, one))
            for one in baselines_beside(run)
        ]
    costs = record.cost.figures
    facts += [Fact(cost_of(n).title, cost_text(n, value)) for n, value in costs.items()]
    if record.environment:
        facts.append(Fact("environment", pairs_text(record.environment)))
    if record.provenance is not None:
        facts.append(Fact("workbench", record.provenance.text))
    facts.append(Fact("started", record.started))
    facts.append(Fact("finished", record.finished or NOTHING))
    facts = [Fact(fact.name, one_line(fact.value)) for fact in facts]
    if record.error is not None:
        lines = record.error.strip().splitlines()
        facts.append(Fact("error", "\n".join(map(one_line, lines))))
    return facts


def _leaves(
    content: Mapping[str, object], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Return the path and the JSON text of every value that is no mapping with keys."""
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), json.dumps(value, sort_keys=True, ensure_ascii=False)


def _spec_difference(
    path: tuple[str, ...], first: str | None, second: str | None
) -> SpecDifference:
    """Show text without quotes, unless only the quotes tell the two apart."""
    shown = [_unquoted(text) for text in (first, second)]
    if shown[0] == shown[1]:
        shown = [NOTHING if text is None else one_line(text) for text in (first, second)]
    return SpecDifference(one_line(".".join(path)), *shown)


def _unquoted(text: str | None) -> str:
    if text is None:
        return NOTHING
    value = json.loads(text)
    return one_line(value if isinstance(value, str) else text)


def _provenance_text(record: RunRecord) -> str:
    return NOTHING if record.provenance is None else one_line(record.provenance.text)


def _base_text(base: BaseIdentity) -> str:
    return f"{base.name}, {base.precision}, products in {base.compute_dtype}, on {base.device}"
