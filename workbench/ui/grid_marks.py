"""Marks on the answers of a grid: right or wrong, a comment; and the rows they make."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import gradio as gr

from workbench.errors import ConfigError
from workbench.presentation.display import shortened
from workbench.service.marks import (
    MOST_COMMENT,
    Mark,
    add_mark,
    export_marks,
    labelled_rows,
    marks_of,
    task_of_marks,
)
from workbench.service.uploads import task_view
from workbench.service.workspace import Workspace
from workbench.tasks.base import Task
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
from workbench.ui.raw_values import choice_of
from workbench.ui.rendering import render
from workbench.ui.setup import Setup, tasks_to_choose
from workbench.ui.wiring import BRING, FOLLOW, MAKE, QUIET

_TEXT_CHARS = 60  # of a text to choose
_SHOWN = 20  # marks, the latest
_FORMS = (".csv", ".jsonl")
_VERDICTS = ("right", "wrong")


@or_skip(4)
def on_filled(
    context: AppContext,
    *,
    found: object,
    text: object = None,
    column: object = None,
    correct: object = "",
    **setting: object,
) -> list[Any]:
    """Return the texts, columns and labels to choose from, and the marks there are.

    What is chosen stays while it can: a grid that fills calls this ten times a second.
    """
    workspace, task = _task(context, setting)
    texts, headings = [], []
    if isinstance(found, Mapping):
        texts = [
            (f"{number}. {shortened(' / '.join(fields.values()), _TEXT_CHARS)}", number - 1)
            for number, fields in enumerate(found["texts"], start=1)
        ]
        headings = [(name, number) for number, name in enumerate(found["headings"])]
    labels = [("not said", ""), *((label, label) for label in task.labels)]
    is_typed = isinstance(correct, str) and not task.labels  # any answer may be the correct one
    return [
        _list_of(texts, text, 0 if texts else None),
        _list_of(headings, column, 0 if headings else None),
        gr.Dropdown(choices=labels) if is_typed else _list_of(labels, correct, ""),
        _shown(task, marks_of(workspace, task)),
    ]


@shows_problem
def on_mark(
    context: AppContext,
    *,
    found: object,
    text: object,
    column: object,
    verdict: object,
    correct: object,
    comment: object,
    **setting: object,
) -> str:
    """Keep a mark on the chosen answer; return all marks."""
    workspace, task = _task(context, setting)
    if not isinstance(found, Mapping):
        raise ConfigError("marks: no answer yet. Fill the grid first.")
    row = _place(text, len(found["texts"]), "text")
    place = _place(column, len(found["columns"]), "column")
    fields = found["texts"][row]
    if found["task"] != task.digest:
        raise ConfigError("marks: the grid shows another task by now. Fill it again.")
    wording, way = found["columns"][place]
    mark = Mark(
        fields=fields,
        answer=found["answers"][row][place] or "",
        verdict="right" if choice_of(verdict, _VERDICTS, "mark") == "right" else "wrong",
        correct=str(correct or "").strip() if verdict == "wrong" else "",
        comment=str(comment or "").strip(),
        wording=wording,
        way=way,
    )
    if mark.verdict == "right" and not mark.answer:
        raise ConfigError("marks: this cell has no answer, which cannot be right. Mark it wrong.")
    return _shown(task, add_mark(workspace, context.profile.caps, task, mark))


@shows_problems(KEEP, PROBLEM)
def on_export(context: AppContext, *, form: object, **setting: object) -> list[Any]:
    """Write all marks on the task's texts into a file to take away."""
    workspace, task = _task(context, setting)
    marks = marks_of(workspace, task)
    if not marks:
        raise ConfigError("marks: none on this task yet. Mark an answer first.")
    suffix = choice_of(form, _FORMS, "form")
    folder = context.exports_of(workspace)
    path = folder / f"{task.name}_marks{suffix}"
    export_marks(task, marks, path)
    return [gr.File(value=str(path), visible=True), gr.skip()]


