"""The tab that opens what was learned; for "what is in these vectors beyond chance?"."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import gradio as gr

from workbench.errors import ConfigError, without_folders
from workbench.models.adapters.reading import read_adapter
from workbench.presentation.reading import Reading
from workbench.progress import ProgressEvent
from workbench.readings.base import Kind
from workbench.readings.catalog import READERS, reader_class, readers_of
from workbench.readings.inspector import Learned
from workbench.readings.loading import adapter_folder_of
from workbench.service import jobs
from workbench.service.accelerator import accelerated
from workbench.service.ways import experiment_of
from workbench.ui import job_panel
from workbench.ui.context import (
    KEEP,
    PROBLEM,
    AppContext,
    SettingValues,
    guarded,
    or_skip,
    shows_problem,
    shows_problems,
    told_to_caller,
)
from workbench.ui.option_fields import fields_of, option_component, read_options, split_values
from workbench.ui.reading_view import (
    card_html,
    details_html,
    map_of,
    progress_html,
    slots_of,
    verdict_html,
    write_files,
)
from workbench.ui.readings import (
    MOST_BESIDE,
    Asked,
    Steps,
    inspect_command,
    opened,
    reading_steps,
    things_to_open,
)
from workbench.ui.rendering import render
from workbench.ui.setup import Setup
from workbench.ui.vector_map import map_value, vector_map

_READ_SECONDS = 110  # of a lent accelerator
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
)
"""The outputs of `on_read` below its head, without a reading."""
_CLEARED = (PROBLEM, *_EMPTIED)
_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}


@or_skip(6)
def on_setting(
    context: AppContext, *, what: object, beside: object, reading: object, **setting: object
) -> list[Any]:
    """Return what can be opened and read with the setting; see `build` for the order."""
    _, found = things_to_open(context, SettingValues(**setting))
    chosen = next((one for one in found if one.key == what), None)
    chosen = chosen or next(one for one in found if one.kind == "vectors")
    others = [one for one in found if one.kind == chosen.kind and one != chosen]
    given = beside if isinstance(beside, list) else []
    kept = [one.key for one in others if one.key in given]
    is_kind = isinstance(reading, str) and reading in readers_of(chosen.kind)
    is_shown = chosen.kind == "vectors"
    # What needs no change is not sent back: it would undo what was clicked meanwhile.
    return [
        gr.Dropdown(choices=_titles(found), **_unless(what, chosen.key)),
        gr.Dropdown(choices=_titles(others), multiselect=True, **_unless(given, kept)),
        gr.skip() if is_kind else _reading_list(chosen.kind),
        gr.Dropdown(visible=is_shown),
        gr.HTML(visible=is_shown),
        _facts(chosen),
    ]


def on_reading(reading: object) -> list[Any]:
    """Show the options of the chosen reading alone."""
    return [gr.Group(visible=name == reading) for name in _with_options()]


@shows_problems(*_CLEARED)
def on_read(
    steps: Steps, *, what: object, beside: object, reading: object, **values: object
) -> Iterator[list[Any]]:
    """Yield how far the chosen reading is, then what it found; see `build` for the order."""
    setting, raw = split_values(values)
    options = _options(reading, raw)
    yield _busy(ProgressEvent("opening", 0, 0))
    for step in steps(setting, Asked(what, beside, str(reading), options)):
        yield _shown(step) if isinstance(step, Reading) else _busy(step)


@shows_problems(*_CLEARED, KEEP)
def on_choice(
    steps: Steps,
    *,
    what: object,
    beside: object,
    reading: object,
    last: object,
    is_first: bool = True,
    **values: object,
) -> Iterator[list[Any]]:
    """Read at once what takes an instant; else say that it waits for the button.

    Args:
        steps: Makes the reading.
        what: Key of what is read.
        beside: Keys of what is held against it.
        reading: Name of the reading.
        last: What this was called with before; nothing is done for the same.
        is_first: Whether the first reading of a visit may be made.
        values: Of the first row, and the readings' options.
    """
    setting, _ = split_values(values)
    now = [what, beside or [], reading, asdict(setting)]
    if not what or now == last or not (last or is_first):
        yield [gr.skip()] * (len(_CLEARED) + 1)  # Gradio empties the outputs of an empty stream
        return
    found = reader_class(str(reading))
    if found.cost == "instant":
        for shown in on_read(steps, what=what, beside=beside, reading=reading, **values):
            yield [*shown, now]
        return
    text = f"{found.title}: {found.summary}. Takes {found.cost}; press Read."
    yield [*_nothing(render("hint", text=text)), now]


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
    folder = context.exports / context.workspace(token).folder.name / "readings" / made.name
    paths = write_files(made, folder)
    return gr.Files(value=[str(path) for path in paths], visible=True)


@shows_problem
def on_command(
    context: AppContext, *, what: object, beside: object, reading: object, **values: object
) -> str:
    """Return the command that reads the same in a terminal."""
    setting, raw = split_values(values)
    workspace, found = things_to_open(context, setting)
    chosen, others = opened(found, what, beside)
    options = _options(reading, raw)
    command = inspect_command(chosen, others, str(reading), options, workspace.root)
    return render("command", command=without_folders(command) if workspace.is_public else command)


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
        workspace, context.profile, experiment, kind="train", title=f"wayward on {name}"
    )
    told = render(
        "hint",
        text="Training two prompts: an ordinary one and 'wayward', which has to read as your "
        "sentence. Watch them under Train; when they are finished, open 'wayward' here.",
    )
    yield told
    for _ in job_panel.follow(context, "train", values.token, job):
        yield told


def build(context: AppContext, setup: Setup, tab: gr.Tab) -> None:
    """Lay out the tab and wire it."""
    steps = accelerated(partial(reading_steps, context), context.profile, seconds=_READ_SECONDS)
    with gr.Row():
        what = gr.Dropdown(
            [], label="What to open", elem_id="wb-open", interactive=True, min_width=260
        )
        beside = gr.Dropdown(
            [],
            label="Beside",
            multiselect=True,
            max_choices=MOST_BESIDE,
            elem_id="wb-beside",
            interactive=True,
            min_width=260,
        )
    facts = gr.HTML(elem_id="wb-open-facts")
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=290):
            reading, fields, groups = _build_readings()
            with gr.Row():
                go = gr.Button("Read", variant="primary", elem_id="wb-read", min_width=100)
                stop = gr.Button("Stop", elem_id="wb-read-stop", min_width=80)
        with gr.Column(scale=5, min_width=320):
            outputs, vector, card = _build_results(context, setup)
    chosen = {"what": what, "beside": beside, "reading": reading}
    inputs = {**chosen, **fields, **setup.values}
    lists = _wire_choices(context, setup, tab, inputs, [what, beside, reading, vector, card, facts])
    reading.change(on_reading, reading, groups, **_QUIET)
    _wire_reading(steps, setup, inputs, outputs, buttons=(go, stop), lists=lists)
    vector.change(
        partial(on_card, steps),
        inputs_kwargs={"slot": vector, "what": what, **setup.values},
        outputs=card,
        trigger_mode="always_last",
        api_visibility="private",
        show_progress="hidden",
    )
    with gr.Accordion("The same in a terminal", open=False, elem_id="wb-inspect-command") as drawer:
        command = gr.HTML()
    gr.on(
        [drawer.expand, what.input, reading.input, beside.input],
        partial(on_command, context),
        inputs_kwargs=inputs,
        outputs=command,
        trigger_mode="always_last",
        **_QUIET,
    )
    _build_wayward(context, setup)


def _wire_choices(
    context: AppContext,
    setup: Setup,
    tab: gr.Tab,
    inputs: Mapping[str, Any],
    outputs: Sequence[Any],
) -> tuple[Any, Any]:
    """Let the lists follow; return what happens when the visitor opens something, and otherwise."""
    names = ("what", "beside", "reading", *setup.values)
    shared: dict[str, Any] = {
        "inputs_kwargs": {name: inputs[name] for name in names},
        "outputs": list(outputs),
        "trigger_mode": "always_last",
        **_QUIET,
    }
    follow = partial(on_setting, context)
    by_visitor = gr.on([tab.select, inputs["what"].input], follow, **shared)
    by_page = gr.on([*setup.changes, setup.loaded], follow, **shared)
    return by_visitor, by_page


def _wire_reading(
    steps: Steps,
    setup: Setup,
    inputs: Mapping[str, Any],
    outputs: Sequence[Any],
    *,
    buttons: tuple[gr.Button, gr.Button],
    lists: tuple[Any, Any],
) -> None:
    """Read by the button, and what takes an instant on every choice; a new one ends the old one."""
    go, stop = buttons
    by_visitor, by_page = lists
    last = gr.State(None)
    shared: dict[str, Any] = {
        "concurrency_id": "read",
        "concurrency_limit": 2,
        "api_visibility": "private",
        "show_progress": "hidden",
    }
    asked = go.click(
        partial(on_read, steps),
        inputs_kwargs=dict(inputs),
        outputs=list(outputs),
        trigger_mode="once",
        **shared,
    )
    shared |= {"inputs_kwargs": {**inputs, "last": last}, "outputs": [*outputs, last]}
    chosen = [inputs["reading"].input, inputs["beside"].input]
    gr.on(chosen, partial(on_choice, steps), trigger_mode="always_last", **shared)
    by_visitor.then(partial(on_choice, steps), **shared)
    by_page.then(partial(on_choice, steps, is_first=False), **shared)
    gr.on([*chosen, inputs["what"].input, *setup.changes], None, cancels=[asked], **_QUIET)
    stop.click(
        lambda: render("hint", text="Stopped. What other readings found is kept."),
        None,
        outputs[0],
        cancels=[asked],
        **_QUIET,
    )


def _build_readings() -> tuple[gr.Radio, dict[str, Any], list[gr.Group]]:
    """Lay out the list of readings and their options; return both, and the options' groups."""
    reading = _reading_list("vectors", label="Reading", elem_id="wb-reading", interactive=True)
    fields: dict[str, Any] = {}
    groups = []
    with gr.Accordion("Options of the reading", open=False, elem_id="wb-reading-options"):
        for name in _with_options():
            with gr.Group(visible=name == _NEAREST) as group:
                for option in fields_of(reader_class(name)):
                    fields[f"{name}__{option.name}"] = option_component(name, option)
            groups.append(group)
    return reading, fields, groups


