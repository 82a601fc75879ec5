"""Lines along an axis: when training overtakes, what dev chooses, and how both are shown."""

import csv
import io
import json

import pytest

from workbench import metrics
from workbench.analysis.curves.figure import band_of, curve_plot
from workbench.analysis.curves.lines import PlacedRun, draw_lines, overtakings
from workbench.analysis.curves.report import (
    curve_table,
    curves_as_dict,
    curves_csv,
    sentences_of,
    write_curves,
)
from workbench.differences import paired_difference
from workbench.runs.search import SearchOutcome, Trial

NUM = 40
TARGETS = ["a", "b"] * (NUM // 2)


def right(num: int) -> list[str]:
    """Return answers of which the first `num` are right."""
    other = {"a": "b", "b": "a"}
    return [t if place < num else other[t] for place, t in enumerate(TARGETS)]


@pytest.fixture
def placed(make_run, predict):
    """Return a maker of runs at a place: so many of 40 items right."""

    def make(line, place, num, *, cost=None, search=None, **more):
        options = {"place": place}
        task = {"num_train": place if isinstance(place, int) else 0, "digest": f"d{place}"}
        run = make_run(
            line, predict(right(num), TARGETS), options=options, task=task, cost=cost or {}, **more
        )
        return PlacedRun(line, place, run.run, search)

    return make


TRAINED = {"trained_parameters": 100, "labelled_examples": 8}
SHOWN = {"trained_parameters": 0, "labelled_examples": 4}


def curve(runs, places=(0, 8, 32, 128)):
    return draw_lines(
        runs, axis="labelled examples", places=places, title="Learning curve", marks_best=False
    )


def few_shot(placed, nums=(20, 20, 20, 20)):
    return [
        placed("few_shot", place, num, cost=SHOWN)
        for place, num in zip((0, 8, 32, 128), nums, strict=True)
    ]


def tuned(placed, nums, places=(8, 32, 128)):
    return [
        placed("lora", place, num, cost=TRAINED) for place, num in zip(places, nums, strict=True)
    ]


@pytest.mark.parametrize(
    ("nums", "expected"),
    [
        ((10, 38, 40), 32),  # behind, then ahead and ahead
        ((38, 20, 40), 128),  # ahead by luck, level, ahead: not before the last
        ((38, 40, 20), None),  # not ahead where it counts most
        ((20, 21, 22), None),  # ahead by less than the items can tell
        ((38, 38, 38), 8),
    ],
)
def test_training_overtakes_where_it_is_ahead_for_good(placed, nums, expected):
    (found,) = overtakings(curve(few_shot(placed) + tuned(placed, nums)))

    assert (found.trained, found.shown, found.place) == ("lora", "few_shot", expected)
    assert [place for place, _ in found.differences] == [8, 32, 128]


def test_a_difference_is_that_of_the_paired_items(placed):
    (found,) = overtakings(curve(few_shot(placed) + tuned(placed, (10, 38, 40))))

    ours, theirs = ([a == t for a, t in zip(right(n), TARGETS, strict=True)] for n in (38, 20))
    oracle = paired_difference(ours, theirs)
    estimate = dict(found.differences)[32]
    assert (estimate.value, estimate.low, estimate.high) == (oracle.value, oracle.low, oracle.high)


def test_rows_that_use_no_examples_are_the_same_everywhere(placed):
    flat = placed("zero_shot", None, 24, cost={"trained_parameters": 0, "labelled_examples": 0})
    curves = curve([flat, *tuned(placed, (10, 38, 40))])

    line = curves.lines[0]
    assert line.is_flat
    assert [line.at(place) for place in curves.places] == [line.points[0]] * 4
    assert overtakings(curves) == []  # nothing shows examples


def test_where_training_overtakes_is_said_in_words(placed):
    curves = curve(few_shot(placed) + tuned(placed, (10, 38, 40)))

    there = dict(overtakings(curves)[0].differences)[32]
    assert sentences_of(curves) == [
        "lora overtakes few_shot from 32 labelled examples on: "
        f"+45.0 [{100 * there.low:+.1f}, {100 * there.high:+.1f}] points there."
    ]


def test_that_training_does_not_overtake_is_said_in_words(placed):
    assert sentences_of(curve(few_shot(placed) + tuned(placed, (20, 20, 20)))) == [
        "lora does not overtake few_shot within the sizes tried (8 to 128 labelled examples): at "
        "128 the difference is 0.0 [0.0, 0.0] points."
    ]


def test_seeds_are_averaged_and_paired_by_seed(placed):
    runs = [
        placed("few_shot", 8, num, seed=seed, cost=SHOWN) for seed, num in enumerate((20, 24))
    ] + [placed("lora", 8, num, seed=seed, cost=TRAINED) for seed, num in enumerate((30, 38))]

    curves = curve(runs, places=(8,))

    (shown,), (trained,) = (line.points for line in curves.lines)
    assert (shown.quality.value, trained.quality.value) == (22 / 40, 34 / 40)
    assert (trained.lowest, trained.highest) == (30 / 40, 38 / 40)
    assert trained.quality.num_scored == NUM  # not twice as many items
    assert band_of(trained, "seeds") == (30 / 40, 38 / 40)
    (found,) = overtakings(curves)
    assert dict(found.differences)[8].value == pytest.approx(12 / 40)


def test_an_accuracy_of_one_over_seeds_keeps_its_interval(placed):
    runs = [placed("lora", 8, 40, seed=seed, cost=TRAINED) for seed in (0, 1)]

    (line,) = curve(runs, places=(8,)).lines

    assert line.points[0].quality.low == pytest.approx(
        metrics.accuracy(TARGETS, TARGETS).low, abs=1e-9
    )


def sweep(placed, dev, nums=(20, 30, 25), **scored):
    cost = TRAINED | scored
    runs = [
        placed("lora", rank, num, cost=cost | {"dev_accuracy": accuracy, "dev_loss": loss})
        for rank, num, (accuracy, loss) in zip((1, 4, 16), nums, dev, strict=True)
    ]
    return draw_lines(runs, axis="rank", places=(1, 4, 16), title="lora over rank", marks_best=True)


def test_dev_chooses_whatever_test_says(placed):
    curves = sweep(placed, [(0.9, 0.3), (0.5, 0.7), (0.5, 0.8)])

    assert curves.best == ("lora", 1)
    assert sentences_of(curves) == [
        "Dev chooses rank 1: dev accuracy 90.0 %, test accuracy 50.0 %."
    ]
    columns, rows = curve_table(curves, band="seeds")
    marked = [row[1] for row in rows if "best on dev" in row[columns.index("learning rate")]]
    assert marked == ["1"]


def test_accuracies_that_dev_cannot_tell_apart_are_decided_by_the_loss(placed):
    assert sweep(placed, [(0.6, 0.5), (0.7, 0.6), (0.1, 0.1)]).best == ("lora", 1)  # 10 dev items


def test_a_tie_is_one_among_the_items_that_were_scored(placed):
    dev = [(0.83, 0.5), (0.86, 0.6), (0.1, 0.1)]  # one standard error: 2.5 points of 200, 3.9 of 80

    assert sweep(placed, dev, dev_items=200).best == ("lora", 4)
    assert sweep(placed, dev, dev_items=80).best == ("lora", 1)


def test_a_figure_shows_every_place_and_says_what_its_band_is(placed, texts_of, titles_of):
    curves = curve(few_shot(placed) + tuned(placed, (10, 38, 40)))

    drawing = curve_plot(curves, name="curve").svg_drawing()

    assert {"0", "8", "32", "128", "labelled examples", "accuracy"} <= set(texts_of(drawing))
    assert drawing.note == "Band: 95 % interval over the test items."
    assert [entry.text for entry in drawing.legend] == ["few_shot", "lora"]
    assert any("lora: 8: 25.0 % [" in title for title in titles_of(drawing))


def test_a_sweep_draws_dev_and_what_it_chooses(placed, titles_of):
    drawing = curve_plot(
        sweep(placed, [(0.9, 0.3), (0.5, 0.7), (0.5, 0.8)]), name="sweep", band="seeds"
    ).svg_drawing()

    assert drawing.note.endswith("Dashed: accuracy on dev. Ring: what dev chooses.")
    assert "lora on dev: 90.0 %, 50.0 %, 50.0 %" in titles_of(drawing)


def test_text_on_the_axis_is_text_in_its_own_order(placed, texts_of):
    runs = [placed("lora", place, 20, cost=TRAINED) for place in ("<b>$x$", "all")]
    curves = draw_lines(runs, axis="targets", places=("<b>$x$", "all"), title="t", marks_best=False)

    texts = texts_of(curve_plot(curves, name="c").svg_drawing())

    assert {"&lt;b&gt;$x$", "all", "targets"} <= set(texts)


def lower_bound() -> SearchOutcome:
    return SearchOutcome(
        (
            Trial(1e-4, False, "r1", 0.5, 0.7, 10, 2, 1.0),
            Trial(1e-3, True, "r2", 0.9, 0.3, 10, 2, 1.0),
        ),
        seed=0,
    )


def test_lower_bounds_are_marked_in_table_figure_and_files(placed):
    runs = [placed("lora", 8, 30, cost=TRAINED, search=lower_bound())]
    curves = curve(runs, places=(8,))

    assert curve_table(curves)[1][0][-1].endswith("(lower bound)")
    assert "Lower bounds (best learning rate at the edge): lora at 8." in (
        curve_plot(curves, name="c").note
    )
    (line,) = csv.DictReader(io.StringIO(curves_csv(curves)))
    assert (line["line"], line["labelled examples"], line["lower_bound"]) == ("lora", "8", "yes")
    assert curves_as_dict(curves)["lines"][0]["points"][0]["is_lower_bound"] is True


def test_files_say_the_same(placed, tmp_path):
    curves = curve(few_shot(placed) + tuned(placed, (10, 38, 40)))

    write_curves(
        curves,
        tmp_path / "out",
        "curve",
        notes=["<i>Note</i>"],
        command="workbench curve --sizes 0,8",
    )

    content = json.loads((tmp_path / "out" / "curve.json").read_text())
    assert content["overtaking"][0]["from"] == 32
    assert content["in_words"] == sentences_of(curves)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "curve.csv").read_text())))
    assert [row["labelled examples"] for row in rows] == ["0", "8", "32", "128", "8", "32", "128"]
    page = (tmp_path / "out" / "curve.html").read_text()
    assert sentences_of(curves)[0] in page
    assert "&lt;i&gt;Note" in page
    assert (tmp_path / "out" / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "curve.pdf").read_bytes().startswith(b"%PDF-")
    latex = (tmp_path / "out" / "curve.tex").read_text()
    picture = (tmp_path / "out" / "curve.svg").read_text()
    for form in (latex, picture, page):
        assert "n = 40 test items of toy" in form
        assert "workbench curve --sizes 0,8" in form.replace("{}", "")
