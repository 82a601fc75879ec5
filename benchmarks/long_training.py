"""Training on long texts: what running a batch in parts and layers again does to time and memory.

Each way trains in a process of its own, whose peak is measured as in `planner.py`.
"""

from collections.abc import Mapping
from typing import Any

from measuring import Figure
from planner import measured_process
from workbench.models.engine import Engine

_BATCHES = {512: 4, 2048: 2}  # rows of a step, by the tokens of a text
_STEPS = 3


def measure(engine: Engine) -> list[Figure]:
    """Return seconds and memory of each way over those of the whole batch at once."""
    return [figure for tokens in _BATCHES for figure in _figures(tokens, engine.info.device)]


def _figures(tokens: int, device: str) -> list[Figure]:
    rows = _BATCHES[tokens]
    ways: dict[str, dict[str, object]] = {
        "the whole batch at once": {"micro_batch_size": rows},
        "one row at a time": {"micro_batch_size": 1},
        "the whole batch, layers run again": {
            "micro_batch_size": rows,
            "gradient_checkpointing": True,
        },
        "one row at a time, layers run again": {
            "micro_batch_size": 1,
            "gradient_checkpointing": True,
        },
    }
    found = {
        way: measured_process(
            "lora", {"steps": _STEPS, "batch_size": rows, **options}, device, tokens=tokens
        )
        for way, options in ways.items()
    }
    whole, *others = found
    return [
        figure
        for way in others
        for figure in _against(f"training, {rows} texts of {tokens} tokens", found, whole, way)
    ]


def _against(
    name: str, found: Mapping[str, Mapping[str, Any]], whole: str, way: str
) -> tuple[Figure, Figure]:
    one, all_at_once = found[way], found[whole]
    grown = [each["peak"] - each["before"] - each["restored"] for each in (one, all_at_once)]
    error = one["estimate"] / (one["peak"] - one["before"]) - 1
    return (
        Figure(
            f"{name}, {way}: seconds of a step over {whole}",
            one["seconds"] / all_at_once["seconds"],
            details=f"{one['seconds']:.2f} s, {all_at_once['seconds']:.2f} s; LoRA, nf4 with "
            f"compute {one['compute_dtype']}",
        ),
        Figure(
            f"{name}, {way}: memory of the process over {whole}",
            one["peak"] / all_at_once["peak"],
            details=f"{_mib(one['peak'])}, {_mib(all_at_once['peak'])}; without the libraries and "
            f"weights kept unpacked {_mib(grown[0])}, {_mib(grown[1])}; the planner's estimate "
            f"is {error:+.0%} off",
        ),
    )


def _mib(num_bytes: float) -> str:
    return f"{num_bytes / 2**20:.0f} MiB"
