"""Differences against scipy and hand counts, pairing of seeds, refusals with their messages."""

import math
from dataclasses import replace
from random import Random

import pytest
from scipy import stats

from specs import BASE, TASK, TEMPLATE
from workbench.analysis.comparison import compare_runs
from workbench.errors import ConfigError, StoreError

RIGHT, WRONG = "a", "b"


def answers_of(flags):
    return [RIGHT if flag else WRONG for flag in flags]


@pytest.fixture
def make_row(make_run, predict):
    """Return a run with these items right; every target is "a"."""

    def make(row, flags, **options):
        flags = list(flags)
        return make_run(row, predict(answers_of(flags), [RIGHT] * len(flags)), **options)

    return make


def row_named(comparison, name, seed=0):
    return next(row for row in comparison.rows if (row.row, row.seed) == (name, seed))


def exact_mcnemar(wins, losses):
    return stats.binomtest(wins, wins + losses, 0.5).pvalue


def test_difference_counts_wins_and_losses_on_the_same_items(make_row):
    reference = [True] * 10 + [False] * 10
    ours = [True] * 7 + [False] * 3 + [True] * 9 + [False]
    comparison = compare_runs(
        [make_row("zero_shot", reference), make_row("lora", ours)], reference="zero_shot"
    )
    found = row_named(comparison, "lora").difference
    assert found is not None
    assert (found.against, found.num_items, found.wins, found.losses) == ("zero_shot", 20, 9, 3)
    assert found.value == pytest.approx(6 / 20)
    assert found.p_value == pytest.approx(exact_mcnemar(9, 3))
    # Standard error of a paired difference by hand; the bootstrap's interval must agree with it.
    margin = 1.96 * math.sqrt((9 + 3 - (9 - 3) ** 2 / 20) / 20**2)
    assert found.low == pytest.approx(0.3 - margin, abs=0.06)
    assert found.high == pytest.approx(0.3 + margin, abs=0.06)
    assert row_named(comparison, "zero_shot").difference is None


def test_items_are_paired_by_id_and_not_by_position(make_run, predict):
    names = [f"n{number}" for number in range(12)]
    answers = answers_of([number % 3 == 0 for number in range(12)])
    shuffled = Random(0).sample(range(12), 12)
    first = make_run("zero_shot", predict(answers, [RIGHT] * 12, ids=names))
    second = make_run(
        "few_shot",
        predict([answers[i] for i in shuffled], [RIGHT] * 12, ids=[names[i] for i in shuffled]),
    )
    found = row_named(compare_runs([first, second], reference="zero_shot"), "few_shot").difference
    assert (found.wins, found.losses, found.value, found.p_value) == (0, 0, 0.0, 1.0)


def test_holm_covers_every_compared_row_of_the_table(make_row):
    reference = [False] * 30
    wins = {"few_shot": 6, "prompt_tuning": 9, "lora": 12}
    runs = [make_row("zero_shot", reference)]
    runs += [make_row(name, [True] * w + [False] * (30 - w)) for name, w in wins.items()]
    comparison = compare_runs(runs, reference="zero_shot")
    p_values = {name: exact_mcnemar(w, 0) for name, w in wins.items()}
    expected, highest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=p_values.get)):  # Holm 1979, step down
        highest = max(highest, min(1.0, (3 - rank) * p_values[name]))
        expected[name] = highest
    for name, value in expected.items():
        difference = row_named(comparison, name).difference
        assert difference.p_value == pytest.approx(p_values[name])
        assert difference.p_value_holm == pytest.approx(value)


def test_each_seed_is_paired_with_the_reference_of_its_seed(make_row):
    by_seed = {0: [True] * 4 + [False] * 4, 1: [False] * 4 + [True] * 4}
    runs = [make_row("zero_shot", flags, seed=seed) for seed, flags in by_seed.items()]
    runs += [make_row("lora", by_seed[seed], seed=seed) for seed in (0, 1)]
    comparison = compare_runs(runs, reference="zero_shot")
    for seed in (0, 1):  # the same answers as the reference of the same seed: nothing won or lost
        found = row_named(comparison, "lora", seed).difference
        assert (found.wins, found.losses) == (0, 0)


