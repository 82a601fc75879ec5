"""Memory of the process: its peak over a stretch of work, and keeping what is freed for reuse."""

import ctypes
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import ClassVar

import psutil
import torch

_SAMPLING_SECONDS = 0.02
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # parameter numbers of glibc's mallopt
_KEPT_BYTES = 256 << 20  # grow the heap in steps of this size
_LARGE_BYTES = 1 << 30  # smaller blocks come from the heap
_SPARING_BYTES = 1 << 20  # the same where memory counts more than time
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error says that there was no memory, as torch, numpy or the system do."""
    text = (str(error).splitlines() or [""])[0].lower()
    is_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return is_memory or any(words in text for words in _NO_MEMORY)


def keep_freed_memory() -> None:
    """Let glibc reuse freed tensors' memory instead of returning it to the system at once.

    Without it every large tensor on a CPU is mapped and zeroed anew, which took a quarter of the
    time of few-shot scoring (benchmarks/RESULTS.md). Does nothing on other systems.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
    libc.mallopt(_TRIM_THRESHOLD, 2 * _LARGE_BYTES - 1)
    libc.mallopt(_TOP_PAD, _KEPT_BYTES)


def return_freed_memory() -> None:
    """Give the system back what loading a base has freed; does nothing without glibc."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def large_blocks_returned() -> Iterator[None]:
    """Give the system back what large tensors took as soon as they are freed, inside the block.

    Where a few small tensors stay of each layer and the rest is freed, they lie between pieces that
    no other tensor fits into: kept for reuse, those took twice what was alive (benchmarks/
    RESULTS.md). Afterwards it is as `keep_freed_memory` says. Does nothing without glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_THRESHOLD, _SPARING_BYTES)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)


class PeakMemory:
    """Context manager; afterwards `num_bytes` is the highest memory seen inside.

    On a GPU it is what torch allocated there; otherwise the resident memory of the process,
    sampled 50 times a second. One may lie inside another.

    Args:
        device: Where the base is: "cuda" or "cpu".
    """

    _open: ClassVar[list["PeakMemory"]] = []  # on a GPU, which counts one peak for all

    def __init__(self, device: str) -> None:
        self.num_bytes = 0
        self._is_gpu = device == "cuda"
        self._done = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "PeakMemory":
        if self._is_gpu:
            self._note_gpu()
            self._open.append(self)
            torch.cuda.reset_peak_memory_stats()
        else:
            self._sampler.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_gpu:
            self._note_gpu()
            self._open.remove(self)
        else:
            self._done.set()
            self._sampler.join()

    def _note_gpu(self) -> None:
        """Let everything that is open know the peak so far, before it is counted anew."""
        peak = torch.cuda.max_memory_allocated()
        for watcher in self._open:
            watcher.num_bytes = max(watcher.num_bytes, peak)

    def _sample(self) -> None:
        process = psutil.Process()
        while True:
            self.num_bytes = max(self.num_bytes, process.memory_info().rss)
            if self._done.wait(_SAMPLING_SECONDS):
                return
