"""The figures of a run by name: title, unit, which way is better, and how each is written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from workbench.metrics import Estimate
from workbench.presentation.display import (
    NOTHING,
    byte_size,
    estimate_text,
    number,
    one_line,
)


@dataclass(frozen=True)
class Metric:
    """What is known about a metric of `workbench/runs/task_metrics.py`.

    Attributes:
        title: As shown.
        is_lower_better: Whether a smaller value is the better one.
        is_fraction: From 0 to 1, shown in percent; otherwise a plain number.
    """

    title: str
    is_lower_better: bool = False
    is_fraction: bool = True


@dataclass(frozen=True)
class Cost:
    """What is known about a cost of a run.

    Attributes:
        title: As shown.
        written: Returns a value as the tables show it, without its unit; sizes bring theirs.
        unit: Of the stored figure; empty for counts.
    """

    title: str
    written: Callable[[float | None], str]
    unit: str = ""

    @property
    def axis_title(self) -> str:
        """The title with the unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


METRICS: Mapping[str, Metric] = {
    "accuracy": Metric("accuracy"),
    "rouge_l": Metric("ROUGE-L"),
    "rouge_1": Metric("ROUGE-1"),
    "rouge_2": Metric("ROUGE-2"),
    "bleu": Metric("BLEU"),
    "chrf": Metric("chrF"),
    "length_ratio": Metric("length against references"),
    "macro_f1": Metric("macro F1"),
    "exact_match": Metric("exact match"),
    "calibration_error": Metric("calibration error", is_lower_better=True),
    "label_mass": Metric("label mass"),
    "truncation_rate": Metric("truncation rate", is_lower_better=True),
    "strict_extraction_rate": Metric("strict extraction rate"),
    "strict_accuracy": Metric("strict accuracy"),
    "lenient_extraction_rate": Metric("lenient extraction rate"),
    "lenient_accuracy": Metric("lenient accuracy"),
    "oracle_accuracy": Metric("accuracy if any vote counted"),
    "loss": Metric("loss, nats", is_lower_better=True, is_fraction=False),
}


def metric_of(name: str) -> Metric:
    """Return what is known about a metric; an unknown one is a fraction where more is better."""
    return METRICS.get(name) or Metric(one_line(name.replace("_", " ")))


def metric_text(name: str, estimate: Estimate | None) -> str:
    """Return a metric with its interval: "73.5 % [67.0, 79.1]", or plain where it is no share."""
    if estimate is None or estimate.value is None or metric_of(name).is_fraction:
        return estimate_text(estimate)
    value = number(estimate.value, decimals=3)
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} [{number(estimate.low, decimals=3)}, {number(estimate.high, decimals=3)}]"


def cost_text(name: str, value: float | None) -> str:
    """Return a cost with its unit: "460,800", "1.8 MB", "12.3 s"."""
    cost = cost_of(name)
    text = cost.written(value)
    has_unit = value is None or not cost.unit or cost.unit == "bytes"  # sizes bring their own
    return text if has_unit else f"{text} {cost.unit}"


def cost_of(name: str) -> Cost:
    """Return what is known about a cost; an unknown one is a plain number."""
    return COSTS.get(name) or Cost(one_line(name.replace("_", " ")), _plain)


def _tenths(value: float | None) -> str:
    return number(value, decimals=1)


def _plain(value: float | None) -> str:
    return NOTHING if value is None else f"{value:g}"


COSTS: Mapping[str, Cost] = {
    "trained_parameters": Cost("trained parameters", number),
    "stored_bytes": Cost("stored size", byte_size, "bytes"),
    "train_seconds": Cost("training time", _tenths, "s"),
    "peak_memory_bytes": Cost("peak memory", byte_size, "bytes"),
    "labelled_examples": Cost("labelled examples", number),
    "dev_evaluations": Cost("evaluations on dev", number),
    "prompt_tokens_mean": Cost("prompt tokens", _tenths),
    "generated_tokens_mean": Cost("generated tokens", _tenths),
    "milliseconds_per_item": Cost("time per item", _tenths, "ms"),
}
"""One entry for every key of `COST_KEYS`, in the same order."""
