"""Labelled data from Python: names, files, and rows in memory that are the same as in a file."""

import json

import numpy as np
import pandas as pd
import pytest

import workbench
from visitors import write_rows
from workbench.errors import ConfigError, PromptError, TaskError
from workbench.notebook.tasks import OpenTask

COLUMNS = {"text_column": "message", "label_column": "intent"}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def digest(task: OpenTask) -> str:
    return task.task.digest


def test_a_name_is_a_task_of_the_catalog():
    task = workbench.open_task("support_intents", limit_train=24, limit_test=6)

    assert task.task.name == "support_intents"
    assert len(task.task.test) == len(task.table()) == 6
    assert list(task.table().columns) == ["id", "text", "target"]


def test_rows_in_memory_are_the_same_task_as_their_file(tmp_path):
    file = write_rows(tmp_path / "reviews.csv")
    frame = pd.read_csv(file)
    expected = workbench.open_task(file, **COLUMNS)

    of_frame = workbench.open_task(frame, name="reviews", **COLUMNS)
    of_mappings = workbench.open_task(frame.to_dict("records"), name="reviews", **COLUMNS)
    of_generator = workbench.open_task(iter(frame.to_dict("records")), name="reviews", **COLUMNS)

    assert expected.task.name == of_frame.task.name == "reviews"
    assert {digest(one) for one in (of_frame, of_mappings, of_generator)} == {digest(expected)}


def test_rows_named_after_a_split_do_not_overwrite_each_other(tmp_path):
    rows = pd.read_csv(write_rows(tmp_path / "reviews.csv")).to_dict("records")
    train, test = rows[: len(rows) // 2], rows[len(rows) // 2 :]

    plain = workbench.open_task(train, name="mine", test=test, **COLUMNS)
    named = workbench.open_task(train, name="test", test=test, **COLUMNS)

    assert [len(getattr(named.task, one)) for one in ("train", "dev", "test")] == [
        len(getattr(plain.task, one)) for one in ("train", "dev", "test")
    ]


@pytest.mark.parametrize("options", [{"name": "mine"}, {"text_column": "foo"}, {"separator": ";"}])
def test_what_is_said_of_files_alone_is_refused_for_a_task_of_the_catalog(options):
    (name,) = options

    with pytest.raises(ConfigError, match=f"open_task: {name}: said of files and rows alone"):
        workbench.open_task("support_intents", **options)


def test_rows_in_memory_are_kept_by_content_and_read_again(tmp_path):
    rows = pd.read_csv(write_rows(tmp_path / "reviews.csv"))

    first, second = (workbench.open_task(rows, **COLUMNS) for _ in range(2))
    other = workbench.open_task(rows[::-1], **COLUMNS)

    assert first.choice == second.choice != other.choice
    assert first.choice.train.parents[2] == tmp_path.relative_to(tmp_path) / "runs" / "rows"
    again = workbench.open_task(first.choice.train, **COLUMNS)
    assert digest(again) == digest(first)


def test_numbers_and_gaps_are_read_as_from_a_file_that_has_types(tmp_path):
    frame = pd.DataFrame(
        {
            "text": [f"how many is {n}" for n in range(30)],
            "label": [float(n) for n in range(30)],
            "other": [pd.NA] * 30,
        }
    )
    frame.to_parquet(tmp_path / "rows.parquet")

    of_frame = workbench.open_task(frame, kind="short_answer")

    assert of_frame.task.train[0].target.isdigit()
    assert digest(of_frame) == digest(
        workbench.open_task(tmp_path / "rows.parquet", kind="short_answer")
    )


def test_lists_of_references_stay_lists():
    rows = [
        {"text": f"say {n}", "label": f"{n}", "all": np.array([f"{n}", f"n{n}"])} for n in range(30)
    ]

    task = workbench.open_task(rows, kind="generation", references_column="all").task

    sample = task.train[0]
    assert sample.references == (sample.target, f"n{sample.target}")


def test_splits_may_be_rows_and_files_together(tmp_path):
    rows = pd.read_csv(write_rows(tmp_path / "reviews.csv"))
    held_out = [{"message": f"new {n}", "intent": ("praise", "complaint")[n % 2]} for n in range(8)]

    task = workbench.open_task(tmp_path / "reviews.csv", test=held_out, **COLUMNS).task
    other = workbench.open_task(rows, test=held_out, **COLUMNS).task

    assert [one.fields["text"] for one in task.test] == [row["message"] for row in held_out]
    assert [one.target for one in other.test] == [one.target for one in task.test]


@pytest.mark.parametrize(
    ("source", "options", "kind", "message"),
    [
        ("support_intent", {}, ConfigError, "Did you mean 'support_intents'?"),
        ("nowhere.csv", {}, TaskError, "nowhere.csv: no such file"),
        ([{"text": "a", "label": "b"}, "c"], {}, TaskError,
         "open_task, train rows: row 2 is of type str, not a mapping of column to cell."),
        ([{"text": "a", "label": "b"}, {"text": "c", "label": None}], {}, TaskError,
         "open_task, train rows: 1 row has no label in column 'label' (row 2)."),
        ([{"text": "a", "label": "b"}], {"text_column": "txt"}, TaskError,
         "open_task, train rows: unknown column 'txt'. Did you mean 'text'?"),
        (3, {}, TaskError, "open_task, train rows: of type int, which has no rows."),
        ([{"text": "a", "label": "b"}], {"name": "../b"}, ConfigError, "task name '../b'"),
        ("support_intents", {"limit_trian": 3}, ConfigError, "Did you mean 'limit_train'?"),
        ("support_intents", {"template": "plian"}, ConfigError, "Did you mean 'plain'?"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_message(source, options, kind, message):
    with pytest.raises(kind) as found:
        workbench.open_task(source, **options)

    assert message in str(found.value)


def test_a_wording_that_does_not_fit_is_refused(tmp_path):
    (tmp_path / "words.yaml").write_text("version: 1\ninput: 'M: {review} ->'\nseparator: '|'\n")

    with pytest.raises(PromptError, match="review"):
        workbench.open_task("support_intents", template="words.yaml")


def test_text_of_data_stays_text_in_a_notebook():
    rows = [{"text": f"t {n}", "label": ("<b>x</b>", "y")[n % 2]} for n in range(24)]

    shown = workbench.open_task(rows)._repr_html_()

    assert "<b>x</b>" not in shown
    assert "&lt;b&gt;x&lt;/b&gt;" in shown
    assert json.dumps(shown)
