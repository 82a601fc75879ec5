"""Marks: what is called right or wrong is kept, goes into labelled rows, and becomes a task."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from toys import make_toy_task
from visitors import ANNA, BEN, local_workspace, visitor
from workbench.errors import ConfigError, StoreError
from workbench.runs.session import open_task
from workbench.service.marks import (
    MOST_COMMENT,
    Mark,
    add_mark,
    export_marks,
    labelled_rows,
    marks_of,
    task_of_marks,
)
from workbench.service.profile import Caps
from workbench.service.uploads import task_choice
from workbench.service.workspace import Workspace

TASK = make_toy_task(4, 4, 4)
CAPS = Caps()


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return local_workspace(tmp_path / "root")


def mark(text: str, answer: str, verdict: str = "right", **more: str) -> Mark:
    return Mark({"text": text}, answer, verdict, **more)  # type: ignore[arg-type]


def keep(workspace: Workspace, *marks: Mark) -> list[Mark]:
    for one in marks:
        add_mark(workspace, CAPS, TASK, one)
    return marks_of(workspace, TASK)


def test_marks_come_back_as_they_were_made_with_their_date(workspace):
    made = mark("one", "good", "wrong", correct="bad", comment="irony", wording="plain", way="x")

    (found,) = keep(workspace, made)

    assert found.date.startswith("20")
    assert replace(found, date="") == made


def test_a_later_mark_on_the_same_answer_replaces_the_earlier(workspace):
    found = keep(workspace, mark("one", "good"), mark("two", "bad"), mark("one", "good", "wrong"))

    assert [(one.fields["text"], one.verdict) for one in found] == [
        ("two", "right"),
        ("one", "wrong"),
    ]


def test_the_label_is_the_answer_that_is_right_as_far_as_it_is_known():
    rows = labelled_rows(
        TASK,
        [
            mark("one", "good"),
            mark("two", "good", "wrong", correct="bad", comment="irony"),
            mark("three", "good", "wrong", comment="no idea"),
        ],
    )

    assert [(row["text"], row["label"], row["comment"]) for row in rows] == [
        ("one", "good", ""),
        ("two", "bad", "irony"),
        ("three", "", "no idea"),
    ]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_an_export_can_be_read_by_anybody(tmp_path, suffix):
    marks = [mark('a "quoted", line\nand another', "good"), mark("=1+1", "bad", "wrong")]
    path: Path = tmp_path / f"marks{suffix}"

    export_marks(TASK, marks, path)

    if suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        assert rows[1]["text"] == "'=1+1"  # no spreadsheet takes it for a formula
    else:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        assert rows[1]["text"] == "=1+1"
    assert rows[0]["text"] == 'a "quoted", line\nand another'
    assert [row["label"] for row in rows] == ["good", ""]
    assert [row["verdict"] for row in rows] == ["right", "wrong"]


def test_marks_become_a_task_with_the_labels_they_say(workspace):
    made = [
        mark(f"text number {n} {'sun' if n % 2 else 'rain'}", "good" if n % 2 else "bad")
        for n in range(30)
    ]
    made += [mark("a turned one", "good", "wrong", correct="bad"), mark("open", "good", "wrong")]

    key, task = task_of_marks(workspace, CAPS, TASK, made)

    rows = {one.fields["text"]: one.target for one in (*task.train, *task.dev, *task.test)}
    assert rows == {one.fields["text"]: one.label for one in made if one.label}
    assert rows["a turned one"] == "bad"
    assert open_task(task_choice(workspace, key)).digest == task.digest


def test_marks_without_any_label_make_no_task(workspace):
    with pytest.raises(ConfigError, match="none has a label"):
        task_of_marks(workspace, CAPS, TASK, [mark("open", "good", "wrong")])


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (mark("one", "good", "maybe"), "'maybe' is none. Choose right or wrong."),
        (mark("one", "good", "wrong", correct="fine"), "'fine' is no label of task 'toy'"),
        (mark("one", "good", "wrong", correct="good"), "is what was answered"),
        (mark("one", "fine"), "'fine' is no label of task 'toy', so it cannot be right"),
        (mark("one", "good", comment="x" * (MOST_COMMENT + 1)), f"at most {MOST_COMMENT}"),
    ],
)
def test_what_is_no_mark_is_refused_with_what_is_allowed(workspace, made, message):
    with pytest.raises(ConfigError, match=message):
        add_mark(workspace, CAPS, TASK, made)


def test_a_place_bounds_how_many_there_are(workspace):
    caps = replace(CAPS, rows=2)
    for text in ("one", "two"):
        add_mark(workspace, caps, TASK, mark(text, "good"))

    with pytest.raises(ConfigError, match="2 on this task; at most 2 here"):
        add_mark(workspace, caps, TASK, mark("three", "good"))


def test_a_place_bounds_how_large_they_are(workspace):
    open_ended = replace(TASK, labels=())
    caps = replace(CAPS, text_chars=500, upload_bytes=1000)
    long = mark("one", "something", "wrong", correct="x" * 501)

    with pytest.raises(ConfigError, match="correct answer: 501 characters; at most 500 here"):
        add_mark(workspace, caps, open_ended, long)
    add_mark(workspace, caps, open_ended, replace(long, correct="x" * 500))
    with pytest.raises(ConfigError, match="bytes on this task; at most 1,000 here"):
        add_mark(workspace, caps, open_ended, replace(long, answer="other", correct="x" * 500))

    assert len(marks_of(workspace, open_ended)) == 1


def test_damaged_marks_are_named_and_never_read(workspace):
    keep(workspace, mark("one", "good"))
    (path,) = workspace.marks.glob("*.json")
    path.write_bytes(path.read_bytes().replace(b"right", b"wrong"))

    with pytest.raises(StoreError, match="have changed on disk or are damaged"):
        marks_of(workspace, TASK)


def test_marks_are_their_visitors_alone_and_can_be_deleted(tmp_path):
    anna, ben = visitor(tmp_path, ANNA), visitor(tmp_path, BEN)
    keep(anna, mark("one", "good"))

    assert marks_of(ben, TASK) == []
    anna.delete_files()
    assert marks_of(anna, TASK) == []
