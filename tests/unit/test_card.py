"""The check of a card, on tiny bases without one: every part gives its rows, and none ends it."""

import json
import sys
from functools import partial
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import card
import card_bases
import card_parts
import training_step
from workbench.budget.known import KNOWN_SHAPES, known_model
from workbench.budget.sources import find_shape

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=card_bases.PUBLISHED)
def given(request, tmp_path_factory):
    """Return what the parts are given, with a tiny base of each architecture."""
    folder = tmp_path_factory.mktemp("card")
    made = card_parts.Given(request.param, folder / "base", folder, "cpu", is_tiny=True)
    assert len(list(card_parts.make(made))) == 1
    return made


def test_greedy_answers_are_those_of_generate(given, monkeypatch):
    exact = partial(card_bases.open_base, compute_dtype="float32")  # random weights have near ties
    monkeypatch.setattr(card_parts, "open_base", exact)
    monkeypatch.setattr(card_parts, "_REPEATS", 1)

    figures = list(card_parts.decode(given))

    assert [f"at batch {size}," in one.name for size, one in zip((1, 5, 16), figures, strict=True)]
    for size, figure in zip((1, 5, 16), figures, strict=True):
        assert f"{size} of {size} answers equal" in figure.details


def test_both_sides_train_from_the_same_loss(given, monkeypatch):
    monkeypatch.setattr(training_step, "_STEPS", 4)
    monkeypatch.setattr(training_step, "_REPEATS", 1)

    figures = [one for one in card_parts.training(given) if "loss of the first" in one.details]

    assert len(figures) == 2
    for figure in figures:
        ours, theirs = figure.details.rpartition("first step ")[2].split(" and ")
        assert float(ours) == pytest.approx(float(theirs), rel=0.01)


def test_the_planner_is_held_against_each_method(given):
    names = [figure.name for figure in card_parts.memory(given)]

    assert [name.rsplit(" ", 1)[1] for name in names] == ["lora", "prompt_tuning"]


@pytest.mark.parametrize("shape", sorted(set(card_bases.PUBLISHED) & set(KNOWN_SHAPES)))
def test_a_shape_is_the_published_one(shape, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(card_bases.config_of(shape)))

    ours, known = find_shape(str(tmp_path)), known_model(shape)

    for size in ("layers", "width", "heads", "kv_heads", "head_width", "linear_weights"):
        assert getattr(ours, size) == getattr(known, size), size
    assert ours.vocabulary == known.vocabulary


def test_a_part_that_fails_becomes_a_row_and_the_next_begins(tmp_path, capsys, monkeypatch):
    rows = tmp_path / "rows.jsonl"
    monkeypatch.setitem(card.LIMITS, "make", 0)
    monkeypatch.setattr(card, "_LEAST_SECONDS", 0.0)

    code = card.main(["--tiny", "--device", "cpu", "--rows", str(rows), "--parts", "make"])

    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    assert code == 1
    assert [line["shape"] for line in lines] == list(card_bases.PUBLISHED)
    assert all(line["failed"] == "stopped after 0 s" for line in lines)
    assert "3 parts were not measured" in capsys.readouterr().out
