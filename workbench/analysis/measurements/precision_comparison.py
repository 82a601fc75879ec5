"""Bases in several precisions held against one of them, on the same text and items."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from workbench.differences import PairedDifference, holm, paired_difference
from workbench.estimates import Estimate
from workbench.metrics import rate
from workbench.models.weight_error import WeightError
from workbench.runs.measurements.records import Answers, PrecisionRecord

REFERENCES = ("bf16", "fp32")
"""Precisions that others are held against, the first that was measured."""

_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class HeldAnswers:
    """One way of answering in one precision, held against the reference.

    Attributes:
        precision: How the base is stored.
        way: Zero-shot, or calibrated.
        answers: What was answered.
        difference: Paired difference in accuracy; None for the reference itself, like the next two.
        agreement: Share of items answered like the reference.
        p_value: McNemar's, Holm-adjusted over all precisions and ways.
    """

    precision: str
    way: str
    answers: Answers
    difference: PairedDifference | None = None
    agreement: Estimate | None = None
    p_value: float | None = None

    @property
    def is_beyond_noise(self) -> bool:
        """Whether the difference is one that chance would hardly make (adjusted p below 0.05)."""
        return self.p_value is not None and self.p_value < _SIGNIFICANT


@dataclass(frozen=True)
class PrecisionComparison:
    """Records of one base, text and task, and what follows from them.

    Attributes:
        task: Name of the task.
        records: One per precision.
    """

    task: str
    records: tuple[PrecisionRecord, ...]

    @property
    def reference(self) -> PrecisionRecord:
        """The record others are held against: bf16, else fp32, else the first."""
        found = (self.record(name) for name in REFERENCES)
        return next((record for record in found if record is not None), self.records[0])

    @property
    def others(self) -> tuple[PrecisionRecord, ...]:
        """All records but the reference."""
        return tuple(r for r in self.records if r.precision != self.reference.precision)

    def record(self, precision: str) -> PrecisionRecord | None:
        """Return the record of a precision, or None."""
        return next((r for r in self.records if r.precision == precision), None)

    def text_difference(self, record: PrecisionRecord) -> Estimate | None:
        """Return nats per token above the reference's; None for the reference itself."""
        reference = self.reference
        if record.precision == reference.precision:
            return None
        return record.text.difference_to(reference.text)

    def held(self) -> list[HeldAnswers]:
        """Return every way in every precision, held against the reference."""
        reference, found = self.reference, []
        for record in self.records:
            for way, answers in record.answers.items():
                theirs = reference.answers[way]
                same = [a == b for a, b in zip(answers.answers, theirs.answers, strict=True)]
                held = HeldAnswers(record.precision, way, answers)
                if record.precision != reference.precision:
                    difference = paired_difference(answers.is_right, theirs.is_right)
                    held = replace(held, difference=difference, agreement=rate(same))
                found.append(held)
        adjusted = holm([h.difference.p_value if h.difference else None for h in found])
        return [replace(h, p_value=p) for h, p in zip(found, adjusted, strict=True)]


def bits_saved(double: PrecisionRecord, single: PrecisionRecord) -> float:
    """Return bits per quantised weight that quantising the scales saves, tables included."""
    return single.bits_per_weight - double.bits_per_weight


def relative_error(weights: Sequence[WeightError]) -> float | None:
    """Return the mean error of matrices, each by its number of entries; None if none is known."""
    known = [(w.error, w.num_weights) for w in weights if w.error is not None]
    total = sum(size for _, size in known)
    return sum(error * size for error, size in known) / total if total else None
