"""The tab that trains one method while its curves grow; for "can it learn my task?"."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import gradio as gr

from workbench.errors import ConfigError
from workbench.fitting.base import SupportsSave
from workbench.methods.catalog import METHODS, method_class
from workbench.options import Option, declared_options
from workbench.runs.experiment import Experiment
from workbench.runs.runner import requests_of
from workbench.service import jobs
from workbench.service.estimate import estimate_training, measure_step
from workbench.service.labels import name_of_training
from workbench.service.profile import Profile
from workbench.service.ways import experiment_of
from workbench.service.workspace import Workspace
from workbench.training.options import TrainingOptions
from workbench.ui import job_panel
from workbench.ui.addresses import caller_address
from workbench.ui.context import PROBLEM, AppContext, SettingValues, shows_problem, shows_problems
from workbench.ui.option_fields import (
    fields_of,
    option_component,
    read_options,
    split_values,
)
from workbench.ui.page_address import one_of
from workbench.ui.raw_values import seed_of
from workbench.ui.rendering import render
from workbench.ui.setup import Setup
from workbench.ui.wiring import AT_ONCE, LOAD, QUIET, TRAIN, forgets

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "quick": {"steps": 60, "eval_every": 20},
    "standard": {},
    "thorough": {"steps": 800, "eval_every": 50, "patience": 6},
}
"""Options that differ from the method's own defaults."""

_FIRST_OPTIONS, _ALWAYS_SHOWN = 4, ("steps", "batch_size")  # the rest is in a drawer
_DEFAULT_METHOD = "prompt_tuning"


def trained_methods() -> list[str]:
    """Return the names of the methods that train."""
    return [name for name in METHODS if issubclass(method_class(name), SupportsSave)]


def option_fields(method: str) -> list[Option]:
    """Return a method's options, its own before those that all trained methods share."""
    return fields_of(method_class(method))


def options_of(method: str, values: Mapping[str, object]) -> dict[str, Any]:
    """Return a method's options from raw values, without those left at their default.

    Raises:
        ConfigError: every wrong value and unknown name at once.
    """
    return read_options(method_class(method), method, values, where=f"methods.{method}")


def training_experiment(
    context: AppContext,
    setting: SettingValues,
    method: str,
    seed: object,
    values: dict[str, object],
) -> tuple[Workspace, Experiment]:
    """Return the experiment that trains one method.

    Raises:
        WorkbenchError: something is wrong with a value.
    """
    if method not in trained_methods():
        raise ConfigError(f"method: {str(method)[:60]!r} trains nothing. Choose one from the list.")
    seeds = [seed_of(seed)]
    workspace, shared = context.setting(setting)
    rows = {method: options_of(method, values)}
    experiment = experiment_of(workspace, context.profile, shared, methods=rows, seeds=seeds)
    context.profile.check(experiment)
    return workspace, experiment


@shows_problem
def on_estimate(context: AppContext, *, method: str, seed: object, **values: object) -> str:
    """Return what the chosen training would cost."""
    setting, options = split_values(values)
    _, experiment = training_experiment(context, setting, method, seed, options)
    (request,) = requests_of(experiment)
    step = context.desk.measured(experiment, measure_step)
    found = context.desk.call(
        lambda: estimate_training(context.desk.session(experiment), step, request.method)
    )
    return render("estimate", method=method, cost=found)


def on_asked(method: object) -> str:
    """Return that a cost is being estimated, in the place of what stood there for other values."""
    return render("hint", text=f"Estimating what {str(method)[:60]} would cost …")


@shows_problems(*job_panel.KEPT, PROBLEM)
def on_train(
    context: AppContext, *, method: str, seed: object, name: object = "", **values: object
) -> Iterator[list[Any]]:
    """Start a training and show it; where the accelerator is lent by the call, train in chunks."""
    setting, options = split_values(values)
    workspace, experiment = training_experiment(context, setting, method, seed, options)
    context.desk.task(experiment.task)  # a task that cannot be had is said now
    called = name_of_training(workspace, name)
    title = f"{method} on {experiment.task.name}"
    job = jobs.submit(
        workspace,
        context.profile,
        experiment,
        kind="train",
        title=title,
        name=called,
        address=caller_address(),
    )
    yield from job_panel.follow(context, "train", setting.token, job)


