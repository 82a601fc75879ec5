"""Peak memory of training on the default base against the planner's estimate, method by method.

Each method trains in a process of its own, on the device of the whole run. On a processor, what the
interpreter and the libraries hold is measured before the base is loaded; everything else is the
estimate's. On a GPU it is what torch allocated there: its own context is not counted.
"""

import ctypes
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from material import BASE, REPOSITORY, encoder_for, load_engine, load_material
from measuring import Figure
from workbench.budget.memory import (
    BudgetPrecision,
    MemoryEstimate,
    Storage,
    Workload,
    peak_memory,
)
from workbench.budget.shape import ModelShape
from workbench.budget.sources import find_shape
from workbench.budget.trained import RECIPES, AdaptOptions
from workbench.encoding import PromptEncoder
from workbench.fitting.base import FitContext
from workbench.memory import PeakMemory, keep_freed_memory, return_freed_memory
from workbench.methods.catalog import make_method
from workbench.models.engine import Engine
from workbench.models.weights import find_weights
from workbench.tasks.base import Task
from workbench.training import loop as training

_STEPS = 6
_BATCH_SIZE = 16
_VECTORS = 20
_SIZES: dict[str, dict[str, object]] = {
    "prompt_tuning": {"num_virtual_tokens": _VECTORS},
    "prefix_tuning": {"num_virtual_tokens": _VECTORS},
    "lora": {},
    "dora": {},
    "bottleneck_adapter": {},
    "full_fine_tuning": {},
}
_SAMPLING_SECONDS = 0.01


def measure(engine: Engine) -> list[Figure]:
    """Return how far the estimate of each method is from what was measured, on that device."""
    return [_figure(name, engine.info.device) for name in _SIZES]


def _figure(name: str, device: str) -> Figure:
    command = [sys.executable, __file__, name, device]
    result = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    return figure_of(name, json.loads(result.stdout.splitlines()[-1]))


def figure_of(name: str, found: dict[str, Any]) -> Figure:
    """Return how far the estimate of a method is from what `peak_and_estimate` found."""
    estimate = found["before"] + found["estimate"]
    error = estimate / found["peak"] - 1
    return Figure(
        f"planner: error of the peak memory of a process training {name}",
        abs(error),
        target=0.2,
        details=(
            f"on {found['device']}: estimate {_mib(estimate)} ({error:+.0%}), measured "
            f"{_mib(found['peak'])}, {found['positions']} positions" + _processor_details(found)
        ),
    )


def _processor_details(found: dict[str, Any]) -> str:
    if found["device"] != "cpu":
        return ""
    grown = found["estimate"] / (found["peak"] - found["before"]) - 1
    heap = found["living"] / found["heap"] - 1
    return (
        f"; {_mib(found['before'])} of it before loading; above that {grown:+.0%}; of tensors "
        f"alone, without what the allocator holds, {heap:+.0%} of {_mib(found['heap'])}"
    )


def _mib(num_bytes: float) -> str:
    return f"{num_bytes / 2**20:.0f} MiB"


class _HeapStatistics(ctypes.Structure):
    """What glibc's mallinfo2 returns."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
            "fordblks", "keepcost",
        )
    ]  # fmt: skip


class _PeakHeap:
    """Samples the bytes that are allocated and not freed; `num_bytes` is the most seen."""

    def __init__(self) -> None:
        self.num_bytes = 0
        self._libc = ctypes.CDLL(None)
        self._libc.mallinfo2.restype = _HeapStatistics
        self._done = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def now(self) -> int:
        """Return what is allocated now."""
        statistics = self._libc.mallinfo2()
        return int(statistics.uordblks + statistics.hblkhd)

    def __enter__(self) -> "_PeakHeap":
        self._sampler.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._done.set()
        self._sampler.join()

    def _sample(self) -> None:
        while not self._done.wait(_SAMPLING_SECONDS):
            self.num_bytes = max(self.num_bytes, self.now())


@dataclass(frozen=True)
class Held:
    """Bytes that the process holds before a base is loaded: resident, and allocated there."""

    resident: int
    heap: int


def held_now() -> Held:
    """Return what the process holds now."""
    return Held(psutil.Process().memory_info().rss, _PeakHeap().now())


def peak_and_estimate(
    engine: Engine, shape: ModelShape, task: Task, name: str, before: Held
) -> dict[str, Any]:
    """Train a method for some steps; return what was measured and what is estimated."""
    return_freed_memory()  # as a session does
    encoder, storage, heap = encoder_for(engine, task), _storage(engine), _PeakHeap()
    with (
        _watched_steps() as seen,
        heap,
        PeakMemory(engine.info.device) as peak,
        tempfile.TemporaryDirectory() as folder,
    ):
        _fit(engine, encoder, name, Path(folder))
    works = [_workload(rows) for rows in seen]
    estimates = [_estimate(shape, storage, name, work) for work in works]
    return {
        "device": engine.info.device,
        "before": before.resident if engine.info.device == "cpu" else 0,
        "peak": peak.num_bytes,
        "heap": heap.num_bytes - before.heap,
        "estimate": max(estimate.total for estimate in estimates),
        "living": max(estimate.living for estimate in estimates),
        "positions": max(work.positions for work in works),
    }


def _main(name: str, device: str) -> None:
    """Train one method and print what was measured and what is estimated."""
    keep_freed_memory()  # as a session does
    task, before = load_material(), held_now()
    shape = find_shape(str(find_weights(BASE).folder))
    print(json.dumps(peak_and_estimate(load_engine(device=device), shape, task, name, before)))


def _storage(engine: Engine) -> Storage:
    precision: BudgetPrecision = engine.info.precision  # type: ignore[assignment]
    return Storage(precision, is_gpu=engine.info.device != "cpu")


def _fit(engine: Engine, encoder: PromptEncoder, name: str, folder: Path) -> None:
    context = FitContext(engine, encoder, 0, folder, adapter_name=name)
    sizes = {"steps": _STEPS, "eval_every": _STEPS, "batch_size": _BATCH_SIZE}
    make_method(name, {**sizes, **_SIZES[name]}).fit(context)


@contextmanager
def _watched_steps() -> Iterator[list[tuple[int, int, int, int, int]]]:
    """Note the sizes of each step: rows, longest row, prefix run and given, answer tokens."""
    seen: list[tuple[int, int, int, int, int]] = []
    real = training.answer_loss

    def watched(engine, prefix, adapter, batch):  # noqa: ANN001, ANN202
        longest = max(len(one.token_ids) + len(one.answer_ids) - 1 for one in batch)
        answers = max(len(one.answer_ids) for one in batch)
        given = prefix.num_tokens - prefix.num_computed
        seen.append((len(batch), longest, prefix.num_computed, given, answers))
        return real(engine, prefix, adapter, batch)

    training.answer_loss = watched
    try:
        yield seen
    finally:
        training.answer_loss = real


def _workload(sizes: tuple[int, int, int, int, int]) -> Workload:
    rows, longest, shared, given, answers = sizes
    return Workload(
        batch_size=rows,
        row_tokens=longest + shared + given,
        shared_tokens=shared,
        given_tokens=given,
        answer_tokens=answers,
    )


def _estimate(shape: ModelShape, storage: Storage, name: str, work: Workload) -> MemoryEstimate:
    options = AdaptOptions(num_virtual_tokens=_VECTORS)
    prefix = work.shared_tokens + work.given_tokens
    return peak_memory(shape, storage, RECIPES[name], options, work, prefix_tokens=prefix)


if __name__ == "__main__":
    _main(*sys.argv[1:])
