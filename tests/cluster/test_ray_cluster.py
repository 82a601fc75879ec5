"""`--cluster`: runs made on two nodes are those of one process, whatever dies on the way."""

import csv
import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from cluster.ray_nodes import ROOT, Nodes, cluster, local, wait_for, why_not
from cluster.reports import assert_equal

_MISSING = why_not()
pytestmark = pytest.mark.skipif(bool(_MISSING), reason=f"no cluster here: {_MISSING}")

LABELS = {"praise": "lovely great sun", "complaint": "broken awful rain"}
SHORT = """
  zero_shot: {}
  few_shot: {k: 4}
  prompt_tuning: {steps: 30, eval_every: 10}
  lora: {steps: 4, eval_every: 2, learning_rates: [0.01, 0.001]}
"""
LONG = """
  zero_shot: {}
  lora: {steps: 200, eval_every: 10}
  longer: {method: lora, rank: 4, steps: 200, eval_every: 10}
"""
BROKEN = """
  zero_shot: {}
  broken: {method: few_shot, k: 30}
  lora: {steps: 4, eval_every: 2}
"""
MANY = """
  lora: {steps: 200, eval_every: 100, seeds: [0, 1, 2, 3, 4, 5]}
reference: lora
"""
EMPTY = 'mount -t tmpfs none "$0" && exec "$@"'
OTHER_WEIGHTS = 'mount --bind "$1" "$0" && shift && exec "$@"'
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


@pytest.fixture(scope="module")
def nodes(tmp_path_factory) -> Iterator[Nodes]:
    """Return a cluster of two nodes."""
    with cluster(tmp_path_factory.mktemp("ray")) as started:
        started.add("head")
        started.add("second")
        yield started


@pytest.fixture(scope="module")
def ask(tmp_path_factory, tiny_folder):
    """Return what writes an experiment of some rows over a CSV of separable rows."""
    folder = tmp_path_factory.mktemp("asked")
    names = list(LABELS)
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        for i in range(60):
            writer.writerow([f"{LABELS[names[i % 2]]} number {i}", names[i % 2]])

    def write(methods: str, precision: str = "fp32") -> Path:
        path = folder / f"experiment{len(list(folder.iterdir()))}.yaml"
        path.write_text(
            f"model: {tiny_folder}\nprecision: {precision}\n"
            f"task: {{name: mine, train: {folder / 'rows.csv'}}}\nmethods:{methods}"
        )
        return path

    return write


@pytest.fixture(scope="module")
def long_one(nodes, ask, tmp_path_factory) -> tuple[Path, Path]:
    """Return an experiment with two long trainings, and the folder in which one process made it."""
    asked, out = ask(LONG), tmp_path_factory.mktemp("here") / "out"
    code, said, errors = local([asked, "--out", out], nodes)
    assert code == 0, said + errors
    return asked, out


def at_work(nodes: Nodes, out: Path, *names: str) -> psutil.Process | None:
    """Return a worker of some nodes that has written a checkpoint and is still at it."""
    for worker in (one for name in names for one in nodes.workers(name)):
        with suppress(psutil.Error):
            held = {Path(file.path).parent for file in worker.open_files()}
            mine = [folder for folder in held if out in folder.parents]
            if any(next(folder.rglob("checkpoint.*"), None) for folder in mine):
                return worker
    return None


def test_a_comparison_is_that_of_one_process(nodes, ask, tmp_path):
    asked, there, here = ask(SHORT), tmp_path / "there", tmp_path / "here"

    code, said, errors = nodes.begin(asked, "--out", there).end()
    alone = local([asked, "--out", here], nodes)

    assert (code, errors) == (0, "")  # nothing of Ray's own
    assert alone[0] == 0, alone
    assert_equal(there, here)
    host = os.uname().nodename
    assert f" on {host} 1: " in said
    assert f" on {host} 2: " in said
    assert "raylet" not in said


def test_what_a_killed_worker_was_at_goes_on_elsewhere(nodes, long_one, tmp_path):
    asked, here = long_one
    out = tmp_path / "there"
    going = nodes.begin(asked, "--out", out)
    wait_for(lambda: at_work(nodes, out, "head", "second"), "a training", going=going)

    at_work(nodes, out, "head", "second").kill()
    code, said, errors = going.end()

    assert (code, errors) == (0, "")
    assert "died (its process was killed or crashed, often for want of memory) while making" in said
    assert_equal(out, here)


def test_the_runs_of_a_killed_node_finish_on_others_and_one_that_joins_is_used(
    nodes, long_one, tmp_path
):
    asked, here = long_one
    out = tmp_path / "there"
    going = nodes.begin(asked, "--out", out)
    wait_for(lambda: at_work(nodes, out, "second"), "a training", going=going)

    nodes.kill("second")
    nodes.add("second")
    wait_for(lambda: nodes.workers("second"), "a worker of the node that joined", going=going)
    code, said, errors = going.end()

    assert (code, errors) == (0, "")
    assert "died (its machine is gone) while making" in said
    assert_equal(out, here)


