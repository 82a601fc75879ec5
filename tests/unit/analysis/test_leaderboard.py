"""Ranks, figures over seeds, and who is within noise of the best."""

import numpy as np
import pytest
from scipy import stats

from workbench import metrics
from workbench.analysis.comparison import compare_runs
from workbench.analysis.headline import headline
from workbench.analysis.leaderboard import leaderboard
from workbench.analysis.tables import difference_text

NUM_ITEMS = 40


def first_right(count):
    return [place < count for place in range(NUM_ITEMS)]


@pytest.fixture
def table_of(make_run, predict):
    """Return a table of rows; each has flags of right items for each seed."""

    def make(rows, reference="zero_shot"):
        runs = []
        for row, seeds in rows.items():
            for seed, flags in enumerate(seeds):
                answers = ["a" if is_right else "b" for is_right in flags]
                predictions = predict(answers, ["a"] * len(answers))
                measured = {"accuracy": metrics.rate(flags)}  # no other figure is looked at
                runs.append(make_run(row, predictions, seed=seed, metrics=measured))
        return compare_runs(runs, reference=reference)

    return make


def row_named(table, name):
    return next(row for row in leaderboard(table) if row.name == name)


def test_one_seed_gives_the_figures_of_the_table(table_of):
    counts = {"majority_class": 12, "zero_shot": 20, "few_shot": 28, "lora": 31}
    table = table_of({name: [first_right(count)] for name, count in counts.items()})

    rows = leaderboard(table)

    assert [(row.rank, row.name) for row in rows] == [
        (1, "lora"), (2, "few_shot"), (3, "zero_shot"), (4, "majority_class")
    ]  # fmt: skip
    for row in rows:
        run, _ = table.first_seed(row.name)
        assert row.num_seeds == 1
        assert row.quality == run.accuracy
        assert difference_text(row.difference) == difference_text(run.difference)
        if run.difference is not None:
            assert row.p_value_holm == pytest.approx(run.difference.p_value_holm)
    assert [row.is_best for row in rows] == [True, False, False, False]
    assert [row.is_reference for row in rows] == [False, False, True, False]
    assert [row.is_baseline for row in rows] == [False, False, False, True]


def test_noise_is_judged_as_in_the_headline(table_of):
    # 31 against 28 right on nested items: 3 won, none lost, p = 0.25; against 20: p = 0.001.
    counts = {"zero_shot": 20, "few_shot": 28, "lora": 31}
    table = table_of({name: [first_right(count)] for name, count in counts.items()})
    found = {row.name: row.is_within_noise_of_best for row in leaderboard(table)}
    assert found == {"lora": False, "few_shot": True, "zero_shot": False}
    assert "runner-up few_shot it is +7.5 points, within noise (p 0.250)" in headline(table)
    assert "reference zero_shot that is +27.5 points, beyond noise" in headline(table)


@pytest.mark.parametrize("best_is_reference", [True, False])
def test_the_pair_with_the_reference_is_judged_by_the_adjusted_p(table_of, best_is_reference):
    # 6 won and none lost is p = 0.031 alone, and above 0.05 beside a second comparison.
    rows = {
        "zero_shot": [first_right(20)],
        "few_shot": [first_right(20)],
        "lora": [first_right(26)],
    }
    table = table_of(rows, reference="lora" if best_is_reference else "zero_shot")
    judged = row_named(table, "zero_shot")
    p_value = (judged if best_is_reference else row_named(table, "lora")).p_value_holm
    assert p_value == pytest.approx(2 * stats.binomtest(6, 6, 0.5).pvalue)
    assert judged.is_within_noise_of_best
    # Without the reference there is one comparison, as in the headline.
    assert row_named(table, "few_shot").is_within_noise_of_best == best_is_reference


def test_equal_accuracies_share_a_rank(table_of):
    rows = {name: [first_right(20)] for name in ("zero_shot", "few_shot", "lora")}
    rows["ia3"] = [first_right(10)]
    found = leaderboard(table_of(rows))
    assert [row.rank for row in found] == [1, 1, 1, 4]
    assert [row.is_best for row in found] == [True, False, False, False]
    assert [row.is_within_noise_of_best for row in found] == [False, True, True, False]


