"""4-bit weights unpacked anew for every product against weights kept unpacked, on one base."""

from collections.abc import Callable
from pathlib import Path

from material import BASE, encoder_for, fit
from measuring import Figure, interleave
from workbench.batches import batch_at
from workbench.encoding import PromptEncoder
from workbench.fitting.base import FitContext
from workbench.fitting.learning import training_examples
from workbench.fitting.prediction import predict
from workbench.methods.lora import Lora
from workbench.models.base import GenerationOptions
from workbench.models.engine import Engine
from workbench.models.loading import load_base
from workbench.models.quantised_layers import unpacked_anew
from workbench.tasks.base import Task
from workbench.training.loss import answer_loss

_REPEATS = 3
_TOKENS = 16  # decoded of each row
_BATCHES = (1, 5, 16)
_BATCH_SIZE, _STEPS = 8, 2  # of training
_ITEMS, _SHOTS = 24, 8  # that are scored


def measure(engine: Engine, task: Task, folder: Path) -> list[Figure]:
    """Return times with weights unpacked anew over times with weights kept, and what these take.

    Both are one base in one process, so that nothing else differs.
    """
    if not engine.info.restored_bytes:
        engine = Engine(load_base(BASE, weights_in_memory="restored", device="cpu"))
    encoder = encoder_for(engine, task)
    work = {f"decoding, batch {n}": _decoding(engine, encoder, n, folder) for n in _BATCHES}
    work[f"training step of LoRA, batch {_BATCH_SIZE}"] = _training(engine, encoder, folder)
    work[f"scoring {_ITEMS} items, {_SHOTS} shots"] = _scoring(engine, encoder, folder)
    info = engine.info
    taken = (
        f"{info.restored_bytes / 1e6:.1f} MB for {info.compute_dtype} products beside "
        f"{info.footprint_bytes / 1e6:.1f} MB"
    )
    ratio = info.restored_bytes / info.footprint_bytes
    return [
        *(_compared(name, engine, run) for name, run in work.items()),
        Figure(f"weights, memory: kept unpacked / {info.precision} base", ratio, details=taken),
    ]


def _compared(name: str, engine: Engine, run: Callable[[], None]) -> Figure:
    model, precision = engine.forward.model, engine.info.precision

    def anew() -> None:
        with unpacked_anew(model):
            run()

    run()  # what is measured once
    timings = interleave({"anew": anew, "kept": run}, _REPEATS)
    ratio, lowest, highest = timings.ratio("anew", "kept")
    return Figure(
        f"weights, {name}: {precision} unpacked anew / kept unpacked",
        ratio,
        lowest=lowest,
        highest=highest,
        details=f"{timings.median('anew'):.2f} s against {timings.median('kept'):.2f} s",
    )


def _decoding(
    engine: Engine, encoder: PromptEncoder, batch: int, folder: Path
) -> Callable[[], None]:
    method = fit(engine, encoder, "zero_shot", folder)
    rows = [method.condition(sample.fields) for sample in encoder.task.test[:batch]]
    options = GenerationOptions(max_new_tokens=_TOKENS)

    def run() -> None:
        engine.generate(rows, options)

    return run


def _training(engine: Engine, encoder: PromptEncoder, folder: Path) -> Callable[[], None]:
    context = FitContext(engine, encoder, 0, folder)
    engine.adapters.add("weights", Lora().new_adapter(context))
    start = encoder.start()
    examples = training_examples(context, start)
    batches = [batch_at(examples, _BATCH_SIZE, 0, step) for step in range(_STEPS)]

    def run() -> None:
        for batch in batches:
            answer_loss(engine, start.prefix, "weights", batch).backward()

    return run


def _scoring(engine: Engine, encoder: PromptEncoder, folder: Path) -> Callable[[], None]:
    method = fit(engine, encoder, "few_shot", folder, k=_SHOTS)

    def run() -> None:
        engine.prefixes.clear()  # so that the demonstrations are run every time
        predict(engine, method, encoder.task.test[:_ITEMS])

    return run
