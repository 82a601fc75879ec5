"""A Ray cluster of several nodes on one machine, in namespaces of its own, and commands run there.

Ray listens on all interfaces; in a network namespace with nothing but `lo` nobody else reaches it.
The namespace of processes ends with its first one, and everything in it, whatever a test did.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
ADDRESS = "127.0.0.1:6399"
COMMAND = (sys.executable, "-c", "from workbench.cli import main; main()")
_UNSHARE = ("unshare", "-n", "-m", "-p", "-f", "--mount-proc", "--kill-child")
_FIRST = "ip link set lo up && echo up && read line"  # until its input ends
_START_SECONDS = 240.0  # on a machine that does much else


def why_not() -> str:
    """Return why there can be no cluster here, "" if there can."""
    missing = [name for name in ("unshare", "nsenter", "ip") if shutil.which(name) is None]
    if missing:
        return f"no {', '.join(missing)}"
    done = subprocess.run(
        [*_UNSHARE, "sh", "-c", "ip link set lo up"], capture_output=True, check=False
    )
    return "" if done.returncode == 0 else "namespaces need rights that this user does not have"


@dataclass
class Command:
    """A command of the workbench that is going on."""

    process: subprocess.Popen[str]

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        (driver,) = psutil.Process(self.process.pid).children()
        driver.send_signal(number)

    def give_up(self) -> tuple[str, str]:
        """Kill it unless it has ended; return output and errors that nobody has read."""
        if self.process.poll() is None:
            _kill(self.process.pid)
        pipe = self.process.stdout
        return ("", "") if pipe is None or pipe.closed else self.process.communicate()

    def end(self, seconds: float = 240.0) -> tuple[int, str, str]:
        """Wait for its end; return exit code, output and errors."""
        try:
            out, errors = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            out, errors = self.give_up()
            raise AssertionError(f"not done after {seconds} s\n{out}\n{errors}") from None
        return self.process.returncode, out, errors


@dataclass
class Nodes:
    """The cluster.

    Attributes:
        inside: Process id of the first process in its namespaces.
        folder: Of Ray's files.
        token: What opens it.
        running: Its nodes, by what they are called in tests.
        begun: All commands.
    """

    inside: int
    folder: Path
    token: str
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    begun: list[Command] = field(default_factory=list)

    def environment(self, **changes: str) -> dict[str, str]:
        """Return the variables of nodes and commands."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "COV_"))}
        return (
            kept
            | {
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": self.token,
                "RAY_USAGE_STATS_ENABLED": "0",
                "PYTHONPATH": str(ROOT),
                "OMP_NUM_THREADS": "1",
                "HF_HUB_OFFLINE": "1",
                "COLUMNS": "400",
                "TERM": "dumb",
            }
            | changes
        )

    def add(self, name: str, *, before: Sequence[str] = (), **changes: str) -> None:
        """Start a node.

        Args:
            name: What it is called in tests.
            before: Words before its command.
            changes: Of its variables.
        """
        is_head = not self.running
        place = ["--head", "--port", ADDRESS.rpartition(":")[2]] if is_head else []
        place += (
            ["--temp-dir", str(self.folder), "--include-dashboard", "false"]
            if is_head
            else ["--address", ADDRESS]
        )
        text = self.folder / f"{name}.log"
        ray = Path(sys.executable).parent / "ray"
        words = ("start", *place, "--block", "--num-cpus", "1", "--disable-usage-stats")
        room = ("--object-store-memory", "80000000")
        with text.open("wb") as log:
            self.running[name] = subprocess.Popen(
                self._there(*before, str(ray), *words, *room),
                env=self.environment(**changes), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

        def is_up() -> bool:
            assert self.running[name].poll() is None, text.read_text()
            return b"Ray runtime started" in text.read_bytes()

        wait_for(is_up, f"node {name}")

    def kill(self, name: str) -> None:
        """Kill a node with all that runs on it."""
        node = self.running.pop(name)
        _kill(node.pid)
        node.wait()

    def workers(self, name: str) -> list[psutil.Process]:
        """Return the processes of a node's actors."""
        found = psutil.Process(self.running[name].pid).children(recursive=True)
        return [process for process in found if "RayWorker" in _title(process)]

    def begin(
        self, *arguments: object, at: str = ADDRESS, command: str = "evaluate", **changes: str
    ) -> Command:
        """Begin a command of the workbench on the cluster; what a failed test left is ended."""
        for begun in self.begun:
            begun.give_up()
        words = self._there(*COMMAND, command, *map(str, arguments), "--cluster", at)
        process = subprocess.Popen(
            words, env=self.environment(**changes), text=True, cwd=self.folder,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.begun.append(Command(process))
        return self.begun[-1]

    def _there(self, *words: str) -> list[str]:
        return ["nsenter", "-t", str(self.inside), "-n", "-m", "-p", "--", *words]


@contextmanager
def cluster(folder: Path) -> Iterator[Nodes]:
    """Keep namespaces for a cluster, with no node yet, for the block."""
    first = subprocess.Popen(
        [*_UNSHARE, "sh", "-c", _FIRST], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == b"up\n"
        (inside,) = psutil.Process(first.pid).children()
        nodes = Nodes(inside.pid, folder, secrets.token_hex(20))
        try:
            yield nodes
        finally:
            for command in nodes.begun:
                command.give_up()
            for name in list(nodes.running):
                nodes.kill(name)
    finally:
        _kill(first.pid)
        first.communicate()


def wait_for(
    is_there: Callable[[], object],
    what: str,
    *,
    going: Command | None = None,
    seconds: float = _START_SECONDS,
) -> None:
    """Wait until something is there, or fail by what it is; what ended makes it no more."""
    until = time.monotonic() + seconds
    while not is_there():
        assert going is None or going.process.poll() is None, (what, going.end())
        assert time.monotonic() < until, f"waited {seconds} s for {what}"
        time.sleep(0.05)


def local(
    arguments: Sequence[object], nodes: Nodes, *, command: str = "evaluate", seconds: float = 240.0
) -> tuple[int, str, str]:
    """Run a command of the workbench in one process, in the same surroundings."""
    process = subprocess.Popen(
        [*COMMAND, command, *map(str, arguments)], env=nodes.environment(), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    return Command(process).end(seconds)


def _title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _kill(pid: int) -> None:
    """Kill a process and all below it."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                one.send_signal(signal.SIGKILL)
