"""One optimizer step against PEFT with the Hugging Face Trainer on equal batches."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from peft import LoraConfig, PromptTuningConfig, TaskType, get_peft_model
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments

from material import BASE, encoder_for
from measuring import Figure, interleave
from workbench.batches import Example, batch_at
from workbench.fitting.base import FitContext
from workbench.fitting.learning import training_examples
from workbench.methods.lora import Lora
from workbench.models.base import Prefix
from workbench.models.engine import Engine
from workbench.models.loading import LoadedBase, load_base
from workbench.tasks.base import Task
from workbench.training.loop import Trainable, TrainingRequest, train
from workbench.training.options import TrainingOptions
from workbench.training.score import DevScore

_BATCH_SIZE = 8
_STEPS, _WARM_UP = 7, 2  # steps of a block, and how many of them are not counted
_REPEATS = 3
_RATE = 1e-4
_LORA = {
    "r": 8,
    "lora_alpha": 16,
    "target_modules": ["q_proj", "v_proj"],
    "task_type": TaskType.CAUSAL_LM,
}


@dataclass
class _Clock:
    """Seconds between the ends of steps, and the losses; the first steps warm up."""

    ends: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def tick(self) -> None:
        """Note the end of a step."""
        self.ends.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        """Median seconds of a counted step."""
        gaps = [b - a for a, b in zip(self.ends, self.ends[1:], strict=False)]
        return statistics.median(gaps[_WARM_UP - 1 :])


def measure(engine: Engine, task: Task, folder: Path) -> list[Figure]:
    """Return our time of a step over the Trainer's, for vectors and for weights."""

    def twin() -> LoadedBase:
        return load_base(BASE, precision=engine.info.precision, device=engine.info.device)

    return steps_against_trainer(engine, task, folder, twin=twin, target=0.8)


def steps_against_trainer(
    engine: Engine, task: Task, folder: Path, *, twin: Callable[[], LoadedBase], target: float
) -> list[Figure]:
    """Return our time of a step over the Trainer's, for vectors and for weights.

    Args:
        engine: Of the base that we train on.
        task: What is trained on.
        folder: For checkpoints.
        twin: Returns the same base once more, for PEFT to change.
        target: The most that the ratio should be.
    """
    encoder = encoder_for(engine, task)
    start = encoder.start()
    examples = training_examples(FitContext(engine, encoder, 0, folder), start)
    batches = [batch_at(examples, _BATCH_SIZE, 0, step) for step in range(_STEPS)]
    shared = start.head_ids + start.shared_ids

    vectors = torch.nn.Parameter(engine.forward.embed(shared).detach().clone())
    ours = Trainable({"prompt_embeddings": vectors}, lambda: Prefix((vectors,)))
    virtual = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=len(shared))
    compare = partial(
        _compare, engine, examples=examples, batches=batches, folder=folder, target=target
    )
    figures = [compare("prompt tuning", ours, twin(), virtual, shared=())]

    context = FitContext(engine, encoder, 0, folder)
    engine.adapters.add("step", Lora(rank=8, alpha=16.0).new_adapter(context))
    prefix = Prefix((shared,))
    weights = Trainable(engine.adapters.parameters("step"), lambda: prefix, "step")
    lora = LoraConfig(**_LORA)
    figures.append(compare("LoRA", weights, twin(), lora, shared=shared))
    engine.adapters.remove("step")
    return figures


