"""Metrics against scikit-learn, scipy, tables by hand and simulation."""

import math
import string
from collections.abc import Callable, Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix
from sklearn.metrics import f1_score
from statsmodels.stats.multitest import multipletests

from workbench import metrics
from workbench.answer_forms import normalise_answer
from workbench.differences import PairedDifference, holm, paired_difference
from workbench.estimates import Estimate

LABELS = ["cold", "mild", "warm"]

answered_items = st.lists(
    st.tuples(st.sampled_from([*LABELS, None]), st.sampled_from(LABELS)), min_size=1, max_size=40
)
scored_confidences = st.lists(
    st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=40
)
paired_flags = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


def random_items(
    num_items: int, *, seed: int, num_none: int = 0
) -> tuple[list[str | None], list[str]]:
    """Return answers that agree with the targets in about half of the items, and the targets."""
    generator = np.random.default_rng(seed)
    targets = generator.choice(LABELS, num_items, p=[0.6, 0.3, 0.1])
    guesses = generator.choice(LABELS, num_items)
    answers = np.where(generator.random(num_items) < 0.4, targets, guesses).tolist()
    answers[:num_none] = [None] * num_none
    return answers, targets.tolist()


def codes(names: Sequence[str | None]) -> list[int]:
    """Return the label numbers, with `None` as one class more."""
    return [len(LABELS) if name is None else LABELS.index(name) for name in names]


def is_covered(value: float | None, estimate: Estimate | PairedDifference) -> bool:
    """Return whether the value lies in the interval; an absent interval, of one item, holds all."""
    if estimate.low is None or estimate.high is None:
        return estimate.low is estimate.high
    return value is not None and estimate.low <= value <= estimate.high


def test_accuracy_counts_an_absent_answer_as_wrong_and_as_unscored() -> None:
    estimate = metrics.accuracy(["cold", None, "warm", "mild"], ["cold", "mild", "warm", "warm"])

    assert estimate.value == 0.5
    assert (estimate.num_scored, estimate.num_unscored) == (3, 1)


def test_accuracy_is_zero_when_no_item_has_an_answer() -> None:
    estimate = metrics.accuracy([None, None], ["cold", "warm"])

    assert (estimate.value, estimate.low) == (0.0, 0.0)
    assert (estimate.num_scored, estimate.num_unscored) == (0, 2)


@pytest.mark.parametrize(("num_true", "num_items"), [(0, 7), (3, 10), (81, 263), (12, 12)])
def test_wilson_interval_equals_scipy(num_true: int, num_items: int) -> None:
    expected = stats.binomtest(num_true, num_items).proportion_ci(method="wilson")

    estimate = metrics.rate([True] * num_true + [False] * (num_items - num_true))

    assert estimate.value == num_true / num_items
    assert estimate.low == pytest.approx(expected.low, abs=1e-12)
    assert estimate.high == pytest.approx(expected.high, abs=1e-12)


def test_wilson_interval_of_81_in_263_is_the_published_one() -> None:
    # Newcombe 1998, Statistics in Medicine 17:857-872, table I, method 3
    estimate = metrics.rate([True] * 81 + [False] * 182)

    assert estimate.low == pytest.approx(0.2553, abs=5e-5)
    assert estimate.high == pytest.approx(0.3662, abs=5e-5)


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_wilson_interval_covers_the_true_rate_about_95_times_in_100(share: float) -> None:
    draws = np.random.default_rng(7).binomial(100, share, size=3_000)
    intervals = {int(k): metrics.rate([True] * k + [False] * (100 - k)) for k in np.unique(draws)}

    covered = [is_covered(share, intervals[int(k)]) for k in draws]

    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Paris. ", "paris"),
        ("New\t York\n city", "new york city"),
        ("U.S.", "u.s"),
        ("18.0", "18"),
        ("18.", "18"),
        ("$1,234.50.", "1234.5"),
        ("-€5", "-5"),
        ("+007", "7"),
        (".50", "0.5"),
        ("-0.0", "0"),
        ("12,345,678,901,234,567,890,123,456,789,012", "12345678901234567890123456789012"),
        ("1,5", "1.5"),
        ("0,500", "0.5"),
        ("1.234,50 €", "1234.5"),
        ("1,2345", "1.2345"),
        ("1,2,3", "1,2,3"),
        ("1,234", "1234"),
        ("1.234.567", "1234567"),
        ("50%", "50%"),
        ("3 Apples", "3 apples"),
        ("1e3", "1000"),
        ("1.2E+06", "1200000"),
        ("1e99999", "1e99999"),
        ("\u22125", "-5"),
        ("Yes!", "yes"),
        ("**Yes**", "yes"),
        ("\u201cYes.\u201d", "yes"),
        ("5!", "5!"),
        ("A*", "a*"),
        ("Cafe\u0301", "caf\u00e9"),
        ("\u0662\u0664", "24"),
        ("$", "$"),
        ("-", "-"),
        (" . ", ""),
        ("", ""),
    ],
)
def test_normalised_answer_follows_the_table(text: str, expected: str) -> None:
    assert normalise_answer(text) == expected


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet=string.printable + "€£¥éß", max_size=12))
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalise_answer(text)

    assert normalise_answer(once) == once


