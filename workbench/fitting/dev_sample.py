"""Which dev items the looks of a training score: the same ones at each look, and in each row."""

from collections.abc import Sequence

from workbench.encoding import PromptEncoder
from workbench.tasks.base import Sample
from workbench.tasks.nested import fixed_sample
from workbench.training.dev_looks import items_per_look, written_tokens
from workbench.training.options import TrainingOptions

_MOST_COUNTED = 200  # texts whose tokens are counted for a mean


def dev_sample(encoder: PromptEncoder, options: TrainingOptions) -> list[Sample]:
    """Return the dev items that a training looks at, in their order.

    Which ones follows from their content, so methods, seeds and learning rates that take equal
    steps are chosen on equal items, and others on a part of each other's. Tokens are counted as
    zero-shot would need them, for the same reason.
    """
    task = encoder.task
    num = items_per_look(
        options,
        example_tokens=mean_example_tokens(encoder),
        item_tokens=mean_item_tokens(encoder),
        num_dev=len(task.dev),
    )
    return fixed_sample(task.dev, num, stratify=bool(task.labels))


def mean_example_tokens(encoder: PromptEncoder) -> float:
    """Return the tokens of a training example with its answer, in the mean."""
    samples = _counted(encoder, encoder.task.train)
    return _mean(encoder, samples) + _mean_answer(encoder, samples)


def mean_item_tokens(encoder: PromptEncoder) -> float:
    """Return what scoring a dev item costs in tokens, in the mean.

    All labels are read after its text; a short answer is written, and the right one read.
    """
    samples = _counted(encoder, encoder.task.dev)
    read = _mean(encoder, samples)
    if encoder.task.labels:
        return read + sum(len(choice) - 1 for choice in encoder.choice_ids())
    answer = _mean_answer(encoder, samples)
    return (
        read
        + answer
        + (written_tokens(read, answer) if encoder.task.kind == "short_answer" else 0.0)
    )


def _counted(encoder: PromptEncoder, samples: Sequence[Sample]) -> list[Sample]:
    return fixed_sample(samples, _MOST_COUNTED, stratify=bool(encoder.task.labels))


def _mean(encoder: PromptEncoder, samples: Sequence[Sample]) -> float:
    start = encoder.start()
    return sum(len(encoder.own_ids(one.fields, start)) for one in samples) / len(samples)


def _mean_answer(encoder: PromptEncoder, samples: Sequence[Sample]) -> float:
    """Return the tokens of an answer; of labels, those of the longest."""
    if encoder.task.labels:
        return max(map(len, encoder.choice_ids()))
    return sum(len(encoder.answer_ids(one.fields, one.target)) + 1 for one in samples) / len(
        samples
    )
