"""Wordings in the page: the ones a task brings, and a visitor's own edits of them."""

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import yaml

from workbench.atomic import write_text
from workbench.errors import ConfigError, StoreError, WorkbenchError
from workbench.runs.session import open_template
from workbench.sealed import clear_place, is_there
from workbench.service.wording_versions import (
    WordingVersion,
    add_version,
    name_with_room,
    note_figures,
    version_of,
    versions_of,
)
from workbench.service.workspace import Workspace, checked_name
from workbench.tasks.base import Task
from workbench.tasks.catalog import prompts_folder
from workbench.templates import PromptTemplate
from workbench.yaml_files import Block, Quoted, check_mapping, parse_mapping, yaml_text

MOST_CHARS = 8000  # characters; ours are below 2,000
_PREFIX = "edited:"
_WHERE = "wording"
_TITLE_CHARS = 32
_MOST_LEVELS = 12  # of lists and mappings in each other; ours have 5
_PROSE = ("instruction", "input", "trigger", "answer_phrase", "rationale", "fields")
_FITS_BLOCK = re.compile(r"[^\r\x85\u2028\u2029]*", re.DOTALL)  # else a reader changes its breaks


def wording_choices(workspace: Workspace, task: Task) -> list[tuple[str, str]]:
    """Return (title, key) of the wordings that fit a task: its own first, then edited ones."""
    folder = prompts_folder() / task.name
    names = sorted(path.stem for path in folder.glob("*.yaml") if path.name != "task.yaml")
    own = sorted(names, key=lambda name: name != "plain") or ["plain"]
    choices = [(name, name) for name in own]
    edited = []
    for path in workspace.wordings.glob("*.yaml"):
        with suppress(WorkbenchError, OSError, ValueError):
            template = parse_wording(_kept_text(path), task)
            words = " ".join((template.instruction or template.input).split())
            title = words if len(words) <= _TITLE_CHARS else f"{words[: _TITLE_CHARS - 1]}…"
            choice = (f"edited: {title}", f"{_PREFIX}{path.stem}")
            edited.append((-path.stat().st_mtime, choice))
    return choices + [choice for _, choice in sorted(edited)]


def wording_text(workspace: Workspace, task: Task, key: object) -> str:
    """Return a wording as YAML to edit.

    Raises:
        StoreError: not among the visitor's, or damaged.
    """
    name = template_name(workspace, key)
    if name.endswith(".yaml"):
        return _kept_text(workspace.wordings / name.rpartition("/")[2])
    content = open_template(name, task).model_dump(
        mode="json", exclude={"name"}, exclude_unset=True
    )
    return block_text(content)


def block_text(content: Mapping[str, Any]) -> str:
    """Return a wording as YAML whose texts are blocks: a line break typed into one stays one."""
    ordered = {key: content[key] for key in PromptTemplate.model_fields if key in content}
    styled = {key: _styled(key, value) for key, value in ordered.items()}
    return yaml_text(styled, sort_keys=False, width=100)


def _styled(key: str, value: Any) -> Any:
    """Return a value of a wording with its texts marked by how they are written."""
    if isinstance(value, dict):
        inner = key if key == "fields" else ""
        return {name: _styled(inner or name, one) for name, one in value.items()}
    if isinstance(value, list):
        return [_styled(key, one) for one in value]
    if not isinstance(value, str):
        return value
    if key == "separator" or not value or not _FITS_BLOCK.fullmatch(value):
        return Quoted(value)
    return Block(value) if key in _PROSE or "\n" in value else value


def parse_wording(text: object, task: Task) -> PromptTemplate:
    """Return the template that YAML text describes, checked against a task.

    Raises:
        ConfigError: too long, no YAML, unknown or missing keys.
        PromptError: it does not fit the task.
    """
    if not isinstance(text, str):
        raise ConfigError(f"{_WHERE}: is of type {type(text).__name__}; text is needed.")
    if len(text) > MOST_CHARS:
        raise ConfigError(
            f"{_WHERE}: {len(text)} characters; at most {MOST_CHARS} are read. Shorten it."
        )
    _check_shape(text)
    template = check_mapping(parse_mapping(text, where=_WHERE), PromptTemplate, where=_WHERE)
    return template.check(task.field_names, task.labels, where=_WHERE)


