"""Sentences on how many items would settle a difference, and where reports say them."""

from dataclasses import replace

import pytest

from workbench.analysis.comparison import compare_runs
from workbench.analysis.leaderboard import leaderboard
from workbench.analysis.needed_items import (
    PLAN,
    needed_items,
    needed_text,
    noise_notes,
    reach_text,
)
from workbench.analysis.notes import reading_notes
from workbench.analysis.results import RowDifference
from workbench.power import paired_items, smallest_difference

TARGETS = ["a", "b"] * 20
SEEN = RowDifference("zero_shot", 0.03, -0.05, 0.11, 0.5, None, 200, wins=21, losses=15)


def flipped(number):
    return [("b" if t == "a" else "a") if i < number else t for i, t in enumerate(TARGETS)]


def test_the_sentence_has_the_planned_number_rounded_up():
    planned = paired_items(0.03, 0.18)

    text = needed_text(SEEN)

    assert text.startswith("to tell 3.0 points apart at 80 % power, about ")
    said = int(text.split("about ")[1].split(" items")[0].replace(",", ""))
    assert planned <= said <= 1.1 * planned
    assert text.endswith("and there were 200")


def test_sizes_beyond_what_the_two_differed_by_are_left_open():
    found = {one.difference: one.num_items for one in needed_items(SEEN, (0.01, 0.3))}

    assert found == {0.01: paired_items(0.01, 0.18), 0.03: paired_items(0.03, 0.18), 0.3: None}


@pytest.mark.parametrize(
    "found",
    [
        replace(SEEN, value=0.0, wins=9, losses=9),
        replace(SEEN, value=0.0, wins=0, losses=0),
        replace(SEEN, value=None, low=None, high=None, num_items=0, wins=0, losses=0),
    ],
)
def test_nothing_is_said_where_there_is_nothing_to_tell_apart(found):
    assert needed_text(found) == ""


def test_scores_are_planned_from_the_width_of_their_interval():
    scores = replace(SEEN, value=0.02, low=-0.01, high=0.05, wins=90, losses=80)

    # A standard error of 0.0153 on 200 items; 2.8 of them must fit into the difference.
    assert needed_text(scores).split("about ")[1].startswith("920 items")
    assert reach_text(scores) == ""


def test_what_the_items_tell_apart_is_said():
    smallest = 100 * smallest_difference(200, 0.18)

    assert reach_text(SEEN).endswith(
        f"200 items tell differences from {smallest:.1f} points up apart at 80 % power."
    )
    assert "tell no difference apart" in reach_text(replace(SEEN, value=0.01, wins=2, losses=0))


def test_a_report_says_it_of_rows_within_noise_alone(make_run, predict):
    runs = [
        make_run("zero_shot", predict(flipped(20), TARGETS)),
        make_run("few_shot", predict(flipped(18), TARGETS)),
        make_run("lora", predict(flipped(1), TARGETS)),
    ]
    comparison = compare_runs(runs, reference="zero_shot")

    notes = noise_notes(comparison)

    assert notes[0].startswith("few_shot is within noise of zero_shot: to tell 5.0 points apart")
    assert notes[1:] == [PLAN]
    assert list(reading_notes(comparison)[-2:]) == notes


def test_what_several_seeds_tell_apart_is_not_called_noise(make_run, predict):
    """Its first seed alone would be within noise; the row, over its seeds, is not."""
    wrong = {0: 15, 1: 1, 2: 1}
    runs = [make_run("zero_shot", predict(flipped(20), TARGETS))]
    runs += [make_run("lora", predict(flipped(n), TARGETS), seed=seed) for seed, n in wrong.items()]
    comparison = compare_runs(runs, reference="zero_shot")

    (board,) = [row for row in leaderboard(comparison) if row.name == "lora"]
    first = next(row for row in comparison.rows if row.row == "lora")
    assert board.p_value_holm < 0.05 <= first.difference.p_value_holm
    assert noise_notes(comparison) == []


def test_a_seed_is_named_where_there_are_several(make_run, predict):
    runs = [make_run("zero_shot", predict(flipped(20), TARGETS))]
    runs += [make_run("lora", predict(flipped(18), TARGETS), seed=seed) for seed in (0, 1)]

    (note, _) = noise_notes(compare_runs(runs, reference="zero_shot"))

    assert note.startswith("lora, seed 0, is within noise of zero_shot: ")
