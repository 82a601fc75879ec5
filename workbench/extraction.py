"""Reading an answer from generated text, by a strict and by a lenient rule.

Strict: the answer stands directly after the answer phrase. Lenient: after the phrase if it is
there, otherwise the last thing in the text that can be an answer (lm-evaluation-harness reports the
same pair for GSM8K as strict-match and flexible-extract).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_NUMBER = re.compile(
    r"(?:(?<![\w)])-)?"  # a sign; after a digit or a bracket it is a subtraction
    r"\$?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<!\w)\.[0-9]+)"
)
_FILLER = re.compile(r"[\s:=\"'$€£*(]*")  # what may stand between the phrase and the answer


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
    """Return the line after the phrase; without the phrase the text's last line is lenient."""
    after = _after(text, phrase)
    if after is not None:
        line = after.strip().split("\n")[0].strip(" :\"'.")
        return ExtractedAnswer(line or None, line or None)
    lines = text.strip().split("\n")
    return ExtractedAnswer(None, lines[-1].strip(" :\"'.") or None)


def _candidates(text: str, label_words: Mapping[str, str]) -> list[tuple[int, str]]:
    """Return (place, answer) of everything in the text that can be an answer, in order.

    A word within a longer one ("entailment" in "not entailment") is no answer of its own.
    """
    if not label_words:
        return [(m.start(), _plain_number(m.group())) for m in _NUMBER.finditer(text)]
    found = []
    for label, word in label_words.items():
        pattern = rf"(?<!\w){re.escape(word.strip())}(?!\w)"
        found += [(*m.span(), label) for m in re.finditer(pattern, text, re.IGNORECASE)]
    outer: list[tuple[int, str]] = []
    covered = 0
    for begin, end, label in sorted(found, key=lambda span: (span[0], -span[1])):
        if end > covered:
            outer.append((begin, label))
            covered = end
    return outer


def _plain_number(text: str) -> str:
    number = text.replace(",", "").replace("$", "")
    number = re.sub(r"^(-?)\.", r"\g<1>0.", number)
    return number.rstrip("0").rstrip(".") if "." in number else number
