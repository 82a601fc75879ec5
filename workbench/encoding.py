"""From samples and templates to token ids: which tokens rows share, and which are their own.

The whole prompt is tokenised as one text and split afterwards, so that sharing a prefix never
changes a token. Soft prompts take the place of the shared part and keep the rows' own tokens:
with vectors equal to the embeddings of the instruction's tokens they score exactly like it.

What a wording and a chat template write themselves may be control tokens. What is filled in
(fields, answers, rationales, label words) and what stands alone is text, whatever it spells.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
from transformers import PreTrainedTokenizerBase

from workbench.answer_forms import is_match
from workbench.errors import PromptError
from workbench.extraction import extract_answer
from workbench.models.base import Prefix
from workbench.models.control_tokens import ControlTokens, control_tokens
from workbench.progress import raise_if_stopped
from workbench.tasks.base import Task
from workbench.templates import Demonstration, PromptTemplate, RenderedPrompt, continue_text

_SHORT_ANSWER_TOKENS = 24  # enough for a number or a few words
_LENGTH_SHARE = 0.95  # of the training targets that have to fit the bound of a generated text
_LENGTH_MARGIN = 1.25  # the same thing can be said in more words
_PROBE = "Example"  # any word: only the place where the sample's own text starts is looked for
_NEUTRAL = "\ufffc"  # a text that no control token has a part of


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
    _written: dict[tuple[int, bool], int] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

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
        """Refuse labels that cannot be told apart, and short answers that nobody could get right.

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
                    f"answer in this wording, so nobody could write them ({_named(cut)}). Use "
                    "another separator, or the kind 'generation'."
                )
        self._check_exact()

    def _check_exact(self) -> None:
        """Refuse short answers that would not be right where they are written exactly."""
        numeric = self.task.answers_are_numbers
        reasoning = self.template.chain_of_thought
        phrases = {"", *(() if reasoning is None else (reasoning.answer_phrase,))}
        lost = {
            sample.id: answer
            for sample in (*self.task.train, *self.task.dev, *self.task.test)
            for answer in sample.all_references
            for phrase in phrases
            if not is_match(
                extract_answer(continue_text(phrase, answer), phrase, {}, numeric=numeric).lenient,
                (answer,),
            )
        }
        if lost:
            advice = (
                "All answers of train and dev are numbers, so a number is read; write these as "
                "numbers too"
                if numeric
                else "Write words or a number beside the marks"
            )
            raise PromptError(
                f"task '{self.task.name}': {len(lost)} answers would count as wrong even where "
                f"they are written exactly, such as {next(iter(lost.values()))!r} "
                f"({_named([*lost])}). {advice}, or leave these rows out."
            )

    def render(
        self,
        fields: Mapping[str, str],
        demonstrations: Sequence[Demonstration] = (),
        *,
        reasoning: bool = False,
    ) -> RenderedPrompt:
        """Return the prompt as text; see `PromptTemplate.render`."""
        marked = self._rendered(fields, demonstrations, reasoning=reasoning)
        shown = self._controls.shown
        return RenderedPrompt(shown(marked.head), shown(marked.start), shown(marked.tail))

    def start(
        self, demonstrations: Sequence[Demonstration] = (), *, reasoning: bool = False
    ) -> PromptStart:
        """Return the tokens that every sample's prompt starts with."""
        probe = self._rendered(
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
        raise_if_stopped()  # thousands of texts take seconds
        text = self._rendered(fields, start.demonstrations, reasoning=start.reasoning).text
        shared = start.head_ids + start.shared_ids
        ids, _ = self._tokens(text)
        if ids[: len(shared)] == shared and len(ids) > len(shared):
            return ids[len(shared) :]
        probe = self._rendered(
            dict.fromkeys(self.task.field_names, _PROBE),
            start.demonstrations,
            reasoning=start.reasoning,
        ).text
        # Up to the last shared token every prompt has the same text, so the probe tells the place.
        boundary = self._tokens(probe)[1][len(shared) - 1] if shared else 0
        return self._encode(text[boundary:])

    def own_lengths(self, start: PromptStart) -> list[tuple[str, int]]:
        """Return each sample's id and how many tokens of its own its prompt has, split by split.

        Raises:
            PromptError: texts, answers or rationales that the tokenizer cannot write, with ids.
        """
        lengths: list[tuple[str, int]] = []
        problems: dict[str, list[str]] = {}
        for sample in (*self.task.train, *self.task.dev, *self.task.test):
            answers = () if self.task.labels else sample.all_references
            try:
                lengths.append((sample.id, len(self.own_ids(sample.fields, start))))
                for text in (*answers, sample.rationale or ""):
                    self.encode(text)
            except PromptError as error:
                problems.setdefault(str(error), []).append(sample.id)
        if problems:
            raise PromptError(
                "\n".join(
                    f"task '{self.task.name}': {_samples_have(ids)} a text that cannot be encoded "
                    f"({_named(ids)}): {problem}"
                    for problem, ids in problems.items()
                )
            )
        return lengths

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
        if cue is None:
            context = self._rendered(dict.fromkeys(self.task.field_names, _PROBE)).tail
        else:
            context = self._controls.as_text(cue)
        words = [self._controls.as_text(self.template.word(one)) for one in self.task.labels]
        bare = [self._continuation(context, word) for word in words]
        if _nested_pair(bare) is None:
            return LabelChoices(tuple(bare), "")
        for text, token in (self._end_of_answer(cue is not None), ("", self.tokenizer.eos_token)):
            last = () if token is None else (self.tokenizer.convert_tokens_to_ids(token),)
            ended = [self._continuation(context, word + text) + last for word in words]
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

    def answer_ids(self, fields: Mapping[str, str], answer: str) -> tuple[int, ...]:
        """Return the tokens of an answer as the continuation of a sample's prompt."""
        return self._continuation(self._rendered(fields).tail, self._controls.as_text(answer))

    def continuation_ids(self, context: str, word: str) -> tuple[int, ...]:
        """Return the tokens that `word` adds to the text `context`."""
        return self._continuation(self._controls.as_text(context), self._controls.as_text(word))

    def _continuation(self, context: str, word: str) -> tuple[int, ...]:
        """Return the tokens that a marked word adds to a marked context.

        Both are encoded together and split, as in lm-evaluation-harness
        (`TemplateLM._encode_pair`); the space between them belongs to the word.
        """
        alone = self._encode(context)
        together = self._encode(continue_text(context, word))
        if together[: len(alone)] == alone and len(together) > len(alone):
            return together[len(alone) :]
        return self._encode(continue_text(context, word)[len(context) :])

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a text, special tokens not added."""
        return self._encode(self._controls.as_text(text))

    @cached_property
    def num_appended(self) -> int:
        """How many special tokens the tokenizer puts after a text; no prompt keeps them.

        A prompt goes on with its answer: an end of text between them would be another prompt.
        """
        if self.chat:
            return 0
        encoded = self.tokenizer(_PROBE, return_offsets_mapping=True)
        return _zeros([end for _, end in reversed(encoded.offset_mapping)])

    @cached_property
    def _controls(self) -> ControlTokens:
        return control_tokens(self.tokenizer)

    @cached_property
    def _marked_template(self) -> PromptTemplate:
        """The template, whose label words are text."""
        words = {label: self.template.word(label) for label in self.task.labels}
        marked = {}
        for label, word in words.items():
            try:
                marked[label] = self._controls.as_text(word)
            except PromptError as error:
                raise PromptError(f"label {label!a}: {error}") from error
        if marked == words:
            return self.template
        return self.template.model_copy(update={"label_words": marked})

    def _rendered(
        self,
        fields: Mapping[str, str],
        demonstrations: Sequence[Demonstration] = (),
        *,
        reasoning: bool = False,
    ) -> RenderedPrompt:
        """Return the prompt with everything that is filled in marked as text."""
        rendered = self._marked_template.render(
            self._as_texts(fields),
            labels=self.task.labels,
            demonstrations=[self._as_text(shown) for shown in demonstrations],
            reasoning=reasoning,
            chat=self._chat_text if self.chat else None,
        )
        number = self._controls.count(rendered.text)
        if number and number != self._number_written(len(demonstrations), reasoning=reasoning):
            raise PromptError(
                f"template '{self.template.name}': wording and text together write a control "
                "token of the tokenizer, where neither does alone. Put a space between them."
            )
        return rendered

    def _number_written(self, num_demonstrations: int, *, reasoning: bool) -> int:
        """Return how many control tokens wording and chat template write themselves."""
        key = num_demonstrations, reasoning
        if key not in self._written:
            fields = dict.fromkeys(self.task.field_names, _NEUTRAL)
            answer = self.task.labels[0] if self.task.labels else _NEUTRAL
            shown = [Demonstration(fields, answer, _NEUTRAL)] * num_demonstrations
            rendered = self._marked_template.render(
                fields,
                labels=self.task.labels,
                demonstrations=shown,
                reasoning=reasoning,
                chat=self._chat_text if self.chat else None,
            )
            self._written[key] = self._controls.count(rendered.text)
        return self._written[key]

    def _as_texts(self, fields: Mapping[str, str]) -> dict[str, str]:
        return {name: self._controls.as_text(text) for name, text in fields.items()}

    def _as_text(self, shown: Demonstration) -> Demonstration:
        is_label = shown.answer in self.task.labels  # by its word, which is marked in the template
        return Demonstration(
            self._as_texts(shown.fields),
            shown.answer if is_label else self._controls.as_text(shown.answer),
            None if shown.rationale is None else self._controls.as_text(shown.rationale),
        )

    def _encode(self, marked: str) -> tuple[int, ...]:
        return self._controls.encode(self.tokenizer, marked, add_special_tokens=False).ids

    def _tokens(self, marked: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return ids and the end of each token in the text; added special tokens end at 0."""
        special = not self.chat  # a chat template writes the special tokens itself
        encoded = self._controls.encode(self.tokenizer, marked, add_special_tokens=special)
        size = len(encoded.ids) - self.num_appended
        return encoded.ids[:size], encoded.ends[:size]

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


def _named(ids: Sequence[str]) -> str:
    word = "id" if len(ids) == 1 else "ids"
    return f"{word} {', '.join(ids[:3])}{', …' if len(ids) > 3 else ''}"


def _samples_have(ids: Sequence[str]) -> str:
    return "1 sample has" if len(ids) == 1 else f"{len(ids)} samples have"


def _nested_pair(sequences: Sequence[tuple[int, ...]]) -> tuple[int, int] | None:
    """Return the places of two sequences of which the first begins the second; None without."""
    order = sorted(range(len(sequences)), key=sequences.__getitem__)
    for one, other in pairwise(order):
        if sequences[other][: len(sequences[one])] == sequences[one]:
            return one, other
    return None
