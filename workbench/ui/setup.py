"""The first row of the page: task, wording and base, which all tabs share; uploads and wordings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from workbench.errors import WorkbenchError
from workbench.models.loading import PRECISIONS
from workbench.presentation.display import one_line
from workbench.service.uploads import (
    SUFFIXES,
    ColumnChoice,
    keep_upload,
    look_at,
    task_choices,
    task_view,
)
from workbench.service.wordings import keep_wording, parse_wording, wording_choices, wording_text
from workbench.service.workspace import new_token
from workbench.tasks.catalog import list_tasks
from workbench.ui.context import (
    KEEP,
    PROBLEM,
    AppContext,
    SettingValues,
    or_skip,
    shows_problem,
    shows_problems,
)
from workbench.ui.rendering import render
from workbench.ui.wiring import AT_ONCE, BRING, FOLLOW, LOAD, PREVIEW, QUIET

_STORAGE_KEY, _STORAGE_SECRET = "prompt-workbench", "workbench-visitor"  # of no value
_DEFAULT_TASK = "support_intents"
_KINDS = [
    ("one of several labels", "classification"),
    ("a short answer", "short_answer"),
    ("a text", "generation"),
]


@dataclass(frozen=True)
class Setup:
    """Components of the first row.

    Attributes:
        values: Name in `SettingValues` to component; inputs of every handler.
        changes: Events after which other parts of the page have to look again.
        loaded: Fires once the page knows its visitor.
    """

    values: dict[str, Any]
    changes: Sequence[Any] = field(default_factory=tuple)
    loaded: Any = None


def on_load(context: AppContext, token: object) -> list[Any]:
    """Return the visitor's token (a new one the first time) and the tasks to choose from."""
    known = token if isinstance(token, str) and token else new_token()
    try:
        choices = tasks_to_choose(context, known)
    except WorkbenchError:
        known = new_token()
        choices = tasks_to_choose(context, known)
    return [known, gr.Dropdown(choices=choices), known]


def tasks_to_choose(context: AppContext, token: object) -> list[tuple[str, str]]:
    """Return (title, key) of the tasks: uploads, those that need no hub, and those of the hub."""
    files = list_tasks()
    names = [file.name for file in files if file.source.hub_id is None]
    names.sort(key=lambda name: name != _DEFAULT_TASK)
    hub = [file.name for file in files if file.source.hub_id is not None]
    return task_choices(context.workspace(token), [*names, *hub])


@shows_problems(KEEP, KEEP, KEEP, PROBLEM)
def on_task(context: AppContext, **setting: object) -> list[Any]:
    """Return wordings, text to edit and facts of a chosen task, and what is wrong with it."""
    workspace, experiment = context.experiment(SettingValues(**setting | {"wording": "plain"}))
    task = context.desk.task(experiment.task)
    choices = wording_choices(workspace, task)
    facts = render("task", view=task_view(task), licence=task.source.licence)
    key = choices[0][1]
    text = wording_text(workspace, task, key)
    return [gr.Dropdown(choices=choices, value=key), text, facts, ""]


@shows_problem
def on_base(context: AppContext, **setting: object) -> Iterator[str]:
    """Yield that the base is being loaded, then nothing, or why it cannot be had."""
    yield render("hint", text=f"Loading {setting['model']} in {setting['precision']} …")
    values = SettingValues(**setting | {"wording": "plain", "task": _DEFAULT_TASK})
    _, experiment = context.experiment(values)
    context.desk.info(experiment)
    yield ""


@or_skip(1)
def on_wording(context: AppContext, **setting: object) -> list[Any]:
    """Return the chosen wording as YAML to edit."""
    workspace, experiment = context.experiment(SettingValues(**setting | {"wording": "plain"}))
    task = context.desk.task(experiment.task)
    return [wording_text(workspace, task, setting["wording"])]


@shows_problem
def on_preview(context: AppContext, *, text: str, row: object, **setting: object) -> str:
    """Return the edited wording rendered on a training row, or what is wrong with it."""
    _, experiment = context.experiment(SettingValues(**setting | {"wording": "plain"}))
    task = context.desk.task(experiment.task)
    template = parse_wording(text, task)
    number = int(row) if isinstance(row, int | float) and 0 <= row < 1e9 else 0
    sample = task.train[number % len(task.train)]
    with context.desk.encoder(experiment, template) as encoder:
        start = encoder.start()
        own = encoder.own_ids(sample.fields, start)
        rendered = encoder.render(sample.fields)
        choices = encoder.choice_ids()
    context_length = context.desk.info(experiment).context_length
    shared = len(start.head_ids) + len(start.shared_ids)
    return render(
        "preview",
        shared=rendered.head + rendered.start,
        own=rendered.tail,
        target=template.word(sample.target),
        num_shared=shared,
        num_own=len(own),
        share=(shared + len(own)) / context_length,
        context_length=context_length,
        words=[
            (one_line(template.word(label)), len(ids))
            for label, ids in zip(task.labels, choices, strict=True)
        ],
    )


