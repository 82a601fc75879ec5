"""From samples and templates to token ids: which tokens rows share, and which are their own.

The whole prompt is tokenised as one text and split afterwards, so that sharing a prefix never
changes a token. Soft prompts take the place of the shared part and keep the rows' own tokens:
with vectors equal to the embeddings of the instruction's tokens they score exactly like it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from transformers import PreTrainedTokenizerBase

from workbench.errors import PromptError
from workbench.models.base import Prefix
from workbench.tasks.base import Task
from workbench.templates import Demonstration, PromptTemplate, RenderedPrompt, continue_text

_SHORT_ANSWER_TOKENS = 24  # enough for a number or a few words
_LENGTH_SHARE = 0.95  # of the training targets that have to fit the bound of a generated text
_LENGTH_MARGIN = 1.25  # the same thing can be said in more words
_PROBE = "Example"  # any word: only the place where the sample's own text starts is looked for


@dataclass(frozen=True)
class PromptStart:
    """The tokens that all rows of a prompt share.

    Attributes:
        head_ids: Special tokens and what a chat template puts before the instruction.
        shared_ids: Instruction and demonstrations.
        demonstrations: The solved examples in it.
        reasoning: Whether the prompt asks for reasoning.
    """

    head_ids: tuple[int, ...]
    shared_ids: tuple[int, ...]
    demonstrations: tuple[Demonstration, ...] = ()
    reasoning: bool = False

    @property
    def prefix(self) -> Prefix:
        """The shared tokens as a prefix."""
        return Prefix((self.head_ids + self.shared_ids,))


@dataclass(frozen=True)
class PromptEncoder:
    """Turns samples of one task into tokens with one template and one tokenizer."""

    tokenizer: PreTrainedTokenizerBase
    template: PromptTemplate
    task: Task
    chat: bool = False

    def __post_init__(self) -> None:
        if self.chat and not self.tokenizer.chat_template:
            raise PromptError(
                "chat: the model's tokenizer has no chat template. Use chat: false, or an "
                "instruction-tuned model."
            )

    @cached_property
    def answer_tokens(self) -> int:
        """The upper bound of a written answer's length in tokens.

        The template's own, or 24 for a short answer; for a generated text the 95th percentile of
        the training targets' lengths with a margin of a quarter.
        """
        if self.template.answer_tokens is not None:
            return self.template.answer_tokens
        if self.task.kind != "generation":
            return _SHORT_ANSWER_TOKENS
        lengths = [len(self.encode(sample.target)) for sample in self.task.train]
        return int(np.ceil(_LENGTH_MARGIN * np.quantile(lengths, _LENGTH_SHARE)))

    @cached_property
    def answer_ends(self) -> tuple[str, ...]:
        """The strings before which a written answer ends.

        A line's end is one unless a training target has several lines.
        """
        lines = self.task.kind == "generation" and any(
            "\n" in sample.target for sample in self.task.train
        )
        return (self.template.separator,) if lines else (self.template.separator, "\n")

    def render(
        self,
        fields: Mapping[str, str],
        demonstrations: Sequence[Demonstration] = (),
        *,
        reasoning: bool = False,
    ) -> RenderedPrompt:
        """Return the prompt as text; see `PromptTemplate.render`."""
        return self.template.render(
            fields,
            labels=self.task.labels,
            demonstrations=demonstrations,
            reasoning=reasoning,
            chat=self._chat_text if self.chat else None,
        )

    def start(
        self, demonstrations: Sequence[Demonstration] = (), *, reasoning: bool = False
    ) -> PromptStart:
        """Return the tokens that every sample's prompt starts with."""
        probe = self.render(
            dict.fromkeys(self.task.field_names, _PROBE), demonstrations, reasoning=reasoning
        )
        ids, ends = self._tokens(probe.text)
        num_head = sum(end <= len(probe.head) for end in ends) if probe.head else _zeros(ends)
        # A token that reaches into the sample's text is the sample's own.
        num_start = max(sum(end <= len(probe.head + probe.start) for end in ends), num_head)
        return PromptStart(
            ids[:num_head], ids[num_head:num_start], tuple(demonstrations), reasoning
        )

    def own_ids(self, fields: Mapping[str, str], start: PromptStart) -> tuple[int, ...]:
        """Return the tokens of a sample's prompt after the shared start.

        Where the sample's text would merge with the last shared token, the text after the shared
        part is tokenised on its own, so that the shared part is the same for every sample.
        """
        text = self.render(fields, start.demonstrations, reasoning=start.reasoning).text
        shared = start.head_ids + start.shared_ids
        ids, _ = self._tokens(text)
        if ids[: len(shared)] == shared and len(ids) > len(shared):
            return ids[len(shared) :]
        probe = self.render(
            dict.fromkeys(self.task.field_names, _PROBE),
            start.demonstrations,
            reasoning=start.reasoning,
        ).text
        # Up to the last shared token every prompt has the same text, so the probe tells the place.
        boundary = self._tokens(probe)[1][len(shared) - 1] if shared else 0
        return self.encode(text[boundary:])

    def choice_ids(self) -> tuple[tuple[int, ...], ...]:
        """Return the tokens of each label's word as the continuation of a prompt."""
        tail = self.render(dict.fromkeys(self.task.field_names, _PROBE)).tail
        return tuple(
            self.continuation_ids(tail, self.template.word(label)) for label in self.task.labels
        )

    def continuation_ids(self, context: str, word: str) -> tuple[int, ...]:
        """Return the tokens that `word` adds to `context`.

        Both are encoded together and split, as in lm-evaluation-harness
        (`TemplateLM._encode_pair`); the space between them belongs to the word.
        """
        alone = self.encode(context)
        together = self.encode(continue_text(context, word))
        if together[: len(alone)] == alone and len(together) > len(alone):
            return together[len(alone) :]
        return self.encode(continue_text(context, word)[len(context) :])

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a text, special tokens not added."""
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)

    @cached_property
    def num_appended(self) -> int:
        """How many special tokens the tokenizer puts after a text; no prompt keeps them.

        A prompt goes on with its answer: an end of text between them would be another prompt.
        """
        if self.chat:
            return 0
        encoded = self.tokenizer(_PROBE, return_offsets_mapping=True)
        return _zeros([end for _, end in reversed(encoded.offset_mapping)])

    def _tokens(self, text: str) -> tuple[tuple[int, ...], list[int]]:
        """Return ids and the end of each token in the text; added special tokens end at 0."""
        special = not self.chat  # a chat template writes the special tokens itself
        encoded = self.tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)
        size = len(encoded.input_ids) - self.num_appended
        return tuple(encoded.input_ids[:size]), [end for _, end in encoded.offset_mapping[:size]]

    def _chat_text(self, messages: list[dict[str, str]]) -> str:
        text = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        return str(text)


def _zeros(ends: Sequence[int]) -> int:
    """Return how many tokens at the start are added special tokens."""
    count = 0
    for end in ends:
        if end != 0:
            break
        count += 1
    return count
