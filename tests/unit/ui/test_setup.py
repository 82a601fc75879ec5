"""The setting: tasks, wordings and uploads of a visitor, and what is wrong with it."""

import csv
import math
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from pages import HOSTILE, Page, Seen, dangers, is_problem, said
from visitors import write_rows
from workbench.service.uploads import task_choices
from workbench.ui.setup import (
    on_base,
    on_keep_upload,
    on_line,
    on_task,
    on_upload,
    tasks_to_choose,
)
from workbench.ui.wording_editor import NUM_PARTS


def test_own_tasks_come_first_and_then_the_default(page):
    keys = [key for _, key in tasks_to_choose(page.context, None)]
    own = [key for _, key in task_choices(page.workspace, [])]

    assert keys[: len(own)] == own
    assert keys[len(own)] == "support_intents"


# The line that opens


def test_the_line_names_what_is_chosen(page):
    (line,) = on_line(page.context, **page.values(chat=True))

    for part in ("messages (yours)", "plain", page.setting["model"], "chat template"):
        assert part in line.label


@pytest.mark.parametrize("changes", [{"task": "../x"}, {"wording": "gone"}])
def test_the_line_stays_while_something_is_wrong(changes, page):
    assert on_line(page.context, **page.values(**changes)) == [gr.skip()]


# Tasks


def test_a_task_brings_its_wordings_its_text_and_its_facts(page):
    wording, text, instruction, *_, facts, trouble, _ = on_task(
        page.context, **page.values(task="support_intents")
    )

    assert wording.choices[0] == ("plain", "plain")
    assert wording.value == "plain"
    assert "instruction:" in text
    assert instruction in text
    assert "support_intents" in Seen(facts).text
    assert trouble == ""


def test_a_wording_of_the_task_before_does_not_disturb_the_next_task(page):
    *_, trouble, _ = on_task(page.context, **page.values(task="support_intents", wording="unknown"))

    assert trouble == ""


BAD_TASKS = {
    "unknown": ("sst3", "unknown task 'sst3'. Did you mean 'sst2'?"),
    "a path": ("../sst2", "not a name of a task"),
    "none": (None, "unknown task 'None'"),
    "a list": (["sst2"], "not a name of a task"),
    "an upload of nobody": ("upload:0123456789ab", "not found among your files"),
    "not a number": (math.nan, "unknown task 'nan'"),
}


@pytest.mark.parametrize("case", BAD_TASKS)
def test_a_task_that_cannot_be_had_is_said_once(case, page):
    task, expected = BAD_TASKS[case]

    *kept, trouble, filled = on_task(page.context, **page.values(task=task))

    assert [*kept, filled] == [gr.skip()] * (3 + NUM_PARTS)
    assert expected in said(trouble)


def test_a_hostile_task_is_shown_as_text(hostile_page):
    *_, facts, trouble, _ = on_task(hostile_page.context, **hostile_page.setting)

    assert trouble == ""
    assert dangers(facts) == []
    assert HOSTILE[1] in Seen(facts).text


# Bases


def test_a_base_says_that_it_is_loaded_and_then_nothing(page):
    first, last = on_base(page.context, **page.setting)

    assert Seen(first).text == f"Loading {page.setting['model']} in fp32 …"
    assert last == ""


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model": "smollm3"}, "unknown base model 'smollm3'"),
        ({"model": None}, "unknown base model 'None'"),
        ({"model": ["a"]}, "base model"),
        ({"precision": "nf5"}, "unknown precision 'nf5'"),
        ({"precision": None}, "unknown precision 'None'"),
    ],
)
def test_a_base_that_cannot_be_had_is_said(changes, expected, page):
    shown = list(on_base(page.context, **page.values(**changes)))

    assert expected in said(shown[-1])
    assert "on our side" not in said(shown[-1])


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_of_a_base_is_shown_as_text(text, page):
    shown = list(on_base(page.context, **page.values(model=text)))

    assert is_problem(shown[-1])
    assert [dangers(html) for html in shown] == [[], []]


def test_a_public_page_does_not_load_another_base(chunk_page):
    *_, last = on_base(chunk_page.context, **chunk_page.values(model="/etc"))

    assert "this public page offers" in said(last)


# Uploads


def keep(page: Page, file: Path | str | None, **changes: Any) -> list[Any]:
    asked = {
        "file": None if file is None else str(file), "text_column": "message",
        "label_column": "intent", "text_b_column": "", "kind": "classification",
        "token": page.setting["token"],
    }  # fmt: skip
    return on_keep_upload(page.context, **asked | changes)


