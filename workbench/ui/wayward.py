"""The form that trains a prompt to read as a sentence of the visitor's, beside an ordinary one."""

from collections.abc import Iterator
from functools import partial

import gradio as gr

from workbench.errors import ConfigError
from workbench.service import jobs
from workbench.service.ways import experiment_of
from workbench.ui import job_panel
from workbench.ui.addresses import caller_address
from workbench.ui.context import AppContext, SettingValues, shows_problem
from workbench.ui.rendering import render
from workbench.ui.setup import Setup
from workbench.ui.wiring import QUIET, TRAIN, enables, forgets


@shows_problem
def on_wayward(context: AppContext, *, says: object, **setting: object) -> Iterator[str]:
    """Start a training of two prompts: an ordinary one, and one that has to read as a sentence."""
    text = says.strip() if isinstance(says, str) else ""
    if not text:
        raise ConfigError("what it says: empty. Write the sentence the prompt shall read as.")
    values = SettingValues(**setting)
    workspace, shared = context.setting(values)
    rows = {"prompt_tuning": {}, "wayward": {"method": "prompt_tuning", "says": text}}
    experiment = experiment_of(workspace, context.profile, shared, methods=rows)
    name = context.desk.task(experiment.task).name
    job = jobs.submit(
        workspace,
        context.profile,
        experiment,
        kind="train",
        title=f"wayward on {name}",
        address=caller_address(),
    )
    told = render(
        "hint",
        text="Training two prompts: an ordinary one and 'wayward', which has to read as your "
        "sentence. Watch them under Train; when they are finished, open 'wayward' here.",
    )
    yield told
    for _ in job_panel.follow(context, "train", values.token, job):
        yield told


def build(context: AppContext, setup: Setup) -> None:
    """Lay out the form that shows how little nearest tokens need to mean."""
    with gr.Accordion("Train a prompt that says what you like", open=False, elem_id="wb-wayward"):
        gr.Markdown(
            "A soft prompt can be trained to lie next to any sentence and still do its task "
            "(Khashabi et al. 2022). Train one beside an ordinary prompt, then open both here."
        )
        says = gr.Textbox(
            label="Train a prompt that says",
            placeholder="The weather is lovely in the mountains today",
            max_length=400,
            elem_id="wb-says",
        )
        start = gr.Button("Train both prompts", elem_id="wb-wayward-train", interactive=False)
        note = gr.HTML(elem_id="wb-wayward-note")
    enables(says, start)
    forgets([says.change, *setup.changes], note)
    start.click(
        partial(on_wayward, context),
        inputs_kwargs={"says": says, **setup.values},
        outputs=note,
        trigger_mode="once",
        **QUIET,
        **TRAIN,
    )
