"""What a reading found, on the page: verdict, map, tables, one vector's card, and files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from workbench.errors import ConfigError
from workbench.presentation.reading import Reading
from workbench.presentation.reading_files import write_reading
from workbench.progress import ProgressEvent
from workbench.ui.choices import ChoiceList
from workbench.ui.context import (
    PROBLEM,
    AppContext,
    SettingValues,
    guarded,
    shows_problem,
    told_to_caller,
)
from workbench.ui.reading_view import (
    card_html,
    details_html,
    map_of,
    progress_html,
    slots_of,
    verdict_html,
)
from workbench.ui.readings import Asked, Steps
from workbench.ui.rendering import render
from workbench.ui.setup import Setup
from workbench.ui.vector_map import map_value, vector_map
from workbench.ui.wiring import AT_ONCE, CARD, MAKE, QUIET

_MOST_SLOTS = 10_000
_NEAREST = "nearest"
_EMPTY = "Choose what to open, then a reading. Each figure stands beside what chance would show."
_ON_CLICK = """
element.addEventListener("click", event => {
  const button = event.target.closest("[data-slot]");
  if (button) trigger("select", {slot: Number(button.dataset.slot)});
});
"""
_ON_CARD = """
watch("value", () => { if (props.value) element.scrollIntoView({block: "nearest"}); });
"""
_EMPTIED: Sequence[Callable[[], Any]] = (
    lambda: gr.HTML(value="", visible=False),
    lambda: "",
    lambda: gr.Dropdown(value=None),
    lambda: None,
    lambda: gr.Files(value=None, visible=False),
    lambda: gr.Button(interactive=False),
)
"""The panel's outputs below its head, without a reading."""
CLEARED = (PROBLEM, *_EMPTIED)
"""The panel after an error, for `shows_problems`."""


@dataclass(frozen=True)
class ReadingPanel:
    """The components that show a reading.

    Attributes:
        outputs: What `reading_parts`, `busy_parts` and `empty_parts` return values for.
        vector: Which vector's card is shown.
        card: That card.
    """

    outputs: Sequence[Any]
    vector: gr.Dropdown
    card: gr.HTML


@shows_problem
def on_card(steps: Steps, *, slot: object, what: object, **setting: object) -> str:
    """Return the card of one vector: what lies near it, its norm, its start and how far it went."""
    if slot is None or slot == "":
        return ""
    if isinstance(slot, bool) or not isinstance(slot, int) or not 0 <= slot < _MOST_SLOTS:
        raise ConfigError(f"vector: {str(slot)[:40]!r} is no number of one. Choose from the list.")
    for step in steps(SettingValues(**setting), Asked(what, [], _NEAREST)):
        if isinstance(step, Reading):
            return card_html(step, slot)
    return ""


@guarded(told_to_caller)  # there is no place for a box among files
def on_export(context: AppContext, token: object, made: Reading | None) -> Any:
    """Return the shown reading as JSON, its tables as CSV and its charts as PNG."""
    if made is None:
        raise ConfigError("files: nothing was read yet. Choose a reading first.")
    folder = context.exports_of(context.workspace(token)) / "readings" / made.name
    paths = write_reading(made, folder)
    return gr.Files(value=[str(path) for path in paths], visible=True)


def build(context: AppContext, setup: Setup, steps: Steps, what: gr.Dropdown) -> ReadingPanel:
    """Lay out what a reading of `what` found, and wire what does not depend on the reading."""
    head = gr.HTML(render("hint", text=_EMPTY), elem_id="wb-reading-view")
    picture = vector_map(elem_id="wb-map", visible=False)
    vector = ChoiceList(
        [],
        label="Vector",
        info="Or click one in the map or in a table.",
        elem_id="wb-vector",
        interactive=True,
    )
    card = gr.HTML(elem_id="wb-card", js_on_load=_ON_CARD)
    body = gr.HTML(elem_id="wb-reading-details", js_on_load=_ON_CLICK)
    made = gr.State(None)
    export = gr.Button("Prepare files to download", elem_id="wb-reading-export", interactive=False)
    files = gr.Files(visible=False, label="Tables, charts and data", elem_id="wb-reading-files")
    for clicked in (picture, body):
        clicked.select(_clicked_slot, None, vector, **AT_ONCE)
    export.click(partial(on_export, context), [setup.values["token"], made], files, **QUIET, **MAKE)
    vector.change(
        partial(on_card, steps),
        inputs_kwargs={"slot": vector, "what": what, **setup.values},
        outputs=card,
        trigger_mode="always_last",
        **QUIET,
        **CARD,
    )
    return ReadingPanel([head, picture, body, vector, made, files, export], vector, card)


def reading_parts(reading: Reading) -> list[Any]:
    """Return the panel's outputs for a reading."""
    chart = map_of(reading)
    slots = slots_of(reading)
    vectors = [(f"vector {slot}", slot) for slot in slots]
    return [
        verdict_html(reading),
        gr.HTML(value="" if chart is None else map_value(chart), visible=chart is not None),
        details_html(reading),
        gr.Dropdown(choices=vectors, value=None) if slots else gr.Dropdown(value=None),
        reading,
        gr.Files(value=None, visible=False),
        gr.Button(interactive=True),
    ]


def busy_parts(event: ProgressEvent) -> list[Any]:
    """Return the panel's outputs while a reading is made: what was found before stays below."""
    return [progress_html(event), *([gr.skip()] * len(_EMPTIED))]


def empty_parts(head: str) -> list[Any]:
    """Return the panel's outputs without a reading."""
    return [head, *(made() for made in _EMPTIED)]


def _clicked_slot(event: gr.EventData) -> Any:
    """Return the vector that was clicked, for the list of vectors."""
    slot = getattr(event, "slot", None)
    return slot if type(slot) is int and 0 <= slot < _MOST_SLOTS else gr.skip()
