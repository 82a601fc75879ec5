"""Options of `workbench plan`; what it does is imported when it is called."""

import importlib
from pathlib import Path
from typing import Annotated

import typer

from workbench.shared_options import (
    BATCH_SIZE,
    DEMONSTRATIONS,
    NUM_VIRTUAL_TOKENS,
    RANK,
    STEPS,
)


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
        bool, typer.Option("--checkpointing", help="Assume gradient checkpointing.")
    ] = False,
    runs: Annotated[
        Path | None, typer.Option(help="Folder of runs whose measured figures stand beside.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as data.")] = False,
) -> None:
    """Say what each method would cost on a model and a device, and which one to try.

    Only the model's config is read. Without --device and --memory it is for this machine's
    processor.
    """
    numbers = {
        "batch_size": batch_size,
        "length": length,
        "steps": steps,
        "rank": rank,
        "num_virtual_tokens": virtual_tokens,
        "demonstrations": demonstrations,
        "tasks": tasks,
        "versions": versions,
    }
    importlib.import_module("workbench.commands.plan").run(
        model,
        device=device,
        memory=memory,
        precision=precision,
        targets=targets,
        checkpointing=checkpointing,
        numbers=numbers,
        runs=runs,
        as_json=as_json,
    )
