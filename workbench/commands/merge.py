"""`workbench merge`: a run's weight adapter merged into a plain copy of the base, as an export."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from workbench.commands.shared import options
from workbench.errors import ConfigError, StoreError, unknown_name


def merge(
    run: Annotated[str, typer.Argument(help="Id or folder of a finished run of LoRA and its kin.")],
    out: Annotated[Path, typer.Option(help="New folder for the merged model.")],
    dtype: Annotated[str, typer.Option(help="bf16 or fp32.")] = "bf16",
    runs: options.Runs = Path("runs"),
) -> None:
    """Merge a run's change of weights into a plain copy of the base, restored from 4 bits."""
    import torch
    from transformers.utils import logging as transformers_logging

    from workbench.models.adapters.merging import save_merged
    from workbench.models.adapters.peft_changes import adapter_of
    from workbench.models.adapters.reading import read_adapter
    from workbench.models.loading import load_base
    from workbench.runs.finding import find_stored_run

    dtypes = {"bf16": torch.bfloat16, "fp32": torch.float32}
    if dtype not in dtypes:
        raise ConfigError(f"--dtype: {unknown_name('dtype', dtype, dtypes)}")
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"--out {out}: is not empty. Name a new folder; nothing is overwritten.")
    console = Console()
    transformers_logging.disable_progress_bar()
    found = find_stored_run(run, runs)
    if found is None or found.record.status != "finished":
        raise StoreError(
            f"{run}: no finished run of that name below {runs}. Give its folder or id; "
            "workbench runs lists them."
        )
    found.check_learned()
    adapter, base = read_adapter(found.adapter_folder), found.spec.base
    with console.status("loading base model …"):
        loaded = load_base(
            base.name, precision=base.precision, compute_dtype="float32", device="cpu"
        )
    if loaded.info.identity != base.identity:
        raise ConfigError(
            f"{found.record.run_id}: was trained on other weights of '{base.name}' than those "
            "found here. Merge it where it was trained."
        )
    with console.status("merging …"):
        changes = adapter_of(adapter, loaded.model, base_name=base.name)
        save_merged(loaded, changes, out, dtypes[dtype])
    console.print(
        f"{out}: '{base.name}' restored from {base.precision} with {found.record.run_id} "
        f"merged in, stored in {dtype}. Use it as a base: workbench evaluate --model {out}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
