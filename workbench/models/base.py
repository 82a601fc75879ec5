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
Precision = Literal["nf4", "nf4-single", "fp4", "fp4-single", "int8", "bf16", "fp32"]


@dataclass(frozen=True, eq=False)
class Patch:
    """Hidden states that take the place of a prefix's own where they enter a layer.

    Source: Ghandeharioun et al. 2024, "Patchscopes", https://arxiv.org/abs/2401.06102.

    Attributes:
        layer: Number of the layer, from 0, before which the states are replaced.
        position: The first position of the prefix that is replaced.
        states: (n, D) for n positions in a row.
    """

    layer: int
    position: int
    states: torch.Tensor


@dataclass(frozen=True, eq=False)
class PrefixStates:
    """Keys and values of one prefix, per layer: tensors (H, P, head width)."""

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]

    @property
    def num_tokens(self) -> int:
        """Positions the prefix occupies (P)."""
        return int(self.keys[0].shape[-2])

    @property
    def num_bytes(self) -> int:
        """Memory of all keys and values."""
        return sum(t.numel() * t.element_size() for t in (*self.keys, *self.values))

    def to(self, target: torch.dtype | torch.device) -> "PrefixStates":
        """Return the states in another dtype or on another device."""
        keys = tuple(tensor.to(target) for tensor in self.keys)
        return PrefixStates(keys, tuple(tensor.to(target) for tensor in self.values))

    def first(self, number: int) -> "PrefixStates":
        """Return the states of the first positions."""
        keys = tuple(tensor[:, :number] for tensor in self.keys)
        return PrefixStates(keys, tuple(tensor[:, :number] for tensor in self.values))

    def followed_by(self, other: "PrefixStates") -> "PrefixStates":
        """Return these states and after them those of `other`."""
        keys, values = (
            tuple(
                torch.cat([one, two.to(one)], dim=-2)
                for one, two in zip(first, second, strict=True)
            )
            for first, second in ((self.keys, other.keys), (self.values, other.values))
        )
        return PrefixStates(keys, values)


@dataclass(frozen=True, eq=False)
class Prefix:
    """The start that rows share: token ids and learned vectors, then learned keys and values.

    Attributes:
        pieces: Each piece is a tuple of token ids, or a float tensor (P, D) in the space of the
            embedding module's output.
        patches: Hidden states put in place of those that follow from the pieces.
        states: Keys and values that stand after the pieces and follow from nothing (prefix
            tuning), or None.
    """

    pieces: tuple[tuple[int, ...] | torch.Tensor, ...] = ()
    patches: tuple[Patch, ...] = ()
    states: PrefixStates | None = None

    @property
    def num_tokens(self) -> int:
        """Positions the prefix occupies (P)."""
        learned = 0 if self.states is None else self.states.num_tokens
        return self.num_computed + learned

    @property
    def num_computed(self) -> int:
        """Positions whose keys and values the base computes: those of the pieces."""
        return sum(len(piece) for piece in self.pieces)

    @cached_property
    def digest(self) -> str:
        """Content hash; two prefixes with equal pieces share cached keys and values."""
        sha = hashlib.sha256()
        for piece in self.pieces:
            if isinstance(piece, torch.Tensor):
                sha.update(b"vectors" + _content(piece))
            else:
                sha.update(b"ids" + repr(piece).encode())
        for patch in self.patches:
            sha.update(f"patch {patch.layer} {patch.position}".encode() + _content(patch.states))
        if self.states is not None:
            for tensor in (*self.states.keys, *self.states.values):
                sha.update(b"states" + _content(tensor))
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


def _content(tensor: torch.Tensor) -> bytes:
    """Return shape and values of a tensor as bytes."""
    values = tensor.detach().to("cpu", torch.float32).contiguous()
    return repr(tuple(values.shape)).encode() + values.numpy().tobytes()
