"""The tab that opens what was learned; for "what is in these vectors beyond chance?"."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, get_args

import gradio as gr

from workbench.errors import without_folders
from workbench.models.adapters.reading import read_adapter
from workbench.presentation.reading import Reading
from workbench.progress import ProgressEvent
from workbench.readings.base import Kind
from workbench.readings.catalog import READERS, reader_class, readers_of
from workbench.readings.inspector import Learned
from workbench.readings.loading import adapter_folder_of
from workbench.service.accelerator import accelerated
from workbench.service.profile import Profile
from workbench.ui import reading_panel, wayward
from workbench.ui.choices import ChoiceButtons, ChoiceList
from workbench.ui.context import (
    KEEP,
    AppContext,
    SettingValues,
    or_skip,
    shows_problem,
    shows_problems,
)
from workbench.ui.option_fields import fields_of, option_component, read_options, split_values
from workbench.ui.pacing import paced
from workbench.ui.reading_panel import CLEARED, busy_parts, empty_parts, reading_parts
from workbench.ui.readings import (
    MOST_AGAINST,
    Asked,
    Steps,
    inspect_command,
    keys_to_open,
    opened,
    reading_steps,
    things_to_open,
)
from workbench.ui.rendering import render
from workbench.ui.setup import Setup
from workbench.ui.wiring import AT_ONCE, FOLLOW, QUIET, READ, enables, forgets

_READ_SECONDS = 110  # of a lent accelerator
_NEAREST = "nearest"


@or_skip(6)
def on_setting(
    context: AppContext, *, what: object, against: object, reading: object, **setting: object
) -> list[Any]:
    """Return what can be opened and read with the setting; see `build` for the order."""
    _, found = things_to_open(context, SettingValues(**setting))
    chosen = next((one for one in found if one.key == what), None)
    chosen = chosen or next(one for one in found if one.kind == "vectors")
    others = [one for one in found if one.kind == chosen.kind and one != chosen]
    given = against if isinstance(against, list) else []
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


@shows_problems(*CLEARED)
def on_read(
    steps: Steps, *, what: object, against: object, reading: object, **values: object
) -> Iterator[list[Any]]:
    """Yield how far the chosen reading is, then what it found; see `build` for the order.

    The steps are up to thousands a second, and a page that is sent them all stands still.
    """
    setting, raw = split_values(values)
    options = _options(reading, raw)
    yield busy_parts(ProgressEvent("opening", 0, 0))
    for step in paced(steps(setting, Asked(what, against, str(reading), options))):
        yield (reading_parts(step) if isinstance(step, Reading) else busy_parts(step))


@shows_problems(*CLEARED, KEEP)
def on_choice(
    steps: Steps,
    *,
    what: object,
    against: object,
    reading: object,
    last: object,
    is_first: bool = True,
    **values: object,
) -> Iterator[list[Any]]:
    """Read at once what takes an instant; else say that it waits for the button.

    Args:
        steps: Makes the reading.
        what: Key of what is read.
        against: Keys of what is held against it.
        reading: Name of the reading.
        last: What this was called with before; nothing is done for the same.
        is_first: Whether the first reading of a visit may be made.
        values: Those of the setting, and the readings' options.
    """
    setting, _ = split_values(values)
    now = [what, against or [], reading, asdict(setting)]
    if not what or now == last or not (last or is_first):
        yield [gr.skip()] * (len(CLEARED) + 1)  # Gradio empties the outputs of an empty stream
        return
    found = reader_class(str(reading))
    if found.cost == "instant":
        for shown in on_read(steps, what=what, against=against, reading=reading, **values):
            yield [*shown, now]
        return
    text = f"{found.title}: {found.summary}. Takes {found.cost}; press Read."
    yield [*empty_parts(render("hint", text=text)), now]


@shows_problem
def on_command(
    context: AppContext, *, what: object, against: object, reading: object, **values: object
) -> str:
    """Return the command that reads the same in a terminal."""
    setting, raw = split_values(values)
    workspace, found = things_to_open(context, setting)
    chosen, others = opened(found, what, against)
    options = _options(reading, raw)
    _, experiment = context.experiment(setting)
    command = inspect_command(
        chosen, others, str(reading), options, runs=workspace.root, experiment=experiment
    )
    return render("command", command=without_folders(command) if workspace.is_public else command)


def build(context: AppContext, setup: Setup, tab: gr.Tab) -> None:
    """Lay out the tab and wire it."""
    steps = accelerated(partial(reading_steps, context), context.profile, seconds=_READ_SECONDS)
    with gr.Row():
        what = ChoiceList(
            [], label="What to open", elem_id="wb-open", interactive=True, min_width=260
        )
        against = ChoiceList(
            [],
            label="Against",
            multiselect=True,
            max_choices=MOST_AGAINST,
            elem_id="wb-beside",
            interactive=True,
            min_width=260,
        )
    facts = gr.HTML(elem_id="wb-open-facts")
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=290):
            reading, fields, groups = _build_readings(context.profile)
            with gr.Row():
                go = gr.Button(
                    "Read", variant="primary", elem_id="wb-read", min_width=100, interactive=False
                )
                stop = gr.Button("Stop", elem_id="wb-read-stop", min_width=80)
        with gr.Column(scale=5, min_width=320):
            panel = reading_panel.build(context, setup, steps, what)
    chosen = {"what": what, "against": against, "reading": reading}
    keep = partial(setup.address.keep, tab="inspect")
    keep("what", what, known=partial(keys_to_open, context))
    keep("against", against, known=partial(keys_to_open, context))
    keep("reading", reading, usual=_NEAREST, show=_show_reading)
    inputs = {**chosen, **fields, **setup.values}
    followers = [what, against, reading, panel.vector, panel.card, facts]
    lists = _wire_choices(context, setup, tab, inputs, followers)
    reading.change(on_reading, reading, groups, **AT_ONCE)
    enables(what, go)
    forgets([field.change for field in fields.values()], panel.outputs[0])
    _wire_reading(steps, setup, inputs, panel.outputs, buttons=(go, stop), lists=lists)
    _build_command(context, setup, inputs)
    wayward.build(context, setup)


def _build_command(context: AppContext, setup: Setup, inputs: Mapping[str, Any]) -> None:
    """Lay out the command that reads the same, and let it follow whatever it says."""
    with gr.Accordion("The same in a terminal", open=False, elem_id="wb-inspect-command") as drawer:
        command = gr.HTML()
    said = [part.change for name, part in inputs.items() if name not in setup.values]
    gr.on(
        [drawer.expand, *said, *setup.changes, setup.loaded],
        partial(on_command, context),
        inputs_kwargs=dict(inputs),
        outputs=command,
        trigger_mode="always_last",
        **QUIET,
        **FOLLOW,
    )


def _wire_choices(
    context: AppContext,
    setup: Setup,
    tab: gr.Tab,
    inputs: Mapping[str, Any],
    outputs: Sequence[Any],
) -> tuple[Any, Any]:
    """Let the lists follow; return what happens when the visitor opens something, and otherwise."""
    names = ("what", "against", "reading", *setup.values)
    shared: dict[str, Any] = {
        "inputs_kwargs": {name: inputs[name] for name in names},
        "outputs": list(outputs),
        "trigger_mode": "always_last",
        **QUIET,
        **FOLLOW,
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
    shared: dict[str, Any] = QUIET | READ
    asked = go.click(
        partial(on_read, steps),
        inputs_kwargs=dict(inputs),
        outputs=list(outputs),
        trigger_mode="once",
        **shared,
    )
    shared |= {"inputs_kwargs": {**inputs, "last": last}, "outputs": [*outputs, last]}
    chosen = [inputs["reading"].input, inputs["against"].input]
    gr.on(chosen, partial(on_choice, steps), trigger_mode="always_last", **shared)
    by_visitor.then(partial(on_choice, steps), **shared)
    by_page.then(partial(on_choice, steps, is_first=False), **shared)
    gr.on([*chosen, inputs["what"].input, *setup.changes], None, cancels=[asked], **AT_ONCE)
    stop.click(
        lambda: render("hint", text="Stopped. What other readings found is kept."),
        None,
        outputs[0],
        cancels=[asked],
        **AT_ONCE,
    )


def _build_readings(profile: Profile) -> tuple[gr.Radio, dict[str, Any], list[gr.Group]]:
    """Lay out the list of readings and their options; return both, and the options' groups."""
    reading = _reading_list("vectors", label="Reading", elem_id="wb-reading", interactive=True)
    fields: dict[str, Any] = {}
    groups = []
    with gr.Accordion("Options of the reading", open=False, elem_id="wb-reading-options"):
        for name in _with_options():
            with gr.Group(visible=name == _NEAREST) as group:
                for option in fields_of(reader_class(name)):
                    fields[f"{name}__{option.name}"] = option_component(
                        name, profile.bounded(option)
                    )
            groups.append(group)
    return reading, fields, groups


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
    """Return the readings of a kind, the first chosen."""
    choices = _reading_choices(kind)
    return ChoiceButtons(choices=choices, value=choices[0][1], **more)


def _reading_choices(kind: Kind) -> list[tuple[str, str]]:
    """Return the readings of a kind, each with a summary and what it costs."""
    found = [(name, reader_class(name)) for name in readers_of(kind)]
    return [(f"{one.title}\n{one.summary} ({one.cost})", name) for name, one in found]


def _show_reading(_token: str, asked: Sequence[str], _: object) -> dict[str, Any]:
    """Return the list of readings with the one that an address asks for."""
    kind: Kind = "vectors"
    if asked:
        reader_class(asked[0])
        kind = next(one for one in get_args(Kind) if asked[0] in readers_of(one))
    choices = _reading_choices(kind)
    return gr.update(choices=choices, value=asked[0] if asked else choices[0][1])


def _titles(found: Sequence[Learned]) -> list[tuple[str, str]]:
    return [(one.listed, one.key) for one in found]


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
