"""The grid tab: cells fill and end, caps are kept, versions and marks follow the visitor."""

import csv
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from safetensors.torch import load_file, save_file

from pages import HOSTILE, Page, Seen, dangers, is_problem, said
from workbench.cli import app as command_line
from workbench.service.wording_versions import versions_of
from workbench.service.wordings import keep_wording
from workbench.tasks.base import Task
from workbench.ui import ask, grid_marks, grid_versions
from workbench.ui.context import SettingValues
from workbench.ui.grid import on_command, on_fill, on_setting

EDITED = "version: 1\ninstruction: 'Which one, {labels}?'\ninput: 'Q: {text}\\nA:'\n"
TEXTS = "lovely great sun\nbroken awful rain"


def fill(page: Page, **changes: Any) -> list[list[Any]]:
    asked = {
        "texts": TEXTS, "num_dev": 2, "wordings": ["plain"], "ways": ["words:zero_shot"],
    }  # fmt: skip
    return list(on_fill(page.context, **asked | changes, **page.setting))


def problem_of(page: Page, **changes: Any) -> str:
    """Return what is said about a grid that cannot be filled."""
    shown = fill(page, **changes)[-1][0]
    assert is_problem(shown)
    return said(shown)


def task_of(page: Page) -> Task:
    _, experiment = page.context.experiment(SettingValues(**page.setting))
    return page.context.desk.task(experiment.task)


def capped(page: Page, **caps: int) -> Page:
    profile = page.context.profile
    bounded = replace(profile, caps=replace(profile.caps, **caps))
    return Page(replace(page.context, profile=bounded), page.setting)


@pytest.fixture(scope="module")
def wording(page) -> str:
    """Return the key of a wording that the visitor kept."""
    return keep_wording(page.workspace, EDITED, task_of(page), name="asked")


@pytest.fixture(scope="module")
def filled(page, wording) -> list[list[Any]]:
    ways = ["words:zero_shot", "words:few_shot", f"run:{page.rows['lora']}"]
    return fill(page, wordings=["plain", wording], ways=ways)


# Filling


def test_it_waits_fills_and_ends(filled):
    busy = [
        value for html, _ in filled[1:] for _, name, value in Seen(html).attributes
        if name == "aria-busy"
    ]  # fmt: skip

    assert Seen(filled[0][0]).text.strip() == "Waiting for the model …"
    assert busy == ["true"] * (len(filled) - 2) + ["false"]
    assert "20 of 20 cells answered." in Seen(filled[-1][0]).text


def test_a_run_answers_with_its_own_wording_and_is_left_out_of_the_others(filled):
    text = Seen(filled[-1][0]).text

    assert "left out" in text
    assert text.count("left out") == 1
    assert "was made" in text


def test_right_answers_are_marked_where_they_are_known(filled, page):
    found = filled[-1][1]
    dev = task_of(page).dev[:2]
    rows = [dict(sample.fields) for sample in dev]

    assert found["texts"][2:] == rows
    text = Seen(filled[-1][0]).text
    assert text.count("✓") + text.count("✗") == 2 * 5


@pytest.fixture(scope="module")
def other_base(page, tmp_path_factory) -> str:
    """Return the tiny base with other numbers in it."""
    folder = Path(
        shutil.copytree(page.setting["model"], tmp_path_factory.mktemp("bases") / "other")
    )
    path = folder / "model.safetensors"
    numbers = load_file(path)
    save_file({name: one.flip(0) for name, one in numbers.items()}, path, {"format": "pt"})
    return str(folder)


def test_several_bases_are_asked_one_after_the_other(page, other_base):
    own = page.setting["model"]
    ways = ["words:zero_shot", f"run:{page.rows['lora']}"]

    shown = fill(page, bases=[own, other_base], ways=ways)
    alone = [fill(page, bases=[base], ways=ways[:1])[-1] for base in (own, other_base)]

    html, found = shown[-1]
    assert found["headings"][0].endswith("zero_shot")
    assert len(found["columns"]) == 3  # the run is of its own base alone
    assert "left out" in Seen(html).text
    for place, (_, one) in zip((0, 2), alone, strict=True):
        assert [line[place] for line in found["answers"]] == [line[0] for line in one["answers"]]
    assert page.context.desk.loaded.name == other_base  # one at a time


