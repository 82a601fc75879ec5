"""A chunk of rows: each answered as `predict` answers it, and a bad one costs itself alone."""

import pickle
from dataclasses import replace

import pytest

from toys import toy_samples
from workbench.errors import PromptError
from workbench.fitting.prediction import predict
from workbench.methods.catalog import make_method
from workbench.predicting.chunks import AskedRow, Chunk, answer_chunk, asked_row, chunks_of
from workbench.progress import Interrupted

TEXT = {"text": "text"}


def chunk(*texts: str) -> Chunk:
    return Chunk(0, tuple(AskedRow({"text": text}) for text in texts))


@pytest.fixture
def fitted(toy_context):
    return make_method("zero_shot", {}).fit(toy_context)


def test_rows_come_in_chunks_with_their_numbers():
    rows = [(place, {"text": f"row {place}"}) for place in range(2, 9)]

    found = list(chunks_of(rows, TEXT, 3))

    assert [one.number for one in found] == [0, 1, 2]
    assert [len(one.rows) for one in found] == [3, 3, 1]
    assert [row.fields["text"] for one in found for row in one.rows] == [
        f"row {place}" for place in range(2, 9)
    ]
    assert pickle.loads(pickle.dumps(found)) == found


@pytest.mark.parametrize(
    ("cell", "asked"),
    [
        ("  plain ", AskedRow({"text": "plain"})),
        (3.0, AskedRow({"text": "3"})),
        (True, AskedRow({"text": "true"})),
        ("", AskedRow({}, "no text in column 'text'")),
        (" \u200b", AskedRow({}, "no text in column 'text'")),
        (None, AskedRow({}, "no text in column 'text'")),
        (["a"], AskedRow({}, "no plain text in column 'text'")),
        ("half \ud800", AskedRow({}, "no plain text in column 'text'")),
    ],
)
def test_a_row_is_read_as_the_tasks_own_rows_are(cell, asked):
    assert asked_row({"text": cell, "other": 1}, TEXT) == asked


def test_bad_rows_say_what_is_wrong_and_the_others_are_answered(toy_context, fitted):
    texts = [sample.fields["text"] for sample in toy_samples("test", 6)]
    good = answer_chunk(toy_context.engine, fitted, chunk(*texts))
    rows = list(chunk(*texts).rows)
    rows.insert(2, AskedRow({"text": "too long " * 200}))
    rows.insert(4, AskedRow({}, "no text in column 'text'"))

    found = answer_chunk(toy_context.engine, fitted, Chunk(0, tuple(rows)))

    long, empty = found.pop(2), found.pop(3)
    assert [one.answer for one in found] == [one.answer for one in good]
    assert [one.probabilities for one in found] == [one.probabilities for one in good]
    assert "exceed the context of 1024 tokens" in (long.error or "")
    assert "\n" not in (long.error or "")
    assert (empty.answer, empty.error) == (None, "no text in column 'text'")
    assert empty.probabilities is None


def test_a_chunk_without_a_good_row_is_answered_with_errors_alone(toy_context, fitted):
    found = answer_chunk(toy_context.engine, fitted, chunk("x" * 2000, "y" * 3000))

    assert [one.answer for one in found] == [None, None]
    assert all(one.error for one in found)


def test_an_empty_chunk_has_no_answers(toy_context, fitted):
    assert answer_chunk(toy_context.engine, fitted, Chunk(0, ())) == []


@pytest.mark.parametrize("name", ["chain_of_thought", "self_consistency"])
def test_a_row_that_only_its_reasoning_makes_too_long_costs_itself_alone(toy_context, name):
    """The bound is looked at before the reasoning; what follows it may be too much for one row."""
    fitted = make_method(name, {"max_new_tokens": 8}).fit(toy_context)
    texts = ["sun 1", "rain 2", "sun 3"]
    prompt = fitted.condition({"text": ""}).num_tokens
    nearly = "x" * (toy_context.engine.info.context_length - prompt - 8 - 1)

    found = answer_chunk(toy_context.engine, fitted, chunk(texts[0], nearly, *texts[1:]))

    assert "exceed the context" in (found[1].error or "")
    assert [one.error for one in found[:1] + found[2:]] == [None] * 3


def test_what_no_row_can_be_blamed_for_goes_on(toy_context, fitted):
    """An adapter that is not there is no fault of a row."""
    with pytest.raises(KeyError, match="gone"):
        answer_chunk(toy_context.engine, replace(fitted, adapter="gone"), chunk("sun 1"))


def test_a_chunk_is_left_when_asked_to_stop(toy_context, fitted):
    with pytest.raises(Interrupted):
        answer_chunk(toy_context.engine, fitted, chunk("sun 1"), should_stop=lambda: True)


def test_rows_are_looked_at_one_by_one_only_where_some_cannot_be_answered(
    toy_context, fitted, monkeypatch
):
    looked = []
    check = "workbench.predicting.chunks.check_answerable"
    monkeypatch.setattr(check, lambda engine, fitted, fields: looked.append(fields))

    answer_chunk(toy_context.engine, fitted, chunk("sun 1", "rain 2"))

    assert looked == []
    samples = toy_samples("test", 2)
    with pytest.raises(PromptError):
        predict(toy_context.engine, fitted, [replace(samples[0], fields={"text": "x" * 2000})])
