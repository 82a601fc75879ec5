"""`prompts/<task>/task.yaml`: where a task's rows come from and how they become samples.

What a public dataset needs beyond renaming (a question in two columns, an answer behind "####")
is said by options here, so that a new dataset brings no code.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from workbench.errors import TaskError
from workbench.tasks.base import TaskKind
from workbench.tasks.rows import Columns, Row, cell_text, listed, require_columns

NAME_PATTERN = r"^[a-z][a-z0-9_]*$"


def _as_tuple(value: object) -> object:
    """Let a file write one value where several are possible."""
    return value if isinstance(value, list) else (value,)


def _as_labels(value: object) -> object:
    """Let a file list the labels when the data has the same words."""
    if isinstance(value, list) and not any(isinstance(name, list | dict) for name in value):
        return {name: name for name in value}  # what is no text is said of each
    return value


OneOrMore = Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
Labels = Annotated[dict[str, OneOrMore], BeforeValidator(_as_labels)]


class SplitNames(BaseModel):
    """Name of each split in the source; None where it has to be cut off train.

    The test split is the source's "validation" where the labels of its test split are hidden.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: str
    dev: str | None = None
    test: str | None = None


class SplitSizes(BaseModel):
    """How many rows to generate for each split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: int = Field(ge=2)
    dev: int = Field(ge=1)
    test: int = Field(ge=1)


class Source(BaseModel):
    """Where the rows are.

    Attributes:
        kind: "embedded" reads `file` of the package, "generated" makes rows, "hub" downloads.
        hub_id: `owner/name` of the dataset.
        config: Configuration of the dataset.
        revision: Commit or tag of the dataset; None for the newest.
        file: Name of the file in `workbench/tasks/data`.
        split_column: Column of `file` that says which split a row belongs to.
        generator: The module of `workbench/tasks` that makes the rows.
        sizes: Number of rows to generate.
        seed: What the generator starts from; in the file, so that every run has the same rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["embedded", "generated", "hub"]
    hub_id: str | None = Field(None, pattern=r"^\w[\w.-]*/\w[\w.-]*$")
    config: str | None = None
    revision: str | None = None
    file: str | None = Field(None, pattern=r"^[\w-]+\.(csv|tsv|jsonl|json|parquet)$")
    split_column: str | None = None
    generator: Literal["arithmetic", "formal_replies"] = "arithmetic"
    sizes: SplitSizes | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _fits_kind(self) -> Self:
        needed = {
            "embedded": {"file", "split_column"},
            "generated": {"sizes"},
            "hub": {"hub_id"},
        }
        allowed = {
            "embedded": set(),
            "generated": {"generator", "seed"},
            "hub": {"config", "revision"},
        }
        given = {name for name in self.model_fields_set if getattr(self, name) is not None}
        missing = sorted(needed[self.kind] - given)
        unused = sorted(given - needed[self.kind] - allowed[self.kind] - {"kind"})
        if missing:
            raise ValueError(f"kind '{self.kind}' needs {listed(missing, 'key')}. Add it")
        if unused:
            raise ValueError(f"kind '{self.kind}' does not use {listed(unused, 'key')}. Delete it")
        return self