def test_a_base_that_cannot_be_had_costs_the_others_nothing(page):
    shown = fill(page, bases=[page.setting["model"], "/nowhere/base"])

    html, found = shown[-1]
    assert len(found["columns"]) == 1
    assert all(answer for line in found["answers"] for answer in line)
    assert "left out" in Seen(html).text


def test_bases_count_as_columns_and_are_those_that_a_public_page_offers(page, chunk_page):
    bases = [page.setting["model"], "gemma-3-270m"]

    assert "1 wordings x 1 ways x 2 base models" in problem_of(
        capped(page, grid_columns=1), bases=bases
    )
    assert "this public page offers" in problem_of(chunk_page, bases=bases)


@pytest.mark.parametrize("bases", ["a", 3, [3], {"a": 1}, [None]])
def test_what_is_no_list_of_bases_is_one_message(bases, page):
    assert "base models" in problem_of(page, bases=bases)


def test_what_differs_between_the_wordings_is_shown_at_the_end_alone(filled):
    tags = Seen(filled[-1][0]).tags

    assert {"ins", "del"} <= set(tags)
    assert all("ins" not in Seen(html).tags for html, _ in filled[:-1])
    assert "Words that differ" in Seen(filled[-1][0]).text


def test_figures_of_a_whole_grid_stand_beside_the_kept_wording(filled, page):
    (version,) = versions_of(page.workspace, "asked")

    assert version.figures["texts"] == 2
    assert 0 <= version.figures["right with zero_shot"] <= 1


def test_hostile_texts_and_answers_stay_text(hostile_page):
    texts = "\n".join(text.replace("\n", " ") for text in HOSTILE)
    shown = fill(hostile_page, texts=texts, num_dev=4)

    assert is_problem(shown[-1][0]) is False
    assert dangers(shown[-1][0]) == []
    assert "onerror=alert(1)" in Seen(shown[-1][0]).text


# Refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wordings": []}, "wordings: none chosen"),
        ({"wordings": "plain"}, "wordings: 'plain' is no list"),
        ({"wordings": ["no-such"]}, "no-such"),
        ({"wordings": ["../plain"]}, "not a name of a wording"),
        ({"ways": None}, "ways: 'None' is no list"),
        ({"ways": ["words:nothing"]}, "unknown way"),
        ({"texts": 7}, "texts: of type int"),
        ({"texts": " \n ", "num_dev": 0}, "texts: none"),
        ({"num_dev": -1}, "dev rows: -1"),
        ({"num_dev": float("nan")}, "dev rows: nan"),
    ],
)
def test_what_cannot_be_asked_gets_one_message(page, changes, message):
    assert message in problem_of(page, **changes)


@pytest.mark.parametrize(
    ("caps", "changes", "message"),
    [
        ({"cells": 3}, {}, "4 texts in 1 columns are 4 cells; at most 3 here"),
        ({"columns": 1}, {"ways": ["words:zero_shot", "words:few_shot"]}, "at most 1 here"),
        ({"text_chars": 5}, {}, "text 1: 16 characters; at most 5 here"),
    ],
)
def test_what_a_place_allows_is_kept(page, caps, changes, message):
    assert message in problem_of(capped(page, **caps), **changes)


def test_wordings_times_ways_are_bounded(page, wording):
    said_of_it = problem_of(
        capped(page, grid_columns=3), wordings=["plain", wording],
        ways=["words:zero_shot", "words:few_shot"],
    )  # fmt: skip

    assert "2 wordings x 2 ways are 4 columns; at most 3 here" in said_of_it


def test_a_public_page_has_no_grid_of_ways_that_reason(chunk_page):
    assert "takes too long for a grid" in problem_of(chunk_page, ways=["words:chain_of_thought"])


def test_a_public_page_fills_a_grid_without_naming_a_folder(chunk_page):
    shown = fill(chunk_page)[-1][0]

    assert "4 of 4 cells answered" in Seen(shown).text
    assert str(chunk_page.context.root) not in shown


def test_a_public_page_writes_no_answers_beyond_its_cap(chunk_page):
    page = Page(chunk_page.context, chunk_page.values(task="arithmetic"))
    most = page.context.profile.caps.new_tokens
    lengths = {}
    for tokens in (4096, most):
        text = f"version: 1\ninput: 'Q: {{text}}'\nanswer_tokens: {tokens}\n"
        lengths[tokens] = keep_wording(page.workspace, text, task_of(page), name=f"w{tokens}")

    told = problem_of(page, wordings=["plain", lengths[4096]], num_dev=1, texts="")
    html = fill(page, wordings=[lengths[most]], num_dev=1, texts="")[-1][0]

    assert "writes answers of up to 4,096 tokens; at most 96 here" in told
    assert "1 of 1 cells answered" in Seen(html).text


