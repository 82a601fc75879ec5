"""The tab for those who have not begun: what each method would cost, and which one to try."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import gradio as gr
import psutil

from workbench.budget.advice import AdvisedRow, advise, advised_rows, gibibytes
from workbench.budget.asked import NUMBERS, ask, find_device
from workbench.budget.figure import memory_plot
from workbench.budget.finished_runs import Measured, measured_costs
from workbench.budget.known import DEVICES, KNOWN_SHAPES, known_model
from workbench.budget.memory import BUDGET_PRECISIONS
from workbench.budget.plan import Plan, Question, make_plan
from workbench.budget.sources import find_shape
from workbench.options import Option
from workbench.presentation.display import NOTHING
from workbench.presentation.drawing import Drawing
from workbench.shared_options import CHECKPOINTING_HELP, TARGETS
from workbench.ui.context import AppContext, shows_problem
from workbench.ui.rendering import render
from workbench.ui.setup import Setup
from workbench.ui.wiring import AT_ONCE, MAKE, QUIET, forgets

_ANY = "any"  # a GPU of which only the memory is known
_PLACES = [
    ("this machine's processor", "cpu"),
    *((device.title, device.name) for device in DEVICES.values()),
    ("another GPU", _ANY),
]
_LABELS = {
    "batch_size": "Rows in a step (batch size)",
    "micro_batch_size": "Rows at once",
    "length": "Tokens of a row",
    "steps": "Steps",
    "rank": "Width of the change (rank)",
    "num_virtual_tokens": "Learned vectors",
    "demonstrations": "Solved rows in the prompt",
    "tasks": "Tasks",
    "versions": "Versions answering at once",
}


@dataclass(frozen=True)
class Row:
    """A method as the table shows it; None is shown as a dash."""

    name: str
    is_advised: bool
    formula: str
    fits: str
    memory: str
    micro_batch_size: int | None
    trained: int | None
    stored_bytes: int | None
    extra_tokens: int
    seconds: float | None
    measured_memory: str
    measured_seconds: float | None


@shows_problem
def on_plan(
    context: AppContext,
    *,
    token: object,
    base: object,
    place: object,
    gib: object,
    bits: object,
    targets: object,
    checkpointing: object,
    **numbers: object,
) -> str:
    """Return the plan as a page, with a recommendation and what the visitor's runs measured."""
    name = str(base).strip()
    shape = known_model(name) if context.profile.is_public else find_shape(name)
    where = "" if place == _ANY else str(place)
    device = find_device(
        where, gib if place == _ANY else None, own_memory_bytes=psutil.virtual_memory().total
    )
    question = ask(
        shape,
        device,
        precision=str(bits),
        targets=str(targets),
        has_checkpointing=checkpointing is True,
        numbers={
            key: _given(numbers.get(key, option.default), option) for key, option in NUMBERS.items()
        },
    )
    workspace = context.workspace(token)
    measured = measured_costs(workspace.runs(), question)
    broken = [run.sentence for run in workspace.broken_runs()]
    return plan_html(question, measured, broken)


def _given(value: object, option: Option) -> object:
    """Return what a field holds; None where it may be left out and is empty."""
    is_empty = isinstance(value, str) and not value.strip()
    return None if option.is_optional and is_empty else value


@lru_cache(maxsize=64)
def _drawn(question: Question) -> tuple[Plan, Drawing]:
    """Return the plan with its figure, which takes twenty times as long as the plan."""
    plan = make_plan(question)
    return plan, memory_plot(plan)


def plan_html(
    question: Question, measured: Mapping[str, Measured], more_notes: Sequence[str] = ()
) -> str:
    """Return the plan of a question as HTML, with further notes below its own."""
    device = question.device
    plan, drawing = _drawn(question)
    advice = advise(plan)
    return render(
        "plan",
        advice=advice,
        shape=question.shape,
        device=device.title,
        rows=[_row(row, measured) for row in advised_rows(plan, advice)],
        notes=[*plan.notes, *more_notes],
        has_measured=bool(measured),
        drawing=drawing,
        speed=f"Speed: {device.speed_source}. All of this is estimated from the model's config; a "
        "process also holds its libraries. Whether a base is run exactly is checked when it is "
        "loaded.",
    )


