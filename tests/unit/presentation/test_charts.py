"""Charts of readings, read from their SVG."""

import io
import re

import pytest
from matplotlib.image import imread

from workbench.presentation.blocks import (
    Bar,
    Bars,
    Heatmap,
    Layer,
    Line,
    Lines,
    Map,
    Point,
)
from workbench.presentation.charts import chart_plot

HOSTILE = "<script>alert(1)</script> $\\frac{1}{2}$ \u202e"


def heatmap(values, **more):
    """Return a heatmap with names for its rows and columns."""
    content = {
        "title": "Grid", "x": "vector", "y": "layer",
        "columns": [f"c{i}" for i in range(len(values[0]))],
        "rows": [f"r{i}" for i in range(len(values))],
    }  # fmt: skip
    return Heatmap(values=values, **content | more)


def lines(**more):
    line = Line(name="first", x=[1, 2], y=[0.25, 0.5], low=[0.2, 0.4], high=[0.3, 0.6])
    return Lines(title="Kept", x="vectors", y="accuracy", lines=[line], **more)


def bars(**more):
    found = [
        Bar(name="vector 0", value=0.5, low=0.25, high=0.75, is_notable=True),
        Bar(name="vector 1", value=0.125),
    ]
    return Bars(title="Dropped", x="loss", bars=found, **more)


def vector_map(token="␣sun"):
    points = [Point(x=float(i), y=float(i % 3), about=f"token {i}") for i in range(50)]
    return Map(
        title="Among the tokens",
        method="PCA",
        note="How faithful.",
        layers=[
            Layer(name="vocabulary", role="vocabulary", points=points),
            Layer(name="near", role="vocabulary", points=[Point(x=1, y=1, text=token)]),
            Layer(name="random", role="control", points=[Point(x=3, y=1, about="random 0")]),
            Layer(name="other", role="other", points=[Point(x=4, y=2, about="other 0")]),
            Layer(name="path 0", role="path", points=[Point(x=0, y=0), Point(x=2, y=2)]),
            Layer(
                name="mine",
                role="prompt",
                points=[Point(x=2, y=2, text="0", about="vector 0: sun", slot=0)],
            ),
        ],
    )


CHARTS = {
    "heatmap": heatmap([[0.0, 0.5], [None, 1.0]]),
    "lines": lines(),
    "bars": bars(reference=0.2),
    "map": vector_map(),
}


def opacities(svg):
    """Return how strongly the cells are filled, in the order they are drawn."""
    return [float(value) for value in re.findall(r"opacity: ([\d.]+)", svg)]


def test_every_cell_says_its_row_column_and_value(titles_of):
    drawing = chart_plot(CHARTS["heatmap"], name="h").svg_drawing()

    assert titles_of(drawing) == ["r0, c0: 0", "r0, c1: 0.5", "r1, c0: –", "r1, c1: 1"]


def test_larger_values_are_stronger_and_no_figure_is_not_filled():
    svg = chart_plot(heatmap([[0.0, 0.5, 1.0, None]]), name="h").svg_drawing().svg
    cells = svg[: svg.index("h-axes_2")]

    shades = opacities(cells)

    assert len(shades) == 3
    assert shades == sorted(shades)
    assert shades[0] > 0


def test_bounds_given_are_those_of_the_scale(texts_of):
    drawing = chart_plot(heatmap([[0.25, 0.5]], low=0.0, high=2.0), name="h").svg_drawing()

    assert {"0", "2"} <= set(texts_of(drawing))
    assert max(opacities(drawing.svg[: drawing.svg.index("h-axes_2")])) < 0.5


def test_the_scale_is_as_large_in_a_drawing_for_wide_panels():
    drawing = chart_plot(heatmap([[0.25, 0.5]]), name="h").svg_drawing(has_wide=True)

    narrow, wide = (one[one.index("axes_2") :] for one in (drawing.svg, drawing.wide))
    steps = [re.search(r'd="M ([\d.]+) [\d.]+ \s*L ([\d.]+) ', one) for one in (narrow, wide)]
    (first, second), (third, fourth) = ([float(x) for x in step.groups()] for step in steps)

    assert second - first == pytest.approx(fourth - third) == pytest.approx(90 / 24)
    assert 880 - fourth == pytest.approx(440 - second)


