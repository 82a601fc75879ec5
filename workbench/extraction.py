"""Reading an answer from generated text, by a strict and by a lenient rule.

Strict: the answer stands directly after the answer phrase. Lenient: after the phrase if it is
there, otherwise the last thing in the text that can be an answer (lm-evaluation-harness reports the
same pair for GSM8K as strict-match and flexible-extract).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from workbench.answer_forms import bare, numbers_in
from workbench.scripts import UNSPACED, is_unspaced

_FILLER = re.compile(r"[\s:\uff1a=\"'$€£*(]*")  # what may stand between the phrase and the answer


@dataclass(frozen=True)
class ExtractedAnswer:
    """What the two rules found; None where nothing was found."""

    strict: str | None
    lenient: str | None


def extract_answer(
    text: str, phrase: str, label_words: Mapping[str, str], *, numeric: bool = True
) -> ExtractedAnswer:
    """Return the answer in `text` by both rules.

    Args:
        text: Generated text.
        phrase: Announces the answer ("The answer is"); empty: the text's start counts.
        label_words: Label name to word; empty when the answer is a number or free text.
        numeric: Whether an answer without labels is a number; otherwise it is the rest of a line.
    """
    if not label_words and not numeric:
        return _line_after(text, phrase)
    after = _after(text, phrase)
    strict = None
    if after is not None:
        filler = _FILLER.match(after)
        begin = filler.end() if filler else 0
        found = _candidates(after[begin:], label_words)
        strict = found[0][1] if found and found[0][0] == 0 else None
    if strict is not None:
        return ExtractedAnswer(strict, strict)
    following = _candidates(after, label_words) if after is not None else []
    if following and phrase:
        return ExtractedAnswer(None, following[0][1])
    anywhere = _candidates(text, label_words)
    return ExtractedAnswer(None, anywhere[-1][1] if anywhere else None)


def _after(text: str, phrase: str) -> str | None:
    """Return what follows the phrase's first occurrence in any case; None without one."""
    found = re.search(re.escape(phrase), text, re.IGNORECASE)
    return text[found.end() :] if found else None


def _line_after(text: str, phrase: str) -> ExtractedAnswer:
    """Return the line after the phrase; without the phrase the text's last line is lenient.

    Of its marks only those go that `normalise_answer` takes from a right answer as well.
    """
    after = _after(text, phrase)
    if after is not None:
        if phrase:
            after = re.sub("^[:\uff1a]", "", after)
        line = bare(after.strip().split("\n")[0])
        return ExtractedAnswer(line or None, line or None)
    return ExtractedAnswer(None, bare(text.strip().split("\n")[-1]) or None)


def _candidates(text: str, label_words: Mapping[str, str]) -> list[tuple[int, str]]:
    """Return (place, answer) of everything in the text that can be an answer, in order.

    A word within a longer one ("entailment" in "not entailment") is no answer of its own.
    """
    if not label_words:
        return numbers_in(text)
    found = []
    for label, word in label_words.items():
        pattern = _word_pattern(word.strip())
        found += [(*m.span(), label) for m in re.finditer(pattern, text, re.IGNORECASE)]
    outer: list[tuple[int, str]] = []
    covered = 0
    for begin, end, label in sorted(found, key=lambda span: (span[0], -span[1])):
        if end > covered:
            outer.append((begin, label))
            covered = end
    return outer


def _word_pattern(word: str) -> str:
    """Return the expression that finds a label's word, in any spacing, as a word of its own.

    Where words are written without spaces between them, what stands beside it says nothing.
    """
    inner = r"\s+".join(map(re.escape, word.split()))
    before = "" if is_unspaced(word[0]) else rf"(?<![^\W{UNSPACED}])"
    after = "" if is_unspaced(word[-1]) else rf"(?![^\W{UNSPACED}])"
    return before + inner + after
