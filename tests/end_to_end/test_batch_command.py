"""The batch command from the outside, on the tiny model: files in, report and exit codes out."""

import csv
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workbench.cli import main

OFFLINE = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
LABELS = {"praise": "lovely great sun", "complaint": "broken awful rain"}


def write_rows(path: Path, num: int, *, offset: int = 0) -> Path:
    """Write a CSV of separable rows with distinct texts."""
    names = list(LABELS)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["message", "intent"])
        for i in range(num):
            label = names[i % 2]
            writer.writerow([f"{LABELS[label]} number {i + offset}", label])
    return path


@pytest.fixture
def rows(tmp_path) -> Path:
    return write_rows(tmp_path / "rows.csv", 40)


def command(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command as a user would, offline, from another folder."""
    return subprocess.run(
        [sys.executable, "-m", "workbench", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=os.environ
        | {"HF_HUB_OFFLINE": "1", "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
        | environment,
    )


def in_process(monkeypatch, capfd, *arguments: object) -> tuple[int, str, str]:
    """Run the command line in this process; return exit code, output and errors."""
    monkeypatch.setattr(sys, "argv", ["workbench", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit) as ended:
        main()
    out, errors = capfd.readouterr()
    return int(ended.value.code or 0), out, errors


def compare(tiny_folder: Path, rows: Path, *more: object) -> subprocess.CompletedProcess[str]:
    return command(*compare_arguments(tiny_folder, rows, *more), cwd=rows.parent)


def compare_arguments(tiny_folder: Path, rows: Path, *more: object) -> list[object]:
    return [
        "evaluate", "--model", tiny_folder, "--precision", "fp32", "--train", rows,
        "--text-column", "message", "--label-column", "intent", "--out", rows.parent / "out",
        "--methods", "zero_shot,few_shot,chain_of_thought,prompt_tuning,lora",
        "--set", "methods.prompt_tuning.steps=4", "--set", "methods.lora.steps=4",
        "--set", "methods.chain_of_thought.max_new_tokens=8", *more,
    ]  # fmt: skip


def test_own_file_is_compared_reported_and_found_again(tiny_folder, rows):
    first = compare(tiny_folder, rows)
    assert first.returncode == 0, first.stderr
    assert re.search(r"lora seed 0: accuracy \d+\.\d % \[.*\] of \d+ items\n", first.stdout)
    assert re.search(r"\S+ has the highest accuracy: .* of \d+ test items\.", first.stdout)
    out = rows.parent / "out"
    report = json.loads((out / "report.json").read_text())
    began = {p: p.stat().st_mtime_ns for p in out.glob("*/predictions.jsonl")}

    second = compare(tiny_folder, rows)

    assert second.returncode == 0, second.stderr
    assert second.stdout.count("found, nothing to do") == 5
    assert {p: p.stat().st_mtime_ns for p in out.glob("*/predictions.jsonl")} == began
    again = json.loads((out / "report.json").read_text())
    assert again["rows"] == report["rows"]
    methods = [row["method"] for row in report["rows"]]
    assert set(methods) >= {"zero_shot", "few_shot", "chain_of_thought", "prompt_tuning", "lora"}
    assert "majority_class" in methods
    for row in report["rows"]:
        accuracy = row["metrics"]["accuracy"]
        assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
        assert accuracy["num_scored"] + accuracy["num_unscored"] == report["task"]["num_test"]
    for card in out.glob("*/adapter/README.md"):
        check_card(card, tiny_folder)
    for name in ("report.md", "report.html", "report.csv"):
        assert (out / name).stat().st_size > 500


def check_card(card: Path, base: Path) -> None:
    """Run the loading script of a model card with plain PEFT; it names the base and one label."""
    script = card.read_text().split("```python\n")[1].split("```")[0]
    placeholder = f'base = "path/to/{base.name}"'
    assert placeholder in script
    script = script.replace(placeholder, f'base = "{base}"')
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=card.parent, capture_output=True, text=True, check=False, env=os.environ | OFFLINE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in LABELS


def test_seeds_give_rows_of_their_own(tiny_folder, rows):
    done = compare(tiny_folder, rows, "--seeds", "0,1", "--methods", "zero_shot,few_shot")

    assert done.returncode == 0, done.stderr
    report = json.loads((rows.parent / "out" / "report.json").read_text())
    found = [(r["row"], r["seed"]) for r in report["rows"] if r["row"] == "few_shot"]
    assert found == [("few_shot", 0), ("few_shot", 1)]


def test_ask_answers_with_trained_methods_too(tiny_folder, rows):
    assert compare(tiny_folder, rows).returncode == 0

    done = command(
        "ask", "lovely sun", "--out", rows.parent / "out", "--max-new-tokens", 5, cwd=rows.parent
    )

    assert done.returncode == 0, done.stderr
    for row in ("zero_shot", "few_shot", "chain_of_thought", "prompt_tuning", "lora"):
        assert row in done.stdout
    assert "praise" in done.stdout
    assert "prompt tokens" in done.stdout


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(tiny_folder, rows):
    arguments = [
        sys.executable, "-m", "workbench", "train", "lora", "--model", tiny_folder, "--out", "out",
        "--set", "precision=fp32", "--set", f"task.train={rows}", "--set", "task.name=mine",
        "--set", "task.text_column=message", "--set", "task.label_column=intent",
        "--set", "methods.lora.steps=400", "--set", "methods.lora.eval_every=20",
    ]  # fmt: skip
    environment = os.environ | OFFLINE
    process = subprocess.Popen(
        arguments, cwd=rows.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list((rows.parent / "out").glob("*lora*/checkpoint.safetensors")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "Finished work is kept; the same command goes on from there." in errors
    assert "Traceback" not in errors
    (record,) = (rows.parent / "out").glob("*lora*/record.json")
    assert json.loads(record.read_text())["status"] == "interrupted"
    done = subprocess.run(
        arguments, cwd=rows.parent, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    history = (record.parent / "history.jsonl").read_text().splitlines()
    steps = [e["step"] for e in map(json.loads, history) if "loss" in e]
    assert steps == list(range(1, 401))


_SLOW = """
import sys, time
from workbench.models import engine
engine._MAX_ROWS = 2
score = engine.Engine._score_batch
def slowly(self, rows, choices, states):
    print("scoring", flush=True)
    time.sleep(0.4)
    return score(self, rows, choices, states)
engine.Engine._score_batch = slowly
from workbench.cli import main
main()
"""


def test_ctrl_c_ends_an_evaluation_on_dev_between_two_batches(tiny_folder, rows):
    """Each look takes fourteen batches of 0.4 s here; nobody waits for the rest of them."""
    more = ("--methods", "lora", "--limit-test", "2", "--set", "methods.lora.steps=3")
    more += ("--set", "methods.lora.eval_every=2", "--set", "task.limit_dev=28")
    write_rows(rows, 200)
    arguments = list(map(str, compare_arguments(tiny_folder, rows, *more)))
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", _SLOW, *arguments],
        cwd=rows.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    shown = iter(process.stdout.readline, "")
    assert any("scoring" in line for line in shown)
    assert any("scoring" in line for line in shown)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)

    assert process.returncode == 130, errors
    assert "training stopped after step 2 of 3" in errors
    assert out.count("scoring") <= 2
    (folder,) = (rows.parent / "out").glob("*lora*")
    assert json.loads((folder / "record.json").read_text())["status"] == "interrupted"
    done = command(*arguments, cwd=rows.parent)
    assert done.returncode == 0, done.stderr
    whole = command(*arguments, "--out", rows.parent / "whole", cwd=rows.parent)
    assert whole.returncode == 0, whole.stderr

    def kept(file: str) -> list[dict]:
        (other,) = (rows.parent / "whole").glob("*lora*")
        pair = [[json.loads(line) for line in (one / file).read_text().splitlines()]
                for one in (folder, other)]  # fmt: skip
        for entry in itertools.chain(*pair):
            entry.pop("seconds", None)
        assert pair[0] == pair[1]
        return pair[0]

    assert [e["step"] for e in kept("history.jsonl") if "dev_loss" in e] == [2, 3]
    assert kept("predictions.jsonl")


def test_listings_and_doctor_work_offline(monkeypatch, capfd):
    shown = ""
    for arguments in (("models",), ("tasks",), ("methods",), ("methods", "lora"), ("doctor",)):
        code, out, errors = in_process(monkeypatch, capfd, *arguments)
        assert code == 0, errors
        shown += out
    for expected in ("smollm2-135m-instruct", "banking77", "chain_of_thought", "dropout", "4-bit"):
        assert expected in shown
    said = " ".join(shown.split())
    assert re.search(r"weights in memory .* 168\.4 MB in 4 bits.*; 0\.\d GiB unpacked, ", said)


BAD = {
    "missing file": (["--train", "nowhere.csv"], "nowhere.csv"),
    "missing column": (["--text-column", "massage"], "massage"),
    "unknown method": (["--methods", "zero_shoot"], "unknown method 'zero_shoot'"),
    "unknown option": (["--set", "methods.lora.rnak=4"], "unknown option 'rnak'. Did you mean"),
    "wrong type": (["--set", "methods.lora.rank=eight"], "'eight' is a str, int is needed"),
    "out of bounds": (["--set", "methods.lora.rank=0"], "0 is out of bounds; allowed: 1 to 512"),
    "unknown key": (["--set", "modle=x"], "modle"),
    "not key=value": (["--set", "precision"], "not of the form key=value"),
    "unknown precision": (["--precision", "nf5"], "unknown precision 'nf5'. Did you mean 'nf4'"),
    "unknown model": (["--model", "smollm3"], "unknown base model 'smollm3'"),
    "no network": (["--model", "someone/some-model"], "can neither be found in the Hub's cache"),
    "unknown wording": (["--template", "plane"], "unknown wording"),
    "seeds": (["--seeds", "a,b"], "whole numbers separated by commas"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_with_one_message_and_exit_code_2(
    case, tiny_folder, rows, monkeypatch, capfd
):
    arguments, expected = BAD[case]

    code, _, errors = in_process(
        monkeypatch, capfd, *compare_arguments(tiny_folder, rows, *arguments)
    )

    assert code == 2
    assert expected in errors


BAD_FILES = {
    "empty": ("", "empty"),
    "header only": ("message,intent\n", "row"),
    "one class": ("message,intent\n" + "".join(f"t{i},a\n" for i in range(20)), "at least two"),
    "binary": ("\x00\x01\x02", "rows.csv"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_an_unusable_file_ends_with_one_message_and_exit_code_2(
    case, tiny_folder, rows, monkeypatch, capfd
):
    content, expected = BAD_FILES[case]
    rows.write_text(content)

    code, _, errors = in_process(monkeypatch, capfd, *compare_arguments(tiny_folder, rows))

    assert code == 2
    assert expected in errors


def test_a_text_longer_than_the_context_is_refused_before_anything_runs(
    tiny_folder, rows, monkeypatch, capfd
):
    with rows.open("a") as stream:
        stream.write("x" * 3000 + ",praise\n")

    code, _, errors = in_process(monkeypatch, capfd, *compare_arguments(tiny_folder, rows))

    assert code == 2
    assert "exceed the context of 1024 tokens" in errors
    assert list((rows.parent / "out").glob("*/record.json")) == []


def test_a_full_disk_ends_with_one_message_and_loses_nothing(tiny_folder, rows):
    assert compare(tiny_folder, rows, "--methods", "zero_shot").returncode == 0
    out = rows.parent / "out"
    finished = json.loads(next(out.glob("*zero_shot*/record.json")).read_text())
    code = (
        "import errno, sys, pathlib\n"
        "opened = pathlib.Path.open\n"
        "def full(self, mode='r', *a, **k):\n"
        "    if 'w' in mode and 'few_shot' in str(self):\n"
        "        raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "    return opened(self, mode, *a, **k)\n"
        "pathlib.Path.open = full\n"
        "from workbench.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "evaluate", "--model", tiny_folder, "--precision", "fp32",
         "--train", rows, "--text-column", "message", "--label-column", "intent", "--out", out,
         "--methods", "zero_shot,few_shot"],
        capture_output=True, text=True, check=False, cwd=rows.parent,
        env=os.environ | OFFLINE,
    )  # fmt: skip

    assert done.returncode == 2, done.stdout + done.stderr
    assert "No space is left there" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(next(out.glob("*zero_shot*/record.json")).read_text()) == finished
