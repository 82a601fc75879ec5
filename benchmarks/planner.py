"""Peak memory of training on the default base against the planner's estimate, method by method.

Each method trains in a process of its own, on the device of the whole run. On a processor, what the
interpreter, the libraries and the tokenizer hold is measured once the base is loaded, less the
base's own tensors; everything else is the estimate's. On a GPU it is what torch allocated there:
its own context is not counted.
"""

import ctypes
import json
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from material import BASE, REPOSITORY, encoder_for, load_engine, load_material, long_texts
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
from workbench.models.loading import WeightsInMemory
from workbench.models.weights import find_weights
from workbench.models.weights_in_memory import UNPACKED_BYTES
from workbench.tasks.base import Task
from workbench.training import loop as training
from workbench.training.folder import HISTORY

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
_SPARING: tuple[dict[str, object], ...] = (
    {"micro_batch_size": 4},
    {"gradient_checkpointing": True},
)
_SAMPLING_SECONDS = 0.01


def measure(engine: Engine) -> list[Figure]:
    """Return how far the estimate of each method is from what was measured, on that device."""
    device = engine.info.device
    figures = [_figure(name, {}, device) for name in _SIZES]
    figures += [_figure("lora", options, device) for options in _SPARING]
    if device == "cpu":
        figures.append(_figure("lora", {}, device, weights_in_memory="packed"))
    return figures


def measured_process(
    name: str,
    options: Mapping[str, object],
    device: str,
    *,
    weights_in_memory: WeightsInMemory = "auto",
    tokens: int = 0,
) -> dict[str, Any]:
    """Return what a process took that trained a method, and what is estimated.

    Args:
        name: The method.
        options: Of the method, besides those that all are trained with here.
        device: Where.
        weights_in_memory: How 4-bit weights are kept.
        tokens: Length of the texts, one and the same; 0: those of the task.
    """
    asked = json.dumps([name, dict(options), device, weights_in_memory, tokens])
    result = subprocess.run(
        [sys.executable, __file__, asked],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def _figure(
    name: str,
    options: Mapping[str, object],
    device: str,
    *,
    weights_in_memory: WeightsInMemory = "auto",
) -> Figure:
    found = measured_process(name, options, device, weights_in_memory=weights_in_memory)
    kept = f", weights {weights_in_memory}" if weights_in_memory != "auto" else ""
    how = "".join(f", {option} {value}" for option, value in options.items())
    return figure_of(f"{name}{how}{kept}", found)


def figure_of(what: str, found: Mapping[str, Any]) -> Figure:
    """Return how far the estimate is from what `peak_and_estimate` found for a method."""
    estimate = found["before"] + found["estimate"]
    error = estimate / found["peak"] - 1
    return Figure(
        f"planner: error of the peak memory of a process training {what}",
        abs(error),
        target=0.2,
        details=(
            f"on {found['device']}: estimate {_mib(estimate)} ({error:+.0%}), measured "
            f"{_mib(found['peak'])}, {found['positions']} positions" + _processor_details(found)
        ),
    )


def _processor_details(found: Mapping[str, Any]) -> str:
    if found["device"] != "cpu":
        return ""
    grown = found["estimate"] / (found["peak"] - found["before"]) - 1
    heap = found["living"] / found["heap"] - 1
    return (
        f"; {_mib(found['before'])} of it besides the base, once it is loaded; above that "
        f"{grown:+.0%}; of tensors alone, without what the allocator holds, "
        f"{heap:+.0%} of {_mib(found['heap'])}"
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


def _main(asked: str) -> None:
    """Train one method and print what was measured and what is estimated."""
    name, options, device, weights_in_memory, tokens = json.loads(asked)
    keep_freed_memory()  # as a session does
    task, heap_before = load_material(), allocated_now()
    engine = load_engine(device=device, weights_in_memory=weights_in_memory)
    shape = find_shape(str(find_weights(BASE).folder))
    task = long_texts(task, engine, tokens) if tokens else task
    print(json.dumps(peak_and_estimate(engine, shape, task, name, options, heap_before)))


def allocated_now() -> int:
    """Return the bytes that the process has allocated, to be asked before a base is loaded."""
    return _PeakHeap().now()


def peak_and_estimate(
    engine: Engine,
    shape: ModelShape,
    task: Task,
    name: str,
    options: Mapping[str, object],
    heap_before: int,
) -> dict[str, Any]:
    """Train a method for some steps; return what was measured and what is estimated."""
    return_freed_memory()  # as a session does
    weights = engine.info.footprint_bytes + engine.info.restored_bytes
    held = psutil.Process().memory_info().rss
    before = held - weights if engine.info.device == "cpu" else 0
    encoder, storage, heap = encoder_for(engine, task), _storage(engine), _PeakHeap()
    with (
        _watched_steps() as seen,
        heap,
        PeakMemory(engine.info.device) as peak,
        tempfile.TemporaryDirectory() as folder,
    ):
        _fit(engine, encoder, name, options, Path(folder))
        seconds = _seconds_of_a_step(Path(folder))
    recomputes = bool(options.get("gradient_checkpointing"))
    works = [replace(_workload(rows), has_checkpointing=recomputes) for rows in seen]
    estimates = [_estimate(shape, storage, name, work) for work in works]
    return {
        "device": engine.info.device,
        "before": before,
        "peak": peak.num_bytes,
        "heap": heap.num_bytes - heap_before,
        "estimate": max(estimate.total for estimate in estimates),
        "living": max(estimate.living for estimate in estimates),
        "positions": max(work.positions for work in works),
        "restored": engine.info.restored_bytes,
        "compute_dtype": engine.info.compute_dtype,
        "seconds": seconds,
    }


def _storage(engine: Engine) -> Storage:
    precision: BudgetPrecision = engine.info.precision  # type: ignore[assignment]
    unpacked = UNPACKED_BYTES[engine.info.compute_dtype]
    return Storage(
        precision,
        is_gpu=engine.info.device != "cpu",
        unpacked_bytes=unpacked if engine.info.restored_bytes else 0,
    )


def _fit(
    engine: Engine,
    encoder: PromptEncoder,
    name: str,
    options: Mapping[str, object],
    folder: Path,
) -> None:
    context = FitContext(engine, encoder, 0, folder, adapter_name=name)
    sizes = {"steps": _STEPS, "eval_every": _STEPS, "batch_size": _BATCH_SIZE}
    all_options = {**sizes, **_SIZES[name], **options}
    make_method(name, {**all_options, "eval_every": all_options["steps"]}).fit(context)


def _seconds_of_a_step(folder: Path) -> float:
    """Return the median over the steps, the first left out."""
    lines = (folder / HISTORY).read_text().splitlines()
    ends = [entry["seconds"] for entry in map(json.loads, lines) if "loss" in entry]
    return statistics.median(b - a for a, b in pairwise(ends))


@contextmanager
def _watched_steps() -> Iterator[list[tuple[int, int, int, int, int]]]:
    """Note the sizes of each step: rows, longest row, prefix run and given, answer tokens."""
    seen: list[tuple[int, int, int, int, int]] = []
    real = training.answer_loss

    def watched(engine, prefix, adapter, batch, **options):  # noqa: ANN001, ANN003, ANN202
        longest = max(len(one.token_ids) + len(one.answer_ids) - 1 for one in batch)
        answers = max(len(one.answer_ids) for one in batch)
        given = prefix.num_tokens - prefix.num_computed
        seen.append((len(batch), longest, prefix.num_computed, given, answers))
        return real(engine, prefix, adapter, batch, **options)

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
