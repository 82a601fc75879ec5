"""Precisions held against each other: references, pairs, claims, and text that stays text."""

import math

import pytest

from workbench import metrics
from workbench.analysis.measurements.precision_comparison import (
    PrecisionComparison,
    bits_saved,
    relative_error,
)
from workbench.analysis.measurements.precision_export import COLUMNS, flat_rows
from workbench.analysis.measurements.precision_sheet import precision_sheet
from workbench.differences import paired_difference
from workbench.models.weight_error import OUTSIDE, WeightError
from workbench.presentation.sheet import sheet_html, sheet_markdown
from workbench.runs.measurements.records import Answers, PrecisionRecord, TextLoss

TARGETS = ["a", "b"] * 100
BYTES = {
    "nf4": (4, 0.127),
    "nf4-single": (4, 0.5),
    "fp4": (4, 0.127),
    "bf16": (16, 0),
    "fp32": (32, 0),
}
ERRORS = {"nf4": 0.09, "nf4-single": 0.09, "fp4": 0.12, "bf16": 0.002, "fp32": 0.0}


def weights_of(precision: str) -> list[WeightError]:
    values, scales = BYTES[precision]
    size = 800_000
    return [
        WeightError(
            f"model.layers.{layer}.{kind}", size, int(values * size / 8), int(scales * size / 8), 0,
            ERRORS[precision],
        )
        for layer in range(2)
        for kind in ("self_attn.q_proj", "mlp.up_proj")
    ]  # fmt: skip


def record(
    precision: str, *, wrong: int = 20, extra: float = 0.0, name: str = "m"
) -> PrecisionRecord:
    """Return a record whose first `wrong` answers are wrong and whose text costs `extra` more."""
    answers = ["c"] * wrong + TARGETS[wrong:]
    given = Answers(
        targets=TARGETS,
        answers=answers,
        is_right=[a == t for a, t in zip(answers, TARGETS, strict=True)],
        metrics={"accuracy": metrics.accuracy(answers, TARGETS)},
        milliseconds_per_item=2.0,
    )
    blocks = 12
    return PrecisionRecord(
        base={
            "name": name,
            "source": "somewhere",
            "precision": precision,
            "device": "cpu",
            "footprint_bytes": 1000,
        },
        weights=weights_of(precision),
        text_name="text",
        text=TextLoss(
            losses=[100 * (3 + 0.01 * (i % 5) + extra) for i in range(blocks)],
            num_tokens=[100] * blocks,
            num_bytes=[400] * blocks,
        ),
        answers={"zero_shot": given, "zero_shot_calibrated": given},
        decoded_tokens_per_second=None,
        environment={},
    )


def comparison(*records: PrecisionRecord) -> PrecisionComparison:
    return PrecisionComparison("toy", records)


@pytest.mark.parametrize(
    ("names", "expected"),
    [(("nf4", "fp32", "bf16"), "bf16"), (("nf4", "fp32"), "fp32"), (("nf4", "fp4"), "nf4")],
)
def test_the_reference_is_bf16_else_fp32_else_the_first(names, expected):
    assert comparison(*map(record, names)).reference.precision == expected


def test_differences_are_paired_with_the_reference_alone():
    found = comparison(record("nf4", wrong=60, extra=0.05), record("bf16"), record("fp32"))

    held = {(h.precision, h.way): h for h in found.held()}

    assert held["bf16", "zero_shot"].difference is None
    assert held["nf4", "zero_shot"].difference == paired_difference(
        [False] * 60 + [True] * 140, [False] * 20 + [True] * 180
    )
    assert held["nf4", "zero_shot"].agreement.value == 160 / 200
    assert held["nf4", "zero_shot"].is_beyond_noise
    assert held["fp32", "zero_shot"].p_value == 1.0
    assert not held["fp32", "zero_shot"].is_beyond_noise
    assert found.text_difference(found.records[0]).value == pytest.approx(0.05)
    assert found.text_difference(found.records[1]) is None


def test_p_values_are_adjusted_over_all_ways_and_precisions():
    alone = comparison(record("nf4", wrong=27), record("bf16")).held()
    among = comparison(record("nf4", wrong=27), record("fp4", wrong=27), record("bf16")).held()

    raw = alone[0].difference.p_value
    assert [h.p_value for h in alone[:2]] == pytest.approx([2 * raw] * 2)
    assert [h.p_value for h in among[:4]] == pytest.approx([4 * raw] * 4)


