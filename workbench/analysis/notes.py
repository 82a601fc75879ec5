"""The fixed parts of a report: how to read it, and how it was made."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from workbench.analysis.display import one_line
from workbench.analysis.results import Comparison

_READING = (
    "Accuracy is correct items / all test items, with its 95 % Wilson interval: the range of true "
    "accuracies that fit these items.",
    "Differences are in percentage points and paired: both rows answered the same items, so only "
    "items that one of them has right and the other wrong count. Read these, not the overlap of "
    "two intervals.",
    "p is McNemar's exact test of such a difference, adjusted after Holm because the table makes "
    "several. Below 0.05 the difference is called beyond noise; above it the items are too few "
    "to tell, which does not mean that the two are equal.",
    "An item without an answer counts as wrong and is listed as unscored. A dash means that there "
    "is no such figure; it never stands for 0.",
    "The interval of one run covers the choice of test items only. How much training and the draw "
    "of demonstrations add is seen only with several seeds.",
    "Rows named after a majority class or a nearest-neighbour vote do not use the base; a way of "
    "using it should beat them.",
)


@dataclass(frozen=True)
class Fact:
    """A name and what it is: one line of a report or of a run's page."""

    name: str
    value: str


def reading_notes() -> tuple[str, ...]:
    """Return sentences on intervals, pairing, Holm, unscored items and seeds."""
    return _READING


def base_and_task_facts(comparison: Comparison) -> list[Fact]:
    """Return base, task, dropped rows, template and packages; values are single safe lines."""
    base, task = comparison.base, comparison.task
    facts = [
        Fact("base", f"{base['name']}, {base['precision']}, products in {base['compute_dtype']}"),
        Fact("device", str(base["device"])),
        Fact("weights from", str(base["source"])),
        Fact("identity of the weights", str(base["identity"])),
        Fact("task", f"{task['name']}, digest {task['digest']}"),
        Fact("rows dropped", counts_text(task["dropped"])),
        Fact("template", pairs_text(comparison.template)),
        Fact("reference row", comparison.reference),
        Fact("report made", comparison.created),
    ]
    environments = dict.fromkeys(
        pairs_text(detail.environment) for detail in comparison.details if detail.environment
    )
    facts += [Fact("environment", environment) for environment in environments]
    return [Fact(fact.name, one_line(fact.value)) for fact in facts]


def run_facts(comparison: Comparison) -> list[Fact]:
    """Return run id and options of every row; values are single safe lines."""
    return [
        Fact(
            one_line(comparison.label(row)), one_line(f"{row.run_id}: {options_text(row.options)}")
        )
        for row in comparison.rows
    ]


def options_text(options: Mapping[str, object]) -> str:
    """Return a method's options as JSON without its braces."""
    if not options:
        return "no options"
    return json.dumps(options, ensure_ascii=False, default=str)[1:-1]


def pairs_text(content: Mapping[str, object]) -> str:
    """Return "name plain, version 1"."""
    return ", ".join(f"{key} {value}" for key, value in content.items())


def counts_text(dropped: Mapping[str, int]) -> str:
    """Return how many rows were dropped for which reason."""
    return "; ".join(f"{count} ({reason})" for reason, count in dropped.items()) or "none"
