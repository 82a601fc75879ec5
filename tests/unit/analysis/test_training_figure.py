"""Training curves of finished and unfinished runs."""

import re

import numpy as np
import pytest

from workbench.analysis.comparison import compare_runs
from workbench.analysis.training_figure import history_plot, training_plot


def losses(steps, *, first=1):
    return [{"step": float(step), "loss": 1 / step} for step in range(first, steps + 1)]


def dev(*steps):
    return [{"step": float(step), "dev_accuracy": step / 100, "dev_loss": 0.5} for step in steps]


def test_nothing_trained_gives_no_figure(make_run, predict):
    table = compare_runs([make_run("zero_shot", predict(["a"], ["a"]))], reference="zero_shot")
    assert training_plot(table) is None


def test_trained_runs_are_drawn_with_the_look_of_their_row(make_run, predict, titles_of):
    runs = [make_run("zero_shot", predict(["a"], ["a"]))]
    runs += [
        make_run("lora", predict(["a"], ["a"]), seed=seed, history=losses(20) + dev(10, 20))
        for seed in (0, 1)
    ]
    drawing = training_plot(compare_runs(runs, reference="zero_shot")).svg_drawing()
    assert [(entry.text, entry.colour) for entry in drawing.legend] == [("lora", "var(--series-1)")]
    assert {
        "lora, seed 0: loss 0.051 by step 20",
        "lora, seed 1: dev accuracy 20.0 % at step 20, highest 20.0 % at step 20",
    } <= set(titles_of(drawing))


@pytest.mark.parametrize("histories", [[], [("lora", [])], [("lora", ()), ("ia3", [])]])
def test_before_the_first_step_there_is_no_figure(histories):
    assert history_plot(histories) is None


def test_losses_alone_are_drawn(texts_of, titles_of):
    drawing = history_plot([("lora", losses(4))], steps=300)
    assert "not evaluated on dev yet" in texts_of(drawing)
    assert "no loss yet" not in texts_of(drawing)
    assert set(titles_of(drawing)) == {"lora: loss 0.250 by step 4"}


def test_evaluations_alone_are_drawn(texts_of, titles_of):
    drawing = history_plot([("lora", dev(30, 20))])
    assert "no loss yet" in texts_of(drawing)
    assert set(titles_of(drawing)) == {
        "lora: dev accuracy 20.0 % at step 20, highest 30.0 % at step 30"
    }


def test_one_point_is_visible():
    drawing = history_plot([("lora", losses(1))])
    visible = re.findall(r'<use [^>]*style="fill: var\(--series-0\)[^"]*"', drawing.svg)
    assert len(visible) == 1


def test_the_axis_ends_at_the_planned_steps(texts_of):
    open_end = texts_of(history_plot([("lora", losses(50))]))
    planned = texts_of(history_plot([("lora", losses(50))], steps=300))
    assert "300" in planned
    assert "300" not in open_end


def test_several_runs_and_equal_names(titles_of):
    histories = [("lora", losses(9)), ("ia3", losses(5)), ("lora", losses(7))]
    drawing = history_plot(histories)
    assert [(entry.text, entry.colour) for entry in drawing.legend] == [
        ("lora", "var(--series-0)"),
        ("ia3", "var(--series-1)"),
    ]
    assert set(titles_of(drawing)) == {
        "lora: loss 0.111 by step 9",
        "ia3: loss 0.200 by step 5",
        "lora: loss 0.143 by step 7",
    }


def test_several_pictures_can_share_a_page():
    first, second = (history_plot([("lora", losses(5))], name=name).svg for name in ("a", "b"))
    ids = [set(re.findall(r'id="([^"]*)"', svg)) for svg in (first, second)]
    assert not ids[0] & ids[1]


def test_names_are_text(titles_of):
    drawing = history_plot([("</title><script>$x^2$", losses(5))], name='"><script>')
    assert "<script>" not in drawing.svg
    assert set(titles_of(drawing)) == {"</title><script>$x^2$: loss 0.200 by step 5"}


@pytest.fixture
def drawn_losses(make_run, predict):
    """Return a reader of the curve that is drawn for losses by step."""

    def read(steps, values):
        history = [{"step": s, "loss": v} for s, v in zip(steps, values, strict=True)]
        run = make_run("lora", predict(["a"], ["a"]), history=history)
        plot = training_plot(compare_runs([run], reference="lora"))
        line, *_ = plot.figure.axes[0].lines  # and what is pointed at
        return line.get_xdata(), line.get_ydata()

    return read


@pytest.mark.parametrize("count", [1, 4, 5, 37, 300])
def test_the_running_mean_is_a_mean_of_a_tenth(drawn_losses, count):
    rng = np.random.default_rng(count)
    steps, values = np.arange(1.0, count + 1), rng.random(count)
    width = max(1, round(0.1 * count))

    x, y = drawn_losses(steps.tolist(), values.tolist())

    assert x == pytest.approx([steps[i : i + width].mean() for i in range(count - width + 1)])
    assert y == pytest.approx([values[i : i + width].mean() for i in range(count - width + 1)])


def test_a_long_training_is_thinned_but_keeps_its_ends(drawn_losses):
    x, y = drawn_losses(list(range(1, 10_001)), [1.0] * 10_000)
    assert len(x) == len(y) == 400
    assert (x[0], x[-1]) == pytest.approx((500.5, 9500.5))
    assert y == pytest.approx([1.0] * 400)
