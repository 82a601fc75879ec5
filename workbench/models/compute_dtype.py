"""Which dtype a processor takes products in: what its instructions say, never a timing."""

from collections.abc import Set
from pathlib import Path
from typing import NamedTuple

import torch

CPUINFO = Path("/proc/cpuinfo")
_BFLOAT16_INSTRUCTIONS = {
    "amx_bf16": "AMX-BF16",
    "avx512_bf16": "AVX512-BF16",
    "bf16": "BF16 of ARM",
}


class ChosenDtype(NamedTuple):
    """What products are taken in, and why, in words for the record."""

    dtype: torch.dtype
    reason: str


def processor_dtype(instructions: Set[str] | None = None) -> ChosenDtype:
    """Return bfloat16 where the processor multiplies in it, else float32.

    It follows from the kind of processor alone, so that a machine comes to the same numbers
    however busy it is.

    Args:
        instructions: Names as in `processor_instructions`; None: this processor's.
    """
    found = processor_instructions() if instructions is None else instructions
    for name, title in _BFLOAT16_INSTRUCTIONS.items():
        if name in found:
            return ChosenDtype(torch.bfloat16, f"this processor has {title}")
    return ChosenDtype(torch.float32, "this processor has no bfloat16 products")


def processor_instructions() -> frozenset[str]:
    """Return the names of this processor's instruction sets that could be found out."""
    try:
        told = torch.cpu.get_capabilities()
    except (AttributeError, RuntimeError):  # a torch that does not tell: Linux does, in its words
        return frozenset(CPUINFO.read_text().split() if CPUINFO.is_file() else ())
    return frozenset(name for name, value in told.items() if value is True)