def _build_results(context: AppContext, setup: Setup) -> tuple[list[Any], gr.Dropdown, gr.HTML]:
    """Lay out what a reading found; return outputs of `on_read`, vector and card."""
    head = gr.HTML(render("hint", text=_EMPTY), elem_id="wb-reading-view")
    picture = vector_map(elem_id="wb-map", visible=False)
    vector = gr.Dropdown(
        [],
        label="Vector",
        info="Or click one in the map or in a table.",
        elem_id="wb-vector",
        interactive=True,
    )
    card = gr.HTML(elem_id="wb-card", js_on_load=_ON_CARD)
    body = gr.HTML(elem_id="wb-reading-details", js_on_load=_ON_CLICK)
    made = gr.State(None)
    export = gr.Button("Prepare files to download", elem_id="wb-reading-export")
    files = gr.Files(visible=False, label="Tables, charts and data", elem_id="wb-reading-files")
    for clicked in (picture, body):
        clicked.select(_clicked_slot, None, vector, **_QUIET)
    export.click(partial(on_export, context), [setup.values["token"], made], files, **_QUIET)
    return [head, picture, body, vector, made, files], vector, card


def _build_wayward(context: AppContext, setup: Setup) -> None:
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
        start = gr.Button("Train both prompts", elem_id="wb-wayward-train")
        note = gr.HTML(elem_id="wb-wayward-note")
    start.click(
        partial(on_wayward, context),
        inputs_kwargs={"says": says, **setup.values},
        outputs=note,
        concurrency_id="train",
        concurrency_limit=4,
        trigger_mode="once",
        api_visibility="private",
        show_progress="hidden",
    )


