"""An experiment whose process is killed, or whose files are torn, on its way to its results.

Children come from a fork server that has imported everything, so that a kill falls into the work
and not into the start of an interpreter.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np

from toys import write_tiny
from visitors import write_rows

CHILD_SECONDS = 120
ROWS: dict[str, dict[str, Any]] = {
    "zero_shot": {},
    "few_shot": {"k": 2},
    "prompt_tuning": {"steps": 6, "eval_every": 2, "batch_size": 2, "num_virtual_tokens": 3},
    "lora": {"steps": 4, "eval_every": 2, "batch_size": 2, "rank": 2, "learning_rates": 3},
    "prompt_ensemble": {"members": 2, "steps": 4, "eval_every": 2, "batch_size": 2},
}
_WRITES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link")
# What says when and how long, and so differs between two runs that are the same.
_TIMES = (
    "created",
    "started",
    "finished",
    "seconds",
    "milliseconds",
    "memory",
    "provenance",
    "environment",
)
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["torture.preloaded"])
_TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Kill:
    """When a child is killed.

    Attributes:
        seconds: This long after it began; None: not by the clock.
        write: Before it opens, renames or removes the file of this number, from 1; None: not by
            files.
    """

    seconds: float | None = None
    write: int | None = None


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code, -9 if it was killed, and all it printed."""

    code: int
    text: str


def experiment_file(folder: Path) -> Path:
    """Write an experiment on the tiny base with rows of its own; return its file."""
    write_tiny(folder / "base")
    write_rows(folder / "rows.csv", 32)
    experiment = {
        "model": str(folder / "base"),
        "precision": "fp32",
        "task": {
            "name": "messages",
            "train": str(folder / "rows.csv"),
            "text_column": "message",
            "label_column": "intent",
        },
        "seeds": [0],
        "methods": ROWS,
    }
    path = folder / "experiment.json"
    path.write_text(json.dumps(experiment))
    return path


def evaluate(experiment: Path, out: Path) -> list[str]:
    """Return the command that makes an experiment."""
    return ["evaluate", str(experiment), "--out", str(out)]


def run_command(arguments: Sequence[str], folder: Path, kill: Kill | None = None) -> Ended:
    """Run a command of the workbench in a child; files below `folder` are those that count."""
    return in_child(_command, (list(arguments),), folder, kill)


def in_child(
    work: Callable[..., int], arguments: tuple[Any, ...], folder: Path, kill: Kill | None = None
) -> Ended:
    """Run a function in a child of the fork server; it may be killed on the way."""
    kill = kill or Kill()
    folder.parent.mkdir(parents=True, exist_ok=True)
    printed = folder.parent / f"{folder.name}.printed"
    start_server()
    child = SERVER.Process(target=_child, args=(work, arguments, folder, printed, kill.write))
    child.start()
    child.join(CHILD_SECONDS if kill.seconds is None else kill.seconds)
    is_late = child.is_alive() and kill.seconds is None
    if child.is_alive():
        child.kill()
    child.join()
    text = printed.read_text(encoding="utf-8", errors="replace") if printed.is_file() else ""
    if is_late:
        raise AssertionError(f"still at work after {CHILD_SECONDS} s:\n{text[-3000:]}")
    return Ended(int(child.exitcode or 0), text)


def count_writes(arguments: Sequence[str], folder: Path) -> int:
    """Run a command whole and return how many files it opened, renamed or removed."""
    counted = folder.parent / f"{folder.name}.writes"
    ended = in_child(_counted, (list(arguments), folder, counted), folder)
    assert ended.code == 0, ended.text
    return int(counted.read_text())


def results(out: Path, *, with_warnings: bool = True) -> dict[str, str]:
    """Return what an experiment came to, by file: times apart, equal for equal results.

    Args:
        out: Its folder.
        with_warnings: Whether what runs say of themselves counts too; of torn files they speak.
    """
    left_out = (*_TIMES, "digest", "files", *(() if with_warnings else ("warnings",)))
    found = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_dir() or name.endswith((".lock", ".log")) or path.name.startswith("."):
            continue
        if path.suffix in (".csv", ".md", ".html", ".tex"):
            continue  # the report again, with its times
        content = path.read_bytes()
        if path.suffix == ".json" or path.name == "history.jsonl":
            parts = content.splitlines() if path.suffix == ".jsonl" else [content]
            with suppress(ValueError):  # a torn file is compared as it is
                content = json.dumps(
                    [_without(json.loads(part), left_out) for part in parts]
                ).encode()
        found[name] = hashlib.sha256(content).hexdigest()
    return found


def finished_runs(out: Path) -> dict[str, bytes]:
    """Return the records that say "finished", by run: what a kill must never take away."""
    found = {}
    for path in out.glob("*/record.json"):
        content = path.read_bytes()
        if json.loads(content)["status"] == "finished":
            found[path.parent.name] = content
    return found


def damages(path: Path, generator: np.random.Generator) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield the ways to tear a file: their names and what does it."""
    content = path.read_bytes()

    def flip() -> None:
        torn = bytearray(content)
        torn[int(generator.integers(len(torn)))] ^= 1 << int(generator.integers(8))
        path.write_bytes(torn)

    yield "half", lambda: path.write_bytes(content[: len(content) // 2]) and None
    yield "empty", lambda: path.write_bytes(b"") and None
    if content:
        yield "flipped bit", flip
    yield "missing", path.unlink


def copied(folder: Path, target: Path) -> Path:
    """Return a copy of a folder in the place of another one."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)
    return target


@cache
def start_server() -> None:
    """Start the fork server where it finds what it imports; it passes over what it does not."""
    before = os.environ.get("PYTHONPATH")
    places = [str(_TESTS), str(_TESTS.parent), before or ""]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _child(
    work: Callable[..., int],
    arguments: tuple[Any, ...],
    folder: Path,
    printed: Path,
    kill_at: int | None,
) -> None:
    descriptor = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if kill_at is not None:
        _watch_writes(folder, kill_at)
    code = 1
    try:
        code = work(*arguments)
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _command(arguments: list[str]) -> int:
    from workbench.cli import main

    sys.argv = ["workbench", *arguments]
    main()
    return 0


def _counted(arguments: list[str], folder: Path, counted: Path) -> int:
    writes = _watch_writes(folder, None)
    try:
        return _command(arguments)
    finally:
        counted.write_text(str(writes()))


def _watch_writes(folder: Path, kill_at: int | None) -> Callable[[], int]:
    """Count what changes files below a folder, and die before the one of a number."""
    place, number = str(folder), 0

    def hook(event: str, given: tuple[Any, ...]) -> None:
        nonlocal number
        if event == "open":
            if not isinstance(given[0], str) or not given[2] & (os.O_WRONLY | os.O_RDWR):
                return
        elif event not in _WRITES:
            return
        if str(given[0]).startswith(place):
            number += 1
            if number == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return lambda: number


def _without(content: Any, left_out: Sequence[str]) -> Any:
    """Return JSON without the keys that have such a word in them."""
    if isinstance(content, dict):
        return {
            key: _without(value, left_out)
            for key, value in content.items()
            if not any(word in key for word in left_out)
        }
    return [_without(one, left_out) for one in content] if isinstance(content, list) else content