@settings(max_examples=40, deadline=None)
@given(st.decimals(-(10**9), 10**9, places=4))
def test_a_number_keeps_its_value_when_normalised(number: float) -> None:
    assert float(normalise_answer(f"{number:,.4f}")) == float(number)


def test_exact_match_compares_numbers_by_value_and_text_without_case() -> None:
    estimate = metrics.exact_match(
        ["$1,000", "paris.", "19", None, "18.0"], ["1000", "Paris", "18", "x", "18"]
    )

    assert estimate.value == 0.6
    assert (estimate.num_scored, estimate.num_unscored) == (4, 1)


def test_confusion_matrix_puts_absent_answers_in_the_last_column() -> None:
    answers = ["cold", "mild", None, "warm", "cold", None]
    targets = ["cold", "cold", "cold", "warm", "mild", "warm"]

    matrix = metrics.confusion_matrix(answers, targets, labels=LABELS)

    assert matrix.tolist() == [[1, 1, 0, 1], [1, 0, 0, 0], [0, 0, 1, 1]]


def test_confusion_matrix_equals_scikit_learn() -> None:
    answers, targets = random_items(200, seed=1, num_none=15)

    matrix = metrics.confusion_matrix(answers, targets, labels=LABELS)

    expected = sklearn_confusion_matrix(codes(targets), codes(answers), labels=range(4))
    assert matrix.tolist() == expected[:3].tolist()


@pytest.mark.parametrize(
    ("answers", "targets"), [(["hot"], ["cold"]), (["cold"], ["hot"]), (["cold"], [None])]
)
def test_confusion_matrix_refuses_a_name_that_is_no_label(
    answers: list[str | None], targets: list[str]
) -> None:
    with pytest.raises(ValueError, match=r"answers or targets \['(hot|None)'\] not in \['cold'"):
        metrics.confusion_matrix(answers, targets, labels=LABELS)


def test_confusion_matrix_refuses_a_repeated_label() -> None:
    with pytest.raises(ValueError, match="labels must be distinct"):
        metrics.confusion_matrix(["a"], ["a"], labels=["a", "a"])


def test_macro_f1_is_the_mean_of_the_label_f1s_by_hand() -> None:
    # cold: 2 * 1 / (2 + 1) = 2/3; mild: 2 * 1 / (1 + 2) = 2/3; warm is no target
    estimate = metrics.macro_f1(
        ["cold", "mild", "mild"], ["cold", "cold", "mild"], labels=LABELS, seed=0
    )

    assert estimate.value == pytest.approx(2 / 3)


@settings(max_examples=40, deadline=None)
@given(answered_items)
def test_macro_f1_equals_scikit_learn(items: list[tuple[str | None, str]]) -> None:
    answers, targets = [a for a, _ in items], [t for _, t in items]

    estimate = metrics.macro_f1(answers, targets, labels=LABELS)

    expected = f1_score(
        codes(targets),
        codes(answers),
        labels=sorted(set(codes(targets))),
        average="macro",
        zero_division=0,
    )
    assert estimate.value == pytest.approx(expected)
    assert estimate.num_unscored == answers.count(None)


def test_macro_f1_interval_equals_a_bootstrap_with_scikit_learn() -> None:
    answers, targets = random_items(150, seed=2, num_none=5)
    predicted, true = np.array(codes(answers)), np.array(codes(targets))
    generator = np.random.default_rng(11)
    figures = []
    for _ in range(400):
        chosen = generator.integers(0, 150, 150)
        present = np.unique(true[chosen])
        figures.append(
            f1_score(
                true[chosen], predicted[chosen], labels=present, average="macro", zero_division=0
            )
        )

    estimate = metrics.macro_f1(answers, targets, labels=LABELS)

    low, high = np.quantile(figures, [0.025, 0.975])
    assert estimate.low == pytest.approx(low, abs=0.015)
    assert estimate.high == pytest.approx(high, abs=0.015)


