"""Torn files of runs: made again and said so, or named with the way out; never a wrong number."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from toys import TOY_LABELS, TOY_TEMPLATE, open_tiny, toy_samples
from workbench.encoding import PromptEncoder
from workbench.methods.catalog import make_method
from workbench.models.engine import Engine
from workbench.progress import ProgressEvent
from workbench.runs.execute import RunRequest, execute
from workbench.runs.session import Session
from workbench.runs.store import RunStore, StoredRun
from workbench.tasks.base import DroppedRows, Task, TaskSource

QUICK = {"steps": 6, "batch_size": 4, "eval_every": 2}
OPTIONS = {
    "zero_shot": {},
    "lora": QUICK,
    "prompt_tuning": QUICK,
    "prompt_ensemble": QUICK | {"members": 2},
    "instruction_search": {"budget": 2},
    "adalora": QUICK | {"init_rank": 4, "target_rank": 2},
}
ADAPTER = ("adapter/adapter_config.json", "adapter/adapter_model.safetensors", "adapter/README.md")
ALWAYS = ("spec.json", "record.json", "predictions.jsonl", ".lock")
FILES = {
    "zero_shot": ALWAYS,
    "lora": ("history.jsonl", *ADAPTER),
    "prompt_tuning": ("path/0000002.safetensors", *ADAPTER),
    "prompt_ensemble": (
        "member_1/history.jsonl",
        "member_1/path/0000004.safetensors",
        "adapter/member_1/adapter_config.json",
        "adapter/member_1/adapter_model.safetensors",
    ),
    "instruction_search": ("search.json", "prompt.txt"),
    "adalora": ("ranks.json", *ADAPTER[:2]),
}
"""Files of a finished run, each with a method that has them."""


def flip(share: float) -> Callable[[Path], None]:
    """Return what flips one bit at a share of a file's length."""

    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        if content:
            content[int(share * (len(content) - 1))] ^= 1
        path.write_bytes(content)

    return damage


def into_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "bit in the header": flip(0.02),
    "bit in the middle": flip(0.5),
    "bit at the end": flip(1.0),
    "missing": lambda path: path.unlink(),
    "a folder": into_folder,
}


@pytest.fixture(scope="module")
def session(tiny_folder) -> Session:
    base = open_tiny(tiny_folder)
    task = Task(
        name="toy",
        kind="classification",
        labels=TOY_LABELS,
        field_names=("text",),
        train=toy_samples("train", 12),
        dev=toy_samples("dev", 4),
        test=toy_samples("test", 6),
        source=TaskSource("embedded", "tests", "none"),
        dropped=DroppedRows({}),
    )
    return Session(Engine(base), PromptEncoder(base.tokenizer, TOY_TEMPLATE, task))


def request_of(method: str, *, is_trial: bool = False) -> RunRequest:
    return RunRequest(method, make_method(method, OPTIONS[method]), 0, is_trial=is_trial)


@pytest.fixture(scope="module")
def whole(session, tmp_path_factory) -> dict[str, StoredRun]:
    """Return a run of each method that nothing happened to."""
    store = RunStore(tmp_path_factory.mktemp("whole"))
    return {name: execute(session, store, request_of(name)) for name in OPTIONS}


def contents(run: StoredRun) -> dict[str, bytes]:
    """Return the files that decide or show numbers, by name; times are in none of them."""
    files = (path for path in run.folder.rglob("*") if path.is_file())
    found = {path.relative_to(run.folder).as_posix(): path for path in files}
    timed = ("record.json", "origin.json", ".lock")
    return {
        name: b"" if name.endswith("history.jsonl") else path.read_bytes()
        for name, path in found.items()
        if name not in timed and "seconds" not in name
    }


def steps_of(run: StoredRun) -> list[dict[str, float]]:
    return [
        {name: value for name, value in entry.items() if name != "seconds"}
        for entry in run.history()
    ]


def assert_same(found: StoredRun, expected: StoredRun) -> None:
    assert found.spec == expected.spec
    assert found.record.status == expected.record.status
    assert found.record.metrics == expected.record.metrics
    assert contents(found) == contents(expected)
    assert steps_of(found) == steps_of(expected)


CASES = [
    (method, file, damage)
    for method, files in FILES.items()
    for file in files
    for damage in DAMAGES
]


@pytest.mark.parametrize(("method", "file", "damage"), CASES)
def test_a_torn_finished_run_is_made_again_and_says_so(
    method, file, damage, session, whole, tmp_path
):
    expected = whole[method]
    folder = tmp_path / expected.folder.name
    shutil.copytree(expected.folder, folder)
    DAMAGES[damage](folder / file)
    store, events = RunStore(tmp_path), []

    found = execute(session, store, request_of(method), progress=events.append)

    assert_same(found, expected)
    if file == ".lock":
        assert events == []
        return
    (said,) = {event.note for event in events if event.note}
    assert Path(file).name in said
    assert said in found.record.warnings or file == "spec.json"
    again: list[ProgressEvent] = []
    assert execute(session, store, request_of(method), progress=again.append) == found
    assert again == []
