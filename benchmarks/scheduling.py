"""Scheduling of 10,000 runs over 1, 10 and 100 workers that die, against the ideal; simulated.

The chains, the pool and its placement are the product's own. Simulated are time, workers and runs,
whose lengths were measured: `python benchmarks/scheduling.py FOLDER` keeps those of the finished
runs below a folder.
"""

import heapq
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from measuring import Figure
from workbench.progress import ProgressEvent
from workbench.runs.executor import Chain, Made, drive
from workbench.runs.store import RunStore
from workbench.workers.pool import Pool
from workbench.workers.work import Answer, Done, Give, Gone, Ready, Step, Stop

_LENGTHS = Path(__file__).with_name("run_lengths.json")
_VERSION = "simulated"
_CHAINS, _TRIALS, _SEEDS = 2_000, 3, 2  # 10,000 runs: a row looks for its rate, then has two seeds
_WORKERS = (1, 10, 100)
_STEPS = 20  # that each run tells
_LOAD_SECONDS = 10.0  # of a base, where another one was in memory
_BASES = 4
_LIFE_SECONDS = 8 * 3600.0  # of a worker, in the mean
_REPAIR_SECONDS = 300.0  # until another takes its place
_CHECKPOINT = 0.1  # of a run's length, between two checkpoints
_TARGET = 0.9


def measure() -> list[Figure]:
    """Return how near the makespan comes to the ideal, and what the driver itself takes."""
    lengths = json.loads(_LENGTHS.read_text())["seconds"]
    return [figure for number in _WORKERS for figure in _simulated(number, lengths)]


def _simulated(number: int, lengths: Sequence[float]) -> list[Figure]:
    draw = random.Random(number)
    crew = _SimulatedCrew(number, draw)
    executor = _StubExecutor(crew)
    process = psutil.Process()
    memory, began = process.memory_info().rss, time.process_time()
    drive(_chains(draw, lengths), executor, _Silent())
    seconds = time.process_time() - began
    grown = process.memory_info().rss - memory
    runs = _CHAINS * (_TRIALS + _SEEDS)
    ideal = executor.total / number
    return [
        Figure(
            f"scheduling: {runs:,} runs over {number} workers: ideal / makespan",
            ideal / crew.now(),
            _TARGET,
            at_least=True,
            details=f"makespan {crew.now() / 3600:.1f} h, ideal {ideal / 3600:.1f} h, "
            f"{crew.num_deaths} workers died; the driver {1e6 * seconds / runs:.0f} µs a run and "
            f"{max(grown, 0) / 1e6:.0f} MB more",
        )
    ]


@dataclass(frozen=True, eq=False)
class _Stub:
    """A run that only lasts."""

    name: str
    base: str
    seconds: float
    shared: tuple[str, ...] = ("session",)


def _chains(draw: random.Random, lengths: Sequence[float]) -> Iterator[Chain]:
    """Yield rows that look for a learning rate and are then run with several seeds."""
    for number in range(_CHAINS):
        base, seconds = f"base {number * _BASES // _CHAINS}", draw.choice(lengths)
        yield _chain(f"row {number}", base, seconds)


def _chain(name: str, base: str, seconds: float) -> Chain:
    yield [_Stub(f"{name} rate {i}", base, seconds) for i in range(_TRIALS)]  # type: ignore[misc]
    yield [_Stub(f"{name} seed {i}", base, seconds) for i in range(_SEEDS)]  # type: ignore[misc]


class _StubExecutor:
    """What `PoolExecutor` does, with runs that are no runs."""

    def __init__(self, crew: "_SimulatedCrew") -> None:
        self._pool = Pool(crew, {"session": None}, _VERSION)
        self.total = 0.0

    def is_hungry(self) -> bool:
        """Return whether a worker may soon have nothing to do."""
        return self._pool.is_hungry()

    def submit(self, work: _Stub) -> None:
        """Take a run."""
        self.total += work.seconds
        self._pool.submit(work)

    def next(self, listener: "_Silent") -> tuple[_Stub, Made]:
        """Return the next run that is done."""
        while (ended := self._pool.next(listener, patience=1e9)) is None:
            self._pool.take_notes()
        work, outcome = ended
        assert outcome.error is None
        return work, Made()


