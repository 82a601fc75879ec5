"""From samples and templates to token ids: which tokens rows share, and which are their own.

The whole prompt is tokenised as one text and split afterwards, so that sharing a prefix never
changes a token. Soft prompts take the place of the shared part and keep the rows' own tokens:
with vectors equal to the embeddings of the instruction's tokens they score exactly like it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

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
class LabelChoices:
    """The continuations that stand for the labels, and the text that ends each of them.

    Attributes:
        token_ids: Per label its tokens; none begin with another's.
        end: Ends every word; empty where the words alone are told apart.
    """

    token_ids: tuple[tuple[int, ...], ...]
    end: str


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

    def check_answers(self) -> None:
        """Refuse labels that cannot be told apart, and short answers that nobody could write.

        Raises:
            PromptError: which, and what to do.
        """
        self.choice_ids()
        if self.task.kind != "short_answer":
            return
        samples = (*self.task.train, *self.task.dev, *self.task.test)
        for end in filter(None, self.answer_ends):
            cut = [s.id for s in samples if any(end in answer for answer in s.all_references)]
            if cut:
                raise PromptError(
                    f"task '{self.task.name}': {len(cut)} answers hold {end!r}, which ends an "
                    f"answer in this wording, so nobody could write them (ids "
                    f"{', '.join(cut[:3])}{', …' if len(cut) > 3 else ''}). Use another separator, "
                    "or the kind 'generation'."
                )

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

    def choice_ids(self, cue: str | None = None) -> tuple[tuple[int, ...], ...]:
        """Return the tokens of each label as the continuation of a prompt; see `label_choices`."""
        return self.label_choices(cue).token_ids

    def label_choices(self, cue: str | None = None) -> LabelChoices:
        """Return what is scored and learned of each label: its word's tokens, where that is enough.

        Where the tokens of one word begin those of another ("positive", "positive price"), the
        longer one could never win. Then an end belongs to every word: what follows an answer in the
        wording, or the tokenizer's own end where that would not part them either. So no label's
        tokens begin another's, and their probabilities add up to at most 1.

        Args:
            cue: The phrase after which the answer to a reasoning stands; None: a plain prompt.

        Raises:
            PromptError: the tokenizer cannot tell two words apart.
        """
        context = cue
        if context is None:
            context = self.render(dict.fromkeys(self.task.field_names, _PROBE)).tail
        words = [self.template.word(label) for label in self.task.labels]
        bare = [self.continuation_ids(context, word) for word in words]
        if _nested_pair(bare) is None:
            return LabelChoices(tuple(bare), "")
        for text, token in (self._end_of_answer(cue is not None), ("", self.tokenizer.eos_token)):
            last = () if token is None else (self.tokenizer.convert_tokens_to_ids(token),)
            ended = [self.continuation_ids(context, word + text) + last for word in words]
            pair = _nested_pair(ended)
            if pair is None:
                return LabelChoices(tuple(ended), text + (token or ""))
            nested = [self.task.labels[place] for place in pair]
        raise PromptError(
            f"labels {' and '.join(map(repr, nested))}: in the tokens of the base model one word "
            "is or begins the other, and no end after them tells them apart. Give one of them "
            "another word under label_words."
        )

    def _end_of_answer(self, reasoning: bool) -> tuple[str, str | None]:
        """Return what follows an answer in this wording: text, and a control token after it."""
        end = self.template.end_of_answer(reasoning=reasoning)
        if not self.chat:
            return end + self.template.separator, None
        turns = [{"role": "user", "content": _PROBE}, {"role": "assistant", "content": _PROBE}]
        after = str(self.tokenizer.apply_chat_template(turns, tokenize=False)).rpartition(_PROBE)[2]
        control = [str(t) for t in self.tokenizer.added_tokens_decoder.values() if t.special]
        places = [(after.find(token), token) for token in control if token in after]
        place, token = min(places, default=(len(after), None))
        return end + after[:place], token

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

    def _tokens(self, text: str) -> tuple[tuple[int, ...], list[int]]:
        """Return ids and the end of each token in the text; added special tokens end at 0."""
        special = not self.chat  # a chat template writes the special tokens itself
        encoded = self.tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)
        return tuple(encoded.input_ids), [end for _, end in encoded.offset_mapping]

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


def _nested_pair(sequences: Sequence[tuple[int, ...]]) -> tuple[int, int] | None:
    """Return the places of two sequences of which the first begins the second; None without."""
    order = sorted(range(len(sequences)), key=sequences.__getitem__)
    for one, other in pairwise(order):
        if sequences[other][: len(sequences[one])] == sequences[one]:
            return one, other
    return None
