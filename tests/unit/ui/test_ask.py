"""The tab that asks: cards grow and end, and anything that is no question gets one message."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest

from pages import HOSTILE, Page, Seen, dangers, is_problem, said
from workbench.fitting.prediction import Prediction
from workbench.models.base import Conditioning, Generation, Prefix
from workbench.service.profile import Caps
from workbench.service.uploads import ColumnChoice, keep_upload
from workbench.service.ways import words
from workbench.serving.asking import Column, PromptPiece
from workbench.ui.answer_cards import columns_html
from workbench.ui.ask import (
    Turn,
    keep_or_default,
    on_answer,
    on_begin,
    on_command,
    on_setting,
    on_turn,
)
from workbench.ui.context import SettingValues
from workbench.ui.question import Question, stream_columns

WORD_KEYS = [f"words:{name}" for name in words()]
NUM_COLUMNS = len(WORD_KEYS) + 2  # with two trained runs


def question(**changes: Any) -> dict[str, Any]:
    asked = {
        "text": "lovely great sun", "text_b": "", "ways": ["words:zero_shot", "words:few_shot"],
        "max_new_tokens": 6, "temperature": 0, "seed": 0,
    }  # fmt: skip
    return asked | changes


def answers(page: Page, *, setting: dict[str, Any] | None = None, **changes: Any) -> list[str]:
    """Return everything the page shows from the click to the end."""
    return list(on_answer(page.context, **question(**changes), **(setting or page.setting)))


@pytest.fixture(scope="module")
def shown(page) -> list[str]:
    keys = [*WORD_KEYS, f"run:{page.rows['prompt_tuning']}", f"run:{page.rows['lora']}"]
    return answers(page, ways=keys)


def test_the_page_says_at_once_that_it_waits(shown):
    assert Seen(shown[0]).text.startswith("Waiting for the model …")


def test_what_is_shown_says_which_text_it_answers(shown):
    assert all("Asked: lovely great sun" in Seen(html).text for html in shown)


def test_a_click_shows_the_new_text_and_hands_out_a_ticket_that_starts_its_answer():
    turn = Turn()
    first, html, *_ = on_begin(Caps(), turn, "a new text", "", [])
    second, *_ = on_begin(Caps(), turn, "a new text", "", [])

    assert "Asked: a new text" in Seen(html).text
    assert "wb-card" not in html
    assert len({"", first, second}) == 3  # each is a change, which the answer waits for


def test_a_new_question_ends_the_answer_to_the_one_before(page):
    turn = Turn()
    ticket, *_ = on_begin(Caps(), turn, "lovely", "", [])
    shown = on_turn(page.context, **question(), turn=turn, ticket=ticket, **page.setting)
    next(shown)
    next(shown)

    on_begin(Caps(), turn, "another", "", [])

    assert list(shown) == []
    late = on_turn(page.context, **question(), turn=turn, ticket=ticket, **page.setting)
    assert list(late) == [gr.skip()]


@pytest.mark.parametrize("text", [*HOSTILE, None, 3, ["a"], "", " "], ids=range(len(HOSTILE) + 5))
def test_a_click_with_any_text_is_shown_as_text(text):
    _, html, history, _ = on_begin(Caps(), Turn(), text, text, text)

    assert dangers(html) == []
    assert len(history) <= 1


def test_texts_asked_before_can_be_clicked_the_newest_first_and_each_once():
    history: list[Any] = []
    for text in ("first", "second", "", "first", *map(str, range(6))):
        *_, history, shown = on_begin(Caps(), Turn(), text, "", history)

    assert history[:2] == [["5", ""], ["4", ""]]
    assert history[-2:] == [["first", ""], ["second", ""]]
    assert shown.constructor_args["samples"] == history
    assert len(history) == 8


def test_a_text_too_long_to_be_answered_is_not_kept_to_be_asked_again():
    history: list[Any] = []
    for number in range(3):
        for texts in ((f"{number}" * 20_001, ""), ("short", f"{number}" * 20_001)):
            _, html, history, shown = on_begin(Caps(), Turn(), *texts, history)
            assert len(html) < 2000
    _, _, kept, _ = on_begin(Caps(text_chars=9), Turn(), "x" * 9, "", history)

    assert history == shown.constructor_args["samples"] == []
    assert kept == [["x" * 9, ""]]


def test_no_ticket_is_handed_out_again_once_the_server_has_forgotten_a_page():
    first, *_ = on_begin(Caps(), Turn(), "a text", "", [])
    again, *_ = on_begin(Caps(), Turn(), "a text", "", [])

    assert first != again  # the page still holds the first


def test_every_column_has_a_card_from_the_first_answer_to_the_last(shown):
    assert {Seen(html).tags.count("article") for html in shown[1:]} == {NUM_COLUMNS}


def test_only_the_last_state_is_done(shown):
    busy = [
        value for html in shown for _, name, value in Seen(html).attributes if name == "aria-busy"
    ]

    assert busy == ["true"] * (len(shown) - 2) + ["false"]


def test_each_card_ends_with_an_answer_bars_costs_and_its_prompt(shown):
    seen = Seen(shown[-1])

    assert seen.tags.count("dl") == NUM_COLUMNS
    folded = Seen(shown[-1]).text.count("What it would write")
    assert seen.tags.count("details") == NUM_COLUMNS + folded
    assert 0 < folded < NUM_COLUMNS  # of those that reason the text is what counts
    assert seen.text.count("Answer, from the scores of the labels") == NUM_COLUMNS
    assert "What it would write" not in Seen(shown[1]).text
    assert seen.text.count("prompt tokens") == NUM_COLUMNS
    assert "no answer could be read" not in seen.text
    assert "…" not in seen.text


def test_learned_vectors_are_said_where_they_stand(shown):
    text = Seen(shown[-1]).text

    assert text.count("6 learned vectors") == 1
    assert text.count("6 of them learned vectors") == 1


def test_agreement_is_counted_once_all_have_answered(shown):
    assert "agree" not in Seen(shown[1]).text
    assert "agree" in Seen(shown[-1]).text


def fitted_to(kind: str) -> Any:
    """Return what a card asks of a fitted method: the kind of its task."""
    return SimpleNamespace(encoder=SimpleNamespace(task=SimpleNamespace(kind=kind)), reasoning=None)


@pytest.mark.parametrize(
    ("kind", "agreement"),
    [("short_answer", "2 different answers, 2 of 3 agree"), ("generation", "3 different answers")],
)
def test_short_answers_agree_and_are_counted_as_in_a_vote(kind, agreement):
    voted = Prediction(
        "1", "18", "18", vote_share=2 / 3, sampled_answers=("18", "18.00", "17"), text="t"
    )
    columns = [
        Column(
            label=answer,
            fitted=fitted_to(kind),
            conditioning=Conditioning(Prefix(((1,),)), (2,)),
            prediction=replace(voted, answer=answer),
        )
        for answer in ("18, of course", "18", "17")
    ]

    text = Seen(columns_html(columns, is_done=True)).text

    assert agreement in text
    assert text.count("2 of 3 votes") == 3


def test_one_column_agrees_with_nobody(page):
    assert "agree" not in Seen(answers(page, ways=["words:zero_shot"])[-1]).text


def test_the_text_is_stripped(page):
    plain, spaced = (answers(page, text=text)[-1] for text in ("a text", "  a text \n"))

    assert Seen(spaced).tags == Seen(plain).tags
    assert Seen(spaced).text.count("a text") == Seen(plain).text.count("a text")


def test_whole_numbers_may_come_as_floats(page):
    assert not is_problem(answers(page, max_new_tokens=6.0, temperature=0.7, seed=3.0)[-1])


# What is no question

BAD = {
    "empty": ({"text": ""}, "Text: empty. Write a text, or click an example."),
    "blank": ({"text": " \n\t"}, "Text: empty. Write a text, or click an example."),
    "no text": ({"text": None}, "Text: empty. Write a text, or click an example."),
    "a list as text": ({"text": ["a"]}, "Text: empty. Write a text, or click an example."),
    "a mapping as text": ({"text": {"a": 1}}, "Text: empty. Write a text, or click an example."),
    "a number as text": ({"text": 5}, "Text: empty. Write a text, or click an example."),
    "a long text": ({"text": "x" * 20_001}, "Text: 20001 characters; at most 20000 here."),
    "more than the context": ({"text": "x" * 3000}, "exceed the context of 1024 tokens"),
    "no way": ({"ways": []}, "columns: none chosen. Choose at least one way to answer."),
    "no list of ways": ({"ways": None}, "columns: none chosen. Choose at least one way to answer."),
    "a text as ways": ({"ways": "words:zero_shot"}, "is no list of ways"),
    "a number as ways": ({"ways": 3}, "is no list of ways"),
    "a list in ways": ({"ways": [["words:zero_shot"]]}, "is no list of ways"),
    "too many ways": ({"ways": ["words:zero_shot"] * 13}, "columns: 13 chosen; at most 12 here."),
    "an unknown way": ({"ways": ["words:zero"]}, "unknown way 'zero'"),
    "an unknown run": ({"ways": ["run:missing_run"]}, "not found among your runs"),
    "a path": ({"ways": ["run:../../etc"]}, "not a name of a run"),
    "no tokens": ({"max_new_tokens": 0}, "most new tokens: 0; a number from 1 to 512 is needed."),
    "too many tokens": ({"max_new_tokens": 513}, "most new tokens: 513; a number from 1 to 512"),
    "tokens as text": ({"max_new_tokens": "6"}, "most new tokens: 6; a number from 1 to 512"),
    "tokens not a number": ({"max_new_tokens": math.nan}, "most new tokens: nan; a number from"),
    "endless tokens": ({"max_new_tokens": math.inf}, "most new tokens: inf; a number from 1"),
    "true tokens": ({"max_new_tokens": True}, "most new tokens: True; a number from 1"),
    "no number of tokens": ({"max_new_tokens": None}, "most new tokens: None; a number from 1"),
    "cold": ({"temperature": -0.1}, "temperature: -0.1; a number from 0 to 2 is needed."),
    "hot": ({"temperature": 1e300}, "temperature: 1e+300; a number from 0 to 2 is needed."),
    "temperature not a number": ({"temperature": math.nan}, "temperature: nan; a number from 0"),
    "temperature as list": ({"temperature": [0]}, "temperature: [0]; a number from 0 to 2"),
    "a negative seed": ({"seed": -1}, "seed: -1; a number from 0 to"),
    "a huge seed": ({"seed": 10**400}, "a number from 0 to"),
    "an endless seed": ({"seed": -math.inf}, "seed: -inf; a number from 0 to"),
    "a seed as mapping": ({"seed": {"a": 1}}, "seed: {'a': 1}; a number from 0 to"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_question_gets_one_message(case, page):
    changes, expected = BAD[case]

    *_, last = answers(page, **changes)

    assert is_problem(last)
    assert expected in said(last)


BAD_SETTINGS = {
    "an unknown task": ({"task": "sst3"}, "unknown task 'sst3'. Did you mean 'sst2'?"),
    "a path as task": ({"task": "../x"}, "not a name of a task"),
    "no task": ({"task": None}, "unknown task 'None'"),
    "an upload of nobody": ({"task": "upload:0123456789ab"}, "not found among your files"),
    "an unknown wording": ({"wording": "plane"}, "unknown wording of task 'messages' 'plane'"),
    "a path as wording": ({"wording": "/etc/passwd"}, "not a name of a wording"),
    "an unknown base": ({"model": "smollm3"}, "unknown base model 'smollm3'"),
    "an empty base": ({"model": ""}, "model folder"),
    "a list as base": ({"model": ["a"]}, "base model"),
    "an unknown precision": ({"precision": "nf5"}, "unknown precision 'nf5'"),
    "a list as precision": ({"precision": ["nf4"]}, "unknown precision"),
}


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_a_setting_that_cannot_be_had_gets_one_message(case, page):
    changes, expected = BAD_SETTINGS[case]

    *_, last = answers(page, setting=page.values(**changes))

    assert is_problem(last)
    assert expected in said(last)
    assert "on our side" not in said(last)


def test_a_public_page_wants_to_know_whose_question_it_is(chunk_page):
    *_, last = answers(chunk_page, setting=chunk_page.values(token=None))

    assert "needs the token it gave your browser" in said(last)


def test_after_a_problem_the_next_question_is_answered(page):
    answers(page, text="x" * 3000)

    assert not is_problem(answers(page)[-1])


def test_leaving_the_page_frees_the_model(page):
    stream = on_answer(page.context, **question(max_new_tokens=300), **page.setting)
    next(stream)
    next(stream)
    stream.close()

    assert not is_problem(answers(page)[-1])


@pytest.mark.parametrize("text", [text for text in HOSTILE if "\0" not in text])
def test_a_hostile_question_is_shown_as_text(text, page):
    *_, last = answers(page, text=text)

    assert not is_problem(last)
    assert dangers(last) == []
    assert text.strip() in Seen(last).text


def test_hostile_labels_and_rows_are_shown_as_text(hostile_page):
    keys = ["words:zero_shot", f"run:{hostile_page.rows[HOSTILE[2]]}"]

    *_, last = answers(hostile_page, ways=keys)

    assert dangers(last) == []
    assert HOSTILE[1] in Seen(last).text


def column(text: str, **changes: Any) -> Column:
    """Return a column whose model wrote a given text."""
    content = {
        "label": text, "fitted": fitted_to("classification"),
        "conditioning": Conditioning(Prefix(), (1, 2)), "text": text,
        "first_token_seconds": 0.1, "seconds": 0.2,
        "generation": Generation(text, (1, 2, 3), "length", 2),
        "prediction": Prediction("question", "", text, probabilities={text: 0.9, "other": 0.1}),
        "pieces": (PromptPiece(text, 2, is_learned=False, is_own=True),),
    }  # fmt: skip
    return Column(**content | changes)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_what_a_model_writes_is_shown_as_text(text):
    html = columns_html([column(text), column("plain")], is_done=True)

    assert dangers(html) == []
    assert Seen(html).tags == Seen(columns_html([column("a"), column("plain")], is_done=True)).tags


def test_labels_cannot_turn_around_what_stands_beside_them():
    html = columns_html([column("turned \u202e around")], is_done=True)

    assert "U+202E" in html


def test_a_column_without_an_answer_says_so_at_its_end():
    found = Prediction("question", "", None, reason="no answer in the output")
    html = columns_html([column("text", prediction=found)], is_done=True)

    assert "no answer could be read" in Seen(html).text


def test_an_answer_that_was_cut_says_so():
    assert "cut at the limit" in columns_html([column("text")], is_done=True)


def test_different_answers_are_counted():
    columns = [column("a"), column("b"), column("a")]

    assert "2 different answers, 2 of 3 agree at most:" in columns_html(columns, is_done=True)


def test_equal_answers_are_said_to_agree():
    assert "All 2 agree:" in columns_html([column("a"), column("a")], is_done=True)


def test_at_most_six_labels_have_bars():
    probabilities = {f"label {n}": 1 / 20 for n in range(20)}
    found = Prediction("question", "", "label 3", probabilities=probabilities)

    html = columns_html([column("text", prediction=found)], is_done=True)

    assert Seen(html).tags.count("dt") == 6


def test_the_stream_can_be_read_without_a_page(page):
    asked = Question(("lovely", ""), ["words:zero_shot"], 4)

    *_, (last, _) = stream_columns(page.context, SettingValues(**page.setting), asked)

    assert np.isclose(sum(last[0].prediction.probabilities.values()), 1)


# What follows the setting


def test_a_new_task_brings_its_examples_and_ways(page):
    text, text_b, examples, ways, _ = on_setting(page.context, [], **page.setting)

    assert (text.label, text_b.visible) == ("Text", False)
    assert len(examples.samples) == 4
    keys = [key for _, key in ways.choices]
    assert set(WORD_KEYS) <= set(keys)
    assert f"run:{page.rows['lora']}" in keys


def test_the_newest_trained_runs_are_chosen_beside_words(page):
    *_, ways, _ = on_setting(page.context, [], **page.setting)

    assert ways.value[:3] == ["words:zero_shot", "words:few_shot", "words:chain_of_thought"]
    assert len(ways.value) == 5


def test_nothing_can_be_asked_before_there_is_a_way(page):
    *_, ways, answer = on_setting(page.context, [], **page.setting)

    assert ways.value
    assert answer.interactive is True


def test_a_task_of_two_texts_has_two_boxes(page, tmp_path):
    columns = ColumnChoice("message", "intent", "intent_of_a_neighbour")
    rows = "message,intent,intent_of_a_neighbour\n"
    rows += "".join(f"text {n},{'ab'[n % 2]},other {n}\n" for n in range(40))
    (tmp_path / "pairs.csv").write_text(rows)
    key, task = keep_upload(page.workspace, Caps(), tmp_path / "pairs.csv", "pairs", columns)

    text, text_b, examples, *_ = on_setting(page.context, [], **page.values(task=key))

    assert [text.label, text_b.label] == [
        f.replace("_", " ").capitalize() for f in task.field_names
    ]
    assert text_b.visible
    written = [box.constructor_args.keys() & {"value"} for box in (text, text_b)]
    assert written == [set(), set()]  # what is written in them stays, on another tab and back
    assert all(all(sample) for sample in examples.samples)


@pytest.mark.parametrize("changes", [{"task": "../x"}, {"wording": None}, {"model": ["x"]}])
def test_a_wrong_setting_leaves_everything_as_it_is(changes, page):
    found = on_setting(page.context, [], **page.values(**changes))

    assert found == [gr.skip()] * 5


CHOICES = [(key, key) for key in [*WORD_KEYS, "run:a", "run:b", "run:c"]]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ([], [WORD_KEYS[0], WORD_KEYS[1], WORD_KEYS[3], "run:a", "run:b"]),
        (["run:c"], ["run:c", "run:a", "run:b"]),
        (["run:gone"], [WORD_KEYS[0], WORD_KEYS[1], WORD_KEYS[3], "run:a", "run:b"]),
        ([*WORD_KEYS, "run:c"], [*WORD_KEYS, "run:c"]),
    ],
)
def test_what_was_chosen_stays_and_free_places_take_trained_runs(chosen, expected):
    assert keep_or_default(chosen, CHOICES) == expected


def test_the_command_asks_the_same(page):
    html = on_command(
        page.context, text="it's", text_b="", ways=["words:zero_shot"], **page.setting
    )

    text = Seen(html).text
    assert text.strip().startswith("workbench ask")
    assert "--methods zero_shot" in text
    assert "'it'\"'\"'s'" in text


@pytest.mark.parametrize("ways", [None, [], 3, ["words:x"], [[]]])
def test_a_command_for_no_ways_is_one_message(ways, page):
    html = on_command(page.context, text="a", text_b="", ways=ways, **page.setting)

    assert is_problem(html)
    assert "columns: " in said(html)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_command_with_hostile_text_is_text(text, page):
    html = on_command(page.context, text=text, text_b="", ways=["words:zero_shot"], **page.setting)

    assert dangers(html) == []
