"""Greedy decoding against transformers' `generate`, on the same base in 4 bits and in one run."""

from collections.abc import Callable
from functools import partial

import torch
from transformers import PreTrainedModel

from material import loaded_by_users
from measuring import Figure, Timings, interleave
from workbench.models.base import Conditioning, GenerationOptions, Prefix
from workbench.models.engine import Engine
from workbench.tasks.base import Task

_FIRST, _NEW_TOKENS = 4, 24  # tokens; the time between both is that of decoding alone
_REPEATS = 3
_TARGETS = {1: 4.0, 5: 3.0, 16: 2.0}  # by rows of a batch


def measure(engine: Engine, task: Task) -> list[Figure]:
    """Return tokens per second over those of `generate`, as loaded by its users and on our base."""
    theirs = loaded_by_users(engine.info)
    usual, engine._end_tokens = engine._end_tokens, frozenset()  # as many tokens on every side
    try:
        return [
            figure
            for size, target in _TARGETS.items()
            for figure in _compare(engine, theirs, _texts(task, size), target)
        ]
    finally:
        engine._end_tokens = usual


def _texts(task: Task, size: int) -> list[str]:
    return [f"Review: {sample.fields['text']}\nA longer review:" for sample in task.test[:size]]


def _compare(
    engine: Engine, theirs: PreTrainedModel, texts: list[str], target: float
) -> list[Figure]:
    tokenizer, size = engine.tokenizer, len(texts)
    rows = [Conditioning(Prefix(), tuple(tokenizer(text).input_ids)) for text in texts]
    padded = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
    made: dict[str, list[list[int]]] = {}

    def ours(tokens: int) -> None:
        answers = engine.generate(rows, GenerationOptions(max_new_tokens=tokens))
        made[f"ours {tokens}"] = [list(answer.token_ids) for answer in answers]

    def generate(model: PreTrainedModel, tokens: int) -> None:
        with torch.inference_mode():
            found = model.generate(
                **padded,
                max_new_tokens=tokens,
                eos_token_id=None,
                do_sample=False,
                pad_token_id=tokenizer.eos_token_id,
            )
        made[f"theirs {tokens}"] = found[:, padded["input_ids"].shape[1] :].tolist()

    sides: dict[str, Callable[[int], None]] = {
        "workbench": ours,
        "generate": partial(generate, theirs),
        "generate on our base": partial(generate, engine.forward.model),
    }
    contenders = {
        f"{name} {tokens}": partial(side, tokens)
        for name, side in sides.items()
        for tokens in (_FIRST, _NEW_TOKENS)
    }
    for contender in contenders.values():  # what is set up once
        contender()
    timings = interleave(contenders, _REPEATS)
    whole = Timings({name: timings.seconds[f"{name} {_NEW_TOKENS}"] for name in sides})
    alone = Timings(
        {
            name: [
                long - short
                for long, short in zip(
                    whole.seconds[name], timings.seconds[f"{name} {_FIRST}"], strict=True
                )
            ]
            for name in sides
        }
    )
    pairs = zip(made[f"ours {_NEW_TOKENS}"], made[f"theirs {_NEW_TOKENS}"], strict=True)
    same = sum(ours == other for ours, other in pairs)
    told = f"{same} of {size} texts equal to those on our base"
    return [
        *_figures(f"decoding {size} at once", alone, _NEW_TOKENS - _FIRST, size, target, told),
        *_figures(
            f"decoding {size} at once, {padded['input_ids'].shape[1]} tokens of prompt included",
            whole,
            _NEW_TOKENS,
            size,
            target,
            f"products in {engine.info.compute_dtype}",
        ),
    ]


def _figures(
    title: str, timings: Timings, tokens: int, size: int, target: float, told: str
) -> list[Figure]:
    speeds = ", ".join(
        f"{name} {size * tokens / timings.median(name):.1f}" for name in timings.seconds
    )
    figures = []
    for other in list(timings.seconds)[1:]:
        ratio, lowest, highest = timings.ratio(other, "workbench")
        bound = target if other == "generate" else None
        figures.append(
            Figure(
                f"{title}: workbench / {other}",
                ratio,
                target=bound,
                at_least=True,
                lowest=lowest,
                highest=highest,
                details=f"{tokens} greedy tokens each; tokens/s: {speeds}; {told}" if bound else "",
            )
        )
    return figures
