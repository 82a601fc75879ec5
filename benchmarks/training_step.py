"""One optimizer step against PEFT with the Hugging Face Trainer on equal batches, and the peak."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from peft import LoraConfig, PromptTuningConfig, TaskType, get_peft_model
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from material import encoder_for, loaded_by_users
from measuring import Figure, Timings, interleave
from workbench.batches import Example, batch_at
from workbench.fitting.base import FitContext
from workbench.fitting.learning import training_examples
from workbench.methods.lora import Lora
from workbench.models.base import Prefix
from workbench.models.engine import Engine
from workbench.tasks.base import Task
from workbench.training.loop import Trainable, TrainingRequest, train
from workbench.training.loss import answer_loss
from workbench.training.options import TrainingOptions
from workbench.training.score import DevScore

_BATCH_SIZE = 8
_STEPS, _WARM_UP = 7, 2  # steps of a block, and how many of them are not counted
_REPEATS = 3
_RATE = 1e-4
_SQUARE = 2048  # rows and columns of the product that the peak is measured with
_PRODUCTS = 12  # of them in a repeat
_LORA = {
    "r": 8,
    "lora_alpha": 16,
    "target_modules": ["q_proj", "v_proj"],
    "task_type": TaskType.CAUSAL_LM,
}


def _operations_of_linear(inputs: torch.Size, weight: torch.Size, *_: object, **__: object) -> int:
    """Return the operations of a product that `workbench.models.products` gives to oneDNN."""
    return 2 * inputs.numel() * weight[0]


if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
    register_flop_formula(torch.ops.mkldnn._linear_pointwise)(_operations_of_linear)


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
    """Return our time of a step over the Trainer's, and its share of the peak, for both kinds."""
    return steps_against_trainer(engine, task, folder, twin=partial(loaded_by_users, engine.info))


def steps_against_trainer(
    engine: Engine,
    task: Task,
    folder: Path,
    *,
    twin: Callable[[], PreTrainedModel],
    target: float = 0.65,
) -> list[Figure]:
    """Return our time of a step over the Trainer's, and its share of the peak, for both kinds.

    Both sides train over the same 4-bit base: PEFT over what transformers loads, where bitsandbytes
    unpacks weights for every product; ours as `load_base` keeps them.

    Args:
        engine: Of the base that we train on.
        task: What is trained on.
        folder: For checkpoints.
        twin: Returns the same base once more, for PEFT to change.
        target: The most that the ratio of the times should be.
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
    figures = [*compare("prompt tuning", ours, twin(), virtual, shared=())]

    context = FitContext(engine, encoder, 0, folder)
    engine.adapters.add("step", Lora(rank=8, alpha=16.0).new_adapter(context))
    prefix = Prefix((shared,))
    weights = Trainable(engine.adapters.parameters("step"), lambda: prefix, "step")
    lora = LoraConfig(**_LORA)
    figures += compare("LoRA", weights, twin(), lora, shared=shared)
    engine.adapters.remove("step")
    return figures


def _compare(
    engine: Engine,
    name: str,
    trainable: Trainable,
    model: PreTrainedModel,
    config: PromptTuningConfig | LoraConfig,
    *,
    examples: Sequence[Example],
    batches: Sequence[Sequence[Example]],
    shared: Sequence[int],
    folder: Path,
    target: float,
) -> tuple[Figure, Figure]:
    peft = get_peft_model(model, config)
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

    timings = interleave(
        {
            "Trainer": run_theirs,
            "workbench": run_ours,
            "product": lambda: _seconds_of_a_product(engine),
        },
        _REPEATS,
    )
    ratio, lowest, highest = timings.ratio("workbench", "Trainer")
    tokens = statistics.mean(
        len(example.token_ids) + len(example.answer_ids) for batch in batches for example in batch
    )
    first = (clocks["ours"][0].losses[0], clocks["theirs"][0].losses[0])
    prefix = trainable.prefix().num_tokens
    settings = (
        f"batch {_BATCH_SIZE}, {prefix} shared and {tokens:.0f} own positions, "
        f"{engine.info.precision} with compute {engine.info.compute_dtype}"
    )
    against = Figure(
        f"training step, {name}: workbench / PEFT + Trainer",
        ratio,
        target=target,
        lowest=lowest,
        highest=highest,
        details=(
            f"{settings}; workbench {timings.median('workbench'):.3f} s, Trainer "
            f"{timings.median('Trainer'):.3f} s; loss of the first step {first[0]:.4f} and "
            f"{first[1]:.4f}"
        ),
    )
    return against, _share_of_the_peak(name, engine, trainable, batches, timings, settings)


def _share_of_the_peak(
    name: str,
    engine: Engine,
    trainable: Trainable,
    batches: Sequence[Sequence[Example]],
    timings: Timings,
    settings: str,
) -> Figure:
    """Return the multiply-adds of matrix products in a step's time over those of one product's.

    torch counts them; those inside attention are left out, and so is what padding takes.
    """
    operations = statistics.median(
        _product_operations(engine, trainable, batch) for batch in batches[_WARM_UP : _WARM_UP + 3]
    )
    of_a_product = 2 * _SQUARE**3
    share, lowest, highest = timings.ratio("product", "workbench", operations / of_a_product)
    peak = of_a_product / timings.median("product") / 1e9
    return Figure(
        f"training step, {name}: share of the peak of matrix products",
        share,
        target=0.62,
        at_least=True,
        lowest=lowest,
        highest=highest,
        details=(
            f"{settings}; {operations / 1e9:.0f} GFLOP in {timings.median('workbench'):.3f} s, "
            f"peak {peak:.0f} GFLOP/s ({_SQUARE} x {_SQUARE})"
        ),
    )


def _product_operations(engine: Engine, trainable: Trainable, batch: Sequence[Example]) -> int:
    active = engine.adapters.active([trainable.adapter], training=True)
    with FlopCounterMode(display=False) as counter, active:
        answer_loss(engine, trainable.prefix(), trainable.adapter, batch).backward()
    counts = counter.get_flop_counts()["Global"]
    return sum(count for operation, count in counts.items() if "attention" not in str(operation))


def _seconds_of_a_product(engine: Engine) -> float:
    """Return the median time of a large matrix product in the dtype of the base's products."""
    dtype, device = getattr(torch, engine.info.compute_dtype), engine.info.device
    one = torch.randn(_SQUARE, _SQUARE, device=device).to(dtype)
    seconds = []
    for _ in range(_PRODUCTS):
        began = time.perf_counter()
        _ = one @ one
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


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