def test_several_seeds_are_averaged_item_by_item(table_of):
    rng = np.random.default_rng(0)
    ours, theirs = rng.random((3, NUM_ITEMS)) < 0.7, rng.random((3, NUM_ITEMS)) < 0.4
    table = table_of({"zero_shot": theirs.tolist(), "lora": ours.tolist()})

    row = row_named(table, "lora")

    gaps = (ours.astype(float) - theirs).mean(axis=0)
    result = stats.ttest_1samp(gaps, 0.0).confidence_interval(0.95)
    assert row.num_seeds == 3
    assert row.difference.value == pytest.approx(gaps.mean())
    assert (row.difference.low, row.difference.high) == pytest.approx((result.low, result.high))
    wins, losses = int((gaps > 0).sum()), int((gaps < 0).sum())
    assert row.p_value_holm == pytest.approx(stats.binomtest(wins, wins + losses).pvalue)
    assert row.quality.value == pytest.approx(ours.mean())


def test_the_interval_of_a_mean_accuracy_is_that_of_one_run_with_it(table_of):
    table = table_of({"zero_shot": [first_right(0)], "lora": [first_right(24), first_right(30)]})
    found = row_named(table, "lora").quality
    wilson = stats.binomtest(27, NUM_ITEMS).proportion_ci(method="wilson")
    assert (found.value, found.low, found.high) == pytest.approx(
        (27 / NUM_ITEMS, wilson.low, wilson.high)
    )


def test_equal_seeds_say_what_one_of_them_says(table_of):
    single = table_of({"zero_shot": [first_right(20)], "lora": [first_right(29)]})
    double = table_of({"zero_shot": [first_right(20)] * 2, "lora": [first_right(29)] * 2})
    one, two = row_named(single, "lora"), row_named(double, "lora")
    assert (two.quality.value, two.quality.low, two.quality.high) == pytest.approx(
        (one.quality.value, one.quality.low, one.quality.high)
    )
    assert two.p_value_holm == pytest.approx(one.p_value_holm)
    assert two.difference.value == pytest.approx(one.difference.value)
    # The bootstrap of one seed and Student's t of several agree on 40 items.
    assert two.difference.low == pytest.approx(one.difference.low, abs=0.03)
    assert two.difference.high == pytest.approx(one.difference.high, abs=0.03)


def test_intervals_of_several_seeds_stay_within_bounds_and_hold_their_value(table_of):
    table = table_of({"zero_shot": [first_right(0)] * 2, "lora": [first_right(NUM_ITEMS)] * 2})
    for name, value in (("zero_shot", 0.0), ("lora", 1.0)):
        found = row_named(table, name).quality
        assert found.value == value
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.high - found.low > 0.05  # not a point: 40 items only


def test_a_reference_with_one_run_serves_every_seed(table_of):
    table = table_of({"zero_shot": [first_right(20)], "lora": [first_right(25), first_right(31)]})
    assert row_named(table, "lora").difference.value == pytest.approx((5 + 11) / 2 / NUM_ITEMS)


def test_rows_without_a_common_seed_are_not_judged(make_run, predict):
    answers = predict(["a", "a"], ["a", "a"])
    runs = [make_run("zero_shot", predict(["b", "b"], ["a", "a"]), seed=seed) for seed in (0, 1)]
    runs.append(make_run("lora", answers, seed=7))
    table = compare_runs(runs, reference="zero_shot")
    best, reference = leaderboard(table)
    assert (best.difference.value, best.p_value_holm) == (None, None)
    assert reference.is_within_noise_of_best is None


def test_rows_without_an_accuracy_come_last(make_run, predict):
    runs = [
        make_run("ia3", predict(["a"], ["a"]), metrics={}),
        make_run("zero_shot", predict(["b"], ["a"])),
    ]
    first, last = leaderboard(compare_runs(runs, reference="zero_shot"))
    assert (first.name, first.rank) == ("zero_shot", 1)
    assert (last.name, last.rank, last.quality.value) == ("ia3", None, None)
    assert last.is_within_noise_of_best is None
    assert not last.is_best


def test_nothing_scored_ranks_nothing(make_run, predict):
    run = make_run("lora", predict([], []), metrics={})
    (row,) = leaderboard(compare_runs([run], reference="lora"))
    assert (row.rank, row.is_best, row.quality.value) == (None, False, None)
