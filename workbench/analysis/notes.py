"""The fixed parts of a report: how to read it, and how it was made."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from workbench.analysis.captions import REPORT_COMMAND
from workbench.analysis.needed_items import noise_notes
from workbench.analysis.results import Comparison
from workbench.presentation.display import number, one_line
from workbench.runs.labels import Label
from workbench.runs.spec import TaskIdentity

_ONE_RUN = (
    "The interval of one run covers the choice of test items only. How much training and the draw "
    "of demonstrations add is seen only with several seeds."
)
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
    _ONE_RUN,
    "Rows named after a majority class or a nearest-neighbour vote do not use the base; a way of "
    "using it should beat them.",
)


_READING_TEXTS = (
    "ROUGE-L is the F1 of the longest common subsequence of words between a text and its best "
    "reference, averaged over the test items, with its 95 % bootstrap interval over items. BLEU "
    "and chrF are those of the whole test split, by sacrebleu. None of them reads: a fluent text "
    "with a wrong fact may score high, a good paraphrase low.",
    "Differences are in points of ROUGE-L and paired item by item. p is the test of flipping the "
    "signs of these differences at random, adjusted after Holm because the table makes several.",
    "An item without a text scores 0 and is listed as unscored. The length against the references "
    "says whether a row writes too much or too little; texts at the upper bound are counted.",
    "Training learns from the first reference of a text; the step with the lowest loss per token "
    "on dev is kept.",
    _ONE_RUN,
    "The row nearest_neighbour_copy does not use the base: it copies the target of the training "
    "example that is closest to the text. A way of using the base should beat it.",
)
_SEARCHING = (
    "Learning rates were looked for on dev, with the first seed of a row: its other seeds use the "
    "rate found. The lowest dev loss among the rates within one standard error of the highest dev "
    "accuracy wins; rates that lost were never tried on test.",
    "A row marked as a lower bound does best with the lowest or highest rate tried, so it may do "
    "better beyond it: do not call it worse than another row on this evidence.",
    "Evaluations on dev count every look at it that chose something, those of the search included.",
)


@dataclass(frozen=True)
class Fact:
    """A name and what it is: one line of a report or of a run's page."""

    name: str
    value: str


def reading_notes(comparison: Comparison) -> tuple[str, ...]:
    """Return sentences on intervals, pairing, Holm, unscored items, seeds, and searches if any.

    Of rows within noise of the reference they say how many items would settle it.
    """
    is_searched = any(row.search is not None for row in comparison.rows)
    reading = _READING_TEXTS if comparison.writes_texts else _READING
    searching = _SEARCHING if is_searched else ()
    return (*reading, *searching, *noise_notes(comparison))


def base_and_task_facts(comparison: Comparison) -> list[Fact]:
    """Return base, task, dropped rows, template and packages; values are single safe lines."""
    base, task = comparison.base, comparison.task
    facts = [
        Fact("base", f"{base.name}, {base.precision}, products in {base.compute_dtype}"),
        Fact("device", base.device),
        Fact("weights from", comparison.source),
        Fact("identity of the weights", base.identity),
        Fact("task", f"{task.name}, digest {task.digest}"),
        Fact("rows dropped", counts_text(comparison.dropped)),
        Fact("template", pairs_text(comparison.template.model_dump())),
        Fact("reference row", comparison.reference),
        Fact("report made", comparison.created),
        Fact("made again by", f"{REPORT_COMMAND}, with the file beside this report"),
    ]
    environments = dict.fromkeys(
        pairs_text(detail.environment) for detail in comparison.details if detail.environment
    )
    facts += [Fact("environment", environment) for environment in environments]
    made_by = dict.fromkeys(d.provenance.text for d in comparison.details if d.provenance)
    facts += [Fact("workbench", text) for text in made_by]
    return [Fact(fact.name, one_line(fact.value)) for fact in facts]


def run_facts(comparison: Comparison) -> list[Fact]:
    """Return run id, a person's name and note, and options of every row, as single safe lines."""
    return [
        Fact(
            one_line(comparison.label(row)),
            one_line(f"{row.run_id}{_label_text(detail.label)}: {options_text(row.options)}"),
        )
        for row, detail in zip(comparison.rows, comparison.details, strict=True)
    ]


def _label_text(label: Label) -> str:
    """Return " (named x: a note)"; nothing without a name and a note."""
    parts = [f"named {label.name}" if label.name else "", label.note]
    text = ": ".join(part for part in parts if part)
    return f" ({text})" if text else ""


def options_text(options: Mapping[str, object]) -> str:
    """Return a method's options as JSON without its braces."""
    if not options:
        return "no options"
    return json.dumps(options, ensure_ascii=False, default=str)[1:-1]


def pairs_text(content: Mapping[str, object]) -> str:
    """Return "name plain, version 1"."""
    return ", ".join(f"{key} {value}" for key, value in content.items())


def sizes_text(task: TaskIdentity) -> str:
    """Return "20 train / 10 dev / 40 test"."""
    return (
        f"{number(task.num_train)} train / {number(task.num_dev)} dev / "
        f"{number(task.num_test)} test"
    )


def counts_text(dropped: Mapping[str, int]) -> str:
    """Return how many rows were dropped for which reason."""
    return "; ".join(f"{count} ({reason})" for reason, count in dropped.items()) or "none"
