"""Lists of what changes while the page is open: wordings of a task, runs, jobs.

Gradio refuses a value that is not among the newest choices, and says so in a red box with all of
them. But a page that has just chosen another task still holds the wording of the one before, and
two tabs of a browser hold different lists. Every handler checks what it is given and says in its
place what is wrong, so these lists hand on any value.
"""

from abc import ABCMeta
from typing import TypeVar

import gradio as gr

_Kind = TypeVar("_Kind")


def _handing_on(kind: type[_Kind]) -> type[_Kind]:
    """Return a kind of list that hands on any value."""

    def preprocess(_: object, payload: object) -> object:
        return payload

    content = {"preprocess": preprocess, "is_template": True, "__module__": __name__}
    # Not by a class statement: Gradio then writes a stub file beside this one.
    return ABCMeta.__new__(type(kind), kind.__name__, (kind,), content)


ChoiceList = _handing_on(gr.Dropdown)
"""A `gr.Dropdown` whose choices change."""
ChoiceButtons = _handing_on(gr.Radio)
"""A `gr.Radio` whose choices change."""
