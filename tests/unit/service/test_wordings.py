"""Wordings: those of a task, a visitor's edits of them, and no way to read any other file."""

from pathlib import Path

import pytest
import yaml

from visitors import ANNA, BEN, keep_rows, local_workspace, visitor
from workbench.errors import ConfigError, PromptError, StoreError, WorkbenchError
from workbench.runs.session import open_task, open_template
from workbench.service.uploads import task_choice
from workbench.service.wordings import (
    MOST_CHARS,
    keep_wording,
    parse_wording,
    template_name,
    wording_choices,
    wording_text,
)
from workbench.service.workspace import Workspace
from workbench.tasks.base import Task
from workbench.tasks.catalog import load_task

EDITED = "version: 1\ninstruction: 'Which of {labels} is it?'\ninput: 'Q: {text}'\n"


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return local_workspace(tmp_path / "root")


@pytest.fixture(scope="module")
def intents() -> Task:
    return load_task("support_intents")


@pytest.fixture
def own_task(workspace, tmp_path) -> Task:
    return open_task(task_choice(workspace, keep_rows(workspace, tmp_path)))


def keys(workspace: Workspace, task: Task) -> list[str]:
    return [key for _, key in wording_choices(workspace, task)]


# Choosing


def test_the_plain_wording_of_a_task_comes_first(workspace, intents):
    folder = Path(__file__).parents[3] / "prompts" / "support_intents"
    names = {path.stem for path in folder.glob("*.yaml")} - {"task"}

    assert keys(workspace, intents)[0] == "plain"
    assert set(keys(workspace, intents)) == names


def test_a_task_without_wordings_has_one_made_for_it(workspace, own_task):
    assert keys(workspace, own_task) == ["plain"]


@pytest.mark.parametrize("name", ["support_intents", "arithmetic"])
def test_every_wording_of_a_task_can_be_opened_and_fits_it(name, workspace):
    task = load_task(name)

    for key in keys(workspace, task):
        template = parse_wording(wording_text(workspace, task, key), task)
        assert template.digest == open_template(template_name(workspace, key), task).digest


def test_a_made_wording_reads_back_as_what_is_used(workspace, own_task):
    text = wording_text(workspace, own_task, "plain")

    assert parse_wording(text, own_task).digest == open_template("plain", own_task).digest


# Editing


def test_an_edited_wording_is_offered_after_the_others(workspace, intents):
    key = keep_wording(workspace, EDITED, intents)

    assert wording_choices(workspace, intents)[-1] == ("edited: Which of {labels} is it?", key)


def test_an_edited_wording_is_kept_as_it_was_typed(workspace, intents):
    text = f"# my own\n{EDITED}"

    key = keep_wording(workspace, text, intents)

    assert wording_text(workspace, intents, key) == text


def test_an_edited_wording_is_what_an_experiment_uses(workspace, intents):
    key = keep_wording(workspace, EDITED, intents)

    template = open_template(template_name(workspace, key), intents)

    assert template.instruction == "Which of {labels} is it?"


def test_the_same_words_twice_are_one_wording(workspace, intents):
    assert keep_wording(workspace, EDITED, intents) == keep_wording(workspace, EDITED, intents)
    assert len([key for key in keys(workspace, intents) if key.startswith("edited:")]) == 1


def test_an_edited_wording_is_offered_only_where_it_fits(workspace, intents):
    arithmetic = load_task("arithmetic")
    field = arithmetic.field_names[0]
    key = keep_wording(workspace, f"version: 1\ninput: 'Q: {{{field}}}'\n", arithmetic)

    assert key in keys(workspace, arithmetic)
    assert (key in keys(workspace, intents)) == (field in intents.field_names)


def test_a_long_instruction_is_cut_in_the_list(workspace, intents):
    keep_wording(workspace, f"version: 1\ninstruction: {'words ' * 30}\ninput: '{{text}}'", intents)

    title = wording_choices(workspace, intents)[-1][0]

    assert len(title) <= len("edited: ") + 32
    assert title.endswith("…")


def test_a_wording_without_instruction_is_called_by_its_input(workspace, intents):
    keep_wording(workspace, "version: 1\ninput: 'Just: {text}'\n", intents)

    assert wording_choices(workspace, intents)[-1][0] == "edited: Just: {text}"


