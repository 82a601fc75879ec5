"""Two wordings side by side: the words that differ, and the answers that changed."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import Match, SequenceMatcher
from itertools import accumulate
from typing import Literal

from workbench.answer_forms import as_one
from workbench.serving.grid import Grid
from workbench.templates import PromptTemplate
from workbench.yaml_files import Block, yaml_text

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_MOST_WORDS = 4000  # of a text whose words are compared one by one
_MOST_PAIRS = 10**6  # of equal pieces, one of each text, that a comparison looks at: 0.2 seconds

ChangeKind = Literal["same", "removed", "added"]
Turn = Literal[
    "wrong to right", "right to wrong", "wrong both times", "right both times", "not judged"
]


@dataclass(frozen=True)
class Stretch:
    """A piece of a wording that both have, or only the first (removed) or second (added)."""

    kind: ChangeKind
    text: str


@dataclass(frozen=True)
class AnswerChange:
    """A text whose answer is another one with the other wording.

    Attributes:
        row: Of the grid, from 0.
        before: With the first wording; None is no answer.
        after: With the second.
        turn: From right to wrong, or back; "not judged" where no right answer is known.
    """

    row: int
    before: str | None
    after: str | None
    turn: Turn


def wording_as_text(template: PromptTemplate) -> str:
    """Return all of a wording that reaches a prompt, as YAML with its line breaks as they are."""
    left_out = {"name", "version", "description"}
    content = template.model_dump(mode="json", exclude=left_out, exclude_defaults=True)
    return yaml_text(_with_blocks(content), sort_keys=False, width=100)


def _with_blocks(content: object) -> object:
    """Return content with texts of several lines as literal blocks."""
    if isinstance(content, dict):
        return {key: _with_blocks(value) for key, value in content.items()}
    return Block(content) if isinstance(content, str) and "\n" in content else content


def word_changes(before: str, after: str) -> list[Stretch]:
    """Return how one text becomes another, word by word.

    The stretches that are not added make the first text, those that are not removed the second.
    Beyond some thousand words the texts are compared line by line. The work is bounded: what is
    left of texts that repeat the same pieces over and over is one removed and one added stretch.
    """
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    if max(len(old), len(new)) > _MOST_WORDS:
        old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    head = _num_shared(old, new)
    tail = _num_shared(old[head:][::-1], new[head:][::-1])
    middles = old[head : len(old) - tail], new[head : len(new) - tail]
    found = [
        Stretch("same", "".join(old[:head])),
        *_middle_changes(*middles),
        Stretch("same", "".join(old[len(old) - tail :])),
    ]
    return _joined(found)


def _num_shared(old: Sequence[str], new: Sequence[str]) -> int:
    """Return how many pieces two texts have in common at their beginning."""
    pairs = zip(old, new, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(old), len(new)))


def _middle_changes(old: Sequence[str], new: Sequence[str]) -> list[Stretch]:
    """Return how pieces become others."""
    found: list[Stretch] = []
    for kind, old_from, old_to, new_from, new_to in _Bounded(old, new).get_opcodes():
        removed, added = "".join(old[old_from:old_to]), "".join(new[new_from:new_to])
        if kind == "equal":
            found.append(Stretch("same", removed))
        else:
            found += [Stretch("removed", removed), Stretch("added", added)]
    return found


class _Bounded(SequenceMatcher[str]):
    """Finds the longest stretches that two texts share until it has looked at too many pairs.

    Each search looks at every pair of equal pieces, and there may be one search for each piece:
    time would grow with the cube of how often a piece is repeated.
    """

    def __init__(self, old: Sequence[str], new: Sequence[str]) -> None:
        super().__init__(a=old, b=new, autojunk=False)
        counts = Counter(new)
        pairs = (counts[piece] for piece in old)
        self._pairs = list(accumulate(pairs, initial=0))  # of all pieces before each
        self._left = _MOST_PAIRS

    def find_longest_match(
        self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None
    ) -> Match:
        """Return the longest shared stretch within two ranges; an empty one once time is up."""
        end = len(self._pairs) - 1 if ahi is None else ahi
        self._left -= self._pairs[end] - self._pairs[alo]
        if self._left < 0:
            return Match(alo, blo, 0)
        return super().find_longest_match(alo, ahi, blo, bhi)


def _joined(stretches: Sequence[Stretch]) -> list[Stretch]:
    """Return stretches without empty ones, those of a kind that follow each other as one."""
    found: list[Stretch] = []
    for one in stretches:
        if one.text and found and found[-1].kind == one.kind:
            found[-1] = Stretch(one.kind, found[-1].text + one.text)
        elif one.text:
            found.append(one)
    return found


def answer_changes(grid: Grid, before: int, after: int) -> list[AnswerChange]:
    """Return the texts that two columns of a grid answer differently, as far as both are filled.

    Short answers that would be one in a vote are one.
    """
    found = []
    for row in range(len(grid.samples)):
        first, second = grid.cells.get((row, before)), grid.cells.get((row, after))
        if first is None or second is None:
            continue
        if _is_same(grid, (first.answer, second.answer)):
            continue
        turn = _turn(first.is_right, second.is_right)
        found.append(AnswerChange(row, first.answer, second.answer, turn))
    return found


def columns_to_compare(grid: Grid) -> list[tuple[int, int]]:
    """Return pairs of columns: of each base and way, the first wording with every later one."""
    pairs = []
    for later, column in enumerate(grid.columns):
        same = [
            place
            for place, other in enumerate(grid.columns)
            if (other.base, other.way) == (column.base, column.way)
        ]
        if same[0] < later:
            pairs.append((same[0], later))
    return pairs


def _is_same(grid: Grid, answers: Sequence[str | None]) -> bool:
    forms = as_one(answers) if grid.task.kind == "short_answer" else answers
    return forms[0] == forms[1]


def _turn(before: bool | None, after: bool | None) -> Turn:
    if before is None or after is None:
        return "not judged"
    if before == after:
        return "right both times" if after else "wrong both times"
    return "wrong to right" if after else "right to wrong"
