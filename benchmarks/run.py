"""Measure every performance claim as a ratio inside one run, and append it to RESULTS.md.

Run from anywhere, with the `peer` extra installed: python benchmarks/run.py [part ...]
A graphics card is checked by card.py, which makes its own bases.
"""

import argparse
import ast
import datetime
import os
import shlex
import sys
import tempfile
import time
import warnings
from importlib import import_module
from inspect import signature
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

from material import load_engine, load_material
from measuring import machine
from workbench.memory import keep_freed_memory
from workbench.models.engine import Engine

# Each is a module with `measure`, which takes what it names of task, engine, fitted and folder.
_PARTS = {
    "scoring": "scoring",
    "products": "products",
    "decoding": "decoding",
    "side_by_side": "side_by_side",
    "grid": "grid",
    "training_step": "training_step",
    "long_training": "long_training",
    "memory": "resident_memory",
    "freed_memory": "freed_memory",
    "page": "page_load",
    "readings": "readings",
    "planner": "planner",
    "precision_speed": "precision_speed",
    "weights": "weights",
    "own_comparison": "own_comparison",
    "long_texts": "long_texts",
    "starting": "starting",
    "scheduling": "scheduling",
    "workers": "workers",
}
_ON_ANY_DEVICE = ("training_step", "long_training", "planner", "precision_speed")
_RESULTS = Path(__file__).parent / "RESULTS.md"
_COLUMNS = "| what | ratio | single repeats | target | measured |\n|---|---|---|---|---|"


def main() -> None:
    """Run the chosen parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=_parts_in_words(), formatter_class=_AsWritten
    )
    parser.add_argument("parts", nargs="*", help="see below; default: all")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto; default: cpu")
    parser.add_argument(
        "--compute-dtype", default="auto", help="of 4-bit products; default: the processor's"
    )
    parser.add_argument("--no-append", action="store_true", help="only print")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(_PARTS)
    if unknown:
        parser.error(f"unknown part {', '.join(sorted(unknown))}; known: {', '.join(_PARTS)}")
    warnings.simplefilter("ignore")
    keep_freed_memory()  # as every session of the workbench does; both sides profit
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        engine = load_engine(device=arguments.device, compute_dtype=arguments.compute_dtype)
        text = _report(arguments.parts or list(_PARTS), Path(folder), engine, began)
    if not arguments.no_append:
        with _RESULTS.open("a", encoding="utf-8") as stream:
            stream.write(text)


_AsWritten = argparse.RawDescriptionHelpFormatter


def _parts_in_words() -> str:
    """Return a line for each part: its name, and the first line of what its file says."""
    lines = []
    for name, module in _PARTS.items():
        source = Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8")
        said = ast.get_docstring(ast.parse(source)) or ""
        lines.append(f"  {name:16} {said.splitlines()[0]}")
    return "\n".join(["parts:", *lines])


def _report(parts: list[str], folder: Path, engine: Engine, began: float) -> str:
    task = load_material()
    lines = [
        f"## {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "",
        f"{machine(engine.info)}; data {task.name}",
        "",
        f"`python benchmarks/{shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])}`",
        "",
        _COLUMNS,
    ]
    print("\n".join(lines), flush=True)
    elsewhere = set(parts) - set(_ON_ANY_DEVICE)
    if elsewhere and engine.info.device != "cpu":
        raise SystemExit(f"measured on a processor only: {', '.join(sorted(elsewhere))}")
    found: dict[str, object] = {"task": task, "engine": engine}
    if {"side_by_side", "memory"} & set(parts):
        found["fitted"] = import_module("side_by_side").fit_all(engine, task, folder / "fit")
    seconds = {}
    for part in parts:
        part_began = time.perf_counter()
        measure = import_module(_PARTS[part]).measure
        given = found | {"folder": folder / part}
        figures = measure(**{name: given[name] for name in signature(measure).parameters})
        rows = [figure.row() for figure in figures]
        print("\n".join(rows), flush=True)
        lines += rows
        seconds[part] = time.perf_counter() - part_began
    each = ", ".join(f"{part} {took:.0f}" for part, took in seconds.items())
    lines += ["", f"Took {time.perf_counter() - began:.0f} s: {each}.", ""]
    print("\n".join(lines[-2:]))
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
