"""Log-probabilities of choices: each row is a tree whose branches are its choices.

The choices of a row share its tokens, so all of them are scored in one pass; logits are computed
only where a choice has a token to come.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from workbench.models.base import ChoiceScores
from workbench.models.forward import BaseForward
from workbench.models.token_tree import TokenTree

_LOGIT_ROWS = 256  # positions whose logits (V,) are held at once

Path = list[tuple[int, int]]  # each token of a choice, after the node that predicts it


def choice_trees(
    rows: Sequence[Sequence[int]], choices: Sequence[Sequence[Sequence[int]]]
) -> tuple[list[TokenTree], list[list[Path]]]:
    """Return each row with its choices as a tree, and where in it each choice runs.

    Args:
        rows: Token ids of each row.
        choices: Per row its C choices, each at least one token id.
    """
    trees, paths = [], []
    for row, row_choices in zip(rows, choices, strict=True):
        tree = TokenTree.chain(row)
        paths.append([_branch(tree, len(row) - 1, choice) for choice in row_choices])
        trees.append(tree)
    return trees, paths


def _branch(tree: TokenTree, end: int, choice: Sequence[int]) -> Path:
    """Branch a choice off the chain's end; return its path.

    Its last token is no node: nothing is predicted after it.
    """
    node = end
    path = [(node, choice[0])]
    for token, following in pairwise(choice):
        node = tree.extend(node, token)
        path.append((node, following))
    return path


def choice_scores(
    forward: BaseForward, hidden: torch.Tensor, paths: Sequence[Sequence[Path]]
) -> list[ChoiceScores]:
    """Return the scores of each row's choices.

    Args:
        forward: Makes logits of hidden states.
        hidden: (B, T, D) final states of the rows' trees.
        paths: What `choice_trees` returned beside them.
    """
    steps = [
        (row, node, token)
        for row, row_paths in enumerate(paths)
        for path in row_paths
        for node, token in path
    ]
    logprobs, greedy = _token_logprobs(forward, hidden, steps)
    results, begin = [], 0
    for row_paths in paths:
        counts = [len(path) for path in row_paths]
        ends = (begin + np.cumsum(counts)).tolist()  # the steps of a choice stand side by side
        spans = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
        results.append(
            ChoiceScores(
                np.array([logprobs[span].sum() for span in spans]),
                np.array(counts),
                np.array([greedy[span].all() for span in spans]),
            )
        )
        begin = ends[-1]
    return results


def _token_logprobs(
    forward: BaseForward, hidden: torch.Tensor, steps: Sequence[tuple[int, int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the log-probability of each (row, node, next token), and whether it is the top."""
    # 1. Each place once: the first tokens of all choices of a row are predicted at the same node.
    places = sorted({(row, node) for row, node, _ in steps})
    number = {place: index for index, place in enumerate(places)}

    # 2. Steps by the block of places whose logits they need.
    wanted: dict[int, list[int]] = {}
    for step, (row, node, _) in enumerate(steps):
        wanted.setdefault(number[row, node] // _LOGIT_ROWS, []).append(step)

    # 3. A block's logits are made, read and dropped: all of them together would be M x V numbers.
    logprobs = np.zeros(len(steps))
    greedy = np.zeros(len(steps), dtype=bool)
    for block, block_steps in wanted.items():
        first = block * _LOGIT_ROWS
        rows, nodes = (
            torch.tensor(part, device=hidden.device)
            for part in zip(*places[first : first + _LOGIT_ROWS], strict=True)
        )
        logits = forward.logits(hidden[rows, nodes])  # (M, V)
        normaliser, top = logits.logsumexp(-1), logits.argmax(-1)
        index = torch.tensor(
            [number[steps[s][0], steps[s][1]] - first for s in block_steps], device=hidden.device
        )
        tokens = torch.tensor([steps[s][2] for s in block_steps], device=hidden.device)
        # In double, because a long choice would gather the rounding of its tokens.
        values = logits[index, tokens].double() - normaliser[index].double()
        logprobs[block_steps] = values.cpu().numpy()
        greedy[block_steps] = (top[index] == tokens).cpu().numpy()
    return logprobs, greedy
