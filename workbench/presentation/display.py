"""Figures and foreign text as people read them: percentages, bytes, one safe line."""

import unicodedata

from workbench.estimates import Estimate

NOTHING = "\N{EN DASH}"  # shown for None; never 0
_BIDI_CONTROLS = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def percent(value: float | None) -> str:
    """Return "73.5 %"."""
    return NOTHING if value is None else f"{100 * value:.1f} %"


def interval_text(low: float | None, high: float | None, *, sign: bool = False) -> str:
    """Return "[67.0, 79.1]" in percent; with `sign`, "[+1.0, +8.5]"."""
    if low is None or high is None:
        return NOTHING
    return f"[{_hundredths(low, sign=sign)}, {_hundredths(high, sign=sign)}]"


def estimate_text(estimate: Estimate | None) -> str:
    """Return "73.5 % [67.0, 79.1]"."""
    if estimate is None or estimate.value is None:
        return NOTHING
    if estimate.low is None:
        return percent(estimate.value)
    return f"{percent(estimate.value)} {interval_text(estimate.low, estimate.high)}"


def points(value: float | None) -> str:
    """Return a difference of fractions in percentage points: "+4.5"."""
    return NOTHING if value is None else _hundredths(value, sign=True)


def p_value_text(value: float | None) -> str:
    """Return "0.012", or "<0.001"."""
    if value is None:
        return NOTHING
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def number(value: float | None, *, decimals: int = 0) -> str:
    """Return "1,234,567" or, with one decimal, "12.3"."""
    return NOTHING if value is None else f"{value:,.{decimals}f}"


def duration(seconds: float | None) -> str:
    """Return "850 ms", "12 s", "3 min 20 s" or "2 h 5 min"."""
    if seconds is None:
        return NOTHING
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def byte_size(value: float | None) -> str:
    """Return "1.8 MB": decimal units, as drives and hubs count."""
    if value is None:
        return NOTHING
    if value < 1000:
        return f"{value:.0f} B"
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95 or unit == "GB":
            break
    return f"{value:.1f} {unit}"


def one_line(text: str) -> str:
    """Return foreign text as one line that cannot reorder or control what stands around it.

    White space becomes single spaces; control characters, direction overrides and lone surrogates
    are shown as their code point ("U+202E").
    """
    parts = [_visible(character) for character in " ".join(text.split())]
    return "".join(parts)


def shortened(text: str, length: int) -> str:
    """Return foreign text as one safe line of at most `length` characters.

    Looks at no more of it than that takes: a text may be millions of characters long.
    """
    line = one_line(" ".join(text.split(maxsplit=length))[: length + 1])
    return line if len(line) <= length else f"{line[: length - 1]}\N{HORIZONTAL ELLIPSIS}"


def _visible(character: str) -> str:
    if character in _BIDI_CONTROLS or unicodedata.category(character) in ("Cc", "Cs"):
        return f"U+{ord(character):04X}"
    return character


def _hundredths(value: float, *, sign: bool) -> str:
    text = f"{100 * value:+.1f}" if sign else f"{100 * value:.1f}"
    return "0.0" if text in ("-0.0", "+0.0") else text
