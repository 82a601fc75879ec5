"""Of what learned nothing every reading finds something in at most one of twenty.

Where a base is needed, arithmetic answers in its place, or the tiny model a few times: `make nulls`
asks the default base and writes docs/nulls.md.
"""

import sys
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from nulls.simulation import Tally, random_change, random_subject, tally, token_subject
from workbench.fitting.learning import Outcome
from workbench.readings import base, verbalisation
from workbench.readings.base import Subject, open_vocabulary
from workbench.readings.catalog import READERS, make_reader, reader_class, readers_of
from workbench.readings.scoring import Scorer
from workbench.readings.vectors import clustering, similarity
from workbench.readings.vectors.chance import standing
from workbench.readings.vectors.neighbours import Vocabulary
from workbench.readings.vectors.prompt import SoftPrompt
from workbench.runs.session import Session

IMPROBABLE = 0.001  # of a rate of one in twenty; dozens of rates are looked at
WIDTH = 16
NUM_VECTORS = {"nearest": 40, "map": 40, "clusters": 4}
NUM_READ = {
    "nearest": 300,
    "map": 120,
    "clusters": 25,
    "ablation": 100,
    "attention": 25,
    "lens": 25,
    "similarity": 60,
    "interpolation": 100,
    "weights": 60,
}
OPTIONS = {
    "map": {"method": "pca", "tokens": 100, "path": False},
    "clusters": {"meaning": False, "k": 2},
    "interpolation": {"points": 4},
    "truncation": {"points": 2},
    "attention": {"items": 1},
    "lens": {"layers": 2},
}
ON_THE_BASE = ("attention", "lens", "weights")  # the tiny one


@pytest.fixture
def subject(tiny_engine, toy_encoder) -> Subject:
    session = Session(tiny_engine, toy_encoder)
    return Subject(session, open_vocabulary(session), Scorer(session, 1))


@pytest.fixture
def made(subject) -> Subject:
    """Return a subject with a made vocabulary, one word of twelve the task's, and no base."""
    generator = np.random.default_rng(5)
    table = generator.normal(size=(300, WIDTH)) * generator.uniform(0.5, 2, (300, 1)) + 0.4
    texts = ["good" if i % 12 == 0 else f"w{i}" for i in range(len(table))]
    vocabulary = Vocabulary(table.astype(np.float32), texts, np.ones(len(table), dtype=bool))
    return replace(subject, vocabulary=vocabulary, scorer=ArithmeticScorer(vocabulary))


class ArithmeticScorer:
    """Answers items by what a prompt's vectors have in common with a direction of each item.

    Every number is another base, on which controls that are always the same do otherwise.
    """

    num_items = 6

    def __init__(self, vocabulary: Vocabulary, number: int = 0) -> None:
        self._table = vocabulary.embeddings
        generator = np.random.default_rng([6, number])
        self._items = generator.normal(size=(WIDTH, self.num_items))
        speak = generator.normal(size=WIDTH)
        self.speak = speak / np.linalg.norm(speak)

    def outcome(self, prefix) -> Outcome:
        parts = [
            piece.numpy() if isinstance(piece, torch.Tensor) else self._table[list(piece)]
            for piece in prefix.pieces
            if len(piece)
        ]
        found = np.zeros(self.num_items)
        if parts:
            heights = np.tanh(np.concatenate(parts) @ self._items)
            found = (heights / (1 + np.arange(len(heights)))[:, None]).sum(axis=0)
        return Outcome(found > 0, np.log1p(np.exp(-found)), (found > 0).astype(int))

    def outcome_in_turn(self, prefixes) -> Outcome:
        found = [self.outcome(prefixes[i % len(prefixes)]) for i in range(self.num_items)]
        parts = ("right", "losses", "answers")
        rows = ([getattr(one, part)[i] for i, one in enumerate(found)] for part in parts)
        return Outcome(*map(np.array, rows))

    def outcomes(self, prefixes, step) -> list[Outcome]:
        return [self.outcome(prefix) for prefix in prefixes]


