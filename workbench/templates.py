"""Prompt templates: checked YAML in `prompts/<task>/`, rendered to plain text.

A template is data: `{field}` is replaced by the sample's field, `{{word}}` is the word in braces,
and nothing else is interpreted.
Rendering is pure and knows neither samples nor tokenizers.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from workbench.errors import PromptError
from workbench.yaml_files import read_yaml_model

_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_PLACEHOLDER = re.compile(rf"\{{\{{(?P<literal>{_NAME})\}}\}}|\{{(?P<name>{_NAME})\}}")
_LABELS = "labels"  # filled in by the template itself: the label words, joined by commas
_INSTRUCTION_MARK, _INPUT_MARK = "\ue000", "\ue001"  # private-use characters, never in a prompt

ChatRenderer = Callable[[list[dict[str, str]]], str]
"""Turns chat messages into the text a model expects, up to where its answer starts."""


@dataclass(frozen=True)
class Demonstration:
    """A solved example shown in the prompt; `answer` is a label name or a short answer."""

    fields: Mapping[str, str]
    answer: str
    rationale: str | None = None


@dataclass(frozen=True)
class RenderedPrompt:
    """A prompt in three parts, to be tokenised as one text.

    Attributes:
        head: What a chat template puts before the instruction; else empty.
        start: Instruction and demonstrations: the part all samples share.
        tail: The sample's own input, up to where the answer begins.
    """

    head: str
    start: str
    tail: str

    @property
    def text(self) -> str:
        """The whole prompt."""
        return self.head + self.start + self.tail


def _no_marks(text: str) -> str:
    if _INSTRUCTION_MARK in text or _INPUT_MARK in text:
        raise ValueError("characters U+E000 and U+E001 are reserved")
    if any("\ufdd0" <= character <= "\ufdef" for character in text):
        raise ValueError("characters U+FDD0 to U+FDEF are no text. Delete them")
    return text


Text = Annotated[str, AfterValidator(_no_marks)]


class _Checked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class WorkedDemonstration(_Checked):
    """A demonstration with its reasoning, written out in the template."""

    fields: dict[str, Text]
    rationale: Text
    answer: Text


class ChainOfThought(_Checked):
    """How to ask for reasoning before the answer."""

    input: Text
    trigger: Text = "Let's think step by step."
    answer_phrase: Text = "The answer is"
    demonstrations: list[WorkedDemonstration] = []


class PromptTemplate(_Checked):
    """One wording of a task.

    Attributes:
        version: Raised whenever a change makes results incomparable.
        instruction: What to do; may use `{labels}`. May be empty.
        input: The sample's part, ending where the answer begins.
        separator: Between instruction, demonstrations and input.
        label_words: Label name to the word the model is to write (verbalizer); a missing label
            is its own word.
        answer_tokens: Upper bound of a written answer's length; None takes the tasks' own: a few
            tokens for a short answer, what the training targets need for a generated text.
        chain_of_thought: How to ask for reasoning; None when the task has no use for it.
    """

    name: str = ""
    version: int = Field(ge=1)
    description: str = ""
    instruction: Text = ""
    input: Text = Field(min_length=1)
    separator: Text = "\n\n"
    label_words: dict[str, Text] = {}
    answer_tokens: int | None = Field(None, ge=1, le=4096)
    chain_of_thought: ChainOfThought | None = None

    @property
    def digest(self) -> str:
        """Content hash of everything that reaches a prompt."""
        left_out = {"name", "description"}
        if self.answer_tokens is None:  # as before there was such a key: stored runs are found
            left_out.add("answer_tokens")
        content = self.model_dump_json(exclude=left_out)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def word(self, label: str) -> str:
        """Return the word that stands for a label; a short answer stands for itself."""
        return self.label_words.get(label, label)

    def end_of_answer(self, *, reasoning: bool) -> str:
        """Return what a solved example writes directly after its answer."""
        return "." if reasoning else ""

    def check(
        self, field_names: Sequence[str], labels: Sequence[str], *, where: str
    ) -> "PromptTemplate":
        """Return self after checking it against a task.

        Raises:
            PromptError: every problem at once: unknown or unused fields, unknown labels, two
                labels with one word, demonstrations that do not fit.
        """
        problems = self._field_problems(field_names)
        problems += self._label_problems(labels)
        if self.chain_of_thought is not None:
            problems += self._demonstration_problems(field_names, labels)
        if problems:
            raise PromptError("\n".join(f"{where}: {problem}" for problem in problems))
        return self

    def render(
        self,
        fields: Mapping[str, str],
        *,
        labels: Sequence[str],
        demonstrations: Sequence[Demonstration] = (),
        reasoning: bool = False,
        chat: ChatRenderer | None = None,
    ) -> RenderedPrompt:
        """Return the prompt for a sample's fields.

        Args:
            fields: The sample's fields.
            labels: Label names in task order, for `{labels}`.
            demonstrations: Solved examples, in the order they are shown.
            reasoning: Ask for reasoning before the answer.
            chat: The model's chat template; None writes plain text.

        Raises:
            PromptError: a missing field, or a chat template that alters the messages.
        """
        words = ", ".join(self.word(label) for label in labels)
        instruction = _fill(self.instruction, {_LABELS: words})
        if instruction:
            instruction += self.separator
        turns = [
            (self._input(demo.fields, reasoning=reasoning), self._answer(demo, reasoning=reasoning))
            for demo in demonstrations
        ]
        tail = self._input(fields, reasoning=reasoning)
        cue = ""
        if reasoning and not demonstrations and self.chain_of_thought is not None:
            cue = self.chain_of_thought.trigger
        if chat is None:
            shown = "".join(
                continue_text(asked, answer) + self.separator for asked, answer in turns
            )
            return RenderedPrompt("", instruction + shown, continue_text(tail, cue))
        return _render_chat(chat, instruction, turns, tail, cue)

    def _input(self, fields: Mapping[str, str], *, reasoning: bool) -> str:
        text = self.input
        if reasoning:
            if self.chain_of_thought is None:
                raise PromptError(f"template '{self.name}': has no chain_of_thought section")
            text = self.chain_of_thought.input
        return _fill(text, fields)

    def _answer(self, demonstration: Demonstration, *, reasoning: bool) -> str:
        answer = self.word(demonstration.answer)
        if not reasoning or self.chain_of_thought is None:
            return answer
        if demonstration.rationale is None:
            raise PromptError(
                f"template '{self.name}': the demonstration that answers "
                f"'{demonstration.answer}' has no rationale. Leave it out, or write one."
            )
        end = self.end_of_answer(reasoning=True)
        return f"{demonstration.rationale} {self.chain_of_thought.answer_phrase} {answer}{end}"

    def _field_problems(self, field_names: Sequence[str]) -> list[str]:
        known = ", ".join(field_names)
        parts = {"instruction": (self.instruction, {_LABELS}), "input": (self.input, field_names)}
        if self.chain_of_thought is not None:
            parts["chain_of_thought.input"] = (self.chain_of_thought.input, field_names)
        problems = []
        for part, (text, allowed) in parts.items():
            for name in sorted(_names(text, "name") - set(allowed)):
                problems.append(
                    f"{part} uses {{{name}}}, which is not available there. Available: "
                    f"{', '.join(sorted(allowed))}. Rename the placeholder, or write "
                    f"{{{{{name}}}}} for the word in braces."
                )
            for name in sorted(_names(text, "literal") & set(allowed)):
                problems.append(
                    f"{part} writes {{{{{name}}}}}, but a placeholder has single braces. Write "
                    f"{{{name}}}; for braces around it write {{ {{{name}}} }}."
                )
        for part in parts.keys() - {"instruction"}:
            problems += _end_problems(part, parts[part][0])
            for name in field_names:
                if name not in _names(parts[part][0], "name"):
                    problems.append(
                        f"{part} does not use {{{name}}}, so the model would not see it. "
                        f"Fields of the task: {known}. Add the placeholder."
                    )
        return sorted(problems)

    def _label_problems(self, labels: Sequence[str]) -> list[str]:
        problems = [
            f"label_words has '{label}', which is no label of the task. "
            f"Labels: {', '.join(labels) or 'none, it asks for short answers'}. Remove it."
            for label in self.label_words
            if label not in labels
        ]
        if not labels and f"{{{_LABELS}}}" in self.instruction:
            problems.append(
                f"instruction uses {{{_LABELS}}}, and the task has none: it asks for short "
                "answers. Remove the placeholder."
            )
        owners: dict[str, str] = {}
        for label in labels:
            written = self.word(label)
            word = written.strip()
            if not word:
                problems.append(f"label_words gives '{label}' an empty word. Write one.")
            elif word != written:
                problems.append(
                    f"label_words gives '{label}' the word '{written}'; the space before an "
                    f"answer is put there for it. Write '{word}'."
                )
            elif word in owners:
                problems.append(
                    f"labels '{owners[word]}' and '{label}' share the word '{word}', so they "
                    "cannot be told apart. Give each its own word."
                )
            owners[word] = label
        return problems

    def _demonstration_problems(
        self, field_names: Sequence[str], labels: Sequence[str]
    ) -> list[str]:
        problems = []
        section = self.chain_of_thought
        for number, demo in enumerate(section.demonstrations if section else []):
            place = f"chain_of_thought.demonstrations[{number}]"
            if set(demo.fields) != set(field_names):
                problems.append(
                    f"{place} has fields {', '.join(sorted(demo.fields)) or 'none'}; the task has "
                    f"{', '.join(field_names)}. Give exactly those."
                )
            if labels and demo.answer not in labels:
                problems.append(
                    f"{place} answers '{demo.answer}', which is no label of the task. "
                    f"Labels: {', '.join(labels)}."
                )
        return problems


def read_template(path: Path) -> PromptTemplate:
    """Return the template in a YAML file; its name is the file's.

    Raises:
        ConfigError: unreadable YAML, unknown or missing keys, wrong types: all at once.
    """
    return read_yaml_model(path, PromptTemplate).model_copy(update={"name": path.stem})


def default_template(
    field_names: Sequence[str], labels: Sequence[str], *, writes_text: bool = False
) -> PromptTemplate:
    """Return a wording for a task that brings none, made from its fields and label names.

    Args:
        field_names: Fields of the task.
        labels: Labels of the task; empty if it has none.
        writes_text: Whether the answer is a text that only the examples describe.
    """
    lines = "\n".join(f"{name.replace('_', ' ').capitalize()}: {{{name}}}" for name in field_names)
    if writes_text:
        return PromptTemplate(
            name="default",
            version=1,
            instruction="Write the output that belongs to the input.",
            input=f"{lines}\nOutput:",
        )
    instruction = (
        f"Classify the text. Possible labels: {{{_LABELS}}}."
        if labels
        else "Answer the question with a number or a few words."
    )
    cue = "Label" if labels else "Answer"
    return PromptTemplate(
        name="default",
        version=1,
        instruction=instruction,
        input=f"{lines}\n{cue}:",
        chain_of_thought=ChainOfThought(
            input=f"{lines}\nReasoning:",
            answer_phrase="So the label is" if labels else "The answer is",
        ),
    )


def _names(text: str, group: str) -> set[str]:
    """Return the names of a text's placeholders, or ("literal") of its words in braces."""
    return {match[group] for match in _PLACEHOLDER.finditer(text) if match[group]}


