"""`--workers N` from the outside, on the tiny model: the numbers of one process, whatever dies."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from workbench.runs.store import RunStore

LABELS = {"praise": "lovely great sun", "complaint": "broken awful rain"}
ROWS = """
  zero_shot: {}
  prompt_tuning: {steps: 20, eval_every: 10, learning_rates: [0.1, 0.3]}
  lora: {steps: 8, eval_every: 4}
"""
LONG = "\n  zero_shot: {}\n  lora: {steps: 160, eval_every: 20}\n"
SECONDS = 300  # the most that anything here may take, on a busy machine


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    names = list(LABELS)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        for i in range(60):
            writer.writerow([f"{LABELS[names[i % 2]]} number {i}", names[i % 2]])
    return path


@pytest.fixture
def ask(tiny_folder, rows, tmp_path) -> Callable[[str], Path]:
    def write(methods: str) -> Path:
        path = tmp_path / "experiment.yaml"
        path.write_text(
            f"model: {tiny_folder}\nprecision: fp32\ntask: {{name: mine, train: {rows}}}\n"
            f"methods:{methods}"
        )
        return path

    return write


def begin(*arguments: object) -> subprocess.Popen[str]:
    """Start the command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "workbench", "evaluate", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"COLUMNS": "400"},
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Return what a command said, once it has ended as expected."""
    try:
        said, _ = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert process.returncode == code, said
    return said


def numbers(folder: Path) -> dict[str, bytes]:
    """Return what is to be the same of all runs: predictions, and what was learned."""
    kept = ("predictions.jsonl", "adapter_model.safetensors", "spec.json")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.name in kept
    }


def figures(folder: Path) -> list[tuple[object, ...]]:
    report = json.loads((folder / "report.json").read_text())
    return [(row["row"], row["run_id"], row["metrics"]) for row in report["rows"]]


def wait_for(found: Callable[[], object], what: str) -> None:
    until = time.monotonic() + SECONDS
    while not found():
        assert time.monotonic() < until, f"{what} did not come"
        time.sleep(0.05)


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    found = psutil.Process(process.pid).children(recursive=True)
    return [child for child in found if "spawn_main" in " ".join(child.cmdline())]


def checkpoints(folder: Path) -> list[Path]:
    return list(folder.glob("*/checkpoint.safetensors"))


@pytest.fixture
def undisturbed(ask, tmp_path) -> Path:
    """Return the folder of a long training in one process."""
    finish(begin(ask(LONG), "--out", tmp_path / "here"))
    return tmp_path / "here"


def test_two_workers_come_to_the_numbers_of_one_process(ask, tmp_path):
    experiment = ask(ROWS)
    finish(begin(experiment, "--out", tmp_path / "here"))

    said = finish(begin(experiment, "--out", tmp_path / "there", "--workers", "2"))

    assert numbers(tmp_path / "here") == numbers(tmp_path / "there") != {}
    assert figures(tmp_path / "here") == figures(tmp_path / "there")
    assert "on worker 1" in said
    assert "on worker 2" in said
    again = finish(begin(experiment, "--out", tmp_path / "there", "--workers", "1"))
    assert again.count("(found, nothing to do)") == 6


def test_a_training_whose_worker_is_killed_goes_on_bit_equal(ask, tmp_path, undisturbed):
    out = tmp_path / "there"
    process = begin(ask(LONG), "--out", out, "--workers", "1")
    wait_for(lambda: checkpoints(out), "a checkpoint")
    for worker in workers_of(process):
        worker.kill()

    said = finish(process)

    assert "worker 1 died (killed by SIGKILL" in said
    assert numbers(out) == numbers(undisturbed)


def test_ctrl_c_leaves_a_checkpoint_and_the_rest_is_made_later(ask, tmp_path, undisturbed):
    out = tmp_path / "there"
    process = begin(ask(LONG), "--out", out, "--workers", "2")
    wait_for(lambda: checkpoints(out), "a checkpoint")
    process.send_signal(signal.SIGINT)

    said = finish(process, code=130)

    assert "stopped with 1 runs not finished" in said
    (run,) = [run for run in RunStore(out).runs() if run.spec.method == "lora"]
    assert run.record.status == "interrupted"
    finish(begin(ask(LONG), "--out", out, "--workers", "2"))
    assert numbers(out) == numbers(undisturbed)


def test_workers_end_with_their_driver_and_nothing_finished_is_made_again(
    ask, tmp_path, undisturbed
):
    out = tmp_path / "there"
    process = begin(ask(LONG), "--out", out, "--workers", "2")
    wait_for(lambda: checkpoints(out), "a checkpoint")
    wait_for(lambda: list(out.glob("*zero_shot*/predictions.jsonl")), "the first run")
    (first,) = out.glob("*zero_shot*/record.json")
    wait_for(lambda: json.loads(first.read_text())["status"] == "finished", "its record")
    before, workers = first.stat().st_mtime_ns, workers_of(process)
    process.kill()
    process.communicate()

    _, left = psutil.wait_procs(workers, timeout=60)
    said = finish(begin(ask(LONG), "--out", out, "--workers", "1"))

    assert left == []
    assert first.stat().st_mtime_ns == before
    assert "zero_shot seed 0: accuracy" in said
    assert "(found, nothing to do)" in said
    assert numbers(out) == numbers(undisturbed)


def test_two_drivers_on_one_store_make_each_run_once(ask, tmp_path):
    """Each has a report of its own; the runs of both lie in the shared folder, each made once."""
    experiment, store = ask(ROWS), tmp_path / "shared"
    drivers = [
        begin(experiment, "--out", tmp_path / name, "--store", store, *workers)
        for name, workers in {"one": ("--workers", "1"), "two": ()}.items()
    ]

    said = [finish(driver) for driver in drivers]

    made = [line for text in said for line in text.splitlines() if _is_a_run_made(line)]
    runs = [run for run in RunStore(store).runs() if run.spec.method in ("lora", "zero_shot")]
    trained = [run for run in RunStore(store).runs() if run.spec.method == "prompt_tuning"]
    assert len(runs) == 2
    assert (
        len(made) == len(runs) + len(trained) + 1
    )  # the winner of a search goes on from its trial
    assert figures(tmp_path / "one") == figures(tmp_path / "two")


def _is_a_run_made(line: str) -> bool:
    return line.startswith("[") and "accuracy" in line and "found, nothing to do" not in line


def test_a_row_that_fails_is_named_and_the_others_are_made(ask, tmp_path, undisturbed):
    out = tmp_path / "out"
    (run,) = undisturbed.glob("*lora*")
    out.mkdir()
    (out / run.name).write_text("no folder")

    said = finish(begin(ask(LONG), "--out", out, "--workers", "1"), code=2)

    assert f"lora, seed 0: {out / run.name}" in said
    assert "zero_shot seed 0 on worker 1: accuracy" in said
    assert (out / "report.html").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--workers", "0"), "--workers 0: this machine has"),
        (("--workers", "4096"), "workers can share them"),
        (("--workers", "1", "--cluster", "auto"), "made by one of the two"),
    ],
)
def test_what_cannot_be_asked_for_is_said(ask, tmp_path, options, message):
    said = finish(begin(ask(ROWS), "--out", tmp_path / "out", *options), code=2)

    assert message in said
