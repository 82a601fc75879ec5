"""A wording in boxes: they show it, and what they hold comes back as the same YAML."""

import pytest
import yaml

from workbench.errors import ConfigError
from workbench.service.wording_boxes import BOXES, boxes_of, with_boxes
from workbench.service.wordings import block_text, parse_wording
from workbench.tasks.base import Task
from workbench.tasks.catalog import load_task
from workbench.yaml_files import parse_mapping

PLAIN = """version: 3
description: mine
instruction: 'Which of {labels}?'
input: 'Q: {text}'
label_words: {return: returns}
"""
REASONING = """chain_of_thought:
  input: "{text} So:"
  demonstrations:
    - {fields: {text: a}, rationale: because, answer: billing}
"""


@pytest.fixture(scope="module")
def intents() -> Task:
    return load_task("support_intents")


def test_the_boxes_show_what_the_wording_says(intents):
    shown = boxes_of(PLAIN, intents)

    assert tuple(shown) == BOXES
    assert shown["instruction"] == "Which of {labels}?"
    assert shown["separator"] == r"\n\n"
    assert "return: returns\n" in shown["label_words"]
    assert "billing: billing\n" in shown["label_words"]
    assert (shown["answer_tokens"], shown["reasoning_input"]) == ("", "")


def test_boxes_that_were_not_touched_leave_the_text_as_it_was_typed(intents):
    text = f"# my own\n{PLAIN}{REASONING}"

    assert with_boxes(text, boxes_of(text, intents), intents) == text


CHANGES = {
    "instruction": "First\n\n  indented, {labels}\nlast",
    "input": "Text:\n{text}\nTopic:",
    "separator": r"\n\\n\t",
    "label_words": "billing: money\nreturn: sent back\ntechnical: is: broken",
    "answer_tokens": "12",
    "reasoning_input": "{text}\nThink:",
    "reasoning_trigger": "Step by step:",
    "reasoning_phrase": "It is",
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("text", [PLAIN, PLAIN + REASONING], ids=["plain", "reasoning"])
def test_a_changed_box_is_shown_again_and_everything_else_stays(text, name, intents):
    before = boxes_of(text, intents)
    given = before | {name: CHANGES[name]}
    if name.startswith("reasoning"):
        given |= {"reasoning_input": "{text}\nThink:"}

    made = with_boxes(text, given, intents)

    after = boxes_of(made, intents)
    assert after[name] == CHANGES[name] or name == "label_words"
    assert {k: v for k, v in after.items() if not k.startswith(name.partition("_")[0])} == {
        k: v for k, v in before.items() if not k.startswith(name.partition("_")[0])
    }
    content = yaml.safe_load(made)
    assert (content["version"], content["description"]) == (3, "mine")
    if text != PLAIN:
        assert content["chain_of_thought"]["demonstrations"][0]["rationale"] == "because"


def test_words_of_labels_are_read_line_by_line(intents):
    given = {"label_words": CHANGES["label_words"] + "\n\n account :x"}

    with pytest.raises(ConfigError, match="label words, line 6: a second word for 'account'"):
        with_boxes(PLAIN, {"label_words": given["label_words"] + "\naccount: y"}, intents)
    template = parse_wording(with_boxes(PLAIN, given, intents), intents)

    words = {"billing": "money", "return": "sent back", "technical": "is: broken", "account": "x"}
    assert template.label_words == words


def test_a_line_without_a_colon_is_one_message(intents):
    with pytest.raises(ConfigError) as caught:
        with_boxes(PLAIN, {"label_words": "billing: a\nreturns"}, intents)

    assert str(caught.value) == (
        "wording, label words, line 2: 'returns' has no colon. Write 'label: word'."
    )


def test_boxes_of_reasoning_that_are_all_empty_end_it(intents):
    empty = dict.fromkeys(("reasoning_input", "reasoning_trigger", "reasoning_phrase"), "")

    made = with_boxes(PLAIN + REASONING, empty, intents)

    assert parse_wording(made, intents).chain_of_thought is None


def test_a_number_of_tokens_that_is_none_is_refused_by_name(intents):
    made = with_boxes(PLAIN, {"answer_tokens": "many"}, intents)

    with pytest.raises(ConfigError, match="answer_tokens"):
        parse_wording(made, intents)


TEXTS = [
    "one line", "two\nlines", "\nleading", "  spaces at first\nthen", "ends in space \nhere",
    "trailing\n\n", "tab\there", "next\x85line", "para\u2029graph", "carriage\rreturn",
    "# no comment", "a: b", "- c", "'quoted' \"twice\"", "12", "true", "~", "", " ",
    "emoji \U0001f600", "|-", "{text}", "back\\slash \\n", "é\u0301 ü", "x" * 300,
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
@pytest.mark.parametrize("reader", ["ours", "PyYAML's"])
def test_any_text_reads_back_as_itself(reader, text):
    content = {
        "version": 1, "instruction": text, "input": text, "separator": text,
        "label_words": {"a": text},
        "chain_of_thought": {
            "input": text,
            "demonstrations": [{"fields": {"text": text}, "rationale": text, "answer": text}],
        },
    }  # fmt: skip
    written = block_text(content)

    read = parse_mapping(written, where="x") if reader == "ours" else yaml.safe_load(written)

    assert read == content
