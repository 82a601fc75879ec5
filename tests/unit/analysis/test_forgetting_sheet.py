"""Before and after as tables: what counts as a loss, and what does not."""

import pytest

from workbench import metrics
from workbench.analysis.measurements.forgetting_sheet import forgetting_sheet
from workbench.differences import paired_difference
from workbench.presentation.sheet import sheet_html
from workbench.runs.measurements.records import Answers, ForgettingRecord, TextLoss

NUM = 100


def loss(level: float) -> TextLoss:
    losses = [100 * (level + 0.01 * (i % 3)) for i in range(9)]
    return TextLoss(losses=losses, num_tokens=[100] * 9, num_bytes=[400] * 9)


def answers(right: int) -> Answers:
    targets = ["a"] * NUM
    given = ["a"] * right + ["b"] * (NUM - right)
    return Answers(
        targets=targets,
        answers=given,
        is_right=[a == "a" for a in given],
        metrics={"accuracy": metrics.accuracy(given, targets)},
        milliseconds_per_item=1.0,
    )


def record(row: str, *, text: float, right: int) -> ForgettingRecord:
    """Return a record: the base alone has a loss of 3 nats and 60 right answers."""
    return ForgettingRecord(
        run_id=f"own_{row}_s0_0",
        method="lora",
        row=row,
        task="own",
        own_accuracy=metrics.accuracy(["a"], ["a"]),
        in_place="weight adapter active",
        texts={"general text": (loss(3.0), loss(text))},
        tasks={"other": (answers(60), answers(right))},
    )


def test_a_loss_is_named_and_a_gain_is_not():
    sheet = forgetting_sheet(
        [record("worse", text=3.2, right=30), record("better", text=2.9, right=80)], ["m"]
    )

    assert sheet.headline.startswith("2 of 4 changes are losses beyond noise.")
    assert "worse on general text: +0.2000" in sheet.headline
    assert "worse on other: -30.0 [" in sheet.headline
    assert "better on" not in sheet.headline
    notable = {bar.name: bar.is_notable for chart in sheet.charts for bar in chart.bars}
    assert notable == {
        "worse, general text": True,
        "better, general text": False,
        "worse, other": True,
        "better, other": False,
    }


def test_a_change_within_noise_is_no_loss():
    sheet = forgetting_sheet([record("same", text=3.0, right=59)], ["m"])

    assert sheet.headline == "None of 2 changes is a loss beyond noise."
    assert sheet.tables[0].rows[1][-2] == "0 / 1"


def test_the_same_figures_stand_in_all_forms():
    sheet = forgetting_sheet([record("worse", text=3.2, right=30)], ["m"])

    text, task = (dict(zip(sheet.columns, row, strict=True)) for row in sheet.rows)
    assert text["change"] == pytest.approx(text["after"] - text["before"]) == pytest.approx(0.2)
    assert (task["before"], task["after"], task["change"]) == (0.6, 0.3, -0.3)
    assert task["p_value_holm"] == paired_difference([False] * 30, [True] * 30).p_value
    assert text["p_value_holm"] is None
    assert sheet.data["changes"][1]["difference"]["losses"] == 30
    assert "worse" in sheet_html(sheet)
