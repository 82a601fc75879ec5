"""Accuracy and calibration figures, read from their SVG."""

import pytest

from workbench.analysis.comparison import compare_runs
from workbench.analysis.figures import calibration_plot, forest_plot
from workbench.analysis.headline import headline
from workbench.analysis.tables import difference_text
from workbench.errors import ConfigError


@pytest.fixture
def table_of(make_run, predict):
    """Return a table of rows with these names; each has one of two items right."""

    def make(*names):
        runs = [make_run(name, predict(["a", "b"], ["a", "a"])) for name in names]
        return compare_runs(runs, reference=names[0])

    return make


def test_forest_plot_names_rows_without_reading_them_as_formulas(table_of, texts_of):
    name = "$\\frac{1}{2}$"
    texts = texts_of(forest_plot(table_of(name, "x" * 40)).svg_drawing())
    assert name in texts
    assert "x" * 21 + "\N{HORIZONTAL ELLIPSIS}" in texts


def test_every_point_of_the_forest_plot_says_its_figures(make_run, predict, titles_of):
    runs = [make_run("zero_shot", predict(["a", "b"], ["a", "a"]))]
    runs += [
        make_run("<lora>", predict(["a"] * right + ["b"] * (2 - right), ["a"] * 2), seed=right)
        for right in (1, 2)
    ]
    drawing = forest_plot(compare_runs(runs, reference="zero_shot")).svg_drawing()
    assert set(titles_of(drawing)) == {
        "zero_shot: 50.0 % [9.5, 90.5]",
        "<lora>, seed 1: 50.0 % [9.5, 90.5]",
        "<lora>, seed 2: 100.0 % [34.2, 100.0]",
    }
    assert "<lora>" not in drawing.svg


def test_the_same_table_gives_the_same_picture(table_of):
    table = table_of("zero_shot", "lora")
    assert forest_plot(table).svg_drawing() == forest_plot(table).svg_drawing()


def test_no_probabilities_give_no_calibration(table_of):
    assert calibration_plot(table_of("zero_shot")) is None


def test_calibration_of_chosen_rows(make_run, predict, titles_of):
    runs = [
        make_run(name, predict(answers, ["a"] * 4, probabilities={"a": p, "b": 1 - p}))
        for name, answers, p in (
            ("zero_shot", ["a", "a", "a", "b"], 0.75),
            ("few_shot", ["b"] * 4, 0.75),
            ("lora", ["a"] * 4, 1.0),
        )
    ]
    runs.append(make_run("chain_of_thought", predict(["a"] * 4, ["a"] * 4)))
    table = compare_runs(runs, reference="zero_shot")

    everything = calibration_plot(table).svg_drawing()
    chosen = calibration_plot(table, ["lora", "chain_of_thought"]).svg_drawing()

    assert [entry.text for entry in everything.legend] == ["zero_shot", "few_shot", "lora"]
    assert [entry.text for entry in chosen.legend] == ["lora"]
    # Four groups of one item each: the mean over them is the row's accuracy.
    assert set(titles_of(chosen)) == {"lora: " + ", ".join(["100 % given, 100 % right"] * 4)}
    assert calibration_plot(table, ["chain_of_thought"]) is None
    with pytest.raises(ConfigError, match="unknown row 'x'"):
        calibration_plot(table, ["x"])


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