# What follows the setting


def test_wordings_and_ways_are_those_of_the_setting_and_stay_chosen(page, wording):
    wordings, ways = on_setting(
        page.context, chosen=["words:few_shot", "gone"], wordings=[wording, "gone"], **page.setting
    )

    assert wordings.value == [wording]
    assert ways.value == ["words:few_shot"]
    assert f"run:{page.rows['lora']}" in [key for _, key in ways.choices]


def test_the_command_is_one_that_the_command_line_takes(page, wording):
    ways = ["words:few_shot", f"run:{page.rows['lora']}"]
    asked = {"texts": TEXTS, "num_dev": 2, "wordings": ["plain", wording], "ways": ways}

    text = Seen(on_command(page.context, **asked, **page.setting)).text

    words = shlex.split(text)
    group = typer.main.get_command(command_line)
    context = group.make_context("workbench", words[1:], resilient_parsing=False)
    _, command, rest = group.resolve_command(context, words[1:])
    given = command.make_context("grid", rest).params
    assert given["texts"] == TEXTS.splitlines()
    assert given["dev"] == 2
    assert given["methods"] == "few_shot"
    assert given["trained"] == page.rows["lora"]
    assert Path(given["wordings"].split(",")[1]).is_file()
    assert given["models"] is None


def test_the_command_names_the_bases(page):
    asked = {"texts": TEXTS, "num_dev": 0, "wordings": ["plain"], "ways": ["words:few_shot"]}

    text = Seen(on_command(page.context, **asked, bases=["x", "y"], **page.setting)).text

    words = shlex.split(text)
    assert words[words.index("--models") + 1] == "x,y"
    assert "--model" not in words


def test_the_command_of_a_public_page_names_no_folder(chunk_page):
    kept = keep_wording(chunk_page.workspace, EDITED, task_of(chunk_page))
    asked = {"texts": TEXTS, "num_dev": 2, "wordings": [kept], "ways": ["words:zero_shot"]}

    shown = on_command(chunk_page.context, **asked, **chunk_page.setting)
    of_ask = ask.on_command(
        chunk_page.context, text="x", text_b="", ways=["words:zero_shot"],
        **chunk_page.values(wording=kept),
    )  # fmt: skip

    for html in (shown, of_ask):
        assert "workbench" in Seen(html).text
        assert str(chunk_page.context.root) not in html


# Versions


def test_a_version_is_kept_shown_with_what_changed_and_gone_back_to(page):
    context, token = page.context, page.setting["token"]
    first = keep_wording(page.workspace, EDITED, task_of(page), name="mine", note="first")
    keep_wording(page.workspace, EDITED.replace("one", "label"), task_of(page), name="mine")

    names = grid_versions.on_names(context, token, "mine")[0]
    numbers, latest, _ = grid_versions.on_name(context, token, "mine")
    shown = Seen(grid_versions.on_version(context, token, "mine", 2)[0])
    wordings, edited, *_, told = grid_versions.on_restore(
        context, name="mine", number=1, **page.setting
    )

    assert Seen(latest).text == shown.text
    assert edited == EDITED
    assert names.value == "mine"
    assert (numbers.value, [number for _, number in numbers.choices]) == (2, [2, 1])
    assert (shown.tags.count("del"), shown.tags.count("ins")) == (1, 1)
    assert wordings.value == first
    assert "Version 1 of mine" in Seen(told).text
    assert [one.parent for one in versions_of(page.workspace, "mine")] == [None, 1, 1]


def test_the_wording_of_the_first_row_is_kept_under_a_name(page):
    wordings, names, told = grid_versions.on_keep(
        page.context, name=" new-name ", note="why", **page.setting
    )

    (version,) = versions_of(page.workspace, "new-name")
    assert (version.note, names.value) == ("why", "new-name")
    assert wordings.value == f"edited:{version.digest}"
    assert "version 1" in Seen(told).text


@pytest.mark.parametrize("name", ["", None, 7, "../x", "x" * 80])
def test_a_version_of_no_name_is_refused(page, name):
    *_, told = grid_versions.on_keep(page.context, name=name, note="", **page.setting)

    assert is_problem(told)


