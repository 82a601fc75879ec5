"""Whether the engine computes what the model computes: a short comparison at each load.

The engine runs a model in ways that it was not written for: after keys and values that were
computed before, with vectors in place of tokens, several choices as branches of one row, one token
after another in a shared cache. Some models cannot be run so (states that pass from token to token,
looks at the token's id deep inside), and most of those fail without an error.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, NamedTuple

import torch
from transformers import PreTrainedModel

from workbench.errors import ModelError
from workbench.models.base import Prefix, PrefixStates
from workbench.models.configs import TRANSFORMERS_ERRORS, cannot_run, first_line
from workbench.models.forward import BaseForward
from workbench.models.lean_step import LeanStep
from workbench.models.quantised_layers import exact_products, restored_products
from workbench.models.token_tree import TokenTree
from workbench.models.wide_products import WideProducts

if TYPE_CHECKING:
    from workbench.models.engine import Engine

_TOKENS = (11, 7, 23, 5, 17, 3, 29, 13, 19, 31)  # any ids do; they only compare ways to logits
_SHARED, _OWN = 3, 6  # of them in the prefix, and before the first choice
_WINDOW = 4  # shorter than the probe
# Root mean square, of the logits' standard deviation. What is computed wrongly may be off by little
# (a cap that is left out), so the bound follows the rounding of the products.
_LEAST_TOLERANCE = 1e-4
_ROUNDINGS = 10.0
# Rounded to so few digits, a token may be sent to another expert, which changes more than rounding.
_COARSE, _LEAST_COARSE_TOLERANCE = 1e-3, 0.3
_INT8_ROUNDING = 1 / 127  # of the inputs of 8-bit products


class _Compared(NamedTuple):
    """Logits (N, V) of the engine and of the model at the same places."""

    what: str
    ours: torch.Tensor
    theirs: torch.Tensor


def check_exact(engine: "Engine") -> PrefixStates:
    """Compare the engine's ways of running rows with the model's own forward pass.

    The model's own pass uses the plainest attention that transformers has, without cache. What is
    stored or multiplied in few bits is compared twice: as it is, where rounding hides much, and in
    float32, where both ways have the same weights and nothing is hidden.

    Returns:
        The keys and values of the probe's prefix, whose shapes are those of any prefix.

    Raises:
        ModelError: they differ, or the model cannot be run so.
    """
    forward = engine.forward
    try:
        with torch.inference_mode(), exact_products(forward.model), _short_window(forward):
            states, compared = _both(engine)
    except torch.OutOfMemoryError:  # says nothing about the architecture
        raise
    except TRANSFORMERS_ERRORS as error:
        why = f"it fails where rows share a prefix ({type(error).__name__}: {first_line(error)})"
        raise _refusal(forward.model, why) from error
    least = float(torch.finfo(torch.float32).eps)
    rounding = float(torch.finfo(forward.dtype).eps)
    if engine.info.precision == "int8":
        rounding = max(rounding, _INT8_ROUNDING)
    _check_gaps(forward, compared, rounding)
    if rounding > least:
        _check_in_float32(engine)
    return states


def _check_in_float32(engine: "Engine") -> None:
    """Compare once more without rounding.

    A failure here says nothing about the model, which has just run as it is stored: a kernel may
    know 16 bits alone, or one matrix in 32 bits may be too much for the memory that is left.
    """
    forward = engine.forward
    try:
        with (
            torch.inference_mode(),
            restored_products(forward.model),
            WideProducts(),  # type: ignore[no-untyped-call]  # torch's own class
            _short_window(forward),
        ):
            _, compared = _both(engine)
    except TRANSFORMERS_ERRORS:
        return
    _check_gaps(forward, compared, float(torch.finfo(torch.float32).eps))


def _check_gaps(forward: BaseForward, compared: list[_Compared], rounding: float) -> None:
    tolerance = _tolerance(rounding, forward.num_layers)
    for what, ours, theirs in compared:
        gap = float((ours - theirs).square().mean().sqrt() / theirs.std())
        # Not `gap >= …`, which a NaN would pass.
        if not gap < tolerance:
            why = f"logits of {what} differ by {gap:.2g} standard deviations"
            raise _refusal(forward.model, why)


def _both(engine: "Engine") -> tuple[PrefixStates, list[_Compared]]:
    """Return the prefix's states, and logits of the engine beside the model's."""
    forward = engine.forward
    vocabulary = forward.model.get_input_embeddings().weight.shape[0]
    shared = [token % vocabulary for token in _TOKENS[:_SHARED]]
    own = [token % vocabulary for token in _TOKENS[_SHARED:_OWN]]
    fork, left, right, last = (token % vocabulary for token in _TOKENS[_OWN:])
    with _plain_attention(forward.model):
        ids = [[*shared, *own, fork, leaf, last] for leaf in (left, right)]
        theirs = forward.model(
            input_ids=torch.tensor(ids, device=forward.device), use_cache=False
        ).logits.float()

    # 1. Ids and vectors as a prefix. Behind it one that is no token's embedding, as learned vectors
    # are: a model that looks for the token fails there, and nothing before it is changed.
    vectors = forward.embed(shared[1:])
    prefix = Prefix((tuple(shared[:1]), vectors))
    learned = Prefix((*prefix.pieces, vectors.mean(dim=0, keepdim=True)))
    states = engine.compute_prefix(learned, None).first(_SHARED)

    # 2. In one batch: a row after the prefix, one without a prefix, and one that branches.
    tree = TokenTree.chain([*own, fork, left])
    tree.extend(len(own), right)
    rows = [
        TokenTree.chain([*own, fork, left]),
        TokenTree.chain([*shared, *own, fork, right]),
        tree,
    ]
    run = engine.run(rows, [states, None, states], [None] * 3, room=1)
    hidden = [run.hidden[row, : len(nodes)] for row, nodes in enumerate(rows)]

    # 3. One more token for the two that are chains.
    cache = run.decoding_cache()
    cache.keep_rows(torch.tensor([0, 1], device=forward.device))
    length = len(ids[0]) - 1
    stepped = forward.step(torch.full((2,), last, device=forward.device), cache)

    # 4. Prefix and rows as one tree, as in training.
    trained = engine.run_as_tree(prefix, [[*own, fork, left], [*own, fork, right]], None)
    branches = torch.cat([theirs[0, _SHARED:length], theirs[1, length - 1 : length]])
    return states, [
        _Compared("a row", forward.logits(hidden[1]), theirs[1, :length]),
        _Compared("a shared prefix", forward.logits(hidden[0]), theirs[0, _SHARED:length]),
        _Compared("choices", forward.logits(hidden[2]), branches),
        _Compared("the next token", stepped, theirs[:, length]),
        _Compared(
            "a training batch", forward.logits(torch.stack(trained)), theirs[:, _SHARED:length]
        ),
    ]


def equal_lean_step(engine: "Engine") -> LeanStep | None:
    """Return the base's lean step if its logits are those of its own forward pass, bit for bit.

    As it is stored and multiplied, for one row, and for two of different length and two steps: the
    second one sees what the first has written. All weights are read in each of eight passes, which
    is what this takes, so no prompt is run twice.
    """
    forward = engine.forward
    lean = forward.new_lean_step()
    if lean is None or not lean.can_run:
        return None
    tokens = [token % forward.num_embeddings for token in _TOKENS]
    short, long = tokens[:_WINDOW], tokens[:_OWN]
    for rows, steps in (([short], tokens[:1]), ([long, short], tokens[:2])):
        found: list[torch.Tensor] = []
        with torch.inference_mode(), _short_window(forward):
            trees = [TokenTree.chain(row) for row in rows]
            run = engine.run(trees, [None] * len(rows), [None] * len(rows), room=len(steps))
            cache = run.decoding_cache()
            for forward.lean, states in ((None, deepcopy(cache)), (lean, cache)):
                logits = [
                    forward.step(torch.full((len(rows),), token, device=forward.device), states)
                    for token in steps
                ]
                found.append(torch.stack(logits))
        forward.lean = None
        if not torch.equal(*found):
            return None
    return lean


@contextmanager
def _plain_attention(model: PreTrainedModel) -> Iterator[None]:
    """Let a model compute attention as its authors wrote it, inside the block."""
    usual = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(usual)


@contextmanager
def _short_window(forward: BaseForward) -> Iterator[None]:
    """Let layers with a window see fewer tokens than the probe has, inside the block."""
    config, window = forward.model.config.get_text_config(), forward.window
    usual = getattr(config, "sliding_window", None)
    if not usual:
        yield
        return
    config.sliding_window = _WINDOW
    forward.window = _WINDOW if window else None
    try:
        yield
    finally:
        config.sliding_window, forward.window = usual, window


def _tolerance(rounding: float, num_layers: int) -> float:
    """Return how far two orders of the same sums may lie apart, by what they are rounded to."""
    least = _LEAST_COARSE_TOLERANCE if rounding > _COARSE else _LEAST_TOLERANCE
    return max(least, _ROUNDINGS * rounding * math.sqrt(num_layers))


def _refusal(model: PreTrainedModel, why: str) -> ModelError:
    return cannot_run(model.config, why, f"model '{model.config._name_or_path}'")