def preset_options(profile: Profile, preset: str) -> dict[str, Any]:
    """Return a preset's options, as far as the place it runs in allows them."""
    known = declared_options(TrainingOptions)
    return {
        key: min(value, profile.most(known[key])) for key, value in PRESETS.get(preset, {}).items()
    }


def on_preset(context: AppContext, preset: str, method: str) -> list[Any]:
    """Return values for the options of all methods: the preset's for the chosen one."""
    chosen = preset_options(context.profile, preset)
    touched = {name for options in PRESETS.values() for name in options}
    return [
        chosen.get(option.name, option.default)
        if name == method and option.name in touched
        else gr.skip()
        for name in trained_methods()
        for option in option_fields(name)
    ]


def build(context: AppContext, setup: Setup, tab: gr.Tab) -> None:
    """Lay out the tab and wire it."""
    methods = trained_methods()
    method, preset, seed, name = _build_choices(methods)
    shown = one_of(method, method.value, "method")
    setup.address.keep("method", method, tab="train", usual=method.value, show=shown)
    fields, groups = _build_options(context.profile, methods, method.value)
    estimate = gr.HTML(render("hint", text="The cost appears here."), elem_id="wb-estimate")
    start = gr.Button("Train", variant="primary", elem_id="wb-train")
    trouble = gr.HTML()
    panel = job_panel.build(context, setup, "train", tab)
    inputs = {"method": method, "seed": seed, **fields, **setup.values}
    method.change(
        lambda chosen: [gr.Group(visible=name == chosen) for name in methods],
        method,
        groups,
        **AT_ONCE,
    )
    gr.on(
        [preset.input, method.input],
        partial(on_preset, context),
        [preset, method],
        list(fields.values()),
        **AT_ONCE,
    )
    values = [part.change for part in (method, preset, seed, *fields.values())]
    asked = gr.on([tab.select, *values, *setup.changes], on_asked, method, estimate, **AT_ONCE)
    asked.then(
        partial(on_estimate, context),
        inputs_kwargs=inputs,
        outputs=estimate,
        trigger_mode="always_last",
        **QUIET,
        **LOAD,
    )
    forgets([*values, name.change, *setup.changes], trouble)
    start.click(
        partial(on_train, context),
        inputs_kwargs={**inputs, "name": name},
        outputs=[*panel.outputs, trouble],
        trigger_mode="once",
        **QUIET,
        **TRAIN,
    )


def _build_choices(
    methods: Sequence[str],
) -> tuple[gr.Dropdown, gr.Radio, gr.Number, gr.Textbox]:
    """Lay out what is trained; return method, preset, seed and name."""
    with gr.Row():
        method = gr.Dropdown(
            [(f"{name}: {method_class(name).summary}", name) for name in methods],
            value=_DEFAULT_METHOD,
            label="Method",
            elem_id="wb-method",
            scale=3,
            min_width=260,
        )
        preset = gr.Radio(
            list(PRESETS),
            value="standard",
            label="Preset",
            info="How long it trains: quick shows whether it learns anything.",
            elem_id="wb-preset",
            scale=3,
            min_width=260,
        )
        seed = gr.Number(0, label="Seed", info="Decides every draw.", precision=0, min_width=90)
        name = gr.Textbox(
            "", label="Name", placeholder="optional", elem_id="wb-train-name", min_width=140
        )
    return method, preset, seed, name


def _build_options(
    profile: Profile, methods: Sequence[str], default: str
) -> tuple[dict[str, Any], list[gr.Group]]:
    """Lay out every method's options, one group visible; return components and groups.

    The components come in the order of the options, wherever they stand, as `on_preset` fills them.
    """
    fields: dict[str, Any] = {}
    groups = []
    for name in methods:
        options = [profile.bounded(option) for option in option_fields(name)]
        shown = [o for i, o in enumerate(options) if i < _FIRST_OPTIONS or o.name in _ALWAYS_SHOWN]
        with gr.Group(visible=name == default) as group:
            gr.HTML(render("gloss", text=method_class(name).gloss), padding=False)
            with gr.Row():
                for option in shown:
                    fields[f"{name}__{option.name}"] = option_component(name, option)
            with gr.Accordion("More options", open=False), gr.Row():
                for option in (o for o in options if o not in shown):
                    fields[f"{name}__{option.name}"] = option_component(name, option)
        groups.append(group)
    order = [f"{name}__{option.name}" for name in methods for option in option_fields(name)]
    return {key: fields[key] for key in order}, groups