def test_a_broken_file_among_edited_wordings_is_passed_over(workspace, intents):
    key = keep_wording(workspace, EDITED, intents)
    (workspace.wordings / "broken.yaml").write_bytes(b"\xff{")
    (workspace.wordings / "torn.yaml").write_text("version: [")

    assert [k for k in keys(workspace, intents) if k.startswith("edited:")] == [key]


BAD_TEXTS = {
    "no text": (None, "wording: is of type NoneType; text is needed."),
    "a number": (7, "wording: is of type int; text is needed."),
    "too long": ("x" * (MOST_CHARS + 1), "wording: 8001 characters; at most 8000 are read."),
    "empty": ("", "wording: the file is empty"),
    "no YAML": ("input: [", "wording, line 1"),
    "no mapping": ("- a", "wording: the file is a list"),
    "unknown key": (EDITED + "surprise: 1\n", "wording, surprise: unknown key."),
    "missing key": ("version: 1\n", "wording, input: missing key. Add it."),
    "key twice": (EDITED + "version: 2\n", "key 'version' was given on line 1 already"),
    "zero byte": ("version: 1\ninput: '\0{text}'", "wording"),
    "lone surrogate": ("version: 1\ninput: '\ud800{text}'", "wording"),
    "escaped surrogate": ('version: 1\ninput: "\\uD800{text}"', "wording"),
    "date that is none": ("version: 2026-99-99\ninput: '{text}'", "wording: not valid YAML"),
    "alias bomb": ("a: &a [x, x]\nb: [*a, *a]\n", "References are not read here"),
    "deep": ("input: " + "[" * 200 + "]" * 200, "nested too deeply"),
    "python object": ("input: !!python/object/apply:os.system ['true']", "wording"),
}


@pytest.mark.parametrize("case", BAD_TEXTS)
def test_a_text_that_is_no_wording_is_refused(case, workspace, intents):
    text, expected = BAD_TEXTS[case]

    with pytest.raises(ConfigError) as caught:
        keep_wording(workspace, text, intents)

    assert expected in str(caught.value)


@pytest.mark.parametrize("case", BAD_TEXTS)
def test_what_is_refused_is_not_kept(case, workspace, intents):
    with pytest.raises(WorkbenchError):
        keep_wording(workspace, BAD_TEXTS[case][0], intents)

    assert not list(workspace.wordings.glob("*"))


@pytest.mark.parametrize("text", ["input: 'Q: {question}'", "input: 'no text at all'"])
def test_a_wording_that_does_not_fit_the_task_is_refused(text, workspace, intents):
    with pytest.raises(PromptError, match="wording: input"):
        keep_wording(workspace, f"version: 1\n{text}\n", intents)


def test_a_wording_of_the_longest_allowed_text_is_kept(workspace, intents):
    text = EDITED + "description: " + "x" * (MOST_CHARS - len(EDITED) - len("description: "))

    assert keep_wording(workspace, text, intents)


# Names


def test_another_visitors_wording_is_not_found(tmp_path, intents):
    key = keep_wording(visitor(tmp_path, ANNA), EDITED, intents)

    with pytest.raises(StoreError) as caught:
        template_name(visitor(tmp_path, BEN), key)

    assert str(caught.value) == (
        f"wording '{key.removeprefix('edited:')}': not found among yours. Choose another one."
    )


@pytest.mark.parametrize(
    "key",
    ["../secret", "edited:../../secret", "/etc/passwd", "edited:/etc/passwd", "", None, 3,
     ["plain"], "prompts/sst2/plain.yaml", "edited:", "edited:a\0"],
)  # fmt: skip
def test_what_is_no_name_is_refused(key, workspace):
    with pytest.raises(StoreError):
        template_name(workspace, key)


@pytest.mark.parametrize(
    "key", ["secret.yaml", "secret.yml", "secret.yaml.yaml", "secret.yml.yaml", "secret.yaml.yml"]
)
def test_no_file_of_the_working_directory_is_read(key, workspace, intents, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("secret.yaml", "secret.yml", "secret.yaml.yaml", "secret.yml.yml"):
        (tmp_path / name).write_text(yaml.safe_dump({"version": 1, "input": "SECRET {text}"}))

    with pytest.raises(WorkbenchError) as caught:
        open_template(template_name(workspace, key), intents)

    assert "SECRET" not in str(caught.value)


def test_a_wording_that_does_not_exist_is_refused_with_those_that_do(workspace, intents):
    with pytest.raises(ConfigError, match="plain"):
        wording_text(workspace, intents, "plane")
