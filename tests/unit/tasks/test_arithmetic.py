"""Generated problems are sound: the worked steps are recomputed here by other means."""

import ast
import operator
import re
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.tasks import arithmetic
from workbench.tasks.arithmetic import SHAPES, generate_problems
from workbench.tasks.base import Sample

OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
EQUATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)\.")


# One reading per story, written from the question alone; the numbers come in reading order.
READINGS: list[tuple[str, Callable[..., Fraction]]] = [
    (r"gives .* more\. How many", lambda a, b: a + b),
    (r"were .* on the table", lambda a, b: a - b),
    (r" fills .* each", lambda a, b: a * b),
    (r"friends share", lambda a, b: b / a),
    (r"bought .* then gave", lambda a, b, c: a + b - c),
    (r" packs .* are lost", lambda a, b, c: a * b - c),
    (r"In the cellar", lambda a, b, c: a * b + c),
    (r"^A \w+ costs", lambda a, b, c: c - a * b),
    (r"share them equally among", lambda a, b, c: (a + b) / c),
    (r"^A class has", lambda a, b, c: (a - b) / c),
    (r"more than .* together", lambda a, b: a + (a + b)),
    (r"times as many", lambda a, b: a + b * a),
    (r"^A shop sells", lambda a, b, c, d: a * b + c * d),
    (r"^A book has", lambda a, b, c, d: a - b * c - d),
    (r" bakes .* trays", lambda a, b, c, d: (a * b - c) / d),
    (r"^A bus leaves", lambda a, b, c: a - b + c),
    (r"dollars a week", lambda a, b, c: a * b - c),
    (r" plants .* rows of", lambda a, b, c, d: a * b - c * d),
]


def _value(expression: str) -> Fraction:
    tree = ast.parse(expression, mode="eval").body
    assert isinstance(tree, ast.BinOp)
    left, right = (Fraction(ast.literal_eval(side)) for side in (tree.left, tree.right))
    return OPERATORS[type(tree.op)](left, right)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def _assert_sound(sample: Sample) -> None:
    question, rationale = sample.fields["text"], sample.rationale
    assert rationale is not None
    equations = EQUATION.findall(rationale)
    assert 1 <= len(equations) <= 3
    assert all(2 <= number <= 99 for number in _numbers(question))
    known = set(_numbers(question))
    for left, sign, right, result in equations:
        assert _value(f"{left} {sign} {right}") == int(result) > 0
        assert {int(left), int(right)} <= known  # given in the question, or found before
        known.add(int(result))
    assert equations[-1][3] == sample.target
    assert rationale.endswith(f"= {sample.target}.")
    assert "answer" not in rationale.lower()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_every_worked_step_is_right_and_uses_known_numbers(seed: int) -> None:
    for sample in generate_problems(len(SHAPES), seed=seed):
        _assert_sound(sample)


def test_every_answer_is_what_the_question_asks_for() -> None:
    for sample in generate_problems(len(SHAPES) * 30, seed=0):
        question = sample.fields["text"]
        readings = [answer for pattern, answer in READINGS if re.search(pattern, question)]

        assert len(readings) == 1, question
        numbers = [Fraction(number) for number in _numbers(question)]
        assert readings[0](*numbers) == int(sample.target), question


def test_every_number_of_a_question_is_used() -> None:
    for sample in generate_problems(500, seed=0):
        used = set(_numbers(sample.rationale or ""))

        assert set(_numbers(sample.fields["text"])) <= used, sample


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_has_words_and_numbers_of_its_own(
    shape: Callable[[arithmetic._Draw], arithmetic._Problem],
) -> None:
    rng = np.random.default_rng(0)

    questions = {shape(arithmetic._Draw(rng)).question for _ in range(50)}

    assert len(questions) > 45


def test_there_are_at_least_twelve_shapes_of_one_to_three_steps_and_all_four_operations() -> None:
    samples = generate_problems(len(SHAPES), seed=0)

    skeletons = {
        re.sub(r"\d+", "N", re.sub(r"[A-Z]\w+", "W", sample.rationale or "")) for sample in samples
    }
    num_steps = {(sample.rationale or "").count("=") for sample in samples}
    signs = {
        sign for sample in samples for sign in re.findall(r" ([-+*/]) ", sample.rationale or "")
    }
    assert len(SHAPES) >= 12
    assert len(skeletons) == len(SHAPES)
    assert num_steps == {1, 2, 3}
    assert signs == {"+", "-", "*", "/"}


def test_no_question_is_asked_twice_and_ids_are_unique() -> None:
    samples = generate_problems(3000, seed=0)

    assert len({" ".join(s.fields["text"].casefold().split()) for s in samples}) == 3000
    assert len({s.id for s in samples}) == 3000


def test_shapes_take_turns() -> None:
    openings = [s.fields["text"] for s in generate_problems(len(SHAPES) * 5, seed=0)]

    assert sum("gives" in text for text in openings) == 5
    assert sum(text.startswith("A bus leaves") for text in openings) == 5


def test_one_seed_gives_one_list_and_a_longer_list_starts_with_it() -> None:
    assert generate_problems(50, seed=7) == generate_problems(80, seed=7)[:50]
    assert generate_problems(50, seed=7) != generate_problems(50, seed=8)


def test_none_are_made_when_none_are_asked_for() -> None:
    assert generate_problems(0, seed=0) == []


def test_a_negative_number_is_a_programming_mistake() -> None:
    with pytest.raises(ValueError, match="num must be 0 or more, got -1"):
        generate_problems(-1, seed=0)


def test_asking_for_more_than_there_are_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = SHAPES[0](arithmetic._Draw(np.random.default_rng(0)))
    monkeypatch.setattr(arithmetic, "SHAPES", (lambda _: problem,))

    with pytest.raises(ValueError, match="the shapes give no 2 different problems; ask for fewer"):
        generate_problems(2, seed=0)