def test_macro_f1_interval_holds_its_value_where_resamples_fall_below_it() -> None:
    labels = [str(number) for number in range(500)]
    generator = np.random.default_rng(0)
    targets = labels * 6
    kept = generator.random(3_000) < 0.5
    answers = np.where(kept, targets, generator.choice(labels, 3_000)).tolist()

    estimate = metrics.macro_f1(answers, targets, labels=labels)

    assert is_covered(estimate.value, estimate)


def test_macro_f1_of_only_right_answers_stays_one_in_every_resample() -> None:
    targets = ["cold"] * 20 + ["warm"]

    estimate = metrics.macro_f1(targets, targets, labels=LABELS)

    assert (estimate.low, estimate.value, estimate.high) == (1.0, 1.0, 1.0)


def test_calibration_error_of_two_bins_by_hand() -> None:
    # lower bin: mean confidence 0.25, accuracy 0.5; upper: 0.75 and 1.0; both half of the items
    estimate = metrics.expected_calibration_error(
        [0.2, 0.3, 0.7, 0.8], [True, False, True, True], num_bins=2
    )

    assert estimate.value == pytest.approx(0.25)


def test_calibration_error_puts_a_confidence_on_the_edge_into_the_lower_bin() -> None:
    # median 0.5: lower bin 0.2 right and 0.5 wrong, gaps 0.8 - 0.5; upper bin 0.8 wrong
    estimate = metrics.expected_calibration_error([0.2, 0.5, 0.8], [True, False, False], num_bins=2)

    assert estimate.value == pytest.approx((0.3 + 0.8) / 3)


@pytest.mark.parametrize(("num_items", "num_bins"), [(200, 10), (201, 10), (57, 7)])
def test_calibration_error_equals_the_quantile_curve_of_scikit_learn(
    num_items: int, num_bins: int
) -> None:
    generator = np.random.default_rng(3)
    confidences = generator.beta(4, 2, num_items)
    correct = generator.random(num_items) < confidences**2

    estimate = metrics.expected_calibration_error(confidences, correct, num_bins=num_bins)

    accuracies, means = calibration_curve(
        correct, confidences, n_bins=num_bins, strategy="quantile"
    )
    edges = np.percentile(confidences, np.linspace(0, 100, num_bins + 1))
    sizes = np.bincount(np.searchsorted(edges[1:-1], confidences), minlength=num_bins)
    assert estimate.value == pytest.approx(np.sum(sizes * np.abs(accuracies - means)) / num_items)


def test_calibration_error_keeps_equal_confidences_in_one_bin() -> None:
    estimate = metrics.expected_calibration_error([0.75] * 40, [True] * 30 + [False] * 10)

    assert estimate.value == pytest.approx(0.0)


def test_calibration_error_of_a_sure_model_that_is_always_wrong_is_one() -> None:
    estimate = metrics.expected_calibration_error([1.0] * 9, [False] * 9)

    assert (estimate.low, estimate.value, estimate.high) == (1.0, 1.0, 1.0)


def test_calibration_interval_reflects_resamples_of_whole_items_around_the_value() -> None:
    generator = np.random.default_rng(10)
    confidences = generator.uniform(0, 1, 120)
    correct = confidences > 0.4  # confidence and hit must be drawn together
    figures = []
    for _ in range(1_000):
        chosen = generator.integers(0, 120, 120)
        bins = np.array_split(chosen[np.argsort(confidences[chosen])], 4)
        gaps = [abs(confidences[items].mean() - correct[items].mean()) for items in bins]
        figures.append(np.mean(gaps))

    estimate = metrics.expected_calibration_error(confidences, correct, num_bins=4)

    assert estimate.value is not None
    low, high = 2 * estimate.value - np.quantile(figures, [0.975, 0.025])
    assert estimate.low == pytest.approx(low, abs=0.01)
    assert estimate.high == pytest.approx(high, abs=0.01)


