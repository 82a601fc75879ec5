"""The page's setting: task, wording and base, which all tabs share; uploads and wordings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from workbench.errors import ConfigError, WorkbenchError
from workbench.models.loading import PRECISIONS
from workbench.service.uploads import (
    SUFFIXES,
    ColumnChoice,
    keep_upload,
    look_at,
    task_choices,
    task_view,
)
from workbench.service.wordings import wording_choices
from workbench.service.workspace import new_token
from workbench.tasks.catalog import list_tasks
from workbench.ui import wording_editor
from workbench.ui.choices import ChoiceList
from workbench.ui.context import (
    KEEP,
    PROBLEM,
    AppContext,
    SettingValues,
    or_skip,
    shows_problem,
    shows_problems,
)
from workbench.ui.page_address import Asked, PageAddress, one_of
from workbench.ui.rendering import render
from workbench.ui.wiring import BRING, FOLLOW, LOAD, QUIET, forgets
from workbench.ui.wording_editor import NUM_PARTS, wording_parts

_STORAGE_KEY, _STORAGE_SECRET = "prompt-workbench", "workbench-visitor"  # of no value
_DEFAULT_TASK = "support_intents"
_OPENS = "Your data, task, wording, base model"
_KINDS = [
    ("one of several labels", "classification"),
    ("a short answer", "short_answer"),
    ("a text", "generation"),
]


@dataclass(frozen=True)
class Setup:
    """Components of the setting.

    Attributes:
        values: Name in `SettingValues` to component; inputs of every handler.
        changes: Events after which other parts of the page have to look again.
        loaded: Fires once the page knows its visitor.
        editor: What shows the chosen wording to edit; see `wording_editor.wording_parts`.
        address: Lets the page's address say what a tab shows.
    """

    values: dict[str, Any]
    changes: Sequence[Any]
    loaded: Any
    editor: Sequence[Any]
    address: PageAddress


def tasks_to_choose(context: AppContext, token: object) -> list[tuple[str, str]]:
    """Return (title, key) of the tasks: uploads, those that need no hub, and those of the hub."""
    files = list_tasks()
    names = [file.name for file in files if file.source.hub_id is None]
    names.sort(key=lambda name: name != _DEFAULT_TASK)
    hub = [file.name for file in files if file.source.hub_id is not None]
    return task_choices(context.workspace(token), [*names, *hub])


@shows_problems(KEEP, *[KEEP] * NUM_PARTS, KEEP, PROBLEM, KEEP)
def on_task(context: AppContext, *, filled: object = None, **setting: object) -> list[Any]:
    """Return wordings, facts of a chosen task, what is wrong with it, and what the editor shows.

    The wording that was chosen stays if the task has it; else it is the first. An editor that was
    filled with it already is left alone: somebody may be writing there.
    """
    workspace, experiment = context.experiment(SettingValues(**setting | {"wording": "plain"}))
    task = context.desk.task(experiment.task)
    choices = wording_choices(workspace, task)
    facts = render("task", view=task_view(task), licence=task.source.licence)
    key, keys = setting["wording"], [key for _, key in choices]
    is_of_task = isinstance(filled, list) and filled[:1] == [setting["task"]]
    if key not in keys and not is_of_task:  # of the task before, or of an address
        key = keys[0]
    shown = [setting["task"], key]
    parts = [gr.skip()] * NUM_PARTS if filled == shown else wording_parts(workspace, task, key)
    return [gr.Dropdown(choices=choices, value=str(key)), *parts, facts, "", shown]


@or_skip(1)
def on_line(context: AppContext, **setting: object) -> list[Any]:
    """Return the setting in a line, with the titles of what is chosen."""
    values = SettingValues(**setting)
    workspace, experiment = context.experiment(SettingValues(**setting | {"wording": "plain"}))
    named = wording_choices(workspace, context.desk.task(experiment.task))
    task = _title_of(values.task, tasks_to_choose(context, values.token))
    wording = _title_of(values.wording, named)
    if task is None or wording is None:
        return [gr.skip()]  # said below the line, or about to be corrected
    return [gr.Accordion(label=_line(task, wording, setting))]


def _title_of(key: object, choices: Sequence[tuple[str, str]]) -> str | None:
    return next((title for title, one in choices if one == key), None)


def _line(task: str, wording: str, setting: Mapping[str, Any]) -> str:
    """Return what the setting comes to in a line."""
    model, precision = (getattr(setting[n], "value", setting[n]) for n in ("model", "precision"))
    chat = " · chat template" if setting["chat"] is True else ""
    return f"{_OPENS}: {task} · {wording} · {model} {precision}{chat}"


@shows_problem
def on_base(context: AppContext, **setting: object) -> Iterator[str]:
    """Yield that the base is being loaded, then nothing, or why it cannot be had."""
    yield render("hint", text=f"Loading {setting['model']} in {setting['precision']} …")
    values = SettingValues(**setting | {"wording": "plain", "task": _DEFAULT_TASK})
    _, experiment = context.experiment(values)
    context.desk.info(experiment)
    yield ""


@shows_problems(PROBLEM, KEEP, KEEP, KEEP, lambda: gr.Group(visible=False))
def on_upload(context: AppContext, file: str | None) -> list[Any]:
    """Return first rows and column choices of an uploaded file."""
    nothing = [gr.skip()] * 3
    if file is None:
        return ["", *nothing, gr.Group(visible=False)]
    view = look_at(Path(file), context.profile.caps)
    columns = list(view.columns)
    return [
        render("table_view", view=view),
        gr.Dropdown(choices=columns, value=view.text_column),
        gr.Dropdown(choices=columns, value=view.label_column),
        gr.Dropdown(choices=[("none", ""), *((name, name) for name in columns)], value=""),
        gr.Group(visible=True),
    ]


@shows_problems(KEEP, PROBLEM)
def on_keep_upload(
    context: AppContext,
    *,
    file: str | None,
    text_column: str,
    label_column: str,
    text_b_column: str,
    kind: str,
    token: object,
) -> list[Any]:
    """Check the mapped file, keep it as a task and choose it."""
    if file is None:
        return [gr.skip(), render("hint", text="Choose a file first.")]
    path = Path(file)
    columns = ColumnChoice(text_column, label_column, text_b_column or None, kind)
    workspace = context.workspace(token)
    key, task = keep_upload(workspace, context.profile.caps, path, path.stem, columns)
    choices = tasks_to_choose(context, token)
    return [
        gr.Dropdown(choices=choices, value=key),
        render("task", view=task_view(task), licence="yours") + render("next", after="upload"),
    ]


def build(context: AppContext) -> Setup:
    """Lay out the line that opens to the setting and its two drawers, and wire them."""
    known = gr.Textbox(visible=False)
    with gr.Accordion("", open=False, elem_id="wb-setting") as line:
        values = _build_row(context)
        token, task, wording = values["token"], values["task"], values["wording"]
        facts = _build_upload(context, token, task)
        filled = gr.State(None)  # task and wording that the editor shows
        editor = wording_editor.build(context, wording, values, filled)
    line.label = _line(task.value, wording.value, values)
    trouble = gr.HTML(elem_id="wb-trouble")
    base_trouble = gr.HTML(elem_id="wb-base-trouble")  # the one does not end with the other
    note = gr.HTML(elem_id="wb-address-note")
    gr.on(
        [task.change, known.change, wording.input],
        partial(on_task, context),
        inputs_kwargs={**values, "filled": filled},
        outputs=[wording, *editor, facts, trouble, filled],
        **QUIET,
        **FOLLOW,
    )
    gr.on(
        [values["model"].change, values["precision"].change],
        partial(on_base, context),
        inputs_kwargs=values,
        outputs=base_trouble,
        **QUIET,
        **LOAD,
    )
    changes = [part.change for name, part in values.items() if name != "token"]

    def lined(**setting: object) -> Any:
        return on_line(context, **setting)[0]  # one output takes no list

    gr.on(
        [*changes, known.change],
        lined,
        inputs_kwargs=values,
        outputs=[line],
        trigger_mode="always_last",
        **QUIET,
        **FOLLOW,
    )
    address = PageAddress(token, known, note)
    _keep(context, values, address)
    return Setup(values, changes, known.change, editor, address)


def _keep(context: AppContext, values: dict[str, Any], address: PageAddress) -> None:
    """Let the page's address say the setting."""
    task, wording, model = values["task"], values["wording"], values["model"]
    usual = task.value, wording.value, model.value

    def show_task(token: str, asked: Sequence[str], _: Asked) -> dict[str, Any]:
        choices = tasks_to_choose(context, token)
        keys = [key for _, key in choices]
        if asked and asked[0] not in keys:
            raise ConfigError(
                f"task: {asked[0]!r} is not here; rows that somebody brought are theirs alone. "
                "Choose one from the list, or bring the rows."
            )
        first = usual[0] if usual[0] in keys else keys[0]  # it may have been deleted
        return gr.update(choices=choices, value=asked[0] if asked else first)

    def show_wording(token: str, asked: Sequence[str], others: Asked) -> dict[str, Any]:
        if not asked:
            return gr.update(value=usual[1])
        keys = [key for _, key in tasks_to_choose(context, token)]
        task = next((key for key in others.get("task", ()) if key in keys), usual[0])
        choices = _wordings_at_hand(context, SettingValues(token, task)) or [(asked[0], asked[0])]
        if asked[0] not in [key for _, key in choices]:
            raise ConfigError(
                f"wording: {asked[0]!r} is none that the task has here; kept ones are their "
                "visitor's alone. Choose one from the list."
            )
        return gr.update(choices=choices, value=asked[0])

    def show_model(token: str, asked: Sequence[str], _: Asked) -> dict[str, Any]:
        if asked and asked[0] not in _known_models(context, token):
            raise ConfigError(
                f"base model: {asked[0]!r} is none that an address may load: those offered on a "
                "public page, and those of your runs. Choose it in the setting if you want it."
            )
        return gr.update(value=asked[0] if asked else usual[2])

    address.keep("task", task, usual=usual[0], show=show_task)
    address.keep("wording", wording, usual=usual[1], show=show_wording)
    address.keep("model", model, usual=usual[2], show=show_model)
    precision = values["precision"]
    shown = one_of(precision, precision.value, "precision")
    address.keep("precision", precision, usual=precision.value, show=shown)
    address.keep(
        "chat",
        values["chat"],
        usual="false",
        show=lambda _token, asked, _: gr.update(value=list(asked) == ["true"]),
    )


