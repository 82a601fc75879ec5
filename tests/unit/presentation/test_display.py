"""Figures and foreign text as shown."""

import pytest

from workbench.estimates import Estimate
from workbench.presentation import display


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (display.percent(0.735), "73.5 %"),
        (display.percent(0.0), "0.0 %"),
        (display.percent(None), "–"),
        (display.interval_text(0.67, 0.791), "[67.0, 79.1]"),
        (display.interval_text(-0.00001, 0.08, sign=True), "[0.0, +8.0]"),
        (display.interval_text(None, None), "–"),
        (display.points(0.045), "+4.5"),
        (display.points(-0.045), "-4.5"),
        (display.points(0.0), "0.0"),
        (display.p_value_text(0.0004), "<0.001"),
        (display.p_value_text(0.0123), "0.012"),
        (display.p_value_text(None), "–"),
        (display.number(460800), "460,800"),
        (display.number(0), "0"),
        (display.number(None), "–"),
        (display.number(12.25, decimals=1), "12.2"),
        (display.byte_size(999), "999 B"),
        (display.byte_size(1_843_200), "1.8 MB"),
        (display.byte_size(999_990), "1.0 MB"),
        (display.byte_size(2.5e12), "2500.0 GB"),
        (display.byte_size(None), "–"),
    ],
)
def test_figures(shown, expected):
    assert shown == expected


def test_estimates():
    assert display.estimate_text(Estimate(0.735, 0.67, 0.791, 200, 0)) == "73.5 % [67.0, 79.1]"
    assert display.estimate_text(Estimate(1.0, None, None, 1, 0)) == "100.0 %"
    assert display.estimate_text(Estimate(None, None, None, 0, 0)) == display.NOTHING
    assert display.estimate_text(None) == display.NOTHING


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (" a \n b\t\tc ", "a b c"),
        ("x\u202ey", "xU+202Ey"),
        ("red\x1b[31m", "redU+001B[31m"),
        ("\ud800", "U+D800"),
        (
            "\u0633\u0644\u0627\u0645 \U0001f468\u200d\U0001f469",
            "\u0633\u0644\u0627\u0645 \U0001f468\u200d\U0001f469",
        ),
    ],
)
def test_foreign_text_becomes_one_harmless_line(text, line):
    assert display.one_line(text) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("short enough", "short enough"),
        ("  short \n\t enough  ", "short enough"),
        ("one more char", "one more ch…"),
        (" \n" * 500 + "late", "late"),
        ("a " * 500, "a a a a a a…"),
        ("\u202e" * 3, "U+202EU+202…"),
        ("", ""),
    ],
)
def test_a_text_is_shortened_as_one_line(text, line):
    assert display.shortened(text, 12) == line


def test_of_a_long_text_no_more_is_looked_at_than_is_shown(monkeypatch):
    seen: list[str] = []
    monkeypatch.setattr(display, "one_line", lambda text: seen.append(text) or text)

    display.shortened("x" * 1_000_000, 12)
    display.shortened("x y " * 250_000, 12)

    assert [len(text) for text in seen] == [13, 13]
