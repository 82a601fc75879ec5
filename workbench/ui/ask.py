"""The tab that answers one text in several ways side by side; for "what does each of them say?"."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import gradio as gr

from workbench.presentation.display import one_line
from workbench.service.accelerator import accelerated
from workbench.service.command_line import ask_command
from workbench.service.profile import Caps
from workbench.service.ways import experiment_of, first_ways, rows_of, way_choices
from workbench.serving.asking import Column, LeftOut
from workbench.ui.answer_cards import columns_html
from workbench.ui.context import AppContext, SettingValues, or_skip, shows_problem
from workbench.ui.question import Question, field_title, stream_columns
from workbench.ui.rendering import render
from workbench.ui.setup import Setup
from workbench.ui.wiring import AT_ONCE, FOLLOW, MODEL, QUIET

_YIELD_SECONDS = 0.1  # between two updates of the page
_ANSWER_SECONDS = 20  # of a lent accelerator
_NUM_EXAMPLES = 4
_LABEL_CHARS = 70  # of an example to click
_DEFAULT_COLUMNS = 5
_EMPTY = "Write a text above, or click an example, and press Answer: all columns answer at once."


@shows_problem
def on_answer(
    context: AppContext,
    *,
    text: object,
    text_b: object,
    ways: Sequence[str],
    max_new_tokens: object,
    temperature: object,
    seed: object,
    **setting: object,
) -> Iterator[str]:
    """Yield the cards as they grow, at most ten times a second."""
    question = Question((text, text_b), ways, max_new_tokens, temperature, seed)
    columns: list[Column] = []
    left_out: list[LeftOut] = []
    shown = 0.0
    yield render("hint", text="Waiting for the model …")
    for columns, left_out in stream_columns(context, SettingValues(**setting), question):
        if time.monotonic() - shown >= _YIELD_SECONDS:
            shown = time.monotonic()
            yield columns_html(columns, left_out, is_done=False)
    yield columns_html(columns, left_out, is_done=True)


@or_skip(4)
def on_setting(context: AppContext, chosen: Sequence[str], **setting: object) -> list[Any]:
    """Return text boxes, examples and ways that fit the setting: for the outputs of `build`."""
    workspace, experiment = context.experiment(SettingValues(**setting))
    task = context.desk.task(experiment.task)
    first, *second = task.field_names
    choices = way_choices(workspace, context.desk, experiment)
    samples = [[*sample.fields.values(), ""][:2] for sample in task.dev[:_NUM_EXAMPLES]]
    return [
        gr.Textbox(label=field_title(first)),
        gr.Textbox(label=field_title(second[0]) if second else "", visible=bool(second), value=""),
        gr.Dataset(samples=samples, sample_labels=[_sample_label(sample) for sample in samples]),
        gr.Dropdown(choices=choices, value=keep_or_default(chosen, choices), multiselect=True),
    ]


def keep_or_default(chosen: Sequence[str], choices: Sequence[tuple[str, str]]) -> list[str]:
    """Return the chosen keys that still exist, and the newest trained ones in free places."""
    keys = [key for _, key in choices]
    kept = [key for key in chosen if key in keys] or first_ways()
    others = [key for key in keys if not key.startswith("words:") and key not in kept]
    return kept + others[: max(0, _DEFAULT_COLUMNS - len(kept))]


@shows_problem
def on_command(
    context: AppContext, *, text: str, text_b: str, ways: Sequence[str], **setting: object
) -> str:
    """Return the command that asks the same in a terminal."""
    workspace, shared = context.setting(SettingValues(**setting))
    rows = rows_of(workspace, ways, seeds=[0])
    experiment = experiment_of(workspace, context.profile, shared, methods=rows)
    names = context.desk.task(experiment.task).field_names
    texts = [str(given or "…") for given in (text, text_b)][: len(names)]
    return render("command", command=ask_command(experiment, texts, workspace.folder))


def build(context: AppContext, setup: Setup, tab: gr.Tab) -> None:
    """Lay out the tab and wire it."""
    fields, go, stop = _build_inputs(context.profile.caps)
    text, text_b, ways = fields["text"], fields["text_b"], fields["ways"]
    examples = gr.Dataset(
        label="Examples to click",
        components=[text, text_b],
        samples=[["", ""]],
        sample_labels=[""],
        layout="gallery",
        elem_id="wb-examples",
    )
    cards = gr.HTML(render("hint", text=_EMPTY), elem_id="wb-columns")
    with gr.Accordion("The same in a terminal", open=False, elem_id="wb-ask-command") as drawer:
        command = gr.HTML()
    asked = gr.on(
        [go.click, text.submit],
        accelerated(partial(on_answer, context), context.profile, seconds=_ANSWER_SECONDS),
        inputs_kwargs={**fields, **setup.values},
        outputs=cards,
        trigger_mode="once",
        **QUIET,
        **MODEL,
    )
    stop.click(None, cancels=[asked], **AT_ONCE)
    gr.on(
        [drawer.expand, go.click],
        partial(on_command, context),
        inputs_kwargs={"text": text, "text_b": text_b, "ways": ways, **setup.values},
        outputs=command,
        **QUIET,
        **FOLLOW,
    )
    examples.click(
        lambda sample: (sample[0], sample[1] if len(sample) > 1 else ""),
        examples,
        [text, text_b],
        **AT_ONCE,
    )
    gr.on(
        [*setup.changes, tab.select, setup.loaded],
        partial(on_setting, context),
        inputs_kwargs={"chosen": ways, **setup.values},
        outputs=[text, text_b, examples, ways],
        **QUIET,
        **FOLLOW,
    )


def _build_inputs(caps: Caps) -> tuple[dict[str, Any], gr.Button, gr.Button]:
    """Lay out what is asked; return the inputs of `on_answer`, and both buttons."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=3):
            text = gr.Textbox(
                label="Text",
                placeholder="Shift + Enter answers",
                lines=3,
                max_length=caps.text_chars,
                elem_id="wb-text",
                autofocus=True,
            )
            text_b = gr.Textbox(label="", lines=2, visible=False, max_length=caps.text_chars)
            with gr.Row():
                go = gr.Button("Answer", variant="primary", elem_id="wb-answer", min_width=110)
                stop = gr.Button("Stop", elem_id="wb-stop", min_width=80)
        with gr.Column(scale=2):
            ways = gr.Dropdown(
                label="Ways to answer",
                info="Words need no training; train vectors and weights in the next tab.",
                choices=[],
                multiselect=True,
                max_choices=caps.columns,
                elem_id="wb-ways",
            )
            with gr.Accordion("How to decode", open=False):
                tokens = gr.Slider(1, caps.new_tokens, 24, step=1, label="Most new tokens")
                temperature = gr.Slider(0, 2, 0, step=0.1, label="Temperature, 0 is greedy")
                seed = gr.Number(0, label="Seed", precision=0)
    fields = {
        "text": text,
        "text_b": text_b,
        "ways": ways,
        "max_new_tokens": tokens,
        "temperature": temperature,
        "seed": seed,
    }
    return fields, go, stop


def _sample_label(texts: Sequence[str]) -> str:
    """Return an example as one short line."""
    label = one_line(" / ".join(text for text in texts if text))
    return label if len(label) <= _LABEL_CHARS else f"{label[: _LABEL_CHARS - 1]}…"
