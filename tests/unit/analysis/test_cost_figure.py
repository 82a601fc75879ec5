"""Quality against cost: axes, the front over means, and what the figure says about itself."""

import pytest

from workbench.analysis.comparison import compare_runs
from workbench.analysis.cost_figure import cost_plot, mean_front
from workbench.estimates import Estimate
from workbench.presentation.axes import log_axis, new_figure, short_number, wants_log


def estimate(value):
    return Estimate(value, max(0.0, value - 0.1), min(1.0, value + 0.1), 10, 0)


@pytest.fixture
def compared(make_run, predict):
    """Return a table of rows with (accuracy, cost) figures for each of their seeds."""

    def make(figures, *, cost="trained_parameters", metric="accuracy"):
        runs = []
        for row, seeds in figures.items():
            for seed, (value, price) in enumerate(seeds if isinstance(seeds, list) else [seeds]):
                metrics = {"accuracy": estimate(0.5)}
                metrics |= {} if value is None else {metric: estimate(value)}
                runs.append(
                    make_run(
                        row,
                        predict(["a", "b"], ["a", "a"]),
                        seed=seed,
                        cost={} if price is None else {cost: price},
                        metrics=metrics,
                    )
                )
        return compare_runs(runs, reference=next(iter(figures)))

    return make


def test_zero_trained_parameters_have_a_place_of_their_own(compared, texts_of):
    table = compared(
        {
            "zero_shot": (0.5, 0),
            "ia3": (0.5, 300),
            "lora": (0.5, 460800),
            "majority_class": (0.5, None),
        }
    )
    drawing = cost_plot(table, cost="trained_parameters").svg_drawing()
    assert texts_of(drawing)[:6] == ["0", "100", "1 k", "10 k", "100 k", "1 M"]
    assert drawing.title == "Accuracy against trained parameters"
    assert [entry.text for entry in drawing.legend] == ["zero_shot", "ia3", "lora"]
    assert drawing.note == (
        "Pareto front: zero_shot: no other row is both better and cheaper. "
        "Rows without such a figure, not shown: 1."
    )


def test_trained_rows_alone_have_no_zero(compared, texts_of):
    table = compared({"ia3": (0.5, 300), "lora": (0.6, 9000)})
    drawing = cost_plot(table, cost="trained_parameters").svg_drawing()
    assert texts_of(drawing)[:3] == ["100", "1 k", "10 k"]


@pytest.mark.parametrize(("dearest", "is_log"), [(600.0, False), (601.0, True)])
def test_costs_far_apart_are_drawn_in_powers_of_ten(compared, texts_of, dearest, is_log):
    table = compared({"zero_shot": (0.5, 30.0), "cot": (0.6, dearest)}, cost="prompt_tokens_mean")
    texts = texts_of(cost_plot(table, cost="prompt_tokens_mean").svg_drawing())
    assert ("1 k" in texts) == is_log
    assert ("200" in texts) == (not is_log)


def test_the_scale_can_be_chosen(compared, texts_of):
    table = compared({"ia3": (0.5, 300), "lora": (0.6, 460800)})
    texts = texts_of(cost_plot(table, cost="trained_parameters", use_log=False).svg_drawing())
    assert {"0", "200 k", "400 k"} <= set(texts)


@pytest.mark.parametrize("price", [None, 0])
def test_a_cost_that_does_not_vary_is_not_drawn(compared, price):
    table = compared({"zero_shot": (0.5, price), "few_shot": (0.6, price)})
    assert cost_plot(table, cost="trained_parameters") is None


def test_the_front_is_over_means_of_seeds(compared):
    table = compared(
        {
            "zero_shot": [(0.4, 10), (0.6, 30)],  # on average 0.5 for 20
            "few_shot": [(0.9, 100), (0.1, 100)],  # its best seed would be on the front
            "lora": [(0.7, 200), (0.8, 200)],
        }
    )
    found = mean_front(table, cost="trained_parameters")
    assert found == [
        ("zero_shot", pytest.approx(20.0), pytest.approx(0.5)),
        ("lora", pytest.approx(200.0), pytest.approx(0.75)),
    ]


def test_rows_with_equal_figures_are_both_on_the_front(compared):
    table = compared({"zero_shot": (0.5, 5), "few_shot": (0.5, 5), "lora": (0.4, 9)})
    assert "Pareto front: zero_shot, few_shot:" in cost_plot(table, cost="trained_parameters").note


