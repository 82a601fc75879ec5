"""Files of tensors, and all files: whole or not at all, on the disk before they count, sealed."""

import ast
import errno
import hashlib
import os
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

import workbench
from damages import DAMAGES
from workbench.atomic import write_json, write_text
from workbench.errors import DamagedFile, StoreError
from workbench.sealed import flush, read_sealed
from workbench.tensor_files import is_sealed, open_tensors, read_tensors, write_tensors

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool)
TENSORS = {
    **{str(dtype): torch.arange(6).reshape(2, 3).to(dtype) for dtype in DTYPES},
    "one number": torch.tensor(3.5),
    "none": torch.zeros(0, 4),
    "turned": torch.arange(6.0).reshape(2, 3).T,
    "ünïcode \n": torch.ones(1),
}
METADATA = {"format": "pt", "learned_vectors": "3:23", "zeta": "ü\n", "alpha": ""}


def same(found: dict[str, torch.Tensor]) -> bool:
    return found.keys() == TENSORS.keys() and all(
        found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)
        for name, tensor in TENSORS.items()
    )


def test_what_is_written_is_read_here_and_by_safetensors(tmp_path):
    path = tmp_path / "new" / "it.safetensors"

    write_tensors(path, TENSORS, METADATA)

    assert same(read_tensors(path))
    assert same(safetensors.torch.load_file(path))
    with open_tensors(path, needs_digest=True) as stored:
        assert METADATA.items() <= stored.metadata().items()


def test_the_bytes_do_not_depend_on_any_order(tmp_path):
    forwards, backwards = tmp_path / "a", tmp_path / "b"

    write_tensors(forwards, TENSORS, METADATA)
    write_tensors(backwards, dict(reversed(TENSORS.items())), dict(reversed(METADATA.items())))

    assert forwards.read_bytes() == backwards.read_bytes()


def test_no_flipped_bit_is_read_as_another_number_or_text(tmp_path):
    path = tmp_path / "it.safetensors"
    write_tensors(path, TENSORS, METADATA)
    content, noticed = path.read_bytes(), 0

    for place in range(len(content)):
        torn = bytearray(content)
        torn[place] ^= 1 << (place % 7)
        path.write_bytes(torn)
        try:
            with open_tensors(path) as stored:
                assert METADATA.items() <= stored.metadata().items()
                assert same({name: stored.get_tensor(name) for name in stored.keys()})  # noqa: SIM118
        except DamagedFile:
            noticed += 1

    assert len(content) - noticed <= len("content_sha256")  # its own name, and nothing else


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_one_error(damage, tmp_path):
    path = tmp_path / "it.safetensors"
    write_tensors(path, TENSORS)
    DAMAGES[damage](path)

    with pytest.raises(DamagedFile, match=r"it\.safetensors cannot be read"):
        read_tensors(path)


def test_a_file_without_a_digest_is_read_where_none_is_needed(tmp_path):
    path = tmp_path / "theirs.safetensors"
    safetensors.torch.save_file({"a": torch.ones(2)}, path, metadata={"format": "pt"})

    assert torch.equal(read_tensors(path)["a"], torch.ones(2))
    with pytest.raises(DamagedFile, match="has no digest"), open_tensors(path, needs_digest=True):
        pass