def _end_problems(part: str, text: str) -> list[str]:
    if text.endswith((" ", "\t")):
        return [
            f"{part} ends in a space; most tokenizers put it into the answer's first token. "
            "Remove it."
        ]
    if text.endswith("\n"):
        return [
            f"{part} ends in a line break, which would stand between prompt and answer. Remove it; "
            "in YAML a block keeps it after '|' and not after '|-'."
        ]
    return []


def _fill(text: str, fields: Mapping[str, str]) -> str:
    """Replace each {name} once; braces inside a field's value stay as they are."""

    def value(match: re.Match[str]) -> str:
        if match["literal"]:
            return match[0][1:-1]
        name = match["name"]
        if name not in fields:
            raise PromptError(
                f"the prompt needs {{{name}}}, which the sample does not have. "
                f"It has: {', '.join(sorted(fields)) or 'nothing'}."
            )
        return fields[name]

    return _PLACEHOLDER.sub(value, text)


def continue_text(text: str, answer: str) -> str:
    """Put an answer after a prompt, with a space unless the prompt ends in white space."""
    if not answer:
        return text
    return text + answer if text[-1:].isspace() else f"{text} {answer}"


def _render_chat(
    chat: ChatRenderer,
    instruction: str,
    turns: Sequence[tuple[str, str]],
    tail: str,
    cue: str,
) -> RenderedPrompt:
    """Render user and assistant turns, keeping track of where instruction and input stand."""
    messages = []
    for asked, answer in turns:
        messages.append({"role": "user", "content": asked})
        messages.append({"role": "assistant", "content": answer})
    messages.append({"role": "user", "content": _INPUT_MARK})
    messages[0]["content"] = _INSTRUCTION_MARK + messages[0]["content"]
    text = chat(messages)
    if text.count(_INSTRUCTION_MARK) != 1 or text.count(_INPUT_MARK) != 1:
        raise PromptError(
            "the model's chat template drops or repeats the message, so the prompt's parts cannot "
            "be told apart. Use chat: false."
        )
    head, rest = text.split(_INSTRUCTION_MARK)
    between, after = rest.split(_INPUT_MARK)
    return RenderedPrompt(head, instruction + between, tail + after + cue)