def test_a_reference_with_one_run_serves_every_seed(make_row):
    runs = [make_row("majority_class", [True, False, False, False])]
    runs += [make_row("lora", [True, True, True, False], seed=seed) for seed in (3, 4)]
    comparison = compare_runs(runs, reference="majority_class")
    assert [row_named(comparison, "lora", seed).difference.wins for seed in (3, 4)] == [2, 2]


def test_a_seed_without_counterpart_has_no_difference_and_says_so(make_row):
    flags = [True, False]
    runs = [make_row("zero_shot", flags, seed=seed) for seed in (0, 1)]
    runs.append(make_row("lora", flags, seed=7))
    comparison = compare_runs(runs, reference="zero_shot")
    assert row_named(comparison, "lora", 7).difference is None
    assert (
        "lora: the reference zero_shot has no run with this seed, so there is no paired difference."
        in comparison.warnings
    )


def test_seed_spread_is_the_t_interval(make_row):
    shares = [10, 12, 17]
    runs = [
        make_row("lora", [True] * share + [False] * (20 - share), seed=seed)
        for seed, share in enumerate(shares)
    ]
    (spread,) = compare_runs(runs, reference="lora").seeds
    values = [share / 20 for share in shares]
    low, high = stats.t.interval(0.95, 2, loc=sum(values) / 3, scale=stats.sem(values))
    assert (spread.row, spread.num_seeds, spread.metric) == ("lora", 3, "accuracy")
    assert (spread.mean, spread.low, spread.high) == pytest.approx((13 / 20, low, high))
    assert (spread.minimum, spread.maximum) == (0.5, 0.85)


def test_one_run_per_row_has_no_seed_spread(make_row):
    assert compare_runs([make_row("lora", [True])], reference="lora").seeds == ()


def test_short_answers_are_compared_after_normalising(make_run, predict):
    task = {"kind": "short_answer"}
    targets = ["18", "1234.5", "Paris"]
    zero = make_run("zero_shot", predict(["19", "1", "Rome"], targets), task=task)
    other = make_run("lora", predict(["$18.00", "1,234.50", "paris."], targets), task=task)
    comparison = compare_runs([zero, other], reference="zero_shot")
    assert not comparison.has_labels
    found = row_named(comparison, "lora").difference
    assert (found.value, found.wins, found.losses) == (1.0, 3, 0)


def test_labels_are_compared_as_they_are(make_run, predict):
    runs = [
        make_run("zero_shot", predict(["A", "a"], ["a", "a"])),
        make_run("lora", predict(["a", "a"], ["a", "a"])),
    ]
    assert row_named(compare_runs(runs, reference="zero_shot"), "lora").difference.wins == 1


def test_disagreements_leave_out_baselines_and_put_split_items_first(make_run, predict):
    targets = ["a", "a", "a", "b"]
    runs = [
        make_run("majority_class", predict(["c"] * 4, targets)),
        make_run("zero_shot", predict(["a", "b", "b", "b"], targets)),
        make_run("lora", predict(["a", "c", "a", "b"], targets)),
        make_run("lora", predict(["b", "b", "b", "a"], targets), seed=1),
    ]
    found = compare_runs(runs, reference="zero_shot").disagreements
    assert [(d.sample_id, d.target, d.answers) for d in found] == [
        ("item-2", "a", {"zero_shot": "b", "lora": "a"}),
        ("item-1", "a", {"zero_shot": "b", "lora": "c"}),
    ]


def test_base_task_and_template_are_described(make_row):
    comparison = compare_runs([make_row("zero_shot", [True, False])], reference="zero_shot")
    assert comparison.base.model_dump() == BASE
    assert comparison.source == "local folder"
    assert comparison.task.model_dump() == TASK | {"num_test": 2}
    assert comparison.dropped == {"train: same text as a test row": 2}
    assert comparison.template.model_dump() == TEMPLATE


def test_what_may_not_be_as_meant_in_the_data_is_said_once_and_first(make_row):
    warning = "Labels that look like one\ncount as classes of their own."
    runs = [make_row(name, [True, False], warnings=(warning,)) for name in ("zero_shot", "lora")]

    warnings = compare_runs(runs, reference="zero_shot").warnings

    said = "Labels that look like one count as classes of their own."
    assert [text for text in warnings if "Labels" in text] == [said] == [warnings[0]]


