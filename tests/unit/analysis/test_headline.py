"""The first sentences of a report say what the figures say, and no more."""

import pytest

from workbench.analysis.comparison import compare_runs
from workbench.analysis.headline import headline

NUM_ITEMS = 40


@pytest.fixture
def headline_of(make_run, predict):
    """Return the headline of rows with so many of the first items right."""

    def find(num_right, reference="zero_shot"):
        runs = []
        for row, counts in num_right.items():
            for seed, count in enumerate(counts if isinstance(counts, list) else [counts]):
                answers = ["a"] * count + ["b"] * (NUM_ITEMS - count)
                runs.append(make_run(row, predict(answers, ["a"] * NUM_ITEMS), seed=seed))
        return headline(compare_runs(runs, reference=reference))

    return find


def test_a_clear_lead_over_reference_and_runner_up(headline_of):
    assert headline_of({"zero_shot": 10, "few_shot": 20, "lora": 36}) == (
        "lora has the highest accuracy: 90.0 % [76.9, 96.0] of 40 test items. Against the "
        "reference zero_shot that is +65.0 points, beyond noise (Holm-adjusted p below 0.001). "
        "Against the runner-up few_shot it is +40.0 points, beyond noise (p below 0.001)."
    )


def test_a_lead_within_noise_is_called_so(headline_of):
    text = headline_of({"zero_shot": 20, "lora": 22})
    assert text == (
        "lora has the highest accuracy: 55.0 % [39.8, 69.3] of 40 test items. Against the "
        "reference zero_shot that is +5.0 points, within noise (Holm-adjusted p 0.500): these "
        "items do not tell the two apart."
    )


def test_the_reference_may_be_best(headline_of):
    assert "It is the reference itself: no other row is better." in headline_of(
        {"zero_shot": 30, "lora": 10}
    )


def test_a_baseline_may_be_best(headline_of):
    assert "That row does not use the base at all" in headline_of(
        {"majority_class": 30, "zero_shot": 10}
    )


def test_several_seeds_are_averaged_and_counted(headline_of):
    assert headline_of({"zero_shot": [10, 10], "lora": [36, 11]}) == (
        "lora has the highest accuracy: 58.8 % of 40 test items on average over 2 seeds. Against "
        "the reference zero_shot that is +33.8 points on average, beyond noise in 1 of 2 seeds "
        "(Holm-adjusted p below 0.05)."
    )


def test_one_row_alone(headline_of):
    assert headline_of({"zero_shot": 20}) == (
        "zero_shot has the highest accuracy: 50.0 % [35.2, 64.8] of 40 test items."
    )


def test_nothing_scored(make_run, predict):
    run = make_run("lora", predict([], []), metrics={})
    assert headline(compare_runs([run], reference="lora")) == "Nothing was scored."
