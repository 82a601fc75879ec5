"""Fuzz every reader of foreign bytes for an hour on one core, and write docs/fuzz.md on the way.

`make fuzz MINUTES=60 TARGETS=…`. Each target runs in a process of its own, in rounds, so that a run
that is cut off has been everywhere. With atheris new paths through the package lead the way;
where it is not to be had, the same mutations are made without it. What was found lies below
runs/fuzz/found; what leads to new paths is kept in runs/fuzz/paths for the next run.
"""

import argparse
import hashlib
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, NoReturn

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "OMP_NUM_THREADS": "1"}

FOLDER = ROOT / "runs" / "fuzz"
PAGE = ROOT / "docs" / "fuzz.md"
_LEAST_SECONDS = 50  # of a target in a round; the start takes some
_WALL_SECONDS = 120  # of one input, after which the process is ended from outside
_MEMORY_MB = 4000
_MOST_STARTS = 20  # of a target in a round; each fault of a library's own code ends the process


@dataclass
class Tally:
    """What was done with a target.

    Attributes:
        inputs: How many were read.
        paths: How many are kept because they led to new paths, those it began with included.
        begun: How many it began with.
        faults: What was found, by cause.
        slowest: Milliseconds of CPU of the input that took longest.
        seconds: How long it ran.
    """

    inputs: int = 0
    paths: int = 0
    begun: int = 0
    faults: dict[str, str] = field(default_factory=dict)
    slowest: float = 0.0
    seconds: float = 0.0


