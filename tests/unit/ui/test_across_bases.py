"""Across base models: a visitor's finished runs side by side, within a base unless asked."""

from typing import Any

import pytest

from pages import HOSTILE, Page, Seen, dangers, is_problem, said
from specs import spec_of
from visitors import store_run
from workbench import metrics
from workbench.fitting.prediction import Prediction
from workbench.runs.store import RunRecord, RunStore
from workbench.service.workspace import Workspace
from workbench.ui.across_bases import on_across, on_bases

TARGETS = ["a", "b"] * 10
BASES = ({"name": "smollm2-135m-instruct", "identity": "sha256:1"},
         {"name": "gemma-3-270m", "identity": "sha256:2"})  # fmt: skip


def keep(workspace: Workspace, row: str, base: dict[str, str], num_right: int, **more: Any) -> str:
    """Write a finished run whose first answers are right; return its id."""
    spec = spec_of("zero_shot", base=base, options={"row": row}, **more)
    store, run_id = RunStore(workspace.folder), spec.run_id
    answers = [t if n < num_right else "c" for n, t in enumerate(TARGETS)]
    pairs = zip(TARGETS, answers, strict=True)
    figures = {"accuracy": metrics.accuracy(answers, TARGETS)}
    happened: Any = {"source": "tests", "started": "2026-01-01T00:00:00", "metrics": figures}
    with store.working_on(spec):
        store.write_predictions(run_id, [Prediction(str(n), *pair) for n, pair in enumerate(pairs)])
        store.write_record(RunRecord(run_id=run_id, row=row, status="finished", **happened))
    return run_id


def both(workspace: Workspace, first: str = "first", second: str = "second") -> None:
    for base, nums in zip(BASES, ((8, 12), (10, 19)), strict=True):
        for row, num in zip((first, second), nums, strict=True):
            keep(workspace, row, base, num)


def looked(page: Page, against: object = "", is_between: object = False) -> str:
    """Return what the part shows of what it offers first."""
    token = page.setting["token"]
    offered = on_bases(page.context, token, None)
    return on_across(page.context, token, offered.value, against, is_between)[0]


def test_nothing_is_offered_before_two_bases_have_runs(empty_page):
    store_run(empty_page.workspace.folder)

    assert "No two base models have a finished run" in Seen(looked(empty_page)).text


def test_rows_stand_below_their_base_with_differences_within_it(empty_page):
    both(empty_page.workspace)

    html = looked(empty_page)

    text = Seen(html).text
    assert text.index("smollm2-135m-instruct, 134.5 million") < text.index("gemma-3-270m, 268.1")
    # first: 8 and 10 of 20 right, second: 12 and 19; the first row is the one held against.
    differences = [cell for cell in Seen(html).cells if cell.startswith("+")]
    assert [cell.partition(" [")[0] for cell in differences] == ["+20.0", "+45.0"]
    assert "vs the same row" not in text
    assert html.count("<svg") == 2  # for narrow and wide panels


def test_differences_between_bases_are_shown_where_asked_for(empty_page):
    both(empty_page.workspace)

    html = looked(empty_page, is_between=True)

    assert "vs the same row on smollm2-135m-instruct" in Seen(html).text
    found = [cell.partition(" [")[0] for cell in Seen(html).cells if cell.startswith("+")]
    assert found == ["+20.0", "+10.0", "+45.0", "+35.0"]
    assert "say more about the bases than about the row" in Seen(html).text
    assert "taken on one base alone" not in Seen(html).text


def test_the_heading_names_the_smallest_base_whichever_was_measured_first(empty_page):
    for base, num in zip(reversed(BASES), (10, 8), strict=True):
        keep(empty_page.workspace, "first", base, num)

    assert "row on smollm2-135m-instruct" in Seen(looked(empty_page, is_between=True)).text


def test_another_row_can_be_held_against_and_one_that_is_gone_is_forgotten(empty_page):
    both(empty_page.workspace)
    token = empty_page.setting["token"]
    key = on_bases(empty_page.context, token, None).value

    held, rows = on_across(empty_page.context, token, key, "second", False)
    _, gone = on_across(empty_page.context, token, key, "third", False)

    assert "vs second on the same base" in Seen(held).text
    assert rows.value == "second"
    assert gone.value == ""
    assert [name for _, name in rows.choices] == ["", "first", "second"]


def test_the_figure_is_that_of_the_command(empty_page):
    both(empty_page.workspace)

    text = Seen(looked(empty_page)).text

    assert "Quality over the size of the base" in text
    assert "second against first, points by million parameters: +20.0 [" in text


def test_what_is_chosen_stays_chosen(empty_page):
    both(empty_page.workspace)
    for base in BASES:
        keep(empty_page.workspace, "first", base, 3, template={"digest": "t2"})
    offered = on_bases(empty_page.context, None, None)
    keys = [key for _, key in offered.choices]

    again = [on_bases(empty_page.context, None, key).value for key in keys]

    assert len(keys) == 2
    assert again == keys


@pytest.mark.parametrize("key", ["../x", "0" * 16, ["a"], 3])
def test_what_nobody_offered_is_one_message(key, empty_page):
    both(empty_page.workspace)

    shown = on_across(empty_page.context, None, key, "", False)[0]

    assert is_problem(shown)
    assert "is none of what your runs share" in said(shown)


def test_another_visitors_runs_are_not_there(chunk_page):
    both(chunk_page.workspace)
    key = on_bases(chunk_page.context, chunk_page.setting["token"], None).value

    offered = on_bases(chunk_page.context, "another-another-another", None)
    shown = on_across(chunk_page.context, "another-another-another", key, "", False)[0]

    assert key
    assert offered.choices == []
    assert is_problem(shown)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_names_of_rows_stay_text(text, empty_page):
    both(empty_page.workspace, first=text)

    html = looked(empty_page)

    assert dangers(html) == []
    assert Seen(html).tags.count("table") == 1
