"""Which dtype a CPU multiplies faster in: measured once per machine, and remembered."""

import json
import platform
import time
from pathlib import Path

import torch

# bfloat16 rounds more; it has to be clearly faster to be worth it.
_BFLOAT16_MUST_BE_FASTER_BY = 1.3


def measured_compute_dtype(folder: Path) -> torch.dtype:
    """Return the faster dtype for this CPU's matrix products, measured once and remembered.

    The measurement is stored in `folder`, so that two processes on one machine agree and a
    repeated comparison finds its finished runs.
    """
    path = folder / "compute_dtype.json"
    machine = f"{_cpu_name()} torch {torch.__version__} threads {torch.get_num_threads()}"
    known: dict[str, str] = {}
    if path.is_file():
        known = json.loads(path.read_text())
    if machine not in known:
        slow, fast = (_seconds_per_product(t) for t in (torch.float32, torch.bfloat16))
        faster = slow / fast >= _BFLOAT16_MUST_BE_FASTER_BY
        known[machine] = "bfloat16" if faster else "float32"
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(known, indent=2))
    return torch.bfloat16 if known[machine] == "bfloat16" else torch.float32


def _seconds_per_product(dtype: torch.dtype) -> float:
    """Return the best time of a product of the size of a small model's layer."""
    left, right = torch.ones(256, 576, dtype=dtype), torch.ones(1536, 576, dtype=dtype)
    best = float("inf")
    for _ in range(30):
        start = time.perf_counter()
        torch.nn.functional.linear(left, right)
        best = min(best, time.perf_counter() - start)
    return best


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
