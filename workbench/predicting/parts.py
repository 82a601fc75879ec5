"""Answers of a file of rows, chunk by chunk, until all of them are there.

<out>.parts/header.json     what is answered with what, sealed
            0000012.jsonl   the answers of chunk 12: a line with their digest, then one for each row

A part is written in one step and is whole, or it is made again. Whoever has a chunk and the header
can write its part; nobody needs to know of the others.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.atomic import parse_json, sorted_json, write_text
from workbench.errors import StoreError
from workbench.predicting.chunks import RowAnswer
from workbench.sealed import clear_place, is_there, read_sealed, remove, write_sealed

_HEADER = "header.json"
_SUFFIX = ".parts"


def parts_folder(out: Path) -> Path:
    """Return where the answers for a file lie until it can be written."""
    return out.with_name(out.name + _SUFFIX)


def are_begun(out: Path) -> bool:
    """Return whether there are parts of a file of answers."""
    return is_there(parts_folder(out) / _HEADER)


@dataclass(frozen=True)
class AnswerParts:
    """The parts of one file of answers.

    Attributes:
        folder: Where they are.
        header: What is answered with what, as plain data; decides every answer.
    """

    folder: Path
    header: Mapping[str, Any]

    def write(self, number: int, answers: Sequence[RowAnswer]) -> None:
        """Write the answers of a chunk, whole or not at all.

        Raises:
            StoreError: no space left, or no permission.
        """
        lines = [json.dumps(_plain(one), ensure_ascii=False) for one in answers]
        content = "".join(line + "\n" for line in lines)
        path = self._path(number)
        clear_place(path)
        write_text(path, json.dumps({"digest": self._digest(number, content)}) + "\n" + content)

    def read(self, number: int) -> list[RowAnswer] | None:
        """Return the answers of a chunk; None if they are not there, or not what was written."""
        with suppress(OSError, ValueError, TypeError):
            first, _, content = self._path(number).read_text(encoding="utf-8").partition("\n")
            if parse_json(first) == {"digest": self._digest(number, content)}:
                # Not splitlines: answers may hold U+2028 and its like.
                return [_answer(parse_json(line)) for line in content.split("\n") if line]
        return None

    def remove(self) -> None:
        """Remove all parts, the header first: nobody goes on from what a kill may leave."""
        remove(self.folder / _HEADER)
        remove(self.folder)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:07d}.jsonl"

    def _digest(self, number: int, content: str) -> str:
        said = sorted_json([number, dict(self.header)])
        return hashlib.sha256(f"{said}\n{content}".encode()).hexdigest()


def begin_parts(out: Path, header: Mapping[str, Any]) -> AnswerParts:
    """Return the parts of a file of answers, begun now or by an earlier call of the same kind.

    Raises:
        StoreError: those that are there answer something else, or cannot be read or written.
    """
    folder = parts_folder(out)
    path = folder / _HEADER
    if is_there(path):
        try:
            found = read_sealed(path)
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{folder}: cannot be gone on from ({error}). Delete it to begin anew, or use "
                "another file with --out."
            ) from error
        differing = [name for name in header if found.get(name) != header[name]]
        if differing or found.keys() != header.keys():
            raise StoreError(
                f"{folder}: holds answers that were begun with {_said(differing, found, header)}. "
                "Ask the same to go on, delete it to begin anew, or use another file with --out."
            )
    else:
        write_sealed(path, header)
    return AnswerParts(folder, header)


def _said(names: Sequence[str], found: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Return what parts were begun with, beside what is asked now."""
    return (
        "; ".join(
            f"another {name} ({_short(found.get(name))}, now {_short(asked[name])})"
            for name in names
        )
        or "another version of the workbench"
    )


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _plain(answer: RowAnswer) -> dict[str, Any]:
    return {
        name: value
        for name in ("answer", "error", "probabilities", "is_truncated")
        if (value := getattr(answer, name)) is not None
    }


def _answer(content: Any) -> RowAnswer:
    probabilities = content.get("probabilities")
    return RowAnswer(
        content.get("answer"),
        content.get("error"),
        None if probabilities is None else tuple(probabilities),
        content.get("is_truncated"),
    )