def test_unknown_reference_names_the_rows(make_row):
    runs = [make_row("zero_shot", [True]), make_row("lora", [True])]
    with pytest.raises(ConfigError) as caught:
        compare_runs(runs, reference="zero_shit")
    assert str(caught.value) == (
        "reference: unknown row 'zero_shit'. Did you mean 'zero_shot'? Known: lora, zero_shot."
    )


def test_no_runs_are_refused():
    with pytest.raises(ConfigError, match="compare: no runs given"):
        compare_runs([], reference="zero_shot")


def test_two_runs_of_a_row_with_one_seed_are_refused(make_row):
    runs = [make_row("lora", [True]), make_row("lora", [True], options={"rank": 4})]
    with pytest.raises(ConfigError) as caught:
        compare_runs(runs, reference="lora")
    assert str(caught.value) == (
        "compare: row 'lora' has 2 runs with seed 0. Give each variant a row name of its own."
    )


def test_unfinished_runs_are_refused(make_row):
    runs = [make_row("zero_shot", [True]), make_row("lora", [True], status="failed")]
    with pytest.raises(StoreError) as caught:
        compare_runs(runs, reference="zero_shot")
    assert str(caught.value) == (
        f"compare: not finished (1): {runs[1].run.record.run_id} (failed). Run the "
        "experiment again; finished runs are found, the others go on."
    )


@pytest.mark.parametrize(
    ("part", "change", "shown"),
    [
        ("base", {"precision": "fp32"}, "precision 'nf4' against 'fp32'"),
        ("task", {"digest": "d2"}, "digest 'd1' against 'd2'"),
        ("template", {"chat": True}, "chat False against True"),
    ],
)
def test_a_table_is_one_base_task_and_template(make_row, part, change, shown):
    runs = [make_row("zero_shot", [True]), make_row("lora", [True], **{part: change})]
    with pytest.raises(StoreError) as caught:
        compare_runs(runs, reference="zero_shot")
    first, second = (compared.run.record.run_id for compared in runs)
    assert str(caught.value) == (
        f"compare: runs {first} and {second} differ in their {part}: {shown}. A comparison is one "
        "base, one task and one template. Compare them in separate reports."
    )


def test_different_items_are_refused_with_the_first_ids(make_run, predict):
    runs = [
        make_run("zero_shot", predict(["a"] * 6, ["a"] * 6, ids=list("uvwxyz"))),
        make_run("lora", predict(["a"] * 6, ["a"] * 6, ids=list("zABCDE"))),
    ]
    with pytest.raises(StoreError) as caught:
        compare_runs(runs, reference="zero_shot")
    first, second = (compared.run.record.run_id for compared in runs)
    assert str(caught.value) == (
        f"compare: runs {first} and {second} answered different items; only in {first}: u, v, w "
        f"and 2 more; only in {second}: A, B, C and 2 more. Differences are paired on the same "
        "items. Delete the older run and run the experiment again."
    )


def test_different_targets_are_refused(make_run, predict):
    runs = [
        make_run("zero_shot", predict(["a", "a"], ["a", "b"])),
        make_run("lora", predict(["a", "a"], ["a", "a"])),
    ]
    with pytest.raises(StoreError, match=r"different targets for 1 items \(item-1\)"):
        compare_runs(runs, reference="zero_shot")


def test_an_item_answered_twice_is_refused(make_run, predict):
    run = make_run("lora", predict(["a", "a"], ["a", "a"], ids=["x", "x"]))
    with pytest.raises(StoreError, match=r"1 items appear twice in predictions.jsonl \(first: x\)"):
        compare_runs([run], reference="lora")


@pytest.mark.parametrize("content", ["{", '{"sample_id": "x"}', None])
def test_unreadable_predictions_are_refused(make_row, content):
    compared = make_row("lora", [True])
    path = compared.run.folder / "predictions.jsonl"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(StoreError, match=r"predictions.jsonl is damaged: it is not what was"):
        compare_runs([compared], reference="lora")
    older = replace(compared, run=replace(compared.run, files={}))  # whose record has no digests
    with pytest.raises(StoreError, match=r"predictions.jsonl cannot be read"):
        compare_runs([older], reference="lora")


def test_unreadable_history_is_refused(make_row):
    compared = make_row("lora", [True])
    (compared.run.folder / "history.jsonl").write_text('{"step": 1')
    with pytest.raises(StoreError, match=r"history.jsonl cannot be read"):
        compare_runs([compared], reference="lora")
