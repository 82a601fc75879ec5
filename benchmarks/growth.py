"""Time and memory over the number of items, and over the number of methods that are resident."""

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import psutil

from material import encoder_for
from measuring import Figure
from workbench.fitting.base import FitContext, FittedMethod
from workbench.fitting.prediction import predict
from workbench.methods.catalog import make_method
from workbench.models.engine import Engine
from workbench.tasks.base import Sample, Task

_ITEMS = (100, 1_000, 10_000)
_RESIDENT = (1, 5, 10, 20)
_KINDS = ("lora", "prompt_tuning")  # in turns
_SCORED = 80  # items by the first method, while others are resident
_MOST = 1.1  # of the time per item or the time by one method, where growth is linear or none


def measure(engine: Engine, task: Task, folder: Path) -> list[Figure]:
    """Return times per item over those of fewer items, and of one method beside more of them."""
    return [*_over_items(engine, task, folder), *_over_methods(engine, task, folder)]


def _over_items(engine: Engine, task: Task, folder: Path) -> list[Figure]:
    fitted = _fit(engine, task, folder, "zero_shot", 0)
    predict(engine, fitted, task.test[:_SCORED])  # what is set up once
    began, seconds, figures = _resident(), dict[int, float](), []
    for number in _ITEMS:
        seconds[number] = _seconds(engine, fitted, _many(task.test, number)) / number
        first = seconds[_ITEMS[0]]
        figures.append(
            Figure(
                f"growth: time per item, {number:,} items over {_ITEMS[0]}",
                seconds[number] / first,
                target=_MOST if number > _ITEMS[0] else None,
                details=f"{1000 * seconds[number]:.1f} ms per item, {number * seconds[number]:.1f} "
                f"s in all; process {(_resident() - began) / 2**20:+.0f} MiB",
            )
        )
    return figures


def _over_methods(engine: Engine, task: Task, folder: Path) -> list[Figure]:
    kept, figures, alone = list[FittedMethod](), [], 0.0
    engine.prefixes.clear()
    began = _resident()
    for number in _RESIDENT:
        while len(kept) < number:
            place = len(kept)
            kept.append(_fit(engine, task, folder, _KINDS[place % len(_KINDS)], place))
        for fitted in kept:  # each has answered, and its prefix may be kept
            predict(engine, fitted, task.test[:2])
        predict(engine, kept[0], task.test[:_SCORED])
        took = min(_seconds(engine, kept[0], task.test[:_SCORED]) for _ in range(3))
        alone = alone or took
        figures.append(
            Figure(
                f"growth: time of one method, {number} resident over 1",
                took / alone,
                target=_MOST if number > 1 else None,
                details=f"{_KINDS[0]}, {_SCORED} items in {took:.2f} s; prefixes "
                f"{engine.prefixes.num_bytes / 2**20:.1f} MiB; process "
                f"{(_resident() - began) / 2**20:+.0f} MiB",
            )
        )
    for place in range(0, len(kept), len(_KINDS)):
        engine.adapters.remove(_name(place))
    return figures


def _fit(engine: Engine, task: Task, folder: Path, kind: str, place: int) -> FittedMethod:
    encoder = encoder_for(engine, replace(task, dev=task.dev[:2]))
    context = FitContext(engine, encoder, place, folder / str(place), adapter_name=_name(place))
    return make_method(kind, {"steps": 1} if kind in _KINDS else {}).fit(context)


def _name(place: int) -> str:
    return f"growth-{place}"


def _many(samples: Sequence[Sample], number: int) -> list[Sample]:
    """Return so many samples of as many ids; their texts come again where there are fewer."""
    return [replace(one, id=f"{one.id}-{place}")
            for place, one in enumerate(islice(cycle(samples), number))]  # fmt: skip


def _seconds(engine: Engine, fitted: FittedMethod, samples: Sequence[Sample]) -> float:
    began = time.perf_counter()
    predict(engine, fitted, samples)
    return time.perf_counter() - began


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)
