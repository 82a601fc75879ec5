"""Whether 4-bit weights are kept unpacked beside themselves for speed: what is asked, and the rule.

"restored" and "packed" are done as asked. "auto" keeps them unpacked on a CPU where a third of the
free memory holds them, so that two thirds stay for texts, training and others; free is what machine
and container have left (`workbench.free_memory`). A GPU multiplies 4-bit weights as they are.

Several processes may load a base at once, each with a copy: a page and its jobs. They decide and
unpack in turns (`one_process`), so that each sees what the one before has taken, and the last ones
stay packed where there is no room for all. Nothing but time hangs on it: numbers are the same.

Whoever runs a page or a machine says what "auto" means there by `WORKBENCH_WEIGHTS_IN_MEMORY`.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from workbench.errors import ConfigError, unknown_name
from workbench.free_memory import free_memory

WeightsInMemory = Literal["auto", "packed", "restored"]
WEIGHTS_IN_MEMORY: tuple[WeightsInMemory, ...] = ("auto", "packed", "restored")
SETTING = "WORKBENCH_WEIGHTS_IN_MEMORY"
"""Environment variable: what "auto" means to the processes that have it."""
UNPACKED_BYTES = {"float32": 4, "bfloat16": 4, "float16": 2}
"""Bytes of a weight kept unpacked on a CPU, by the dtype of products, at most: bfloat16 is kept in
two orders where the processor profits, see `workbench.models.products`."""
_SHARE = 1 / 3  # of the free memory, which "auto" takes at most
_GIB = 1 << 30
_TURN_SECONDS = 10.0  # a process that was stopped must not keep others from loading
_PAUSE_SECONDS = 0.02


class MemoryChoice(NamedTuple):
    """Whether weights are kept unpacked, and why, in words for the record."""

    is_restored: bool
    reason: str


def choose_weights(
    wanted: str, device: str, num_bytes: int, *, is_turn: bool = True
) -> MemoryChoice:
    """Return whether 4-bit weights that take so many bytes unpacked are kept so.

    Out of turn (`one_process`) it is not known what is free, so "auto" keeps them packed.

    Raises:
        ConfigError: no way to keep weights of that name, or no room for what is asked.
    """
    check_weights_in_memory(wanted)
    reason = "asked for"
    if wanted == "auto":
        wanted, reason = os.environ.get(SETTING, "auto"), f"asked for by {SETTING}"
    if num_bytes == 0:
        return MemoryChoice(is_restored=False, reason="the base is not in 4 bits")
    if wanted == "packed":
        return MemoryChoice(is_restored=False, reason=reason)
    if wanted == "restored":
        free = free_memory()
        if device == "cpu" and num_bytes > free:
            raise ConfigError(
                f"weights_in_memory 'restored' ({reason}): the weights take {_gib(num_bytes)} "
                f"unpacked, and {_gib(free)} are free. Use 'packed', which gives the same numbers."
            )
        return MemoryChoice(is_restored=True, reason=reason)
    if device != "cpu":
        return MemoryChoice(is_restored=False, reason="a GPU multiplies 4-bit weights as they are")
    if not is_turn:
        reason = f"another process has been unpacking its own for {_TURN_SECONDS:g} s"
        return MemoryChoice(is_restored=False, reason=reason)
    free = free_memory()
    fits = num_bytes <= free * _SHARE
    share = "at most" if fits else "more than"
    return MemoryChoice(
        is_restored=fits,
        reason=f"{_gib(num_bytes)} unpacked, {share} a third of the {_gib(free)} free",
    )


def check_weights_in_memory(wanted: str) -> None:
    """Refuse a way to keep weights that there is not, asked for here or by the environment.

    Raises:
        ConfigError: names those that there are.
    """
    asked = {"weights_in_memory": wanted, SETTING: os.environ.get(SETTING, "auto")}
    for where, way in asked.items():
        if way not in WEIGHTS_IN_MEMORY:
            raise ConfigError(f"{where}: {unknown_name('way', way, WEIGHTS_IN_MEMORY)}")


@contextmanager
def one_process() -> Iterator[bool]:
    """Let processes and threads of this installation into the block in turns.

    Where the file system has no locks there is no waiting. Whoever waits for too long is let in out
    of turn, and is given False.
    """
    held = os.open(__file__, os.O_RDONLY)  # a file that all of them have
    until = time.monotonic() + _TURN_SECONDS
    is_turn = False
    try:
        while time.monotonic() < until:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_PAUSE_SECONDS)
                continue
            except OSError:
                pass
            is_turn = True
            break
        yield is_turn
    finally:
        os.close(held)


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / _GIB:.1f} GiB"
