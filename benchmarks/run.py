"""Measure every performance claim as a ratio inside one run, and append it to RESULTS.md.

Run from anywhere, with the `peer` extra installed: python benchmarks/run.py [part ...]
"""

import argparse
import datetime
import os
import shlex
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import freed_memory
import page_load
import planner
import readings
import resident_memory
import scoring
import side_by_side
import training_step
from material import load_engine, load_material
from measuring import machine
from workbench.memory import keep_freed_memory

_PARTS = (
    "scoring",
    "side_by_side",
    "training_step",
    "memory",
    "freed_memory",
    "page",
    "readings",
    "planner",
)
_RESULTS = Path(__file__).parent / "RESULTS.md"
_COLUMNS = "| what | ratio | single repeats | target | measured |\n|---|---|---|---|---|"


def main() -> None:
    """Run the chosen parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join(_PARTS)}; default: all")
    parser.add_argument("--no-append", action="store_true", help="only print")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(_PARTS)
    if unknown:
        parser.error(f"unknown part {', '.join(sorted(unknown))}; known: {', '.join(_PARTS)}")
    warnings.simplefilter("ignore")
    keep_freed_memory()  # as every session of the workbench does; both sides profit
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        text = _report(arguments.parts or list(_PARTS), Path(folder), began)
    if not arguments.no_append:
        with _RESULTS.open("a", encoding="utf-8") as stream:
            stream.write(text)


def _report(parts: list[str], folder: Path, began: float) -> str:
    task, engine = load_material(), load_engine()
    lines = [
        f"## {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "",
        f"{machine(engine.info.compute_dtype)}; data {task.name}",
        "",
        f"`python benchmarks/{shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])}`",
        "",
        _COLUMNS,
    ]
    print("\n".join(lines), flush=True)
    fitted = None
    if {"side_by_side", "memory"} & set(parts):
        fitted = side_by_side.fit_all(engine, task, folder / "fit")
    for part in parts:
        if part == "scoring":
            figures = scoring.measure(task, folder / part, engine)
        elif part == "training_step":
            figures = training_step.measure(engine, task, folder / part)
        elif part == "freed_memory":
            figures = freed_memory.measure(task)
        elif part == "page":
            figures = page_load.measure(folder / part)
        elif part == "readings":
            figures = readings.measure(folder / part)
        elif part == "planner":
            figures = planner.measure()
        elif part == "side_by_side":
            figures = side_by_side.measure(engine, task, fitted or {})
        else:
            figures = resident_memory.measure(engine, task, fitted or {}, folder / part)
        rows = [figure.row() for figure in figures]
        print("\n".join(rows), flush=True)
        lines += rows
    lines += ["", f"Took {time.perf_counter() - began:.0f} s.", ""]
    print("\n".join(lines[-2:]))
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
