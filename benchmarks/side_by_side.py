"""One question to five methods in one batch against the slowest of them alone."""

import statistics
from pathlib import Path

from material import encoder_for, fit
from measuring import Figure, interleave
from workbench.fitting.base import FittedMethod
from workbench.models.base import Conditioning, GenerationOptions
from workbench.models.engine import Engine
from workbench.tasks.base import Task

_OPTIONS = GenerationOptions(max_new_tokens=32)  # greedy, no stop string
_REPEATS = 3
METHODS: dict[str, dict[str, object]] = {
    "zero_shot": {},
    "few_shot": {"k": 6},
    "chain_of_thought": {},
    "prompt_tuning": {"steps": 1},
    "lora": {"steps": 1},
}


def fit_all(engine: Engine, task: Task, folder: Path) -> dict[str, FittedMethod]:
    """Return the five methods; the trained ones made one step."""
    encoder = encoder_for(engine, task)
    return {
        name: fit(engine, encoder, name, folder, **options) for name, options in METHODS.items()
    }


def measure(engine: Engine, task: Task, fitted: dict[str, FittedMethod]) -> list[Figure]:
    """Return the time of all five methods together over that of the slowest alone."""
    rows = _question(engine, task, fitted)
    contenders = {
        name: lambda row=row: engine.generate([row], _OPTIONS) and None
        for name, row in rows.items()
    }
    contenders["together"] = lambda: engine.generate(list(rows.values()), _OPTIONS) and None
    timings = interleave(contenders, _REPEATS)
    slowest = max(rows, key=timings.median)
    ratio, lowest, highest = timings.ratio("together", slowest)
    alone = ", ".join(f"{name} {timings.median(name):.2f} s" for name in rows)
    total = sum(statistics.median(timings.seconds[name]) for name in rows)
    return [
        Figure(
            f"side by side: five methods together / {slowest} alone",
            ratio,
            target=1.3,
            lowest=lowest,
            highest=highest,
            details=(
                f"{task.name}, {_OPTIONS.max_new_tokens} greedy tokens each, prefixes warm; "
                f"together {timings.median('together'):.2f} s; alone: {alone}; one after the "
                f"other {total:.2f} s"
            ),
        )
    ]


def _question(
    engine: Engine, task: Task, fitted: dict[str, FittedMethod]
) -> dict[str, Conditioning]:
    """Return the first question that every method answers with the full number of tokens."""
    for sample in task.test:
        rows = {name: method.condition(sample.fields) for name, method in fitted.items()}
        answers = engine.generate(list(rows.values()), _OPTIONS)
        if all(answer.finish_reason == "length" for answer in answers):
            return rows
    raise RuntimeError("every question of the test split ends some method early")
