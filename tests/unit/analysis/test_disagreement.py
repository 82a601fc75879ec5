"""Each mode against its definition, the counts of paired differences, and the CSV."""

import csv
import io
from random import Random

import pytest

from workbench import metrics
from workbench.analysis.comparison import compare_runs
from workbench.analysis.disagreement import BrowseMode, browse, disagreement_csv, mode_counts
from workbench.errors import ConfigError

NUM_ITEMS = 40
TARGETS = ["a", "b"] * (NUM_ITEMS // 2)


def guesses(seed):
    return Random(seed).choices(["a", "b", None], weights=[5, 5, 1], k=NUM_ITEMS)


@pytest.fixture
def table(make_run, predict):
    """Return three rows of guesses and a baseline that is always wrong."""
    wrong = ["b" if target == "a" else "a" for target in TARGETS]

    def run_of(row, answers, *, seed=0, **columns):
        measured = {"accuracy": metrics.accuracy(answers, TARGETS)}  # others are not looked at
        return make_run(row, predict(answers, TARGETS, **columns), seed=seed, metrics=measured)

    runs = [run_of("majority_class", wrong)]
    runs += [
        run_of(row, guesses(number), probabilities={"a": 0.75, "b": 0.25})
        for number, row in enumerate(("zero_shot", "few_shot", "lora"))
    ]
    runs.append(run_of("lora", guesses(9), seed=1))
    return compare_runs(runs, reference="zero_shot")


def ids(items):
    return [item.sample_id for item in items]


def expected_ids(condition):
    """Return the ids whose answers of the three rows and target meet a condition."""
    rows = list(zip(guesses(0), guesses(1), guesses(2), strict=True))
    return [
        f"item-{place}"
        for place, (answers, target) in enumerate(zip(rows, TARGETS, strict=True))
        if condition(answers, target)
    ]


@pytest.mark.parametrize(
    ("mode", "condition"),
    [
        (BrowseMode.ALL, lambda answers, target: True),
        (BrowseMode.DISAGREE, lambda answers, target: len(set(answers)) > 1),
        (BrowseMode.WRONG_IN_ANY, lambda answers, target: any(a != target for a in answers)),
        (BrowseMode.WRONG_IN_ALL, lambda answers, target: all(a != target for a in answers)),
        (BrowseMode.NO_ANSWER, lambda answers, target: None in answers),
    ],
)
def test_modes_of_all_rows_that_use_the_base(table, mode, condition):
    assert ids(browse(table, mode)) == expected_ids(condition)


def test_fixed_and_broken_are_the_wins_and_losses_of_the_paired_difference(table):
    for row in ("few_shot", "majority_class"):
        difference = table.first_seed(row)[0].difference
        assert len(browse(table, BrowseMode.FIXED_BY, row=row)) == difference.wins
        assert len(browse(table, BrowseMode.BROKEN_BY, row=row)) == difference.losses


def test_fixed_by_one_row_is_broken_by_the_other(table):
    fixed = browse(table, BrowseMode.FIXED_BY, row="lora", against="few_shot")
    broken = browse(table, BrowseMode.BROKEN_BY, row="few_shot", against="lora")
    assert fixed == broken
    assert ids(fixed) == expected_ids(lambda a, target: a[2] == target != a[1])


def test_no_row_fixes_itself(table):
    assert browse(table, BrowseMode.FIXED_BY, row="lora", against="lora") == []


def test_rows_disagree_where_the_report_says_so(table):
    reported = {found.sample_id for found in table.disagreements}
    assert set(ids(browse(table, BrowseMode.DISAGREE))) == reported


def test_counts_are_the_lengths(table):
    counts = mode_counts(table, row="lora", against="few_shot")
    assert list(counts) == list(BrowseMode)
    for mode, count in counts.items():
        assert count == len(browse(table, mode, row="lora", against="few_shot"))
    without_row = mode_counts(table)
    assert set(BrowseMode) - set(without_row) == {mode for mode in BrowseMode if mode.needs_row}


def test_an_item_holds_every_rows_first_answer(table):
    text_of = {"item-3": {"text": "the text"}}
    item = browse(table, BrowseMode.ALL, text_of=text_of)[3]
    assert (item.target, dict(item.fields)) == ("b", {"text": "the text"})
    assert list(item.answers) == ["majority_class", "zero_shot", "few_shot", "lora"]
    for number, row in enumerate(("zero_shot", "few_shot", "lora")):
        answer = item.answers[row]
        assert answer.answer == guesses(number)[3]
        assert answer.is_correct == (guesses(number)[3] == "b")
        assert answer.confidence == 0.75
    assert item.answers["majority_class"].confidence is None


def test_items_without_a_text_are_shown_too(table):
    assert all(item.fields == {} for item in browse(table, BrowseMode.ALL))


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("ITEM-7", ["item-7"]),
        ("straße\n und", ["item-5"]),
        ("STRASSE UND", ["item-5"]),
        ("nowhere", []),
    ],
)
def test_search_looks_everywhere_in_any_case(table, search, found):
    text_of = {"item-5": {"premise": "x", "hypothesis": "Die  Straße und"}}
    assert ids(browse(table, BrowseMode.ALL, text_of=text_of, search=search)) == found


