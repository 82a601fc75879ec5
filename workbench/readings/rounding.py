"""Rounding: put each vector's nearest token in its place and score again: the projection gap.

Source: Khashabi et al. 2022, "Prompt Waywardness", https://arxiv.org/abs/2112.08348
(projection by Euclidean distance).
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from workbench.differences import PairedDifference, paired_difference
from workbench.estimates import Estimate
from workbench.fitting.learning import Outcome
from workbench.metrics import mean_with_interval, rate, token_f1
from workbench.options import TEXT, option
from workbench.presentation.blocks import Bar, Bars, Cell, Table
from workbench.presentation.reading import LEVEL, NO_BETTER, Reading, Standing
from workbench.readings.base import NUM_RANDOM, Cost, Kind, Subject
from workbench.readings.vectors.chance import control_draws, standing
from workbench.readings.vectors.neighbours import nearest

# What stands for the vectors, by whether the instruction is kept beside them.
_OTHERS = {
    False: ("the instruction", "nothing"),
    True: ("the instruction once more", "the instruction alone"),
}
_TOKENS, _TEXTS = "random tokens", "the nearest tokens of random vectors"
_NOTES = [
    "The gap is what the prompt does beyond its nearest tokens. A prompt that works and whose "
    "rounded text does not is no text in disguise.",
    "For a prompt of words to paste elsewhere, train the method hard_prompt (PEZ), which only ever "
    "evaluates tokens.",
]


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """The prompt as the text of its nearest tokens, scored beside the prompt itself."""

    title: ClassVar[str] = "Rounded to tokens"
    summary: ClassVar[str] = "put the nearest tokens in place of the vectors and score again"
    kind: ClassVar[Kind] = "vectors"
    cost: ClassVar[Cost] = "seconds"
    needs_base: ClassVar[bool] = True

    says: str | None = option(
        None,
        holds="text",
        public=TEXT,
        help="A sentence that the rounded text is compared with (waywardness).",
    )

    def read(self, subject: Subject) -> Reading:
        """Return text, accuracy and loss of the rounded prompt."""
        vectors, vocabulary = subject.soft_prompt.vectors, subject.vocabulary
        found = nearest(vocabulary, vectors, k=2)
        by_distance = tuple(int(i) for i in found["distance"].ids[:, 0])
        by_cosine = tuple(int(i) for i in found["centred"].ids[:, 0])
        is_text = bool(np.array_equal(vocabulary.embeddings[list(by_distance)], vectors))
        instruction, nothing = _OTHERS[subject.keeps_instruction]
        prefixes = {
            "soft prompt": subject.prefix(vectors),
            "rounded by distance": subject.token_prefix(by_distance),
            "rounded by centred cosine": subject.token_prefix(by_cosine),
            instruction: subject.token_prefix(subject.instruction_ids),
            nothing: subject.token_prefix(()),
        }
        outcomes = dict(
            zip(
                prefixes,
                subject.scorer.outcomes(list(prefixes.values()), partial(subject.step, "prompts")),
                strict=True,
            )
        )
        rounded, soft = outcomes["rounded by distance"], outcomes["soft prompt"]
        places = self._standings(subject, rounded, vectors)
        gap = paired_difference(soft.right.tolist(), rounded.right.tolist())
        rise = mean_with_interval((rounded.losses - soft.losses).tolist())
        text = subject.session.encoder.tokenizer.decode(by_distance)
        wanted = subject.session.encoder.encode(self.says) if self.says else ()
        return Reading(
            name="rounding",
            title=self.title,
            verdict=_verdict(places, gap, rise, is_text=is_text),
            standings=places,
            charts=[_chart(outcomes)],
            tables=[_text_table(subject, {"distance": by_distance, "centred cosine": by_cosine})],
            notes=_NOTES,
            data={
                "text": text,
                "token_ids": list(by_distance),
                "gap": gap.value,
                "rise": rise.value,
                "says_f1": token_f1(by_distance, wanted) if wanted else None,
                "accuracy": {name: outcome.accuracy for name, outcome in outcomes.items()},
                "loss": {name: outcome.loss for name, outcome in outcomes.items()},
                "num_items": subject.scorer.num_items,
            },
        )

    @staticmethod
    def _standings(subject: Subject, rounded: Outcome, vectors: np.ndarray) -> list[Standing]:
        """Return the rounded prompt's loss beside that of texts that say nothing.

        First beside random tokens; if it is better than these, beside what random vectors are
        rounded to as well, which is no random choice of tokens.
        """
        generator = control_draws(vectors)
        size, ordinary = len(vectors), subject.vocabulary.ordinary_ids
        drawn = [tuple(generator.choice(ordinary, size).tolist()) for _ in range(NUM_RANDOM)]
        found = [_beside(subject, rounded, drawn, _TOKENS)]
        if found[0].is_better:
            random = [_nearest_ids(subject, one) for one in subject.random_prompts()]
            found.append(_beside(subject, rounded, random, _TEXTS))
        return found


def _nearest_ids(subject: Subject, vectors: np.ndarray) -> tuple[int, ...]:
    found = nearest(subject.vocabulary, vectors, k=2, measures=("distance",))["distance"]
    return tuple(int(i) for i in found.ids[:, 0])


def _beside(
    subject: Subject, rounded: Outcome, texts: list[tuple[int, ...]], control: str
) -> Standing:
    outcomes = subject.scorer.outcomes(
        [subject.token_prefix(ids) for ids in texts], partial(subject.step, control)
    )
    return standing(
        "loss of the rounded prompt, nats",
        rounded.loss,
        control,
        [outcome.loss for outcome in outcomes],
        low_is_better=True,
    )


def _verdict(
    places: list[Standing], gap: PairedDifference, rise: Estimate, *, is_text: bool
) -> str:
    points, nats = 0.0 - 100 * (gap.value or 0.0), rise.value or 0.0
    low, high = rise.low or 0.0, rise.high or 0.0
    losing = f"the loss by {nats:+.2g} nats [{low:+.2g}, {high:+.2g}]"
    if is_text:
        text = "The vectors are tokens: rounding changes nothing."
    elif gap.p_value is not None and gap.p_value <= LEVEL:
        text = f"Rounding changes accuracy by {points:+.1f} points (p = {gap.p_value:.2g}), "
        text += f"{losing}."
    else:
        text = f"Rounding changes accuracy by {points:+.1f} points (within noise), {losing}."
    worse = next((place.control for place in places if not place.is_better), None)
    if worse is None:
        return f"{text} The text of the nearest tokens does better than {_TOKENS} and {_TEXTS}."
    return f"{text} As text the nearest tokens are {NO_BETTER} ({worse})."


def _chart(outcomes: dict[str, Outcome]) -> Bars:
    bars = []
    for name, outcome in outcomes.items():
        estimate = rate(outcome.right.tolist())
        bars.append(
            Bar(
                name=name,
                value=estimate.value or 0.0,
                low=estimate.low,
                high=estimate.high,
                is_notable=name == "soft prompt",
            )
        )
    return Bars(
        title="Accuracy as vectors and as text",
        x="accuracy",
        bars=bars,
        is_percent=True,
        note="95 % Wilson intervals, on the same items.",
    )


def _text_table(subject: Subject, readings: dict[str, tuple[int, ...]]) -> Table:
    tokenizer = subject.session.encoder.tokenizer
    rows: list[list[Cell]] = []
    for name, ids in readings.items():
        text = tokenizer.decode(list(ids))
        survives = subject.session.encoder.encode(text) == ids
        rows.append([name, text, "yes" if survives else "no, it splits otherwise"])
    return Table(
        title="The prompt as text",
        columns=["nearest by", "text", "gives the same tokens when pasted"],
        rows=rows,
    )
