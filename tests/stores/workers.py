"""Processes that make runs of the tiny model in a store they share; some are killed on the way."""

import json
import os
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import fsspec

from torture.harness import SERVER, start_server
from toys import TOY_TEMPLATE, make_toy_task, open_tiny
from workbench.encoding import PromptEncoder
from workbench.errors import BusyRun
from workbench.methods.catalog import make_method
from workbench.models.engine import Engine
from workbench.progress import Progress, ProgressEvent, ignore_progress
from workbench.runs import lease as lease_module
from workbench.runs.address import Address
from workbench.runs.execute import RunRequest, execute
from workbench.runs.lease import LeaseTimes
from workbench.runs.run_copy import RunCopy
from workbench.runs.session import Session
from workbench.runs.shared_store import open_store
from workbench.runs.store import RunRecord, RunStore, StoredRun

TIMES = LeaseTimes(expires=6.0, beat=0.5, settle=0.2)  # processors of tests are busy
UPLOAD_EVERY = 0.1
METHODS: dict[str, dict[str, Any]] = {
    "zero_shot": {},
    "few_shot": {"k": 2},
    "lora": {"steps": 6, "batch_size": 4, "eval_every": 2},
    "prompt_tuning": {"steps": 6, "batch_size": 4, "eval_every": 2},
}
_SECONDS = 120


def session_of(tiny_folder: Path) -> Session:
    """Return the tiny model with a task of its own."""
    base, task = open_tiny(tiny_folder), make_toy_task(12, 4, 6)
    return Session(Engine(base), PromptEncoder(base.tokenizer, TOY_TEMPLATE, task))


def request_of(method: str) -> RunRequest:
    """Return what is asked of a method."""
    return RunRequest(method, make_method(method, METHODS[method]), 0)


def store_of(place: str, local: Path) -> RunStore:
    """Return a shared store with the times of these tests."""
    store = open_store(place, local, lease=TIMES)
    store._upload_every = UPLOAD_EVERY
    return store


def started(tiny_folder: Path, place: str, local: Path, **options: Any) -> BaseProcess:
    """Start a process that makes runs; see `make_runs`."""
    local.mkdir(parents=True, exist_ok=True)
    arguments = (str(tiny_folder), place, str(local), dict(os.environ), options)
    start_server()
    child = SERVER.Process(target=make_runs, args=arguments)
    child.start()
    return child


def ended(child: BaseProcess) -> int:
    """Wait for a process and return its exit code."""
    child.join(_SECONDS)
    if child.is_alive():
        child.kill()
        raise AssertionError(f"still at work after {_SECONDS} s")
    return int(child.exitcode or 0)


def make_runs(
    tiny_folder: str, place: str, local: str, environment: dict[str, str], options: dict[str, Any]
) -> None:
    """Make a run of each method, coming back to those that others are making; note one's own.

    Options are `methods`; `machine`, the name this process believes its machine has; and `kill`,
    where it is killed: "training", "adapter", or the number of a write of its last upload.
    """
    os.environ.update(environment)
    fsspec.config.set_conf_env(fsspec.config.conf)  # the fork server has read it before
    if "machine" in options:
        lease_module._machine = lambda: str(options["machine"])
    folder = Path(local)
    store = store_of(place, folder)
    _arm(options.get("kill"), store)
    session = session_of(Path(tiny_folder))
    waiting = list(options.get("methods", METHODS))
    while waiting:
        method = waiting.pop(0)
        made = []
        try:
            execute(session, store, request_of(method), progress=made.append)
        except BusyRun:
            waiting.append(method)
            time.sleep(0.1)
            continue
        if made:
            with (folder / "made.txt").open("a") as stream:
                stream.write(f"{method}\n")


def execute_when_free(
    session: Session, store: RunStore, request: RunRequest, *, progress: Progress = ignore_progress
) -> StoredRun:
    """Return a run, coming back while its last holder may live, as who shares a store does.

    The last beat of a killed process may reach a server after its death.
    """
    last = time.monotonic() + _SECONDS
    while True:
        try:
            return execute(session, store, request, progress=progress)
        except BusyRun:
            if time.monotonic() > last:
                raise


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _arm(kill: str | int | None, store: RunStore) -> None:
    """Have this process killed at a moment."""
    if kill == "training":
        _kill_in_training(store)
    elif kill == "adapter":
        write = RunStore.write_record

        def killed_before(self: RunStore, record: RunRecord) -> None:
            if record.status == "finished":
                time.sleep(10 * UPLOAD_EVERY)  # the adapter is at the address by then
                _kill()
            write(self, record)

        RunStore.write_record = killed_before
    elif isinstance(kill, int):
        _kill_in_last_upload(kill)


def _kill_in_training(store: RunStore) -> None:
    said = ProgressEvent.__init__

    def noted(
        self: ProgressEvent, stage: str, done: int, total: int, *rest: Any, **more: Any
    ) -> None:
        said(self, stage, done, total, *rest, **more)
        if (stage, done) == ("train", 5):
            (name,) = (path.name for path in store.root.iterdir() if path.is_dir())
            if hasattr(store, "address"):
                _wait_for_checkpoint(store.address, name)
            _kill()

    ProgressEvent.__init__ = noted


def _wait_for_checkpoint(address: Address, run_id: str) -> None:
    last = time.monotonic() + 30
    while time.monotonic() < last:
        listed = json.loads(address.read(f"{run_id}/files.json") or b"{}").get("files", {})
        if "checkpoint.safetensors" in listed:
            return
        time.sleep(0.05)


def _kill_in_last_upload(number: int) -> None:
    upload, write = RunCopy.upload, Address.write
    written: list[str] = []
    armed: list[bool] = []

    def armed_upload(self: RunCopy, check: Any, *, ends: bool) -> None:
        if ends:
            armed.append(True)
            upload(self, check, ends=ends)
            _kill()  # after the last write, before the lease is released
        # Nothing before the end, so that all is left for it.

    def counted(self: Address, name: str, content: Any) -> None:
        if armed and "/claims/" not in name:
            written.append(name)
            if len(written) == number:
                _kill()
        write(self, name, content)

    RunCopy.upload, Address.write = armed_upload, counted
