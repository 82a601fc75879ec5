"""Uploads: files of any kind and of any name become tasks, or one message that names the file."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visitors import ANNA, BEN, local_workspace, visitor, write_rows
from workbench.errors import StoreError, TaskError, WorkbenchError
from workbench.runs.experiment import TaskChoice
from workbench.runs.session import open_task
from workbench.service.profile import CPU_SPACE, Caps
from workbench.service.uploads import (
    SUFFIXES,
    ColumnChoice,
    keep_upload,
    key_of,
    look_at,
    task_choice,
    task_choices,
    task_view,
)
from workbench.service.workspace import Workspace

CAPS = Caps()
COLUMNS = ColumnChoice("message", "intent")


def table(num: int = 24, **more: object) -> pd.DataFrame:
    """Return rows with a number, a text and one of two labels."""
    labels = ["praise", "complaint"]
    rows = {
        "number": list(range(num)),
        "message": [f"text {labels[n % 2]} {n}" for n in range(num)],
        "intent": [labels[n % 2] for n in range(num)],
    }
    return pd.DataFrame(rows | more)


WRITERS = {
    ".csv": lambda rows, path: rows.to_csv(path, index=False),
    ".tsv": lambda rows, path: rows.to_csv(path, index=False, sep="\t"),
    ".jsonl": lambda rows, path: rows.to_json(path, orient="records", lines=True),
    ".json": lambda rows, path: rows.to_json(path, orient="records"),
    ".parquet": lambda rows, path: rows.to_parquet(path, index=False),
}


def written(path: Path, rows: pd.DataFrame | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    WRITERS[path.suffix.lower()](table() if rows is None else rows, path)
    return path


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return local_workspace(tmp_path / "root")


def keep(workspace: Workspace, path: Path, name: str = "", columns: ColumnChoice = COLUMNS):
    return keep_upload(workspace, CAPS, path, name, columns)


# Looking at a file


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_kind_of_file_shows_its_columns_and_first_rows(suffix, tmp_path):
    view = look_at(written(tmp_path / f"rows{suffix}"), CAPS)

    assert view.columns == ("number", "message", "intent")
    assert view.rows[1] == ("1", "text complaint 1", "complaint")
    assert (view.num_rows, len(view.rows)) == (24, 8)


def test_the_ending_of_a_file_may_be_in_capitals(tmp_path):
    assert look_at(written(tmp_path / "ROWS.CSV"), CAPS).num_rows == 24


def test_a_cell_is_shown_short(tmp_path):
    path = written(tmp_path / "rows.csv", table(message="x" * 5000))

    assert {len(row[1]) for row in look_at(path, CAPS).rows} == {200}


def test_cells_that_are_no_text_are_shown_all_the_same(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": ["a"], "label": {"b": 1}}\n{"text": "\\ud800", "label": null}\n')

    assert look_at(path, CAPS).rows == (("['a']", "{'b': 1}"), ("'\\ud800'", ""))


GUESSES = {
    "by name": ({"label": ["x", "y"] * 2, "text": ["a", "b", "c", "d"]}, ("text", "label")),
    "by name in capitals": ({"Intent": ["x"] * 4, "Message": list("abcd")}, ("Message", "Intent")),
    "a name beats the number of values": (
        {"colour": ["x", "y"] * 2, "target": list("abcd"), "words": ["long"] * 4},
        ("words", "target"),
    ),
    "few values are labels, long ones text": (
        {"id": list("1234"), "words": ["a long text " * 3] * 3 + ["b"], "colour": ["x", "y"] * 2},
        ("words", "colour"),
    ),
    "a column of one value is no label": (
        {"words": ["long one", "long two"] * 2, "same": ["x"] * 4, "kind": ["p", "q"] * 2},
        ("words", "kind"),
    ),
    "of equals the last": ({"a": ["x", "y"] * 2, "b": ["x", "y"] * 2}, ("a", "b")),
    "text and label are never one column of two": (
        {"text": ["x", "y"] * 2, "other": list("abcd")},
        ("other", "text"),
    ),
}


@pytest.mark.parametrize("case", GUESSES)
def test_text_and_label_are_guessed(case, tmp_path):
    rows, expected = GUESSES[case]

    view = look_at(written(tmp_path / "rows.csv", pd.DataFrame(rows)), CAPS)

    assert (view.text_column, view.label_column) == expected


def test_one_column_is_guessed_to_be_both_and_refused_later(tmp_path, workspace):
    path = written(tmp_path / "rows.csv", table()[["message"]])
    view = look_at(path, CAPS)

    assert (view.text_column, view.label_column) == ("message", "message")
    with pytest.raises(TaskError, match="both the label and the field"):
        keep(workspace, path, columns=ColumnChoice("message", "message"))


# Caps


def test_a_file_with_more_rows_than_allowed_is_refused(tmp_path):
    path = written(tmp_path / "rows.csv")
    look_at(path, replace(CAPS, rows=24))

    with pytest.raises(TaskError) as caught:
        look_at(path, replace(CAPS, rows=23))

    assert str(caught.value) == "rows.csv: 24 rows; at most 23 here. Take a sample of it."


def test_a_file_larger_than_allowed_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b"\xff" * 1_500_000)

    with pytest.raises(TaskError) as caught:
        look_at(path, replace(CAPS, upload_bytes=1_000_000))

    assert str(caught.value) == "rows.csv: 1.5 MB; at most 1 MB here. Take a sample of it."


def test_caps_hold_when_a_file_is_kept_too(tmp_path, workspace):
    path = written(tmp_path / "rows.csv")

    with pytest.raises(TaskError, match="24 rows; at most 23 here"):
        keep_upload(workspace, replace(CAPS, rows=23), path, "", COLUMNS)

    assert task_choices(workspace, []) == []


def test_a_public_page_takes_less_than_the_own_machine():
    assert CPU_SPACE.caps.rows < CAPS.rows
    assert CPU_SPACE.caps.upload_bytes < CAPS.upload_bytes


# Files that cannot be read

BAD_FILES = {
    "another kind": ("rows.xlsx", b"PK", "rows.xlsx: unknown file type"),
    "no ending": ("rows", b"a,b\n", "rows: unknown file type"),
    "empty": ("rows.csv", b"", "rows.csv: the file is empty. Add rows."),
    "only a header": ("rows.csv", b"a,b\n", "rows.csv: the file has only a header."),
    "binary": ("rows.csv", b"\x00\x01\x02", "rows.csv: holds zero bytes"),
    "not UTF-8": ("rows.csv", "a,b\né,1\n".encode("latin-1"), "rows.csv: byte 4 is not UTF-8"),
    "no JSON": ("rows.json", b"{", "rows.json"),
    "not rows": ("rows.json", b'"text"', "rows.json"),
    "no JSON on a line": ("rows.jsonl", b'{"a": 1}\n{', "rows.jsonl"),
    "rows without columns": ("rows.jsonl", b"{}\n{}\n", "rows.jsonl"),
    "no Parquet": ("rows.parquet", b"PAR1", "rows.parquet"),
    "ragged": ("rows.csv", b"a,b\n1,2,3\n", "rows.csv"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_that_cannot_be_read_is_named_without_its_folder(case, tmp_path):
    name, content, expected = BAD_FILES[case]
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(TaskError) as caught:
        look_at(path, CAPS)

    assert str(caught.value).startswith(expected)
    assert str(tmp_path) not in str(caught.value)


def test_a_file_that_is_gone_is_one_message(tmp_path):
    with pytest.raises(TaskError) as caught:
        look_at(tmp_path / "rows.csv", CAPS)

    assert str(caught.value) == "rows.csv: is not there any more. Upload it again."


BAD_MAPPINGS = {
    "no such text column": (ColumnChoice("massage", "intent"), "unknown column 'massage'"),
    "no such label column": (ColumnChoice("message", "intend"), "unknown column 'intend'"),
    "no such second text": (ColumnChoice("message", "intent", "more"), "unknown column 'more'"),
    "text is label": (ColumnChoice("intent", "intent"), "both the label and the field"),
    "unknown kind": (ColumnChoice("message", "intent", kind="dance"), "kind"),
    "no text": (ColumnChoice(None, "intent"), "text_column"),  # type: ignore[arg-type]
    "a list": (ColumnChoice("message", ["intent"]), "label_column"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", BAD_MAPPINGS)
def test_columns_that_cannot_be_used_are_refused(case, tmp_path, workspace):
    columns, expected = BAD_MAPPINGS[case]

    with pytest.raises(WorkbenchError) as caught:
        keep(workspace, written(tmp_path / "rows.csv"), columns=columns)

    assert expected in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("case", BAD_MAPPINGS)
def test_what_is_refused_leaves_nothing_behind(case, tmp_path, workspace):
    with pytest.raises(WorkbenchError):
        keep(workspace, written(tmp_path / "rows.csv"), columns=BAD_MAPPINGS[case][0])

    assert list(workspace.uploads.glob("*")) == []


def test_one_class_alone_is_refused(tmp_path, workspace):
    path = written(tmp_path / "rows.csv", table(intent="praise"))

    with pytest.raises(TaskError, match="at least two"):
        keep(workspace, path)


# Keeping


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_kind_of_file_becomes_the_same_samples(suffix, tmp_path, workspace):
    _, task = keep(workspace, written(tmp_path / f"mine{suffix}"))
    _, expected = keep(workspace, written(tmp_path / "mine.csv"))

    assert task.digest == expected.digest


def test_a_file_of_texts_keeps_its_references_and_says_so(tmp_path, workspace):
    path = tmp_path / "texts.jsonl"
    lines = [
        {"source": f"note {i}", "target": f"Text {i}.", "references": [f"Text {i}.", f"Is {i}."]}
        for i in range(20)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    view = look_at(path, CAPS)
    columns = ColumnChoice(view.text_column, view.label_column, kind="generation")

    key, task = keep(workspace, path, columns=columns)

    assert (columns.text, columns.label) == ("source", "target")
    assert {len(sample.references) for sample in (*task.train, *task.test)} == {2}
    assert task_choice(workspace, key).references_column == "references"
    shown = task_view(task)
    assert (shown.writes_texts, shown.most_references, shown.labels) == (True, 2, {})
    short, _ = keep(workspace, path, columns=replace(columns, kind="short_answer"))
    assert task_choice(workspace, short).references_column == "references"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("odd", ["Book 2, p. 14", "[1] Book 2", "[1]", '["12", 3]', '{"a": 1}'])
def test_references_of_short_answers_are_taken_only_where_all_are_lists_of_texts(
    suffix, odd, tmp_path, workspace
):
    known = ['["12", "twelve"]'] * 20
    rows = pd.DataFrame({"q": [f"What is {n}?" for n in range(20)], "answer": [12] * 20})
    columns = ColumnChoice("q", "answer", kind="short_answer")

    lists = written(tmp_path / f"lists{suffix}", rows.assign(references=known))
    _, task = keep(workspace, lists, columns=columns)
    assert {sample.references for sample in task.test} == {("12", "twelve")}
    assert task.warnings == ()

    sources = written(
        tmp_path / f"sources{suffix}", rows.assign(references=[*known[:4], odd, *known[5:]])
    )
    key, task = keep(workspace, sources, columns=columns)
    assert task.answers_are_numbers
    assert {sample.references for sample in task.test} == {()}
    assert task_choice(workspace, key).references_column is None
    place = "line 6" if suffix == ".csv" else "line 5" if suffix == ".jsonl" else "row 5"
    assert task_view(task).warnings == (
        f"Column 'references' is left out, so only 'answer' is right: {place} has no list of "
        'texts there. If it holds further right answers, write each cell as ["one", "another"].',
    )


def test_lists_out_of_parquet_and_empty_cells_are_references(tmp_path, workspace):
    lists = [["Rome", "Roma"], None] * 10
    rows = pd.DataFrame({"q": [f"Capital {n}?" for n in range(20)], "answer": "Rome"})
    path = written(tmp_path / "mine.parquet", rows.assign(references=lists))

    _, task = keep(workspace, path, columns=ColumnChoice("q", "answer", kind="short_answer"))

    found = {sample.references for sample in (*task.train, *task.dev, *task.test)}
    assert found == {("Rome", "Roma"), ()}


def test_a_column_of_empty_references_says_nothing(tmp_path, workspace):
    rows = pd.DataFrame({"q": [f"Capital {n}?" for n in range(20)], "answer": "Rome"})
    path = written(tmp_path / "mine.jsonl", rows.assign(references=None))

    _, task = keep(workspace, path, columns=ColumnChoice("q", "answer", kind="short_answer"))

    assert task.warnings == ()


def test_a_kept_file_is_chosen_again_by_its_key(tmp_path, workspace):
    key, task = keep(workspace, written(tmp_path / "mine.csv"))

    assert open_task(task_choice(workspace, key)) == task
    assert key_of(workspace, task_choice(workspace, key)) == key


def test_a_kept_file_is_a_copy(tmp_path, workspace):
    path = written(tmp_path / "mine.csv")
    key, task = keep(workspace, path)
    path.unlink()

    assert open_task(task_choice(workspace, key)) == task


def test_the_same_file_twice_is_one_task(tmp_path, workspace):
    first, _ = keep(workspace, written(tmp_path / "a" / "mine.csv"))
    second, _ = keep(workspace, written(tmp_path / "b" / "mine.csv"))

    assert first == second
    assert task_choices(workspace, []) == [("mine (yours)", first)]


def test_the_same_file_mapped_otherwise_is_another_task(tmp_path, workspace):
    path = written(tmp_path / "mine.csv")
    first, _ = keep(workspace, path)
    second, task = keep(workspace, path, columns=ColumnChoice("number", "intent"))

    assert first != second
    assert task.train[0].fields["text"].isdigit()


def test_a_wrong_mapping_does_not_spoil_what_was_kept(tmp_path, workspace):
    path = written(tmp_path / "mine.csv")
    key, task = keep(workspace, path)
    with pytest.raises(WorkbenchError):
        keep(workspace, path, columns=ColumnChoice("message", "number"))

    assert open_task(task_choice(workspace, key)) == task


def test_own_tasks_stand_before_the_catalogs(tmp_path, workspace):
    key, _ = keep(workspace, written(tmp_path / "mine.csv"))

    assert task_choices(workspace, ["sst2"]) == [("mine (yours)", key), ("sst2", "sst2")]


def test_an_unreadable_record_is_passed_over(tmp_path, workspace):
    keep(workspace, written(tmp_path / "mine.csv"))
    for number, content in enumerate(("{", "[]", "{}", '"text"')):
        folder = workspace.uploads / f"broken{number}"
        folder.mkdir()
        (folder / "upload.json").write_text(content)

    assert [title for title, _ in task_choices(workspace, [])] == ["mine (yours)"]


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"name": 3, "surprise": 1}'])
def test_an_unreadable_record_cannot_be_chosen(content, workspace):
    (workspace.uploads / "broken").mkdir(parents=True)
    (workspace.uploads / "broken" / "upload.json").write_text(content)

    with pytest.raises(StoreError) as caught:
        task_choice(workspace, "upload:broken")

    assert str(caught.value) == (
        "upload 'broken': has changed on disk or is damaged. Upload the file again."
    )


def test_another_visitor_cannot_choose_it(tmp_path):
    anna, ben = visitor(tmp_path / "root", ANNA), visitor(tmp_path / "root", BEN)
    key, _ = keep(anna, written(tmp_path / "mine.csv"))

    with pytest.raises(StoreError, match="not found among your files"):
        task_choice(ben, key)


def test_a_task_of_the_catalog_is_its_own_key(workspace):
    choice = task_choice(workspace, "sst2")

    assert choice == TaskChoice(name="sst2")
    assert key_of(workspace, choice) == "sst2"


def test_files_that_are_no_upload_have_no_key(tmp_path, workspace):
    assert key_of(workspace, TaskChoice(train=tmp_path / "rows.csv")) is None


@pytest.mark.parametrize("key", ["../x", "upload:../x", "/etc/passwd", "", None, 7, ["sst2"]])
def test_what_is_no_key_is_refused(key, workspace):
    with pytest.raises(StoreError):
        task_choice(workspace, key)


# Names


def test_a_name_of_the_catalog_is_told_apart(tmp_path, workspace):
    _, task = keep(workspace, written(tmp_path / "rows.csv"), name="SST2")

    assert task.name == "sst2_own"


NAMES = {
    "My Rows (final).v2": "my_rows_final_v2",
    "Überraschung": "berraschung",
    "日本語": "task",
    "2024": "task_2024",
    "../../etc/passwd": "etc_passwd",
    "<img src=x onerror=alert(1)>": "img_src_x_onerror_alert_1",
    "a" * 300: "a" * 40,
    "\u202egnp": "gnp",
    "-rf": "rf",
}


@pytest.mark.parametrize("name", NAMES)
def test_any_name_becomes_a_plain_one(name, tmp_path, workspace):
    _, task = keep(workspace, written(tmp_path / "rows.csv"), name=name)

    assert task.name == NAMES[name]


@pytest.mark.parametrize(
    "file_name",
    ["a;b$(id).csv", "-x.csv", "  .csv", "日本.csv", "a\nb.csv", "<b>.csv", "\u202ex.csv"],
)
def test_any_file_name_can_be_kept_and_no_part_of_it_reaches_the_disk(
    file_name, tmp_path, workspace
):
    key, task = keep(workspace, written(tmp_path / file_name))

    (kept,) = (path for path in workspace.uploads.rglob("*") if path.suffix == ".csv")
    assert kept.name == f"{task.name}.csv"
    assert open_task(task_choice(workspace, key)).digest == task.digest


@given(name=st.text(max_size=60))
def test_no_name_leaves_the_folder_of_uploads(name, tmp_path_factory):
    root = tmp_path_factory.getbasetemp() / "any-name"
    file = root / "given" / "rows.csv"
    if not file.is_file():
        write_rows(file)
    workspace = local_workspace(root)

    key, task = keep(workspace, file, name=name)

    assert task_choice(workspace, key).train.parent.parent == workspace.uploads
    assert task.name.isascii()


def test_a_message_about_kept_rows_names_the_file_not_the_folder(tmp_path, workspace):
    rows = table()
    rows.loc[3, "intent"] = ""
    path = written(tmp_path / "mine.csv", rows)

    with pytest.raises(TaskError) as caught:
        keep(workspace, path)

    assert str(caught.value).startswith("mine.csv: 1 row has no label in column 'intent' (line 5)")
    assert str(workspace.root) not in str(caught.value)


# What becomes of the rows


def test_the_numbers_shown_are_those_of_the_file(tmp_path, workspace):
    path = tmp_path / "mine.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["message", "intent"])
        rows = [(f"text {n}", "abc"[n % 3]) for n in range(60)]
        rows += [rows[0], rows[1], rows[2]]  # three rows that stand there twice
        writer.writerows(rows)

    _, task = keep(workspace, path)
    view = task_view(task)

    kept = sum(view.sizes.values())
    assert kept + sum(view.dropped.values()) == 63
    assert sum(view.dropped.values()) == 3
    assert sum(view.labels.values()) == view.sizes["train"]


def test_the_labels_shown_are_counted_in_train_the_most_frequent_first(tmp_path, workspace):
    rows = table(60, intent=["rare"] * 10 + ["frequent"] * 50)

    _, task = keep(workspace, written(tmp_path / "mine.csv", rows))

    found = list(task_view(task).labels.items())
    assert found == [
        (label, sum(sample.target == label for sample in task.train))
        for label in ("frequent", "rare")
    ]


def test_short_answers_have_no_labels_to_count(tmp_path, workspace):
    columns = ColumnChoice("message", "number", kind="short_answer")

    _, task = keep(workspace, written(tmp_path / "mine.csv"), columns=columns)

    assert task_view(task).labels == {}


def test_the_example_is_a_row_of_train(tmp_path, workspace):
    _, task = keep(workspace, written(tmp_path / "mine.csv"))
    fields, target = task_view(task).example

    lines = list(csv.DictReader(io.StringIO((tmp_path / "mine.csv").read_text())))
    assert {"message": fields["text"], "intent": target} in [
        {name: line[name] for name in ("message", "intent")} for line in lines
    ]


def test_a_second_text_is_a_field_of_its_own(tmp_path, workspace):
    columns = ColumnChoice("message", "intent", "number")

    _, task = keep(workspace, written(tmp_path / "mine.csv"), columns=columns)

    assert len(task.field_names) == 2


def test_what_is_kept_can_be_read_as_json(tmp_path, workspace):
    key, _ = keep(workspace, written(tmp_path / "mine.csv"))
    folder = workspace.uploads / key.removeprefix("upload:")

    assert json.loads((folder / "upload.json").read_text())["text_column"] == "message"


def test_what_was_guessed_and_what_looks_alike_reaches_the_page(tmp_path, workspace):
    labels = ["Praise", "praise", "complaint"]
    lines = [f"text, number {n};{labels[n % 3]}" for n in range(24)]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["message;intent", *lines]))

    assert look_at(path, CAPS).notes == ("rows.csv: read with ';' between the cells.",)
    _, task = keep(workspace, path)
    guess, alike = task_view(task).warnings
    assert guess == "rows.csv: read with ';' between the cells."
    assert "'Praise' (8 rows) / 'praise' (8 rows) differ in case" in alike