def test_calibration_interval_of_a_calibrated_model_lies_below_its_inflated_value() -> None:
    generator = np.random.default_rng(12)
    confidences = generator.uniform(0.5, 1, 200)
    correct = generator.random(200) < confidences

    estimate = metrics.expected_calibration_error(confidences, correct)

    assert estimate.value is not None
    assert estimate.low is not None
    assert estimate.low < 0.5 * estimate.value


def test_calibration_interval_covers_a_known_error_nine_times_in_ten() -> None:
    generator = np.random.default_rng(5)
    covered = []
    for seed in range(40):
        confidences = generator.uniform(0.5, 1, 200)
        correct = generator.random(200) < confidences - 0.3  # an error of 0.3 everywhere
        estimate = metrics.expected_calibration_error(confidences, correct, seed=seed)
        covered.append(is_covered(0.3, estimate))

    assert np.mean(covered) >= 0.85


@pytest.mark.parametrize("confidence", [-0.1, 1.1, math.nan])
def test_calibration_error_refuses_a_confidence_that_is_no_probability(confidence: float) -> None:
    with pytest.raises(ValueError, match=r"probabilities must be within \[0, 1\], got \["):
        metrics.expected_calibration_error([0.5, confidence], [True, False])


def test_calibration_error_refuses_to_work_without_bins() -> None:
    with pytest.raises(ValueError, match="num_bins must be at least 1, got 0"):
        metrics.expected_calibration_error([0.5], [True], num_bins=0)


def test_label_mass_is_the_mean_with_nearly_the_normal_interval() -> None:
    masses = np.random.default_rng(4).beta(8, 2, 2_000).tolist()

    estimate = metrics.legal_label_mass(masses)

    margin = 1.96 * stats.sem(masses)
    assert estimate.value == pytest.approx(np.mean(masses))
    assert estimate.low == pytest.approx(np.mean(masses) - margin, abs=0.15 * margin)
    assert estimate.high == pytest.approx(np.mean(masses) + margin, abs=0.15 * margin)


def test_label_mass_forgives_rounding_above_one_but_not_more() -> None:
    assert metrics.legal_label_mass([1.000001, 1.0]).value == 1.0
    with pytest.raises(ValueError, match=r"probabilities must be within \[0, 1\], got \[1.2\]"):
        metrics.legal_label_mass([1.0, 1.2])


def test_mean_interval_equals_the_t_test_of_scipy() -> None:
    values = [0.81, 0.84, 0.79, 0.86, 0.80]

    estimate = metrics.mean_with_interval(values)

    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert estimate.value == pytest.approx(0.82)
    assert estimate.low == pytest.approx(expected.low)
    assert estimate.high == pytest.approx(expected.high)
    assert (estimate.num_scored, estimate.num_unscored) == (5, 0)


def test_mean_of_two_values_has_the_table_value_12_706_as_factor() -> None:
    estimate = metrics.mean_with_interval([0.0, 2.0])  # mean 1, standard error 1

    assert estimate.low == pytest.approx(1 - 12.706, abs=5e-4)
    assert estimate.high == pytest.approx(1 + 12.706, abs=5e-4)


def test_mean_refuses_a_value_that_is_not_finite() -> None:
    with pytest.raises(ValueError, match="values must be finite"):
        metrics.mean_with_interval([0.5, math.nan])


@pytest.mark.parametrize(
    ("wins", "losses", "p_value"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 2 / 2**5), (8, 2, 2 * 56 / 2**10), (3, 3, 1.0)],
)
def test_mcnemar_p_value_is_the_binomial_tail_by_hand(
    wins: int, losses: int, p_value: float
) -> None:
    ours = [True] * wins + [False] * losses + [True] * 4 + [False] * 3
    reference = [False] * wins + [True] * losses + [True] * 4 + [False] * 3

    difference = paired_difference(ours, reference)

    assert (difference.wins, difference.losses) == (wins, losses)
    assert difference.num_items == wins + losses + 7
    assert difference.value == pytest.approx((wins - losses) / (wins + losses + 7))
    assert difference.p_value == pytest.approx(p_value)


@settings(max_examples=40, deadline=None)
@given(paired_flags)
def test_mcnemar_p_value_equals_the_binomial_test_of_scipy(pairs: list[tuple[bool, bool]]) -> None:
    wins, losses = pairs.count((True, False)), pairs.count((False, True))
    expected = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0

    difference = paired_difference([a for a, _ in pairs], [b for _, b in pairs])

    assert difference.p_value == pytest.approx(expected)


