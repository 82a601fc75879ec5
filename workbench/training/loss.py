"""The loss of a batch, with gradients: answer tokens only, after one run of the prefix."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch

from workbench.batches import PASS_TOKENS, Example
from workbench.models.base import Prefix
from workbench.models.engine import Engine
from workbench.models.recomputing import recomputed_layers
from workbench.models.token_tree import TokenTree


def answer_loss(
    engine: Engine,
    prefix: Prefix,
    adapter: str | None,
    batch: Sequence[Example],
    *,
    of: int | None = None,
    recomputes: bool = False,
) -> torch.Tensor:
    """Return the mean over examples of the mean negative log-likelihood of the answer's tokens.

    The prefix is run once for the whole batch; gradients of all rows meet in it.

    Args:
        engine: Runs the rows.
        prefix: What all rows share.
        adapter: Active for all rows, or None.
        batch: The rows.
        of: Examples that the mean is over, where the batch is part of a larger one, whose loss is
            then the sum of its parts'.
        recomputes: Whether layers keep their inputs alone, see `recomputed_layers`.

    Raises:
        ModelError: layers that cannot be run again.
    """
    # The last answer token is predicted, and nothing after it, so it need not be run.
    rows = [example.token_ids + example.answer_ids[:-1] for example in batch]
    states: list[torch.Tensor] = []
    again = recomputed_layers(engine.forward.model) if recomputes else nullcontext()
    found = _row_states(engine, prefix, adapter, rows, again)
    for example, hidden in zip(batch, found, strict=True):
        states.append(
            hidden[len(example.token_ids) - 1 : len(example.token_ids + example.answer_ids) - 1]
        )
    logits = engine.forward.logits(torch.cat(states))  # (answer tokens, V)
    targets = [token for example in batch for token in example.answer_ids]
    losses = torch.nn.functional.cross_entropy(
        logits, torch.tensor(targets, device=logits.device), reduction="none"
    )
    weights = [
        1.0 / (len(example.answer_ids) * (of or len(batch)))
        for example in batch
        for _ in example.answer_ids
    ]
    return (losses * torch.tensor(weights, device=losses.device)).sum()


def _row_states(
    engine: Engine,
    prefix: Prefix,
    adapter: str | None,
    rows: Sequence[tuple[int, ...]],
    again: AbstractContextManager[None],
) -> Sequence[torch.Tensor]:
    """Return hidden states (T, D) of each row: one pass for short batches and a row, else two."""
    positions = prefix.num_tokens + max(map(len, rows)) * len(rows)
    if prefix.states is None and (positions <= PASS_TOKENS or len(rows) == 1):
        with again:
            return engine.run_as_tree(prefix, rows, adapter, training=True)
    state = None
    if prefix.num_tokens:
        state = engine.compute_prefix(prefix, adapter, training=True)
    trees = [TokenTree.chain(row) for row in rows]
    shared, adapters = [state] * len(rows), [adapter] * len(rows)
    with again:
        return list(engine.run(trees, shared, adapters, training=True).hidden)
