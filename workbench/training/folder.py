"""The files of a training: its checkpoint, its history, and the path its parameters took.

checkpoint.safetensors   to go on from; its tensors come in parts, as "best/<name>"
history.jsonl            the figures of each step and of each dev evaluation, in order
path/0000025.safetensors what the parameters were at a step, where the method keeps that
"""

import errno
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from workbench.atomic import explained
from workbench.room import check_room

PATH_FOLDER = "path"
HISTORY = "history.jsonl"


class TrainingFolder:
    """Reads and writes the files of one training.

    Args:
        folder: Where they are; made with the first of them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._checkpoint = folder / "checkpoint.safetensors"
        self._history = folder / HISTORY

    def save(
        self, parts: Mapping[str, Mapping[str, torch.Tensor]], position: Mapping[str, Any]
    ) -> None:
        """Write a checkpoint in one step: tensors by part and name, and where training stands.

        Raises:
            StoreError: the file cannot be written.
        """
        tensors = {f"{part}/{name}": t for part, some in parts.items() for name, t in some.items()}
        _write(self._checkpoint, tensors, {"position": json.dumps(position)})

    def position(self) -> dict[str, Any] | None:
        """Return where the training of the checkpoint stands; None if there is none."""
        if not self._checkpoint.is_file():
            return None
        with safe_open(self._checkpoint, framework="pt") as stored:
            position: dict[str, Any] = json.loads(stored.metadata()["position"])
        return position

    def load(self, part: str) -> dict[str, torch.Tensor]:
        """Return the tensors of a part of the checkpoint by name, on the CPU."""
        with safe_open(self._checkpoint, framework="pt") as stored:
            return {
                key.removeprefix(f"{part}/"): stored.get_tensor(key)
                for key in stored.keys()  # noqa: SIM118  a safe_open handle is not iterable
                if key.startswith(f"{part}/")
            }

    def keep_point(self, step: int, tensors: Mapping[str, torch.Tensor]) -> None:
        """Store a point of the path.

        Raises:
            StoreError: the file cannot be written.
        """
        _write(self._folder / PATH_FOLDER / f"{step:07d}.safetensors", tensors, {})

    def record(self, entry: Mapping[str, float]) -> None:
        """Add a line to the history.

        Raises:
            StoreError: it cannot be written.
        """
        line = json.dumps(entry) + "\n"
        check_room(self._history, len(line))
        with explained(self._history):
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._history.open("a") as stream:
                stream.write(line)

    def history_until(self, step: int) -> list[dict[str, float]]:
        """Return the history up to a step, and drop what comes after it from the file."""
        entries = []
        if self._history.is_file():
            for line in self._history.read_text().splitlines():
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:  # the line that was being written when it was killed
                    break
                if entry["step"] <= step:
                    entries.append(entry)
        self._history.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        return entries

    def clear(self) -> None:
        """Remove history and path of a training that left no checkpoint to go on from."""
        self._history.unlink(missing_ok=True)
        shutil.rmtree(self._folder / PATH_FOLDER, ignore_errors=True)


def _write(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write a file of tensors whole or not at all.

    Raises:
        StoreError: the file cannot be written.
    """
    scratch = path.with_suffix(".writing")
    contiguous = {key: value.detach().contiguous() for key, value in tensors.items()}
    check_room(path, sum(tensor.nbytes for tensor in contiguous.values()))
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(contiguous, scratch, metadata=metadata)
        except SafetensorError as error:  # safetensors hides the system's own error in text
            needed = sum(tensor.nbytes for tensor in contiguous.values())
            full = shutil.disk_usage(scratch.parent).free < needed
            raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error
        scratch.replace(path)
