"""The processes of one training: the parts they take, what they sum, gather and agree on.

Each batch, and each look at dev, is cut into parts, one for each process. Gradients are summed in
the order of the parts (Li et al. 2020, https://arxiv.org/abs/2006.15704, describe the sum over all
processes), so one process that runs the same parts one after the other comes to the same numbers.

Whatever a process does between two exchanges may fail, so every exchange begins with an agreement:
either all were able to do their part, or all leave with the error of the one that was not. Nothing
is unpickled; messages are bytes.
"""

import sys
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import timedelta
from types import TracebackType
from typing import NoReturn

import torch
import torch.distributed as dist

from workbench.errors import (
    ConfigError,
    DamagedFile,
    ModelError,
    PromptError,
    RoomError,
    RunError,
    StoreError,
    TaskError,
    WorkbenchError,
)
from workbench.memory import is_out_of_memory
from workbench.progress import Interrupted

WAIT_SECONDS = 600.0
"""How long a process that says nothing is waited for; one that ended is noticed at once."""
_IDLE = timedelta(days=30)  # between two trainings
_POLL_SECONDS = 0.0002  # so that Ctrl-C is heard while others are waited for
_KINDS: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (
        *(ConfigError, DamagedFile, ModelError, PromptError, RoomError, RunError, StoreError),
        *(TaskError, WorkbenchError, Interrupted),
    )
}


class RankLost(RunError):
    """A process of a training ended, or does not answer."""


class Ranks:
    """One process, which runs all parts of each batch one after the other.

    Args:
        parts: How many there are; with 1 everything is as if there were none.

    Attributes:
        rank: Which of the processes this is; the first one, 0, writes and decides.
        size: How many there are.
        parts: How many parts a batch has; each process has equally many.
    """

    rank = 0
    size = 1

    def __init__(self, parts: int = 1) -> None:
        self.parts = parts

    @property
    def own_parts(self) -> range:
        """The parts of this process."""
        return range(self.rank, self.parts, self.size)

    def agreed(self) -> AbstractContextManager[None]:
        """Return a block that every process has, and which is left as the worst of them leaves it.

        Raises:
            RankLost: another process is gone.
            WorkbenchError: another process could not do what the block says.
            Interrupted: another process was asked to stop.
        """
        return nullcontext()

    def total(self, summands: Iterable[torch.Tensor]) -> torch.Tensor:
        """Return the sum over all parts, in their order, of one vector (N,) for each own part.

        Vectors are made while iterating, and the first is changed. Raises as `agreed` does.
        """
        found: torch.Tensor | None = None
        for one in summands:
            found = one if found is None else found.add_(one)
        if found is None:
            raise ValueError("nothing to sum")
        return found

    def gathered(self, tables: Iterable[torch.Tensor]) -> list[torch.Tensor]:
        """Return the tables (n, K) float64 of all parts, in their order, from those of own parts.

        Raises as `agreed` does.
        """
        return list(tables)

    def first(self, content: Callable[[], bytes]) -> bytes:
        """Return what the first process makes; the others' `content` is not called.

        Raises as `agreed` does.
        """
        return content()


