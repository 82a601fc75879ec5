"""The forms short answers come in: how numbers are written, and when two answers are one.

A comma before anything but three digits is a decimal comma ("2,4", "0,234"), before three digits it
parts thousands ("1,234" is 1234); a point is a decimal point ("1.234") unless it parts thousands
beside a comma or twice ("1.234,5", "1.234.567"). "1,2,3" is a list. Exponents are read ("1.2E+06"),
the minus sign U+2212 is a minus, and digits of any script are digits.
"""

import re
import unicodedata
from collections.abc import Sequence

from workbench.scripts import UNSPACED, composed

_THOUSANDS_BY_COMMA = r"[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?"
_THOUSANDS_BY_POINT = (
    r"[1-9][0-9]{0,2}(?:\.[0-9]{3})+,[0-9]+|[1-9][0-9]{0,2}(?:\.[0-9]{3}){2,}(?!\.?[0-9])"
)
_LETTER = rf"[^\W{UNSPACED}]"  # one that would go on without a space
_DECIMAL_COMMA = r"(?<![0-9],)[0-9]+,[0-9]+(?![0-9]|,[0-9])"
_PLAIN = rf"[0-9]+(?:\.[0-9]+)?|(?<!{_LETTER})\.[0-9]+"
_MAGNITUDE = f"(?:{_THOUSANDS_BY_COMMA}|{_THOUSANDS_BY_POINT}|{_DECIMAL_COMMA}|{_PLAIN})"
_EXPONENT = rf"[eE][-+\u2212]?[0-9]{{1,3}}(?!{_LETTER})"  # none counts further
_CURRENCY = "[$€£¥]"
# A sign; after a digit or a bracket it is a subtraction.
_SIGNED = rf"(?:(?<!{_LETTER})(?<!\))[-\u2212])?{_CURRENCY}?{_MAGNITUDE}(?:{_EXPONENT})?"
_NUMBER = re.compile(_SIGNED)
_ALONE = re.compile(
    rf"[-+\u2212]?{_CURRENCY}?[-+\u2212]?(?:{_MAGNITUDE}|[0-9]+\.)(?:{_EXPONENT})? ?{_CURRENCY}?"
)
_TERM = rf"[\s(]*{_SIGNED}[\s)%]*(?:[^\W\d_]++[\s)]*){{0,2}}"  # a number and what is counted
_SIGNS = r"[-+*/\u00d7\u00f7x\u00b7\u2212]"
# Bounded, so that a long text is read in a time that grows with its length alone.
_SUM = re.compile(rf"{_TERM}(?:{_SIGNS}{_TERM}){{1,20}}=(?:{_TERM}=){{0,3}}[\s*]*(?={_SIGNED})")

_PAIRS = {'"': '"', "'": "'", "*": "*", "_": "_", "`": "`"} | dict(
    zip("\u201c\u2018\u201e«「『《", "\u201d\u2019\u201c»」』》", strict=True)
)
# Arabic decimal and thousands marks; full-width point, signs.
_MARKS = str.maketrans("\u066b\u066c\uff0e\uff0d\uff0b", ".,.-+")
_END_MARKS = re.compile(r"(?<=[^\W\d])[!?\u2026。\uff01\uff1f]+$")
_CLAUSE_END = re.compile(
    r"[,;:.!?](?=\s|$)|[()\u2013\u2014\u2026\u3002\u3001\uff0c\uff1b\uff1a\uff01\uff1f]|\s-+\s"
)
_LOOSE_START = re.compile(r"(?:[ :\"']|\.(?![0-9]))+")


def numbers_in(text: str) -> list[tuple[int, str]]:
    """Return (place, number) of each number in a text, in plain digits; a sum is its result.

    "4 + 8 = 12" is one number, 12, at the place of the 4.
    """
    found = []
    text, place = _in_ascii_digits(text), 0
    while match := _NUMBER.search(text, place):
        begin = match.start()
        if calculation := _SUM.match(text, begin):
            match = _NUMBER.match(text, calculation.end()) or match
        found.append((begin, _plain_number(match.group())))
        place = match.end()
    return found


def as_number(text: str) -> str | None:
    """Return a text that is one number in plain digits: "$1,234.50" is "1234.5"; else None."""
    text = _in_ascii_digits(text)
    return _plain_number(text) if _ALONE.fullmatch(text) else None