def test_notes_of_versions_stay_text(page):
    for text in HOSTILE:
        keep_wording(page.workspace, EDITED, task_of(page), name="hostile", note=text)

    html = grid_versions.on_version(page.context, page.setting["token"], "hostile", 3)[0]

    assert dangers(html) == []
    assert "alert(1)" in Seen(html).text


# Marks


def marked(page: Page, found: object, **changes: Any) -> str:
    given = {
        "text": 0, "column": 0, "verdict": "right", "correct": "", "comment": "",
    }  # fmt: skip
    return grid_marks.on_mark(page.context, found=found, **given | changes, **page.setting)


@pytest.fixture
def own(empty_page) -> tuple[Page, Any]:
    """Return a page of its own and a grid that was filled there."""
    return empty_page, fill(empty_page)[-1][1]


def test_marked_answers_are_listed_and_exported_as_labelled_rows(own):
    page, found = own
    answer = found["answers"][0][0]
    other = next(label for label in task_of(page).labels if label != found["answers"][1][0])

    marked(page, found, comment="clear")
    html = marked(page, found, text=1, verdict="wrong", correct=other)
    file, _ = grid_marks.on_export(page.context, form=".csv", **page.setting)

    assert "2 marked" in Seen(html).text
    with Path(file.value["path"]).open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["text"], row["label"], row["comment"]) for row in rows] == [
        ("lovely great sun", answer, "clear"),
        ("broken awful rain", other, ""),
    ]


def test_texts_columns_and_labels_to_mark_follow_the_grid(own):
    page, found = own

    texts, columns, labels, marks = grid_marks.on_filled(page.context, found=found, **page.setting)

    assert [title for title, _ in texts.choices][:2] == [
        "1. lovely great sun",
        "2. broken awful rain",
    ]
    assert columns.choices == [("zero_shot", 0)]
    assert {value for _, value in labels.choices} == {"", *task_of(page).labels}
    assert "No answer of this task is marked yet." in Seen(marks).text


def test_the_cell_to_mark_stays_chosen_while_the_grid_fills(own):
    page, found = own
    label = task_of(page).labels[0]
    chosen = {"text": 1, "column": 0, "correct": label}

    stays = grid_marks.on_filled(page.context, found=found, **chosen, **page.setting)
    gone = grid_marks.on_filled(
        page.context, found=found, text=99, column=7, correct="no label", **page.setting
    )

    assert ["value" in part.constructor_args for part in stays[:3]] == [False] * 3
    assert [part.constructor_args["value"] for part in gone[:3]] == [0, 0, ""]


def test_nothing_is_marked_once_another_task_is_chosen(own):
    page, found = own
    other = Page(page.context, page.values(task="support_intents"))
    assert task_of(other).field_names == task_of(page).field_names

    assert "shows another task by now" in said(marked(other, found))


def test_marks_become_a_task_that_is_chosen(own):
    page, _ = own
    labels = task_of(page).labels
    texts = "\n".join(f"a text of its own, number {number}" for number in range(24))
    found = fill(page, texts=texts, num_dev=0)[-1][1]
    for number in range(24):
        right = labels[number % 2]
        is_right = found["answers"][number][0] == right
        marked(
            page, found, text=number, verdict="right" if is_right else "wrong",
            correct="" if is_right else right,
        )  # fmt: skip

    task, facts = grid_marks.on_make_task(page.context, **page.setting)

    assert task.value in [key for _, key in task.choices]
    assert is_problem(facts) is False
    made = page.context.desk.task(
        page.context.experiment(SettingValues(**page.values(task=task.value)))[1].task
    )
    rows = {one.fields["text"]: one.target for one in (*made.train, *made.dev, *made.test)}
    assert rows["a text of its own, number 3"] == labels[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"text": 99},
        {"text": None},
        {"text": True},
        {"column": -1},
        {"verdict": "maybe"},
        {"verdict": "wrong", "correct": "no such label"},
        {"comment": "x" * 5000},
    ],
    ids=str,
)
def test_what_is_no_mark_is_refused(own, changes):
    page, found = own

    assert is_problem(marked(page, found, **changes))


def test_nothing_is_marked_or_made_before_a_grid_is_filled(empty_page):
    assert "Fill the grid first" in said(marked(empty_page, None))
    _, told = grid_marks.on_export(empty_page.context, form=".csv", **empty_page.setting)
    assert is_problem(told)
    _, told = grid_marks.on_make_task(empty_page.context, **empty_page.setting)
    assert is_problem(told)
