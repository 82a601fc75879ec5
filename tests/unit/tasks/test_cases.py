"""Files that went wrong once, read as a person means them; the files are no part of the project."""

import os
from pathlib import Path

import pytest

from workbench.errors import ConfigError, PromptError, WorkbenchError
from workbench.tasks.base import Task
from workbench.tasks.catalog import task_from_files
from workbench.tasks.rows import ColumnMapping
from workbench.templates import read_template

_BESIDE = Path(__file__).parents[4] / "shared" / "data"
CASES = Path(os.environ.get("WORKBENCH_SHARED_DATA", _BESIDE)).parent / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the cases are no part of the project")


def task_of(train: str, test: str | None = None) -> Task:
    return task_from_files(
        CASES / train,
        test=None if test is None else CASES / test,
        mapping=ColumnMapping(),
        kind="classification",
    )


READ = {  # labels, and what the warning says, if there is one
    "backslash_quote.csv": (("neg", "pos"), r"\" inside a quoted cell was read as a quote"),
    "backslash_quote_comma.csv": (("neg", "pos"), r"\" inside a quoted cell was read as a quote"),
    "semi_commas.csv": (("a", "b"), "read with ';'"),
    "semi_commas_some.csv": (("a", "b"), "read with ';'"),
    "semicolon_decimal.csv": (("neg", "pos"), "read with ';'"),
    "trailing_cols.csv": (("neg", "pos"), None),
    "trailing_delim_rows.csv": (("neg", "pos"), None),
    "sep_line.csv": (("neg", "pos"), None),
    "cr_only.csv": (("neg", "pos"), None),
    "json_as_jsonl.jsonl": (("neg", "pos"), "a JSON list, although named .jsonl"),
    "label_case.csv": (("POS", "Pos", "neg", "pos"), "differ in case"),
    "bool_case.csv": (("FALSE", "False", "True", "true"), "differ in case"),
    "num_mixed.csv": (("1", "1.0", "2", "2.0"), "differ in how a number is written"),
    "label_inner_space.csv": (("bad", "very  good", "very good"), "differ in spaces"),
    "label_zwsp.csv": (("neg", "pos", "pos\u200b"), "differ in invisible characters"),
    "label_nfc.csv": (("bar", "cafe\u0301", "caf\u00e9"), "differ in Unicode form"),
    "classlabel.parquet": (("neg", "pos"), None),
    "m_special.csv": (("negative", "positive"), None),
}


@pytest.mark.parametrize("name", READ)
def test_a_file_is_read_as_meant_and_what_is_doubtful_is_said(name: str) -> None:
    labels, warning = READ[name]

    task = task_of(name)

    assert task.labels == labels
    assert task.dropped.total == 0
    assert len(task.warnings) == (warning is not None)
    assert warning is None or warning in task.warnings[0]
    assert not any("\\" in sample.fields["text"] for sample in task.train)


@pytest.mark.parametrize("form", ["nfd", "zwsp"])
def test_texts_in_another_form_are_leaks(form: str) -> None:
    task = task_of(f"{form}_leak_train.csv", f"{form}_leak_test.csv")

    assert task.dropped.counts == {"train: same text as a test row": 6}


COPIES = {"all_equal_onelabel.csv": 11, "dup_then_few.csv": 14}


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_counted_where_rows_are_too_few(name: str) -> None:
    with pytest.raises(WorkbenchError, match=f"too few rows.*Dropped: {COPIES[name]} train: dup"):
        task_of(name)


TEMPLATES = {
    "tmpl_jinja_tight.yaml": (PromptError, "Write {labels}"),
    "tmpl_json_key_word.yaml": (PromptError, "or write {{label}} for the word in braces"),
    "tmpl_labelword_bool.yaml": (ConfigError, "put it in quotes"),
    "tmpl_trailing_newline.yaml": (PromptError, "ends in a line break"),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_wording_that_would_give_another_prompt_says_so(name: str) -> None:
    kind, hint = TEMPLATES[name]

    with pytest.raises(kind) as error:
        read_template(CASES / name).check(("text",), ("neg", "pos"), where=name)

    assert hint in str(error.value)
