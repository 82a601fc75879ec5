"""The tour: a soft prompt that comes along, opened step by step, every figure computed before.

`make tour` trains the prompts of `experiments/tour.yaml`, reads them and writes `tour.json`. The
words stand here and every number in them comes out of that file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from workbench.estimates import Estimate
from workbench.presentation.display import percent
from workbench.presentation.reading import Reading
from workbench.sealed import read_sealed, write_sealed

TOUR_FILE = Path(__file__).parent / "tour.json"

# Names of the readings in the file, as "what is read"_"reading".
PLAIN_NEAREST, PLAIN_MAP = "plain_nearest", "plain_map"
PLAIN_ABLATION, PLAIN_ROUNDING = "plain_ablation", "plain_rounding"
RANDOM_NEAREST, INSTRUCTION_NEAREST = "random_nearest", "instruction_nearest"
OTHER_SEED_NEAREST = "other_seed_nearest"
COOKING_NEAREST, COOKING_ROUNDING = "cooking_nearest", "cooking_rounding"

CONTROL_TITLES = {
    RANDOM_NEAREST: "Random vectors",
    INSTRUCTION_NEAREST: "The instruction before any training",
    OTHER_SEED_NEAREST: "The same training with other random numbers",
}
"""What the controls are called, whose verdicts a stop shows."""


class Facts(BaseModel):
    """What the tour's sentences are filled with.

    Attributes:
        base: Name of the base; `precision` is that of its weights.
        base_parameters: How many numbers it has.
        task: Name of the task.
        num_labels: How many answers it has.
        num_test: Items the accuracies are of.
        start: The text whose tokens the vectors began as.
        num_vectors: Of the prompt; each has `width` numbers.
        steps: Of the training.
        sentence: What the nearest tokens of the other prompt have to spell.
        zero_shot: Accuracy with the instruction in words.
        plain: Accuracy with the learned vectors.
        cooking: Accuracy with those that have to spell the sentence.
        commit: Of the code that made all this.
        reading_version: Of what readings meant to it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str
    precision: str
    base_parameters: int
    task: str
    num_labels: int
    num_test: int
    start: str
    num_vectors: int
    width: int
    steps: int
    sentence: str
    zero_shot: Estimate
    plain: Estimate
    cooking: Estimate
    commit: str
    reading_version: int


