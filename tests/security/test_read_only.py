"""A folder of runs that cannot be written, as on a backup or a full disk: all of it can be seen.

The disk is read-only as the system makes it, a mount in a namespace: a change of modes would mean
nothing to the user whom nothing is forbidden.
"""

import csv
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from security.raw import Visitor
from security.serving import running_app
from workbench.cli import app

METHODS = {"prompt_tuning.steps": 2, "prompt_tuning.eval_every": 2}
UNFINISHED = ("--set", "methods.few_shot.k=1")
COMMANDS = """
import json, sys
from pathlib import Path
from typer.testing import CliRunner
from workbench.cli import app
told = []
for asked in json.loads(sys.argv[1]):
    done = CliRunner().invoke(app, asked, env={"COLUMNS": "220", "TERM": "dumb"})
    told.append([done.exit_code, done.output, str(done.exception or "")])
Path(sys.argv[2]).write_text(json.dumps(told))
"""


def _is_mountable() -> bool:
    command = ["unshare", "-m", "mount", "--bind", "/tmp", "/tmp"]
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


pytestmark = pytest.mark.skipif(
    not _is_mountable(), reason="needs the right to mount, for a read-only disk"
)


@dataclass
class Kept:
    """A finished comparison.

    Attributes:
        root: Folder of runs.
        asked: Arguments that made it, without "--methods".
        run: Id of the run of its soft prompt.
        before: What the root holds.
    """

    root: Path
    asked: list[str]
    run: str
    before: dict[str, bytes]