def normalise_answer(text: str) -> str:
    """Return the text in the form in which two equal answers are equal strings.

    Lower case, single spaces, without quotes or emphasis around it and without full stop, question
    or exclamation mark at the end. A number is written in plain digits: "$1,234.50." -> "1234.5",
    "18.0" -> "18", "2,4" -> "2.4", "1.2E+06" -> "1200000". "50%" and "3 apples" are no numbers and
    stay text.

    Source: Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250, section 6.1.
    Differs from the source: articles and inner punctuation stay; numbers are compared by value.
    """
    # Bared first, so that what is read of a text has the normal form of the whole.
    plain = bare(composed(" ".join(bare(text).lower().split())))
    number = as_number(plain)
    return plain if number is None else number


def bare(text: str) -> str:
    """Return a text without what only surrounds it: quotes, emphasis, marks at its end."""
    while True:
        plain = _END_MARKS.sub("", text.strip().rstrip(". "))
        if len(plain) > 2 and _PAIRS.get(plain[0]) == plain[-1]:
            inner = plain.strip(plain[0] + plain[-1])
            plain = plain if plain[0] in inner or plain[-1] in inner else inner
        if plain == text:
            return text
        text = plain


def is_match(answer: str | None, right: tuple[str, ...]) -> bool:
    """Return whether an answer is one of the right ones, as a whole or by its first clause.

    "Yes, it is" is right where "yes" is, and so is "yes, but no"; "Washington" is wrong where
    "Washington, D.C." is right. Quotes and colons that have no partner count for nothing where the
    right answer has none. Both sides are compared in their normal form.
    """
    return answer is not None and not set(_readings(answer)).isdisjoint(
        map(normalise_answer, right)
    )


def as_one(answers: Sequence[str | None]) -> list[str | None]:
    """Return each answer in a form in which the answers that count as one are equal strings.

    An answer counts as its first clause where another one is that clause and nothing more, so that
    each of them is right where the other is: "yes, it is" beside "Yes", but not "a, b" beside
    "a, c".
    """
    whole = {normalise_answer(answer) for answer in answers if answer is not None}
    return [
        None if answer is None else next(form for form in _readings(answer)[::-1] if form in whole)
        for answer in answers
    ]


def _readings(answer: str) -> list[str]:
    """Return the normal forms of an answer: whole, without loose marks, and of its first clause."""
    whole = normalise_answer(answer)
    if as_number(whole) is not None:
        return [whole]
    inner = _without_loose_marks(answer)
    clause = _without_loose_marks(_CLAUSE_END.split(inner, maxsplit=1)[0])
    return [whole, *filter(None, map(normalise_answer, (inner, clause)))]


def _without_loose_marks(text: str) -> str:
    start = _LOOSE_START.match(text)
    return text[start.end() if start else 0 :].rstrip(" :\"'.")


def _in_ascii_digits(text: str) -> str:
    """Return a text of the same length with the digits and decimal marks of ASCII."""
    if text.isascii():
        return text
    return "".join(
        str(unicodedata.digit(character)) if character.isdecimal() else character
        for character in text.translate(_MARKS)
    )


def _plain_number(text: str) -> str:
    """Return what a number is worth, in digits without needless zeros."""
    unsigned = re.sub(rf"[-+\u2212 ]|{_CURRENCY}", "", re.split("[eE]", text)[0])
    exponent = re.search(r"[eE](.+?)[ $€£¥]*$", text)
    if re.fullmatch(_THOUSANDS_BY_COMMA, unsigned):
        unsigned = unsigned.replace(",", "")
    elif re.fullmatch(_THOUSANDS_BY_POINT, unsigned):
        unsigned = unsigned.replace(".", "")
    whole, _, fraction = unsigned.replace(",", ".").partition(".")
    shift = int(exponent[1].replace("\u2212", "-")) if exponent else 0
    digits = "0" * max(0, -shift - len(whole)) + whole + fraction
    point = max(len(whole) + shift, 0)
    whole, fraction = digits[:point].ljust(point, "0"), digits[point:]
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    magnitude = f"{whole}.{fraction}" if fraction else whole
    is_negative = re.match(rf"{_CURRENCY}?[-\u2212]", text) and magnitude != "0"
    return f"-{magnitude}" if is_negative else magnitude