@shows_problems(KEEP, PROBLEM)
def on_make_task(context: AppContext, **setting: object) -> list[Any]:
    """Keep the marks as a task of the visitor's and choose it."""
    workspace, task = _task(context, setting)
    marks = marks_of(workspace, task)
    key, made = task_of_marks(workspace, context.profile.caps, task, marks)
    choices = tasks_to_choose(context, setting["token"])
    facts = render("task", view=task_view(made), licence="yours")
    return [gr.Dropdown(choices=choices, value=key), facts]


def build(context: AppContext, setup: Setup, found: gr.State) -> gr.Accordion:
    """Lay out the panel and wire it to what a grid has answered so far."""
    drawer = gr.Accordion("Mark answers, and make rows of them", open=False, elem_id="wb-marks")
    with drawer:
        with gr.Row():
            text = ChoiceList([], label="Text", elem_id="wb-mark-text", min_width=260)
            column = ChoiceList([], label="Column", elem_id="wb-mark-column", min_width=180)
            verdict = gr.Radio(list(_VERDICTS), value="right", label="Its answer is")
            correct = ChoiceList(
                [("not said", "")],
                value="",
                label="Correct answer, where it is wrong",
                allow_custom_value=True,
                elem_id="wb-mark-correct",
            )
        comment = gr.Textbox(label="Comment", max_length=MOST_COMMENT, elem_id="wb-mark-comment")
        with gr.Row():
            mark = gr.Button("Mark", variant="primary", elem_id="wb-mark", min_width=80)
            form = gr.Radio(list(_FORMS), value=_FORMS[0], show_label=False, container=False)
            export = gr.Button("Export marks", elem_id="wb-mark-export", min_width=120)
            make = gr.Button("Make a task of them", elem_id="wb-mark-task", min_width=150)
        marks = gr.HTML(elem_id="wb-mark-list")
        file = gr.File(visible=False, label="Marked answers as labelled rows")
    chosen = {"text": text, "column": column, "verdict": verdict}
    said = {"correct": correct, "comment": comment}
    mark.click(
        partial(on_mark, context),
        inputs_kwargs={"found": found, **chosen, **said, **setup.values},
        outputs=marks,
        **QUIET,
        **FOLLOW,
    )
    export.click(
        partial(on_export, context),
        inputs_kwargs={"form": form, **setup.values},
        outputs=[file, marks],
        **QUIET,
        **MAKE,
    )
    make.click(
        partial(on_make_task, context),
        inputs_kwargs=setup.values,
        outputs=[setup.values["task"], marks],
        **QUIET,
        **BRING,
    )
    to_mark = {"found": found, "text": text, "column": column, "correct": correct}
    gr.on(
        [drawer.expand, found.change],
        partial(on_filled, context),
        inputs_kwargs={**to_mark, **setup.values},
        outputs=[text, column, correct, marks],
        trigger_mode="always_last",
        **QUIET,
        **FOLLOW,
    )
    return drawer


def _task(context: AppContext, setting: Mapping[str, object]) -> tuple[Workspace, Task]:
    """Return the visitor's workspace and the chosen task."""
    values = SettingValues(**{**setting, "wording": "plain"})
    workspace, experiment = context.experiment(values)
    return workspace, context.desk.task(experiment.task)


def _list_of(
    choices: Sequence[tuple[str, str | int]], chosen: object, first: str | int | None
) -> gr.Dropdown:
    """Return a list whose choice is left alone while it is one; else the first is chosen."""
    if chosen in [value for _, value in choices]:
        return gr.Dropdown(choices=[*choices])  # no value: somebody may be choosing just now
    return gr.Dropdown(choices=[*choices], value=first)


def _place(value: object, most: int, kind: str) -> int:
    """Return a place in a list.

    Raises:
        ConfigError: none, or beyond its end.
    """
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not is_number or not 0 <= int(str(value)) < most:
        raise ConfigError(f"{kind}: {str(value)[:40]!r} is none. Choose one from the list.")
    return int(str(value))


def _shown(task: Task, marks: list[Mark]) -> str:
    """Return the latest marks as a table."""
    rows = labelled_rows(task, marks)[::-1]
    return render("marks", rows=rows[:_SHOWN], total=len(rows), fields=task.field_names)
