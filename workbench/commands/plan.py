"""`workbench plan`: what each method would cost on a model and a device, and which one to try."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from workbench.errors import StoreError
from workbench.shared_options import (
    BATCH_SIZE,
    CHECKPOINTING_HELP,
    DEMONSTRATIONS,
    MICRO_BATCH_SIZE,
    NUM_VIRTUAL_TOKENS,
    RANK,
    STEPS,
)

if TYPE_CHECKING:
    from workbench.budget.advice import Advice
    from workbench.budget.finished_runs import Measured
    from workbench.budget.known import Device
    from workbench.budget.plan import MethodPlan, Plan, Question
    from workbench.budget.shape import ModelShape

_COLUMNS = ("method", "trained", "file", "memory", "at once", "fits", "time")


def plan(
    model: Annotated[
        str, typer.Option(help="Known name, Hub id, or folder with a config.json.")
    ] = "smollm2-135m-instruct",
    device: Annotated[str, typer.Option(help="A card like rtx-4090 or t4, or cpu.")] = "",
    memory: Annotated[float | None, typer.Option(help="GB of a GPU that has no name here.")] = None,
    precision: Annotated[str, typer.Option(help="Of the base: nf4, int8, bf16, …")] = "nf4",
    targets: Annotated[
        str, typer.Option(help="Layers of LoRA: attention_qv, attention, mlp, all_linear.")
    ] = "attention_qv",
    batch_size: Annotated[int, typer.Option(help="Rows of a training step.")] = BATCH_SIZE.default,
    micro_batch_size: Annotated[int | None, typer.Option(help=MICRO_BATCH_SIZE.help)] = None,
    length: Annotated[int, typer.Option(help="Tokens of a row, prompt and answer.")] = 256,
    steps: Annotated[int, typer.Option(help="Training steps.")] = STEPS.default,
    rank: Annotated[int, typer.Option(help="Rank of LoRA and its kin.")] = RANK.default,
    virtual_tokens: Annotated[
        int, typer.Option(help="Learned vectors.")
    ] = NUM_VIRTUAL_TOKENS.default,
    demonstrations: Annotated[
        int, typer.Option(help="Examples in a few-shot prompt.")
    ] = DEMONSTRATIONS.default,
    tasks: Annotated[int, typer.Option(help="Tasks to train for.")] = 1,
    versions: Annotated[int, typer.Option(help="Results that answer at the same time.")] = 1,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help=CHECKPOINTING_HELP)
    ] = False,
    runs: Annotated[
        Path | None, typer.Option(help="Folder of runs whose measured figures stand beside.")
    ] = None,
    figures: Annotated[Path | None, typer.Option(help="Folder for a figure of memory.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as data.")] = False,
) -> None:
    """Say what each method would cost on a model and a device, and which one to try.

    Only the model's config is read. Without --device and --memory it is for this machine's
    processor.
    """
    from workbench.budget.asked import ask

    numbers = {
        "batch_size": batch_size,
        "micro_batch_size": micro_batch_size,
        "length": length,
        "steps": steps,
        "rank": rank,
        "num_virtual_tokens": virtual_tokens,
        "demonstrations": demonstrations,
        "tasks": tasks,
        "versions": versions,
    }
    question = ask(
        _shape(model),
        _place(device, memory),
        precision=precision,
        targets=targets,
        has_checkpointing=checkpointing,
        numbers=numbers,
    )
    _answer(question, runs, figures, as_json=as_json)


def _place(name: str, memory: float | None) -> "Device":
    """Return where it has to fit: without a name and an amount this machine's processor."""
    import psutil

    from workbench.budget.asked import find_device

    wanted = name or ("cpu" if memory is None else "")
    return find_device(wanted, memory, own_memory_bytes=psutil.virtual_memory().total)


def _shape(model: str) -> "ModelShape":
    """Return a model's shape: of the table, else counted, which takes transformers."""
    from workbench.budget.known import KNOWN_SHAPES

    if model in KNOWN_SHAPES:
        return KNOWN_SHAPES[model]
    from workbench.budget.sources import find_shape

    return find_shape(model)


def _answer(
    question: "Question", runs: Path | None, figures: Path | None, *, as_json: bool
) -> None:
    """Print the plan and the recommendation, with what was measured beside them if asked for.

    The figure is drawn if a folder is given for it.

    Raises:
        StoreError: the folder of runs does not exist.
    """
    from workbench.budget.advice import advise
    from workbench.budget.finished_runs import measured_costs, runs_below
    from workbench.budget.plan import make_plan
    from workbench.commands.shared.stored_runs import print_broken

    plan = make_plan(question)
    advice = advise(plan)
    if runs is not None and not runs.is_dir():
        raise StoreError(
            f"--runs {runs}: no such folder. Give one with finished runs; they are made by: "
            "workbench evaluate"
        )
    found, broken = ([], []) if runs is None else runs_below(runs)
    measured = measured_costs(found, question)
    if figures is not None:
        _draw(plan, figures)
    if as_json:
        data = _as_data(plan, advice, measured)
        if broken:
            data["broken_runs"] = [run.sentence for run in broken]
        text = json.dumps(data, indent=2)
        Console().print(text, highlight=False, markup=False, soft_wrap=True)
        return
    _print(plan, advice, measured)
    print_broken(Console(), broken)


