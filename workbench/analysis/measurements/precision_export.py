"""A comparison of precisions for programs: a flat table, and everything as data."""

import math
from dataclasses import asdict
from typing import Any

from workbench.analysis.measurements.precision_comparison import (
    HeldAnswers,
    PrecisionComparison,
    relative_error,
)
from workbench.differences import PairedDifference
from workbench.estimates import Estimate
from workbench.presentation.blocks import Cell
from workbench.runs.measurements.records import PrecisionRecord

COLUMNS = (
    "precision",
    "footprint_bytes",
    "restored_bytes",
    "num_weights",
    "bits_per_weight",
    "error",
    "nats_per_token",
    "nats_per_token_low",
    "nats_per_token_high",
    "perplexity",
    "nats_per_byte",
    "nats_per_token_difference",
    "nats_per_token_difference_low",
    "nats_per_token_difference_high",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "accuracy_difference",
    "accuracy_difference_low",
    "accuracy_difference_high",
    "same_answers",
    "milliseconds_per_item",
    "decoded_tokens_per_second",
    "packed_tokens_per_second",
)
"""Of the flat table."""


def flat_rows(comparison: PrecisionComparison) -> list[tuple[Cell, ...]]:
    """Return one row per precision, cells as `COLUMNS`; accuracy is that of the first way."""
    first = next(iter(comparison.reference.answers))
    plain = {held.precision: held for held in comparison.held() if held.way == first}
    return [_flat(comparison, record, plain[record.precision]) for record in comparison.records]


def _flat(
    comparison: PrecisionComparison, record: PrecisionRecord, held: HeldAnswers
) -> tuple[Cell, ...]:
    loss, accuracy = record.text.per_token, held.answers.metrics["accuracy"]
    return (
        record.precision,
        record.base["footprint_bytes"],
        record.restored_bytes,
        record.num_weights,
        record.bits_per_weight,
        relative_error(record.weights),
        *_three(loss),
        None if loss.value is None else math.exp(loss.value),
        record.text.per_byte.value,
        *_three(comparison.text_difference(record)),
        *_three(accuracy),
        *_three(held.difference),
        None if held.agreement is None else held.agreement.value,
        held.answers.milliseconds_per_item,
        record.decoded_tokens_per_second,
        record.packed_tokens_per_second,
    )


def _three(figure: Estimate | PairedDifference | None) -> tuple[Cell, Cell, Cell]:
    return (None, None, None) if figure is None else (figure.value, figure.low, figure.high)


def comparison_as_dict(comparison: PrecisionComparison) -> dict[str, Any]:
    """Return everything, ready for JSON."""
    held = comparison.held()
    return {
        "task": comparison.task,
        "text": comparison.records[0].text_name,
        "reference": comparison.reference.precision,
        "precisions": [
            _precision_as_dict(
                comparison, record, [h for h in held if h.precision == record.precision]
            )
            for record in comparison.records
        ],
    }


def _precision_as_dict(
    comparison: PrecisionComparison, record: PrecisionRecord, ways: list[HeldAnswers]
) -> dict[str, Any]:
    difference = comparison.text_difference(record)
    return {
        "base": record.base,
        "bits_per_weight": record.bits_per_weight,
        "error": relative_error(record.weights),
        "weights": [asdict(w) | {"layer": w.layer, "kind": w.kind} for w in record.weights],
        "nats_per_token": asdict(record.text.per_token),
        "nats_per_byte": asdict(record.text.per_byte),
        "nats_per_token_difference": None if difference is None else asdict(difference),
        "answers": {
            held.way: {
                "metrics": {name: asdict(m) for name, m in held.answers.metrics.items()},
                "difference": None if held.difference is None else asdict(held.difference),
                "p_value_holm": held.p_value,
                "same_answers": None if held.agreement is None else asdict(held.agreement),
                "milliseconds_per_item": held.answers.milliseconds_per_item,
            }
            for held in ways
        },
        "decoded_tokens_per_second": record.decoded_tokens_per_second,
        "packed_tokens_per_second": record.packed_tokens_per_second,
        "environment": record.environment,
        "provenance": None if record.provenance is None else record.provenance.model_dump(),
    }
