"""Plain text to measure a base on: the one that comes along, or a file of the user's."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import TaskError

_GENERAL = Path(__file__).parent / "data" / "general_text.txt"
_COMMENT = "#"
_LEAST_WORDS = 50  # fewer say nothing about a base


@dataclass(frozen=True)
class PlainText:
    """A text and where it came from.

    Attributes:
        name: Shown beside its figures.
        text: Without what is not part of it.
    """

    name: str
    text: str

    @property
    def digest(self) -> str:
        """Content hash."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


def general_text() -> PlainText:
    """Return the text that comes along; its file states its provenance."""
    lines = _GENERAL.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = "".join(line for line in lines if not line.startswith(_COMMENT))
    return PlainText("general text", kept.strip())


def read_text(path: Path) -> PlainText:
    """Return a file's text as it is.

    Raises:
        TaskError: no such file, not UTF-8, or hardly any words.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TaskError(
            f"text {path}: cannot be read ({error.strerror or error}). Give the path of a file of "
            "plain text."
        ) from error
    except UnicodeDecodeError as error:
        raise TaskError(
            f"text {path}: not UTF-8 (byte {error.start}). Save it as plain text in UTF-8."
        ) from error
    if len(text.split()) < _LEAST_WORDS:
        raise TaskError(
            f"text {path}: {len(text.split())} words; at least {_LEAST_WORDS} are needed. Give a "
            "longer text."
        )
    return PlainText(path.name, text)
