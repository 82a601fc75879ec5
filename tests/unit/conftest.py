"""Readers of what a drawing shows."""

import html
import re
from collections.abc import Callable

import pytest

from workbench.presentation.drawing import Drawing


@pytest.fixture
def texts_of() -> Callable[[Drawing], list[str]]:
    """Return the reader of what is written in a drawing, its tooltips apart."""
    return lambda drawing: re.findall(r"<text[^>]*>([^<]*)</text>", drawing.svg)


@pytest.fixture
def titles_of() -> Callable[[Drawing], list[str]]:
    """Return the reader of a drawing's tooltips; each is the first child of a group."""

    def find(drawing: Drawing) -> list[str]:
        found = re.findall(r'<g id="[^"]*"><title>([^<]*)</title>', drawing.svg)
        assert len(found) == drawing.svg.count("<title>")
        return [html.unescape(text) for text in found]

    return find
