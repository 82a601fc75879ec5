"""Tasks that ask for a short answer: several right ones, and answers that no line can hold."""

import json
from pathlib import Path

import pytest

from workbench.errors import ConfigError, TaskError
from workbench.tasks.base import Task
from workbench.tasks.catalog import task_from_files
from workbench.tasks.rows import ColumnMapping


def load(folder: Path, rows: list[dict[str, object]], **columns: str) -> Task:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return task_from_files(path, mapping=ColumnMapping(**columns), kind="short_answer")


def test_a_column_of_lists_holds_all_right_answers(tmp_path):
    rows = [{"text": f"q {i}", "label": f"a{i}", "all": [f"a{i}", f"b{i}"]} for i in range(10)]

    task = load(tmp_path, rows, references="all")

    for sample in (*task.train, *task.dev, *task.test):
        number = sample.fields["text"].removeprefix("q ")
        assert sample.all_references == (f"a{number}", f"b{number}")


def test_the_same_column_may_hold_the_answer_that_is_learned_first(tmp_path):
    rows = [{"text": f"q {i}", "answers": [f"a{i}", f"b{i}"]} for i in range(10)]

    task = load(tmp_path, rows, label="answers", references="answers")

    assert {s.target[0] for s in task.train} == {"a"}
    assert all(s.references == (s.target, f"b{s.target[1:]}") for s in task.train)


def test_a_list_without_an_answer_is_refused(tmp_path):
    rows = [{"text": f"q {i}", "answers": [f"a{i}"]} for i in range(9)]

    with pytest.raises(TaskError, match=r"1 row has no answer in column 'answers' \(line 10\)"):
        load(
            tmp_path,
            [*rows, {"text": "last", "answers": []}],
            label="answers",
            references="answers",
        )


def test_labels_have_one_right_answer(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,label,all\na,b,c\n")

    with pytest.raises(ConfigError, match=r"references_column: .* kind 'classification'"):
        task_from_files(path, mapping=ColumnMapping(references="all"), kind="classification")


def test_answers_of_several_lines_are_refused_in_one_message(tmp_path):
    rows = [{"text": f"verse {i}", "label": f"first {i}\nsecond {i}"} for i in range(3)]
    rows += [{"text": f"word {i}", "label": f"a {i}"} for i in range(9)]

    with pytest.raises(TaskError) as caught:
        load(tmp_path, rows)

    assert str(caught.value) == (
        "task 'rows': 3 rows have an answer of several lines (ids rows-00001, rows-00002, "
        "rows-00003), and a short answer ends with its line. Use the kind 'generation', or keep "
        "one line of each."
    )
