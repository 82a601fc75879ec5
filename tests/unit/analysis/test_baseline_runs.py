"""A single run beside the rows that do not use the base."""

from workbench.analysis.baseline_runs import baseline_text, baselines_beside
from workbench.analysis.run_diff import run_summary

TARGETS = ["a", "b"] * 20


def test_a_run_says_what_the_rows_without_the_base_reach(make_run, predict):
    run = make_run("lora", predict(TARGETS, TARGETS), seed=3, options={"rank": 8}).run
    make_run("majority_class", predict(["a"] * 40, TARGETS))
    make_run("nearest_neighbour_vote", predict(["b"] * 40, TARGETS), task={"digest": "d2"})

    (majority,) = baselines_beside(run)

    text = baseline_text(run, majority)
    assert text.startswith("50.0 % [35.2, 64.8]; this run is +50.0 [")
    assert text.endswith("points from it (paired, p <0.001, n = 40)")
    facts = {fact.name: fact.value for fact in run_summary(run)}
    assert facts["without the base: majority_class"] == text


def test_a_baseline_is_held_against_none(make_run, predict):
    run = make_run("majority_class", predict(["a"] * 40, TARGETS)).run

    assert baselines_beside(run) == []


def test_items_that_differ_leave_the_difference_out(make_run, predict):
    run = make_run("lora", predict(TARGETS, TARGETS)).run
    ids = [f"other-{number}" for number in range(40)]
    other = make_run("majority_class", predict(["a"] * 40, TARGETS, ids=ids)).run

    assert baseline_text(run, other) == "50.0 % [35.2, 64.8]"
