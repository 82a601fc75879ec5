"""A comparison made by two workers of this machine against one; each has a base and its cores."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import Figure

_EXPERIMENT = """
task: {name: support_intents, limit_train: 120, limit_dev: 16, limit_test: 60}
methods:
  zero_shot: {}
  few_shot: {k: 4}
  prompt_tuning: {steps: 10, eval_every: 10, batch_size: 8, learning_rate: 0.05}
  prompt_tuning_text:
    {method: prompt_tuning, steps: 10, eval_every: 10, batch_size: 8, learning_rate: 0.05,
     init: vocabulary}
  lora: {steps: 10, eval_every: 10, batch_size: 8, learning_rate: 0.001}
  ia3: {steps: 10, eval_every: 10, batch_size: 8, learning_rate: 0.01}
"""


def measure() -> list[Figure]:
    """Return the time of two workers over that of one, and of one over this process alone."""
    with tempfile.TemporaryDirectory() as folder:
        here, one, two = (_seconds(Path(folder), number) for number in (0, 1, 2))
    return [
        Figure(
            "comparison of six rows, from start to report: --workers 2 / --workers 1",
            two / one,
            details=f"{two:.1f} s against {one:.1f} s",
        ),
        Figure(
            "comparison of six rows, from start to report: --workers 1 / one process",
            one / here,
            details=f"{one:.1f} s against {here:.1f} s: driver and worker each load the base",
        ),
    ]


def _seconds(folder: Path, number: int) -> float:
    """Return how long the command takes with so many workers; 0 is without."""
    experiment = folder / "experiment.yaml"
    experiment.write_text(_EXPERIMENT)
    asked = [sys.executable, "-m", "workbench", "evaluate", str(experiment)]
    asked += ["--out", str(folder / f"with {number}")]
    asked += ["--workers", str(number)] if number else []
    began = time.perf_counter()
    subprocess.run(asked, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    print("\n".join(figure.row() for figure in measure()))
