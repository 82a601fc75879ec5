"""Rounding: put each vector's nearest token in its place and score again: the projection gap.

Source: Khashabi et al. 2022, "Prompt Waywardness", https://arxiv.org/abs/2112.08348
(projection by Euclidean distance).
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from workbench.differences import PairedDifference, paired_difference
from workbench.fitting.learning import Outcome
from workbench.metrics import Estimate, mean_with_interval, rate, token_f1
from workbench.options import option
from workbench.presentation.blocks import Bar, Bars, Cell, Table
from workbench.presentation.reading import Reading, Standing
from workbench.readings.base import NUM_RANDOM, Cost, Kind, Subject
from workbench.readings.vectors.chance import standing
from workbench.readings.vectors.neighbours import nearest

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
        help="A sentence that the rounded text is compared with (waywardness).",
    )

    def read(self, subject: Subject) -> Reading:
        """Return text, accuracy and loss of the rounded prompt."""
        vectors, vocabulary = subject.soft_prompt.vectors, subject.vocabulary
        found = nearest(vocabulary, vectors, k=2)
        by_distance = tuple(int(i) for i in found["distance"].ids[:, 0])
        by_cosine = tuple(int(i) for i in found["centred"].ids[:, 0])
        is_text = bool(np.array_equal(vocabulary.embeddings[list(by_distance)], vectors))
        prefixes = {
            "soft prompt": subject.prefix(vectors),
            "rounded by distance": subject.token_prefix(by_distance),
            "rounded by centred cosine": subject.token_prefix(by_cosine),
            "the instruction": subject.token_prefix(subject.instruction_ids),
            "nothing": subject.token_prefix(()),
        }
        outcomes = dict(
            zip(
                prefixes,
                subject.scorer.outcomes(list(prefixes.values()), partial(subject.step, "prompts")),
                strict=True,
            )
        )
        rounded, soft = outcomes["rounded by distance"], outcomes["soft prompt"]
        place = self._standing(subject, rounded, len(vectors))
        gap = paired_difference(soft.right.tolist(), rounded.right.tolist())
        rise = mean_with_interval((rounded.losses - soft.losses).tolist())
        text = subject.session.encoder.tokenizer.decode(by_distance)
        wanted = subject.session.encoder.encode(self.says) if self.says else ()
        return Reading(
            name="rounding",
            title=self.title,
            verdict=_verdict(place, gap, rise, is_text=is_text),
            standings=[place],
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
    def _standing(subject: Subject, rounded: Outcome, size: int) -> Standing:
        """Return the rounded prompt's loss beside that of random tokens."""
        ordinary = subject.vocabulary.ordinary_ids
        generator = np.random.default_rng(0)
        drawn = [tuple(generator.choice(ordinary, size).tolist()) for _ in range(NUM_RANDOM)]
        random = subject.scorer.outcomes(
            [subject.token_prefix(ids) for ids in drawn], partial(subject.step, "random tokens")
        )
        return standing(
            "loss of the rounded prompt, nats",
            rounded.loss,
            "random tokens",
            [outcome.loss for outcome in random],
            low_is_better=True,
        )


def _verdict(place: Standing, gap: PairedDifference, rise: Estimate, *, is_text: bool) -> str:
    points, nats = 0.0 - 100 * (gap.value or 0.0), rise.value or 0.0
    low, high = rise.low or 0.0, rise.high or 0.0
    losing = f"the loss by {nats:+.2g} nats [{low:+.2g}, {high:+.2g}]"
    if is_text:
        text = "The vectors are tokens: rounding changes nothing."
    elif gap.p_value is not None and gap.p_value <= 0.05:
        text = f"Rounding changes accuracy by {points:+.1f} points (p = {gap.p_value:.2g}), "
        text += f"{losing}."
    else:
        text = f"Rounding changes accuracy by {points:+.1f} points (within noise), {losing}."
    if place.is_better:
        return f"{text} The text of the nearest tokens does better than random tokens."
    return f"{text} As text the nearest tokens are no better than chance (random tokens)."


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