def _check_shape(text: str) -> None:
    """Refuse what makes YAML costly: merged aliases become billions of keys, depth takes minutes.

    Raises:
        ConfigError: a reference, or too many levels.
    """
    depth = 0
    with suppress(yaml.YAMLError):  # said with its line by whoever parses it in full
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            where = f"{_WHERE}, line {event.start_mark.line + 1 if event.start_mark else 0}"
            if isinstance(event, yaml.AliasEvent):
                raise ConfigError(
                    f"{where}: refers to '*{event.anchor}'. References are not read here; write "
                    "the text out."
                )
            if depth > _MOST_LEVELS:
                raise ConfigError(f"{where}: nested too deeply. Write fewer levels.")


def keep_wording(
    workspace: Workspace,
    text: str,
    task: Task,
    *,
    name: str = "",
    note: str = "",
    parent: int | None = None,
    made_from: object = None,
) -> str:
    """Check and keep an edited wording as a new version of its name; return its key.

    Args:
        workspace: The visitor's.
        text: YAML.
        task: What it is a wording of.
        name: What its versions are kept under; empty: the task's name, with a number where that
            is full.
        note: What its maker has to say about it.
        parent: The version it was made from; None: see `made_from`.
        made_from: Key of the wording it was made from; its parent is the latest version of the name
            that has that text, if any. None: the latest version.

    Raises:
        ConfigError: see `parse_wording`, which also raises `PromptError`, `check_begin` and
            `add_version`.
        StoreError: no such name can be.
    """
    parse_wording(text, task)
    workspace.check_begin()
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    path = workspace.wordings / f"{digest}.yaml"
    version_name = checked_name(name or name_with_room(workspace, task.name), "wording")

    def write() -> None:
        clear_place(path)
        write_text(path, text)

    origin: int | Literal["latest"] | None = parent
    if parent is None:
        origin = _version_with(workspace, version_name, made_from) if made_from else "latest"
    add_version(workspace, version_name, digest, note=note, parent=origin, write=write)
    return f"{_PREFIX}{digest}"


def _version_with(workspace: Workspace, name: str, key: object) -> int | None:
    """Return the latest version of a name that has the text of a wording; None: there is none."""
    known: list[WordingVersion] = []
    with suppress(StoreError):  # a damaged history is kept aside
        known = versions_of(workspace, name)
    numbers = [one.number for one in known if key == f"{_PREFIX}{one.digest}"]
    return numbers[-1] if numbers else None


def version_text(workspace: Workspace, name: object, number: object) -> str:
    """Return the text of a version, to show or to edit.

    Raises:
        StoreError: no such version, or its text is damaged.
    """
    version = version_of(workspace, name, number)
    return _kept_text(workspace.wordings / f"{version.digest}.yaml")


def restore_version(workspace: Workspace, name: str, number: int, task: Task) -> str:
    """Go back to a version: keep it once more, as a new version whose parent it is; return its key.

    Raises:
        StoreError: see `version_text`.
        ConfigError: see `keep_wording`.
    """
    text = version_text(workspace, name, number)
    parent = version_of(workspace, name, number).number
    note = f"back to version {parent}"
    return keep_wording(workspace, text, task, name=name, note=note, parent=parent)


def note_wording_figures(
    workspace: Workspace, key: object, figures: Mapping[str, float | str]
) -> None:
    """Write what was found with a kept wording beside its versions; others have none.

    Raises:
        StoreError: the folder cannot be written.
    """
    if isinstance(key, str) and key.startswith(_PREFIX):
        note_figures(workspace, checked_name(key.removeprefix(_PREFIX), "wording"), figures)


def template_name(workspace: Workspace, key: object) -> str:
    """Return what an experiment calls a wording: its name, or the path of an edited one.

    Raises:
        StoreError: an edited wording that is damaged or not among the visitor's, or the name of a
            file.
    """
    if isinstance(key, str) and key.startswith(_PREFIX):
        digest = checked_name(key.removeprefix(_PREFIX), "wording")
        path = workspace.wordings / f"{digest}.yaml"
        if not is_there(path):
            raise StoreError(f"wording '{digest}': not found among yours. Choose another one.")
        _kept_text(path)
        return str(path)
    name = checked_name(key, "wording")
    if name.endswith((".yaml", ".yml")):  # would be read from the working directory
        raise StoreError(f"wording '{name}': files are not read from here. Choose one by its name.")
    return name


def _kept_text(path: Path) -> str:
    """Return an edited wording, whose file is named by the digest of its text.

    Raises:
        StoreError: it is damaged.
    """
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest()[:12] != path.stem:
            raise ValueError("it has another digest than its name")
        return content.decode("utf-8")
    except (OSError, ValueError) as error:
        raise StoreError(
            f"wording '{path.stem}': has changed on disk or is damaged. Choose another one, or "
            "edit it anew."
        ) from error
