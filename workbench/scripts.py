"""Words of any script, with spaces between them or without, and Unicode's form of a text."""

import re
import unicodedata
from itertools import groupby

# Ideographs, kana, Thai, Lao, Myanmar and Khmer, as a range for a class of a regular expression.
UNSPACED = (
    "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff"
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff"
)

_SHORT = 256  # characters; so few are put in order at once
_UNSPACED_CHARACTER = re.compile(f"[{UNSPACED}]")


def composed(text: str) -> str:
    """Return Unicode's composed form (NFC) in a time that grows with the length alone.

    Python puts combining marks in order by exchanging neighbours, which takes hours for a million
    of them. Here long texts are decomposed a character at a time and each run of marks is sorted,
    as Unicode's canonical ordering says (The Unicode Standard, section 3.11, definition D109).
    """
    if len(text) > _SHORT and not unicodedata.is_normalized("NFC", text):
        parts = "".join(unicodedata.normalize("NFD", character) for character in text)
        runs = groupby(parts, key=lambda character: unicodedata.combining(character) > 0)
        text = "".join("".join(sorted(run, key=unicodedata.combining)) for _, run in runs)
    return unicodedata.normalize("NFC", text)


def is_unspaced(character: str) -> bool:
    """Return whether a character belongs to a script without spaces between words."""
    return _UNSPACED_CHARACTER.match(character) is not None


def words_of(text: str) -> list[str]:
    """Return the words of a text in any script, in lower case.

    A word is a run of letters, digits and the marks that belong to them, after composition (NFC);
    of scripts without spaces each letter is a word of its own. Of ASCII text these are the runs of
    a-z and 0-9. A text that has no word but is not ASCII (a row of emoji) is taken character by
    character.
    """
    words: list[str] = []
    is_open = False  # whether the next letter goes on with the last word
    for character in composed(text.lower()):
        kind = unicodedata.category(character)
        if kind.startswith("M") and words and (is_open or is_unspaced(words[-1][0])):
            words[-1] += character
        elif kind.startswith("L") or kind == "Nd" or kind.startswith("M"):
            alone = is_unspaced(character)
            if is_open and not alone:
                words[-1] += character
            else:
                words.append(character)
            is_open = not alone
        else:
            is_open = False
    if not words and not text.isascii():
        return [character for character in text if not character.isspace()]
    return words


def spaced(text: str) -> str:
    """Return the text with spaces around the letters of scripts that have none between words."""
    return _UNSPACED_CHARACTER.sub(r" \g<0> ", text)
