"""Memory of five resident methods relative to the base they share."""

import subprocess
import sys
from pathlib import Path

import psutil

from material import REPOSITORY, encoder_for, fit, load_engine, load_material
from measuring import Figure
from side_by_side import METHODS
from workbench.fitting.base import FitContext, FittedMethod, SupportsSave
from workbench.fitting.prediction import predict
from workbench.methods.catalog import make_method
from workbench.models.engine import Engine
from workbench.tasks.base import Task

_TRAINED = ("prompt_tuning", "lora")


def measure(
    engine: Engine, task: Task, fitted: dict[str, FittedMethod], folder: Path
) -> list[Figure]:
    """Return bytes of five resident methods over those of the base, counted and as seen outside."""
    for name in _TRAINED:
        method = make_method(name, {})
        assert isinstance(method, SupportsSave)
        context = FitContext(engine, fitted[name].encoder, 0, folder, adapter_name=name)
        method.save(context, fitted[name], folder / name)
    engine.prefixes.clear()
    for method in fitted.values():
        predict_labels(engine, task, method)
    adapters = sum(
        p.numel() * p.element_size() for p in engine.adapters.parameters("lora").values()
    )
    vectors = sum(
        piece.numel() * piece.element_size()
        for piece in fitted["prompt_tuning"].prefix.pieces
        if not isinstance(piece, tuple)
    )
    counted = adapters + vectors + engine.prefixes.num_bytes
    base = engine.info.footprint_bytes
    command = [sys.executable, __file__, str(folder)]
    result = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    before, after = map(int, result.stdout.split()[-2:])
    return [
        Figure(
            "memory: tensors of five resident methods / base",
            counted / base,
            target=0.1,
            details=(
                f"base {_mib(base)} (and {_mib(engine.info.restored_bytes)} unpacked beside it, "
                f"not counted), adapter {_mib(adapters)}, vectors {_mib(vectors)}, prefix "
                f"keys and values {_mib(engine.prefixes.num_bytes)} of at most "
                f"{_mib(engine.prefixes.budget_bytes)}"
            ),
        ),
        Figure(
            "memory: growth of the process by five methods / base",
            (after - before) / base,
            details=(
                f"resident memory of a new process: {_mib(before)} with the base after scoring "
                f"zero-shot, {_mib(after)} with all five restored and used"
            ),
        ),
    ]


def predict_labels(engine: Engine, task: Task, method: FittedMethod) -> None:
    """Score a few samples' labels, which leaves the method's prefix in the cache."""
    rows = [method.condition(sample.fields) for sample in task.test[:8]]
    engine.score(rows, [method.encoder.choice_ids()] * len(rows))


def _mib(num_bytes: float) -> str:
    return f"{num_bytes / 2**20:.2f} MiB"


def _main(folder: Path) -> None:
    """Print the resident memory before and after five methods are made resident."""
    engine, task = load_engine(), load_material()
    encoder = encoder_for(engine, task)
    predict(engine, fit(engine, encoder, "zero_shot", folder), task.test[:8])
    process = psutil.Process()
    before = process.memory_info().rss
    resident = []
    for name, options in METHODS.items():
        context = FitContext(engine, encoder, 0, folder, adapter_name=name)
        method = make_method(name, options)
        resident.append(method.restore(context, folder / name))
        predict_labels(engine, task, resident[-1])
    print(before, process.memory_info().rss)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
