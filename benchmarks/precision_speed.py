"""What 4 bits cost in time and save in memory on this device, against 16 bits, in one run."""

from dataclasses import dataclass
from pathlib import Path

import torch

from material import encoder_for, fit, load_engine
from measuring import Figure, Timings, interleave
from workbench.fitting.base import FitContext
from workbench.methods.catalog import make_method
from workbench.models.engine import Engine
from workbench.runs.measurements.loss_and_answers import answers_to_test
from workbench.tasks.base import Task

_STEPS, _BATCH_SIZE = 12, 16
_REPEATS = 5
_SHOTS = 8


@dataclass(frozen=True)
class _Contender:
    """One precision: what trains and what answers."""

    engine: Engine
    task: Task
    folder: Path

    def train(self) -> None:
        """Train a LoRA for some steps; dev is looked at once, at the end."""
        context = FitContext(
            self.engine, encoder_for(self.engine, self.task), 0, self.folder, adapter_name="speed"
        )
        sizes = {"steps": _STEPS, "eval_every": _STEPS, "batch_size": _BATCH_SIZE}
        (self.folder / "checkpoint.safetensors").unlink(missing_ok=True)
        make_method("lora", sizes).fit(context)
        self._wait()

    def answer(self) -> None:
        """Answer the test split with demonstrations."""
        encoder = encoder_for(self.engine, self.task)
        fitted = fit(self.engine, encoder, "few_shot", self.folder, k=_SHOTS)
        answers_to_test(self.engine, fitted)
        self._wait()

    def _wait(self) -> None:
        if self.engine.info.device == "cuda":
            torch.cuda.synchronize()


def measure(engine: Engine, task: Task, folder: Path) -> list[Figure]:
    """Return time and memory of NF4 over those of bf16."""
    half = load_engine("bf16", engine.info.device)
    both = {
        "nf4": _Contender(engine, task, folder / "nf4"),
        "bf16": _Contender(half, task, folder / "bf16"),
    }
    for contender in both.values():  # what is compiled or measured once
        contender.train()
        contender.answer()
    device = engine.info.device
    training = interleave({name: one.train for name, one in both.items()}, _REPEATS)
    answering = interleave({name: one.answer for name, one in both.items()}, _REPEATS)
    size = engine.info.footprint_bytes / half.info.footprint_bytes
    beside = engine.info.restored_bytes / half.info.footprint_bytes
    return [
        _figure(f"NF4 over bf16 on {device}: {_STEPS} steps of LoRA and a look at dev", training),
        _figure(f"NF4 over bf16 on {device}: {len(task.test)} items, {_SHOTS} shots", answering),
        Figure(
            f"NF4 over bf16 on {device}: memory of the base",
            size,
            details=f"unpacked beside it, for speed: {beside:.2f} of bf16 more",
        ),
    ]


def _figure(name: str, timings: Timings) -> Figure:
    ratio, lowest, highest = timings.ratio("nf4", "bf16")
    seconds = f"{timings.median('nf4'):.2f} s against {timings.median('bf16'):.2f} s"
    return Figure(name, ratio, lowest=lowest, highest=highest, details=seconds)
