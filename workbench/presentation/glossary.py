"""What the words of the field mean in plain ones, for page and reports.

The words are in `glossary.md` beside this file. `docs/glossary.md` has the same rows with their
sources, and a test holds the two together. Terms stay what people of the field call them; each
carries plain words and a sentence, to hover or to open.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from markupsafe import Markup

from workbench.presentation.display import NOTHING

_SECTION, _ROW = "## ", "| "


@dataclass(frozen=True)
class Term:
    """A word of the field.

    Attributes:
        plain: What somebody would say who does not know it.
        name: What the field calls it; a dash where it has no name of its own.
        sentence: What it is, in a sentence or two.
        words: How headings write it; none where it stands in no heading.
    """

    plain: str
    name: str
    sentence: str
    words: Sequence[str]

    @property
    def gloss(self) -> str:
        """Plain words and sentence in a line."""
        return f"{self.plain}: {self.sentence}"

    @property
    def has_name(self) -> bool:
        """Whether the field has a name for it."""
        return self.name != NOTHING


@cache
def sections() -> Mapping[str, Sequence[Term]]:
    """Return every term by the section of the glossary it stands in."""
    text = files("workbench.presentation").joinpath("glossary.md").read_text(encoding="utf-8")
    found: dict[str, list[Term]] = {}
    for line in text.splitlines():
        if line.startswith(_SECTION):
            rows = found.setdefault(line.removeprefix(_SECTION), [])
        elif line.startswith(_ROW) and not line.startswith("| plain words |"):
            plain, name, words, sentence = (cell.strip() for cell in line.split("|")[1:-1])
            headings = tuple(word.strip() for word in words.split(";") if word)
            rows.append(Term(plain, name, sentence.replace("`", ""), headings))
    return found


def terms_in(headings: Iterable[object]) -> list[Term]:
    """Return the terms that headings name, each once, in their order."""
    found = (_pattern().search(str(heading)) for heading in headings)
    return list(dict.fromkeys(_by_word()[match[0]] for match in found if match))


def glossed(heading: object) -> Markup:
    """Return a heading as HTML whose first word of the field says on hover what it means.

    Everything is escaped: a heading may come from data.
    """
    text = str(heading)
    match = _pattern().search(text)
    if match is None:
        return Markup("{}").format(text)
    word = Markup('<abbr title="{}">{}</abbr>').format(_by_word()[match[0]].gloss, match[0])
    return Markup("{}{}{}").format(text[: match.start()], word, text[match.end() :])


@cache
def _by_word() -> Mapping[str, Term]:
    return {word: term for terms in sections().values() for term in terms for word in term.words}


@cache
def _pattern() -> re.Pattern[str]:
    """Return what finds the longest word of the glossary at the first place that has one."""
    words = sorted(_by_word(), key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)")