class TaskFile(BaseModel):
    """Content of a `task.yaml`.

    Attributes:
        name: The task, and the name of the folder that the file is in.
        version: Raised when the samples change.
        kind: "classification", "short_answer" or "generation".
        description: What is asked, in a sentence or two.
        source: Where the rows are.
        splits: Which split of the source is which.
        fields: Template field to column; several columns are joined by a space.
        target: Column of the label, answer or text to be written. Rows of a generation task with
            equal fields become one sample with several references.
        references: Column of lists with all correct texts, or short answers.
        labels: Label name as templates show it, to its value (or values) in the data; in the
            order in which the task lists them. A list when both are the same.
        target_pattern: Expression with one group, which is the answer within the column.
        target_remove: Expression of what to delete from the answer (thousands commas).
        rationale: Column of a worked solution.
        rationale_pattern: Like `target_pattern`, for the worked solution.
        rationale_remove: Like `target_remove`, for the worked solution.
        id: Column of the ids; None numbers the rows.
        licence: What the data may be used for, as its publisher states it.
        citation: Whom to cite.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME_PATTERN)
    version: int = Field(ge=1)
    kind: TaskKind
    description: str = Field(min_length=1)
    source: Source
    splits: SplitNames | None = None
    fields: dict[str, OneOrMore] = Field(min_length=1)
    target: str | None = None
    references: str | None = None
    labels: Labels = Field(default_factory=dict)
    target_pattern: str | None = None
    target_remove: str | None = None
    rationale: str | None = None
    rationale_pattern: str | None = None
    rationale_remove: str | None = None
    id: str | None = None
    licence: str = Field(min_length=1)
    citation: str = Field(min_length=1)

    @field_validator("target_pattern", "rationale_pattern")
    @classmethod
    def _has_one_group(cls, pattern: str | None) -> str | None:
        if pattern is not None and _compiled(pattern).groups != 1:
            raise ValueError(f"'{pattern}' needs exactly one group, the part to keep. Use (…)")
        return pattern

    @field_validator("target_remove", "rationale_remove")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            _compiled(pattern)
        return pattern

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        problems = self._key_problems()
        if (self.kind == "classification") != bool(self.labels):
            rule = "needs" if self.kind == "classification" else "has no"
            problems.append(f"kind '{self.kind}' {rule} labels. Correct the kind or the labels.")
        raw = Counter(value for values in self.labels.values() for value in values)
        shared = sorted(value for value, count in raw.items() if count > 1)
        if shared:
            problems.append(f"labels share {listed(shared, 'value')}. Keep each once.")
        if problems:
            raise ValueError(" ".join(problems))
        return self

    def _key_problems(self) -> list[str]:
        given = {name for name in self.model_fields_set if getattr(self, name) is not None}
        of_rows = {"splits", "target"}
        options = {"id", "rationale", "references", "target_pattern", "target_remove"}
        of_rationale = {"rationale_pattern", "rationale_remove"}
        if self.source.kind == "generated":
            missing, unused = set[str](), given & (of_rows | options | of_rationale)
        else:
            missing = of_rows - given
            unused = set() if "rationale" in given else given & of_rationale
            if self.kind == "classification":
                unused = unused | (given & {"references"})
        problems = [f"key '{name}' is missing. Add it." for name in sorted(missing)]
        return problems + [f"key '{name}' is of no use here. Delete it." for name in sorted(unused)]

    @property
    def columns(self) -> Columns:
        """The columns that `shape_rows` returns; named so that messages still say which."""
        return Columns(
            fields={name: " + ".join(joined) for name, joined in self.fields.items()},
            target=self.target or "",
            id=self.id,
            rationale=None if self.rationale is None else f"{self.rationale} (rationale)",
            references=self.references,
        )


def shape_rows(
    rows: Sequence[Mapping[str, object]], task_file: TaskFile, *, where: str
) -> list[Row]:
    """Return the rows with the options of the task file applied, in the columns it names.

    Raises:
        TaskError: a column is missing, a pattern is not found, or a label is not in the file; how
            many rows and which.
    """
    columns = task_file.columns
    sources = [column for joined in task_file.fields.values() for column in joined]
    named = (task_file.rationale, task_file.id, task_file.references)
    extra = [name for name in named if name is not None]
    require_columns(rows, [*sources, columns.target, *extra], where=where)
    target = _Extraction(columns.target, task_file.target_pattern, remove=task_file.target_remove)
    targets = target.apply(rows)
    problems = target.problems
    if task_file.kind == "classification":
        names = {raw: name for name, values in task_file.labels.items() for raw in values}
        problems += _unknown_labels(targets, names)
        targets = [
            names.get(value, value) if isinstance(value, str) else value for value in targets
        ]
    shaped: list[Row] = [
        {columns.fields[name]: _joined(row, joined) for name, joined in task_file.fields.items()}
        | {name: row.get(name) for name in (task_file.id, task_file.references) if name is not None}
        | {columns.target: value}
        for row, value in zip(rows, targets, strict=True)
    ]
    if task_file.rationale is not None and columns.rationale is not None:
        rationale = _Extraction(
            task_file.rationale, task_file.rationale_pattern, remove=task_file.rationale_remove
        )
        for row, text in zip(shaped, rationale.apply(rows), strict=True):
            row[columns.rationale] = text
        problems += rationale.problems
    if problems:
        raise TaskError("\n".join(f"{where}: {problem}" for problem in problems))
    return shaped


class _Extraction:
    """Takes the part of a column that a pattern describes, and counts the rows without it."""

    def __init__(self, column: str, pattern: str | None, *, remove: str | None) -> None:
        self._column = column
        self._pattern = None if pattern is None else re.compile(pattern)
        self._remove = None if remove is None else re.compile(remove)
        self.problems: list[str] = []

    def apply(self, rows: Sequence[Mapping[str, object]]) -> list[object]:
        """Return one value per row: text, None where empty, the cell where it has no text."""
        found: list[object] = []
        unmatched: list[str] = []
        for place, row in enumerate(rows, start=1):
            text = _plain(row.get(self._column))
            if isinstance(text, str):
                match = None if self._pattern is None else self._pattern.search(text)
                if self._pattern is not None and match is None:
                    unmatched.append(str(place))
                text = match.group(1) if match is not None else text
                text = text if self._remove is None else self._remove.sub("", text)
            found.append(text)
        if unmatched and self._pattern is not None:
            self.problems.append(
                f"column '{self._column}' does not match '{self._pattern.pattern}' in "
                f"{listed(unmatched, 'row')}. Correct the pattern in the task file."
            )
        return found


def _unknown_labels(targets: Sequence[object], names: Mapping[str, str]) -> list[str]:
    unknown = Counter(value for value in targets if isinstance(value, str) and value not in names)
    if not unknown:
        return []
    shown = [f"'{value}' ({count} of {len(targets)} rows)" for value, count in unknown.items()]
    return [
        f"{listed(shown, 'label')} not listed in the task file. Listed: {', '.join(names)}. "
        "Add them under 'labels'."
    ]


def _joined(row: Mapping[str, object], columns: Sequence[str]) -> object:
    if len(columns) == 1:
        return row.get(columns[0])
    parts = [_plain(row.get(column)) for column in columns]
    unusable = [part for part in parts if part is not None and not isinstance(part, str)]
    return unusable[0] if unusable else " ".join(str(part) for part in parts if part is not None)


def _plain(value: object) -> object:
    """Return the text of a cell, or the cell itself where it has none (reported later)."""
    try:
        return cell_text(value)
    except (TypeError, UnicodeEncodeError):
        return [value]  # no plain text for any reader


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"'{pattern}' is no regular expression: {error}. Correct it") from error