def _content(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def kept(tiny_folder, tmp_path_factory) -> Kept:
    """Return a comparison of two rows, one of which was inspected."""
    folder = tmp_path_factory.mktemp("kept")
    rows, root = folder / "rows.csv", folder / "runs"
    with rows.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        writer.writerows([f"{w} {i}", w] for i in range(20) for w in ("good", "bad"))
    asked = ["evaluate", "--model", tiny_folder, "--precision", "fp32", "--train", rows]
    asked += ["--out", root / "one"]
    asked += [
        word for key, value in METHODS.items() for word in ("--set", f"methods.{key}={value}")
    ]
    words = list(map(str, asked))
    for more in (*UNFINISHED, "--methods", "few_shot"), ("--methods", "zero_shot,prompt_tuning"):
        made = CliRunner().invoke(app, [*words, *more])
        assert made.exit_code == 0, made.output
    (unfinished,) = (root / "one").glob("*_few_shot_*/record.json")
    record = json.loads(unfinished.read_text())
    del record["digest"], record["files"]
    unfinished.write_text(json.dumps(record | {"status": "running"}))
    (run,) = (path.name for path in (root / "one").glob("*_prompt_tuning_*"))
    (root / "one" / run / "checkpoint.safetensors").write_bytes(b"left by a kill")
    looked = CliRunner().invoke(app, ["inspect", run, "--runs", str(root), "--readings", "nearest"])
    assert looked.exit_code == 0, looked.output
    return Kept(root, words, run, _content(root))


def read_only(root: Path) -> list[str]:
    """Return what a command is put behind to see a root on a disk that cannot be written."""
    place = shlex.quote(str(root))
    mounts = f'mount --bind {place} {place} && mount -o remount,bind,ro {place} && exec "$@"'
    return ["unshare", "-m", "sh", "-c", mounts, "sh"]


def full(root: Path) -> list[str]:
    """Return what a command is put behind to see a root on a disk that has no space left."""
    place, copy = shlex.quote(str(root)), shlex.quote(f"{root}.copy")
    mounts = (
        f"cp -a {place} {copy} && mount -t tmpfs -o size=8m none {place} && "
        f"cp -a {copy}/. {place}; cat /dev/zero > {place}/filler 2> /dev/null; "
        f'rm -r {copy}; exec "$@"'
    )
    return ["unshare", "-m", "sh", "-c", mounts, "sh"]


def run(before: list[str], commands: list[list[str]], out: Path) -> list[tuple[int, str, str]]:
    """Return exit code, output and error of commands run one after the other in another world."""
    subprocess.run(
        [*before, sys.executable, "-c", COMMANDS, json.dumps(commands), str(out)],
        check=True,
        timeout=240,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    return [(code, output, error) for code, output, error in json.loads(out.read_text())]


@pytest.fixture(scope="module")
def told(kept, tmp_path_factory) -> dict[str, tuple[int, str, str]]:
    """Return exit code, output and error of commands on the read-only folder."""
    out = tmp_path_factory.mktemp("told") / "told.json"
    looking = ["inspect", kept.run, "--runs", str(kept.root), "--readings"]
    commands = {
        "the finished comparison": [*kept.asked, "--methods", "zero_shot,prompt_tuning"],
        "one with a row more": [*kept.asked, "--methods", "zero_shot,prompt_tuning,few_shot"],
        "one with an unfinished row": [
            *kept.asked,
            *UNFINISHED,
            "--methods",
            "zero_shot,prompt_tuning,few_shot",
        ],
        "another folder": [*kept.asked[:-6], "--out", str(kept.root / "two")],
        "runs": ["runs", str(kept.root)],
        "a kept reading": [*looking, "nearest"],
        "a new reading": [*looking, "truncation"],
    }
    done = run(read_only(kept.root), list(commands.values()), out)
    return dict(zip(commands, done, strict=True))


def test_a_finished_comparison_is_printed_although_its_report_cannot_be_written(told, kept):
    code, output, error = told["the finished comparison"]

    assert code != 0
    assert "prompt_tuning" in output
    assert "zero_shot" in output
    assert error == (
        f"{kept.root}/one/report.json: cannot be written. Read-only file system. Use another "
        "folder with --out."
    )


def test_a_finished_comparison_is_printed_although_the_disk_is_full(kept, tmp_path):
    asked = [[*kept.asked, "--methods", "zero_shot,prompt_tuning"]]

    ((code, output, error),) = run(full(kept.root), asked, tmp_path / "told.json")

    assert code != 0
    assert "prompt_tuning" in output
    assert "No space is left there." in error


@pytest.mark.parametrize("name", ["one with a row more", "one with an unfinished row"])
def test_of_a_comparison_with_a_row_more_what_is_finished_is_printed(name, told):
    _, output, error = told[name]

    assert "prompt_tuning" in output
    assert "failed" in output
    assert "Read-only file system" in error


def test_a_folder_that_cannot_even_be_made_is_one_sentence(told, kept):
    _, _, error = told["another folder"]

    assert error == (f"--out {kept.root}/two: {kept.root} cannot be written. Name another folder.")


@pytest.mark.parametrize("name", ["runs", "a kept reading", "a new reading"])
def test_what_only_looks_works_as_ever(name, told, kept):
    code, output, error = told[name]

    assert (code, error) == (0, "")
    assert kept.run[:20] in output or "prompt" in output


@pytest.fixture(scope="module")
def owner(kept, tiny_folder, tmp_path_factory) -> Iterator[Visitor]:
    """Return the user of a page over the read-only folder."""
    scratch = tmp_path_factory.mktemp("page")
    program = scratch / "python"
    words = [*read_only(kept.root), sys.executable]
    program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(program))
        app = running_app(kept.root, "local", tiny_folder, scratch=scratch)
        with app as address:
            visitor = Visitor(address, "")
            yield visitor
            visitor.close()


def test_the_page_lists_the_comparison_and_opens_it(owner):
    listed = owner.click("wb-evaluate-view", "change")
    shown = owner.click("wb-comparison", "change", wb_comparison="one")

    assert "one" in listed.text
    assert shown.error is None
    assert "prompt_tuning" in shown.html


def test_the_page_lists_the_runs_and_no_job(owner, kept):
    runs = owner.call("list_runs")
    jobs = owner.click("wb-evaluate-job", "input", wb_evaluate_job=None)

    assert kept.run in runs.text
    assert "Nothing was evaluated here yet." in jobs.html


def test_looking_at_a_read_only_folder_wrote_nothing(told, owner, kept):
    assert _content(kept.root) == kept.before
