"""Fuzz every reader of foreign bytes for an hour on one core, and write docs/fuzz.md on the way.

`make fuzz MINUTES=60 TARGETS=…`. Each target runs in a process of its own, in rounds, so that a run
that is cut off has been everywhere. With atheris new paths through the package lead the way;
where it is not to be had, the same mutations are made without it. What was found lies below
runs/fuzz/found; what leads to new paths is kept in runs/fuzz/paths for the next run.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "OMP_NUM_THREADS": "1"}

FOLDER = ROOT / "runs" / "fuzz"
PAGE = ROOT / "docs" / "fuzz.md"
_LEAST_SECONDS = 50  # of a target in a round; the start takes some
_WALL_SECONDS = 60  # of one input, after which the process is ended from outside
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
    """Run all targets in turn, or one in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--targets", default="", help="names, comma-separated; all unless given")
    parser.add_argument("--seed", type=int, default=0, help="0 draws one")
    parser.add_argument("--alone", help="run this one here, as its own process does")
    parser.add_argument("--until", type=float, default=0.0, help="of this one; seconds since 1970")
    arguments = parser.parse_args()
    if arguments.alone:
        _run_alone(arguments.alone, arguments.until, arguments.seed or 1)
        return
    from fuzz.targets import TARGETS

    names = [name for name in arguments.targets.split(",") if name] or list(TARGETS)
    total = sum(TARGETS[name].share for name in names)
    rounds = max(1, int(arguments.minutes * 60 / (_LEAST_SECONDS * len(names))))
    tallies = {name: Tally() for name in names}
    draw = Random(arguments.seed or None)
    began = time.monotonic()
    for number in range(rounds):
        for name in names:
            seconds = arguments.minutes * 60 * TARGETS[name].share / total / rounds
            _run_target(name, seconds, draw, tallies[name])
            spent = (time.monotonic() - began) / 60
            state = f"round {number + 1} of {rounds}, {spent:.0f} of {arguments.minutes:g} minutes"
            _write_page(tallies, state)
            print(
                f"{datetime.now(UTC):%H:%M:%S} {state}: {name} {_row(name, tallies[name])}",
                flush=True,
            )
    found = sum(len(tally.faults) for tally in tallies.values())
    print(PAGE.read_text(encoding="utf-8"))
    sys.exit(1 if found else 0)


def _run_target(name: str, seconds: float, draw: Random, tally: Tally) -> None:
    """Run a target in a process of its own; one that dies is started again for what is left."""
    until = time.monotonic() + seconds
    before = asdict(tally)
    for _ in range(_MOST_STARTS):
        left = until - time.monotonic()
        if left < 5:
            break
        seed = draw.randrange(1, 2**31)
        status = FOLDER / f"{name}.json"
        status.unlink(missing_ok=True)
        changes = [f"--alone={name}", f"--until={time.time() + left}", f"--seed={seed}"]
        log = FOLDER / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as stream:
            command = [sys.executable, __file__, *changes]
            code = subprocess.run(command, stdout=stream, stderr=stream, check=False).returncode
        done = json.loads(status.read_text()) if status.is_file() else asdict(Tally())
        tally.inputs += done["inputs"]
        tally.slowest = max(tally.slowest, done["slowest"])
        tally.faults |= done["faults"]
        tally.begun, tally.paths = tally.begun or done["begun"], max(tally.paths, done["paths"])
        _keep_artifacts(name, tally)
        if code != 0 and not done["inputs"]:
            tally.faults["start"] = log.read_text(errors="replace")[-300:]
            break
    tally.seconds = before["seconds"] + seconds


def _keep_artifacts(name: str, tally: Tally) -> None:
    """Note the inputs that ended a process: a library's own crash, a hang, memory."""
    for path in sorted(FOLDER.glob(f"{name}.ended-*")):
        folder = FOLDER / "found" / name
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / path.name.removeprefix(f"{name}.")
        path.replace(kept)
        tally.faults[kept.name] = "ended the process"


def _run_alone(name: str, until: float, seed: int) -> None:
    """Fuzz one target in this process until the time is up, its own start included."""
    try:
        import atheris
    except ImportError:
        atheris = None
    if atheris is None:
        session = _Session(name)
        draw = Random(seed)
        while time.time() < until:
            session.read(session.target.drawn(draw))
        session.write()
        return
    with atheris.instrument_imports(include=["workbench", "zipfile"]):
        session = _Session(name)
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
        "max_total_time": max(5, int(until - time.time())),
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

        self.target, self.tally = TARGETS[name], Tally()
        self.paths: Path | None = None
        self._attempt, self._fault = attempt, Fault
        memory = Path("/dev/shm")
        self._scratch = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None)) / "own"
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
        "CPU, 60 s in all and 4 GB, without writing outside of its folder, starting a program, "
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
