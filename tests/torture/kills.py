"""Kills at random moments: of a comparison, of a page's job, and of both when they go on."""

import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from torture.harness import (
    Ended,
    Kill,
    count_writes,
    evaluate,
    finished_runs,
    in_child,
    results,
    run_command,
)
from workbench.runs.experiment import read_experiment
from workbench.service import jobs
from workbench.service.profile import LOCAL
from workbench.service.worker import main as run_job
from workbench.service.workspace import open_workspace

_JOB_SECONDS = 120
_MOST_KILLS = 4  # of one folder, before it may end


@dataclass
class Tally:
    """What kills did.

    Attributes:
        killed: Kills by what was killed: "comparison", "comparison going on", "job" …
        ended: Comparisons and jobs that were killed at least once and then ended.
        equal: Those of them whose results equal the unbroken run's, bit by bit.
        lost: Finished runs that a kill took away or changed.
        faults: What else went wrong, in words.
    """

    killed: Counter[str] = field(default_factory=Counter)
    ended: int = 0
    equal: int = 0
    lost: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def num_killed(self) -> int:
        """Kills in all."""
        return self.killed.total()

    def note_end(self, found: dict[str, str], wanted: dict[str, str]) -> None:
        """Hold the results of what ended against those of the unbroken run."""
        self.ended += 1
        self.equal += found == wanted
        if found != wanted:
            names = sorted(n for n in found | wanted if found.get(n) != wanted.get(n))
            self.faults.append(f"other results in {', '.join(names[:5])}")

    def note_kill(self, kind: str, before: dict[str, bytes], after: dict[str, bytes]) -> None:
        """Count a kill, and the finished runs that it took away."""
        self.killed[kind] += 1
        self.lost += sum(after.get(run) != record for run, record in before.items())


def kill_comparisons(experiment: Path, folder: Path, *, kills: int, seed: int) -> Tally:
    """Kill `workbench evaluate` until there were so many kills and the last one has ended."""
    generator, tally = np.random.default_rng(seed), Tally()
    whole = folder / "whole"
    began = time.monotonic()
    ended = run_command(evaluate(experiment, whole), whole)
    seconds = time.monotonic() - began
    assert ended.code == 0, ended.text
    writes = count_writes(evaluate(experiment, folder / "counted"), folder / "counted")
    wanted, number = results(whole), 0
    while tally.num_killed < kills:
        out, number = folder / f"out-{number}", number + 1
        most = min(int(generator.integers(1, _MOST_KILLS + 1)), kills - tally.num_killed)
        ended, killed = Ended(-signal.SIGKILL, ""), 0
        while ended.code == -signal.SIGKILL:
            before = finished_runs(out)
            kill = _moment(generator, writes, seconds) if killed < most else None
            ended = run_command(evaluate(experiment, out), out, kill)
            if ended.code == -signal.SIGKILL:
                kind = "comparison going on" if killed else "comparison"
                tally.note_kill(kind, before, finished_runs(out))
                killed += 1
        if ended.code:
            tally.faults.append(f"ended with {ended.code}: {ended.text[-500:]}")
        elif killed:
            tally.note_end(results(out), wanted)
    return tally


def kill_jobs(
    experiment: Path, root: Path, *, kills: int, seed: int, spawned: bool = False
) -> Tally:
    """Kill the process of a page's job, resume it as the page does, and so on.

    Args:
        experiment: What the jobs make.
        root: Folder of runs; each job has a root of its own in it.
        kills: How many.
        seed: Of the moments.
        spawned: Let the queue start processes of their own, as the page does, instead of children.
    """
    generator, tally, number = np.random.default_rng(seed), Tally(), 0
    whole = _Job(experiment, root / "whole", spawned=spawned)
    began = time.monotonic()
    assert whole.work(None).code == 0
    seconds = time.monotonic() - began
    wanted = whole.results()
    while tally.num_killed < kills:
        job, number = _Job(experiment, root / f"root-{number}", spawned=spawned), number + 1
        most = min(int(generator.integers(1, _MOST_KILLS + 1)), kills - tally.num_killed)
        ended, killed = Ended(-signal.SIGKILL, ""), 0
        while ended.code == -signal.SIGKILL:
            before = finished_runs(job.workspace.folder)
            kill = None
            if killed < most and spawned:  # nobody counts the files of a process of its own
                kill = Kill(seconds=float(generator.uniform(0, seconds)))
            elif killed < most:
                kill = _moment(generator, 300, seconds)
            ended = job.work(kill)
            if ended.code == -signal.SIGKILL:
                kind = "job going on" if killed else "job"
                tally.note_kill(kind, before, finished_runs(job.workspace.folder))
                killed += 1
                job.resume()
        if ended.code:
            tally.faults.append(f"job ended with {ended.code}: {ended.text[-500:]}")
        elif killed:
            tally.note_end(job.results(), wanted)
    return tally


class _Job:
    """A job of a page of its own."""

    def __init__(self, experiment: Path, root: Path, *, spawned: bool) -> None:
        root.mkdir(parents=True)
        self.workspace = open_workspace(root, None, is_public=False)
        asked = read_experiment(experiment)
        job = jobs.submit(self.workspace, LOCAL, asked, kind="evaluate", title="torture")
        self.job_id, self._folder, self._spawned = job.status.job_id, job.folder, spawned

    @property
    def status(self) -> jobs.JobStatus:
        """How far it is."""
        return jobs.read_job(self.workspace, self.job_id).status

    def work(self, kill: Kill | None) -> Ended:
        """Let it run until it ends or is killed."""
        if not self._spawned:
            arguments = ([str(self._folder)],)
            ended = in_child(run_job, arguments, self.workspace.root, kill)
            return ended if ended.code < 0 else Ended(self._code(), ended.text)
        jobs.start_next(self.workspace.root)
        deadline = time.monotonic() + _JOB_SECONDS
        dies = time.monotonic() + (kill.seconds if kill and kill.seconds else 1e9)
        while self.status.state == "running":
            assert time.monotonic() < deadline, self.status
            pid = self.status.pid  # said by the process itself, once it is there
            if time.monotonic() > dies and pid is not None:
                os.kill(pid, signal.SIGKILL)
                while self.status.state == "running":
                    time.sleep(0.01)
                return Ended(-signal.SIGKILL, "")
            time.sleep(0.02)
        return Ended(self._code(), jobs.read_job(self.workspace, self.job_id).log)

    def resume(self) -> None:
        """Do what the page's button does after a kill."""
        if self.status.state != "queued":
            jobs.resume(self.workspace, LOCAL, self.job_id)

    def results(self) -> dict[str, str]:
        """Return what it came to, the job's own folder apart."""
        found = results(self.workspace.folder)
        return {name: value for name, value in found.items() if not name.startswith("jobs/")}

    def _code(self) -> int:
        return 0 if self.status.state == "finished" else 1


def _moment(generator: np.random.Generator, writes: int, seconds: float) -> Kill:
    """Return a random moment: half of them by the clock, half before a change of a file."""
    if generator.random() < 0.5:
        return Kill(seconds=float(generator.uniform(0, seconds)))
    return Kill(write=int(generator.integers(1, writes + 1)))
