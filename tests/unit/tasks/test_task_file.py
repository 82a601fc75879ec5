"""What a `task.yaml` may say, and what its options do to rows."""

from pathlib import Path

import pytest

from workbench.errors import ConfigError, TaskError
from workbench.tasks.rows import Row
from workbench.tasks.task_file import TaskFile, shape_rows
from workbench.yaml_files import read_yaml_model

HEAD = {
    "name": "toy",
    "version": 1,
    "kind": "short_answer",
    "description": "A toy.",
    "source": {"kind": "hub", "hub_id": "owner/toy"},
    "splits": {"train": "train"},
    "fields": {"text": "text"},
    "target": "answer",
    "licence": "none",
    "citation": "nobody",
}
CLASSES = {"kind": "classification", "labels": {"good": ["pos", "1"], "bad": "neg"}}


def _task_file(**changes: object) -> TaskFile:
    return TaskFile.model_validate(HEAD | changes)


def _shape(rows: list[Row], **changes: object) -> list[Row]:
    return shape_rows(rows, _task_file(**changes), where="toy, train")


def _refusal(rows: list[Row], **changes: object) -> str:
    with pytest.raises(TaskError) as error:
        _shape(rows, **changes)
    return str(error.value)


def test_labels_may_be_listed_or_mapped_to_one_or_several_values() -> None:
    listed = _task_file(kind="classification", labels=["good", "bad"])
    mapped = _task_file(**CLASSES)

    assert listed.labels == {"good": ("good",), "bad": ("bad",)}
    assert mapped.labels == {"good": ("pos", "1"), "bad": ("neg",)}


def test_other_columns_are_left_out() -> None:
    rows: list[Row] = [{"text": "a", "answer": "b", "rest": 1}]

    assert _shape(rows) == [{"text": "a", "answer": "b"}]


def test_label_values_become_label_names() -> None:
    rows: list[Row] = [{"text": "a", "answer": value} for value in ("pos", 1, " neg ", None)]

    assert [row["answer"] for row in _shape(rows, **CLASSES)] == ["good", "good", "bad", None]


def test_columns_can_be_joined() -> None:
    rows: list[Row] = [
        {"body": "A. ", "question": " B?", "answer": 1.0},
        {"body": None, "question": "C?", "answer": 2},
        {"body": None, "question": "", "answer": 3},
    ]

    shaped = _shape(rows, fields={"text": ["body", "question"]})

    assert [row["body + question"] for row in shaped] == ["A. B?", "C?", ""]
    assert [row["answer"] for row in shaped] == ["1", "2", "3"]


def test_answer_and_worked_solution_can_come_out_of_one_column() -> None:
    rows: list[Row] = [{"text": "q", "answer": "2*600 = <<2*600=1200>>1,200\nDone.\n#### 1,200"}]

    shaped = _shape(
        rows,
        target_pattern="#### (.+)$",
        target_remove=",",
        rationale="answer",
        rationale_pattern=r"(?s)^(.*?)\s*####",
        rationale_remove="<<[^>]*>>",
    )

    assert shaped == [{"text": "q", "answer": "1200", "answer (rationale)": "2*600 = 1,200\nDone."}]


def test_an_id_column_is_kept() -> None:
    rows: list[Row] = [{"text": "a", "answer": "b", "key": 7}]

    assert _shape(rows, id="key") == [{"text": "a", "answer": "b", "key": 7}]


def test_cells_without_text_are_left_for_the_reader_to_count() -> None:
    rows: list[Row] = [{"text": ["a"], "more": "b", "answer": {"c": 1}}]

    shaped = _shape(rows, fields={"text": ["text", "more"]}, target_pattern="(.)")

    assert shaped == [{"text + more": [["a"]], "answer": [{"c": 1}]}]


def test_a_missing_column_is_named_with_the_closest() -> None:
    assert _refusal([{"sentence": "a", "answers": "b"}]) == (
        "toy, train: unknown column 'text'. Known: answers, sentence.\n"
        "toy, train: unknown column 'answer'. Did you mean 'answers'? Known: answers, sentence. "
        "Rename the column, or map another one."
    )


def test_values_that_are_no_label_are_counted() -> None:
    rows: list[Row] = [{"text": "a", "answer": value} for value in ("pos", "meh", "meh", -1)]

    assert _refusal(rows, **CLASSES) == (
        "toy, train: labels 'meh' (2 of 4 rows), '-1' (1 of 4 rows) not listed in the task file. "
        "Listed: pos, 1, neg. Add them under 'labels'."
    )


def test_rows_that_a_pattern_does_not_fit_are_named() -> None:
    rows: list[Row] = [{"text": "a", "answer": value} for value in ("#### 1", "2", "3")]

    message = _refusal(
        rows, target_pattern="#### (.+)$", rationale="answer", rationale_pattern="^(.*)####"
    )

    assert message == (
        "toy, train: column 'answer' does not match '#### (.+)$' in rows 2, 3. "
        "Correct the pattern in the task file.\n"
        "toy, train: column 'answer' does not match '^(.*)####' in rows 2, 3. "
        "Correct the pattern in the task file."
    )


