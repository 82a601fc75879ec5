"""What a comparison holds: its rows, differences, spreads and disagreements; plain frozen data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.analysis.answers import Answer
from workbench.errors import ConfigError, unknown_name
from workbench.estimates import NOTHING_SCORED, Estimate
from workbench.runs.failures import FailedRun
from workbench.runs.labels import NO_LABEL, Label
from workbench.runs.provenance import Provenance
from workbench.runs.run_cost import Figure, RunCost
from workbench.runs.search import SearchOutcome
from workbench.runs.spec import BaseIdentity, TaskIdentity, TemplateIdentity
from workbench.runs.store import StoredRun
from workbench.tasks.base import HEADLINE_METRICS

MAJORITY_CLASS = "majority_class"
NEAREST_COPY = "nearest_neighbour_copy"
BASELINES = (MAJORITY_CLASS, "nearest_neighbour_vote", NEAREST_COPY)  # do not use the base
COST_KEYS = (
    "trained_parameters",
    "stored_bytes",
    "train_seconds",
    "peak_memory_bytes",
    "labelled_examples",
    "dev_evaluations",
    "dev_items",
    "prompt_tokens_mean",
    "generated_tokens_mean",
    "milliseconds_per_item",
)


@dataclass(frozen=True)
class ComparedRun:
    """A run and the name of its row in the experiment; several seeds share a row name.

    `search` is how the row's learning rate was found, if it was looked for.
    """

    row: str
    run: StoredRun
    search: SearchOutcome | None = None


@dataclass(frozen=True)
class RowDifference:
    """Headline metric of a row minus that of the reference on the same items.

    Attributes:
        against: Name of the reference row.
        value: From -1 to 1, with its 95 % interval from `low` to `high`.
        p_value: Two-sided: exact McNemar, or for scores of texts a sign-flipping test.
        p_value_holm: Adjusted over all differences of the table.
        num_items: Items of both.
        wins: Items only this row has right, or where its text scores higher.
        losses: Items only the reference has right, or where its text scores higher.
    """

    against: str
    value: float | None
    low: float | None
    high: float | None
    p_value: float | None
    p_value_holm: float | None
    num_items: int
    wins: int
    losses: int


@dataclass(frozen=True)
class ComparisonRow:
    """One run in the table; `difference` is None for the reference itself.

    `search` is how its learning rate was found; None where it was given. The row's evaluations on
    dev include those of the search.
    """

    row: str
    method: str
    run_id: str
    seed: int
    metrics: dict[str, Estimate]
    difference: RowDifference | None
    cost: RunCost
    options: dict[str, Any]
    search: SearchOutcome | None = None

    @property
    def costs(self) -> dict[str, Figure]:
        """The figures of `COST_KEYS`, by name."""
        return {name: getattr(self.cost, name) for name in COST_KEYS}

    @property
    def is_lower_bound(self) -> bool:
        """Whether its learning rate lies at the edge of those tried."""
        return self.search is not None and self.search.is_lower_bound

    @property
    def accuracy(self) -> Estimate:
        """Of right answers; nothing for tasks whose answers are texts: see `Comparison.quality`."""
        return self.metrics.get("accuracy", NOTHING_SCORED)

    @property
    def is_baseline(self) -> bool:
        """Whether the row does not use the base at all."""
        return self.method in BASELINES


@dataclass(frozen=True)
class SeedSpread:
    """How a row's headline metric varies with the seed; the interval is Student's t over seeds."""

    row: str
    num_seeds: int
    metric: str
    mean: float | None
    low: float | None
    high: float | None
    minimum: float | None
    maximum: float | None


@dataclass(frozen=True)
class Disagreement:
    """An item that not all rows answer alike; `answers` maps row names to their first seed's."""

    sample_id: str
    target: str
    answers: dict[str, str | None]


@dataclass(frozen=True)
class RunDetail:
    """What a row's run says beyond its figures.

    Attributes:
        answers: The answers, in the same item order for all rows.
        history: Training steps and dev evaluations; empty if nothing was trained.
        environment: Versions, processor, threads.
        provenance: The code that made it.
        cautions: What its fitting found to be careful about.
        label: What a person called it.
    """

    answers: tuple[Answer, ...]
    history: tuple[Mapping[str, float], ...]
    environment: Mapping[str, str | int]
    provenance: Provenance | None
    cautions: Sequence[str] = ()
    label: Label = NO_LABEL


@dataclass(frozen=True)
class Comparison:
    """A table of runs on one base, one task and one template.

    Attributes:
        base: Which base.
        source: Where its weights came from.
        task: Which data; `num_test` counts the items that were answered.
        dropped: Rows left out of the splits, by reason.
        template: Which wording.
        reference: Name of the row the others are compared with.
        created: ISO 8601, UTC.
        has_labels: Whether the task is a classification.
        rows: The rows, in the order given.
        seeds: One entry for each row with several seeds.
        disagreements: Items some rows have right and others wrong come first.
        warnings: What to beware of, in plain sentences.
        details: One entry per row, in the same order.
        failed: Runs that could not be made; they are part of no figure.
        name: What a person called it; may be empty.
    """

    base: BaseIdentity
    source: str
    task: TaskIdentity
    dropped: dict[str, int]
    template: TemplateIdentity
    reference: str
    created: str
    has_labels: bool
    rows: tuple[ComparisonRow, ...]
    seeds: tuple[SeedSpread, ...]
    disagreements: tuple[Disagreement, ...]
    warnings: tuple[str, ...]
    details: tuple[RunDetail, ...]
    failed: tuple[FailedRun, ...] = ()
    name: str = ""

    @property
    def headline_metric(self) -> str:
        """Name of the metric that the table is about and its rows are ranked by."""
        return HEADLINE_METRICS[self.task.kind]

    @property
    def writes_texts(self) -> bool:
        """Whether answers are texts that score from 0 to 1 instead of being right or wrong."""
        return self.task.kind == "generation"

    @property
    def incomplete(self) -> set[str]:
        """Names of the rows of which a run failed."""
        return {failure.row for failure in self.failed}

    def quality(self, row: ComparisonRow) -> Estimate:
        """Return a row's figure in the headline metric."""
        return row.metrics.get(self.headline_metric, NOTHING_SCORED)

    def label(self, row: ComparisonRow) -> str:
        """Return the row's name, with its seed where the name stands for several runs."""
        is_alone = sum(other.row == row.row for other in self.rows) == 1
        return row.row if is_alone else f"{row.row}, seed {row.seed}"

    def first_seeds(self) -> list[tuple[ComparisonRow, RunDetail]]:
        """Return one run per row name: that of the lowest seed."""
        first: dict[str, tuple[ComparisonRow, RunDetail]] = {}
        for row, detail in zip(self.rows, self.details, strict=True):
            if row.row not in first or row.seed < first[row.row][0].seed:
                first[row.row] = (row, detail)
        return list(first.values())

    def judged_rows(self) -> list[tuple[ComparisonRow, RunDetail]]:
        """Return the first seeds of the rows that use the base; of all rows if none does."""
        pairs = self.first_seeds()
        return [pair for pair in pairs if not pair[0].is_baseline] or pairs

    def first_seed(self, name: str) -> tuple[ComparisonRow, RunDetail]:
        """Return the run of the lowest seed of a row.

        Raises:
            ConfigError: no such row.
        """
        found = {row.row: (row, detail) for row, detail in self.first_seeds()}
        if name not in found:
            raise ConfigError(f"compare: {unknown_name('row', name, found)}")
        return found[name]