@pytest.mark.parametrize("values", [[[3.0, 3.0]], [[None, None]], [[float("nan"), 1.0]]])
def test_values_that_do_not_differ_or_are_none_are_drawn(values):
    assert chart_plot(heatmap(values), name="h").picture("png").startswith(b"\x89PNG")


def test_many_rows_and_columns_are_named_in_part_and_not_hovered_cell_by_cell(texts_of, titles_of):
    drawing = chart_plot(heatmap([[0.5] * 60 for _ in range(60)]), name="h").svg_drawing()

    assert titles_of(drawing) == []
    assert 0 < sum(text.startswith("c") for text in texts_of(drawing)) < 30
    assert drawing.svg.count("<path") >= 3600


def test_long_column_names_are_turned():
    names = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.up_proj"]
    svg = chart_plot(heatmap([[0.1, 0.2, 0.3, 0.4]], columns=names), name="h").svg_drawing().svg

    assert re.search(r"self_attn.q_proj</text>|rotate\(-40", svg)
    assert "rotate(-40" in svg


def test_lines_say_their_points_with_intervals(titles_of):
    drawing = chart_plot(lines(is_percent=True), name="l").svg_drawing()

    assert "first: 25.0 % at 1, 50.0 % at 2" in titles_of(drawing)
    assert "first, 2: 50.0 % [40.0 %, 60.0 %]" in titles_of(drawing)
    assert [entry.text for entry in drawing.legend] == ["first"]


def test_a_line_without_points_is_left_out(titles_of):
    chart = Lines(title="None", x="x", y="y", lines=[Line(name="empty", x=[], y=[])])

    assert titles_of(chart_plot(chart, name="l").svg_drawing()) == []


def test_bars_say_their_figures_and_notable_ones_have_the_accent(titles_of):
    drawing = chart_plot(bars(), name="b").svg_drawing()

    assert set(titles_of(drawing)) == {"vector 0: 0.5 [0.25, 0.75]", "vector 1: 0.125"}
    assert "var(--series-1)" in drawing.svg
    assert "var(--series-0)" in drawing.svg


def test_a_reference_is_a_dashed_line():
    with_one, without = (
        chart_plot(bars(reference=value), name="b").svg_drawing().svg for value in (0.2, None)
    )

    assert "stroke-dasharray" in with_one
    assert "stroke-dasharray" not in without


def test_a_map_names_layers_vectors_and_nearest_tokens(titles_of, texts_of):
    drawing = chart_plot(vector_map(), name="m").svg_drawing()

    assert {"vector 0: sun", "random 0", "other 0"} <= set(titles_of(drawing))
    assert {"␣sun", "0"} <= set(texts_of(drawing))
    assert [entry.text for entry in drawing.legend] == ["random", "other", "mine"]
    assert drawing.title == "Among the tokens (PCA)"
    assert drawing.note.startswith("How faithful.")


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_is_also_a_picture_and_the_same_twice(name):
    plot = chart_plot(CHARTS[name], name=name)
    picture = imread(io.BytesIO(plot.picture("png")))

    assert picture.shape[1] > 800
    assert plot.svg_drawing() == plot.svg_drawing()
    assert plot.description


@pytest.mark.parametrize(
    "chart",
    [
        heatmap([[1.0]], rows=[HOSTILE], columns=[HOSTILE], title=HOSTILE, x=HOSTILE, note=HOSTILE),
        Lines(title=HOSTILE, x=HOSTILE, y="", lines=[Line(name=HOSTILE, x=[1], y=[1])]),
        Bars(title=HOSTILE, x=HOSTILE, bars=[Bar(name=HOSTILE, value=1)]),
        vector_map(token=HOSTILE).model_copy(update={"title": HOSTILE, "note": HOSTILE}),
    ],
    ids=lambda chart: chart.kind,
)
def test_text_stays_text(chart):
    plot = chart_plot(chart, name="x")
    drawing = plot.svg_drawing()

    assert "<script" not in drawing.svg
    assert "\u202e" not in drawing.svg + drawing.title + drawing.note
    assert plot.picture("png").startswith(b"\x89PNG")
