"""Confusion matrices of any row, and why there is none."""

from collections import Counter

import pytest

from workbench.analysis.comparison import compare_runs
from workbench.analysis.confusion import MOST_LABELS, confusion_of
from workbench.errors import ConfigError

TARGETS = ["a", "a", "a", "b", "b", "c"]
ANSWERS = ["a", "b", None, "b", "b", "a"]


@pytest.fixture
def table(make_run, predict):
    runs = [
        make_run("zero_shot", predict(TARGETS, TARGETS)),
        make_run("lora", predict(TARGETS, TARGETS), seed=1),
        make_run("lora", predict(ANSWERS, TARGETS), seed=0),
    ]
    return compare_runs(runs, reference="zero_shot")


def test_cells_count_the_pairs_of_the_first_seed(table):
    found = confusion_of(table, "lora").table

    counts = Counter(zip(TARGETS, ANSWERS, strict=True))
    assert found.title == "lora, seed 0"
    assert found.columns == ("a", "b", "c", "no answer")
    for target, cells in found.rows:
        assert [cell.count for cell in cells] == [
            counts[target, answer] for answer in ("a", "b", "c", None)
        ]
        assert sum(cell.share for cell in cells) == pytest.approx(1.0)
        assert [cell.is_correct for cell in cells] == [target == name for name in found.columns]


def test_the_diagonal_is_the_accuracy(table):
    for name in ("zero_shot", "lora"):
        row, _ = table.first_seed(name)
        cells = [cell for _, cells in confusion_of(table, name).table.rows for cell in cells]
        right = sum(cell.count for cell in cells if cell.is_correct)
        assert right / sum(cell.count for cell in cells) == row.accuracy.value


def test_labels_stand_in_the_order_of_the_probabilities(make_run, predict):
    scored = predict(["b", "a"], ["b", "a"], probabilities={"b": 0.5, "a": 0.5})
    table = compare_runs([make_run("lora", scored)], reference="lora")

    assert confusion_of(table, "lora").table.columns == ("b", "a")


@pytest.mark.parametrize(
    ("targets", "kind", "reason"),
    [
        (["18", "7"], "short_answer", "Short answers have no labels that could be confused."),
        (["a", "a"], "classification", "The items have fewer than two labels."),
        (
            [f"label{number}" for number in range(MOST_LABELS + 1)],
            "classification",
            "The task has 13 labels; more than 12 cannot be read.",
        ),
    ],
)
def test_there_is_a_reason_for_no_matrix(make_run, predict, targets, kind, reason):
    run = make_run("lora", predict(targets, targets), task={"kind": kind})

    found = confusion_of(compare_runs([run], reference="lora"), "lora")

    assert (found.table, found.reason) == (None, reason)


def test_an_unknown_row_is_refused(table):
    with pytest.raises(ConfigError) as caught:
        confusion_of(table, "loar")
    assert str(caught.value) == (
        "compare: unknown row 'loar'. Did you mean 'lora'? Known: lora, zero_shot."
    )