def test_a_file_shows_its_rows_and_guesses_its_columns(page, tmp_path):
    file = write_rows(tmp_path / "rows.csv")

    view, text, label, text_b, mapping = on_upload(page.context, str(file))

    assert "40 rows, 2 columns" in Seen(view).text
    assert (text.value, label.value, text_b.value) == ("message", "intent", "")
    assert mapping.visible


def test_no_file_hides_the_mapping(page):
    view, *_, mapping = on_upload(page.context, None)

    assert view == ""
    assert mapping.visible is False


@pytest.mark.parametrize("name", ["rows.xlsx", "rows", "gone.csv"])
def test_a_file_that_cannot_be_read_is_one_message(name, page, tmp_path):
    if name != "gone.csv":
        (tmp_path / name).write_bytes(b"PK")

    view, *_, mapping = on_upload(page.context, str(tmp_path / name))

    assert is_problem(view)
    assert "on our side" not in said(view)
    assert str(tmp_path) not in view
    assert mapping.visible is False


def test_a_file_beyond_the_caps_is_one_message(chunk_page, tmp_path):
    view, *_ = on_upload(chunk_page.context, str(write_rows(tmp_path / "rows.csv", 5001)))

    assert said(view) == "rows.csv: 5001 rows; at most 5000 here. Take a sample of it."


def hostile_file(path: Path) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([HOSTILE[0], HOSTILE[2]])
        texts = [text for text in HOSTILE if "\0" not in text]
        writer.writerows([f"{texts[n % 8]} {n}", texts[n % 2]] for n in range(40))
    return path


def test_a_hostile_file_is_shown_as_text(page, tmp_path):
    file = hostile_file(tmp_path / "<img src=x onerror=alert(1)>.csv")

    view, text, label, *_ = on_upload(page.context, str(file))

    assert dangers(view) == []
    assert HOSTILE[0] in Seen(view).text
    assert {text.value, label.value} == {HOSTILE[0], HOSTILE[2]}


def test_a_hostile_file_is_kept_and_shown_as_text(empty_page, tmp_path):
    file = hostile_file(tmp_path / "<img src=x onerror=alert(1)>.csv")

    _, facts = keep(empty_page, file, text_column=HOSTILE[0], label_column=HOSTILE[2])

    assert not is_problem(facts)
    assert dangers(facts) == []


def test_a_kept_file_is_chosen_as_the_task(empty_page, tmp_path):
    task, facts = keep(empty_page, write_rows(tmp_path / "my rows.csv"))

    assert ("my_rows (yours)", task.value) in task.choices
    assert "my_rows" in Seen(facts).text
    assert "Next: these rows are now the task" in " ".join(Seen(facts).text.split())


def test_keeping_without_a_file_says_what_to_do(page):
    kept, facts = keep(page, None)

    assert kept == gr.skip()
    assert Seen(facts).text == "Choose a file first."


BAD_COLUMNS = {
    "no such text": ({"text_column": "massage"}, "unknown column 'massage'"),
    "text is label": ({"text_column": "intent"}, "both the label and the field"),
    "no text": ({"text_column": None}, "upload, text_column"),
    "a list": ({"label_column": ["intent"]}, "upload, label_column"),
    "a mapping": ({"text_b_column": {"a": 1}}, "upload, text_b_column"),
    "no number": ({"label_column": math.nan}, "upload, label_column"),
    "an unknown kind": ({"kind": "dance"}, "upload, kind"),
    "no kind": ({"kind": None}, "upload, kind"),
    "hostile": ({"text_column": HOSTILE[0]}, "unknown column"),
}


@pytest.mark.parametrize("case", BAD_COLUMNS)
def test_columns_that_cannot_be_used_are_one_message(case, empty_page, tmp_path):
    changes, expected = BAD_COLUMNS[case]

    kept, facts = keep(empty_page, write_rows(tmp_path / "rows.csv"), **changes)

    assert kept == gr.skip()
    assert expected in said(facts)
    assert dangers(facts) == []
    assert str(tmp_path) not in facts


def test_a_public_page_keeps_nothing_of_nobody(chunk_page, tmp_path):
    _, facts = keep(chunk_page, write_rows(tmp_path / "rows.csv"), token=None)

    assert "needs the token it gave your browser" in said(facts)