def _clicked_slot(event: gr.EventData) -> Any:
    """Return the vector that was clicked, for the list of vectors."""
    slot = getattr(event, "slot", None)
    return slot if type(slot) is int and 0 <= slot < _MOST_SLOTS else gr.skip()


def _shown(reading: Reading) -> list[Any]:
    """Return the page's parts for a reading; see `_build_results` for the order."""
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
    ]


def _busy(event: ProgressEvent) -> list[Any]:
    return [progress_html(event), *([gr.skip()] * len(_EMPTIED))]


def _nothing(head: str) -> list[Any]:
    """Return the page's parts without a reading."""
    return [head, *(made() for made in _EMPTIED)]


def _facts(chosen: Learned) -> str:
    """Return in a line what the chosen one is."""
    if chosen.folder is None and chosen.run is None:
        return render("hint", text="A control learned nothing: what it shows is chance.")
    folder = chosen.folder or (chosen.run.adapter_folder if chosen.run else None)
    assert folder is not None
    if chosen.run is not None and adapter_folder_of(chosen.run) != chosen.run.adapter_folder:
        return ""
    summary = read_adapter(folder).summary
    return render("learned", summary=summary, run=chosen.run)


def _reading_list(kind: Kind, **more: Any) -> gr.Radio:
    """Return the readings of a kind, the first chosen: each with a summary and what it costs."""
    found = [(name, reader_class(name)) for name in readers_of(kind)]
    choices = [(f"{one.title}\n{one.summary} ({one.cost})", name) for name, one in found]
    return gr.Radio(choices=choices, value=choices[0][1], **more)


def _titles(found: Sequence[Learned]) -> list[tuple[str, str]]:
    return [(one.title, one.key) for one in found]


def _unless(given: object, value: object) -> dict[str, Any]:
    """Return a component's new value as an argument; nothing if it has it already."""
    return {} if given == value else {"value": value}


def _with_options() -> list[str]:
    """Return the readings that have options."""
    return [name for name in READERS if fields_of(reader_class(name))]


def _options(reading: object, raw: Mapping[str, object]) -> dict[str, Any]:
    """Return the chosen reading's options.

    Raises:
        ConfigError: unknown reading, or wrong values.
    """
    name = str(reading)[:60]
    return read_options(reader_class(name), name, raw, where=f"readings.{name}")