def _compare(
    engine: Engine,
    name: str,
    trainable: Trainable,
    base: LoadedBase,
    config: PromptTuningConfig | LoraConfig,
    *,
    examples: Sequence[Example],
    batches: Sequence[Sequence[Example]],
    shared: Sequence[int],
    folder: Path,
    target: float,
) -> Figure:
    peft = get_peft_model(base.model, config)
    if isinstance(config, PromptTuningConfig):
        peft.prompt_encoder["default"].embedding.weight.data.copy_(
            trainable.parameters["prompt_embeddings"]
        )
    clocks: dict[str, list[_Clock]] = {"ours": [], "theirs": []}

    def run_ours() -> float:
        clocks["ours"].append(_our_steps(engine, trainable, examples, folder))
        return clocks["ours"][-1].seconds

    def run_theirs() -> float:
        clocks["theirs"].append(_their_steps(peft, batches, shared, folder))
        return clocks["theirs"][-1].seconds

    timings = interleave({"Trainer": run_theirs, "workbench": run_ours}, _REPEATS)
    ratio, lowest, highest = timings.ratio("workbench", "Trainer")
    tokens = statistics.mean(
        len(example.token_ids) + len(example.answer_ids) for batch in batches for example in batch
    )
    first = (clocks["ours"][0].losses[0], clocks["theirs"][0].losses[0])
    prefix = trainable.prefix().num_tokens
    return Figure(
        f"training step, {name}: workbench / PEFT + Trainer",
        ratio,
        target=target,
        lowest=lowest,
        highest=highest,
        details=(
            f"batch {_BATCH_SIZE}, {prefix} shared and {tokens:.0f} own positions, "
            f"{engine.info.precision} with compute {engine.info.compute_dtype}; workbench "
            f"{timings.median('workbench'):.3f} s, Trainer {timings.median('Trainer'):.3f} s; "
            f"loss of the first step {first[0]:.4f} and {first[1]:.4f}"
        ),
    )


def _our_steps(
    engine: Engine, trainable: Trainable, examples: Sequence[Example], folder: Path
) -> _Clock:
    clock = _Clock()
    options = TrainingOptions(
        steps=_STEPS,
        batch_size=_BATCH_SIZE,
        learning_rate=_RATE,
        schedule="constant",
        warmup_steps=0,
        eval_every=_STEPS + 1,
    )
    run_folder = folder / f"ours-{time.monotonic_ns()}"  # a new one, so that nothing is resumed
    request = TrainingRequest(
        trainable, examples, options, 0, lambda: DevScore(0.0, 0.0, 1), run_folder
    )

    def note(event: object) -> None:
        clock.losses.append(event.figures["loss"])  # type: ignore[attr-defined]
        clock.tick()

    train(engine, request, progress=note)
    clock.ends.pop()  # the last step writes a checkpoint as well
    return clock


def _their_steps(
    peft: torch.nn.Module,
    batches: Sequence[Sequence[Example]],
    shared: Sequence[int],
    folder: Path,
) -> _Clock:
    clock = _Clock()
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=_BATCH_SIZE,
        max_steps=len(batches),
        learning_rate=_RATE,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        optim="adamw_torch",
        use_cpu=next(peft.parameters()).device.type == "cpu",
        save_strategy="no",
        logging_strategy="steps",
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
    )
    trainer = _SilentTrainer(model=peft, args=arguments, callbacks=[_TimingCallback(clock)])
    trainer.batches = [_tensors(batch, shared) for batch in batches]
    trainer.train()
    clock.ends.pop()
    return clock


class _SilentTrainer(Trainer):
    """Feeds given batches, so that both sides see the same rows in the same order."""

    batches: Sequence[dict[str, torch.Tensor]] = ()

    def get_train_dataloader(self) -> DataLoader:
        """Return the given batches in order."""
        return DataLoader(self.batches, batch_size=None, shuffle=False)

    def log(self, logs: dict[str, float], *_args: object, **_kwargs: object) -> None:
        """Keep the loss instead of printing it."""
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, _TimingCallback) and "loss" in logs:
                callback.clock.losses.append(logs["loss"])


class _TimingCallback(TrainerCallback):
    """Notes the end of each step."""

    def __init__(self, clock: _Clock) -> None:
        self.clock = clock

    def on_step_end(self, *_args: object, **_kwargs: object) -> None:
        """Note the end of a step."""
        self.clock.tick()


def _tensors(batch: Sequence[Example], shared: Sequence[int]) -> dict[str, torch.Tensor]:
    """Return right-padded ids with labels of -100 on all but the answers."""
    rows = [(*shared, *example.token_ids, *example.answer_ids) for example in batch]
    width = max(map(len, rows))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    mask = torch.zeros_like(ids)
    for number, (row, example) in enumerate(zip(rows, batch, strict=True)):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = 1
        answers = len(example.answer_ids)
        labels[number, len(row) - answers : len(row)] = torch.tensor(example.answer_ids)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
