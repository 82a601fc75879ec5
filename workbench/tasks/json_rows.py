"""Rows out of JSON: an object per line, or a list of objects."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from workbench.errors import TaskError
from workbench.tasks.delimited import check_columns
from workbench.tasks.rows import NUM_NAMED, PlacedRow, Row, Table, listed

LINES_ADVICE = 'Write one object per line: {"text": "…", "label": "…"}.'
_INT64 = range(-(2**63), 2**63)


@dataclass
class Problems:
    """What is wrong with lines or rows: the first few, and how many there are."""

    first: list[str] = field(default_factory=list)
    number: int = 0

    def add(self, problem: str) -> None:
        """Keep a problem if it is among the first."""
        self.number += 1
        if self.number <= NUM_NAMED:
            self.first.append(problem)

    def raise_if_any(self, advice: str) -> None:
        """Raise one `TaskError` with the first of them."""
        if self.number:
            more = self.number - NUM_NAMED
            rest = [f"and {more} more of them."] if more > 0 else []
            raise TaskError("\n".join([*self.first, *rest, advice]))


class JsonColumns:
    """The columns of JSON rows as they come, with the kinds of their cells."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kinds: dict[str, set[type]] = {}

    def add(self, row: Row) -> None:
        """Take a row's columns and kinds.

        Raises:
            TaskError: too many columns, or one whose name is no text.
        """
        new = row.keys() - self._kinds.keys()
        if new:
            check_columns(self._path, len(self._kinds) + len(new))
            check_names(self._path, new)
        for name, cell in row.items():
            kinds = self._kinds.setdefault(name, set())
            if cell is not None:
                is_large = isinstance(cell, int) and cell not in _INT64
                kinds.add(str if is_large else type(cell))

    @property
    def types(self) -> dict[str, Any]:
        """The Arrow type of each column, in order of appearance; text where cells are of many."""
        return {name: _arrow_type(kinds) for name, kinds in self._kinds.items()}


def _arrow_type(kinds: set[type]) -> Any:
    plain = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    if len(kinds) == 1:
        return plain.get(next(iter(kinds)), pa.string())
    return pa.float64() if kinds == {int, float} else pa.string()


def objects(path: Path, lines: Iterable[str], problems: Problems) -> Iterator[PlacedRow]:
    """Yield the object of each line with the line's number, and keep what is wrong with others."""
    for place, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = _parsed(line.removesuffix("\n"))
        except json.JSONDecodeError as error:  # its own text counts the line as the first
            problem = f"{error.msg} at character {error.pos + 1}"
            problems.add(f"{path}, line {place}: not valid JSON: {problem}.")
            continue
        except (ValueError, RecursionError) as error:
            problems.add(f"{path}, line {place}: not valid JSON: {error}.")
            continue
        if isinstance(row, dict):
            yield place, row
        else:
            problems.add(f"{path}, line {place}: {_shown(row)} is no JSON object.")


def read_json_lines(path: Path, text: str) -> Table:
    """Return the rows of a text with an object per line; a list of objects is read as one.

    Raises:
        TaskError: lines that are no objects, too many columns, or names that are no text.
    """
    if text.lstrip().startswith("["):  # an object per line starts with a brace
        rows = _json_list(text)
        if rows is not None:
            table = _json_table(path, rows)
            table.notes.append(f"{path.name}: a JSON list, although named .jsonl; read as one.")
            return table
    table = Table([], [], "line")
    problems = Problems()
    # Not splitlines: it also breaks at U+2028, which JSON allows inside a string.
    for place, row in objects(path, text.split("\n"), problems):
        table.rows.append(row)
        table.places.append(place)
    problems.raise_if_any(LINES_ADVICE)
    check_names(path, {name for row in table.rows for name in row})
    return table


def _json_list(text: str) -> list[object] | None:
    """Return the list that a text is; None if it is none, or one of lists and plain values."""
    try:
        rows = _parsed(text)
    except (ValueError, RecursionError):
        return None
    return rows if isinstance(rows, list) and any(isinstance(row, dict) for row in rows) else None


def read_json(path: Path, text: str) -> Table:
    """Return the rows of a list of objects.

    Raises:
        TaskError: it is none, or has too many columns, or names that are no text.
    """
    try:
        rows = _parsed(text)
    except (ValueError, RecursionError) as error:
        raise TaskError(
            f"{path}: not valid JSON: {error}. One object per line is .jsonl."
        ) from error
    if not isinstance(rows, list):
        raise TaskError(
            f"{path}: {_shown(rows)} is no list. Write a list of objects: "
            '[{"text": "…", "label": "…"}, …].'
        )
    return _json_table(path, rows)


def _json_table(path: Path, rows: Sequence[object]) -> Table:
    problems = Problems()
    for place, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            problems.add(f"{path}, row {place}: {_shown(row)} is no JSON object.")
    problems.raise_if_any('Write objects: {"text": "…", "label": "…"}.')
    found = [row for row in rows if isinstance(row, dict)]
    check_names(path, {name for row in found for name in row})
    return Table(found, list(range(1, len(found) + 1)), "row")


def check_names(path: Path, names: Collection[str]) -> None:
    """Raise a `TaskError` if there are too many columns, or one whose name is no text."""
    check_columns(path, len(names))
    broken = [name for name in names if not name.isprintable() and _is_broken(name)]
    if broken:
        raise TaskError(
            f"{path}: half a character (a lone surrogate) in the name of column {broken[0]!r}. "
            "Write it again."
        )


def _is_broken(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False


def _parsed(text: str) -> object:
    """Return what a JSON text says; an object with one key twice says nothing certain."""
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
        raise ValueError(f"an object has {listed(repeated, 'key')} twice")
    return found


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."
