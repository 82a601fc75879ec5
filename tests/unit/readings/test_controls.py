"""Controls through every reading: a known instruction is recovered, random vectors say nothing."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest

from workbench.encoding import PromptEncoder
from workbench.readings.base import Subject, open_vocabulary
from workbench.readings.catalog import READERS, make_reader, reader_class, readers_of
from workbench.readings.scoring import Scorer
from workbench.readings.vectors.prompt import SoftPrompt, random_like
from workbench.runs.session import Session, open_template
from workbench.tasks.catalog import load_task

NOTHING_FOUND = "no better than chance"


@pytest.fixture(scope="module")
def instruction(real_engine) -> Subject:
    """Return the default task's own instruction, as a soft prompt on the real base."""
    task = load_task("support_intents", seed=0)
    encoder = PromptEncoder(real_engine.tokenizer, open_template("plain", task), task)
    session = Session(real_engine, encoder)
    vocabulary = open_vocabulary(session)
    vectors = vocabulary.embeddings[list(encoder.start().shared_ids)]
    subject = Subject(session, vocabulary, Scorer(session, 6))
    return replace(subject, prompt=SoftPrompt("instruction", vectors, start=vectors))


@pytest.fixture(scope="module")
def random(instruction) -> Subject:
    """Return random vectors with the norms of the instruction's first."""
    mine = random_like(instruction.prompt.vectors[:6], seed=4321)
    return replace(instruction, prompt=SoftPrompt("random", mine))


def test_nearest_tokens_recover_an_instruction_token_for_token(instruction):
    found = make_reader("nearest").read(instruction)

    nearest = [ids[0] for ids in found.data["nearest"]]
    assert tuple(nearest) == instruction.instruction_ids
    assert found.data["centred_cosine"] == pytest.approx([1.0] * len(nearest), abs=1e-5)
    assert min(found.data["percentile_of_random"]) == 100.0
    assert found.standings[0].is_better
    assert f"{len(nearest)} of them still read as the token they started from" in found.verdict


def test_rounding_an_instruction_changes_nothing(instruction):
    found = make_reader("rounding").read(instruction)

    assert tuple(found.data["token_ids"]) == instruction.instruction_ids
    assert found.data["gap"] == 0.0
    assert found.data["loss"]["soft prompt"] == pytest.approx(
        found.data["loss"]["rounded by distance"], abs=1e-5
    )
    assert found.data["accuracy"]["the instruction"] == found.data["accuracy"]["soft prompt"]
    assert found.verdict.startswith("The vectors are tokens: rounding changes nothing.")


def test_the_base_itself_names_an_instruction_token_for_token(instruction):
    reader = make_reader("verbalisation")

    said = reader.said(instruction, instruction.prompt.vectors, "test")

    assert tuple(said.tolist()) == instruction.instruction_ids


QUICK = {"map": {"method": "pca"}, "clusters": {"meaning": False}}


@pytest.mark.parametrize("name", ["nearest", "map", "clusters"])
def test_of_random_vectors_a_reading_of_the_vocabulary_says_no_better_than_chance(name, random):
    """How often all readings say so, tests/nulls and `make nulls` measure."""
    found = make_reader(name, QUICK.get(name)).read(random)

    assert NOTHING_FOUND in found.verdict.lower()
    assert np.isfinite([s.value for s in found.standings]).all()


@pytest.mark.parametrize("name", READERS)
def test_every_reading_says_what_it_is_and_explains_its_options(name):
    found = reader_class(name)

    assert found.title
    assert found.summary
    assert found.kind in ("vectors", "weights")
    assert found.cost in ("instant", "seconds", "minutes")
    assert type(found.needs_base) is bool
    assert all(field.metadata["help"] for field in dataclasses.fields(found))


@pytest.mark.parametrize("name", readers_of("vectors"))
def test_every_reading_is_plain_data_that_comes_back_from_json(name, tiny_subject):
    reader = make_reader(name)
    found = reader.read(tiny_subject)

    again = type(found).model_validate_json(found.model_dump_json())

    assert again == found
    assert found.name == name
    assert found.title == reader_class(name).title
    assert found.verdict.endswith(".")
    assert found.notes


@pytest.mark.parametrize("name", sorted({*readers_of("vectors")} - {"map"}))
def test_the_same_reading_twice_is_the_same(name, tiny_subject):
    """Of maps, tests/unit/readings/test_map.py says it, over fresh processes."""
    fresh = replace(tiny_subject, scorer=Scorer(tiny_subject.session, 6))

    assert make_reader(name).read(tiny_subject) == make_reader(name).read(fresh)


@pytest.fixture
def tiny_subject(tiny_engine, toy_encoder) -> Subject:
    """Return vectors near tokens of the tiny base, with another prompt beside."""
    session = Session(tiny_engine, toy_encoder)
    vocabulary = open_vocabulary(session)
    start = vocabulary.embeddings[[40, 41, 42, 43, 44, 45]]
    moved = start + 0.3 * random_like(start, seed=5)
    other = start + 0.3 * random_like(start, seed=6)
    path = ((0, start), (10, (start + moved) / 2), (20, moved))
    return Subject(
        session,
        vocabulary,
        Scorer(session, 6),
        prompt=SoftPrompt("mine", moved, start, path, task="toy"),
        others=(SoftPrompt("theirs", other, start, task="toy"),),
    )