def _draw(plan: "Plan", folder: Path) -> None:
    from workbench.budget.figure import memory_figure
    from workbench.commands.shared.typed import typed_command
    from workbench.presentation.caption import Caption
    from workbench.presentation.figure_files import write_figure

    question = plan.question
    caption = Caption(
        base=question.shape.name, precision=question.precision, command=typed_command()
    )
    plot = memory_figure(plan)
    write_figure(plot, folder, "plan-memory", caption=caption.text)
    Console(stderr=True).print(
        f"figure: {folder / 'plan-memory'}.png (also .svg .pdf)", highlight=False, markup=False
    )


def _print(plan: "Plan", advice: "Advice", measured: "Mapping[str, Measured]") -> None:
    from workbench.budget.advice import advised_rows

    console, question = Console(), plan.question
    shape, device, work = question.shape, question.device, question.work
    console.print(
        f"{shape.name} · {shape.parameters / 1e9:,.2f} billion parameters · {question.precision} · "
        f"{device.title} · batch {work.batch_size} x {work.row_tokens} tokens · "
        f"{question.steps} steps",
        highlight=False,
        markup=False,
    )
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in (*_COLUMNS, *(("measured",) if measured else ())):
        table.add_column(column, overflow="fold")
    for row in advised_rows(plan, advice):
        found = [_measured_text(measured.get(row.name))] if measured else []
        name = f"{row.name} (recommended)" if row.is_advised else row.name
        table.add_row(name, *_cells(row.plan), *found)
    console.print(table, highlight=False, markup=False)
    for note in plan.notes:
        console.print(note, highlight=False, markup=False)
    console.print(f"\n{advice.headline}", style="bold", highlight=False, markup=False)
    for reason in advice.reasons:
        console.print(f"- {reason}", highlight=False, markup=False)
    console.print(
        f"\nConfig: {shape.source}. Speed: {device.speed_source}. "
        "Estimates; a process also holds its libraries. Whether a base is run exactly is checked "
        "when it is loaded.",
        style="dim",
        highlight=False,
        markup=False,
    )


def _cells(row: "MethodPlan") -> tuple[str, ...]:
    from workbench.budget.advice import gibibytes
    from workbench.presentation.display import NOTHING, byte_size, duration, number

    trains = row.recipe.trains
    return (
        number(row.trained) if trains else NOTHING,
        byte_size(row.stored_bytes) if trains else NOTHING,
        gibibytes(row.memory.total),
        str(row.micro_batch_size) if trains else NOTHING,
        "too long" if row.is_too_long else "yes" if row.fits else "no",
        duration(row.seconds),
    )


def _measured_text(found: "Measured | None") -> str:
    from workbench.budget.advice import gibibytes
    from workbench.presentation.display import NOTHING, duration

    if found is None:
        return NOTHING
    peak = NOTHING if found.peak_memory_bytes is None else gibibytes(found.peak_memory_bytes)
    runs = "1 run" if found.runs == 1 else f"{found.runs} runs"
    return f"{peak}, {duration(found.train_seconds)} ({runs})"


def _as_data(plan: "Plan", advice: "Advice", measured: "Mapping[str, Measured]") -> dict[str, Any]:
    from workbench.budget.plan import beside_bytes

    question = plan.question
    rows = [
        {
            "method": row.recipe.name,
            "changes": row.recipe.kind,
            "trained_parameters": row.trained,
            "formula": row.recipe.formula,
            "stored_bytes": row.stored_bytes,
            "memory_bytes": asdict(row.memory) | {"total": row.memory.total},
            "micro_batch_size": row.micro_batch_size,
            "is_split_further": row.is_split_further,
            "fits": row.fits,
            "is_too_long": row.is_too_long,
            "extra_tokens": row.extra_tokens,
            "training_flops": row.flops,
            "train_seconds": row.seconds,
            "measured": asdict(measured[row.recipe.name]) if row.recipe.name in measured else None,
        }
        for row in plan.rows
    ]
    return {
        "model": asdict(question.shape) | {"parameters": question.shape.parameters},
        "device": asdict(question.device) | {"usable_bytes": question.device.usable_bytes},
        "precision": question.precision,
        "unpacked_beside_bytes": dict(beside_bytes(question)),
        "options": asdict(question.options),
        "workload": asdict(question.work),
        "steps": question.steps,
        "tasks": question.tasks,
        "versions": question.versions,
        "methods": rows,
        "refused": dict(plan.refused),
        "notes": plan.notes,
        "advice": {
            "method": advice.method,
            "precision": advice.precision,
            "headline": advice.headline,
            "reasons": list(advice.reasons),
            "has_checkpointing": advice.has_checkpointing,
            # For which it is given, where that is not what was asked.
            "options": None if advice.question is None else asdict(advice.question.options),
        },
    }
