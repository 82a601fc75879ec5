"""The drawer that edits a wording: plain boxes or its YAML, and the prompt that comes of either."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from workbench.presentation.display import one_line
from workbench.runs.experiment import Experiment
from workbench.service.wording_boxes import BOXES, boxes_of, with_boxes
from workbench.service.wordings import keep_wording, parse_wording, wording_choices, wording_text
from workbench.service.workspace import Workspace
from workbench.tasks.base import Task
from workbench.ui.context import (
    KEEP,
    PROBLEM,
    AppContext,
    shows_problem,
    shows_problems,
)
from workbench.ui.option_fields import split_values
from workbench.ui.rendering import render
from workbench.ui.wiring import AT_ONCE, FOLLOW, PREVIEW, QUIET

NUM_PARTS = 1 + len(BOXES)
"""How many outputs show a wording: its YAML and the boxes."""

_PREFIX = "box__"  # begins the names of the boxes among a handler's inputs
_EMPTY = "The prompt appears here as you edit."


@dataclass(frozen=True)
class _Asked:
    """A wording as it stands in the drawer, and what it is for."""

    workspace: Workspace
    experiment: Experiment
    task: Task
    text: str


def wording_parts(workspace: Workspace, task: Task, key: object) -> list[Any]:
    """Return a wording for the outputs that show it: as YAML, then in each box.

    Raises:
        WorkbenchError: it is not among the visitor's, is damaged, or does not fit the task.
    """
    text = wording_text(workspace, task, key)
    shown = boxes_of(text, task)
    words = gr.Textbox(value=shown["label_words"], visible=bool(task.labels))
    return [text, *(words if name == "label_words" else shown[name] for name in BOXES)]


@shows_problems(KEEP, KEEP, KEEP, KEEP, PROBLEM)
def on_yaml(context: AppContext, *, text: object, **values: object) -> list[Any]:
    """Show what the boxes say as YAML, to edit it there."""
    asked = _asked(context, text, False, values)
    return [True, gr.Column(visible=False), gr.Column(visible=True), asked.text, gr.skip()]


@shows_problems(KEEP, KEEP, KEEP, *[KEEP] * len(BOXES), PROBLEM)
def on_boxes(context: AppContext, *, text: object, **values: object) -> list[Any]:
    """Show what the YAML says in the boxes, to edit it there."""
    asked = _asked(context, text, True, values)
    shown = boxes_of(asked.text, asked.task)
    views = [False, gr.Column(visible=True), gr.Column(visible=False)]
    return [*views, *(shown[name] for name in BOXES), gr.skip()]


@shows_problem
def on_preview(
    context: AppContext, *, text: object, row: object, is_yaml: object = True, **values: object
) -> str:
    """Return the edited wording rendered on a training row, or what is wrong with it."""
    asked = _asked(context, text, is_yaml, values)
    task, template = asked.task, parse_wording(asked.text, asked.task)
    number = int(row) if isinstance(row, int | float) and 0 <= row < 1e9 else 0
    sample = task.train[number % len(task.train)]
    with context.desk.encoder(asked.experiment, template) as encoder:
        start = encoder.start()
        own = encoder.own_ids(sample.fields, start)
        rendered = encoder.render(sample.fields)
        choices = encoder.choice_ids()
    context_length = context.desk.info(asked.experiment).context_length
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
def on_keep_wording(
    context: AppContext, *, text: object, is_yaml: object = True, **values: object
) -> list[Any]:
    """Keep an edited wording and choose it."""
    asked = _asked(context, text, is_yaml, values)
    key = keep_wording(asked.workspace, asked.text, asked.task, made_from=values["wording"])
    choices = wording_choices(asked.workspace, asked.task)
    return [gr.Dropdown(choices=choices, value=key), gr.skip()]


def _asked(context: AppContext, text: Any, is_yaml: object, values: Mapping[str, object]) -> _Asked:
    """Return the wording of the drawer as YAML: from the editor, or from the boxes above it.

    Raises:
        WorkbenchError: the setting cannot be had, or what stands there is no wording.
    """
    setting, boxes = split_values({**values, "wording": "plain"})
    workspace, experiment = context.experiment(setting)
    task = context.desk.task(experiment.task)
    if is_yaml is not True:
        given = {name: boxes[_PREFIX + name] for name in BOXES if _PREFIX + name in boxes}
        text = with_boxes(text, given, task)
    return _Asked(workspace, experiment, task, text)


def build(
    context: AppContext, wording: gr.Dropdown, values: dict[str, Any], filled: gr.State
) -> list[Any]:
    """Lay out the drawer and wire it; return what `wording_parts` fills.

    Args:
        context: What the tabs share.
        wording: The list of wordings in the setting.
        values: All of the setting.
        filled: Task and wording that the editor shows, once one is kept.
    """
    drawer = gr.Accordion("Wording: edit and preview", open=False, elem_id="wb-wording-drawer")
    with drawer, gr.Row(equal_height=False):
        with gr.Column():
            is_yaml = gr.Checkbox(False, visible=False, elem_id="wb-is-yaml")
            with gr.Column() as plain:
                boxes = _build_boxes()
                to_yaml = gr.Button("Edit as YAML", elem_id="wb-to-yaml", size="sm")
            with gr.Column(visible=False) as source:
                editor = gr.Code(language="yaml", label="Wording", lines=14, elem_id="wb-editor")
                to_boxes = gr.Button("Edit in boxes", elem_id="wb-to-boxes", size="sm")
            with gr.Row():
                row = gr.Number(0, label="Training row to show", precision=0, min_width=120)
                keep = gr.Button("Keep this wording", elem_id="wb-keep-wording")
        preview = gr.HTML(render("hint", text=_EMPTY), elem_id="wb-preview")
    named = {_PREFIX + name: box for name, box in boxes.items()}
    shown = {"text": editor, "is_yaml": is_yaml, **named, **values}
    asked = {key: part for key, part in shown.items() if key != "is_yaml"}
    views = [is_yaml, plain, source]
    to_yaml.click(
        partial(on_yaml, context),
        inputs_kwargs=asked,
        outputs=[*views, editor, preview],
        **QUIET,
        **FOLLOW,
    )
    to_boxes.click(
        partial(on_boxes, context),
        inputs_kwargs=asked,
        outputs=[*views, *boxes.values(), preview],
        **QUIET,
        **FOLLOW,
    )
    gr.on(
        [part.change for part in (editor, row, values["chat"], *boxes.values())],
        partial(on_preview, context),
        inputs_kwargs={**shown, "row": row},
        outputs=preview,
        trigger_mode="always_last",
        **QUIET,
        **PREVIEW,
    )
    keep.click(
        partial(on_keep_wording, context),
        inputs_kwargs=shown,
        outputs=[wording, preview],
        **QUIET,
        **FOLLOW,
    ).then(lambda *shown: list(shown), [values["task"], wording], filled, **AT_ONCE)
    return [editor, *boxes.values()]


def _build_boxes() -> dict[str, gr.Textbox]:
    """Lay out the boxes; return them by name, in the order of `BOXES`."""
    boxes = {
        "instruction": _box("instruction", "Instruction", "{labels}: the label words.", lines=3),
        "input": _box(
            "input", "Input", "Where each {field} of a row goes, up to its answer.", lines=3
        ),
    }
    with gr.Row():
        boxes["separator"] = _box("separator", "Separator", "Between parts; \\n: a line break.")
        boxes["answer_tokens"] = _box(
            "answer_tokens", "Most tokens of an answer", "Empty: what the task needs."
        )
    words = "One label: word a line; what the model is to write for a label."
    boxes["label_words"] = _box("label_words", "Label words", words, lines=2)
    with gr.Accordion("Reasoning before the answer", open=False):
        boxes["reasoning_input"] = _box(
            "reasoning_input", "Input when it reasons", "Worked examples are in the YAML.", lines=3
        )
        boxes["reasoning_trigger"] = _box("reasoning_trigger", "What starts the reasoning", "")
        boxes["reasoning_phrase"] = _box("reasoning_phrase", "What the answer follows", "")
    return {name: boxes[name] for name in BOXES}


def _box(name: str, label: str, info: str, lines: int = 1) -> gr.Textbox:
    return gr.Textbox(
        "",
        label=label,
        info=info or None,
        lines=lines,
        max_lines=20,
        min_width=150,
        elem_id=f"wb-box-{name.replace('_', '-')}",
    )
