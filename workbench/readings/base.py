"""What every reading is: a frozen dataclass of options with `read`, and what it is given."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch

from workbench.fitting.soft_prompts import placed
from workbench.models.base import Prefix
from workbench.models.vocabulary import embedding_table, ordinary_tokens, token_texts
from workbench.presentation.reading import Reading, Standing
from workbench.progress import Interrupted, Progress, ProgressEvent, ignore_progress
from workbench.readings.scoring import Scorer
from workbench.readings.vectors.chance import standing
from workbench.readings.vectors.neighbours import Vocabulary
from workbench.readings.vectors.prompt import INSTEAD_OF_INSTRUCTION, SoftPrompt, random_prompts
from workbench.runs.session import Session

NUM_RANDOM = 19  # the fewest controls that can show a figure beyond chance at the 5 % level
NOT_ACTING = (
    "No better than chance: the prompt answers no better than random vectors of the same norms, "
    "so this says nothing about what was learned."
)

Kind = Literal["vectors", "weights"]
Cost = Literal["instant", "seconds", "minutes"]


@dataclass(frozen=True, eq=False)
class WeightChange:
    """A LoRA as it is stored: name, folder with the adapter, and the task it was trained on."""

    name: str
    folder: Path
    task: str = ""


@dataclass(frozen=True, eq=False)
class Subject:
    """What is read, and beside what.

    Attributes:
        session: Base, task and wording.
        vocabulary: The base's tokens and embeddings.
        scorer: Scores prompts on the task's items; remembers what it scored.
        prompt: The soft prompt that is read, or None if weights are read.
        others: Further soft prompts to hold against it.
        weights: The weight change that is read, or None.
        other_weights: Further ones to hold against it.
        made_elsewhere: A sentence for each of those held against it that was made on another base,
            data or wording.
        progress: Told about each step of long readings.
        should_stop: Asked between steps; True ends the reading with `Interrupted`.
    """

    session: Session
    vocabulary: Vocabulary
    scorer: Scorer
    prompt: SoftPrompt | None = None
    others: tuple[SoftPrompt, ...] = ()
    weights: WeightChange | None = None
    other_weights: tuple[WeightChange, ...] = ()
    made_elsewhere: tuple[str, ...] = ()
    progress: Progress = ignore_progress
    should_stop: Callable[[], bool] = field(default=lambda: False)

    @property
    def soft_prompt(self) -> SoftPrompt:
        """The soft prompt; a reading of vectors is never given anything else.

        Raises:
            ValueError: weights are read.
        """
        if self.prompt is None:
            raise ValueError("this reading needs a soft prompt")
        return self.prompt

    @property
    def title(self) -> str:
        """What is read, and what it is held against, in a line."""
        others = [one.name for one in self.others] + [one.name for one in self.other_weights]
        name = "" if self.prompt is None else self.prompt.name
        name = name if self.weights is None else self.weights.name
        return f"{name} against {', '.join(others)}" if others else name

    @property
    def setting_text(self) -> str:
        """What is read on: base, precision, task with its items, and wording."""
        info, encoder = self.session.engine.info, self.session.encoder
        task, chat = encoder.task, ", chat template" if encoder.chat else ""
        return (
            f"{info.name} · {info.precision} (products in {info.compute_dtype}) · {task.name}, "
            f"first {self.scorer.num_items} of {len(task.test)} test items · wording "
            f"{encoder.template.name}{chat}"
        )

    @property
    def _position(self) -> str:
        return INSTEAD_OF_INSTRUCTION if self.prompt is None else self.prompt.position

    @property
    def keeps_instruction(self) -> bool:
        """Whether the vectors stand beside the instruction, not in its place."""
        return self._position != INSTEAD_OF_INSTRUCTION

    @cached_property
    def instruction_ids(self) -> tuple[int, ...]:
        """Tokens of the instruction, whose place the vectors take unless they stand beside it."""
        return self.session.encoder.start().shared_ids

    @property
    def task_words(self) -> list[str]:
        """Words of the labels, and those of the instruction that any text could not have as well.

        Lower case, each once.
        """
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

        encoder = self.session.encoder
        labels = plain_words(" ".join(map(encoder.template.word, encoder.task.labels)))
        asked = plain_words(encoder.template.instruction or "")
        words = [*labels, *(word for word in asked if word not in ENGLISH_STOP_WORDS)]
        return list(dict.fromkeys(word for word in words if len(word) > 1))

    def prefix(self, vectors: np.ndarray) -> Prefix:
        """Return vectors (P, D) as the prefix in which they stand where the prompt's do."""
        tensor = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32))
        return placed(self.session.encoder.start(), tensor, self._position)

    def place_of(self, num_vectors: int) -> slice:
        """Return the positions that so many vectors take in the prefix made of them."""
        probe = placed(self.session.encoder.start(), torch.zeros(num_vectors, 1), self._position)
        begin = 0
        for piece in probe.pieces:
            if isinstance(piece, torch.Tensor):
                break
            begin += len(piece)
        return slice(begin, begin + num_vectors)

    def token_prefix(self, token_ids: tuple[int, ...]) -> Prefix:
        """Return token ids as the prefix in which they stand where the prompt's vectors do."""
        found = placed(self.session.encoder.start(), tuple(token_ids), self._position)
        return Prefix((tuple(token for piece in found.pieces for token in map(int, piece)),))

    def random_prompts(self, count: int = NUM_RANDOM) -> list[np.ndarray]:
        """Return random vectors (P, D) with the norms of the prompt's, `count` draws."""
        return random_prompts(self.soft_prompt.vectors, count)

    def acting(self, stage: str) -> Standing:
        """Return the prompt's mean loss beside that of random vectors: does it act at all?"""
        found = self.scorer.outcomes(
            [self.prefix(v) for v in (self.soft_prompt.vectors, *self.random_prompts())],
            partial(self.step, stage),
        )
        return standing(
            "loss with the prompt, nats",
            found[0].loss,
            "random vectors of the same norms",
            [outcome.loss for outcome in found[1:]],
            low_is_better=True,
        )

    def step(self, stage: str, done: int, total: int) -> None:
        """Tell how far the reading is.

        Raises:
            Interrupted: it was asked to stop.
        """
        if self.should_stop():
            raise Interrupted(f"{stage} stopped after {done} of {total}")
        self.progress(ProgressEvent(stage, done, total, {}))


def evenly_spaced(size: int, most: int) -> list[int]:
    """Return at most so many slots of a prompt of some size, the first and the last included."""
    return sorted({int(slot) for slot in np.linspace(0, size - 1, min(size, most)).round()})


def plain_words(text: str) -> list[str]:
    """Return the words of a text in lower case, letters and digits only."""
    return ["".join(c for c in word if c.isalnum()) for word in text.lower().split()]


class Reader(Protocol):
    """A frozen dataclass of options (`workbench.options.option`) that reads a subject.

    `needs_base` says whether it runs the base; others leave the model's thread to whoever asks.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    title: ClassVar[str]
    summary: ClassVar[str]
    kind: ClassVar[Kind]
    cost: ClassVar[Cost]
    needs_base: ClassVar[bool]

    def read(self, subject: Subject) -> Reading:
        """Return what was found."""


def open_vocabulary(session: Session) -> Vocabulary:
    """Return the tokens of a session's base; the embeddings are the base's own where possible."""
    table = embedding_table(session.engine.forward)
    tokenizer = session.encoder.tokenizer
    return Vocabulary(
        embeddings=table.cpu().numpy(),
        tokens=token_texts(tokenizer, range(len(table))),
        is_ordinary=ordinary_tokens(tokenizer, len(table)).numpy(),
    )