def _row(advised: AdvisedRow, by_method: Mapping[str, Measured]) -> Row:
    row, trains = advised.plan, advised.plan.recipe.trains
    measured = by_method.get(advised.name)  # one for other layers was not measured so
    peak = measured.peak_memory_bytes if measured else None
    return Row(
        name=advised.name,
        is_advised=advised.is_advised,
        formula=row.recipe.formula,
        fits="too long" if row.is_too_long else "yes" if row.fits else "no",
        memory=gibibytes(row.memory.total),
        micro_batch_size=row.micro_batch_size if trains else None,
        trained=row.trained if trains else None,
        stored_bytes=row.stored_bytes if trains else None,
        extra_tokens=row.extra_tokens,
        seconds=row.seconds,
        measured_memory=NOTHING if peak is None else gibibytes(peak),
        measured_seconds=measured.train_seconds if measured else None,
    )


def _first_model(context: AppContext) -> str:
    """Return the base that the setting has before anybody chooses, if a plan knows it."""
    first = context.profile.models[0]
    return first if first in KNOWN_SHAPES else next(iter(KNOWN_SHAPES))


def on_model(context: AppContext, model: object) -> Any:
    """Return the setting's base to plan for, as far as a plan can be made of it.

    A folder or a Hub id is one on a page of one's own alone.
    """
    name = str(model).strip()
    is_known = name in KNOWN_SHAPES or not context.profile.is_public
    return name if name and is_known else gr.skip()


def on_precision(precision: object) -> Any:
    """Return the setting's precision to plan for, if a plan can be made for it."""
    return precision if precision in BUDGET_PRECISIONS else gr.skip()


def build(context: AppContext, setup: Setup, _: gr.Tab) -> None:
    """Lay out the tab and wire it."""
    with gr.Row():
        base = gr.Dropdown(
            list(KNOWN_SHAPES),
            value=_first_model(context),
            label="Base model to plan for",
            info="The setting's until you choose another one; nothing is loaded.",
            allow_custom_value=not context.profile.is_public,
            elem_id="wb-plan-model",
            min_width=210,
        )
        place = gr.Dropdown(_PLACES, value="cpu", label="Device", elem_id="wb-plan-device")
        gib = gr.Number(16, label="Its memory in GB, for another GPU", min_width=150)
        bits = gr.Dropdown(
            list(BUDGET_PRECISIONS),
            value="nf4",
            label="Precision to plan for",
            elem_id="wb-plan-precision",
            min_width=110,
        )
        targets = gr.Dropdown(
            list(TARGETS),
            value="attention_qv",
            label="Which layers (targets of LoRA)",
            min_width=150,
        )
    with gr.Row():
        fields = {key: number_field(key, option) for key, option in NUMBERS.items()}
    checkpointing = gr.Checkbox(
        False,
        label="Compute again instead of keeping (gradient checkpointing)",
        info=CHECKPOINTING_HELP,
    )
    start = gr.Button("Plan", variant="primary", elem_id="wb-plan")
    view = gr.HTML(elem_id="wb-plan-view")
    inputs = {
        "token": setup.values["token"],
        "base": base,
        "place": place,
        "gib": gib,
        "bits": bits,
        "targets": targets,
        "checkpointing": checkpointing,
        **fields,
    }
    model, precision = setup.values["model"], setup.values["precision"]
    model.change(partial(on_model, context), model, base, **AT_ONCE)
    precision.change(on_precision, precision, bits, **AT_ONCE)
    forgets([part.change for part in inputs.values() if part is not inputs["token"]], view)
    plan = partial(on_plan, context)
    start.click(plan, inputs_kwargs=inputs, outputs=view, **QUIET, **MAKE)


def number_field(key: str, option: Option) -> gr.Number | gr.Textbox:
    """Return the input for a number; one that may be left out is a text, as in `option_fields`."""
    info = option.help.replace("null:", "empty:")
    if option.is_optional:  # a number field cannot stay empty: it shows and sends 0
        return gr.Textbox(
            "", placeholder="automatic", label=_LABELS[key], info=info, max_lines=1, min_width=130
        )
    return gr.Number(option.default, label=_LABELS[key], precision=0, info=info, min_width=130)
