"""How many dev items each look of a training scores, so that looking stays cheaper than learning.

A look at all of a large dev split can take longer than the steps between two looks. What it may
cost is therefore bound by what those steps cost, counted in tokens and not by a clock, because two
runs must look at the same items.

A forward pass costs about 2N operations per token for a model of N weights, and a backward pass
twice that: once for the gradients of what passes through the layers, once for those of the weights
(Kaplan et al. 2020, "Scaling Laws for Neural Language Models", https://arxiv.org/abs/2001.08361,
section 2.1). The base is frozen, so a step costs a forward pass and one half of a backward pass; a
method that trains all weights pays more for its steps, and looks for a smaller share.

What a smaller sample loses is precision, not fairness: the accuracy of n items has a standard error
of sqrt(p (1 - p) / n), within which steps count as equal and the loss decides (see
`workbench.training.score`).
"""

import math

from workbench.training.options import TrainingOptions

SHARE = 0.2
"""Of the operations of a training, what its looks at dev may cost together."""
LEAST_ITEMS = 16
"""A look at fewer says nothing; they are scored even where steps are as cheap as that."""
_STEP_PASSES = 2  # forward passes that a step on a frozen base costs per token
_WRITTEN = 5  # forward passes over a prompt's token that a token which is written costs


def items_per_look(
    options: TrainingOptions, *, example_tokens: float, item_tokens: float, num_dev: int
) -> int:
    """Return how many dev items each look scores.

    Tokens that all rows share are left out: each step runs them anew, a look only once.

    Args:
        options: Of the training; `dev_items` says it outright.
        example_tokens: Of a training example with its answer, in the mean.
        item_tokens: Of a dev item with all that is scored after it, in the mean.
        num_dev: Size of the dev split.
    """
    if options.dev_items is not None:
        return min(options.dev_items, num_dev)
    steps = options.steps / math.ceil(options.steps / options.eval_every)  # before each look
    learned = steps * options.batch_size * example_tokens * _STEP_PASSES
    return min(num_dev, max(LEAST_ITEMS, math.floor(SHARE * learned / item_tokens)))


def written_tokens(num_read: float, num_written: float) -> float:
    """Return what an item costs, in tokens that are read, whose answer is written."""
    return num_read + _WRITTEN * num_written
