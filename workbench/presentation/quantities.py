"""The figures of a run by name: title, unit, which way is better, and how each is written."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from workbench.estimates import Estimate
from workbench.presentation.display import (
    NOTHING,
    byte_size,
    estimate_text,
    number,
    one_line,
)

Form = Literal["percent", "number"]
"""How a metric is written: a share of one in percent, or a plain number with three decimals."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What is known about a metric.

    Attributes:
        name: As shown, without its unit.
        unit: What a plain number counts in; empty for shares and counts.
        is_higher_better: Which way is better; None is not known.
        form: How its values are written.
    """

    name: str
    unit: str
    is_higher_better: bool | None
    form: Form

    @property
    def title(self) -> str:
        """The name with the unit."""
        return f"{self.name}, {self.unit}" if self.unit else self.name


@dataclass(frozen=True)
class Cost:
    """What is known about a cost of a run.

    Attributes:
        title: As shown.
        written: Returns a value as the tables show it, without its unit; sizes bring theirs.
        unit: What the stored figure counts in; empty for counts.
    """

    title: str
    written: Callable[[float | None], str]
    unit: str = ""

    @property
    def axis_title(self) -> str:
        """The title with the unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


def _share(name: str, *, is_higher_better: bool = True) -> Metric:
    return Metric(name=name, unit="", is_higher_better=is_higher_better, form="percent")


METRICS: Mapping[str, Metric] = {
    "accuracy": _share("accuracy"),
    "rouge_l": _share("ROUGE-L"),
    "rouge_1": _share("ROUGE-1"),
    "rouge_2": _share("ROUGE-2"),
    "bleu": _share("BLEU"),
    "chrf": _share("chrF"),
    "length_ratio": _share("length against references"),
    "macro_f1": _share("macro F1"),
    "exact_match": _share("exact match"),
    "calibration_error": _share("calibration error", is_higher_better=False),
    "label_mass": _share("label mass"),
    "truncation_rate": _share("truncation rate", is_higher_better=False),
    "strict_extraction_rate": _share("strict extraction rate"),
    "strict_accuracy": _share("strict accuracy"),
    "lenient_extraction_rate": _share("lenient extraction rate"),
    "lenient_accuracy": _share("lenient accuracy"),
    "oracle_accuracy": _share("accuracy if any vote counted"),
    "loss": Metric(name="loss", unit="nats", is_higher_better=False, form="number"),
}
"""Every metric that a run can have; `check_declared` refuses to store another."""


def check_declared(names: Iterable[str]) -> None:
    """Refuse metrics of which nothing is declared.

    Raises:
        ValueError: names each of them and says what to add.
    """
    missing = [name for name in names if name not in METRICS]
    if missing:
        raise ValueError(
            f"metric {', '.join(map(repr, missing))}: measured but not declared. Add a line to "
            "METRICS in workbench/presentation/quantities.py that says name, unit, whether higher "
            "is better, and how it is written."
        )


def metric_of(name: str) -> Metric:
    """Return what is known about a metric.

    Of one that a run of another version brought along only its name is known: its values are
    written as plain numbers, and neither way is better.
    """
    unknown = Metric(
        name=one_line(name.replace("_", " ")), unit="", is_higher_better=None, form="number"
    )
    return METRICS.get(name, unknown)


def metric_text(name: str, estimate: Estimate | None) -> str:
    """Return a metric with its interval: "73.5 % [67.0, 79.1]", or plain where it is no share."""
    if estimate is None or estimate.value is None or metric_of(name).form == "percent":
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
    "dev_items": Cost("items of each", number),
    "prompt_tokens_mean": Cost("prompt tokens", _tenths),
    "generated_tokens_mean": Cost("generated tokens", _tenths),
    "milliseconds_per_item": Cost("time per item", _tenths, "ms"),
}
"""One entry for every key of `COST_KEYS`, in the same order."""
