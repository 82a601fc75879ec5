"""What one waits for: help, a list of a thousand runs, the page, and its first answer."""

import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from gradio_client import Client

from material import REPOSITORY
from measuring import Figure
from workbench.atomic import write_bytes
from workbench.runs.experiment import EXPERIMENT_FILE
from workbench.runs.store import PREDICTIONS, RunStore
from workbench.service.workspace import open_workspace
from workbench.ui.app import make_context
from workbench.ui.runs import on_refresh

_RUNS, _ITEMS = 1000, 60
_REPEATS, _STARTS = 5, 3
_WAIT_SECONDS = 120
_TEXT = "My parcel never came and nobody answers the phone"
_WORKBENCH = (sys.executable, "-m", "workbench")


def measure(folder: Path) -> list[Figure]:
    """Return the seconds of each; help, list and page in processes of their own."""
    runs = _many_runs(folder)
    return [
        _seconds_of("workbench --help", ["--help"], target=0.5),
        _seconds_of(f"workbench runs, {_RUNS} runs", ["runs", str(runs)], target=1.0),
        _runs_tab(runs),
        *_page(folder),
    ]


def _many_runs(folder: Path) -> Path:
    """Return a folder of a thousand runs: one that was made, under as many seeds."""
    made, many = folder / "made", folder / "runs" / "many"
    asked = ["--methods", "zero_shot", "--set", f"task.limit_test={_ITEMS}", "--out", str(made)]
    subprocess.run([*_WORKBENCH, "evaluate", *asked], check=True, capture_output=True)
    run = next(one for one in RunStore(made).runs() if one.spec.method == "zero_shot")
    predictions = (run.folder / PREDICTIONS).read_bytes()
    store = RunStore(many)
    for seed in range(_RUNS):
        spec = run.spec.model_copy(update={"seed": seed})
        with store.working_on(spec) as place:
            write_bytes(place / PREDICTIONS, predictions)
            store.write_record(run.record.model_copy(update={"run_id": spec.run_id}))
    write_bytes(many / EXPERIMENT_FILE, (made / EXPERIMENT_FILE).read_bytes())
    return many.parent


def _seconds_of(name: str, arguments: list[str], *, target: float) -> Figure:
    seconds = []
    for _ in range(_REPEATS + 1):
        began = time.perf_counter()
        subprocess.run([*_WORKBENCH, *arguments], check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    return _figure(f"starting: seconds of {name}", seconds[1:], target)  # files are cached then


def _runs_tab(runs: Path) -> Figure:
    """Measure the list of runs that the page shows."""
    context, seconds = make_context(runs), []
    assert len(open_workspace(runs, None, is_public=False).runs()) == _RUNS
    for _ in range(_REPEATS):
        began = time.perf_counter()
        on_refresh(context, None)
        seconds.append(time.perf_counter() - began)
    return _figure(f"starting: seconds of the page's list of {_RUNS} runs", seconds, 1.0)


def _page(folder: Path) -> list[Figure]:
    """Start the page as the README says and ask it at once."""
    shown, answered = [], []
    for number in range(_STARTS):
        until_shown, until_answered = _start(folder / f"page-{number}")
        shown.append(until_shown)
        answered.append(until_answered)
    return [
        _figure("starting: seconds until the page answers", shown, 10.0),
        _figure("starting: seconds from then to the first answer, 24 tokens", answered, 3.0),
    ]


def _start(folder: Path) -> tuple[float, float]:
    folder.mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}/"
    began = time.perf_counter()
    page = subprocess.Popen(
        [sys.executable, str(REPOSITORY / "app.py")],
        cwd=folder,
        env=os.environ | {"GRADIO_SERVER_PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _answers(address):
            if page.poll() is not None or time.perf_counter() - began > _WAIT_SECONDS:
                raise RuntimeError("the page did not start")
            time.sleep(0.05)
        shown = time.perf_counter()
        client = Client(address, verbose=False, analytics_enabled=False)
        client.predict(text=_TEXT, ways=["words:zero_shot"], max_new_tokens=24, api_name="/ask")
        return shown - began, time.perf_counter() - shown
    finally:
        page.terminate()
        page.wait(30)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.read())
    except (urllib.error.URLError, OSError):
        return False


def _figure(name: str, seconds: list[float], target: float) -> Figure:
    return Figure(
        name,
        statistics.median(seconds),
        target=target,
        lowest=min(seconds),
        highest=max(seconds),
        details=f"{len(seconds)} repeats",
    )
