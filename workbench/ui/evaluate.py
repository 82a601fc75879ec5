"""The tab that measures: many rows on the test split, then what the numbers say and how sure."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import gradio as gr

from workbench.errors import ConfigError
from workbench.service import jobs
from workbench.service.labels import checked_label_name
from workbench.service.ways import experiment_of, is_quick, rows_of, way_choices
from workbench.ui import across_bases, comparison_view, job_panel
from workbench.ui.addresses import caller_address
from workbench.ui.choices import ChoiceList
from workbench.ui.context import PROBLEM, AppContext, SettingValues, or_skip, shows_problems
from workbench.ui.raw_values import item_limit, parse_seeds
from workbench.ui.setup import Setup
from workbench.ui.wiring import FOLLOW, QUIET, TRAIN, enables, forgets


@or_skip(2)
def on_rows(
    context: AppContext, chosen: Sequence[str], offered: Sequence[str], **setting: object
) -> list[Any]:
    """Return the rows that can be evaluated with the setting, and all that were ever offered.

    What was chosen stays; what is offered for the first time, such as a run just trained, is added
    unless it takes minutes.
    """
    workspace, experiment = context.experiment(SettingValues(**setting))
    choices = way_choices(workspace, context.desk, experiment)
    keys = [key for _, key in choices]
    value = [key for key in keys if key in chosen or (key not in offered and is_quick(key))]
    most = context.profile.caps.methods
    shown = gr.Dropdown(choices=choices, value=value[:most], multiselect=True)
    return [shown, [*dict.fromkeys([*offered, *keys])]]


@shows_problems(*job_panel.KEPT, PROBLEM)
def on_evaluate(
    context: AppContext,
    *,
    rows: Sequence[str],
    seeds: object,
    limit_test: object,
    name: object = "",
    **setting: object,
) -> Iterator[list[Any]]:
    """Start an evaluation and show how far it is."""
    values = SettingValues(**setting)
    workspace, shared = context.setting(values)
    if not rows:
        raise ConfigError("rows: none chosen. Choose at least one.")
    numbers, called = parse_seeds(seeds), checked_label_name(name)
    experiment = experiment_of(
        workspace,
        context.profile,
        shared,
        methods=rows_of(workspace, rows, seeds=numbers),
        seeds=numbers[:1],
        limit_test=item_limit(limit_test),
    )
    title = f"{len(experiment.methods)} rows on {context.desk.task(experiment.task).name}"
    job = jobs.submit(
        workspace,
        context.profile,
        experiment,
        kind="evaluate",
        title=title,
        name=called,
        address=caller_address(),
    )
    yield from job_panel.follow(context, "evaluate", values.token, job)


def build(context: AppContext, setup: Setup, tab: gr.Tab) -> None:
    """Lay out the tab and wire it."""
    with gr.Row():
        rows = ChoiceList(
            [],
            label="Rows of the table",
            info="Trained runs are found again and cost nothing.",
            multiselect=True,
            elem_id="wb-rows",
            scale=5,
            min_width=280,
        )
        seeds = gr.Textbox(
            "0",
            label="Seeds",
            info="What is drawn; several, as 0, 1, 2, show how much that matters.",
            min_width=110,
        )
        limit = gr.Textbox("", label="Most test items", placeholder="all", min_width=110)
        name = gr.Textbox(
            "", label="Name", placeholder="optional", elem_id="wb-evaluate-name", min_width=110
        )
    offered = gr.State([])
    start = gr.Button(
        "Evaluate", variant="primary", elem_id="wb-evaluate", interactive=False
    )  # until there are rows
    trouble = gr.HTML()
    panel = job_panel.build(context, setup, "evaluate", tab)
    gr.on(
        [*setup.changes, tab.select, setup.loaded],
        partial(on_rows, context),
        inputs_kwargs={"chosen": rows, "offered": offered, **setup.values},
        outputs=[rows, offered],
        **QUIET,
        **FOLLOW,
    )
    start.click(
        partial(on_evaluate, context),
        inputs_kwargs={
            "rows": rows,
            "seeds": seeds,
            "limit_test": limit,
            "name": name,
            **setup.values,
        },
        outputs=[*panel.outputs, trouble],
        trigger_mode="once",
        **QUIET,
        **TRAIN,
    )
    enables(rows, start)
    forgets([rows.change, seeds.change, limit.change, name.change, *setup.changes], trouble)
    comparison_view.build(context, setup, panel, tab)
    across_bases.build(context, setup)
