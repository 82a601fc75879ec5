"""Texts of a grid: typed or out of a file, with or without a right answer."""

from pathlib import Path

import pytest

from toys import make_toy_task
from workbench.errors import TaskError
from workbench.predicting.texts import label_column_of, samples_of, typed_samples
from workbench.tasks.files import RowFile, open_rows

TASK = make_toy_task(2, 2, 2)


def rows_of(tmp_path: Path, text: str) -> RowFile:
    path = tmp_path / "texts.csv"
    path.write_text(text, encoding="utf-8")
    return open_rows(path, separator=",")


def test_typed_texts_have_no_right_answer_and_empty_ones_are_passed_over():
    samples = typed_samples(TASK, [{"text": " one "}, {"text": "  "}, {"text": "two"}])

    assert [(one.fields["text"], one.target) for one in samples] == [("one", ""), ("two", "")]
    assert len({one.id for one in samples}) == 2


def test_rows_of_a_file_may_lack_a_label(tmp_path):
    rows = rows_of(tmp_path, "key,text,label\na,one,good\nb,two,\nc,three,bad\n")

    samples = samples_of(
        TASK, rows, {"text": "text"}, label_column="label", id_column="key", limit=2
    )

    assert [(one.id, one.fields["text"], one.target) for one in samples] == [
        ("a", "one", "good"),
        ("b", "two", ""),
    ]


def test_rows_without_text_or_with_a_strange_label_are_named_all_at_once(tmp_path):
    rows = rows_of(tmp_path, "text,label\none,fine\n,good\nthree,odd\n")

    with pytest.raises(TaskError) as refused:
        samples_of(TASK, rows, {"text": "text"}, label_column="label")

    path = tmp_path / "texts.csv"
    assert str(refused.value) == (
        f"{path}: no plain text in line 3. Fill the cells or delete the rows.\n"
        f"{path}: labels 'fine', 'odd' (lines 2, 4), which task 'toy' does not have. Its labels: "
        "good, bad. Leave the cell empty where the answer is not known."
    )


def test_the_column_of_labels_is_found_by_its_usual_name_or_has_to_be_there(tmp_path):
    rows = rows_of(tmp_path, "text,intent\none,good\n")

    assert label_column_of(rows, "intent", None) == "intent"
    assert label_column_of(rows, None, None) is None
    assert label_column_of(rows, None, "intent") == "intent"
    with pytest.raises(TaskError, match="--label-column"):
        label_column_of(rows, None, "lable")
