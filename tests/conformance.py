"""Whether the engine computes what plain transformers computes, for one model folder.

The oracle is the model itself as transformers loads it, with eager attention, without cache and
with one row at a time.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from toys import open_tiny
from workbench.errors import ModelError
from workbench.models.base import Conditioning, GenerationOptions, Prefix
from workbench.models.engine import Engine

TOLERANCE = 1e-4  # nats
NEW_TOKENS = 20
_ORDINARY = range(3, 259)  # ids of bytes; others are special, or rows that nothing uses
_LONGEST = 30  # tokens of prefix and row, which every tiny context holds beside new ones


@dataclass(frozen=True)
class Outcome:
    """What became of an architecture: exact, refused at load (and why), or neither (and how)."""

    kind: Literal["exact", "refused", "wrong"]
    detail: str = ""


@dataclass(frozen=True)
class _Row:
    """A row as the engine gets it, and its context as plain ids."""

    conditioning: Conditioning
    context: tuple[int, ...]


def outcome_of(folder: Path) -> Outcome:
    """Return whether the engine over the base in `folder` agrees with transformers."""
    try:
        engine = Engine(open_tiny(folder))
    except ModelError as error:
        return Outcome("refused", str(error))
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    try:
        rows = _rows(engine)
        gap = max(_scoring_gap(engine, model, rows), _training_gap(engine, model))
        lag = _greedy_lag(engine, model, rows)
    except Exception as error:  # any error after loading is what must not happen
        return Outcome("wrong", f"{type(error).__name__}: {error}")
    if gap > TOLERANCE or lag > TOLERANCE:
        return Outcome("wrong", f"log-probabilities {gap:.2g} apart, greedy tokens {lag:.2g}")
    return Outcome("exact")


def _rows(engine: Engine) -> list[_Row]:
    """Return rows after every kind of prefix, of different lengths, in one batch."""
    draw = random.Random(5)

    def ids(number: int) -> tuple[int, ...]:
        return tuple(draw.choice(_ORDINARY) for _ in range(number))

    long, short, vectors, states = ids(21), ids(7), ids(11), ids(9)
    with torch.inference_mode():
        embedded = engine.forward.embed(vectors)
        learned = engine.compute_prefix(Prefix((states,)), None)
    prefixes = [
        (Prefix((long,)), long),
        (Prefix((long,)), long),
        (Prefix((short,)), short),
        (Prefix((embedded,)), vectors),
        (Prefix((short, embedded)), short + vectors),
        (Prefix((), states=learned), states),
        (Prefix(), ()),
        (Prefix(((),)), ()),
    ]
    lengths = [9, 4, 18, 5, 2, 12, _LONGEST, 1]
    rows = []
    for (prefix, context), length in zip(prefixes, lengths, strict=True):
        own = ids(length)
        rows.append(_Row(Conditioning(prefix, own), context + own))
    return rows


def _scoring_gap(engine: Engine, model: PreTrainedModel, rows: Sequence[_Row]) -> float:
    """Return the largest difference of a choice's log-probability, in nats."""
    # Of different lengths, one the start of another, two of one start.
    choices = [(5, 9), (5, 9, 14), (5, 30), (77,), (31, 31, 31, 5)]
    scores = engine.score([row.conditioning for row in rows], [choices] * len(rows))
    gaps = [0.0]
    for row, score in zip(rows, scores, strict=True):
        for choice, found in zip(choices, score.logprobs, strict=True):
            logprobs = _logits(model, row.context + choice).log_softmax(-1)
            ends = len(row.context) - 1
            expected = sum(float(logprobs[ends + i, token]) for i, token in enumerate(choice))
            gaps.append(abs(float(found) - expected))
    return max(gaps)


def _training_gap(engine: Engine, model: PreTrainedModel) -> float:
    """Return the largest difference of log-probabilities in the pass that training uses.

    After vectors that are no token's embedding, as learned ones are.
    """
    rows = [(8, 9, 10), (60, 61)]
    gaps = []
    with torch.inference_mode():
        learned = 0.5 * (engine.forward.embed((40, 41, 42)) + engine.forward.embed((50, 51, 52)))
        for vectors in (learned, learned[:0]):
            for row, states in zip(
                rows, engine.run_as_tree(Prefix((vectors,)), rows, None), strict=True
            ):
                ours = engine.forward.logits(states[: len(row)])
                embedded = torch.cat([vectors, engine.forward.embed(row)])[None]
                theirs = model(inputs_embeds=embedded, use_cache=False).logits[0, len(vectors) :]
                gaps.append(ours.log_softmax(-1) - theirs.float().log_softmax(-1))
    return max(float(gap.abs().max()) for gap in gaps)


def _greedy_lag(engine: Engine, model: PreTrainedModel, rows: Sequence[_Row]) -> float:
    """Return by how much a greedy token's logit lies below the highest, at most.

    Not a comparison of tokens: two that are equally probable may change places.
    """
    made = engine.generate(
        [row.conditioning for row in rows], GenerationOptions(max_new_tokens=NEW_TOKENS)
    )
    lags = [0.0]
    for row, generation in zip(rows, made, strict=True):
        tokens = list(generation.token_ids)
        if generation.finish_reason == "eos":
            tokens.append(engine.tokenizer.eos_token_id)
        logits = _logits(model, (*row.context, *tokens[:-1]))[len(row.context) - 1 :]
        chosen = logits[torch.arange(len(tokens)), torch.tensor(tokens)]
        lags.append(float((logits.max(-1).values - chosen).max()))
    return max(lags)


def _logits(model: PreTrainedModel, ids: Sequence[int]) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0].float()
