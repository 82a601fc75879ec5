"""Trainings that several processes share, from the command line: started here, and by torchrun."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from test_batch_command import in_process, write_rows

STEPS = 240
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "workbench")


def asked(tiny_folder: Path, folder: Path, out: str, *more: str) -> list[str]:
    return [
        "evaluate", "--model", str(tiny_folder), "--precision", "fp32",
        "--train", str(folder / "rows.csv"), "--text-column", "message", "--label-column", "intent",
        "--out", str(folder / out), "--methods", "zero_shot,lora",
        "--set", "methods.lora.dropout=0.3",
        "--set", f"methods.lora.steps={STEPS}", "--set", "methods.lora.eval_every=100",
        "--set", "methods.lora.dev_items=5", *more,
    ]  # fmt: skip


def started(arguments: Sequence[str], module: Sequence[str] = ("-m", "workbench")):
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "COLUMNS": "400", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *module, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def wait_for_steps(process: subprocess.Popen[str], out: Path, steps: int) -> Path:
    """Wait until a training has made so many steps; return the run's folder."""
    end = time.monotonic() + 200
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        for history in out.glob("*_lora_*/history.jsonl"):
            if len(history.read_text().splitlines()) >= steps:
                return history.parent
        time.sleep(0.05)
    raise AssertionError(f"no {steps} steps")


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, errors = process.communicate(timeout=200)
    finally:
        process.kill()
    return process.returncode, out, errors


def test_a_stop_and_a_killed_process_keep_a_checkpoint_and_the_same_command_goes_on(
    tiny_folder, tmp_path
):
    write_rows(tmp_path / "rows.csv", 40)
    command = asked(tiny_folder, tmp_path, "here", "--processes", "2")

    first = started(command)
    run = wait_for_steps(first, tmp_path / "here", 20)
    members = psutil.Process(first.pid).children(recursive=True)
    first.send_signal(signal.SIGINT)
    code, _, errors = ended(first)
    assert code == 130, errors
    assert "training stopped after step" in errors
    assert (run / "checkpoint.safetensors").is_file()
    assert not any(one.is_running() for one in members)

    second = started(command)
    wait_for_steps(second, tmp_path / "here", 60)
    (member,) = psutil.Process(second.pid).children(recursive=True)
    member.kill()
    code, out, errors = ended(second)
    assert code == 2, errors
    assert "process 2 of 2 was ended by signal 9, which the system sends where memory is" in errors
    assert "of which there is a checkpoint; the same command goes on from there" in errors
    assert "zero_shot" in out  # the other row is reported

    code, _, errors = ended(started(command))
    assert code == 0, errors
    code, _, errors = ended(started(asked(tiny_folder, tmp_path, "torchrun"), TORCHRUN))
    assert code == 0, errors

    mine = {path.parent.parent.name: path for path in (tmp_path / "here").glob("*/adapter/*.saf*")}
    for path in (tmp_path / "torchrun").glob("*/adapter/*.safetensors"):
        assert path.read_bytes() == mine.pop(path.parent.parent.name).read_bytes()
    assert not mine


@pytest.mark.parametrize(
    ("more", "environment", "message"),
    [
        (["--set", "processes=0"], {}, "processes: got 0; should be greater than or equal to 1."),
        (
            ["--processes", "4", "--set", "methods.lora.batch_size=3"],
            {},
            "methods.lora.batch_size: 3 examples cannot be shared by 4 processes. Use a batch_size "
            "of 4 or more, or at most 3 processes.",
        ),
        (
            ["--processes", "4"],
            {"RANK": "0", "WORLD_SIZE": "3"},
            "processes: 4 asked for, and torchrun started 3 (WORLD_SIZE), which cannot share them "
            "evenly. Start 1, 2 or 4.",
        ),
        (
            [],
            {"RANK": "5", "WORLD_SIZE": "2"},
            "processes: the environment says RANK=5, WORLD_SIZE=2, LOCAL_RANK=0, "
            "LOCAL_WORLD_SIZE=1, which is no place among processes. Start the command by "
            "torchrun, or without these variables.",
        ),
    ],
)
def test_processes_that_cannot_be_are_refused_before_any_is_started(
    more, environment, message, tiny_folder, tmp_path, monkeypatch, capfd
):
    write_rows(tmp_path / "rows.csv", 40)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", "1")

    code, _, errors = in_process(monkeypatch, capfd, *asked(tiny_folder, tmp_path, "out", *more))

    assert code == 2
    assert message in errors


def test_a_process_that_cannot_start_is_named(tiny_folder, tmp_path, monkeypatch, capfd):
    write_rows(tmp_path / "rows.csv", 40)
    monkeypatch.setattr("workbench.commands.shared.processes._MODULE", "no_such_module")

    code, _, errors = in_process(
        monkeypatch, capfd, *asked(tiny_folder, tmp_path, "out", "--processes", "2")
    )

    assert code == 2
    assert "error: processes: process 2 of 2 ended with exit code 1 (" in errors
    assert "No module named no_such_module), before there was any training." in errors
