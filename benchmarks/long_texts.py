"""What demonstrations cost, and time and memory over text length, methods resident and items.

The other side of the table over length is plain transformers with its own attention ("sdpa") on a
base of its own in a process of its own, so that each side's peak memory is its own.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from material import encoder_for, fit, load_engine, load_material
from measuring import Figure, interleave
from workbench.fitting.prediction import predict
from workbench.models.adapters.bank import WeightAdapter
from workbench.models.adapters.layer_changes import LowRankChange, new_low_rank
from workbench.models.base import Conditioning, GenerationOptions, Prefix
from workbench.models.engine import Engine
from workbench.models.layers import features_of, linear_layers
from workbench.tasks.base import Task

_DEMONSTRATIONS = (2, 4, 8, 16, 32)
_LENGTHS = (512, 2048, 8192)
_NEW_TOKENS = 32
_WORKS = ("scoring", "answering", "training")
_SIDES = ("workbench", "transformers")
_METHODS = (1, 5, 20)
_ITEMS = (100, 1000, 10_000)
_IS_QUICK = bool(os.environ.get("WORKBENCH_QUICK_BENCH"))


def measure(task: Task, folder: Path, engine: Engine) -> list[Figure]:
    """Return the tables over demonstrations, text length, methods resident and items."""
    return [
        *_over_demonstrations(task, folder, engine),
        *_over_methods(task, folder, engine),
        *_over_items(task, folder, engine),
        *_over_length(),
    ]


def _over_demonstrations(task: Task, folder: Path, engine: Engine) -> list[Figure]:
    encoder = encoder_for(engine, task)
    numbers = (0, 32) if _IS_QUICK else (0, *_DEMONSTRATIONS)
    fitted = {
        number: fit(engine, encoder, "few_shot", folder / str(number), k=number)
        if number
        else fit(engine, encoder, "zero_shot", folder / "0")
        for number in numbers
    }

    def run(number: int) -> Callable[[], None]:
        def contender() -> None:
            engine.prefixes.clear()  # so that the shared prefix is computed in every repeat
            predict(engine, fitted[number], task.test)

        return contender

    timings = interleave({str(n): run(n) for n in numbers}, 1 if _IS_QUICK else 2)
    figures = []
    for number in numbers[1:]:
        ratio, lowest, highest = timings.ratio(str(number), "0")
        figures.append(
            Figure(
                f"scoring with {number} demonstrations / with none",
                ratio,
                target=1.3 if number == numbers[-1] else None,
                lowest=lowest,
                highest=highest,
                details=(
                    f"{len(task.test)} items, {fitted[number].start.prefix.num_tokens} shared "
                    f"tokens; {timings.median(str(number)):.1f} s against "
                    f"{timings.median('0'):.1f} s; {_settings(engine)}"
                ),
            )
        )
    return figures


def _over_methods(task: Task, folder: Path, engine: Engine) -> list[Figure]:
    """Time one method while others wait: their adapters and prefixes are in memory."""
    encoder = encoder_for(engine, task)
    items = task.test[:50]
    asked = fit(engine, encoder, "zero_shot", folder / "asked")
    seconds, held = {}, 0
    for number in _METHODS:
        while held < number - 1:
            held += 1
            _hold(engine, f"resident {held}")
        predict(engine, asked, items)
        began = time.perf_counter()
        predict(engine, asked, items)
        seconds[number] = time.perf_counter() - began
    for name in range(1, held + 1):
        engine.adapters.remove(f"resident {name}")
    return [
        Figure(
            f"scoring with {number} methods resident / with one",
            seconds[number] / seconds[1],
            details=f"{len(items)} items of one method; {seconds[number]:.2f} s",
        )
        for number in _METHODS[1:]
    ]


def _hold(engine: Engine, name: str) -> None:
    """Put a LoRA on queries and values into memory."""
    generator = torch.Generator().manual_seed(0)
    layers = linear_layers(engine.forward.model, "attention_qv")
    changes = {
        layer: LowRankChange(*new_low_rank(features_of(module), 8, generator), 2.0)
        for layer, module in layers.items()
    }
    engine.adapters.add(name, WeightAdapter(changes))


def _over_items(task: Task, folder: Path, engine: Engine) -> list[Figure]:
    """Time so many items, the test set as often as it takes."""
    encoder = encoder_for(engine, task)
    fitted = fit(engine, encoder, "zero_shot", folder / "items")
    numbers = _ITEMS[:2] if _IS_QUICK else _ITEMS
    seconds = {}
    for number in numbers:
        items = (task.test * (number // len(task.test) + 1))[:number]
        began = time.perf_counter()
        predict(engine, fitted, items)
        seconds[number] = time.perf_counter() - began
    first = seconds[numbers[0]] / numbers[0]
    return [
        Figure(
            f"scoring {number} items: seconds per item / with {numbers[0]}",
            seconds[number] / number / first,
            details=f"{seconds[number]:.1f} s",
        )
        for number in numbers[1:]
    ]


def _over_length() -> list[Figure]:
    figures = []
    for length in _LENGTHS[:2] if _IS_QUICK else _LENGTHS:
        for work in _WORKS:
            ours, theirs = (_apart(side, work, length) for side in _SIDES)
            figures.append(
                Figure(
                    f"{work}, {length} tokens: seconds, workbench / transformers",
                    ours["seconds"] / theirs["seconds"],
                    details=(
                        f"{ours['seconds']:.2f} s against {theirs['seconds']:.2f} s; peak above "
                        f"the loaded base {ours['mib']:.0f} MiB against {theirs['mib']:.0f} MiB; "
                        f"fp32, one text{_what(work)}"
                    ),
                )
            )
    return figures


def _what(work: str) -> str:
    return {
        "scoring": ", two labels",
        "answering": f", {_NEW_TOKENS} new tokens",
        "training": ", gradients of 12 vectors before it",
    }[work]


def _settings(engine: Engine) -> str:
    return f"{engine.info.precision}, compute {engine.info.compute_dtype}"


def _apart(side: str, work: str, length: int) -> dict[str, float]:
    command = [sys.executable, __file__, side, work, str(length)]
    threads = {"OMP_NUM_THREADS": str(os.environ.get("OMP_NUM_THREADS", os.cpu_count()))}
    done = subprocess.run(
        command, env=os.environ | threads, check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _one(side: str, work: str, length: int) -> None:
    """Do one work on one side in this process; print seconds and memory."""
    engine = load_engine("fp32")
    ids = engine.tokenizer("The film was long and the evening longer. " * (length // 8)).input_ids
    text = tuple(ids[: length - _NEW_TOKENS])
    does = _ours if side == "workbench" else _theirs
    run = does(engine, work, text)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is that of loading
    before = _peak_kib()
    began = time.perf_counter()
    run()
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "mib": (_peak_kib() - before) / 1024}))


def _peak_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _ours(engine: Engine, work: str, text: tuple[int, ...]) -> Callable[[], object]:
    row = Conditioning(Prefix(), text)
    if work == "scoring":
        return lambda: engine.score([row], [_labels(engine)])
    if work == "answering":
        engine._end_tokens = frozenset()  # both sides write as many tokens
        options = GenerationOptions(max_new_tokens=_NEW_TOKENS)
        return lambda: engine.generate([row], options)

    def train() -> None:
        vectors = engine.forward.embed(text[:12]).requires_grad_()
        hidden = engine.run_as_tree(Prefix((vectors,)), [text], None, training=True)[0]
        engine.forward.logits(hidden[-1:]).logsumexp(-1).sum().backward()

    return train


def _theirs(engine: Engine, work: str, text: tuple[int, ...]) -> Callable[[], object]:
    model = engine.forward.model
    model.set_attn_implementation("sdpa")
    ids = torch.tensor([text])
    if work == "scoring":

        def score() -> None:  # once per label, as lm-evaluation-harness does
            with torch.inference_mode():
                for label in _labels(engine):
                    one = torch.tensor([[*text, *label[:-1]]])
                    model(one, logits_to_keep=1).logits.log_softmax(-1)

        return score
    if work == "answering":
        return lambda: model.generate(
            ids, max_new_tokens=_NEW_TOKENS, min_new_tokens=_NEW_TOKENS, do_sample=False
        )

    def train() -> None:
        embedded = model.get_input_embeddings()(ids)
        vectors = embedded[:, :12].clone().requires_grad_()
        whole = torch.cat([vectors, embedded], dim=1)
        model(inputs_embeds=whole, logits_to_keep=1, use_cache=False).logits.logsumexp(
            -1
        ).sum().backward()

    return train


def _labels(engine: Engine) -> list[tuple[int, ...]]:
    words = (" positive", " negative")
    return [tuple(engine.tokenizer(word, add_special_tokens=False).input_ids) for word in words]


def _items_alone() -> None:
    """Print the table over items."""
    with tempfile.TemporaryDirectory() as folder:
        for figure in _over_items(load_material(), Path(folder), load_engine()):
            print(figure.row())


if __name__ == "__main__":  # one work of one side, or "items"
    if sys.argv[1] == "items":
        _items_alone()
    else:
        _one(sys.argv[1], sys.argv[2], int(sys.argv[3]))