def _wordings_at_hand(context: AppContext, values: SettingValues) -> list[tuple[str, str]]:
    """Return a task's wordings; none where the hub would have to be asked, or without a task."""
    if any(file.name == values.task and file.source.hub_id is not None for file in list_tasks()):
        return []
    try:
        workspace, experiment = context.experiment(values)
        return wording_choices(workspace, context.desk.task(experiment.task))
    except WorkbenchError:  # said of the task
        return []


def _known_models(context: AppContext, token: str) -> set[str]:
    """Return the bases that an address may choose: a link must not fetch or load just any."""
    if context.profile.is_public:
        return set(context.profile.models)
    own = {run.spec.base.name for run in context.workspace(token).runs()}
    return {context.profile.models[0], *own}


def _build_row(context: AppContext) -> dict[str, Any]:
    """Lay out the setting; return its components by their names in `SettingValues`."""
    token = gr.BrowserState(None, storage_key=_STORAGE_KEY, secret=_STORAGE_SECRET)
    first = tasks_to_choose(context, new_token())
    with gr.Row(elem_id="wb-setup"):
        task = ChoiceList(first, value=first[0][1], label="Task", elem_id="wb-task", min_width=150)
        wording = ChoiceList(
            [("plain", "plain")],
            value="plain",
            label="Wording",
            elem_id="wb-wording",
            min_width=150,
        )
        model = gr.Dropdown(
            list(context.profile.models),
            value=context.profile.models[0],
            label="Base model",
            allow_custom_value=not context.profile.is_public,
            elem_id="wb-model",
            min_width=190,
        )
        precision = gr.Dropdown(
            list(PRECISIONS),
            value="nf4",
            label="Precision",
            elem_id="wb-precision",
            min_width=110,
        )
        chat = gr.Checkbox(False, label="Chat template", elem_id="wb-chat", min_width=190)
    return {
        "token": token,
        "task": task,
        "wording": wording,
        "model": model,
        "precision": precision,
        "chat": chat,
    }


