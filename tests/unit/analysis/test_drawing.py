"""One plot, two outputs: SVG for the page, PNG for slides."""

import io
import re
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
from matplotlib.image import imread

from workbench import metrics
from workbench.analysis.comparison import compare_runs
from workbench.analysis.cost_figure import cost_plot
from workbench.analysis.figures import calibration_plot, forest_plot
from workbench.analysis.training_figure import training_plot
from workbench.presentation.axes import new_figure
from workbench.presentation.drawing import (
    LIGHT_COLOURS,
    NUM_COLOURS,
    PNG_DOTS_PER_INCH,
    WIDE,
    WIDTH,
    Hover,
    Plot,
    Series,
    inline_svg,
    picture_of,
)

ROWS = ("zero_shot", "lora", "_hidden", "$x^2$", "=1", "w" * 90, "\u4e2d\u6587", "last")


@pytest.fixture
def plots(make_run, predict):
    """Return every figure of a table with more rows than colours."""
    history = [{"step": float(step), "loss": 1 / step} for step in range(1, 20)]
    history.append({"step": 19.0, "dev_accuracy": 0.5})
    runs = [
        make_run(
            name,
            predict(["a"] * 6 + ["b"] * 4, ["a"] * 10, probabilities={"a": 0.7, "b": 0.3}),
            method="lora",
            options={"rank": number},
            cost={"trained_parameters": 100 * number},
            history=history,
            metrics={"accuracy": metrics.rate([True] * 6 + [False] * 4)},
        )
        for number, name in enumerate(ROWS)
    ]
    table = compare_runs(runs, reference="zero_shot")
    return [
        forest_plot(table),
        cost_plot(table, cost="trained_parameters"),
        training_plot(table),
        calibration_plot(table),
    ]


def pixels_of(png):
    return np.rint(imread(io.BytesIO(png), format="png")[..., :3] * 255).astype(int)  # (H, W, 3)


def rgb(colour):
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]


def has_colour(pixels, colour):
    return bool((pixels == rgb(colour)).all(axis=-1).any())