def test_difference_interval_is_nearly_the_normal_one_for_many_items() -> None:
    generator = np.random.default_rng(6)
    reference = generator.random(5_000) < 0.70
    ours = np.where(generator.random(5_000) < 0.2, generator.random(5_000) < 0.85, reference)

    difference = paired_difference(ours.tolist(), reference.tolist())

    gains = ours.astype(float) - reference.astype(float)
    margin = 1.96 * gains.std() / math.sqrt(5_000)
    assert difference.value == pytest.approx(gains.mean())
    assert difference.low == pytest.approx(gains.mean() - margin, abs=0.05 * margin)
    assert difference.high == pytest.approx(gains.mean() + margin, abs=0.05 * margin)


def test_difference_interval_equals_a_bootstrap_that_draws_items() -> None:
    gains = np.array([1] * 14 + [-1] * 5 + [0] * 41)
    chosen = np.random.default_rng(8).integers(0, 60, size=(20_000, 60))
    low, high = np.quantile(gains[chosen].mean(axis=1), [0.025, 0.975])

    difference = paired_difference((gains >= 0).tolist(), (gains <= 0).tolist())

    assert difference.low == pytest.approx(low, abs=1.01 / 60)  # one item of the discrete grid
    assert difference.high == pytest.approx(high, abs=1.01 / 60)


def test_swapping_the_sides_turns_the_difference_around() -> None:
    ours, reference = [True, True, True, False], [False, False, True, True]

    there = paired_difference(ours, reference)
    back = paired_difference(reference, ours)

    assert (there.value, there.wins, there.losses) == (0.25, 2, 1)
    assert (back.value, back.wins, back.losses) == (-0.25, 1, 2)
    assert there.p_value == back.p_value


def test_holm_by_hand() -> None:
    # 4 * 0.005, 3 * 0.01, 2 * 0.03, then never below the one before
    adjusted = holm([0.01, 0.04, 0.03, 0.005])

    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_keeps_none_and_does_not_count_it() -> None:
    assert holm([0.01, None, 0.04]) == [pytest.approx(0.02), None, pytest.approx(0.04)]
    assert holm([None, None]) == [None, None]
    assert holm([]) == []


@pytest.mark.parametrize("p_value", [-0.01, 1.01, math.nan])
def test_holm_refuses_what_is_no_probability(p_value: float) -> None:
    with pytest.raises(ValueError, match=r"p-values must be within \[0, 1\]"):
        holm([0.5, p_value])


def test_holm_equals_statsmodels() -> None:
    p_values = np.random.default_rng(0).uniform(size=20).tolist()

    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_the_largest_step_so_far_in_rising_order(p_values: list[float]) -> None:
    rising = sorted(p_values)
    steps = [min(1.0, (len(rising) - rank) * p) for rank, p in enumerate(rising)]
    expected = [max(steps[: rising.index(p) + p_values.count(p)]) for p in p_values]

    assert holm(p_values) == pytest.approx(expected)


@pytest.mark.parametrize(
    "estimate",
    [
        lambda: metrics.accuracy([], []),
        lambda: metrics.exact_match([], []),
        lambda: metrics.macro_f1([], [], labels=LABELS),
        lambda: metrics.expected_calibration_error([], []),
        lambda: metrics.legal_label_mass([]),
        lambda: metrics.mean_with_interval([]),
        lambda: metrics.rate([]),
    ],
)
def test_nothing_to_score_gives_none_and_never_zero(estimate: Callable[[], Estimate]) -> None:
    assert estimate() == Estimate(None, None, None, num_scored=0, num_unscored=0)


def test_a_comparison_without_items_gives_none() -> None:
    difference = paired_difference([], [])

    assert difference.value is None
    assert difference.p_value is None
    assert (difference.low, difference.high) == (None, None)


@pytest.mark.parametrize(
    "figure",
    [
        lambda: metrics.macro_f1(["cold"], ["cold"], labels=LABELS),
        lambda: metrics.expected_calibration_error([1.0], [False]),
        lambda: metrics.legal_label_mass([1.0]),
        lambda: metrics.mean_with_interval([1.0]),
        lambda: paired_difference([True], [False]),
    ],
)
def test_one_item_has_a_value_but_no_resampled_interval(figure: Callable[[], Estimate]) -> None:
    result = figure()

    assert (result.value, result.low, result.high) == (1.0, None, None)