def _build_upload(context: AppContext, token: gr.BrowserState, task: gr.Dropdown) -> gr.HTML:
    """Lay out the drawer for a visitor's own rows; return where a task's facts are shown."""
    with gr.Accordion("Your own data, and what the task holds", open=False, elem_id="wb-data"):
        facts = gr.HTML(elem_id="wb-task-facts")
        most = context.profile.caps.upload_bytes / 1e6
        file = gr.File(
            label=f"Labelled rows: {', '.join(SUFFIXES)}, at most {most:g} MB",
            file_types=list(SUFFIXES),
            elem_id="wb-file",
            height=150,
        )
        view = gr.HTML()
        with gr.Group(visible=False) as mapping:
            with gr.Row():
                text = ChoiceList([], label="Text column", elem_id="wb-text-column")
                label = ChoiceList([], label="Label column", elem_id="wb-label-column")
                text_b = ChoiceList([("none", "")], value="", label="Second text, if any")
                kind = gr.Dropdown(_KINDS, value="classification", label="The answer is")
            use = gr.Button("Check and use these rows", variant="primary", elem_id="wb-use-rows")
    shown = [view, text, label, text_b, mapping]
    forgets([one.change for one in (text, label, text_b, kind)], view)
    file.change(partial(on_upload, context), file, shown, **QUIET, **BRING)
    use.click(
        partial(on_keep_upload, context),
        inputs_kwargs={
            "file": file,
            "text_column": text,
            "label_column": label,
            "text_b_column": text_b,
            "kind": kind,
            "token": token,
        },
        outputs=[task, view],
        **QUIET,
        **BRING,
    )
    return facts
