"""The tab that measures: what is asked becomes a job, and a finished one can be looked at."""

import csv
import io
import json
import math
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from pages import HOSTILE, Page, Seen, dangers, is_problem, said
from workbench.analysis.disagreement import BrowseMode
from workbench.errors import ConfigError, StoreError
from workbench.presentation.drawing import PICTURE_FORMS as FORMS
from workbench.presentation.quantities import COSTS
from workbench.service import jobs
from workbench.service.comparisons import list_comparisons, open_comparison
from workbench.service.labels import label_job
from workbench.ui.comparison_view import (
    on_cost,
    on_export,
    on_list,
    on_open,
    on_row,
    results_html,
)
from workbench.ui.evaluate import on_evaluate, on_rows
from workbench.ui.item_browser import on_browse
from workbench.ui.raw_values import parse_seeds

WORDS = ["words:zero_shot", "words:few_shot"]


def evaluate(page: Page, **changes: Any) -> list[Any]:
    """Return what the page shows after the click, the last state."""
    asked = {"rows": WORDS, "seeds": "0", "limit_test": ""}
    values = {**asked, **page.setting, **changes}
    return list(on_evaluate(page.context, **values))[-1]


def made(page: Page) -> list[jobs.Job]:
    return jobs.list_jobs(page.workspace)


# Asking


def test_an_evaluation_becomes_a_job_with_its_rows(empty_page):
    evaluate(empty_page, seeds="2, 3", limit_test="5")

    (job,) = made(empty_page)
    assert (job.status.kind, job.status.title) == ("evaluate", "2 rows on messages")
    assert job.experiment.methods == {"zero_shot": {"seeds": [0]}, "few_shot": {"seeds": [2, 3]}}
    assert job.experiment.task.limit_test == 5
    assert job.status.total == 3


def test_a_named_evaluation_is_a_comparison_of_that_name(chunk_page):
    evaluate(chunk_page, rows=["words:zero_shot"], name="monday")

    (job,) = made(chunk_page)
    assert job.status.state == "finished"
    (entry,) = list_comparisons(chunk_page.workspace)
    assert entry.title.startswith("monday · messages: ")
    comparison, _, _ = open_comparison(chunk_page.workspace, entry.key)
    assert "monday" in Seen(results_html(comparison)).text
    label_job(chunk_page.workspace, entry.key, "tuesday", "")
    assert open_comparison(chunk_page.workspace, entry.key)[0].name == "tuesday"
    assert "A name begins with a letter" in said(evaluate(chunk_page, name="a/b")[-1])


def test_a_started_evaluation_is_shown_in_the_panel(empty_page):
    choice, view, *_, trouble = evaluate(empty_page)

    assert choice.value == made(empty_page)[0].status.job_id
    assert "2 rows on messages" in Seen(view).text
    assert trouble == ""


def delete_ended(page, job_id):
    """Delete a job once it has ended: it may have begun meanwhile."""
    for _ in range(1200):
        with suppress(StoreError):
            jobs.delete(page.workspace, job_id)
            return
        time.sleep(0.1)
    pytest.fail(f"{job_id} is still at work")


def test_trained_runs_are_rows_that_keep_their_seed(page):
    before = made(page)
    evaluate(page, rows=[f"run:{page.rows['lora']}"], seeds="5,6")

    (job,) = [
        job for job in made(page) if job.status.job_id not in [b.status.job_id for b in before]
    ]
    delete_ended(page, job.status.job_id)
    assert job.experiment.seeds_of("lora") == (0,)
    assert job.experiment.methods["lora"]["steps"] == 4


