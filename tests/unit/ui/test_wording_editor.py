"""The drawer that edits a wording: boxes and YAML say the same, and the prompt follows either."""

import json
import math
from typing import Any

import gradio as gr
import pytest

from pages import HOSTILE, Page, Seen, dangers, is_problem, said
from workbench.runs.experiment import TaskChoice
from workbench.service.wording_boxes import BOXES
from workbench.service.wording_versions import versions_of
from workbench.service.wordings import parse_wording, wording_choices, wording_text
from workbench.ui.context import SettingValues
from workbench.ui.setup import on_task
from workbench.ui.wording_editor import (
    NUM_PARTS,
    on_boxes,
    on_keep_wording,
    on_preview,
    on_yaml,
)


def on_wording(context: Any, **setting: Any) -> list[Any]:
    """Return what the editor shows of a chosen wording, and what is wrong with it."""
    _, *parts, _, trouble, _ = on_task(context, **setting)
    return [*parts, trouble]


EDITED = "version: 1\ninstruction: 'Which of {labels} is it?'\ninput: 'Q: {text}'\n"


def test_a_chosen_wording_is_shown_as_its_text(page):
    brief, plain = (
        on_wording(page.context, **page.values(task="support_intents", wording=name))[0]
        for name in ("brief", "plain")
    )

    assert "input:" in brief
    assert brief != plain


@pytest.mark.parametrize("wording", ["plane", "../x", None, 3, ["plain"], "plain.yaml"])
def test_in_the_place_of_a_wording_that_does_not_exist_is_the_first(wording, page):
    shown, first = (
        on_wording(page.context, **values)[0]
        for values in (page.values(wording=wording), page.setting)
    )

    assert shown == first


@pytest.mark.parametrize("wording", ["plane", "../x", None, 3, ["plain"], "plain.yaml"])
def test_a_wording_of_the_task_that_does_not_exist_leaves_the_text_and_says_so(wording, page):
    filled = [page.setting["task"], "plain"]
    values = page.values(wording=wording)
    kept_wording, *kept, facts, trouble, still = on_task(page.context, filled=filled, **values)

    assert [kept_wording, *kept, facts, still] == [gr.skip()] * (3 + NUM_PARTS)
    assert is_problem(trouble)
    assert "on our side" not in said(trouble)


def test_a_wording_that_can_be_had_takes_the_message_away(page):
    assert on_wording(page.context, **page.setting)[-1] == ""


def preview(page: Page, text: object = EDITED, row: object = 0, **changes: Any) -> str:
    return on_preview(page.context, text=text, row=row, **page.values(**changes))


def test_a_preview_is_the_prompt_of_a_training_row_and_what_should_follow(page):
    sample = page.context.desk.task(task_of(page)).train[0]

    text = Seen(preview(page)).text

    expected = f"Which of complaint, praise is it?\n\nQ: {sample.fields['text']} {sample.target}"
    assert text.startswith(expected)


def test_a_preview_counts_the_tokens_of_both_parts(page):
    sample = page.context.desk.task(task_of(page)).train[0]
    shared = len("Which of complaint, praise is it?\n\n")  # the tiny model's tokens are bytes
    own = len(f"Q: {sample.fields['text']}")

    text = Seen(preview(page)).text

    counts = f"{shared} tokens shared by all texts + {own} of this text = {shared + own}"
    assert f"{counts}, {100 * (shared + own) / 1024:.1f} % of the context of 1,024." in text


def test_each_row_has_a_preview_of_its_own_and_rows_go_round(page):
    num_train = len(page.context.desk.task(task_of(page)).train)

    assert preview(page, row=0) != preview(page, row=1)
    assert preview(page, row=num_train) == preview(page, row=0)


@pytest.mark.parametrize(
    "row", [-1, 1.9, math.nan, math.inf, -math.inf, 10**400, None, "3", [1], {"a": 1}, True]
)
def test_any_row_shows_some_preview(row, page):
    assert not is_problem(preview(page, row=row))


def test_words_for_labels_are_shown_with_their_tokens(page):
    text = Seen(preview(page, f"{EDITED}label_words: {{praise: good, complaint: bad}}\n")).text

    assert "good 5" in text  # with its space, one byte each
    assert "bad 4" in text


def test_a_short_answer_task_has_a_preview_without_labels(page):
    text = Seen(preview(page, "version: 1\ninput: 'Q: {question}'\n", task="arithmetic")).text

    assert "Words for the labels" not in text


BAD_WORDINGS = {
    "empty": ("", "wording: the file is empty"),
    "none": (None, "wording: is of type NoneType; text is needed."),
    "a list": (["a"], "wording: is of type list; text is needed."),
    "a mapping": ({"a": 1}, "wording: is of type dict; text is needed."),
    "a number": (math.nan, "wording: is of type float; text is needed."),
    "no YAML": ("input: [", "wording, line 1"),
    "long": ("x" * 9000, "wording: 9000 characters; at most 8000 are read."),
    "another field": ("version: 1\ninput: '{sentence}'\n", "input uses {sentence}"),
    "zero byte": ("version: 1\ninput: '\0{text}'\n", "wording"),
    "hostile": (HOSTILE[0], "wording"),
}


@pytest.mark.parametrize("case", BAD_WORDINGS)
@pytest.mark.parametrize("handler", ["preview", "keep"])
def test_what_is_no_wording_is_one_message(handler, case, page):
    text, expected = BAD_WORDINGS[case]
    before = wording_choices(page.workspace, page.context.desk.task(task_of(page)))

    html = (
        preview(page, text)
        if handler == "preview"
        else on_keep_wording(page.context, text=text, **page.setting)[1]
    )

    assert is_problem(html)
    assert expected in said(html)
    assert wording_choices(page.workspace, page.context.desk.task(task_of(page))) == before


