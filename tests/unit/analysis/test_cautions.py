"""Each caution appears when it should, in these words, and not otherwise."""

import pytest

from workbench.analysis.comparison import compare_runs

TARGETS = ["a", "b"] * 20
GOOD = [*TARGETS[:38], "b", "a"]  # 38 of 40 right


@pytest.fixture
def warnings_of(make_run, predict):
    """Return the warnings about one row of these predictions."""

    def find(answers, targets=TARGETS, *, others=(), task=None, seed=0, **columns):
        run = make_run("lora", predict(answers, targets, **columns), task=task, seed=seed)
        return list(compare_runs([*others, run], reference="lora").warnings)

    return find


def test_a_sound_run_has_no_warning(warnings_of):
    assert warnings_of(GOOD, label_mass=0.9) == []


def test_constant_answers(warnings_of):
    assert warnings_of(["a"] * 40) == ["lora: answers 'a' to every item."]


def test_constant_answers_to_constant_targets_are_right(warnings_of):
    assert warnings_of(["a"] * 5, ["a"] * 5) == []


def test_low_label_mass(warnings_of):
    assert warnings_of(GOOD, label_mass=0.25) == [
        "lora: the labels together get only 25.0 % of the probability on average; the model "
        "mostly wants to write something else than a label."
    ]


def test_extraction_and_truncation(warnings_of):
    cut = {"is_truncated": True, "strict_answer": None, "lenient_answer": None}
    assert warnings_of(GOOD, **cut) == [
        "lora: an answer can be read from only 0.0 % of the generated texts.",
        "lora: 100.0 % of the generated texts were cut off at the upper bound of their length; a "
        "larger one (max_new_tokens) may change the figures.",
    ]
    loose = {"is_truncated": False, "strict_answer": None, "lenient_answer": "a"}
    assert warnings_of(GOOD, seed=1, **loose) == [
        "lora: only 0.0 % of the generated texts give the answer in the form asked for."
    ]


def test_accuracy_not_above_the_majority_class(warnings_of, make_run, predict):
    majority = make_run("majority_class", predict(["a"] * 40, TARGETS))
    answers = [*TARGETS[:22], *("b" if t == "a" else "a" for t in TARGETS[22:])]
    assert warnings_of(answers, others=[majority]) == [
        "lora: accuracy 55.0 % [39.8, 69.3] is not clearly above always answering with the "
        "majority class (50.0 %)."
    ]
    assert warnings_of(GOOD, others=[majority], seed=1) == []


def test_unscored_items(warnings_of):
    assert warnings_of([None, *GOOD[1:]]) == [
        "lora: 1 of 40 items has no answer and counts as wrong."
    ]
    assert warnings_of([None, None, *GOOD[2:]], seed=1) == [
        "lora: 2 of 40 items have no answer and count as wrong."
    ]


def test_short_answers_may_all_be_equal(warnings_of):
    assert warnings_of(["a"] * 40, task={"kind": "short_answer"}) == []


def test_seeds_with_the_same_caution_share_a_line(make_run, predict):
    constant, sound = predict(["a"] * 40, TARGETS), predict(GOOD, TARGETS)
    runs = [make_run("zero_shot", constant, seed=seed) for seed in (0, 1)]
    runs += [
        make_run("lora", predictions, seed=seed)
        for seed, predictions in enumerate([constant, sound, constant])
    ]
    assert list(compare_runs(runs, reference="lora").warnings) == [
        "zero_shot, every seed: answers 'a' to every item.",
        "lora, seed 0, 2: answers 'a' to every item.",
    ]


def test_different_environments(make_run, predict):
    runs = [
        make_run("lora", predict(GOOD, TARGETS)),
        make_run("few_shot", predict(GOOD, TARGETS), environment={"torch": "2.10", "threads": 2}),
    ]
    assert list(compare_runs(runs, reference="lora").warnings) == [
        "The rows were made in different environments: torch (2.9, 2.10). Times are not "
        "comparable, and accuracies may differ by some points for this reason alone."
    ]


def test_environments_that_differ_in_speed_alone(make_run, predict):
    packed = {"torch": "2.9", "weights_in_memory": "168.4 MB in 4 bits"}
    unpacked = "168.4 MB in 4 bits, 424.7 MB beside them for speed"
    runs = [
        make_run("lora", predict(GOOD, TARGETS), environment=packed),
        make_run(
            "few_shot",
            predict(GOOD, TARGETS),
            environment=packed | {"weights_in_memory": unpacked},
        ),
    ]
    assert list(compare_runs(runs, reference="lora").warnings) == [
        "The rows were made in different environments: weights_in_memory (168.4 MB in 4 bits, "
        f"{unpacked}). Times are not comparable."
    ]


def test_a_dtype_that_a_worker_was_told_is_the_same_environment(make_run, predict):
    runs = [
        make_run(row, predict(GOOD, TARGETS), environment={"products": f"bfloat16: {reason}"})
        for row, reason in {"lora": "asked for", "few_shot": "this processor has it"}.items()
    ]
    assert not [one for one in compare_runs(runs, reference="lora").warnings if "environ" in one]
