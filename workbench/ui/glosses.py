"""What fields and ways to answer are for, in a sentence each, on hover and for screen readers.

The browser puts the sentences where they belong: Gradio shows a field's help but does not tell a
screen reader that it is the field's, and has no place for a sentence about an entry of a list.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import NamedTuple

import gradio as gr

from workbench.methods.catalog import METHODS, method_class
from workbench.presentation.glossary import Term, sections
from workbench.service.ways import words
from workbench.ui.wiring import AT_ONCE


class FieldGloss(NamedTuple):
    """A field of the setting: its name on the page, and what it is for."""

    name: str
    gloss: str


FIELDS: Mapping[str, FieldGloss] = {
    "wb-task": FieldGloss(
        "Task",
        "The texts that are asked about, each with its right answer: some that come along, or "
        "rows of your own.",
    ),
    "wb-wording": FieldGloss(
        "Wording",
        "The words around each text: the instruction, how the text is put, and a word for each "
        "answer.",
    ),
    "wb-model": FieldGloss(
        "Base model",
        "The language model that reads and answers; it stays as it is, whatever is learned.",
    ),
    "wb-precision": FieldGloss(
        "Precision",
        "How finely the model's numbers are kept: fewer bits (nf4 has 4) need less memory and "
        "are a little less exact.",
    ),
    "wb-chat": FieldGloss(
        "Chat template",
        "Puts the prompt into the form of a conversation, for models that were taught to chat.",
    ),
}
"""The setting by the ids of its fields."""


@dataclass(frozen=True)
class Start:
    """What stands under New here.

    Attributes:
        fields: The setting.
        ways: Every method and way to answer by name, and what it does.
        glossary: Terms by section.
    """

    fields: list[FieldGloss]
    ways: Mapping[str, str]
    glossary: Mapping[str, list[Term]]


def start() -> Start:
    """Return what somebody who is new may want to know."""
    glossary = {title: list(terms) for title, terms in sections().items()}
    return Start(list(FIELDS.values()), way_glosses(), glossary)


def way_glosses() -> dict[str, str]:
    """Return what every method and every way without training does, by name."""
    found = {name: method_class(name).gloss for name in METHODS}
    return found | {name: one.offer.gloss or found[one.method] for name, one in words().items()}


def build(app: gr.Blocks) -> None:
    """Let the browser put the sentences on the page, whenever a part of it is drawn anew."""
    content = {
        "fields": {key: field.gloss for key, field in FIELDS.items()},
        "ways": way_glosses(),
    }
    script = files("workbench.ui").joinpath("glosses.js").read_text(encoding="utf-8")
    app.load(None, None, None, js=script.replace("GLOSSES", json.dumps(content)), **AT_ONCE)