BAD = {
    "no rows": ({"rows": []}, "rows: none chosen. Choose at least one."),
    "no list of rows": ({"rows": None}, "rows: none chosen. Choose at least one."),
    "rows as text": ({"rows": "words:zero_shot"}, "is no list of ways"),
    "rows as number": ({"rows": 3}, "is no list of ways"),
    "a list in rows": ({"rows": [["a"]]}, "is no list of ways"),
    "an unknown row": ({"rows": ["words:zero"]}, "unknown way 'zero'"),
    "a path": ({"rows": ["run:../x"]}, "not a name of a run"),
    "seeds as words": ({"seeds": "a,b"}, "seeds: 'a,b'; whole numbers like 0, 1, 2 are needed."),
    "a negative seed": ({"seeds": "-1"}, "seeds: '-1'; whole numbers"),
    "very many seeds": ({"seeds": "1," * 2000}, "seeds: 2001 of them; at most 1000 are read."),
    "half a seed": ({"seeds": "1.5"}, "seeds: '1.5'; whole numbers"),
    "a seed twice": ({"seeds": "1, 1"}, "seeds: 1, 1; one of them is given twice."),
    "an empty seed": ({"seeds": "1,,2"}, "seeds: '1,,2'; whole numbers"),
    "a huge seed": ({"seeds": "9" * 5000}, "whole numbers like 0, 1, 2 are needed."),
    "seeds of another script": ({"seeds": "٣"}, "whole numbers like 0, 1, 2 are needed."),
    "seeds as list": ({"seeds": [1, 2]}, "whole numbers like 0, 1, 2 are needed."),
    "a seed that is no number": ({"seeds": math.nan}, "seeds: 'nan'; whole numbers"),
    "too many seeds": ({"seeds": ",".join(map(str, range(11)))}, "11 seeds; at most 10 here."),
    "no test items": ({"limit_test": "0"}, "most test items: '0'; a number from 1 up is needed."),
    "zero test items": ({"limit_test": 0}, "most test items: '0'; a number from 1 up is needed."),
    "fewer than none": ({"limit_test": "-5"}, "most test items: '-5'; a number from 1 up"),
    "items as words": ({"limit_test": "all"}, "most test items: 'all'; a number from 1 up"),
    "items without end": ({"limit_test": math.inf}, "most test items: 'inf'; a number from 1 up"),
    "items as list": ({"limit_test": [5]}, "most test items: '[5]'; a number from 1 up is needed."),
    "huge items": ({"limit_test": "9" * 5000}, "a number from 1 up is needed."),
    "an unknown task": ({"task": "sst3"}, "unknown task 'sst3'"),
    "a path as wording": ({"wording": "../x"}, "not a name of a wording"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_evaluated_is_one_message_and_no_job(case, empty_page):
    changes, expected = BAD[case]

    shown = evaluate(empty_page, **changes)

    assert is_problem(shown[-1])
    assert expected in said(shown[-1])
    assert len(shown[-1]) < 1000
    assert made(empty_page) == []


@pytest.mark.parametrize(
    ("text", "expected"), [("0", [0]), (" 3 , 1,2 ", [3, 1, 2]), ("", [0]), (None, [0]), (0, [0])]
)
def test_seeds_are_read_in_order(text, expected):
    assert parse_seeds(text) == expected


def test_seeds_that_are_none_are_refused():
    with pytest.raises(ConfigError):
        parse_seeds("one")


# What can be chosen


def test_words_and_trained_runs_are_chosen_the_first_time_but_what_takes_minutes(page):
    rows, offered = on_rows(page.context, [], [], **page.setting)

    slow = ["words:few_shot_nearest", "words:self_consistency"]
    assert set(slow) < set(offered)
    assert rows.value == [key for key in offered if key not in slow]
    assert f"run:{page.rows['lora']}" in rows.value
    again, _ = on_rows(page.context, slow, offered, **page.setting)
    assert again.value == slow


def test_what_was_unchosen_stays_so_and_what_is_new_is_added(page):
    _, offered = on_rows(page.context, [], [], **page.setting)
    new = f"run:{page.rows['lora']}"
    before = [key for key in offered if key != new]

    rows, _ = on_rows(page.context, ["words:few_shot"], before, **page.setting)

    assert rows.value == ["words:few_shot", new]


@pytest.mark.parametrize("changes", [{"task": "../x"}, {"model": 3}])
def test_a_wrong_setting_leaves_the_rows_as_they_are(changes, page):
    assert on_rows(page.context, [], [], **page.values(**changes)) == [gr.skip()] * 2


def opened(page, chosen, job_id, awaited=None):
    """Return the key of the comparison that is open afterwards."""
    shown, _ = on_list(page.context, None, chosen, job_id, awaited)
    return shown.get("value", chosen)


def test_without_a_choice_the_comparison_of_the_shown_job_is_opened(page, hostile_page):
    assert opened(page, None, page.job_id) == page.job_id
    assert opened(page, None, hostile_page.job_id) == hostile_page.job_id


def test_what_an_address_asks_for_stays_when_another_job_is_shown(page, hostile_page):
    shown, awaited = on_list(page.context, None, page.job_id, None, None)
    assert "value" not in shown
    assert awaited is None
    assert opened(page, page.job_id, hostile_page.job_id, awaited) == page.job_id


def test_the_comparison_of_a_job_is_opened_once_it_is_there(page):
    _, awaited = on_list(page.context, None, "older", "running", None)
    assert awaited == "running"

    # Its report appears.
    shown, awaited = on_list(page.context, None, "older", page.job_id, page.job_id)

    assert shown["value"] == page.job_id
    assert awaited is None


def test_a_job_that_is_still_running_changes_nothing(page):
    shown, awaited = on_list(page.context, None, page.job_id, "running", "running")

    assert "value" not in shown
    assert awaited == "running"


def test_else_the_chosen_one_stays_and_else_the_newest_is_taken(page, hostile_page):
    assert opened(page, page.job_id, "gone") == page.job_id
    keys = [key for _, key in on_list(page.context, None, "gone", None, None)[0]["choices"]]
    assert opened(page, "gone", None) == keys[0]


def test_without_a_comparison_none_is_chosen(empty_page):
    shown, _ = on_list(empty_page.context, None, "gone", None, None)

    assert (shown["choices"], shown["value"]) == ([], None)


# Results


def test_without_a_comparison_the_place_says_what_to_do(page):
    view, details, *_ = on_open(page.context, None, None)

    assert Seen(view).text.startswith("No comparison yet.")
    assert details.visible is False


def test_an_opened_comparison_has_a_row_for_each_method_and_baseline(page):
    view, details, *_ = on_open(page.context, None, page.job_id)

    seen = Seen(view)
    assert details.visible
    assert all(name in seen.text for name in (*page.rows, "majority_class"))
    assert seen.tags.count("svg") >= 1
    assert "best" in seen.text


def test_an_opened_comparison_chooses_rows_for_the_parts_below(page):
    _, _, quality, row, chosen, against, mode = on_open(page.context, None, page.job_id)

    names = {"majority_class", "nearest_neighbour_vote", *page.rows}
    assert quality.value == "accuracy"
    assert {name for name, _ in row.choices} <= names
    assert row.value in page.rows
    assert chosen.value in page.rows
    assert against.value == "zero_shot"
    assert len(mode.choices) == len(BrowseMode)


@pytest.mark.parametrize("key", ["missing", "../x", 3, ["x"], {"a": 1}, "x" * 5000])
def test_what_is_no_comparison_is_one_message(key, page):
    view, details, *_ = on_open(page.context, None, key)

    assert is_problem(view)
    assert "not found among yours" in said(view)
    assert details.visible is False


@pytest.mark.parametrize("cost", COSTS)
def test_quality_is_drawn_against_every_cost(cost, page):
    html = on_cost(page.context, None, page.job_id, cost, "accuracy")

    assert not is_problem(html)
    assert "svg" in Seen(html).tags or "nothing to draw" in Seen(html).text


@pytest.mark.parametrize("cost", ["beauty", "", None, 3, ["x"], math.nan])
def test_what_is_no_cost_is_one_message(cost, page):
    html = on_cost(page.context, None, page.job_id, cost, "accuracy")

    assert is_problem(html)
    assert "is none. Choose one from the list." in said(html)


@pytest.mark.parametrize("quality", ["beauty", "", None, 3, ["x"]])
def test_what_is_no_quality_is_one_message(quality, page):
    html = on_cost(page.context, None, page.job_id, "trained_parameters", quality)

    assert is_problem(html)
    assert "on our side" not in said(html)


def test_every_row_has_a_confusion_matrix_of_all_test_items(page):
    comparison, _, _ = open_comparison(page.workspace, page.job_id)

    for name in {row.row for row in comparison.rows}:
        cells = Seen(on_row(page.context, None, page.job_id, name)).cells
        assert sum(map(int, cells)) == comparison.task.num_test


@pytest.mark.parametrize("row", ["missing", "<b>", 3, ["x"]])
def test_what_is_no_row_is_one_message(row, page):
    html = on_row(page.context, None, page.job_id, row)

    assert is_problem(html)
    assert "on our side" not in said(html)


@pytest.mark.parametrize("arguments", [(None, "zero_shot"), ("", "zero_shot"), ("key", None)])
def test_nothing_chosen_shows_nothing(arguments, page):
    assert on_row(page.context, None, *arguments) == ""


# Items


def browse(shown: Page, **changes: Any) -> list[Any]:
    asked = {
        "token": None, "key": shown.job_id, "mode": "all", "row": "lora", "against": "zero_shot",
        "search": "", "page": 1,
    }  # fmt: skip
    return on_browse(shown.context, **asked | changes)


def num_items(html: str) -> int:
    seen = Seen(html)
    return 0 if "No item matches" in seen.text else int(seen.text.split(" items,")[0].split()[-1])


@pytest.mark.parametrize("mode", BrowseMode)
def test_each_mode_shows_as_many_items_as_it_says(mode, page):
    view, modes = browse(page, mode=mode.value)

    told = {value: title for title, value in modes.choices}[mode.value]
    assert told.split(": ")[-1].split(" of ")[0] == str(num_items(view))
    assert modes.value == mode.value


@pytest.mark.parametrize("mode", BrowseMode)
def test_each_mode_shows_the_items_an_independent_count_finds(mode, page):
    predictions = {
        row: page.workspace.run(run_id).predictions() for row, run_id in page.rows.items()
    }
    answers = list(zip(*predictions.values(), strict=True))
    correct = [
        {row: p["answer"] == p["target"] for row, p in zip(predictions, item, strict=True)}
        for item in answers
    ]
    expected = {
        BrowseMode.ALL: len(answers),
        BrowseMode.DISAGREE: sum(len({p["answer"] for p in item}) > 1 for item in answers),
        BrowseMode.WRONG_IN_ANY: sum(not all(item.values()) for item in correct),
        BrowseMode.WRONG_IN_ALL: sum(not any(item.values()) for item in correct),
        BrowseMode.FIXED_BY: sum(item["lora"] and not item["zero_shot"] for item in correct),
        BrowseMode.BROKEN_BY: sum(item["zero_shot"] and not item["lora"] for item in correct),
        BrowseMode.NO_ANSWER: sum(any(p["answer"] is None for p in item) for item in answers),
    }

    assert num_items(browse(page, mode=mode.value)[0]) == expected[mode]


def test_items_show_their_texts_and_every_rows_answer(page):
    seen = Seen(browse(page)[0])

    task = page.context.desk.task(open_comparison(page.workspace, page.job_id)[1].task)
    assert all(sample.fields["text"] in seen.text for sample in task.test)
    assert all(row in seen.text for row in page.rows)


def test_a_search_keeps_what_has_the_text(page):
    task = page.context.desk.task(open_comparison(page.workspace, page.job_id)[1].task)
    sample = task.test[0]

    view, _ = browse(page, search=sample.fields["text"].upper())

    assert num_items(view) == 1
    assert sample.id in Seen(view).text


@pytest.mark.parametrize("search", ["no such text", "x" * 100_000, "<script>", "\0", "%", "(["])
def test_a_search_without_a_result_says_so(search, page):
    view, _ = browse(page, search=search)

    assert "No item matches" in Seen(view).text


@pytest.mark.parametrize("search", [None, 0, [], {}])
def test_no_search_shows_everything(search, page):
    assert num_items(browse(page, search=search)[0]) == num_items(browse(page)[0])


@pytest.mark.parametrize(
    "number", [0, -1, 10**9, 10**400, 1.5, math.nan, math.inf, None, "2", [1], True]
)
def test_a_page_that_is_none_is_the_nearest_one(number, page):
    view, _ = browse(page, page=number)

    assert not is_problem(view)
    assert "page 1 of 1" in Seen(view).text


@pytest.mark.parametrize("mode", ["magic", "", None, 3, ["all"], math.nan])
def test_what_is_no_mode_is_one_message(mode, page):
    view, _ = browse(page, mode=mode)

    assert is_problem(view)
    assert "is none. Choose one from the list." in said(view)


@pytest.mark.parametrize("row", ["missing", 3, ["x"], {"a": 1}])
@pytest.mark.parametrize("part", ["row", "against"])
def test_an_unknown_row_to_browse_is_one_message(part, row, page):
    view, _ = browse(page, mode="fixed_by", **{part: row})

    assert is_problem(view)
    assert "on our side" not in said(view)


@pytest.mark.parametrize("part", ["key", "row", "against"])
def test_nothing_chosen_browses_nothing(part, page):
    assert browse(page, **{part: None}) == ["", gr.skip()]


def test_items_of_many_pages_come_in_order(page, monkeypatch):
    monkeypatch.setattr("workbench.ui.item_browser._PAGE", 3)
    total = num_items(browse(page)[0])
    seen = []
    for number in range(1, -(-total // 3) + 1):
        view, _ = browse(page, page=number)
        assert f"page {number} of {-(-total // 3)}" in Seen(view).text
        seen += re.findall(r"messages-\d{5}", Seen(view).text)

    comparison, _, _ = open_comparison(page.workspace, page.job_id)
    expected = [item.sample_id for item in comparison.first_seeds()[0][1].answers]
    assert seen == expected


# Files


def export(page: Page, **changes: Any) -> list[Path]:
    asked = {
        "token": None, "key": page.job_id, "mode": "all", "row": "lora", "against": "zero_shot",
        "cost": "trained_parameters", "quality": "accuracy",
    }  # fmt: skip
    shown = on_export(page.context, **asked | changes)
    return [Path(file["path"]) for file in shown.value]


@pytest.fixture(scope="module")
def exported(page: Page) -> dict[str, Path]:
    """Return the files of one export by name; drawing them takes seconds."""
    return {path.name: path for path in export(page, mode="disagree")}


def csv_lines(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text())))


def test_the_files_of_a_comparison_are_report_items_and_figures(exported):
    assert set(exported) == {
        "report.html", "report.md", "report.tex", "report.csv", "report.json", "items.csv",
        *(f"{name}.{form}" for name in ("accuracy", "cost", "calibration") for form in FORMS),
    }  # fmt: skip


def test_every_file_can_be_opened_as_what_it_is(exported):
    files = exported

    assert json.loads(files["report.json"].read_text())["rows"]
    assert "<html" in files["report.html"].read_text()
    assert files["report.md"].read_text().startswith("#")
    assert len(csv_lines(files["report.csv"])) > 4
    for name in ("accuracy.png", "cost.png", "calibration.png"):
        assert files[name].read_bytes().startswith(b"\x89PNG\r\n")


def test_the_items_in_the_file_are_those_of_the_mode(page, exported):
    assert len(csv_lines(exported["items.csv"])) - 1 == num_items(browse(page, mode="disagree")[0])


def test_files_lie_where_the_page_may_serve_them_and_not_among_the_runs(page, exported):
    for path in exported.values():
        assert not path.is_relative_to(page.context.root)


def test_nothing_chosen_has_no_files(page):
    asked = {"mode": "all", "row": None, "against": None, "cost": "x", "quality": "y"}

    assert on_export(page.context, token=None, key=None, **asked) is None


BAD_EXPORTS = {
    "an unknown comparison": {"key": "missing"},
    "a path": {"key": "../x"},
    "an unknown mode": {"mode": "magic"},
    "an unknown row": {"mode": "fixed_by", "row": "missing"},
    "an unknown cost": {"cost": "beauty"},
    "an unknown quality": {"quality": "beauty"},
    "a list as cost": {"cost": ["x"]},
}


@pytest.mark.parametrize("case", BAD_EXPORTS)
def test_what_cannot_be_exported_is_one_message(case, page):
    with pytest.raises(gr.Error) as caught:
        export(page, **BAD_EXPORTS[case])

    assert "on our side" not in caught.value.message
    assert "Choose" in caught.value.message or "Known" in caught.value.message


# Hostile names and texts


def hostile_views(page: Page) -> list[str]:
    """Return everything that is shown of the hostile comparison."""
    context, key = page.context, page.job_id
    names = list(page.rows)
    shown = [on_open(context, None, key)[0]]
    shown += [on_cost(context, None, key, cost, "accuracy") for cost in COSTS]
    shown += [on_row(context, None, key, name) for name in names]
    shown += [
        browse(page, mode=mode.value, row=names[0], against=names[1])[0] for mode in BrowseMode
    ]
    return shown


def test_hostile_rows_labels_and_texts_are_shown_as_text(hostile_page):
    for html in hostile_views(hostile_page):
        assert not is_problem(html)
        assert dangers(html) == []


def test_hostile_rows_and_labels_are_not_lost(hostile_page):
    text = Seen("".join(hostile_views(hostile_page))).text

    assert HOSTILE[0] in text
    assert HOSTILE[1] in text


def test_a_hostile_comparison_is_exported_as_text(hostile_page):
    names = list(hostile_page.rows)

    for path in export(hostile_page, row=names[0], against=names[1]):
        if path.suffix == ".html":
            assert dangers(path.read_text()) == []