class Tour(BaseModel):
    """What was computed before: facts, the training's history, and readings by name."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="null")

    facts: Facts
    history: list[dict[str, float]]
    readings: dict[str, Reading]


@dataclass(frozen=True)
class Stop:
    """One step of the tour.

    Attributes:
        title: What it is about.
        text: Paragraphs.
        look: What to look at in the pictures below; "" if there are none.
        readings: Names of the readings to show; of those in `verdicts` only what they come to.
        verdicts: See there.
        shows_training: Whether the curves of the training belong here.
    """

    title: str
    text: Sequence[str]
    look: str = ""
    readings: Sequence[str] = ()
    verdicts: Sequence[str] = ()
    shows_training: bool = False


@cache
def open_tour(path: Path = TOUR_FILE) -> Tour:
    """Return the tour that comes along.

    Raises:
        ValueError: the file was changed.
        OSError: it is not there.
    """
    return Tour.model_validate(read_sealed(path))


def write_tour(tour: Tour, path: Path = TOUR_FILE) -> None:
    """Write what was computed for the tour."""
    content: dict[str, Any] = tour.model_dump(mode="json")
    write_sealed(path, content)


def stops_of(facts: Facts) -> list[Stop]:
    """Return the steps of the tour in their order."""
    return [
        _what_it_is(facts),
        _where_it_lies(facts),
        _nearest_tokens(),
        _why_they_explain_nothing(facts),
        _one_switched_off(facts),
        _as_text(facts),
        _to_take_away(),
    ]


def _accuracy(estimate: Estimate) -> str:
    """Return "60.6 % (95 % interval 53.7 to 67.1 %)"."""
    shown = percent(estimate.value)
    if estimate.low is None or estimate.high is None:
        return shown
    low = percent(estimate.low).removesuffix(" %")
    return f"{shown} (95 % interval {low} to {percent(estimate.high)})"


def _what_it_is(facts: Facts) -> Stop:
    trained = facts.num_vectors * facts.width
    return Stop(
        "What a soft prompt is",
        (
            f"A language model turns every token of a text into a vector: a list of numbers, "
            f"{facts.width} of them in {facts.base}. A soft prompt is a handful of such vectors "
            "that no token stands for. They are learned from examples and stand before each text, "
            "where an instruction in words would stand.",
            f"This one has {facts.num_vectors} vectors, {trained:,} numbers in all. Nothing else "
            f"was changed: the {facts.base_parameters:,} numbers of the base stayed as they are.",
            f"The task: which of {facts.num_labels} things does a short message ask for? With the "
            f"instruction in words the base is right in {_accuracy(facts.zero_shot)} of "
            f"{facts.num_test} messages it never saw; with the learned vectors in "
            f"{_accuracy(facts.plain)}.",
        ),
        f"The curves of its training, {facts.steps} steps: the loss falls, and accuracy on dev "
        "(examples that are kept apart to choose the best step) rises.",
        shows_training=True,
    )


def _where_it_lies(facts: Facts) -> Stop:
    return Stop(
        "Where it starts, and where it goes",
        (
            f"The vectors began as those of the words “{facts.start.strip()}”: the instruction "
            "itself. Each step of the training moved every one of them a little.",
            "The map puts the vectors and the tokens of the vocabulary on a plane, so that "
            "neighbours stay neighbours as far as that is possible. Distances across the map mean "
            "little; who lies beside whom means something.",
        ),
        "Each learned vector with the path it took from its start, among the tokens.",
        (PLAIN_MAP,),
    )


def _nearest_tokens() -> Stop:
    return Stop(
        "The tokens nearest to it",
        (
            "The first thing everybody asks is what the vectors say. So for each one, look for the "
            "tokens whose vectors lie nearest.",
            "A list of tokens always looks like something. Therefore the same was done with three "
            "controls: random vectors that learned nothing, the instruction's own vectors before "
            "any training, and a prompt trained with other random numbers.",
        ),
        "First what each control comes to, then the learned prompt. If its tokens are those it "
        "started from, they show where it began and not what it learned.",
        (PLAIN_NEAREST,),
        verdicts=(RANDOM_NEAREST, INSTRUCTION_NEAREST, OTHER_SEED_NEAREST),
    )


def _why_they_explain_nothing(facts: Facts) -> Stop:
    return Stop(
        "Why nearest tokens explain nothing",
        (
            f"Here is another prompt for the same task. While it was trained, its vectors were "
            f"held near the tokens of a sentence about something else: “{facts.sentence}”",
            f"It is right in {_accuracy(facts.cooking)} of the messages, and its nearest tokens "
            "speak of cooking. Whoever read them would be sure that it does something else "
            "(Khashabi et al. 2022, Prompt Waywardness).",
        ),
        "Its nearest tokens; and what is left of it when they take the place of the vectors.",
        (COOKING_NEAREST, COOKING_ROUNDING),
    )


def _one_switched_off(facts: Facts) -> Stop:
    return Stop(
        "Switch one vector off",
        (
            "What a vector does shows when it is missing. Leave one out, score the test items "
            f"again, and do so for each of the {facts.num_vectors}.",
            "Single vectors often matter little, because the others make up for them. Where the "
            "interval reaches zero, nothing can be said.",
        ),
        "How much worse the answers become without each vector.",
        (PLAIN_ABLATION,),
    )


def _as_text(facts: Facts) -> Stop:
    return Stop(
        "Put it into words",
        (
            "If the vectors were words in disguise, the nearest tokens could take their place and "
            "do the same. That can be tried: round every vector to its nearest token, read the "
            "text that comes out, and score it.",
            f"For comparison: {_accuracy(facts.plain)} with the vectors on all test items, "
            f"{_accuracy(facts.zero_shot)} with the instruction they started from.",
        ),
        "The text, and what it scores beside the vectors themselves and random tokens.",
        (PLAIN_ROUNDING,),
    )


def _to_take_away() -> Stop:
    return Stop(
        "What to take away",
        (
            "A soft prompt can do what no instruction in words was found to do, with a few "
            "thousand numbers and an unchanged base.",
            "Its nearest tokens mostly show where it started. What it does lies in the little that "
            "is lost when it is rounded to words.",
            "Nothing read off a prompt says much until the same was read off one that learned "
            "nothing.",
            "Now yours: the tab Train learns a prompt on your own rows while you watch, and the "
            "tab Inspect opens it with all of these readings and their controls.",
        ),
    )
