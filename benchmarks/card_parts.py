"""One part of `card.py` on one base, in a process of its own; rows are written as they come."""

import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import GenerationConfig

import planner
import training_step
from card_bases import config_of, open_base, write_base
from measuring import Figure, interleave
from workbench.budget.sources import find_shape
from workbench.memory import keep_freed_memory
from workbench.models.base import Conditioning, GenerationOptions, Prefix
from workbench.models.engine import Engine
from workbench.tasks.catalog import load_task

_BATCHES = (1, 5, 16)
_PROMPT_TOKENS, _NEW_TOKENS, _TINY_NEW_TOKENS = 128, 64, 12
_REPEATS = 3
_BYTES = 256  # tokens of the tokenizer that stand for bytes, from 1
_TRAINED = ("lora", "prompt_tuning")


@dataclass(frozen=True)
class Given:
    """What a part is given.

    Attributes:
        shape: Name of the base's shape.
        folder: Where the base is, or is to be made.
        scratch: A folder for what is trained.
        device: "cpu" or "cuda".
        is_tiny: Whether the base is a tiny one, which shows that the paths work.
    """

    shape: str
    folder: Path
    scratch: Path
    device: str
    is_tiny: bool

    def engine(self) -> Engine:
        """Return an engine over the base."""
        return Engine(open_base(self.folder, self.device))


def make(given: Given) -> Iterator[Figure]:
    """Make the base."""
    config = config_of(given.shape, is_tiny=given.is_tiny)
    write_base(config, given.folder, given.device)
    size = sum(path.stat().st_size for path in given.folder.glob("*.safetensors"))
    yield Figure(f"{given.shape}: GB of random weights in bfloat16", size / 1e9)


def decode(given: Given) -> Iterator[Figure]:
    """Measure greedy answers against `generate` of transformers on the same NF4 model."""
    engine = given.engine()
    for batch in _BATCHES:
        yield _decoded(given, engine, batch, _TINY_NEW_TOKENS if given.is_tiny else _NEW_TOKENS)


def _decoded(given: Given, engine: Engine, batch: int, tokens: int) -> Figure:
    generator = torch.Generator().manual_seed(batch)
    ids = torch.randint(1, _BYTES, (batch, _PROMPT_TOKENS), generator=generator)
    rows = [Conditioning(Prefix(), tuple(row)) for row in ids.tolist()]
    prompts = ids.to(engine.forward.device)
    config = GenerationConfig(
        max_new_tokens=tokens,
        min_new_tokens=tokens,
        do_sample=False,
        eos_token_id=engine.tokenizer.eos_token_id,
        pad_token_id=engine.tokenizer.pad_token_id,
    )
    found: dict[str, list[list[int]]] = {}
    engine._end_tokens = frozenset()  # both sides write as many tokens

    def ours() -> None:
        answers = engine.generate(rows, GenerationOptions(max_new_tokens=tokens))
        found["ours"] = [list(answer.token_ids) for answer in answers]

    def theirs() -> None:
        with torch.inference_mode():
            mask = torch.ones_like(prompts)
            answers = engine.forward.model.generate(prompts, config, attention_mask=mask)
        found["theirs"] = answers[:, _PROMPT_TOKENS:].tolist()

    contenders = {"generate": theirs, "workbench": ours}
    interleave(contenders, 1)  # what is compiled or captured once
    timings = interleave(contenders, _REPEATS)
    ratio, lowest, highest = timings.ratio("generate", "workbench")
    pairs = list(zip(found["ours"], found["theirs"], strict=True))
    equal = sum(mine == other for mine, other in pairs)
    agreed = sum(_shared_start(*pair) for pair in pairs) / (tokens * batch)
    speed = {name: tokens * batch / timings.median(name) for name in contenders}
    return Figure(
        f"{given.shape}: tokens/s at batch {batch}, workbench / generate",
        ratio,
        target=1.0,
        at_least=True,
        lowest=lowest,
        highest=highest,
        details=(
            f"nf4, compute {engine.info.compute_dtype}, {_PROMPT_TOKENS} tokens given, {tokens} "
            f"written; workbench {speed['workbench']:.1f}/s, generate {speed['generate']:.1f}/s; "
            f"{equal} of {batch} answers equal to the last token, {agreed:.0%} of tokens before "
            "the first difference"
        ),
    )


def scoring(given: Given) -> Iterator[Figure]:
    """Measure 8-shot scoring against the backend of lm-evaluation-harness."""
    from scoring import compare  # not everybody has it installed  # noqa: PLC0415

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    engine = given.engine()
    figure = compare(load_task("support_intents"), given.scratch, engine, engine.forward.model)
    yield _named(given, figure)


def training(given: Given) -> Iterator[Figure]:
    """Measure a training step against PEFT with Trainer."""
    figures = training_step.steps_against_trainer(
        given.engine(),
        load_task("support_intents"),
        given.scratch,
        twin=lambda: open_base(given.folder, given.device).model,
        target=1.0,
    )
    for figure in figures:
        yield _named(given, figure)


def memory(given: Given) -> Iterator[Figure]:
    """Compare the peak memory of training with the planner's estimate; one method at a time."""
    shape = find_shape(str(given.folder))
    task = load_task("support_intents")
    before = planner.allocated_now()
    engine = given.engine()
    for name in _TRAINED:
        found = planner.peak_and_estimate(engine, shape, task, name, {}, before)
        yield _named(given, planner.figure_of(name, found))


PARTS: Mapping[str, Callable[[Given], Iterator[Figure]]] = {
    "make": make,
    "decode": decode,
    "training": training,
    "scoring": scoring,
    "memory": memory,
}
"""In their order; the first makes what the others use."""


def _named(given: Given, figure: Figure) -> Figure:
    return Figure(**{**asdict(figure), "name": f"{given.shape}: {figure.name}"})


def _shared_start(first: list[int], second: list[int]) -> int:
    """Return how many tokens two answers have in common before they part."""
    for number, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return number
    return min(len(first), len(second))


def _main(part: str, shape: str, folder: str, device: str, rows: str, size: str) -> None:
    """Run one part and append a line of JSON for each of its figures."""
    warnings.simplefilter("ignore")
    keep_freed_memory()  # as every session of the workbench does; both sides profit
    with tempfile.TemporaryDirectory() as scratch:
        given = Given(shape, Path(folder), Path(scratch), device, is_tiny=size == "tiny")
        for figure in PARTS[part](given):
            line = {"shape": shape, "part": part, "device": device, **asdict(figure)}
            with Path(rows).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
