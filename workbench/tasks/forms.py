"""Texts that differ and look the same: Unicode forms, invisible characters, case and spacing.

Texts stay as they are; here is only said which of them are one text to a reader.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal

from workbench.scripts import composed

# Soft hyphen, joiners, zero-width spaces, direction marks, byte order mark: none takes up room.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]"
)
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_NUM_GROUPS = 5  # named in a warning


def visible(text: str) -> str:
    """Return a text in Unicode's composed form, without characters that take up no room."""
    if text.isascii():
        return text
    return composed(_INVISIBLE.sub("", text))


def folded(text: str) -> str:
    """Return the form in which two texts are equal that differ in nothing a reader would see.

    Case, spacing, Unicode form and invisible characters count for nothing (canonical caseless
    matching, The Unicode Standard, section 3.13, definition D145).
    """
    if not text.isascii():
        text = unicodedata.normalize("NFD", composed(_INVISIBLE.sub("", text)))
        text = composed(text.casefold())
    return " ".join(text.casefold().split())


def label_warnings(counts: Mapping[str, int]) -> list[str]:
    """Return a warning about labels that are probably one, and how to merge them.

    Args:
        counts: Label to number of rows.
    """
    groups: dict[str | Decimal, list[str]] = {}
    for label in counts:
        groups.setdefault(_label_form(label), []).append(label)
    alike = [labels for labels in groups.values() if len(labels) > 1]
    if not alike:
        return []
    shown = "; ".join(
        " / ".join(f"{_shown(label, labels)} ({_rows(counts[label])})" for label in labels)
        + f" differ in {_difference(labels)}"
        for labels in alike[:_NUM_GROUPS]
    )
    more = f"; and {len(alike) - _NUM_GROUPS} more" if len(alike) > _NUM_GROUPS else ""
    return [
        f"Labels that look like one count as classes of their own: {shown}{more}. If they are "
        "meant to be one, write them alike in the file."
    ]


def _label_form(label: str) -> str | Decimal:
    form = folded(label)
    return Decimal(form) if _NUMBER.fullmatch(form) else form  # exact, of any length


def _difference(labels: Sequence[str]) -> str:
    """Return what tells the labels apart: the first step of folding that makes two of them one."""
    if len({visible(label) for label in labels}) < len(labels):
        forms = {composed(label) for label in labels}
        return "Unicode form" if len(forms) < len(labels) else "invisible characters"
    spaced = [" ".join(visible(label).split()) for label in labels]
    if len(set(spaced)) < len(labels):
        return "spaces"
    return "case" if len({text.casefold() for text in spaced}) == 1 else "how a number is written"


def _shown(label: str, labels: Sequence[str]) -> str:
    """Return a label in quotes; with escapes where the eye could not tell it from the others."""
    alike = len({" ".join(visible(other).split()) for other in labels}) < len(labels)
    return ascii(label) if alike else repr(label)


def _rows(number: int) -> str:
    return "1 row" if number == 1 else f"{number} rows"