def test_the_perplexity_is_the_exponential_of_the_loss():
    sheet = precision_sheet(comparison(record("nf4"), record("bf16")))

    row = sheet.tables[0].rows[0]
    loss = 3 + 0.01 * sum(i % 5 for i in range(12)) / 12
    assert row[sheet.tables[0].columns.index("perplexity [95 %]")].startswith(
        f"{math.exp(loss):.2f} ["
    )
    assert sheet.rows[0][sheet.columns.index("perplexity")] == pytest.approx(math.exp(loss))
    assert sheet.rows[0][sheet.columns.index("nats_per_byte")] == pytest.approx(loss / 4)


def test_the_claim_stands_beside_what_was_measured():
    double, single = record("nf4"), record("nf4-single")

    sheet = precision_sheet(comparison(double, single, record("fp4", extra=0.2), record("bf16")))

    assert bits_saved(double, single) == pytest.approx(0.373, abs=1e-3)
    claims = dict(sheet.tables[-1].rows)
    saved = claims["double quantisation saves 0.373 bits per parameter"]
    assert saved.startswith("nf4: 0.373 bits per quantised weight")
    assert claims["NF4 keeps more than FP4"].startswith(
        "error 9.00 % against 12.00 %; FP4 loses +0.2"
    )


def test_the_error_is_the_mean_over_weights_not_over_matrices():
    small = WeightError("a.0.x", 1, 1, 0, 0, 0.5)
    large = WeightError("a.1.x", 3, 3, 0, 0, 0.1)
    unknown = WeightError("a.2.x", 100, 3, 0, 0, None)

    assert relative_error([small, large, unknown]) == pytest.approx(0.2)
    assert relative_error([unknown]) is None


def test_a_map_of_errors_has_a_row_per_layer_and_a_column_per_kind():
    sheet = precision_sheet(comparison(record("nf4"), record("bf16"), record("fp32")))

    maps = [chart for chart in sheet.charts if chart.kind == "heatmap"]

    assert [chart.title[-4:] for chart in maps] == [" nf4", "bf16"]  # fp32 has no error to show
    assert maps[0].rows == ["0", "1"]
    assert maps[0].columns == ["self_attn.q_proj", "mlp.up_proj"]
    assert maps[0].values == [[0.09, 0.09]] * 2
    assert {chart.high for chart in maps} == {0.09}  # one scale


def test_a_module_outside_the_layers_has_a_place_too():
    inside = WeightError("transformer.h.11.mlp.c_fc", 1, 1, 0, 0, None)
    outside = WeightError("model.projector", 1, 1, 0, 0, None)

    assert (inside.layer, inside.kind) == ("11", "mlp.c_fc")
    assert (outside.layer, outside.kind) == (OUTSIDE, "model.projector")


def test_a_sheet_says_where_the_weights_came_from():
    sheet = precision_sheet(comparison(record("nf4"), record("bf16")))

    assert "from somewhere" in sheet.facts
    assert "from somewhere" in sheet_html(sheet)


def test_names_from_outside_stay_text():
    sheet = precision_sheet(comparison(record("nf4", name="<b>m</b>|x"), record("bf16")))

    assert "<b>m</b>" not in sheet_html(sheet)
    assert "<b>" not in sheet_markdown(sheet)
    assert "\\|x" in sheet_markdown(sheet)


def test_what_is_kept_unpacked_stands_beside_the_memory_with_the_speed_of_both():
    plain = record("nf4")
    kept = plain.model_copy(
        update={
            "base": plain.base | {"restored_bytes": 2500},
            "decoded_tokens_per_second": 20.0,
            "packed_tokens_per_second": 8.0,
        }
    )

    found = comparison(kept, record("bf16"))

    table = precision_sheet(found).tables[0]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    names = ("memory", "beside it", "tokens/s", "tokens/s packed")
    assert [[row[name] for name in names] for row in rows] == [
        ["1.0 kB", "2.5 kB", "20.0", "8.0"],
        ["1.0 kB", "–", "–", "–"],
    ]
    lines = [dict(zip(COLUMNS, line, strict=True)) for line in flat_rows(found)]
    assert [line["restored_bytes"] for line in lines] == [2500, 0]
    assert [line["packed_tokens_per_second"] for line in lines] == [8.0, None]
