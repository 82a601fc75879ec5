"""Greedy decoding against transformers' `generate`, on the same base in 4 bits and in one run."""

import torch
from transformers import PreTrainedModel

from material import loaded_by_users
from measuring import Figure, interleave
from workbench.models.base import Conditioning, GenerationOptions, Prefix
from workbench.models.engine import Engine
from workbench.tasks.base import Task

_NEW_TOKENS = 24
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

    def run_ours() -> None:
        answers = engine.generate(rows, GenerationOptions(max_new_tokens=_NEW_TOKENS))
        made["ours"] = [list(answer.token_ids) for answer in answers]

    def run_theirs(model: PreTrainedModel) -> None:
        with torch.inference_mode():
            found = model.generate(
                **padded,
                max_new_tokens=_NEW_TOKENS,
                eos_token_id=None,
                do_sample=False,
                pad_token_id=tokenizer.eos_token_id,
            )
        made["theirs"] = found[:, padded["input_ids"].shape[1] :].tolist()

    contenders = {
        "workbench": run_ours,
        "generate": lambda: run_theirs(theirs),
        "on our base": lambda: run_theirs(engine.forward.model),
    }
    for contender in contenders.values():  # what is set up once
        contender()
    timings = interleave(contenders, _REPEATS)
    per_second = {name: size * _NEW_TOKENS / timings.median(name) for name in timings.seconds}
    pairs = zip(made["ours"], made["theirs"], strict=True)
    same = sum(ours == other for ours, other in pairs)
    details = (
        f"{_NEW_TOKENS} greedy tokens after {padded['input_ids'].shape[1]}, prompt included, "
        f"products in {engine.info.compute_dtype}: workbench {per_second['workbench']:.1f} "
        f"tokens/s, generate {per_second['generate']:.1f}, on our base "
        f"{per_second['on our base']:.1f}; {same} of {size} texts equal to those on our base"
    )
    figures = []
    for name, bound in (("generate", target), ("on our base", None)):
        ratio, lowest, highest = timings.ratio(name, "workbench")
        title = "generate" if bound else "generate on our base"
        figures.append(
            Figure(
                f"decoding {size} at once: workbench / {title}",
                ratio,
                target=bound,
                at_least=True,
                lowest=lowest,
                highest=highest,
                details=details if bound else "",
            )
        )
    return figures