WRITERS = {
    "text": lambda path: write_text(path, "new"),
    "json": lambda path: write_json(path, {"new": 1}),
    "tensors": lambda path: write_tensors(path, TENSORS),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_file_is_on_the_disk_before_its_name_and_the_name_before_it_counts(
    write, tmp_path, monkeypatch
):
    done, path = [], tmp_path / "it"
    fsync, replace = os.fsync, Path.replace

    def flushed(descriptor: int) -> None:
        done.append("folder" if Path(f"/proc/self/fd/{descriptor}").resolve().is_dir() else "file")
        fsync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        done.append(f"to {Path(target).name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", renamed)
    write(path)

    assert done == ["file", "to it", "folder"]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_file_that_cannot_be_finished_leaves_the_one_before(write, tmp_path, monkeypatch):
    path = tmp_path / "it"
    path.write_text("before")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space is left there"):
        write(path)

    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_disk_that_cannot_flush_is_written_to_all_the_same(write, number, tmp_path, monkeypatch):
    def unknown(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", unknown)
    write(tmp_path / "it")
    flush(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_the_checkpoint_before_makes_room_for_a_new_one(tmp_path, monkeypatch):
    path, before = tmp_path / "checkpoint", tmp_path / "before"
    for number in range(2):
        write_tensors(path, {"a": torch.tensor(number)}, keep=before)
    fsync = os.fsync

    def full(descriptor: int) -> None:
        if before.exists() and torch.equal(read_tensors(before)["a"], torch.tensor(0)):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    write_tensors(path, {"a": torch.tensor(2)}, keep=before)

    assert [read_tensors(one)["a"] for one in (before, path)] == [1, 2]


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    path, before = tmp_path / "checkpoint", tmp_path / "before"
    write_tensors(path, {"a": torch.tensor(1)}, keep=before)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space is left there"):
        write_tensors(path, {"a": torch.tensor(2)}, keep=before)

    assert torch.equal(read_tensors(path)["a"], torch.tensor(1))


def test_each_tensor_is_fetched_once(tmp_path, monkeypatch):
    """A checkpoint on an accelerator is not moved twice."""
    fetched = []
    to = torch.Tensor.to

    def moved(tensor: torch.Tensor, *to_what: object) -> torch.Tensor:
        fetched.append(tuple(tensor.shape))
        return to(tensor, *to_what)

    monkeypatch.setattr(torch.Tensor, "to", moved)
    write_tensors(tmp_path / "it", {"a": torch.ones(2), "b": torch.ones(3)})

    assert fetched == [(2,), (3,)]


def test_the_bytes_of_a_file_are_what_they_were(tmp_path):
    """A run's record has digests of its files, by whichever version they were written."""
    path = tmp_path / "it"
    write_tensors(path, {"a": torch.arange(3.0), "b": torch.tensor([1, 2])}, {"format": "pt"})

    assert (
        hashlib.sha256(path.read_bytes()).hexdigest()
        == "6d43c35091d97e0037c7ccb6494bcc5ae89d78cd2ed89d7398b490d706bad546"
    )


def test_what_a_killed_process_left_is_removed_once_nobody_can_be_writing(tmp_path):
    names = (".it.1.2.writing", ".it.3.4.writing", ".its.1.2.writing", ".other")
    old, new, another, other = (tmp_path / name for name in names)
    for path in (old, new, another, other):
        path.write_text("half")
    for path in (old, another, other):
        os.utime(path, (0, time.time() - 7200))

    write_text(tmp_path / "it", "whole")

    assert sorted(tmp_path.iterdir()) == sorted([new, other, tmp_path / "it"])


def test_no_other_module_writes_tensors():
    package = Path(workbench.__file__).parent
    found = []
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node, "id", getattr(node, "attr", getattr(node, "name", "")))
            if name in ("save_file", "serialize_file", "serialize"):
                found.append(path.relative_to(package).as_posix())

    assert found == []


# Who reads JSON by other means than `parse_json`, which refuses what is nested too deeply.
OTHER_READERS = {
    # It itself.
    "atomic.py: parse_json",
    # What was written to JSON a moment before, or came out of a sealed file.
    *(
        "analysis/run_diff.py: _unquoted",
        "commands/shared/naming.py: _may_be",
        "models/growing_text.py: _decoder",  # what tokenizers says of itself
        "readings/inspector.py: _stored",
        "ui/api.py: export_comparison",
    ),
    # What others wrote: these take a hook for keys or numbers, or say it in their own words.
    *("budget/sources.py: _read", "models/adapters/config.py: strict_json"),
    *("tasks/json_rows.py: _parsed", "tasks/parquet_rows.py: _class_names"),
    *("tasks/rows.py: _texts_of", "tasks/rows.py: is_list_of_texts"),
    # What the page is asked, and what Gradio answers.
    *("ui/call_bodies.py: _mapping", "ui/crowds.py: _session"),
    *("ui/crowds.py: _name", "ui/guards.py: answer"),
}


def test_stored_json_is_read_in_one_way():
    package = Path(workbench.__file__).parent
    found = set()
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = [
            n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        for node in ast.walk(tree):
            is_reader = (
                isinstance(node, ast.Attribute)
                and (
                    node.attr in ("model_validate_json", "validate_json")
                    or (node.attr in ("load", "loads") and ast.unparse(node.value) == "json")
                )
            ) or (isinstance(node, ast.ImportFrom) and node.module == "json")
            if is_reader:
                around = [f for f in functions if f.lineno <= node.lineno <= (f.end_lineno or 0)]
                name = max(around, key=lambda f: f.lineno).name if around else ""
                found.add(f"{path.relative_to(package).as_posix()}: {name}")

    assert found == OTHER_READERS


def read_as_sealed(text: str, folder: Path) -> None:
    (folder / "it.json").write_text(f'{{"digest": "", "it": {text}}}')
    read_sealed(folder / "it.json")


def read_as_tensors(text: str, folder: Path) -> None:
    header = f'{{"__metadata__": {{"content_sha256": ""}}, "it": {text}}}'.encode()
    is_sealed(len(header).to_bytes(8, "little") + header)


@pytest.mark.parametrize("read", [read_as_sealed, read_as_tensors])
@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}")])
def test_json_of_every_depth_is_a_file_that_cannot_be_read(begin, end, read, tmp_path):
    """What can just be parsed may be too deep to be written again for its digest."""
    most = sys.getrecursionlimit()

    for depth in range(most - 120, most + 10):
        with pytest.raises(ValueError, match=r"nested too deeply|digest|not what was written"):
            read(begin * depth + "1" + end * depth, tmp_path)
