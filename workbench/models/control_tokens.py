"""Texts that spell a control token (`<|im_end|>`) stay texts.

A tokenizer turns such strings into its control tokens wherever they stand, also where a person
wrote them. Here the strings of a text are marked before it is put between a chat template's own,
and the whole is still encoded as one text: a twin of the tokenizer reads the marked strings as
text, and the others, written in another way, as the control tokens that they are. Texts without
such strings never meet the twin.
"""

import re
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

from tokenizers import AddedToken
from transformers import PreTrainedTokenizerBase

from workbench.errors import PromptError

# For a string's first character stands one that is no text: U+FDD0 to U+FDEF are "noncharacters",
# for a program's own use (The Unicode Standard, section 23.7); then the end of the last plane.
_MARKS = [*map(chr, range(0xFDD0, 0xFDF0)), *map(chr, range(0x10FE00, 0x10FFFE))]

_known: WeakKeyDictionary[PreTrainedTokenizerBase, "ControlTokens"] = WeakKeyDictionary()


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> "ControlTokens":
    """Return the control tokens of a tokenizer; found once, for as long as it is unchanged."""
    added = {
        number: token
        for number, token in tokenizer.added_tokens_decoder.items()
        if _is_control(token, tokenizer)
    }
    known = _known.get(tokenizer)
    if known is None or known.added != added:
        known = _known[tokenizer] = ControlTokens(added)
    return known


def _is_control(token: AddedToken, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether a token is special, or a mark that the chat template writes.

    Runs of spaces and the like are added tokens too, and ordinary text.
    """
    text = token.content
    if not text.strip() or text[0].isalnum():
        return False
    template = tokenizer.chat_template
    return token.special or (isinstance(template, str) and text in template)


@dataclass(frozen=True)
class Encoded:
    """Tokens of a text.

    Attributes:
        ids: Their numbers.
        ends: Where each ends in the text; 0 for added special tokens at its start.
    """

    ids: tuple[int, ...]
    ends: tuple[int, ...]


class ControlTokens:
    """The strings that one tokenizer takes for control tokens, and how they stay text.

    A marked text is as long as the text: each string that would be a control token has a character
    of no text in place of its first.
    """

    def __init__(self, added: dict[int, AddedToken]) -> None:
        self.added = added
        firsts = dict.fromkeys(token.content[0] for token in added.values())
        self._marks = dict(zip(firsts, _MARKS, strict=False))
        self._texts = {mark: first for first, mark in self._marks.items()}
        # The longest first: as the tokenizer does where one begins another.
        strings = sorted((token.content for token in added.values()), key=len, reverse=True)
        self._any = "|".join(map(re.escape, strings)) or "(?!)"
        self._twin: PreTrainedTokenizerBase | None = None
        self._numbers: dict[int, int] = {}

    @cached_property
    def _strings(self) -> re.Pattern[str]:
        return re.compile(self._any)

    @cached_property
    def _starts(self) -> re.Pattern[str]:
        """Every place where a string begins, also inside another."""
        firsts = "".join(map(re.escape, self._marks)) or "\0"
        return re.compile(f"(?=[{firsts}])(?={self._any})(.)", re.DOTALL)

    @cached_property
    def _strings_and_marks(self) -> re.Pattern[str]:
        marks = "".join(map(re.escape, self._texts)) or "\0"
        return re.compile(f"{self._any}|[{marks}]")

    def as_text(self, text: str) -> str:
        """Return a text marked so that all of it is encoded as text.

        Raises:
            PromptError: the text has a character that is no text.
        """
        for mark in self._texts:
            if mark in text:
                raise PromptError(
                    f"a text has the character U+{ord(mark):04X}, which is no text. Delete it."
                )
        return self._starts.sub(lambda match: self._marks[match[1]], text)

    def shown(self, marked: str) -> str:
        """Return the text that was marked."""
        for mark, first in self._texts.items():
            marked = marked.replace(mark, first)
        return marked

    def count(self, marked: str) -> int:
        """Return how many control tokens a marked text writes."""
        return sum(1 for _ in self._strings.finditer(marked))

    def encode(
        self, tokenizer: PreTrainedTokenizerBase, marked: str, *, add_special_tokens: bool
    ) -> Encoded:
        """Return the tokens of a marked text.

        Raises:
            PromptError: the tokenizer has a marked string as an ordinary piece as well.
        """
        if not any(mark in marked for mark in self._texts):
            encoded = tokenizer(
                marked, add_special_tokens=add_special_tokens, return_offsets_mapping=True
            )
            return Encoded(tuple(encoded.input_ids), tuple(e for _, e in encoded.offset_mapping))
        encoded = self._twin_of(tokenizer)(
            self._strings_and_marks.sub(self._swapped, marked),
            add_special_tokens=add_special_tokens,
            split_special_tokens=True,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        written = {
            number
            for number, is_added in zip(encoded.input_ids, encoded.special_tokens_mask, strict=True)
            if not is_added
        }
        for number, token in self.added.items():
            if number in written and self._renamed(token.content) in marked:
                raise PromptError(
                    f"a text has {token.content!r}, a control token of the model's tokenizer, "
                    "which cannot write it as text. Change the text."
                )
        ids = tuple(self._numbers.get(number, number) for number in encoded.input_ids)
        return Encoded(ids, tuple(end for _, end in encoded.offset_mapping))

    def _swapped(self, match: re.Match[str]) -> str:
        """Return a marked string as it is, and a control token as the twin knows it."""
        found = match[0]
        return self._texts[found] if found in self._texts else self._renamed(found)

    def _renamed(self, string: str) -> str:
        return self._marks[string[0]] + string[1:]

    def _twin_of(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
        """Return a copy that reads no string as a control token, and their other names as such."""
        if self._twin is None:
            twin = deepcopy(tokenizer)
            plain = [token for token in self.added.values() if not token.special]
            twin.add_tokens([_like(t, t.content, special=True) for t in plain], special_tokens=True)
            renamed = {self._renamed(t.content): number for number, t in self.added.items()}
            twin.add_tokens(
                [_like(t, self._renamed(t.content), special=False) for t in self.added.values()]
            )
            self._numbers = {twin.convert_tokens_to_ids(n): own for n, own in renamed.items()}
            self._twin = twin
        return self._twin


def _like(token: AddedToken, content: str, *, special: bool) -> AddedToken:
    return AddedToken(
        content,
        single_word=token.single_word,
        lstrip=token.lstrip,
        rstrip=token.rstrip,
        normalized=False,
        special=special,
    )