class _SimulatedCrew:
    """Workers whose time is a number: they load bases, work, die, and are replaced."""

    def __init__(self, number: int, draw: random.Random) -> None:
        self._number, self._draw = number, draw
        self._now, self._order = 0.0, 0
        self._coming: list[tuple[float, int, str, int, Answer]] = []
        self._lives: dict[str, int] = {}  # how often a worker was replaced
        self._dies: dict[str, float] = {}
        self._bases: dict[str, str] = {}
        self._doing: dict[str, tuple[_Stub, float]] = {}
        self._kept: dict[str, float] = {}  # seconds of a run that its checkpoint holds
        self.num_deaths = 0
        for place in range(number):
            self._start(f"worker {place}", 0.0)

    def size(self) -> int:
        """Return how many workers there are."""
        return self._number

    def dismiss(self, worker: str) -> None:
        """Workers are alike."""
        raise AssertionError(worker)

    def now(self) -> float:
        """Return the simulated time in seconds."""
        return self._now

    def give(self, worker: str, message: Give | Stop) -> None:
        """Let a worker load the base it needs, and work until it is done or dies."""
        assert isinstance(message, Give)
        work = message.work
        assert isinstance(work, _Stub)
        load = 0.0 if self._bases.get(worker) == work.base else _LOAD_SECONDS
        self._bases[worker] = work.base
        begins, left = self._now + load, work.seconds - self._kept.get(work.name, 0.0)
        self._doing[worker] = work, begins
        for step in range(1, _STEPS):
            event = ProgressEvent("train", step, _STEPS)
            self._say(begins + left * step / _STEPS, worker, Step(event))
        self._say(begins + left, worker, Done(None))

    def wait(self, seconds: float) -> Sequence[tuple[str, Answer]]:
        """Go on to the next thing that a worker says."""
        while self._coming:
            at, _, worker, life, answer = heapq.heappop(self._coming)
            if life != self._lives[worker]:
                continue  # said by one that is dead
            self._now = at
            if isinstance(answer, Gone):
                self._die(worker)
            return [(worker, answer)]
        self._now += seconds
        return []

    def _start(self, worker: str, at: float) -> None:
        self._lives[worker] = self._lives.get(worker, 0) + 1
        self._bases.pop(worker, None)
        self._doing.pop(worker, None)
        self._say(at, worker, Ready(worker, _VERSION))
        self._dies[worker] = at + self._draw.expovariate(1 / _LIFE_SECONDS)
        self._say(self._dies[worker], worker, Gone("simulated"))

    def _die(self, worker: str) -> None:
        self.num_deaths += 1
        if worker in self._doing:
            work, begins = self._doing[worker]
            gap = _CHECKPOINT * work.seconds
            done = self._kept.get(work.name, 0.0) + max(0.0, self._now - begins)
            self._kept[work.name] = min(work.seconds, done) // gap * gap
        self._start(worker, self._now + _REPAIR_SECONDS)

    def _say(self, at: float, worker: str, answer: Answer) -> None:
        self._order += 1
        life = self._lives[worker]
        heapq.heappush(self._coming, (at, self._order, worker, life, answer))


class _Silent:
    """Listens to nothing."""

    def began(self, work: object, where: str) -> None:
        """Say nothing."""

    def progressed(self, work: object, event: ProgressEvent) -> None:
        """Say nothing."""


def _keep_lengths(folder: Path) -> None:
    """Keep how long the finished runs below a folder took: their training and their test split."""
    runs = [run for run in RunStore(folder).runs() if run.record.status == "finished"]
    costs = [(run.record.cost, run.spec.task.num_test) for run in runs]
    seconds = [
        round((cost.train_seconds or 0.0) + (cost.milliseconds_per_item or 0.0) * num / 1000, 1)
        for cost, num in costs
        if cost.milliseconds_per_item
    ]
    tasks = ", ".join(sorted({run.spec.task.name for run in runs}))
    day = max(run.record.started for run in runs)[:10]
    content = {"of": f"{len(seconds)} runs on {tasks}, {day}", "seconds": sorted(seconds)}
    _LENGTHS.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _keep_lengths(Path(sys.argv[1]))
    print("\n".join(figure.row() for figure in measure()))
