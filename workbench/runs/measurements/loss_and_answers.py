"""Measure conditioned text and answers: what the precisions and the forgetting share."""

from collections.abc import Sequence
from time import perf_counter

from workbench.errors import ConfigError, TaskError
from workbench.fitting.base import FittedMethod
from workbench.fitting.prediction import predict
from workbench.fitting.short_answers import is_right
from workbench.models.base import Prefix
from workbench.models.engine import Engine
from workbench.models.perplexity import block_losses, text_blocks
from workbench.progress import Progress, ProgressEvent, ignore_progress
from workbench.runs.measurements.records import Answers, TextLoss
from workbench.runs.task_metrics import measure
from workbench.tasks.base import Task

_CHUNK = 32  # blocks between two progress events


def text_loss(
    engine: Engine,
    texts: Sequence[str],
    *,
    prefix: Prefix | None = None,
    adapter: str | None = None,
    progress: Progress = ignore_progress,
) -> TextLoss:
    """Return the loss of texts, each on its own, block by block.

    Args:
        engine: Owner of the base.
        texts: At least one with two tokens or more.
        prefix: What stands before each window; the tokenizer's own start unless given.
        adapter: Weight adapter active for all of them, or None.
        progress: Told about each chunk of blocks.

    Raises:
        PromptError: prefix, context and block together exceed the context window.
        TaskError: no text is long enough to score anything.
    """
    blocks = [block for text in texts for block in text_blocks(engine.tokenizer, text)]
    if not blocks:
        raise TaskError("text: no text has two tokens or more, so nothing can be scored.")
    losses: list[float] = []
    for begin in range(0, len(blocks), _CHUNK):
        part = blocks[begin : begin + _CHUNK]
        losses += block_losses(engine, part, prefix=prefix, adapter=adapter).tolist()
        progress(ProgressEvent("text", begin + len(part), len(blocks)))
    return TextLoss(
        losses=losses,
        num_tokens=[len(block.scored_ids) for block in blocks],
        num_bytes=[block.num_bytes for block in blocks],
    )


def answers_to_test(
    engine: Engine, fitted: FittedMethod, *, progress: Progress = ignore_progress
) -> Answers:
    """Return what a fitted method answers to the test split of its task.

    Raises:
        PromptError: a prompt exceeds the context.
    """
    task = fitted.encoder.task
    began = perf_counter()
    predictions = predict(engine, fitted, task.test, progress=progress)
    seconds = perf_counter() - began
    return Answers(
        targets=[p.target for p in predictions],
        answers=[p.answer for p in predictions],
        is_right=[
            is_right(task, p.answer, sample)
            for p, sample in zip(predictions, task.test, strict=True)
        ],
        metrics=measure(task, predictions),
        milliseconds_per_item=1000.0 * seconds / len(predictions),
    )


def check_answerable(task: Task) -> None:
    """Refuse a task whose answers are not right or wrong.

    Raises:
        ConfigError: says which kinds are.
    """
    if task.kind not in ("classification", "short_answer"):
        raise ConfigError(
            f"task '{task.name}': its kind is {task.kind}, whose answers are neither right nor "
            "wrong. Use a task of kind classification or short_answer."
        )
