r"""How a table fits a page: with broken headings, in smaller letters, or as several tables.

Widths are those of Computer Modern Roman at 10 pt, roughly. A page of `article` is 345 pt wide, and
so are, or wider, those of most one-column styles; in two columns `table*` has more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

TEXT_WIDTH = 340.0  # points; the rest is for what estimates miss
_PLAIN_GAP = 6.0  # on both sides of a column, as LaTeX has it
_NARROWEST = 55.0  # points of a column of text whose lines are broken
_CLASSES = ((3.0, "iljtfr.,:;'![]|()"), (3.4, " "), (8.5, "mwMW%@+-<>="))
_USUAL, _CAPITAL = 5.2, 7.3


@dataclass(frozen=True)
class _Size:
    command: str
    factor: float
    gap: float


_PLAIN = _Size("", 1.0, _PLAIN_GAP)
_SMALLER = (
    _PLAIN,
    _Size("small", 0.92, 4.0),
    _Size("footnotesize", 0.85, 3.0),
    _Size("scriptsize", 0.76, 3.0),
)
_BROKEN = _SMALLER[2]  # what lines are broken in, and tables cut


@dataclass(frozen=True)
class Fitted:
    r"""How some columns of a table are set.

    Attributes:
        places: Which columns, from 0.
        size: Command of the letters' size; "" is the document's.
        gap: Points on both sides of a column.
        headings: Lines of each heading.
        widths: Points of a column whose lines are broken; None: as wide as its cells.
    """

    places: tuple[int, ...]
    size: str
    gap: float
    headings: tuple[tuple[str, ...], ...]
    widths: tuple[float | None, ...]

    @property
    def is_plain(self) -> bool:
        """Whether it is set as LaTeX sets tables."""
        return not self.size and self.gap == _PLAIN_GAP


def fitted(
    columns: Sequence[str], cells: Sequence[Sequence[str]], is_text: Sequence[bool]
) -> list[Fitted]:
    """Return how a table is set; in parts, each with its first column, where it is too wide.

    Args:
        columns: Headings.
        cells: Texts of the rows.
        is_text: Whether a column is of text, whose lines may be broken.
    """
    own = [max((_width(row[place]) for row in cells), default=0.0) for place in range(len(columns))]
    unbroken = tuple((name,) for name in columns)
    broken = tuple(tuple(_lines(name, own[place])) for place, name in enumerate(columns))
    places = tuple(range(len(columns)))
    tries = [(unbroken, _PLAIN), *((broken, size) for size in _SMALLER)]
    for headings, size in tries:
        if _total(places, headings, own, size) <= TEXT_WIDTH:
            found = tuple(headings)
            return [Fitted(places, size.command, size.gap, found, (None,) * len(places))]
    # The least of a column of text is its longest word, and some room for the others.
    least = list(own)
    for place in places:
        words = [_width(word) for row in cells for word in row[place].split(" ")]
        if is_text[place]:
            least[place] = min(own[place], max(_NARROWEST / _BROKEN.factor, *words, 0.0))
    found_parts = []
    for part in _parts(places, broken, least):
        widths = _text_widths(part, broken, (own, least), is_text)
        heads = tuple(broken[place] for place in part)
        found_parts.append(Fitted(part, _BROKEN.command, _BROKEN.gap, heads, widths))
    return found_parts


def _parts(
    places: Sequence[int], headings: Sequence[Sequence[str]], least: Sequence[float]
) -> Iterator[tuple[int, ...]]:
    """Yield the columns of each part: the first, and as many others as fit beside it."""
    part: tuple[int, ...] = (places[0],)
    for place in places[1:]:
        more = (*part, place)
        if len(part) > 1 and _total(more, headings, least, _BROKEN) > TEXT_WIDTH:
            yield part
            more = (places[0], place)
        part = more
    yield part


def _text_widths(
    part: Sequence[int],
    headings: Sequence[Sequence[str]],
    natural: tuple[Sequence[float], Sequence[float]],
    is_text: Sequence[bool],
) -> tuple[float | None, ...]:
    """Return the widths of columns of text, which share what is left when each has its least.

    Args:
        part: Which columns.
        headings: Lines of the headings of all.
        natural: How wide columns are, and how wide at least.
        is_text: Which may be broken.
    """
    own, least = natural
    left = TEXT_WIDTH - _total(part, headings, least, _BROKEN)
    given: dict[int, float | None] = dict.fromkeys(part)
    texts = sorted((one for one in part if is_text[one]), key=lambda one: own[one] - least[one])
    for number, place in enumerate(texts):
        wanted = _BROKEN.factor * (own[place] - least[place])
        share = max(0.0, left) / (len(texts) - number)
        if wanted > share:
            heading = max(map(_width, headings[place]))
            given[place] = round(_BROKEN.factor * max(least[place], heading) + share, 1)
        left -= min(wanted, share)
    return tuple(given.values())


def _total(
    places: Sequence[int],
    headings: Sequence[Sequence[str]],
    own: Sequence[float],
    size: _Size,
) -> float:
    wide = sum(max(own[place], *map(_width, headings[place]), 0.0) for place in places)
    return size.factor * wide + 2 * size.gap * len(places)


def _lines(name: str, width: float) -> Iterator[str]:
    """Yield the lines of a heading that is to be no wider than its column, or its longest word."""
    words = name.split(" ")
    most = max(width, *map(_width, words))
    line = words[0]
    for word in words[1:]:
        if _width(f"{line} {word}") > most:
            yield line
            line = word
        else:
            line = f"{line} {word}"
    yield line


def _width(text: str) -> float:
    return sum(map(_character, text))


def _character(one: str) -> float:
    for width, members in _CLASSES:
        if one in members:
            return width
    if not one.isascii() and not one.isalpha():
        return _CAPITAL
    return _CAPITAL if one.isupper() or ord(one) > 0x2E80 else _USUAL
