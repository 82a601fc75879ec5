"""8-shot label scoring against lm-evaluation-harness, on the same base as transformers loads it."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel

from material import encoder_for, fit, load_engine, loaded_by_users
from measuring import Figure, interleave
from workbench.fitting.base import FittedMethod
from workbench.fitting.prediction import predict
from workbench.models.engine import Engine
from workbench.tasks.base import Sample, Task
from workbench.templates import continue_text

_OUR_ITEMS, _THEIR_ITEMS = 240, 12
_SHOTS = 8
_REPEATS = 3
_BATCH_SIZES = (1, 8)


def measure(task: Task, folder: Path, engine: Engine) -> list[Figure]:
    """Return the speed-up in the precision of `engine` and in fp32."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    plain = load_engine("fp32")
    return [
        compare(task, folder / "nf4", engine, loaded_by_users(engine.info)),
        compare(task, folder / "fp32", plain, loaded_by_users(plain.info)),
    ]


def compare(task: Task, folder: Path, engine: Engine, model: PreTrainedModel) -> Figure:
    """Return how many times as many items a second as lm-eval with a model the engine scores."""
    encoder = encoder_for(engine, task)
    fitted = fit(engine, encoder, "few_shot", folder, k=_SHOTS)
    ours = task.test[:_OUR_ITEMS]
    by_length = sorted(ours, key=lambda sample: len(sample.fields["text"]))
    theirs = by_length[:: len(ours) // _THEIR_ITEMS][:_THEIR_ITEMS]
    harnesses = {
        size: HFLM(pretrained=model, tokenizer=engine.tokenizer, batch_size=size)
        for size in _BATCH_SIZES
    }
    seconds, found = {}, None
    for size, harness in harnesses.items():
        began = time.perf_counter()
        found = _their_logprobs(harness, fitted, theirs)
        seconds[size] = time.perf_counter() - began
    best = min(seconds, key=lambda size: seconds[size])
    gap = _largest_gap(engine, fitted, theirs, found)

    def run_ours() -> None:
        engine.prefixes.clear()  # so that the shared prefix is computed in every repeat
        predict(engine, fitted, ours)

    timings = interleave(
        {
            "lm-eval": lambda: _their_logprobs(harnesses[best], fitted, theirs) and None,
            "workbench": run_ours,
        },
        _REPEATS,
    )
    ratio, lowest, highest = timings.ratio("lm-eval", "workbench", len(ours) / len(theirs))
    return Figure(
        f"scoring {engine.info.precision}: items/s, workbench / lm-eval",
        ratio,
        target=15.0,
        at_least=True,
        lowest=lowest,
        highest=highest,
        details=(
            f"{task.name}, {_SHOTS}-shot, {len(fitted.start.prefix.pieces[0])} shared tokens, "
            f"compute {engine.info.compute_dtype}; workbench "
            f"{len(ours) / timings.median('workbench'):.1f}/s ({len(ours)} items), lm-eval "
            f"{len(theirs) / timings.median('lm-eval'):.2f}/s ({len(theirs)} items of the same "
            f"spread of lengths, batch {best}; first try "
            + ", ".join(f"{seconds[size]:.1f} s at batch {size}" for size in _BATCH_SIZES)
            + f"); largest difference of a log-probability {gap:.1g}"
        ),
    )


def _their_logprobs(
    harness: HFLM, fitted: FittedMethod, samples: Sequence[Sample]
) -> list[tuple[float, bool]]:
    encoder = fitted.encoder
    requests = []
    for sample in samples:
        prompt = encoder.render(sample.fields, fitted.start.demonstrations).text
        for index, label in enumerate(encoder.task.labels):
            answer = continue_text(prompt, encoder.template.word(label))[len(prompt) :]
            requests.append(Instance("loglikelihood", {}, (prompt, answer), index))
    answers: list[tuple[float, bool]] = harness.loglikelihood(requests, disable_tqdm=True)
    return answers


def _largest_gap(
    engine: Engine,
    fitted: FittedMethod,
    samples: Sequence[Sample],
    theirs: Sequence[tuple[float, bool]] | None,
) -> float:
    rows = [fitted.condition(sample.fields) for sample in samples]
    scores = engine.score(rows, [fitted.encoder.choice_ids()] * len(rows))
    ours = np.concatenate([score.logprobs for score in scores])
    return float(np.abs(ours - np.array([logprob for logprob, _ in theirs or ()])).max())