def test_search_finds_answers_and_targets(make_run, predict):
    runs = [
        make_run("lora", predict(["Paris", None], ["Rome", "Oslo"]), task={"kind": "short_answer"})
    ]
    table = compare_runs(runs, reference="lora")
    assert ids(browse(table, BrowseMode.ALL, search="paris")) == ["item-0"]
    assert ids(browse(table, BrowseMode.ALL, search="oslo")) == ["item-1"]
    assert len(browse(table, BrowseMode.ALL, search="  ")) == 2


def test_short_answers_that_count_as_one_do_not_disagree(make_run, predict):
    task = {"kind": "short_answer"}
    runs = [
        make_run("zero_shot", predict(["18", "7"], ["18", "7"], ids=["x", "y"]), task=task),
        make_run("lora", predict(["$18.00", "8"], ["18", "7"], ids=["x", "y"]), task=task),
    ]
    table = compare_runs(runs, reference="zero_shot")
    assert ids(browse(table, BrowseMode.DISAGREE)) == ["y"]


def test_an_answer_with_words_after_it_agrees_and_is_right(make_run, predict):
    task = {"kind": "short_answer"}
    targets = {"targets": ["Yes", "a, b"], "ids": ["x", "y"]}
    runs = [
        make_run("zero_shot", predict(["Yes, it is", "a, b"], **targets), task=task),
        make_run("lora", predict(["yes", "a, c"], **targets), task=task),
        make_run("few_shot", predict(["Yes (really)", "a, b"], **targets), task=task),
    ]
    table = compare_runs(runs, reference="zero_shot")
    assert ids(browse(table, BrowseMode.DISAGREE)) == ["y"]
    assert ids(browse(table, BrowseMode.WRONG_IN_ANY)) == ["y"]


def test_baselines_alone_are_judged_themselves(make_run, predict):
    run = make_run("majority_class", predict(["a", "b"], ["a", "a"]))
    table = compare_runs([run], reference="majority_class")
    assert mode_counts(table)[BrowseMode.WRONG_IN_ANY] == 1


def test_a_mode_that_needs_a_row_says_so(table):
    with pytest.raises(ConfigError) as caught:
        browse(table, BrowseMode.FIXED_BY)
    assert str(caught.value) == ("browse: 'Fixed by the row' needs a row. Choose one of the table.")


@pytest.mark.parametrize("rows", [{"row": "loar"}, {"row": "lora", "against": "loar"}])
def test_unknown_rows_are_refused(table, rows):
    with pytest.raises(ConfigError, match=r"browse: unknown row 'loar'. Did you mean 'lora'\?"):
        browse(table, BrowseMode.BROKEN_BY, **rows)


def test_every_mode_has_a_label():
    labels = [mode.label for mode in BrowseMode]
    assert len(set(labels)) == len(BrowseMode)


def test_csv_has_every_item_and_is_correct_adds_up(table):
    text_of = {f"item-{place}": {"text": f"=text {place}"} for place in range(NUM_ITEMS)}
    items = browse(table, BrowseMode.ALL, text_of=text_of)

    lines = list(csv.DictReader(io.StringIO(disagreement_csv(items), newline="")))

    assert [line["item"] for line in lines] == ids(items)
    assert lines[0]["text"] == "'=text 0"  # neutralised
    for row in ("zero_shot", "lora"):
        right = sum(int(line[f"{row}: is correct"]) for line in lines)
        assert right / NUM_ITEMS == table.first_seed(row)[0].accuracy.value
        assert [line[f"{row}: answer"] or None for line in lines] == [
            item.answers[row].answer for item in items
        ]
    assert lines[0]["lora: confidence"] == "0.75"
    assert lines[0]["majority_class: confidence"] == ""


def test_csv_of_nothing_is_a_header():
    assert disagreement_csv([]) == "item,target\n"