def main() -> None:
    """Run all targets in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--targets", default="", help="names, comma-separated; all unless given")
    parser.add_argument("--seed", type=int, default=0, help="0 draws one")
    arguments = parser.parse_args()
    began = time.monotonic()
    atheris = _imported()
    from fuzz.targets import TARGETS

    names = [name for name in arguments.targets.split(",") if name] or list(TARGETS)
    left = arguments.minutes * 60 - (time.monotonic() - began)
    total = sum(TARGETS[name].share for name in names)
    rounds = max(1, int(left / (_LEAST_SECONDS * len(names))))
    tallies = {name: Tally() for name in names}
    draw = Random(arguments.seed or None)
    for number in range(rounds):
        for name in names:
            _run_target(atheris, name, left * TARGETS[name].share / total / rounds, draw, tallies)
            spent = (time.monotonic() - began) / 60
            state = f"round {number + 1} of {rounds}, {spent:.0f} of {arguments.minutes:g} minutes"
            _write_page(tallies, state)
            now = f"{datetime.now(UTC):%H:%M:%S}"
            print(f"{now} {state}: {_row(name, tallies[name])}", flush=True)
    found = sum(len(tally.faults) for tally in tallies.values())
    print(PAGE.read_text(encoding="utf-8"))
    sys.exit(1 if found else 0)


def _imported() -> Any:
    """Import everything, once for all targets, and return atheris, or None where it is not."""
    try:
        import atheris
    except ImportError:
        import fuzz.targets

        return None
    with atheris.instrument_imports(include=["workbench", "zipfile"]):
        import fuzz.boundary
        import fuzz.targets  # noqa: F401  what is imported here is watched
    return atheris


def _run_target(
    atheris: Any, name: str, seconds: float, draw: Random, tallies: dict[str, Tally]
) -> None:
    """Run a target in a process of its own; one that dies is started again for what is left."""
    tally, began = tallies[name], time.monotonic()
    log = FOLDER / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(_MOST_STARTS):
        left = seconds - (time.monotonic() - began)
        if left < 3:
            break
        seed = draw.randrange(1, 2**31)
        status = FOLDER / f"{name}.json"
        status.unlink(missing_ok=True)
        process = os.fork()
        if not process:
            _become(atheris, name, left, seed, log)
        code = _ended(process, left + 2 * _WALL_SECONDS)
        shutil.rmtree(_scratch(process), ignore_errors=True)
        done = json.loads(status.read_text()) if status.is_file() else asdict(Tally())
        tally.inputs += done["inputs"]
        tally.slowest = max(tally.slowest, done["slowest"])
        tally.faults |= done["faults"]
        tally.begun, tally.paths = tally.begun or done["begun"], max(tally.paths, done["paths"])
        _keep_artifacts(name, tally)
        if code != 0 and not done["inputs"]:
            tally.faults["start"] = f"ended with {code}: {log.read_text(errors='replace')[-300:]}"
            break
    tally.seconds += time.monotonic() - began


def _scratch(process: int) -> Path:
    """Return the folder of a process, in memory where there is such a place."""
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() else Path(tempfile.gettempdir())
    return place / f"workbench-fuzz-{process}"


def _become(atheris: Any, name: str, seconds: float, seed: int, log: Path) -> NoReturn:
    """Be the process of a target, and never come back."""
    try:
        with log.open("wb") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        _fuzz(atheris, name, seconds, seed)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(3)


def _ended(process: int, seconds: float) -> int:
    """Wait for a process, and end it if it takes longer; return how it ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found, code = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(code)
        time.sleep(0.2)
    os.kill(process, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _keep_artifacts(name: str, tally: Tally) -> None:
    """Note the inputs that ended a process: a library's own crash, a hang, memory."""
    for path in sorted(FOLDER.glob(f"{name}.ended-*")):
        folder = FOLDER / "found" / name
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / path.name.removeprefix(f"{name}.")
        path.replace(kept)
        tally.faults[kept.name] = "ended the process"


def _fuzz(atheris: Any, name: str, seconds: float, seed: int) -> None:
    """Fuzz one target in this process until the time is up."""
    session = _Session(name)
    if atheris is None:
        draw, until = Random(seed), time.monotonic() + seconds
        while time.monotonic() < until:
            session.read(session.target.drawn(draw))
        session.write()
        return
    paths = FOLDER / "paths" / name
    paths.mkdir(parents=True, exist_ok=True)
    for content in session.target.known:
        (paths / hashlib.sha1(content).hexdigest()).write_bytes(content)  # as libFuzzer names them
    session.paths = paths
    session.tally.begun = len(list(paths.iterdir()))

    def change(content: bytes, most: int, number: int) -> bytes:
        draw = Random(number)
        if draw.random() < 0.3:
            return atheris.Mutate(content, most)
        return session.target.drawn(draw, content)[:most]

    options = {
        "max_total_time": max(2, int(seconds)),
        "max_len": 20_000,
        "timeout": _WALL_SECONDS,
        "report_slow_units": _WALL_SECONDS,  # what is slow is seen by its CPU time
        "rss_limit_mb": _MEMORY_MB,
        "seed": seed,
        "artifact_prefix": FOLDER / f"{name}.ended-",
        "print_final_stats": 1,
        "verbosity": 1,
    }
    atheris.Setup(
        [sys.argv[0], *(f"-{key}={value}" for key, value in options.items()), str(paths)],
        session.read,
        custom_mutator=change,
    )
    atheris.Fuzz()


class _Session:
    """Reads inputs of one target, and keeps count."""

    def __init__(self, name: str) -> None:
        from fuzz.boundary import Fault, attempt
        from fuzz.targets import TARGETS

        logging.disable(logging.CRITICAL)
        self.target, self.tally = TARGETS[name], Tally()
        self.paths: Path | None = None
        self._attempt, self._fault = attempt, Fault
        self._scratch = _scratch(os.getpid())
        self._written, self._sizes = 0.0, dict[str, int]()

    def read(self, content: bytes) -> None:
        """Read an input; a fault is kept, and the search goes on."""
        try:
            seconds = self._attempt(self.target, content, self._scratch)
            self.tally.slowest = max(self.tally.slowest, 1000 * seconds)
        except self._fault as fault:
            self._keep(content, fault)
        self.tally.inputs += 1
        if time.monotonic() - self._written > 1:
            self.write()

    def write(self) -> None:
        """Say how far it is; the process may be ended at any time."""
        if self.paths is not None:
            self.tally.paths = sum(1 for _ in os.scandir(self.paths))
        path = FOLDER / f"{self.target.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".writing")
        scratch.write_text(json.dumps(asdict(self.tally)))
        scratch.replace(path)
        self._written = time.monotonic()

    def _keep(self, content: bytes, fault: AssertionError) -> None:
        where = str(getattr(fault, "where", fault))
        if len(content) >= self._sizes.get(where, 2**31):
            return
        self._sizes[where] = len(content)
        name = hashlib.sha256(where.encode()).hexdigest()[:10]
        folder = FOLDER / "found" / self.target.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        (folder / f"{name}.txt").write_text(str(fault), errors="backslashreplace")
        self.tally.faults[where] = name


def _row(name: str, tally: Tally) -> str:
    new = max(0, tally.paths - tally.begun)
    return (
        f"| {name} | {tally.inputs:,} | {tally.begun} + {new} | {len(tally.faults)} "
        f"| {tally.slowest:.0f} | {tally.seconds:.0f} |"
    )


def _write_page(tallies: dict[str, Tally], state: str) -> None:
    """Write what was done so far."""
    faults = [f"- `{n}`: {w}: {k}" for n, t in tallies.items() for w, k in t.faults.items()]
    inputs = sum(tally.inputs for tally in tallies.values())
    lines = [
        "# What was fuzzed",
        "",
        f"Made by `make fuzz` on {datetime.now(UTC):%Y-%m-%d} ({state}; one core): {inputs:,} "
        "inputs for the readers of",
        "foreign bytes in `tests/fuzz`. Each has to end in an answer or in one message that can be "
        "shown, within 5 s of",
        "CPU, 120 s in all and 4 GB, without writing outside of its folder, starting a program, "
        "unpickling or asking the network.",
        "",
        "New paths: inputs that ran through code in a way none before did, beside those it began "
        "with. Found inputs are kept in `tests/fuzz/corpus`",
        "and read in every run of the tests.",
        "",
        "| target | inputs | known + new paths | faults | slowest, ms of CPU | seconds |",
        "|---|---:|---:|---:|---:|---:|",
        *(_row(name, tally) for name, tally in tallies.items()),
        "",
        *(["Faults:", "", *faults] if faults else ["No faults."]),
        "",
    ]
    PAGE.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