TOY = """\
name: toy
version: 1
kind: classification
description: A toy.
source: {kind: hub, hub_id: owner/toy}
splits: {train: train}
fields: {text: text}
target: label
labels: [a, b]
licence: none
citation: nobody
"""

WRONG: dict[str, tuple[str, str, str]] = {
    "name": (
        "name: toy",
        "name: Toy",
        "task.yaml, name: got 'Toy'; should match pattern '^[a-z][a-z0-9_]*$'.",
    ),
    "version": (
        "version: 1",
        "version: 0",
        "task.yaml, version: got 0; should be greater than or equal to 1.",
    ),
    "unknown key": (
        "target: label",
        "target: label\ntarget_patern: x",
        "task.yaml, target_patern: unknown key. Did you mean 'target_pattern'? Known: citation, "
        "description, fields, id, kind, labels, licence, name, rationale, rationale_pattern, "
        "rationale_remove, references, source, splits, target, target_pattern, target_remove, "
        "version.",
    ),
    "unknown nested key": (
        "hub_id: owner/toy",
        "hub_ids: owner/toy",
        "task.yaml, source.hub_ids: unknown key. Did you mean 'hub_id'? "
        "Known: config, file, generator, hub_id, kind, revision, seed, sizes, split_column.",
    ),
    "path as hub id": (
        "hub_id: owner/toy",
        "hub_id: ../etc",
        r"task.yaml, source.hub_id: got '../etc'; should match pattern '^\w[\w.-]*/\w[\w.-]*$'.",
    ),
    "hub without id": (
        ", hub_id: owner/toy",
        "",
        "task.yaml, source: kind 'hub' needs key hub_id. Add it.",
    ),
    "source key of another kind": (
        "hub_id: owner/toy",
        "hub_id: owner/toy, sizes: {train: 2, dev: 1, test: 1}, split_column: s",
        "task.yaml, source: kind 'hub' does not use keys sizes, split_column. Delete it.",
    ),
    "unquoted label": (
        "labels: [a, b]",
        "labels: {yes: a, no: b}",
        "task.yaml, labels: key True is no text. Put it in quotes. "
        "Or: key False is no text. Put it in quotes.",
    ),
    "label value that is no text": (
        "labels: [a, b]",
        "labels: {a: 1, b: [x, 2]}",
        "task.yaml, labels.a: got 1; YAML reads a number without quotes so. Text is wanted: put it "
        "in quotes.\n"
        "task.yaml, labels.b[1]: got 2; YAML reads a number without quotes so. Text is wanted: put "
        "it in quotes.",
    ),
    "unquoted labels in a list": (
        "labels: [a, b]",
        "labels: [no, b]",
        "task.yaml, labels: key False is no text. Put it in quotes.\n"
        "task.yaml, labels[0]: got False; YAML reads no, off and false without quotes so. Text "
        "is wanted: put it in quotes.",
    ),
    "labels that share a value": (
        "labels: [a, b]",
        "labels: {a: x, b: [x, y]}",
        "task.yaml: labels share value x. Keep each once.",
    ),
    "classification without labels": (
        "labels: [a, b]",
        "",
        "task.yaml: kind 'classification' needs labels. Correct the kind or the labels.",
    ),
    "short answer with labels": (
        "kind: classification",
        "kind: short_answer",
        "task.yaml: kind 'short_answer' has no labels. Correct the kind or the labels.",
    ),
    "rows without target and splits": (
        "splits: {train: train}\nfields: {text: text}\ntarget: label\n",
        "fields: {text: text}\nrationale_remove: x\n",
        "task.yaml: key 'splits' is missing. Add it. key 'target' is missing. Add it. "
        "key 'rationale_remove' is of no use here. Delete it.",
    ),
    "generated with columns": (
        "source: {kind: hub, hub_id: owner/toy}",
        "source: {kind: generated, sizes: {train: 2, dev: 1, test: 1}}",
        "task.yaml: key 'splits' is of no use here. Delete it. "
        "key 'target' is of no use here. Delete it.",
    ),
    "no expression": (
        "target: label",
        "target: label\ntarget_remove: '('",
        "task.yaml, target_remove: '(' is no regular expression: missing ), unterminated "
        "subpattern at position 0. Correct it.",
    ),
    "no group": (
        "target: label",
        "target: label\ntarget_pattern: '#'",
        "task.yaml, target_pattern: '#' needs exactly one group, the part to keep. Use (…).",
    ),
    "no field": (
        "fields: {text: text}",
        "fields: {}",
        "task.yaml, fields: got {}; should have at least 1 item after validation, not 0.",
    ),
}


@pytest.mark.parametrize(("old", "new", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_task_file_says_where_and_what(
    old: str, new: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert old in TOY
    Path("task.yaml").write_text(TOY.replace(old, new))

    with pytest.raises(ConfigError) as error:
        read_yaml_model(Path("task.yaml"), TaskFile)

    assert str(error.value) == message
