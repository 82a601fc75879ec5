"""Titles, directions and units of what runs measure."""

import pytest

from workbench import metrics
from workbench.analysis.results import COST_KEYS
from workbench.estimates import Estimate
from workbench.fitting.prediction import Prediction
from workbench.presentation.quantities import (
    COSTS,
    METRICS,
    cost_of,
    cost_text,
    metric_of,
    metric_text,
)
from workbench.runs.task_metrics import measure
from workbench.tasks.base import HEADLINE_METRICS, DroppedRows, Task, TaskSource


def task_with(labels):
    return Task(
        name="toy",
        kind="classification" if labels else "short_answer",
        labels=labels,
        field_names=("text",),
        train=(),
        dev=(),
        test=(),
        source=TaskSource("embedded", "here", "none"),
        dropped=DroppedRows({}),
    )


@pytest.mark.parametrize("labels", [("a", "b"), ()])
def test_every_measured_metric_has_a_direction(labels):
    prediction = Prediction(
        sample_id="1",
        target="a",
        answer="a",
        probabilities={"a": 0.75, "b": 0.25} if labels else None,
        label_mass=0.9,
        text="a",
        strict_answer="a",
        lenient_answer="a",
        is_truncated=False,
    )

    measured = measure(task_with(labels), [prediction, prediction])

    assert all(metric_of(name).is_higher_better is not None for name in measured)


def test_a_worse_answer_never_raises_a_metric_where_more_is_better():
    """Derive each direction by making predictions worse in every way at once."""
    good = Prediction("1", "a", "a", None, {"a": 0.9, "b": 0.1}, 0.9, "a", "a", "a", False)
    bad = Prediction("2", "a", None, "unreadable", {"a": 0.1, "b": 0.9}, 0.2, "", None, None, True)
    task = task_with(("a", "b"))

    before, after = measure(task, [good] * 8), measure(task, [good] * 4 + [bad] * 4)

    for name in before:
        rose = after[name].value > before[name].value
        assert rose != metric_of(name).is_higher_better, name


def test_costs_are_those_of_the_table():
    assert tuple(COSTS) == COST_KEYS


@pytest.mark.parametrize(
    ("name", "value", "text", "axis_title"),
    [
        ("trained_parameters", 460800, "460,800", "trained parameters"),
        ("peak_memory_bytes", 8e8, "800.0 MB", "peak memory, bytes"),
        ("train_seconds", 12.5, "12.5 s", "training time, s"),
        ("milliseconds_per_item", 12.25, "12.2 ms", "time per item, ms"),
        ("train_seconds", None, "–", "training time, s"),
        ("learning_rate", 0.003, "0.003", "learning rate"),
        ("best_step", 300, "300", "best step"),
    ],
)
def test_costs_have_their_units(name, value, text, axis_title):
    assert cost_text(name, value) == text
    assert cost_of(name).axis_title == axis_title


def test_metrics_are_percent_unless_they_are_no_share():
    loss = Estimate(1.5, 1.25, 1.75, 10, 0)

    assert metric_text("macro_f1", Estimate(0.5, 0.25, 0.75, 10, 0)) == "50.0 % [25.0, 75.0]"
    assert metric_text("loss", loss) == "1.500 [1.250, 1.750]"
    assert metric_text("loss", Estimate(1.5, None, None, 1, 0)) == "1.500"
    assert metric_text("loss", None) == "–"


def test_a_metric_of_another_version_is_a_plain_number_with_no_better_way():
    found = metric_of("pass_at_5")

    assert (found.title, found.is_higher_better) == ("pass at 5", None)
    assert metric_text("pass_at_5", Estimate(0.5, 0.25, 0.75, 10, 0)) == "0.500 [0.250, 0.750]"


def test_an_undeclared_metric_is_not_measured(monkeypatch):
    monkeypatch.setattr(metrics, "macro_f1", lambda *_, **__: Estimate(0.5, None, None, 1, 0))
    monkeypatch.delitem(METRICS, "macro_f1")
    prediction = Prediction("1", "a", "a", None, {"a": 0.9, "b": 0.1}, 0.9)

    with pytest.raises(ValueError, match="macro_f1") as caught:
        measure(task_with(("a", "b")), [prediction])

    assert str(caught.value) == (
        "metric 'macro_f1': measured but not declared. Add a line to METRICS in "
        "workbench/presentation/quantities.py that says name, unit, whether higher is better, and "
        "how it is written."
    )


@pytest.mark.parametrize(("kind", "name"), HEADLINE_METRICS.items())
def test_what_ranks_a_kind_of_task_is_a_share_where_more_is_better(kind, name):
    """Tables write the ranking metric in percent and its differences in points."""
    assert (METRICS[name].form, METRICS[name].is_higher_better) == ("percent", True)
