"""Stored runs across bases: what belongs together, what a line is called, and what is held up."""

from dataclasses import replace

import pytest

from workbench.analysis.curves.stored_bases import (
    MOST_RUNS,
    across_bases,
    bases_view,
    row_names,
)
from workbench.differences import paired_difference
from workbench.errors import StoreError

NUM = 40
TARGETS = ["a", "b"] * (NUM // 2)
SMALL = {"name": "smollm2-135m-instruct", "identity": "sha256:small"}
LARGE = {"name": "gemma-3-270m", "identity": "sha256:large"}
TRAINED = {"trained_parameters": 100}
MOST = {"trained_parameters": 10_000}


def right(num: int) -> list[str]:
    """Return answers of which the first `num` are right."""
    other = {"a": "b", "b": "a"}
    return [t if place < num else other[t] for place, t in enumerate(TARGETS)]


@pytest.fixture
def made(make_run, predict):
    """Return a maker of runs on a base: so many of 40 items right."""
    count = iter(range(1000))

    def make(row, base, num, **more):
        started = f"2026-01-01T00:{next(count):02d}"
        return make_run(row, predict(right(num), TARGETS), base=base, started=started, **more).run

    return make


def two_bases(made):
    return [
        made("majority_class", SMALL, 20),
        made("zero_shot", SMALL, 22),
        made("prompt_tuning", SMALL, 30, cost=TRAINED),
        made("full_fine_tuning", SMALL, 36, cost=MOST),
        made("majority_class", LARGE, 20),
        made("zero_shot", LARGE, 20),
        made("prompt_tuning", LARGE, 37, cost=TRAINED),
        made("full_fine_tuning", LARGE, 38, cost=MOST),
    ]


def test_runs_of_one_task_and_wording_in_one_precision_belong_together(made):
    runs = two_bases(made)

    (found,) = across_bases(runs)

    assert found.runs == tuple(runs)
    assert found.title == "toy_task (20 train, 40 test), plain, nf4: 2 bases"


@pytest.mark.parametrize(
    "other",
    [
        {"base": LARGE | {"precision": "bf16"}},
        {"base": LARGE | {"compute_dtype": "bfloat16"}},
        {"base": LARGE, "task": {"digest": "d2"}},
        {"base": LARGE, "template": {"digest": "t2"}},
        {"base": LARGE, "template": {"chat": True}},
        {"base": LARGE, "status": "trained"},
        {"base": SMALL | {"name": "another spelling"}},
    ],
)
def test_what_differs_in_more_than_the_base_does_not(made, other):
    assert across_bases([made("zero_shot", SMALL, 22), made("zero_shot", num=30, **other)]) == []


def test_runs_under_other_rules_of_counting_do_not(made):
    older, newer = made("zero_shot", SMALL, 22), made("zero_shot", LARGE, 30)
    older = replace(older, spec=older.spec.model_copy(update={"schema_version": 3}))

    assert across_bases([older, newer]) == []


def test_rows_that_do_not_use_the_base_make_no_second_base(made):
    assert across_bases([made("zero_shot", SMALL, 22), made("majority_class", LARGE, 20)]) == []


def test_what_was_made_last_comes_first(made):
    older = two_bases(made)
    newer = [made("zero_shot", base, 9, template={"digest": "t2"}) for base in (SMALL, LARGE)]

    assert [one.runs[-1] for one in across_bases(older + newer)] == [newer[-1], older[-1]]


def test_differences_are_within_a_base_and_between_bases_for_one_row(made):
    view = bases_view(across_bases(two_bases(made))[0])

    assert view.curves.places == (134.5, 268.1)  # of the catalog
    assert [one.base for one in view.bases] == [
        "smollm2-135m-instruct, 134.5 million parameters",
        "gemma-3-270m, 268.1 million parameters",
    ]
    assert view.curves.gap_to == "full_fine_tuning"
    small, large = ({row.name: row for row in one.rows} for one in view.bases)
    assert list(small) == ["zero_shot", "prompt_tuning", "full_fine_tuning"]
    for rows, ours, theirs in ((small, 30, 36), (large, 37, 38)):
        gap = paired_difference(*([a == t for a, t in zip(right(n), TARGETS, strict=True)]
                                  for n in (ours, theirs)))  # fmt: skip
        found = rows["prompt_tuning"].gap
        assert (found.value, found.low, found.high) == (gap.value, gap.low, gap.high)
        assert rows["full_fine_tuning"].gap.value is None
    assert large["prompt_tuning"].step.value == pytest.approx(7 / NUM)
    assert small["prompt_tuning"].step.value is None


def test_another_row_can_be_held_against(made):
    view = bases_view(across_bases(two_bases(made))[0], against="zero_shot")

    assert view.curves.gap_to == "zero_shot"
    assert view.bases[0].rows[1].gap.value == pytest.approx(8 / NUM)


def test_a_run_knows_how_large_its_base_is(made):
    here = {"environment": {"base_parameters": 5_000_000}}
    there = {"environment": {"base_parameters": 3_000_000}}
    runs = [
        made("zero_shot", {"name": "/x/mine", "identity": "sha256:1"}, 20, **here),
        made("zero_shot", {"name": "/y/other", "identity": "sha256:2"}, 22, **there),
    ]

    view = bases_view(across_bases(runs)[0])

    assert view.curves.places == (3.0, 5.0)
    assert [one.base.partition(",")[0] for one in view.bases] == ["other", "mine"]


def test_where_a_size_is_not_known_bases_stand_at_names_that_differ(made):
    runs = [
        made("zero_shot", {"name": f"/{part}/mine", "identity": f"sha256:{part}"}, 20)
        for part in "xy"
    ]

    view = bases_view(across_bases(runs)[0])

    assert view.curves.places == ("mine x", "mine y")


def test_other_options_are_another_line_named_by_what_differs(made):
    runs = [made("lora", base, 30, options={"steps": steps, "rank": 8}, cost=TRAINED)
            for base in (SMALL, LARGE) for steps in (60, 90)]  # fmt: skip

    assert list(row_names(runs).values()) == ["lora (steps 60)", "lora (steps 90)"] * 2


def test_a_rate_found_for_each_base_is_no_other_line(made):
    runs = [made("lora", base, 30, options={"steps": 60, "learning_rate": rate}, cost=TRAINED)
            for base, rate in ((SMALL, 0.001), (LARGE, 0.0003))]  # fmt: skip
    more = made("lora", LARGE, 30, options={"steps": 60, "learning_rate": 0.01}, cost=TRAINED)

    assert set(row_names(runs).values()) == {"lora"}
    assert list(row_names([*runs, more]).values()) == [
        "lora (learning_rate 0.001)", "lora (learning_rate 0.0003)", "lora (learning_rate 0.01)",
    ]  # fmt: skip


def test_a_run_that_cannot_be_read_is_named_and_costs_no_other(made):
    runs = two_bases(made)
    (runs[2].folder / "predictions.jsonl").write_text("torn")

    view = bases_view(across_bases(runs)[0])

    (sentence,) = view.left_out
    assert runs[2].record.run_id in sentence
    assert "prompt_tuning" not in [row.name for row in view.bases[0].rows]
    assert "prompt_tuning" in [row.name for row in view.bases[1].rows]


def test_where_none_can_be_read_it_is_one_error(made):
    runs = [made("zero_shot", base, 20) for base in (SMALL, LARGE)]
    for run in runs:
        (run.folder / "predictions.jsonl").write_text("torn")

    with pytest.raises(StoreError, match="none of these runs can be read"):
        bases_view(across_bases(runs)[0])


def test_no_more_runs_are_read_than_a_page_can_bear(made):
    runs = [made("zero_shot", SMALL, 20, seed=seed) for seed in range(MOST_RUNS // 2 + 1)]
    runs += [made("zero_shot", LARGE, 20, seed=seed) for seed in range(MOST_RUNS // 2 + 1)]

    view = bases_view(across_bases(runs)[0])

    assert view.left_out == (f"Only the newest {MOST_RUNS} of {MOST_RUNS + 2} runs are shown.",)
    assert sum(row.num_seeds for one in view.bases for row in one.rows) == MOST_RUNS