def test_a_driver_that_is_stopped_or_killed_goes_on_where_it_was(nodes, long_one, tmp_path):
    asked, here = long_one
    out = tmp_path / "there"
    going = nodes.begin(asked, "--out", out)
    wait_for(lambda: at_work(nodes, out, "head", "second"), "a training", going=going)

    going.send(signal.SIGINT)
    code, said, errors = going.end()

    assert code != 0
    assert "runs not finished" in said + errors
    assert "in time" not in said + errors
    wait_for(lambda: no_workers(nodes), "the workers of a stopped driver to end")
    finished = list(out.glob("*zero_shot*/record.json"))
    written = [path.stat().st_mtime_ns for path in finished]

    going = nodes.begin(asked, "--out", out)
    wait_for(lambda: at_work(nodes, out, "head", "second"), "a training", going=going)
    going.send(signal.SIGKILL)
    going.end()
    wait_for(lambda: no_workers(nodes), "the workers of a dead driver to end")

    code, said, errors = nodes.begin(asked, "--out", out).end()

    assert (code, errors) == (0, "")
    assert written == [path.stat().st_mtime_ns for path in finished] != []
    assert "zero_shot seed 0" in said
    assert "(found, nothing to do)" in said
    assert_equal(out, here)


def no_workers(nodes: Nodes) -> bool:
    """Return whether no node has a worker."""
    return not any(nodes.workers(name) for name in nodes.running)


def test_machines_that_would_make_other_runs_are_refused_and_the_others_go_on(
    nodes, ask, tmp_path, tiny_folder
):
    out, older, copy = tmp_path / "out", tmp_path / "older", tmp_path / "copy"
    out.mkdir()
    shutil.copytree(ROOT / "workbench", older / "workbench")
    with (older / "workbench" / "metrics.py").open("a") as stream:
        stream.write("# changed\n")
    shutil.copytree(tiny_folder, copy, copy_function=shutil.copy)  # without their dates
    nodes.add("empty", before=("unshare", "-m", "sh", "-c", EMPTY, str(out)))
    nodes.add("read-only", before=("unshare", "-m", "sh", "-c", READ_ONLY, str(out)))
    nodes.add("older", PYTHONPATH=str(older))
    hidden = (str(tiny_folder), str(copy))
    nodes.add("unlike", before=("unshare", "-m", "sh", "-c", OTHER_WEIGHTS, *hidden))
    try:
        code, said, errors = nodes.begin(ask(MANY, "nf4"), "--out", out).end()
    finally:
        for name in ("empty", "read-only", "older", "unlike"):
            nodes.kill(name)

    assert (code, errors) == (0, "")
    for reason in (
        f": {out} is another folder there than here. Use a folder that all machines share, or a "
        "store at an address (s3://…).",
        f": {out} cannot be written there (Read-only file system).",
        " has prompt-workbench 0.1.0 (",
        f": model '{tiny_folder}' has other weights there (local folder {tiny_folder.name}) than "
        "here. Give all machines the same files: a folder that they share, or copies that keep "
        "their dates (cp -p).",
    ):
        assert said.count(reason) == 1, (reason, said)
    assert len(list(out.glob("*lora*/predictions.jsonl"))) == 6
    assert not list(out.glob(".shared-*"))


def test_a_row_that_fails_is_tried_once_and_the_others_finish(nodes, ask, tmp_path):
    out = tmp_path / "out"

    code, said, errors = nodes.begin(ask(BROKEN), "--out", out).end()

    assert code == 2, errors
    assert said.count("broken seed 0 on") == 1
    assert "died" not in said
    report = json.loads((out / "report.json").read_text())
    assert [failed["row"] for failed in report["failed"]] == ["broken"]
    assert {row["row"] for row in report["rows"]} >= {"zero_shot", "lora"}


@pytest.mark.parametrize(
    ("at", "changes", "sentence"),
    [
        (
            "127.0.0.1:6399",
            {"RAY_AUTH_TOKEN": "f" * 40},
            "--cluster 127.0.0.1:6399: the cluster does not take this token. Set RAY_AUTH_TOKEN "
            "or RAY_AUTH_TOKEN_PATH to the one that its nodes were started with.",
        ),
        ("auto", {"RAY_AUTH_MODE": ""}, "--cluster: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or"),
        (
            "127.0.0.1:6398",
            {},
            "--cluster 127.0.0.1:6398: nobody answers there ([Errno 111] Connection refused). "
            "Start the cluster, or give the address that `ray start --head` printed.",
        ),
        ("6399", {}, "--cluster 6399: host:port of the cluster's head is needed, or auto."),
    ],
)  # fmt: skip
def test_a_cluster_that_cannot_be_used_is_refused_in_one_message(
    nodes, ask, tmp_path, at, changes, sentence
):
    going = nodes.begin(ask(SHORT), "--out", tmp_path / "out", at=at, **changes)

    code, said, errors = going.end(90)

    assert code == 2
    assert sentence in " ".join((said + errors).split())
    assert "Traceback" not in errors
    assert len(errors.splitlines()) <= 3


def test_precisions_are_measured_by_workers_of_both_nodes(nodes, ask, tmp_path):
    asked, there, here = ask("\n  zero_shot: {}\n"), tmp_path / "there", tmp_path / "here"
    words = [asked, "--precisions", "nf4,bf16,fp32", "--limit-test", "8", "--out"]

    code, said, errors = nodes.begin(*words, there, command="precisions").end()
    alone = local([*words, here], nodes, command="precisions")

    assert (code, errors) == (0, ""), said
    assert alone[0] == 0, alone
    for number in (1, 2):
        assert f" on {os.uname().nodename} {number} …" in said
    found, wanted = (json.loads((out / "precisions.json").read_text()) for out in (there, here))
    for ours, theirs in zip(found["precisions"], wanted["precisions"], strict=True):
        for base in (ours["base"], theirs["base"]):
            base.pop("restored_reason")  # names the memory that was free
        assert (ours["base"], ours["nats_per_token"]) == (theirs["base"], theirs["nats_per_token"])