def test_png_shows_the_plot_in_the_colours_of_light_paper(plots):
    for plot in plots:
        pixels = pixels_of(plot.picture("png"))
        height, width, _ = pixels.shape
        figure_width, figure_height = plot.figure.get_size_inches() * PNG_DOTS_PER_INCH
        assert figure_width == pytest.approx(WIDTH / 72 * PNG_DOTS_PER_INCH)
        assert figure_width < width < 1.1 * figure_width  # a margin at both sides
        assert height > figure_height + 40  # the title above, note and legend below
        assert (pixels[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
        for colour in LIGHT_COLOURS.values():
            if colour not in (LIGHT_COLOURS["ink"], LIGHT_COLOURS["muted"]):
                assert has_colour(pixels, colour), (plot.name, colour)
        # Placeholders are nearly black; nothing on light paper is darker than its ink.
        assert pixels.max(axis=-1).min() >= min(rgb(LIGHT_COLOURS["ink"]))


def test_every_series_is_in_the_legend_of_the_png():
    figure, _ = new_figure(100)
    legend = [Series(f"row {number}", number) for number in range(NUM_COLOURS)]
    without = pixels_of(picture_of(figure, "png", title="t"))
    pixels = pixels_of(picture_of(figure, "png", title="t", legend=legend))
    assert pixels.shape[0] > without.shape[0]
    for number in range(NUM_COLOURS):
        colour = LIGHT_COLOURS[f"series-{number}"]
        assert has_colour(pixels, colour)
        assert not has_colour(without, colour)


def test_title_and_note_stand_outside_the_figure():
    figure, _ = new_figure(100)
    bare = pixels_of(picture_of(figure, "png", title=""))
    noted = pixels_of(picture_of(figure, "png", title="Title", note="word " * 40))
    assert noted.shape[0] > bare.shape[0] + 2 * 0.15 * PNG_DOTS_PER_INCH  # two lines or more
    above = noted[: int(0.4 * PNG_DOTS_PER_INCH)]
    assert (above < 128).any()
    assert not (bare[: int(0.4 * PNG_DOTS_PER_INCH)] < 128).any()


def test_png_leaves_the_plot_as_it_was(plots):
    for plot in plots:
        before = plot.svg_drawing()
        first, second = plot.picture("png"), plot.picture("png")
        assert plot.svg_drawing() == before
        assert first == second
        assert "#0102" not in before.svg


def test_a_failed_png_leaves_the_plot_as_it_was(plots, monkeypatch):
    plot = plots[1]
    before = plot.svg_drawing()
    with monkeypatch.context() as patched:
        patched.setattr(plot.figure, "savefig", lambda *args, **options: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            plot.picture("png")
    assert plot.svg_drawing() == before


def test_light_colours_are_those_of_the_report_page():
    source = files("workbench.presentation").joinpath("page_style.css").read_text()
    light = source[source.index(":root {") : source.index("@media (prefers-color-scheme")]
    page = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
    assert {name: page[name] for name in LIGHT_COLOURS} == LIGHT_COLOURS


def test_svg_is_well_formed_and_its_ids_are_unique(plots):
    ids = []
    for plot in plots:
        svg = plot.svg_drawing().svg.replace("xlink:href", "href")
        ids += [e.get("id") for e in ElementTree.fromstring(svg).iter() if e.get("id")]
    assert len(ids) == len(set(ids))


def test_hover_texts_are_escaped_and_come_first_in_their_group():
    figure, (axis,) = new_figure(100)
    hover = Hover()
    hover.add_points('<b>&"x"', axis, [1.0], [2.0])
    hover.add_points("second", axis, [1.0, 2.0], [2.0, 3.0], *axis.plot([1, 2], [2, 3]))
    plot = Plot(name="p", title="t", figure=figure, description="d", hover=hover.texts)

    root = ElementTree.fromstring(plot.svg_drawing().svg.replace("xlink:href", "href"))

    groups = {e.get("id"): e for e in root.iter("g") if e.get("id") in hovered(hover, "p")}
    assert len(groups) == len(hover.texts) == 3
    assert [next(iter(group)).tag for group in groups.values()] == ["title"] * 3
    assert sorted(group.findtext("title") for group in groups.values()) == [
        '<b>&"x"',
        "second",
        "second",
    ]


def hovered(hover, name):
    return {f"{name}-{gid}" for gid in hover.texts}


def test_what_the_pointer_finds_is_wider_than_the_point_and_not_seen():
    figure, (axis,) = new_figure(100)
    Hover().add_points("x", axis, [1.0], [2.0])
    svg = inline_svg(figure, name="p", description="d")
    styles = re.findall(r'<use [^>]*style="([^"]*)"', svg)
    assert [("fill-opacity: 0" in style, "stroke-opacity: 0" in style) for style in styles] == [
        (True, True)
    ]


def test_pictures_made_at_once_are_the_same_as_one_after_the_other(plots):
    alone = [plot.svg_drawing() for plot in plots]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(Plot.svg_drawing, plots * 3))
    assert together == alone * 3


def test_a_wide_drawing_has_the_margins_and_the_letters_of_a_narrow_one(plots):
    for plot in plots:
        before = plot.picture("png")
        drawing = plot.svg_drawing(has_wide=True)
        narrow, wide = (box_of(svg) for svg in (drawing.svg, drawing.wide))

        assert (narrow[0], wide[0]) == (WIDTH, WIDE)
        assert narrow[1] == wide[1]
        assert sizes_of(drawing.svg) == sizes_of(drawing.wide)
        assert plot.svg_drawing() == replace(drawing, wide="")
        assert plot.picture("png") == before
        assert not ids_of(drawing.svg) & ids_of(drawing.wide)


def box_of(svg):
    return tuple(map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', svg).groups()))


def sizes_of(svg):
    """Return how large the letters of a drawing are, in units of its view box."""
    return set(re.findall(r"font(?:-size)?: ?(?:\d+ )?([\d.]+)px", svg))


def ids_of(svg):
    return set(re.findall(r'\bid="([^"]*)"', svg))