class JoinedRanks(Ranks):
    """Several processes, joined by `torch.distributed`; see `join`.

    Args:
        rank: Which one this is.
        size: How many there are.
        parts: How many parts a batch has; a multiple of `size`.
        sums_on_card: Whether gradients are summed where they are, by NCCL.
        seconds: How long others are waited for.

    Attributes:
        whose_loss: Says what became of a lost process, where somebody knows; may be replaced.
        threads: How many a training may use here; None leaves them as they are.
    """

    def __init__(
        self, rank: int, size: int, parts: int, *, sums_on_card: bool, seconds: float
    ) -> None:
        super().__init__(parts)
        self.rank, self.size = rank, size
        self.whose_loss: Callable[[], str] = lambda: ""
        self.threads: int | None = None
        self._seconds = seconds
        self._depth, self._is_settled = 0, False
        self._lost = ""
        self._idle = dist.new_group(backend="gloo", timeout=_IDLE)
        self._sums = dist.group.WORLD
        self._sums_on_card = sums_on_card
        if sums_on_card:  # its own watch over time ends the process, so ours comes before it
            limit = timedelta(seconds=2 * seconds)
            self._sums = dist.new_group(backend="nccl", timeout=limit)

    def agreed(self) -> AbstractContextManager[None]:
        """See `Ranks.agreed`."""
        return _Agreement(self)

    def total(self, summands: Iterable[torch.Tensor]) -> torch.Tensor:
        """See `Ranks.total`; each process sums a slice of all, then gives it to the others."""
        with self.agreed():
            own = list(summands)
            flat = torch.stack(own) if self._sums_on_card else torch.stack(own).cpu()
            length, width = flat.shape[1], -(-flat.shape[1] // self.size)
            sent = flat.new_zeros(self.size, len(own), width)  # [to whom, part, slice]
            padded = torch.nn.functional.pad(flat, (0, self.size * width - length))
            sent.copy_(padded.reshape(len(own), self.size, width).transpose(0, 1))
            received = torch.empty_like(sent)  # [from whom, part, slice]
            whole = flat.new_empty(self.size, width)
        self._run(lambda: dist.all_to_all_single(received, sent, group=self._sums, async_op=True))
        slices = [received[rank, part] for part in range(len(own)) for rank in range(self.size)]
        summed = slices[0].clone()
        for one in slices[1:]:
            summed += one
        self._run(lambda: dist.all_gather(list(whole), summed, group=self._sums, async_op=True))
        return whole.reshape(-1)[:length].to(own[0].device)

    def gathered(self, tables: Iterable[torch.Tensor]) -> list[torch.Tensor]:
        """See `Ranks.gathered`."""
        found: list[list[torch.Tensor]] = []
        with self.agreed():
            own = list(tables)
        for table in own:
            rows = self.gathered_bytes(table.numpy().tobytes())
            width = table.shape[1]
            found.append([_floats(content).reshape(-1, width) for content in rows])
        return [table for of_all in found for table in of_all]

    def first(self, content: Callable[[], bytes]) -> bytes:
        """See `Ranks.first`."""
        made = b""
        with self.agreed():
            if self.rank == 0:
                made = content()
        return self._broadcast(made, dist.group.WORLD)

    def gathered_bytes(self, content: bytes) -> list[bytes]:
        """Return the contents of all processes, in their order; nothing is agreed before it."""
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        own_size = torch.tensor([len(content)])
        self._run(lambda: dist.all_gather(sizes, own_size, async_op=True))
        longest = max(int(size) for size in sizes)
        if longest == 0:
            return [b""] * self.size
        own = _bytes(content.ljust(longest, b"\0"))
        found = [torch.empty_like(own) for _ in sizes]
        self._run(lambda: dist.all_gather(found, own, async_op=True))
        return [one.numpy().tobytes()[: int(size)] for one, size in zip(found, sizes, strict=True)]

    def tell(self, content: bytes) -> None:
        """Tell the other processes, which are waiting in `heard`, what comes next.

        Raises:
            RankLost: one of them is gone.
        """
        self._broadcast(content, self._idle)

    def heard(self, should_stop: Callable[[], bool] = lambda: False) -> bytes:
        """Wait for the first process to `tell` what comes next; empty when it has ended."""
        try:
            return self._broadcast(b"", self._idle, should_stop)
        except RankLost:
            return b""

    def close(self) -> None:
        """Leave; whoever waits for this process is told by the system that it is gone."""
        self._lost = self._lost or f"training on {self.size} processes: they were left before."
        with suppress(RuntimeError, AssertionError, ValueError):  # some of it may be gone already
            dist.destroy_process_group()

    def end(self) -> None:
        """Let the other processes end, and leave."""
        if not self._lost:
            with suppress(RankLost):
                self.tell(b"")
        self.close()

    def _broadcast(
        self,
        content: bytes,
        group: dist.ProcessGroup | None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> bytes:
        size = torch.tensor([len(content)])
        self._run(lambda: dist.broadcast(size, 0, group=group, async_op=True), group, should_stop)
        if not int(size):
            return b""
        held = _bytes(content) if self.rank == 0 else torch.empty(int(size), dtype=torch.uint8)
        self._run(lambda: dist.broadcast(held, 0, group=group, async_op=True))
        return held.numpy().tobytes()

    def _run(
        self,
        start: Callable[[], dist.Work | None],
        group: dist.ProcessGroup | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Start an exchange and wait for it."""
        if self._lost:
            raise RankLost(self._lost)
        limit = _IDLE.total_seconds() if group is self._idle else self._seconds
        end = time.monotonic() + limit
        try:
            work = start()
            while work is not None and not work.is_completed():
                if should_stop():
                    self._lose("it was asked to stop", None)
                if time.monotonic() > end:
                    self._lose(f"no answer within {limit:g} seconds", None)
                time.sleep(_POLL_SECONDS)
            if work is not None:
                work.wait()
        except RuntimeError as error:  # what torch raises for a connection that is gone
            self._lose("its connection is gone", error)

    def _lose(self, reason: str, error: RuntimeError | None) -> NoReturn:
        self.close()  # so that the others, who may wait for this one, are told too
        known = self.whose_loss()
        what = known or f"another process ended or does not answer ({reason})"
        self._lost = f"training on {self.size} processes: {what}."
        raise RankLost(self._lost) from error

    def settle(self, error: Exception | None) -> None:
        """Tell the others how a block of `agreed` went here, and raise what they say of theirs."""
        found = self.gathered_bytes(self._said(error))
        worst = next((one for one in found if one), b"")
        if not worst:
            return
        self._is_settled = True
        if error is None:
            raise _error_of(worst)
        if self.rank and not isinstance(error, WorkbenchError | Interrupted):
            traceback.print_exception(error, file=sys.stderr)
            raise _error_of(self._said(error)) from error

    def _said(self, error: Exception | None) -> bytes:
        if error is None:
            return b""
        kind, text = type(error).__name__, str(error)
        if not isinstance(error, WorkbenchError | Interrupted):
            first = (text.splitlines() or [""])[0]
            kind, text = "RunError", f"ended by an error of ours ({kind}: {first})."
            if is_out_of_memory(error):
                text = (
                    f"out of memory ({first}). Each process holds a base of its own: use fewer "
                    "processes on a machine, micro_batch_size 1, or gradient_checkpointing."
                )
            text = f"process {self.rank + 1} of {self.size}: {text}"
        return f"{kind}\n{text}".encode()


class _Agreement:
    """A block that all processes leave alike, see `Ranks.agreed`; one may lie in another."""

    def __init__(self, ranks: JoinedRanks) -> None:
        self._ranks = ranks

    def __enter__(self) -> None:
        if self._ranks._depth == 0:
            self._ranks._is_settled = False
        self._ranks._depth += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        ranks = self._ranks
        ranks._depth -= 1
        if isinstance(error, RankLost) or (error is not None and ranks._is_settled):
            return  # all know
        if error is not None and not isinstance(error, Exception):  # left at once: Ctrl-C twice
            ranks.close()
            return
        ranks.settle(error)


def join(
    rank: int,
    size: int,
    *,
    parts: int | None = None,
    rendezvous: str = "env://",
    has_card: bool = False,
    seconds: float = WAIT_SECONDS,
) -> JoinedRanks:
    """Meet the other processes of a training, which call this too.

    Args:
        rank: Which one this is, from 0.
        size: How many there are.
        parts: How many parts each batch has; None: one for each process.
        rendezvous: Where: "env://" for what torchrun says, "file:///…", or "tcp://host:port".
        has_card: Whether this process has a GPU that no other one uses.
        seconds: How long the others are waited for.

    Raises:
        RunError: they did not come.
    """
    try:
        dist.init_process_group(
            "gloo",
            init_method=rendezvous,
            rank=rank,
            world_size=size,
            timeout=timedelta(seconds=seconds),
        )
        cards = torch.tensor([int(has_card and dist.is_nccl_available())])
        dist.all_reduce(cards, dist.ReduceOp.MIN)
        on_card = bool(int(cards))
        return JoinedRanks(rank, size, parts or size, sums_on_card=on_card, seconds=seconds)
    except (RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise RunError(
            f"processes: process {rank + 1} of {size} did not meet the others within {seconds:g} "
            f"seconds ({reason}). See whether they run, and whether they reach each other."
        ) from error


def _bytes(content: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _floats(content: bytes) -> torch.Tensor:
    if not content:
        return torch.empty(0, dtype=torch.float64)
    return torch.frombuffer(bytearray(content), dtype=torch.float64)


def _error_of(said: bytes) -> Exception:
    kind, _, text = said.decode().partition("\n")
    return _KINDS.get(kind, RunError)(text)
