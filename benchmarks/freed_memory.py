"""Few-shot scoring with and without keeping freed memory, each in a process of its own."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from material import REPOSITORY, encoder_for, fit, load_engine, load_material
from measuring import Figure, interleave
from workbench.fitting.prediction import predict
from workbench.memory import keep_freed_memory
from workbench.tasks.base import Task

_ITEMS = 96
_REPEATS = 2


def measure(task: Task) -> list[Figure]:
    """Return the time with `keep_freed_memory` over the time without."""
    timings = interleave({way: lambda way=way: _seconds(way) for way in ("give", "keep")}, _REPEATS)
    ratio, lowest, highest = timings.ratio("keep", "give")
    return [
        Figure(
            "keep_freed_memory: few-shot scoring with / without",
            ratio,
            lowest=lowest,
            highest=highest,
            details=(
                f"{task.name}, k=8, {_ITEMS} items, a process each; with "
                f"{timings.median('keep'):.2f} s, without {timings.median('give'):.2f} s"
            ),
        )
    ]


def _seconds(way: str) -> float:
    command = [sys.executable, __file__, way]
    result = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    return float(result.stdout.split()[-1])


def _main(way: str) -> None:
    if way == "keep":
        keep_freed_memory()
    engine, task = load_engine(), load_material()
    with tempfile.TemporaryDirectory() as folder:
        fitted = fit(engine, encoder_for(engine, task), "few_shot", Path(folder), k=8)
    predict(engine, fitted, task.test[:32])
    engine.prefixes.clear()
    began = time.perf_counter()
    predict(engine, fitted, task.test[:_ITEMS])
    print(time.perf_counter() - began)


if __name__ == "__main__":
    _main(sys.argv[1])
