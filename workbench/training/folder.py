"""The files of a training: its checkpoints, its history, and the path its parameters took.

checkpoint.safetensors        to go on from; its tensors come in parts, as "best/<name>"
checkpoint_before.safetensors the one before, for the day the last one turns out to be damaged
history.jsonl                 the figures of each step and of each dev evaluation, in order
path/0000025.safetensors      what the parameters were at a step, where the method keeps that

A checkpoint holds the history up to its step; the file beside it is what others look at meanwhile.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from workbench.atomic import explained, parse_json, write_bytes, write_text
from workbench.errors import DamagedFile
from workbench.fence import check_fence
from workbench.room import check_room
from workbench.tensor_files import TensorFile, open_tensors, write_tensors

PATH_FOLDER = "path"
HISTORY = "history.jsonl"
_FORMAT = "2"  # of checkpoints; those of another are not gone on from

History = list[dict[str, float]]


@dataclass(frozen=True)
class Checkpoint:
    """Where a training stood.

    Attributes:
        position: What it was written with.
        history: The figures up to there.
        stored: The open file.
    """

    position: dict[str, Any]
    history: History
    stored: TensorFile

    def load(self, part: str) -> dict[str, torch.Tensor]:
        """Return the tensors of a part by name, on the CPU."""
        return {
            key.removeprefix(f"{part}/"): self.stored.get_tensor(key)
            for key in self.stored.keys()  # noqa: SIM118  a safe_open handle is not iterable
            if key.startswith(f"{part}/")
        }


class TrainingFolder:
    """Reads and writes the files of one training.

    Args:
        folder: Where they are; made with the first of them.
        identity: What is trained on what; checkpoints of anything else are not gone on from.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder, self._identity = folder, identity
        self._checkpoint = folder / "checkpoint.safetensors"
        self._before = folder / "checkpoint_before.safetensors"
        self._history = folder / HISTORY

    def save(
        self,
        parts: Mapping[str, Mapping[str, torch.Tensor]],
        position: Mapping[str, Any],
        history: Sequence[Mapping[str, float]],
    ) -> None:
        """Write a checkpoint in one step, and keep the one before.

        Raises:
            StoreError: the file cannot be written.
        """
        tensors = {f"{part}/{name}": t for part, some in parts.items() for name, t in some.items()}
        metadata = {
            "format": "pt",
            "checkpoint": _FORMAT,
            "identity": self._identity,
            "position": json.dumps(position),
            "history": json.dumps(history),
        }
        write_tensors(self._checkpoint, tensors, metadata, keep=self._before)

    @contextmanager
    def newest(
        self, points_until: Callable[[int], Iterable[int]]
    ) -> Iterator[tuple[Checkpoint | None, str]]:
        """Open the newest checkpoint that is whole, for the block; None if there is none.

        Whatever was written after it is removed: all of it where there is none. The second value
        says in a sentence what was damaged, or is "".

        Args:
            points_until: Returns the steps up to one whose points the path must have.

        Raises:
            StoreError: the folder cannot be written.
        """
        damaged: list[str] = []
        with ExitStack() as stack:
            found = self._opened(stack, points_until, damaged)
            if found is None:
                self._clear()
                yield None, _sentence(damaged, "began anew")
                return
            self._cut(found)
            step = found.position["step"]
            yield found, _sentence(damaged, f"went on from step {step}")

    def content(self) -> bytes:
        """Return the newest checkpoint as it is stored, for another process.

        Raises:
            StoreError: it cannot be read.
        """
        path = self._checkpoint if self._checkpoint.exists() else self._before
        with explained(path):
            return path.read_bytes()

    def receive(self, content: bytes) -> None:
        """Take the checkpoint of another process as this one's.

        Raises:
            StoreError: it cannot be written.
        """
        write_bytes(self._checkpoint, content)

    def keep_point(self, step: int, tensors: Mapping[str, torch.Tensor]) -> None:
        """Store a point of the path.

        Raises:
            StoreError: the file cannot be written.
        """
        write_tensors(self._point(step), tensors)

    def record(self, entry: Mapping[str, float]) -> None:
        """Add a line to the history.

        Raises:
            StoreError: it cannot be written.
        """
        line = json.dumps(entry) + "\n"
        check_fence(self._history)
        check_room(self._history, len(line))
        with explained(self._history):
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._history.open("a") as stream:
                stream.write(line)

    def write_history(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write the whole history in one step, whatever was added to the file line by line.

        Raises:
            StoreError: it cannot be written.
        """
        write_text(self._history, "".join(json.dumps(entry) + "\n" for entry in history))

    def _point(self, step: int) -> Path:
        return self._folder / PATH_FOLDER / f"{step:07d}.safetensors"

    def _opened(
        self,
        stack: ExitStack,
        points_until: Callable[[int], Iterable[int]],
        damaged: list[str],
    ) -> Checkpoint | None:
        """Open the newest checkpoint to go on from; what is wrong with others goes to `damaged`."""
        there = [path for path in (self._checkpoint, self._before) if path.exists()]
        for path in there:  # the older one alone is what a kill leaves that came between two names
            try:
                stored = stack.enter_context(open_tensors(path, needs_digest=True))
                found = self._checked(path, stored, points_until)
            except DamagedFile as error:
                damaged.append(str(error))
                continue
            if path == self._before:
                self._checkpoint.unlink(missing_ok=True)
            return found
        return None

    def _checked(
        self, path: Path, stored: TensorFile, points_until: Callable[[int], Iterable[int]]
    ) -> Checkpoint:
        """Return an open checkpoint if it is of this training and all of its path is there."""
        metadata = stored.metadata()
        if (metadata.get("checkpoint"), metadata.get("identity")) != (_FORMAT, self._identity):
            raise DamagedFile(f"{path.name} is of another training")
        found = Checkpoint(
            parse_json(metadata["position"]), parse_json(metadata["history"]), stored
        )
        for step in points_until(found.position["step"]):
            with open_tensors(self._point(step), needs_digest=True):
                pass
        return found

    def _cut(self, found: Checkpoint) -> None:
        """Remove what was written after a checkpoint."""
        self.write_history(found.history)
        for file in (self._folder / PATH_FOLDER).glob("*.safetensors"):
            if not file.stem.isdecimal() or int(file.stem) > found.position["step"]:
                file.unlink()

    def _clear(self) -> None:
        """Remove whatever a training left that cannot be gone on from."""
        for file in (self._history, self._checkpoint, self._before):
            file.unlink(missing_ok=True)
        shutil.rmtree(self._folder / PATH_FOLDER, ignore_errors=True)


def _sentence(damaged: Sequence[str], result: str) -> str:
    return f"{', and '.join(damaged)}: the training {result}." if damaged else ""
