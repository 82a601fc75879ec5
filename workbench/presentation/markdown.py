"""Foreign text inside Markdown: escaped, so that it stays text in any renderer."""

import re

from workbench.presentation.display import one_line

# Only what Markdown reads as markup in one line, so that the source stays readable too: an
# underscore inside a word or a colon before a space means nothing, "://" or "www." makes a link,
# and ":name:" a picture.
_MARKUP = re.compile(
    r"[\\`*\[\]<>&#@$|~^]|(?<!\w)_|_(?!\w)|:(?=//|[a-z+-][\w+-]*:)|(?<=www)\.|^[-+=](?![0-9.])",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"^([0-9]+)([.)])(?=\s|$)")  # would start a list
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escape_markdown(text: str) -> str:
    """Return text as one line that Markdown shows as it is: no markup, HTML, link or table cell."""
    line = _MARKUP.sub(_escaped, one_line(text))
    return _NUMBERED.sub(r"\1\\\2", line)


def _escaped(match: re.Match[str]) -> str:
    return _ENTITIES.get(match[0], f"\\{match[0]}")
