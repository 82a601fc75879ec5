"""Interleaved timing, the machine in words, and one measured ratio with its target."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from workbench.models.loading import BaseInfo

_HOLDING_BACK = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")


@dataclass(frozen=True)
class Figure:
    """One ratio measured inside one run.

    Attributes:
        name: What is compared.
        ratio: Of the medians.
        target: Bound it should keep.
        at_least: Whether the target is a lower bound; otherwise it is an upper one.
        lowest: Smallest ratio of a single repeat; None where there is only one.
        highest: Largest ratio of a single repeat.
        details: Medians and settings in words.
    """

    name: str
    ratio: float
    target: float | None = None
    at_least: bool = False
    lowest: float | None = None
    highest: float | None = None
    details: str = ""

    @property
    def verdict(self) -> str:
        """Say whether the target was met."""
        if self.target is None:
            return "no target"
        met = self.ratio >= self.target if self.at_least else self.ratio <= self.target
        return f"{'>=' if self.at_least else '<='} {self.target:g}: {'met' if met else 'MISSED'}"

    def row(self) -> str:
        """Return a row of a Markdown table."""
        spread = "" if self.lowest is None else f"{self.lowest:.2f}-{self.highest:.2f}"
        return f"| {self.name} | {self.ratio:.3g} | {spread} | {self.verdict} | {self.details} |"


@dataclass
class Timings:
    """Seconds of the contenders, one entry per repeat."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def median(self, name: str) -> float:
        """Return the median of a contender."""
        return statistics.median(self.seconds[name])

    def ratio(self, above: str, below: str, scale: float = 1.0) -> tuple[float, float, float]:
        """Return the ratio of medians, and the smallest and largest of a single repeat."""
        pairs = zip(self.seconds[above], self.seconds[below], strict=True)
        single = [scale * a / b for a, b in pairs]
        return scale * self.median(above) / self.median(below), min(single), max(single)


def interleave(contenders: Mapping[str, Callable[[], float | None]], repeats: int) -> Timings:
    """Run the contenders in turns (A B A B); one that returns a number timed itself."""
    timings = Timings({name: [] for name in contenders})
    for _ in range(repeats):
        for name, contender in contenders.items():
            began = time.perf_counter()
            own = contender()
            elapsed = time.perf_counter() - began
            timings.seconds[name].append(elapsed if own is None else own)
    return timings


def _instructions() -> str:
    """Return the instructions that products may use, and whether the environment holds them back.

    `ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2` makes a newer
    processor take those of an older one.
    """
    found = f"instructions {torch.backends.cpu.get_cpu_capability()}"
    held = [name for name in _HOLDING_BACK if name in os.environ]
    return f"{found} (held back by {', '.join(held)})" if held else found


def machine(base: BaseInfo) -> str:
    """Return the machine in one line."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip()
        for line in (cpuinfo.read_text().splitlines() if cpuinfo.is_file() else [])
        if line.startswith("model name")
    ]
    gpu = f", on {torch.cuda.get_device_name()}" if base.device == "cuda" else ""
    return (
        f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"{_instructions()}, compute dtype {base.compute_dtype}{gpu}"
    )