@pytest.mark.parametrize(
    "call",
    [
        lambda: metrics.accuracy(["a"], []),
        lambda: metrics.exact_match(["a"], []),
        lambda: metrics.macro_f1(["a"], [], labels=["a"]),
        lambda: metrics.confusion_matrix(["a"], [], labels=["a"]),
        lambda: metrics.expected_calibration_error([0.5], []),
        lambda: paired_difference([True], []),
    ],
)
def test_sequences_of_different_length_are_refused(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="one entry per item on both sides is needed, got 1 and 0"):
        call()


@settings(max_examples=40, deadline=None)
@given(answered_items, st.randoms(use_true_random=False))
def test_label_metrics_hold_their_value_and_ignore_the_order(
    items: list[tuple[str | None, str]], random: Random
) -> None:
    shuffled = items.copy()
    random.shuffle(shuffled)

    for metric in (
        metrics.accuracy,
        metrics.exact_match,
        lambda answers, targets: metrics.macro_f1(answers, targets, labels=LABELS),
    ):
        estimate = metric(*map(list, zip(*items, strict=True)))
        assert is_covered(estimate.value, estimate)
        assert estimate.num_scored + estimate.num_unscored == len(items)
        assert metric(*map(list, zip(*shuffled, strict=True))) == estimate


@settings(max_examples=40, deadline=None)
@given(scored_confidences, st.randoms(use_true_random=False))
def test_probability_metrics_hold_their_value_and_ignore_the_order(
    items: list[tuple[float, bool]], random: Random
) -> None:
    shuffled = items.copy()
    random.shuffle(shuffled)

    for metric in (
        metrics.expected_calibration_error,
        lambda confidences, _: metrics.legal_label_mass(confidences),
        lambda confidences, _: metrics.mean_with_interval(confidences),
    ):
        estimate = metric(*map(list, zip(*items, strict=True)))
        assert is_covered(estimate.value, estimate)
        assert metric(*map(list, zip(*shuffled, strict=True))) == estimate


@settings(max_examples=40, deadline=None)
@given(paired_flags, st.randoms(use_true_random=False))
def test_paired_difference_holds_its_value_and_ignores_the_order(
    pairs: list[tuple[bool, bool]], random: Random
) -> None:
    shuffled = pairs.copy()
    random.shuffle(shuffled)

    difference = paired_difference(*map(list, zip(*pairs, strict=True)))

    assert is_covered(difference.value, difference)
    assert paired_difference(*map(list, zip(*shuffled, strict=True))) == difference


def test_one_seed_gives_one_interval_and_another_seed_another() -> None:
    answers, targets = random_items(60, seed=9)

    first = metrics.macro_f1(answers, targets, labels=LABELS, seed=1)

    assert metrics.macro_f1(answers, targets, labels=LABELS, seed=1) == first
    assert metrics.macro_f1(answers, targets, labels=LABELS, seed=2) != first


def test_a_ratio_of_equal_counts_is_the_mean_with_its_interval() -> None:
    values = [0.4, 1.9, 2.2, 3.1, 0.8]

    found = metrics.ratio([10 * value for value in values], [10] * 5)

    expected = metrics.mean_with_interval(values)
    assert (found.value, found.low, found.high) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )


def test_a_ratio_weighs_items_by_their_counts_and_ignores_their_order() -> None:
    totals, counts = [6.0, 1.0, 4.0], [2, 1, 5]

    found = metrics.ratio(totals, counts)

    assert found.value == 11 / 8
    assert metrics.ratio(totals[::-1], counts[::-1]) == found
    assert metrics.ratio([], []) == metrics.NOTHING_SCORED
    assert metrics.ratio([6.0], [2]) == metrics.Estimate(3.0, None, None, 1, 0)


def test_the_interval_of_a_ratio_covers_what_it_says() -> None:
    generator = np.random.default_rng(4)
    covered = 0
    for _ in range(400):
        counts = generator.integers(20, 129, 40)
        totals = counts * generator.normal(3.0, 0.4, 40)
        covered += is_covered(3.0, metrics.ratio(totals, counts))

    assert 0.92 <= covered / 400 <= 0.98


@pytest.mark.parametrize("arguments", [([1.0], [0]), ([np.inf], [1]), ([1.0, 2.0], [1])])
def test_a_ratio_of_what_cannot_be_divided_is_refused(
    arguments: tuple[list[float], list[int]],
) -> None:
    with pytest.raises(ValueError, match=r"finite and counts|one entry per item"):
        metrics.ratio(*arguments)