def test_less_calibration_error_is_better(compared, texts_of, titles_of):
    table = compared(
        {"zero_shot": (0.3, 0), "lora": (0.1, 50), "ia3": (0.2, 60), "cot": (None, 70)},
        metric="calibration_error",
    )
    plot = cost_plot(table, cost="trained_parameters", quality="calibration_error", use_log=True)
    drawing = plot.svg_drawing()
    assert drawing.title == "Calibration error against trained parameters"
    assert "calibration error (lower is better)" in texts_of(drawing)
    assert drawing.note.startswith("Pareto front: zero_shot, lora: no other row")
    assert drawing.note.endswith("not shown: 1.")
    assert "lora: calibration error 10.0 % [0.0, 20.0], trained parameters 50" in titles_of(drawing)


def test_the_front_is_drawn_from_step_to_step(compared):
    table = compared({"zero_shot": (0.25, 0), "lora": (0.75, 10), "ia3": (0.5, 20)})
    plot = cost_plot(table, cost="trained_parameters", use_log=False)
    (axis,) = plot.figure.axes
    (line,) = [line for line in axis.lines if line.get_drawstyle() == "steps-post"]
    assert plot.hover[line.get_gid()] == "Pareto front"
    assert line.get_xydata().tolist() == [[0, 0.25], [10, 0.75]]


def test_bytes_are_written_with_their_unit(compared, titles_of, texts_of):
    table = compared(
        {"zero_shot": (0.5, 800_000_000), "lora": (0.6, 1_200_000_000)}, cost="peak_memory_bytes"
    )
    drawing = cost_plot(table, cost="peak_memory_bytes").svg_drawing()
    assert "peak memory, bytes" in texts_of(drawing)
    assert any(text.endswith("peak memory 800.0 MB") for text in titles_of(drawing))


def test_figures_of_different_axes_can_share_a_page(compared):
    table = compared({"zero_shot": (0.5, 1), "lora": (0.6, 2)}, metric="macro_f1")
    names = {
        cost_plot(table, cost="trained_parameters", quality=quality).name
        for quality in ("accuracy", "macro_f1")
    }
    assert len(names) == 2


@pytest.mark.parametrize(
    ("values", "is_log"),
    [([], False), ([0.0], False), ([0.0, 5.0], False), ([1.0, 20.0], False), ([1.0, 21.0], True)],
)
def test_zero_does_not_count_for_the_scale(values, is_log):
    assert wants_log(values) == is_log


def test_a_log_axis_keeps_ratios_and_order():
    _, (axis,) = new_figure(100)
    place = log_axis(axis, [0.0, 3.0, 40.0, 500.0])
    assert place(300.0) - place(30.0) == pytest.approx(place(30.0) - place(3.0)) == pytest.approx(1)
    assert place(0.0) < place(1.0) < place(3.0) < place(500.0)
    low, high = axis.get_xlim()
    assert low < place(0.0)
    assert place(1000.0) < high


def test_a_log_axis_without_a_positive_value_has_a_place_for_zero():
    _, (axis,) = new_figure(100)
    assert log_axis(axis, [0.0])(0.0) < 0


def test_many_powers_of_ten_are_thinned_out():
    _, (axis,) = new_figure(100)
    log_axis(axis, [1.0, 1e9])
    labels = [tick.get_text() for tick in axis.get_xticklabels()]
    assert labels == ["1", "100", "10 k", "1 M", "100 M"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (999, "999"),
        (1000, "1 k"),
        (1.5e6, "1.5 M"),
        (2e9, "2 G"),
    ],
)
def test_short_numbers(value, text):
    assert short_number(value) == text


def test_a_metric_of_another_version_is_drawn_without_a_front(compared, texts_of):
    table = compared({"ia3": (0.2, 300), "lora": (0.5, 9000)}, metric="points_of_somebody")

    plot = cost_plot(table, cost="trained_parameters", quality="points_of_somebody")

    drawing = plot.svg_drawing()
    assert not [text for text in texts_of(drawing) if text.endswith("%")]
    assert drawing.note == (
        "Which way this metric is better is not known here, so there is no Pareto front."
    )
    assert "points of somebody 0.200 [0.100, 0.300]" in plot.description
    assert mean_front(table, cost="trained_parameters", quality="points_of_somebody") == []