@shows_problems(KEEP, PROBLEM)
def on_keep_wording(context: AppContext, *, text: str, **setting: object) -> list[Any]:
    """Keep an edited wording and choose it."""
    workspace, experiment = context.experiment(SettingValues(**setting | {"wording": "plain"}))
    task = context.desk.task(experiment.task)
    key = keep_wording(workspace, text, task)
    choices = wording_choices(workspace, task)
    return [gr.Dropdown(choices=choices, value=key), gr.skip()]


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
        render("task", view=task_view(task), licence="yours"),
    ]


def build(context: AppContext, app: gr.Blocks) -> Setup:
    """Lay out the first row and its two drawers, and wire them."""
    known = gr.Textbox(visible=False)
    values = _build_row(context)
    token, task, wording = values["token"], values["task"], values["wording"]
    trouble = gr.HTML(elem_id="wb-trouble")
    facts = _build_upload(context, token, task)
    editor = _build_wording(context, wording, values)
    app.load(partial(on_load, context), token, [token, task, known], **AT_ONCE)
    gr.on(
        [task.change, known.change],
        partial(on_task, context),
        inputs_kwargs=values,
        outputs=[wording, editor, facts, trouble],
        **QUIET,
        **FOLLOW,
    )
    edited = partial(on_wording, context)
    wording.input(edited, inputs_kwargs=values, outputs=[editor], **QUIET, **FOLLOW)
    gr.on(
        [values["model"].change, values["precision"].change],
        partial(on_base, context),
        inputs_kwargs=values,
        outputs=trouble,
        **QUIET,
        **LOAD,
    )
    changes = [part.change for name, part in values.items() if name != "token"]
    return Setup(values, changes, known.change)


def _build_row(context: AppContext) -> dict[str, Any]:
    """Lay out the first row; return its components by their names in `SettingValues`."""
    token = gr.BrowserState(None, storage_key=_STORAGE_KEY, secret=_STORAGE_SECRET)
    first = tasks_to_choose(context, new_token())
    with gr.Row(elem_id="wb-setup"):
        task = gr.Dropdown(first, value=first[0][1], label="Task", elem_id="wb-task", min_width=150)
        wording = gr.Dropdown(
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
        precision = gr.Dropdown(list(PRECISIONS), value="nf4", label="Precision", min_width=110)
        chat = gr.Checkbox(False, label="Chat template", min_width=190)
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
                text = gr.Dropdown([], label="Text column", elem_id="wb-text-column")
                label = gr.Dropdown([], label="Label column", elem_id="wb-label-column")
                text_b = gr.Dropdown([("none", "")], value="", label="Second text, if any")
                kind = gr.Dropdown(_KINDS, value="classification", label="The answer is")
            use = gr.Button("Check and use these rows", variant="primary", elem_id="wb-use-rows")
    shown = [view, text, label, text_b, mapping]
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


def _build_wording(
    context: AppContext,
    wording: gr.Dropdown,
    values: dict[str, Any],
) -> gr.Code:
    """Lay out the drawer that edits the wording; return the editor."""
    drawer = gr.Accordion("Wording: edit and preview", open=False, elem_id="wb-wording-drawer")
    with drawer, gr.Row(equal_height=False):
        with gr.Column():
            editor = gr.Code(language="yaml", label="Wording", lines=14, elem_id="wb-editor")
            with gr.Row():
                row = gr.Number(0, label="Training row to show", precision=0, min_width=120)
                keep = gr.Button("Keep this wording", elem_id="wb-keep-wording")
        preview = gr.HTML(
            render("hint", text="The prompt appears here as you edit."), elem_id="wb-preview"
        )
    shown = {"text": editor, "row": row, **values}
    gr.on(
        [editor.change, row.change],
        partial(on_preview, context),
        inputs_kwargs=shown,
        outputs=preview,
        trigger_mode="always_last",
        **QUIET,
        **PREVIEW,
    )
    keep.click(
        partial(on_keep_wording, context),
        inputs_kwargs={"text": editor, **values},
        outputs=[wording, preview],
        **QUIET,
        **FOLLOW,
    )
    return editor
