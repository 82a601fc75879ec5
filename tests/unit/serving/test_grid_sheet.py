"""A grid as tables and files, and two wordings held against each other."""

import csv
import io
import json
from time import process_time

import pytest
import yaml

from pages import HOSTILE, dangers
from toys import TOY_TEMPLATE, make_toy_task
from workbench.presentation.sheet import sheet_html, sheet_markdown, write_sheet
from workbench.presentation.spreadsheet import csv_text
from workbench.serving.asking import LeftOut
from workbench.serving.grid import Cell, Grid, GridColumn, Wording
from workbench.serving.grid_sheet import cell_text, grid_sheet, headline, turns_in_words
from workbench.serving.wording_changes import (
    answer_changes,
    columns_to_compare,
    word_changes,
    wording_as_text,
)
from workbench.tasks.base import Sample

TASK = make_toy_task(4, 4, 4)
BEFORE = Wording("plain", TOY_TEMPLATE)
AFTER = Wording("kind", TOY_TEMPLATE.model_copy(update={"instruction": "Please say {labels}."}))


def cell(answer: str | None, target: str = "", **more: object) -> Cell:
    is_right = answer == target if target and answer else None
    sure = {} if answer is None else {answer: 0.75, "other": 0.25}
    return Cell(answer, "" if answer else "too long", sure, is_right, **more)


def grid_of(first: list[str | None], second: list[str | None], targets: list[str]) -> Grid:
    """Return a grid of two wordings whose answers are given."""
    samples = tuple(
        Sample(f"t{n}", {"text": f"text {n}"}, target) for n, target in enumerate(targets)
    )
    columns = (GridColumn("base", "plain", "zero_shot"), GridColumn("base", "kind", "zero_shot"))
    cells = {
        (row, place): cell(answers[row], targets[row], prompt_tokens=10 + row, seconds=0.01)
        for place, answers in enumerate((first, second))
        for row in range(len(targets))
    }
    return Grid(TASK, samples, columns, cells)


GRID = grid_of(
    ["good", "bad", "good", "good"], ["bad", "good", "good", None], ["bad", "bad", "good", ""]
)


def test_answers_that_changed_are_named_with_what_became_of_them():
    found = answer_changes(GRID, 0, 1)

    assert [(one.row, one.before, one.after, one.turn) for one in found] == [
        (0, "good", "bad", "wrong to right"),
        (1, "bad", "good", "right to wrong"),
        (3, "good", None, "not judged"),
    ]
    assert turns_in_words(found) == (
        "3 answers changed: 1 wrong to right, 1 right to wrong, 1 not judged."
    )
    assert answer_changes(GRID, 0, 0) == []
    assert turns_in_words([]) == "No answer changed."


def test_the_first_wording_is_held_against_the_others_in_the_same_way():
    parts = [("a", "p", "z"), ("a", "p", "f"), ("a", "q", "z"), ("a", "q", "f"), ("b", "q", "z")]
    grid = Grid(TASK, (), tuple(GridColumn(*part) for part in parts))

    assert columns_to_compare(grid) == [(0, 2), (1, 3)]


CASES = {
    "a word more": ("Say {labels}.", "Please say {labels}."),
    "nothing": ("the same", "the same"),
    "all": ("", "new  text\n"),
    "spaces alone": ("a  b", "a b"),
    "other scripts": ("好的 пример", "好 пример!"),
    "very long": ("word " * 5000 + "\nend", "word " * 5000 + "\nfinish"),
}


@pytest.mark.parametrize("case", CASES)
def test_both_texts_can_be_read_out_of_what_changed(case):
    before, after = CASES[case]

    found = word_changes(before, after)

    assert "".join(one.text for one in found if one.kind != "added") == before
    assert "".join(one.text for one in found if one.kind != "removed") == after


REPEATED = {
    "dots": ("a" + "." * 1500 + "b", "c" + "." * 1400 + "d"),
    "nothing but spaces shared": (
        " ".join(f"a{n}" for n in range(900)),
        " ".join(f"b{n}" for n in range(900)),
    ),
    "lines": ("x\n" * 3000 + "y", "z\n" + "x\n" * 2900 + "q"),
}


@pytest.mark.parametrize("case", REPEATED)
def test_texts_that_repeat_a_piece_over_and_over_are_compared_within_a_second(case):
    before, after = REPEATED[case]
    began = process_time()

    found = word_changes(before, after)

    assert process_time() - began < 1.5
    assert "".join(one.text for one in found if one.kind != "added") == before
    assert "".join(one.text for one in found if one.kind != "removed") == after


def test_a_changed_word_is_named_alone_however_often_the_words_around_it_are_repeated():
    found = word_changes("so " * 1500 + "good", "so " * 1500 + "bad")

    assert [(one.kind, one.text) for one in found[1:]] == [("removed", "good"), ("added", "bad")]


def test_a_changed_word_is_the_only_one_named():
    found = word_changes("Name the topic of it.", "Name the subject of it.")

    assert [(one.kind, one.text) for one in found] == [
        ("same", "Name the "),
        ("removed", "topic"),
        ("added", "subject"),
        ("same", " of it."),
    ]


