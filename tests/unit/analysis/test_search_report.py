"""What a comparison says about searches for the learning rate, in every form of its report."""

import csv
import io

import pytest

from workbench.analysis.cautions import caution_of_tuning
from workbench.analysis.comparison import ComparedRun, compare_runs
from workbench.analysis.leaderboard import leaderboard
from workbench.analysis.report import (
    report_as_dict,
    report_csv,
    report_html,
    report_markdown,
    terminal_table,
)
from workbench.runs.search import SearchOutcome, Trial, read_outcome

TARGETS = ["a", "b"] * 10
MARK = "lora (lower bound)"
REASON = (
    "lora: lower bound: the best learning rate on dev, 0.001, is the highest of the 2 tried, "
    "although the grid was extended once; a higher one may be better still."
)


def outcome(*, is_inside: bool = False, run_id: str = "r2") -> SearchOutcome:
    trials = [
        Trial(1e-4, False, "r1", 0.5, 0.7, 10, 5, 1.0),
        Trial(1e-3, True, run_id, 0.9, 0.3, 10, 5, 1.5),
    ]
    if is_inside:
        trials.append(Trial(3e-3, False, "r3", None, None, 0, 0, 0.0))
    return SearchOutcome(tuple(trials), seed=0, num_extended=1)


@pytest.fixture
def table(make_run, predict):
    """Return a maker of a comparison of a searched row with one that has its rate."""

    def make(search, *, evaluations=10, own=5):
        zero = make_run("zero_shot", predict(["a"] * 20, TARGETS), cost={"dev_evaluations": 0})
        tuned = make_run(
            "prompt_tuning", predict(TARGETS, TARGETS), cost={"dev_evaluations": evaluations}
        )
        lora = make_run("lora", predict(TARGETS, TARGETS), cost={"dev_evaluations": own})
        runs = [zero, tuned, ComparedRun("lora", lora.run, search)]
        return compare_runs(runs, reference="zero_shot")

    return make


def test_a_lower_bound_is_marked_in_every_form_with_its_reason(table):
    comparison = table(outcome())

    assert MARK in [row[0] for row in terminal_table(comparison)[1]]
    assert REASON in comparison.warnings
    markdown, page = report_markdown(comparison), report_html(comparison)
    for text in (markdown, page):
        assert MARK in text
        assert "the highest of the 2 tried" in text
        assert "yes, lower bound" in text
        assert "rates that lost were never tried on test" in text
    rows = {row["row"]: row for row in csv.DictReader(io.StringIO(report_csv(comparison)))}
    assert rows["lora"]["lower_bound"] == "yes"
    assert (rows["lora"]["learning_rate"], rows["lora"]["learning_rates_tried"]) == ("0.001", "2")
    assert rows["zero_shot"]["lower_bound"] == ""
    assert [row.name for row in leaderboard(comparison) if row.is_lower_bound] == ["lora"]


def test_an_optimum_inside_the_grid_is_not_marked(table):
    comparison = table(outcome(is_inside=True))

    text = report_markdown(comparison)
    assert "lower bound" not in text.split("## How to read it")[0]
    assert "| lora | 0.003 | failed |" in text
    assert "learning rate" in text
    rows = {row["row"]: row for row in csv.DictReader(io.StringIO(report_csv(comparison)))}
    assert rows["lora"]["lower_bound"] == "no"


def test_without_a_search_nothing_is_said_about_one(table):
    comparison = table(None, own=10)

    for text in (report_markdown(comparison), report_html(comparison)):
        assert "Search for the learning rate" not in text
        assert "lower bound" not in text.lower()
    assert comparison.warnings == tuple(w for w in comparison.warnings if "dev" not in w)
    assert "lower_bound" not in report_csv(comparison).splitlines()[0]


def test_a_report_gives_its_searches_back(table):
    content = report_as_dict(table(outcome()))

    found = {row["row"]: (read_outcome(row["search"]), row["is_lower_bound"])
             for row in content["rows"]}  # fmt: skip
    assert found == {
        "zero_shot": (None, False),
        "prompt_tuning": (None, False),
        "lora": (outcome(), True),
    }


def test_looks_at_dev_are_those_of_the_search_and_of_a_run_that_was_no_trial(table):
    (other_seed,) = (row for row in table(outcome()).rows if row.row == "lora")
    assert other_seed.cost.dev_evaluations == 10 + 5

    own = other_seed.run_id
    (winner,) = (row for row in table(outcome(run_id=own)).rows if row.row == "lora")
    assert winner.cost.dev_evaluations == 10


def test_unequal_tuning_is_a_caution_and_rows_that_choose_nothing_are_no_part_of_it(table):
    assert caution_of_tuning({"zero_shot": 0, "old": None, "lora": 10, "prompt_tuning": 10}) == []
    assert caution_of_tuning({"zero_shot": 0, "lora": 20, "prompt_tuning": 10}) == [
        "The rows were tuned with unequal effort; evaluations on dev: prompt_tuning 10, lora 20. "
        "More looks at dev find better settings and luckier steps."
    ]
    assert any("prompt_tuning 10, lora 15" in warning for warning in table(outcome()).warnings)
