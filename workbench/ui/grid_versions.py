"""Versions of a visitor's wordings: what changed from one to the next, and the way back."""

from functools import partial
from typing import Any

import gradio as gr

from workbench.errors import ConfigError
from workbench.presentation.display import shortened
from workbench.service.wording_versions import (
    MOST_NOTE,
    WordingVersion,
    named_wordings,
    versions_of,
)
from workbench.service.wordings import (
    keep_wording,
    restore_version,
    version_text,
    wording_choices,
    wording_text,
)
from workbench.serving.wording_changes import word_changes
from workbench.ui.choices import ChoiceList
from workbench.ui.context import KEEP, PROBLEM, AppContext, SettingValues, or_skip, shows_problems
from workbench.ui.rendering import render
from workbench.ui.setup import Setup
from workbench.ui.wiring import FOLLOW, LOOK, QUIET
from workbench.ui.wording_editor import NUM_PARTS, wording_parts

_NOTE_CHARS = 40  # of a note in the list to choose from


@or_skip(1)
def on_names(context: AppContext, token: object, chosen: object) -> list[Any]:
    """Return the names to choose from; the chosen one stays where it can."""
    names = named_wordings(context.workspace(token))
    value = chosen if chosen in names else (names[0] if names else None)
    return [gr.Dropdown(choices=names, value=value)]


@shows_problems(KEEP, KEEP, PROBLEM)
def on_name(context: AppContext, token: object, name: object) -> list[Any]:
    """Return the versions of a name to choose from, the latest chosen, and that one shown."""
    if not name:
        return [gr.Dropdown(choices=[], value=None), "", ""]
    found = versions_of(context.workspace(token), name)
    choices = [(_title(one), one.number) for one in reversed(found)]
    latest = found[-1].number if found else None
    (shown,) = on_version(context, token, name, latest)  # its number may be that of the one before
    return [gr.Dropdown(choices=choices, value=latest), shown, gr.skip()]


@shows_problems(PROBLEM)
def on_version(context: AppContext, token: object, name: object, number: object) -> list[Any]:
    """Return a version's history line, text, and the words that changed since its parent."""
    if not name or number is None:
        return [""]
    workspace = context.workspace(token)
    text = version_text(workspace, name, number)
    found = versions_of(workspace, name)
    (version,) = (one for one in found if one.number == number)
    parent = "" if version.parent is None else version_text(workspace, name, version.parent)
    changed = word_changes(parent, text) if version.parent is not None else []
    shown = render(
        "versions", name=name, versions=found[::-1], version=version, text=text, changed=changed
    )
    return [shown]


@shows_problems(KEEP, KEEP, PROBLEM)
def on_keep(context: AppContext, *, name: object, note: object, **setting: object) -> list[Any]:
    """Keep the chosen wording as a new version of a name, and choose it."""
    if not isinstance(name, str) or not name.strip():
        raise ConfigError("name: empty. Write one of letters, digits, '_', '-' and '.'.")
    workspace, experiment = context.experiment(SettingValues(**{**setting, "wording": "plain"}))
    task = context.desk.task(experiment.task)
    text = wording_text(workspace, task, setting["wording"])
    said = str(note or "").strip()
    chosen = setting["wording"]
    key = keep_wording(workspace, text, task, name=name.strip(), note=said, made_from=chosen)
    return [
        gr.Dropdown(choices=wording_choices(workspace, task), value=key),
        gr.Dropdown(choices=named_wordings(workspace), value=name.strip()),
        render("hint", text=f"Kept as version {len(versions_of(workspace, name.strip()))}."),
    ]


@shows_problems(KEEP, *[KEEP] * NUM_PARTS, PROBLEM)
def on_restore(
    context: AppContext, *, name: object, number: object, **setting: object
) -> list[Any]:
    """Go back to a version, choose it, and show it where it can be edited."""
    if not isinstance(name, str) or not isinstance(number, int):
        raise ConfigError("version: none chosen. Choose a name and a version from the lists.")
    workspace, experiment = context.experiment(SettingValues(**{**setting, "wording": "plain"}))
    task = context.desk.task(experiment.task)
    key = restore_version(workspace, name, number, task)
    text = f"Version {number} of {name} is the latest again, as a version of its own."
    choices = wording_choices(workspace, task)
    parts = wording_parts(workspace, task, key)
    return [gr.Dropdown(choices=choices, value=key), *parts, render("hint", text=text)]


def build(context: AppContext, setup: Setup, tab: gr.Tab) -> list[Any]:
    """Lay out the panel and wire it; return its lists."""
    token, wording = setup.values["token"], setup.values["wording"]
    with gr.Accordion("Versions of your wordings", open=False, elem_id="wb-versions") as drawer:
        with gr.Row():
            new_name = gr.Textbox(
                label="Keep the wording of the setting as",
                placeholder="a name",
                elem_id="wb-version-name",
            )
            note = gr.Textbox(label="Note", max_length=MOST_NOTE, elem_id="wb-version-note")
            keep = gr.Button("Keep version", elem_id="wb-version-keep", min_width=120)
        with gr.Row():
            name = ChoiceList([], label="Name", elem_id="wb-version-of", interactive=True)
            number = ChoiceList([], label="Version", elem_id="wb-version", interactive=True)
            back = gr.Button("Go back to it", elem_id="wb-version-back", min_width=120)
        trouble = gr.HTML()
        view = gr.HTML(elem_id="wb-version-view")

    def named(*given: object) -> Any:
        return on_names(context, *given)[0]  # one output takes no list

    def opened(*given: object) -> Any:
        return on_version(context, *given)[0]

    gr.on([tab.select, drawer.expand], named, [token, name], [name], **QUIET, **LOOK)
    follow = partial(on_name, context)
    listed = [number, view, trouble]
    name.change(follow, [token, name], listed, **QUIET, **LOOK)
    number.change(opened, [token, name, number], [view], **QUIET, **LOOK)
    keep.click(
        partial(on_keep, context),
        inputs_kwargs={"name": new_name, "note": note, **setup.values},
        outputs=[wording, name, trouble],
        **QUIET,
        **FOLLOW,
    ).then(follow, [token, name], listed, **QUIET, **LOOK)
    back.click(
        partial(on_restore, context),
        inputs_kwargs={"name": name, "number": number, **setup.values},
        outputs=[wording, *setup.editor, trouble],
        **QUIET,
        **FOLLOW,
    ).then(follow, [token, name], listed, **QUIET, **LOOK)
    return [name, number]


def _title(version: WordingVersion) -> str:
    """Return what a version is called in the list."""
    note = f": {shortened(version.note, _NOTE_CHARS)}" if version.note else ""
    return f"{version.number}{note}"
