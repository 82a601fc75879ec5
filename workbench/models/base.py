"""The nouns between methods and the engine: how a row is conditioned, and what comes back.

Shape letters used in this package: B rows of a batch, T tokens of a row, P prefix positions,
V vocabulary, D embedding width, H key/value heads, C choices.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from scipy.special import softmax

FinishReason = Literal["stop", "eos", "length", "cancelled"]
Precision = Literal["nf4", "fp4", "int8", "bf16", "fp32"]


@dataclass(frozen=True, eq=False)
class Prefix:
    """The start that rows share: a sequence of token ids and learned vectors.

    Attributes:
        pieces: Each piece is a tuple of token ids, or a float tensor (P, D) in the space of the
            embedding module's output.
    """

    pieces: tuple[tuple[int, ...] | torch.Tensor, ...] = ()

    @property
    def num_tokens(self) -> int:
        """Positions the prefix occupies (P)."""
        return sum(len(piece) for piece in self.pieces)

    @cached_property
    def digest(self) -> str:
        """Content hash; two prefixes with equal pieces share cached keys and values."""
        sha = hashlib.sha256()
        for piece in self.pieces:
            if isinstance(piece, torch.Tensor):
                vectors = piece.detach().to("cpu", torch.float32).contiguous()
                sha.update(b"vectors" + repr(tuple(vectors.shape)).encode())
                sha.update(vectors.numpy().tobytes())
            else:
                sha.update(b"ids" + repr(piece).encode())
        return sha.hexdigest()[:16]


@dataclass(frozen=True)
class Conditioning:
    """How the base is conditioned for one row; the only thing a method hands to the engine.

    Attributes:
        prefix: Shared start; its keys and values are computed once and reused.
        token_ids: The row's own tokens, at least one.
        adapter: Name of the weight adapter active for the row, or None for the base alone.
    """

    prefix: Prefix
    token_ids: tuple[int, ...]
    adapter: str | None = None

    @property
    def num_tokens(self) -> int:
        """Positions of prefix and own tokens together."""
        return self.prefix.num_tokens + len(self.token_ids)


@dataclass(frozen=True)
class ChoiceScores:
    """Log-probabilities of C choices as the continuation of one row.

    Attributes:
        logprobs: (C,) in nats, summed over the tokens of each choice.
        num_tokens: (C,) tokens of each choice.
        is_greedy: (C,) whether every token of the choice is the most probable one at its place.
    """

    logprobs: np.ndarray
    num_tokens: np.ndarray
    is_greedy: np.ndarray

    @property
    def label_mass(self) -> float:
        """Probability that the continuation starts with any of the choices (legal-label mass)."""
        return float(np.exp(self.logprobs).sum())

    @property
    def probabilities(self) -> np.ndarray:
        """(C,) probabilities renormalised over the choices."""
        return self.probabilities_given(None)

    def probabilities_given(self, log_prior: np.ndarray | None) -> np.ndarray:
        """Return (C,) probabilities over the choices, divided by a prior if one is given."""
        values = self.logprobs if log_prior is None else self.logprobs - log_prior
        probabilities: np.ndarray = softmax(values)
        return probabilities


@dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """How to continue rows.

    Attributes:
        max_new_tokens: Upper bound of generated tokens per row.
        stop: Generation ends before the first of these strings.
        temperature: 0 is greedy; otherwise logits are divided by it before sampling.
        top_k: Keep the k most probable tokens; 0 keeps all.
        top_p: Keep the smallest set of tokens with at least this probability.
        seed: Each row draws from a generator of its own made from this seed.
    """

    max_new_tokens: int = 64
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Generation:
    """The continuation of one row, cut before the stop string."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    prompt_tokens: int


@dataclass(frozen=True)
class TextDelta:
    """A piece of streamed text: row number in the request, new text, and the end if it is one."""

    row: int
    text: str
    generation: Generation | None = None
