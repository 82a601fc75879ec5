"""Peak memory of a stretch of work: of the GPU where there is one, else of the process."""

import threading
from types import TracebackType

import psutil
import torch

_SAMPLING_SECONDS = 0.02


class PeakMemory:
    """Context manager; afterwards `num_bytes` is the highest memory seen inside.

    On a GPU it is what torch allocated there; otherwise the resident memory of the process,
    sampled 50 times a second.
    """

    def __init__(self) -> None:
        self.num_bytes = 0
        self._done = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "PeakMemory":
        if torch.cuda.is_available():
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
        if torch.cuda.is_available():
            self.num_bytes = torch.cuda.max_memory_allocated()
        else:
            self._done.set()
            self._sampler.join()

    def _sample(self) -> None:
        process = psutil.Process()
        while True:
            self.num_bytes = max(self.num_bytes, process.memory_info().rss)
            if self._done.wait(_SAMPLING_SECONDS):
                return
