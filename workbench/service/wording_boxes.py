"""A wording as plain boxes: what is edited most, put back into its YAML with the rest untouched."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from workbench.errors import ConfigError
from workbench.service.wordings import block_text, parse_wording
from workbench.tasks.base import Task
from workbench.templates import PromptTemplate

BOXES = (
    "instruction",
    "input",
    "separator",
    "label_words",
    "answer_tokens",
    "reasoning_input",
    "reasoning_trigger",
    "reasoning_phrase",
)
"""Names of the boxes in their order; version, description and worked examples are in YAML alone."""

_SIGNS = {"\\": "\\\\", "\n": "\\n", "\t": "\\t"}  # in boxes of one line
_REASONING = {
    "reasoning_input": "input",
    "reasoning_trigger": "trigger",
    "reasoning_phrase": "answer_phrase",
}


def boxes_of(text: object, task: Task) -> dict[str, str]:
    """Return what the boxes show of a wording in YAML, by name of the box.

    Raises:
        WorkbenchError: see `parse_wording`.
    """
    return _shown(parse_wording(text, task), task.labels)


def with_boxes(text: object, boxes: Mapping[str, object], task: Task) -> str:
    """Return a wording in YAML with what the boxes say in it; as it is where they say the same.

    What they say is not checked against the task: whoever parses the result does that.

    Args:
        text: The wording that the boxes were filled with, in YAML.
        boxes: What they hold now, by name; one that is left out is unchanged.
        task: Its labels are those of the box of label words.

    Raises:
        ConfigError: a box holds no text, or label words are not one `label: word` a line.
        WorkbenchError: the YAML cannot be read, see `parse_wording`.
    """
    template = parse_wording(text, task)
    shown = _shown(template, task.labels)
    given = shown | {name: _checked(name, boxes[name]) for name in BOXES if name in boxes}
    changed = {name: given[name] for name in BOXES if given[name] != shown[name]}
    if not changed:
        return str(text)
    content = template.model_dump(mode="json", exclude={"name"}, exclude_unset=True)
    return block_text(_changed(content, changed, given, task.labels))


def _shown(template: PromptTemplate, labels: Sequence[str]) -> dict[str, str]:
    reasoning = template.chain_of_thought
    words = [f"{_escaped(label)}: {_escaped(template.word(label))}" for label in labels]
    parts = {name: getattr(reasoning, key, "") for name, key in _REASONING.items()}
    return {
        "instruction": template.instruction,
        "input": template.input,
        "separator": _escaped(template.separator),
        "label_words": "\n".join(words),
        "answer_tokens": "" if template.answer_tokens is None else str(template.answer_tokens),
        **parts,
    }


def _checked(name: str, value: object) -> str:
    """Return a box's text with the line breaks of YAML.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(value, str):
        raise ConfigError(
            f"wording, {name}: is of type {type(value).__name__}; text is needed. Write it in the "
            "box."
        )
    return value.replace("\r\n", "\n")


def _changed(
    content: dict[str, Any],
    changed: Mapping[str, str],
    given: Mapping[str, str],
    labels: Sequence[str],
) -> dict[str, Any]:
    """Return a wording's mapping with the changed boxes in it."""
    content = dict(content)
    for name in ("instruction", "input"):
        if name in changed:
            content[name] = changed[name]
    if "separator" in changed:
        content["separator"] = _unescaped(changed["separator"])
    if "label_words" in changed:
        content["label_words"] = _label_words(changed["label_words"], labels)
    if "answer_tokens" in changed:
        number = changed["answer_tokens"].strip()
        content["answer_tokens"] = int(number) if re.fullmatch("[0-9]{1,9}", number) else number
        if not number:
            del content["answer_tokens"]
    if changed.keys() & _REASONING.keys():
        content["chain_of_thought"] = _reasoning(content.get("chain_of_thought"), given)
    return content


def _reasoning(section: object, given: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the section of reasoning; None once all its boxes are empty.

    Where there was none, an empty box leaves its default.
    """
    parts = {key: given[name] for name, key in _REASONING.items()}
    if not any(parts.values()):
        return None
    if isinstance(section, dict):
        return {**section, **parts}
    return {"input": parts["input"]} | {key: text for key, text in parts.items() if text}


def _label_words(text: str, labels: Sequence[str]) -> dict[str, str]:
    """Return the words of a box with one `label: word` a line; a label's own name is left out.

    Raises:
        ConfigError: a line without a colon, or two for a label.
    """
    known = sorted({_escaped(label): label for label in labels}.items(), key=_longest_first)
    words: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"wording, label words, line {number}"
        found = next((one for one in known if line.startswith(f"{one[0]}:")), None)
        shown, colon, word = line.partition(":")
        if found is not None:
            shown, word = found[0], line[len(found[0]) + 1 :]
        elif not colon:
            raise ConfigError(f"{where}: {line[:40]!r} has no colon. Write 'label: word'.")
        label = _unescaped(shown if found is not None else shown.strip())
        if label in words:
            raise ConfigError(f"{where}: a second word for '{label[:40]}'. Write one line for it.")
        words[label] = _unescaped(word.strip())
    return {label: word for label, word in words.items() if label not in labels or word != label}


def _longest_first(pair: tuple[str, str]) -> int:
    return -len(pair[0])


def _escaped(text: str) -> str:
    """Return a text in one line: a line break as a backslash and n."""
    return "".join(_SIGNS.get(character, character) for character in text)


def _unescaped(text: str) -> str:
    signs = {sign: character for character, sign in _SIGNS.items()}
    return re.sub(r"\\[\\nt]", lambda match: signs[match[0]], text)
