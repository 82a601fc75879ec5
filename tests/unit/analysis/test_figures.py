"""What the figures show, read from their SVG."""

import re

import pytest

from workbench.analysis.comparison import compare_runs
from workbench.analysis.figures import calibration_plot, cost_plot, forest_plot, training_plot
from workbench.analysis.headline import headline
from workbench.analysis.tables import difference_text


@pytest.fixture
def compared(make_run, predict):
    """Return a table of rows with these costs."""

    def make(costs):
        runs = [
            make_run(row, predict(["a", "b"], ["a", "a"]), cost=cost) for row, cost in costs.items()
        ]
        return compare_runs(runs, reference=next(iter(costs)))

    return make


def texts_of(drawing):
    return re.findall(r"<text[^>]*>([^<]*)</text>", drawing.svg)


def test_zero_trained_parameters_have_a_place_of_their_own(compared):
    table = compared(
        {
            "zero_shot": {"trained_parameters": 0},
            "ia3": {"trained_parameters": 300},
            "lora": {"trained_parameters": 460800},
            "majority_class": {},
        }
    )
    drawing = cost_plot(table, cost="trained_parameters", title="trained parameters", use_log=True)
    assert texts_of(drawing)[:6] == ["0", "100", "1 k", "10 k", "100 k", "1 M"]
    assert [entry.text for entry in drawing.legend] == ["zero_shot", "ia3", "lora"]
    assert drawing.note == "Rows without such a figure, not shown: 1."


def test_trained_rows_alone_have_no_zero(compared):
    table = compared({"ia3": {"trained_parameters": 300}, "lora": {"trained_parameters": 4000}})
    drawing = cost_plot(table, cost="trained_parameters", title="trained parameters", use_log=True)
    assert texts_of(drawing)[:3] == ["100", "1 k", "10 k"]


def test_prompt_tokens_are_on_a_linear_axis(compared):
    table = compared(
        {"zero_shot": {"prompt_tokens_mean": 30.0}, "few_shot": {"prompt_tokens_mean": 230.0}}
    )
    drawing = cost_plot(table, cost="prompt_tokens_mean", title="prompt tokens", use_log=False)
    assert {"50", "100", "150", "200", "prompt tokens"} <= set(texts_of(drawing))
    assert drawing.note == ""


@pytest.mark.parametrize("cost", [{}, {"trained_parameters": 0}])
def test_a_cost_that_does_not_vary_is_not_drawn(compared, cost):
    table = compared({"zero_shot": cost, "few_shot": cost})
    assert cost_plot(table, cost="trained_parameters", title="x", use_log=True) is None


def test_forest_plot_names_rows_without_reading_them_as_formulas(compared):
    name = "$\\frac{1}{2}$"
    long_name = "x" * 40
    texts = texts_of(forest_plot(compared({name: {}, long_name: {}})))
    assert name in texts
    assert "x" * 21 + "\N{HORIZONTAL ELLIPSIS}" in texts


def test_nothing_trained_and_no_probabilities_give_no_figure(compared):
    table = compared({"zero_shot": {}})
    assert training_plot(table) is None
    assert calibration_plot(table, table.first_seeds()) is None


def test_the_same_table_gives_the_same_picture(compared):
    table = compared({"zero_shot": {}, "lora": {}})
    assert forest_plot(table).svg == forest_plot(table).svg


def test_one_item_gives_a_difference_without_interval(make_run, predict):
    runs = [make_run("zero_shot", predict(["b"], ["a"])), make_run("lora", predict(["a"], ["a"]))]
    table = compare_runs(runs, reference="zero_shot")
    assert difference_text(table.rows[1].difference) == "+100.0"


def test_a_runner_up_without_a_common_seed_is_not_judged(make_run, predict):
    right, wrong = predict(["a", "a"], ["a", "a"]), predict(["b", "a"], ["a", "a"])
    runs = [make_run("zero_shot", predict(["b", "b"], ["a", "a"]), seed=0)]
    runs += [make_run("lora", right, seed=seed) for seed in (1, 2)]
    runs += [make_run("few_shot", wrong, seed=seed) for seed in (3, 4)]
    text = headline(compare_runs(runs, reference="zero_shot"))
    assert text.endswith(
        "Against the runner-up few_shot it is not known: the two have no run with the same seed."
    )