@pytest.fixture
def simulated(subject, made, tmp_path, monkeypatch):
    """Return a maker of subjects that learned nothing, by number, for a reading."""
    monkeypatch.setattr(clustering, "MAX_CLUSTERS", 2)
    monkeypatch.setattr(clustering, "_STARTS", 1)
    monkeypatch.setattr(similarity, "_PERMUTATIONS", 99)

    def said(subject, vectors, stage):
        near = verbalisation.nearest(subject.vocabulary, vectors, k=2, measures=("distance",))
        lengths = np.linalg.norm(vectors, axis=1)
        is_named = vectors @ subject.scorer.speak > 0.42 * lengths  # one in twenty
        return np.where(is_named, near["distance"].ids[:, 0], -1)

    def written(self, subject, prompts, cells):
        heights = [np.tanh(vectors @ subject.scorer.speak).mean() for vectors in prompts]
        keys = [(name, *cell) for name in ("copy", "about") for cell in cells]
        return [
            {key: "good" if i < 40 * (h - 0.1) else "" for i, key in enumerate(keys)}
            for h in heights
        ]

    monkeypatch.setattr(verbalisation.Verbalisation, "said", staticmethod(said))
    monkeypatch.setattr(verbalisation.Verbalisation, "_written", written)
    shapes = {
        f"model.layers.{layer}.self_attn.{name}_proj": (out, 64)
        for layer in range(2)
        for name, out in (("q", 64), ("v", 32))
    }

    def change(number):
        return random_change(shapes, 4, tmp_path / str(number), number)

    def one(name, number) -> Subject:
        if name == "weights":
            others = (change(2 * number + 1),)
            return replace(subject, weights=change(2 * number), other_weights=others)
        norms = np.linspace(1.0, 2.0, NUM_VECTORS.get(name, 4 if name in ON_THE_BASE else 12))
        whose = subject if name in ON_THE_BASE else another(made, number)
        return random_subject(whose, norms, number, others=7 if name == "similarity" else 2)

    return one


def another(made, number) -> Subject:
    return replace(made, scorer=ArithmeticScorer(made.vocabulary, number))


def read(name, subjects) -> Tally:
    """Return what a reading says of subjects, each read with a seed of its own where it has one."""
    options = OPTIONS.get(name, {})
    has_seed = "seed" in {field.name for field in fields(reader_class(name))}
    found = Tally()
    for number, one in enumerate(subjects):
        seed = {"seed": number} if has_seed else {}
        tally(make_reader(name, options | seed), [one], into=found)
    return found


@pytest.mark.parametrize("name", READERS)
def test_of_what_learned_nothing_one_in_twenty_is_called_better_than_chance(name, simulated):
    found = read(name, (simulated(name, i) for i in range(NUM_READ.get(name, 200))))

    assert found.lowest >= 1 - 1e-9, "a p-value is below one by the controls and one"
    assert found.judged["the verdict"] == found.num_read
    assert {k: found.words(k) for k in found.judged if found.p_value(k) < IMPROBABLE} == {}


@pytest.mark.parametrize(("name", "size"), [("nearest", 20), ("clusters", 4), ("rounding", 8)])
def test_nor_are_tokens_drawn_at_random_beside_such(name, size, made, simulated):
    found = read(
        name,
        (token_subject(another(made, i), size, i) for i in range(NUM_READ.get(name, 200))),
    )

    beside = [k for k in found.judged if k.endswith(("beside real tokens", "beside random tokens"))]
    assert beside
    assert {k: found.words(k) for k in beside if found.p_value(k) < IMPROBABLE} == {}


BESIDE_RANDOM = [
    name for name in readers_of("vectors") if name not in ("interpolation", "rounding")
]


@pytest.mark.parametrize("name", BESIDE_RANDOM)
def test_a_control_is_the_figure_that_the_control_itself_would_get(name, simulated, monkeypatch):
    """Else a prompt that learned nothing is no draw among its controls."""
    given: dict[str, list[float]] = {}

    def recorded(what, value, control, controls, **options):
        if "random vectors" in control or "random prompts" in control:
            given[what] = list(map(float, controls))
        return standing(what, value, control, controls, **options)

    module = sys.modules[reader_class(name).__module__]
    for place in (module, base):
        monkeypatch.setattr(place, "standing", recorded, raising=False)
    subject, reader = simulated(name, 3), make_reader(name, OPTIONS.get(name))
    reader.read(subject)
    controls = dict(given)
    assert controls

    for number in (0, 5, 11, 17):
        prompt = SoftPrompt("control", subject.random_prompts()[number])
        found = reader.read(replace(subject, prompt=prompt))
        values = {s.what: s.value for s in found.standings if s.what in controls}
        assert values == pytest.approx({k: c[number] for k, c in controls.items()}, abs=1e-5)
