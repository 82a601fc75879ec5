"""What each vector does: drop or neutralise one, score again, on the same items."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from workbench.differences import holm
from workbench.estimates import Estimate
from workbench.fitting.learning import Outcome
from workbench.metrics import mean_with_interval
from workbench.models.base import Prefix
from workbench.options import option
from workbench.presentation.blocks import Bar, Bars, Cell, Table
from workbench.presentation.reading import LEVEL, Reading, Standing
from workbench.readings.base import NOT_ACTING, Cost, Kind, Subject, evenly_spaced
from workbench.readings.vectors.chance import standing
from workbench.readings.vectors.neighbours import nearest

_IN_TURN = 4  # vectors of a control that are left out: the keys of each such prompt take time
_NOTES = [
    "A vector whose removal changes little may still matter: others can stand in for it. Effects "
    "of single vectors do not add up.",
    "Scored on test items that nothing was chosen on; differences are paired on the items, "
    "p-values corrected for the number of vectors (Holm).",
]


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """The change in loss and accuracy when one virtual token is dropped, or made neutral."""

    title: ClassVar[str] = "What each vector does"
    summary: ClassVar[str] = "drop or replace one vector and score again"
    kind: ClassVar[Kind] = "vectors"
    cost: ClassVar[Cost] = "minutes"
    needs_base: ClassVar[bool] = True

    replace: str = option(
        "drop",
        choices=("drop", "mean"),
        help="Leave the vector out, or put the vocabulary's mean embedding in its place.",
    )

    def read(self, subject: Subject) -> Reading:
        """Return the effect of every vector with its interval."""
        prompt = subject.soft_prompt
        acting = subject.acting("random vectors")
        whole = subject.scorer.outcome(subject.prefix(prompt.vectors))
        without = subject.scorer.outcomes(
            [self._without(subject, prompt.vectors, slot) for slot in range(len(prompt))],
            partial(subject.step, "single vectors"),
        )
        effects = _effects(whole, without)
        typical = self._standing(subject, whole, without)
        return Reading(
            name="ablation",
            title=self.title,
            verdict=_verdict(effects) if acting.is_better else NOT_ACTING,
            standings=[acting, typical],
            charts=[_chart(effects)],
            tables=[_table(subject, effects)],
            notes=_NOTES,
            data={"num_items": subject.scorer.num_items, "loss": whole.loss},
        )

    def _without(self, subject: Subject, vectors: np.ndarray, slot: int) -> Prefix:
        if self.replace == "drop":
            return subject.prefix(np.delete(vectors, slot, axis=0))
        changed = vectors.copy()
        changed[slot] = subject.vocabulary.mean
        return subject.prefix(changed)

    def _standing(self, subject: Subject, whole: Outcome, without: list[Outcome]) -> Standing:
        """Return the effect of a vector beside that in random prompts.

        Items are without one vector of a few, in turn: a control costs one scoring, not one for
        each of its vectors.
        """
        slots = evenly_spaced(len(without), _IN_TURN)
        items = np.arange(len(whole.losses))
        losses = np.stack([without[slot].losses for slot in slots])
        mine = losses[items % len(slots), items]
        controls = []
        for number, vectors in enumerate(random := subject.random_prompts()):
            subject.step("random vectors, one less", number, len(random))
            full = subject.scorer.outcome(subject.prefix(vectors))
            less = subject.scorer.outcome_in_turn(
                [self._without(subject, vectors, slot) for slot in slots]
            )
            controls.append(less.loss - full.loss)
        return standing(
            f"mean rise of the loss without one of {len(slots)} vectors in turn, nats",
            float((mine - whole.losses).mean()),
            "random vectors of the same norms",
            controls,
        )


@dataclass(frozen=True)
class _Effect:
    """What leaving one vector out changes: loss in nats, accuracy as a fraction."""

    slot: int
    loss: Estimate
    accuracy: float
    changed_answers: float
    p_value: float

    @property
    def matters(self) -> bool:
        return self.p_value <= LEVEL


def _effects(whole: Outcome, without: list[Outcome]) -> list[_Effect]:
    from scipy import stats

    rises = [less.losses - whole.losses for less in without]
    p_values = [float(stats.wilcoxon(rise).pvalue) if np.any(rise != 0) else 1.0 for rise in rises]
    corrected = holm(p_values)
    return [
        _Effect(
            slot=slot,
            loss=mean_with_interval(rise.tolist()),
            accuracy=less.accuracy - whole.accuracy,
            changed_answers=float(np.mean(less.answers != whole.answers)),
            p_value=1.0 if p is None else p,
        )
        for slot, (rise, less, p) in enumerate(zip(rises, without, corrected, strict=True))
    ]


def _verdict(effects: list[_Effect]) -> str:
    matter = [effect for effect in effects if effect.matters]
    if not matter:
        return (
            "The prompt acts, but no single vector is missed: without any one of them the answers "
            f"stay the same within noise ({len(effects)} vectors)."
        )
    top = max(matter, key=lambda effect: abs(effect.loss.value or 0.0))
    direction = "rises" if (top.loss.value or 0.0) > 0 else "falls"
    return (
        f"{len(matter)} of {len(effects)} vectors matter by themselves. Without vector {top.slot} "
        f"the loss {direction} most, by {abs(top.loss.value or 0.0):.2g} nats, and accuracy "
        f"changes by {100 * top.accuracy:+.1f} points."
    )


def _chart(effects: list[_Effect]) -> Bars:
    bars = [
        Bar(
            name=f"vector {effect.slot}",
            value=effect.loss.value or 0.0,
            low=effect.loss.low,
            high=effect.loss.high,
            is_notable=effect.matters,
        )
        for effect in effects
    ]
    return Bars(
        title="Rise of the loss without each vector",
        x="rise of the mean loss, nats",
        bars=bars,
        reference=0.0,
        note="95 % intervals, paired on the items; coloured where p (Holm) is below 5 %.",
    )


def _table(subject: Subject, effects: list[_Effect]) -> Table:
    tokens = subject.vocabulary.tokens
    near = nearest(subject.vocabulary, subject.soft_prompt.vectors, k=2, measures=("centred",))
    rows: list[list[Cell]] = [
        [
            effect.slot,
            tokens[int(near["centred"].ids[effect.slot, 0])],
            _rounded(effect.loss.value),
            _rounded(effect.loss.low),
            _rounded(effect.loss.high),
            round(100 * effect.accuracy, 1),
            round(100 * effect.changed_answers, 1),
            round(effect.p_value, 4),
        ]
        for effect in effects
    ]
    return Table(
        title="Effects",
        columns=[
            "vector",
            "nearest token",
            "rise of loss, nats",
            "low",
            "high",
            "accuracy, points",
            "answers changed, %",
            "p (Holm)",
        ],
        rows=rows,
        slots=[effect.slot for effect in effects],
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