def task_of(page: Page) -> TaskChoice:
    return page.context.experiment(SettingValues(**page.setting))[1].task


@pytest.mark.parametrize("text", [text for text in HOSTILE if "\0" not in text and "{" not in text])
def test_a_hostile_wording_is_shown_as_text(text, page):
    wording = f"version: 1\ninstruction: {json.dumps(text)}\ninput: 'Q: {{text}}'\n"

    html = preview(page, wording)

    assert dangers(html) == []


def test_a_kept_wording_is_chosen(empty_page):
    wording, _ = on_keep_wording(empty_page.context, text=EDITED, **empty_page.setting)

    assert wording.value.startswith("edited:")
    assert wording.value in [key for _, key in wording.choices]


def test_a_kept_wording_can_be_asked_with(empty_page):
    wording, _ = on_keep_wording(empty_page.context, text=EDITED, **empty_page.setting)

    text, instruction, *_ = on_wording(
        empty_page.context, **empty_page.values(wording=wording.value)
    )

    assert text == EDITED
    assert instruction == "Which of {labels} is it?"


def test_the_parent_of_a_kept_wording_is_the_one_that_was_chosen(empty_page):
    def keep(wording: str, words: str) -> str:
        text = EDITED.replace("Which", words)
        values = empty_page.values(wording=wording)
        return on_keep_wording(empty_page.context, text=text, **values)[0].value

    first = keep("plain", "One")
    keep(first, "Two")
    keep(first, "Three")
    keep("plain", "Four")

    name = empty_page.context.desk.task(task_of(empty_page)).name
    found = versions_of(empty_page.workspace, name)
    assert [one.parent for one in found] == [None, 1, 1, None]


# Boxes


def in_boxes(page: Page, **changes: str) -> dict[str, Any]:
    """Return what a handler is given while the edited wording stands in boxes, some changed."""
    text, *boxes = shown_parts(page)
    given = dict(zip(BOXES, boxes, strict=True)) | changes
    return {"text": text, **{f"box__{name}": value for name, value in given.items()}}


def shown_parts(page: Page) -> list[Any]:
    parts = on_wording(page.context, **page.setting)[:-1]
    return [one.value if isinstance(one, gr.Textbox) else one for one in parts]


def test_what_is_typed_into_a_box_is_the_prompt(page):
    asked = in_boxes(page, instruction="First line\n\nThird: {labels}.")

    text = Seen(on_preview(page.context, row=0, is_yaml=False, **asked, **page.setting)).text

    assert text.startswith("First line\n\nThird: complaint, praise.\n\n")


def test_what_is_wrong_in_a_box_is_said_where_the_prompt_would_be(page):
    asked = in_boxes(page, instruction="{nonsense}")

    preview_of = on_preview(page.context, row=0, is_yaml=False, **asked, **page.setting)
    kept, told = on_keep_wording(page.context, is_yaml=False, **asked, **page.setting)

    assert "instruction uses {nonsense}, which is not available there" in said(preview_of)
    assert (kept, said(told)) == (gr.skip(), said(preview_of))


def test_what_stands_in_the_boxes_is_kept_with_the_rest_of_its_yaml(empty_page):
    asked = in_boxes(empty_page, instruction="Two\nlines, {labels}")

    wording, told = on_keep_wording(
        empty_page.context, is_yaml=False, **asked, **empty_page.setting
    )

    assert told == gr.skip()
    text, instruction, *_ = on_wording(
        empty_page.context, **empty_page.values(wording=wording.value)
    )
    assert instruction == "Two\nlines, {labels}"
    assert "instruction: |-\n  Two\n  lines, {labels}\n" in text
    assert "chain_of_thought:" in text


def test_the_way_to_yaml_and_back_changes_nothing(page):
    asked = in_boxes(page, instruction="Two\nlines", separator="\\n---\\n")

    is_yaml, _, source, text, told = on_yaml(page.context, **asked, **page.setting)
    back = on_boxes(page.context, **asked | {"text": text}, **page.setting)

    assert (is_yaml, source.visible, told) == (True, True, gr.skip())
    assert back[0] is False
    assert back[3:-1] == [asked[f"box__{name}"] for name in BOXES]


def test_yaml_that_is_none_stays_and_says_so(page):
    *kept, told = on_boxes(page.context, **in_boxes(page) | {"text": "input: ["}, **page.setting)

    assert kept == [gr.skip()] * (3 + len(BOXES))
    assert "wording, line 1" in said(told)


def test_a_task_without_labels_has_no_box_for_their_words(page):
    parts = on_wording(page.context, **page.values(task="arithmetic"))

    assert parts[1 + BOXES.index("label_words")].visible is False


@pytest.mark.parametrize("value", [None, 3, ["a"], {"a": 1}, math.nan])
@pytest.mark.parametrize("name", BOXES)
def test_what_is_no_text_in_a_box_is_one_message(name, value, page):
    asked = in_boxes(page) | {f"box__{name}": value}

    shown = on_preview(page.context, row=0, is_yaml=False, **asked, **page.setting)

    assert f"wording, {name}: is of type {type(value).__name__}; text is needed." in said(shown)


def test_a_task_s_own_wording_is_written_in_blocks(page):
    """In quotes a line break that somebody types becomes a space."""
    _, experiment = page.context.experiment(SettingValues(**page.values(task="support_intents")))
    task = page.context.desk.task(experiment.task)

    text = wording_text(page.workspace, task, "plain")

    assert "input: |-\n  Message: {text}\n  Topic:\n" in text
    typed = text.replace("  Topic:", "  one more line\n  Topic:")
    assert parse_wording(typed, task).input == "Message: {text}\none more line\nTopic:"
