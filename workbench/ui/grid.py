"""The tab that asks wordings and ways about texts in one table; for "which wording is better?"."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import gradio as gr

from workbench.errors import ConfigError, without_folders
from workbench.service.accelerator import accelerated
from workbench.service.grids import (
    MOST_DEV_TEXTS,
    GridAsked,
    Place,
    command_of,
    note_figures_of,
    stream_grid,
)
from workbench.service.ways import first_ways, way_choices
from workbench.service.wordings import wording_choices
from workbench.serving.grid import Grid
from workbench.ui import grid_marks, grid_versions
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
from workbench.ui.grid_view import grid_html
from workbench.ui.raw_values import number_between
from workbench.ui.rendering import render
from workbench.ui.setup import Setup
from workbench.ui.wiring import FOLLOW, MODEL, QUIET, WAITING, enables, forgets, stops

_YIELD_SECONDS = 0.1  # between two updates of the page
_CELLS_AT_ONCE = 500  # of which a table is sent ten times a second; larger ones less often
_GRID_SECONDS = 60  # of a lent accelerator
_FIRST_DEV_TEXTS = 8
_EMPTY = "Choose wordings and ways, write texts, and press Fill: the cells appear as they come."


@shows_problems(PROBLEM, KEEP)
def on_fill(
    context: AppContext,
    *,
    texts: object,
    num_dev: object,
    wordings: object,
    ways: object,
    bases: object = (),
    **setting: object,
) -> Iterator[list[Any]]:
    """Yield the table as it fills, at most ten times a second, and what is answered, to mark."""
    asked = asked_of(
        context, texts=texts, num_dev=num_dev, wordings=wordings, ways=ways, bases=bases
    )
    workspace, experiment = context.experiment(SettingValues(**setting))
    place = Place(workspace, context.profile, context.desk)
    yield [render("waiting", text=WAITING, asked=[]), gr.skip()]
    shown, last = 0.0, None
    for grid, named in stream_grid(place, experiment, asked):
        last = (grid, named)
        pause = _YIELD_SECONDS * max(1.0, grid.num_cells / _CELLS_AT_ONCE)
        if time.monotonic() - shown >= pause:
            shown = time.monotonic()
            yield [grid_html(grid, named, is_done=False), answered(grid)]
    if last is not None:
        note_figures_of(place, asked, *last)
        yield [grid_html(*last, is_done=True), answered(last[0])]


def asked_of(
    context: AppContext,
    *,
    texts: object,
    num_dev: object,
    wordings: object,
    ways: object,
    bases: object,
) -> GridAsked:
    """Return what is asked for, out of raw values of the page.

    Raises:
        ConfigError: a value of another kind, or out of bounds.
    """
    most = context.profile.caps.cells
    if not isinstance(texts, str):
        raise ConfigError(f"texts: of type {type(texts).__name__}; one text per line is needed.")
    named = _keys(bases, "base models") if bases else []
    for base in named:
        context.profile.check_model(base)
    return GridAsked(
        bases=named,
        wordings=_keys(wordings, "wordings"),
        ways=_keys(ways, "ways"),
        texts=texts,
        num_dev=int(number_between(num_dev, "dev rows", 0, min(most, MOST_DEV_TEXTS))),
    )


def answered(grid: Grid) -> dict[str, Any]:
    """Return task, texts, columns and answers of a grid as plain data, for marks."""
    cells = [
        [grid.cells.get((row, column)) for column in range(len(grid.columns))]
        for row in range(len(grid.samples))
    ]
    return {
        "task": grid.task.digest,
        "texts": [dict(sample.fields) for sample in grid.samples],
        "headings": grid.headings,
        "columns": [[column.wording, column.way] for column in grid.columns],
        "answers": [[None if one is None else one.answer for one in line] for line in cells],
    }


@or_skip(2)
def on_setting(
    context: AppContext, chosen: object, wordings: object, **setting: object
) -> list[Any]:
    """Return the wordings and ways that fit the setting; what was chosen stays where it can."""
    values = SettingValues(**setting)
    workspace, experiment = context.experiment(values)
    task = context.desk.task(experiment.task)
    ways = way_choices(workspace, context.desk, experiment)
    named = wording_choices(workspace, task)
    usual = [key for _, key in named if key == values.wording] or [named[0][1]]
    return [
        gr.Dropdown(choices=named, value=_kept(wordings, named) or usual, multiselect=True),
        gr.Dropdown(choices=ways, value=_kept(chosen, ways) or first_ways()[:1], multiselect=True),
    ]


@shows_problem
def on_command(
    context: AppContext,
    *,
    texts: object,
    num_dev: object,
    wordings: object,
    ways: object,
    bases: object = (),
    **setting: object,
) -> str:
    """Return the command that fills the same table in a terminal."""
    asked = asked_of(
        context, texts=texts, num_dev=num_dev, wordings=wordings, ways=ways, bases=bases
    )
    workspace, shared = context.setting(SettingValues(**setting))
    place = Place(workspace, context.profile, context.desk)
    command = command_of(place, shared, asked)
    return render("command", command=without_folders(command) if workspace.is_public else command)


def build(context: AppContext, setup: Setup, tab: gr.Tab) -> None:
    """Lay out the tab and wire it."""
    fields, go, stop = _build_inputs(context)
    table = gr.HTML(render("hint", text=_EMPTY), elem_id="wb-grid")
    found = gr.State(None)
    grid_marks.build(context, setup, found)
    grid_versions.build(context, setup, tab)
    with gr.Accordion("The same in a terminal", open=False, elem_id="wb-grid-command") as drawer:
        command = gr.HTML()
    filling = go.click(
        accelerated(partial(on_fill, context), context.profile, seconds=_GRID_SECONDS),
        inputs_kwargs={**fields, **setup.values},
        outputs=[table, found],
        trigger_mode="once",
        **QUIET,
        **MODEL,
    )
    stops(stop, filling, table)
    enables(fields["ways"], go)
    changed = [*(part.change for part in fields.values()), *setup.changes]
    forgets(changed, table, instead=render("hint", text=_EMPTY))
    gr.on(
        [drawer.expand, go.click],
        partial(on_command, context),
        inputs_kwargs={**fields, **setup.values},
        outputs=command,
        **QUIET,
        **FOLLOW,
    )
    gr.on(
        [*setup.changes, tab.select, setup.loaded],
        partial(on_setting, context),
        inputs_kwargs={"chosen": fields["ways"], "wordings": fields["wordings"], **setup.values},
        outputs=[fields["wordings"], fields["ways"]],
        **QUIET,
        **FOLLOW,
    )


def _build_inputs(context: AppContext) -> tuple[dict[str, Any], gr.Button, gr.Button]:
    """Lay out what is asked; return the inputs of `on_fill`, and both buttons."""
    caps = context.profile.caps
    with gr.Row(equal_height=False):
        with gr.Column(scale=3):
            texts = gr.Textbox(
                label="Texts",
                info="One per line; ||| between the two texts of a task that has two.",
                lines=5,
                elem_id="wb-grid-texts",
            )
            with gr.Row():
                go = gr.Button("Fill", variant="primary", elem_id="wb-grid-fill", min_width=110)
                stop = gr.Button("Stop", elem_id="wb-grid-stop", min_width=80)
        with gr.Column(scale=2):
            wordings = ChoiceList(
                label="Wordings",
                info="The others are held against the first.",
                choices=[],
                multiselect=True,
                max_choices=caps.grid_columns,
                elem_id="wb-grid-wordings",
            )
            ways = ChoiceList(
                label="Ways to answer",
                choices=[],
                multiselect=True,
                max_choices=caps.columns,
                elem_id="wb-grid-ways",
            )
            bases = gr.Dropdown(
                list(context.profile.models),
                label="Base models",
                info="None: the one of the setting. Several are loaded one after the other.",
                multiselect=True,
                allow_custom_value=not context.profile.is_public,
                visible=not context.profile.is_public or len(context.profile.models) > 1,
                elem_id="wb-grid-bases",
            )
            num_dev = gr.Number(
                _FIRST_DEV_TEXTS,
                label="Rows of the task's dev split",
                info="Their right answers are known.",
                precision=0,
                elem_id="wb-grid-dev",
            )
    fields = {
        "texts": texts,
        "num_dev": num_dev,
        "wordings": wordings,
        "ways": ways,
        "bases": bases,
    }
    return fields, go, stop


def _keys(value: object, kind: str) -> list[str]:
    """Return chosen keys.

    Raises:
        ConfigError: no list of texts, or none.
    """
    if not isinstance(value, list | tuple) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{kind}: {str(value)[:60]!r} is no list of them. Choose from the list.")
    if not value:
        raise ConfigError(f"{kind}: none chosen. Choose at least one.")
    return list(dict.fromkeys(value))


def _kept(chosen: object, choices: Sequence[tuple[str, str]]) -> list[str]:
    """Return the chosen keys that can still be chosen."""
    keys = [key for _, key in choices]
    return [key for key in chosen if key in keys] if isinstance(chosen, list | tuple) else []