def test_a_wording_as_text_has_what_reaches_a_prompt_and_no_more():
    text = wording_as_text(TOY_TEMPLATE)

    assert "Say {labels}." in text
    assert {"version", "name"}.isdisjoint(text.split())
    assert wording_as_text(TOY_TEMPLATE.model_copy(update={"version": 7})) == text


def test_a_wording_as_text_keeps_its_line_breaks():
    wording = TOY_TEMPLATE.model_copy(update={"instruction": "Say {labels}.\n\nNo more."})

    text = wording_as_text(wording)

    assert "instruction: |-\n  Say {labels}.\n\n  No more.\n" in text
    assert yaml.safe_load(text)["instruction"] == wording.instruction


def test_cells_say_answer_probability_and_whether_it_is_right():
    assert cell_text(cell("good", "good")) == "good 75.0 % ✓"
    assert cell_text(cell("good", "bad")) == "good 75.0 % ✗"
    assert cell_text(cell("good")) == "good 75.0 %"
    assert cell_text(cell(None)) == "(too long)"
    assert cell_text(Cell("a text", score=0.5)) == "a text ROUGE-L 50.0 %"


def test_the_headline_says_how_much_is_filled_and_names_the_best_at_the_end():
    half = Grid(TASK, GRID.samples, GRID.columns, {(0, 0): GRID.cells[0, 0]})
    best = grid_of(["good", "bad"], ["bad", "bad"], ["good", "bad"])
    equal = grid_of(["good", "bad"], ["good", "bad"], ["good", "bad"])

    assert headline(half) == "1 of 8 cells answered."
    assert headline(best).startswith("4 of 4 cells answered. Most are right with plain: 100.0 % [")
    assert headline(equal).startswith(
        "4 of 4 cells answered. All columns have equally many right: 100.0 % ["
    )


def test_a_column_that_refused_texts_is_not_the_best_and_says_how_many_were_judged():
    refused = grid_of(["good", "good", "bad"], ["good", None, None], ["good", "bad", "bad"])
    alone = grid_of([None, None], ["good", None], ["good", "good"])

    assert refused.unscored(1) == 2
    assert "texts without an answer: kind 1 of 3 judged. Most are right with plain: 66.7 % [" in (
        headline(refused)
    )
    assert headline(alone).endswith("plain 0 of 2, kind 1 of 2 judged.")


def test_the_file_for_programs_has_a_line_for_each_cell():
    sheet = grid_sheet(GRID, [BEFORE, AFTER])

    rows = list(csv.DictReader(io.StringIO(csv_text(sheet.columns, sheet.rows))))

    assert len(rows) == 8
    assert {key: rows[1][key] for key in ("wording", "text_id", "field_text", "answer")} == {
        "wording": "kind", "text_id": "t0", "field_text": "text 0", "answer": "bad",
    }  # fmt: skip
    assert [row["is_right"] for row in rows[:4]] == ["false", "true", "true", "false"]
    assert (rows[0]["milliseconds"], rows[0]["prompt_tokens"]) == ("10.0", "10")
    assert rows[0]["probability_good"] == "0.75"
    assert rows[7]["error"] == "too long"
    assert all(None not in row and None not in row.values() for row in rows)


def test_all_five_forms_are_written_and_the_json_has_the_wordings(tmp_path):
    write_sheet(grid_sheet(GRID, [BEFORE, AFTER]), tmp_path, "grid")

    suffixes = sorted(path.suffix for path in tmp_path.iterdir())
    assert suffixes == [".csv", ".html", ".json", ".md", ".tex"]
    data = json.loads((tmp_path / "grid.json").read_text(encoding="utf-8"))
    assert list(data["wordings"]) == ["plain", "kind"]
    assert len(data["cells"]) == 8
    assert data["texts"][3]["target"] is None


def test_words_that_differ_stand_side_by_side_in_a_table():
    tables = {table.title: table for table in grid_sheet(GRID, [BEFORE, AFTER]).tables}

    assert tables["Words that differ: plain and kind"].rows == [["Say", "Please say"]]
    changed = tables["Answers that changed: plain to kind"]
    assert changed.rows[0] == ["text 0", "good", "bad", "wrong to right"]
    assert changed.note.startswith("3 answers changed")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_text_in_page_and_markdown(text):
    name = Wording(text, TOY_TEMPLATE.model_copy(update={"instruction": "x " + text[:5]}))
    grid = Grid(
        TASK,
        (Sample(text, {"text": text}, ""),),
        (GridColumn(text, text, text), GridColumn(text, "plain", text)),
        {(0, 0): Cell(text, reason=text), (0, 1): Cell(None, text)},
        (LeftOut(text, text),),
    )

    sheet = grid_sheet(grid, [BEFORE, name])

    page = sheet_html(sheet)
    body = page[page.index("<body>") :]
    assert dangers(body) == []
    assert "<script" not in sheet_markdown(sheet)
