"""The plan: what each method costs for one model on one device, and which ones fit."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from workbench.batches import rows_of_a_pass
from workbench.budget.known import Device
from workbench.budget.memory import (
    BudgetPrecision,
    MemoryEstimate,
    Storage,
    Workload,
    asking_memory,
    base_bytes,
    kv_bytes_per_token,
    peak_memory,
    restored_bytes,
)
from workbench.budget.shape import ModelShape
from workbench.budget.trained import RECIPES, AdaptOptions, Before, Recipe
from workbench.errors import WorkbenchError
from workbench.models.weights_in_memory import UNPACKED_BYTES
from workbench.options import option
from workbench.presentation.display import byte_size
from workbench.shared_options import MICRO_BATCH_SIZE, STEPS

_MUCH = 0.1  # of a quantised base's blocks: what stays wide beyond it is told


@dataclass(frozen=True)
class Question:
    """What somebody wants to know.

    Attributes:
        shape: The model.
        device: Where it has to fit.
        precision: How the base is stored.
        options: Sizes of what is trained.
        work: One training step, its batch as it is wanted.
        micro_batch_size: How many rows of it run at once; None: as many as training takes by
            itself.
        steps: How many a training makes.
        tasks: Tasks to train for, each with a result of its own.
        versions: Results that have to answer from one device at the same time.
    """

    shape: ModelShape
    device: Device
    precision: BudgetPrecision = "nf4"
    options: AdaptOptions = field(default_factory=AdaptOptions)
    work: Workload = field(default_factory=Workload)
    micro_batch_size: int | None = MICRO_BATCH_SIZE.option(default=None)
    steps: int = STEPS.option(help="Training steps.")
    tasks: int = option(1, minimum=1, maximum=1_000_000, help="Tasks to train for.")
    versions: int = option(
        1, minimum=1, maximum=1_000_000, help="Results that answer from one device at once."
    )

    @property
    def storage(self) -> Storage:
        """How the base lies in memory."""
        return Storage(self.precision, self.device.is_gpu)


@dataclass(frozen=True)
class MethodPlan:
    """What one method costs.

    Attributes:
        recipe: The method.
        trained: Parameters it trains.
        memory: With `micro_batch_size` rows at once, at the moment that takes the most.
        micro_batch_size: How many rows of the batch can run at once; 1 if not even that fits.
        is_split_further: Whether that is fewer than were asked for, or than training takes by
            itself.
        fits: Whether a row fits, and the model can read so many tokens.
        is_too_long: Whether a row with what the method adds is longer than the model reads.
        stored_bytes: Size of one result's file.
        extra_tokens: Positions it adds to every prompt.
        flops: What the training computes, see `training_flops`.
        seconds: The training at the device's assumed speed, but not less than launching its
            kernels takes; None where nothing is trained.
    """

    recipe: Recipe
    trained: int
    memory: MemoryEstimate
    micro_batch_size: int
    is_split_further: bool
    fits: bool
    is_too_long: bool
    stored_bytes: int
    extra_tokens: int
    flops: float
    seconds: float | None


@dataclass(frozen=True)
class Plan:
    """All methods for one question, in the order of the catalog of recipes.

    Attributes:
        question: What is asked.
        rows: The methods that can be put on the model.
        refused: Those that cannot, by name, and why: in the words of the method itself.
    """

    question: Question
    rows: tuple[MethodPlan, ...]
    refused: Mapping[str, str] = field(default_factory=dict)

    def row(self, name: str) -> MethodPlan:
        """Return the plan of a method that is not refused."""
        return next(row for row in self.rows if row.recipe.name == name)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what is not as one would expect: refusals, and weights that stay wide."""
        by_reason: dict[str, list[str]] = {}
        for name, reason in self.refused.items():
            by_reason.setdefault(reason, []).append(name)
        refusals = (f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())
        return (*_left_wide(self.question), *_kept_unpacked(self.question), *refusals)


def make_plan(question: Question, methods: Sequence[str] = tuple(RECIPES)) -> Plan:
    """Return what the methods cost."""
    rows: list[MethodPlan] = []
    refused: dict[str, str] = {}
    for name in methods:
        try:
            rows.append(_plan_method(question, RECIPES[name]))
        except WorkbenchError as error:
            refused[name] = str(error)
    return Plan(question, tuple(rows), refused)


def _left_wide(question: Question) -> Iterator[str]:
    """Yield a sentence if a good part of a quantised base's blocks is not quantised at all."""
    shape, storage = question.shape, question.storage
    left = shape.decoder_parameters - shape.quantised_weights
    if storage.is_quantised and left > _MUCH * shape.decoder_parameters:
        what = "experts, mostly" if shape.expert_parameters > left / 2 else "in layers of own kinds"
        yield (
            f"Of {shape.decoder_parameters / 1e9:,.2f} billion parameters in its blocks "
            f"{left / 1e9:,.2f} billion ({what}) stay in {8 * storage.element_bytes} bits, because "
            "bitsandbytes quantises plain linear layers only."
        )


def beside_bytes(question: Question) -> Mapping[str, int]:
    """Return what 4-bit weights kept unpacked for speed would take beside the base.

    By the dtype of products; empty where "auto" keeps none: on a GPU, or in other precisions.
    """
    storage = question.storage
    if storage.is_gpu or not storage.is_4_bit:
        return {}
    return {
        name: restored_bytes(question.shape, replace(storage, unpacked_bytes=UNPACKED_BYTES[name]))
        for name in ("float32", "bfloat16")
    }


def _kept_unpacked(question: Question) -> Iterator[str]:
    """Yield a sentence on what is not counted in the rows: weights kept unpacked for speed."""
    beside = beside_bytes(question)
    if beside:
        base = base_bytes(question.shape, question.storage)
        yield (
            f"Memory is that with weights packed ({byte_size(base)} in 4 bits). Where a third of "
            "the free memory holds them, they are kept unpacked beside these, for speed alone, in "
            f"{byte_size(max(beside.values()))} more. What is planned to fit fits without."
        )


def _plan_method(question: Question, recipe: Recipe) -> MethodPlan:
    shape, options = question.shape, question.options
    trained = recipe.trained(shape, options)
    usual = _usual_rows(question, recipe)
    at_once, memory = _largest_part(question, recipe, usual)
    length = question.work.row_tokens + extra_tokens(question, recipe)
    is_too_long = length > shape.context_length
    work = workload_of(question, recipe, at_once)
    passes = question.steps * question.work.batch_size / at_once
    flops = passes * training_flops(shape, recipe, options, work) if recipe.trains else 0.0
    speed = question.device.teraflops * 1e12 * question.device.utilisation
    launching = passes * shape.layers * question.device.layer_seconds
    return MethodPlan(
        recipe=recipe,
        trained=trained,
        memory=memory,
        micro_batch_size=at_once,
        is_split_further=at_once < usual,
        fits=memory.total <= question.device.usable_bytes and not is_too_long,
        is_too_long=is_too_long,
        stored_bytes=recipe.stored_bytes(shape, options),
        extra_tokens=extra_tokens(question, recipe),
        flops=flops,
        seconds=max(flops / speed, launching) if recipe.trains else None,
    )


def extra_tokens(question: Question, recipe: Recipe) -> int:
    """Return the positions a method adds before every row when it is used."""
    vectors = question.options.num_virtual_tokens
    positions: Mapping[Before, int] = {
        "nothing": 0,
        "demonstrations": question.options.demonstrations * question.work.own_tokens,
        "vectors": vectors,
        "states": vectors,
    }
    return positions[recipe.before]


def workload_of(question: Question, recipe: Recipe, batch_size: int) -> Workload:
    """Return what runs at once in a training step of a method: so many rows."""
    work = replace(question.work, batch_size=batch_size)
    if recipe.before == "vectors":
        return work.with_vectors(question.options.num_virtual_tokens)
    if recipe.before == "states":
        return work.with_states(question.options.num_virtual_tokens)
    return work


def _usual_rows(question: Question, recipe: Recipe) -> int:
    """Return how many rows of a batch run at once where the memory is no matter, as evenly."""
    batch = question.work.batch_size
    work = workload_of(question, recipe, batch)
    wanted = question.micro_batch_size or rows_of_a_pass(work.own_tokens, work.shared_tokens)
    return math.ceil(batch / math.ceil(batch / wanted))


def _largest_part(question: Question, recipe: Recipe, most: int) -> tuple[int, MemoryEstimate]:
    """Return how many rows up to so many fit at once, else 1; found by halving."""
    shape, storage = question.shape, question.storage
    prefix = extra_tokens(question, recipe)
    if not recipe.trains:
        own = question.work.own_tokens
        return most, asking_memory(shape, storage, prefix_tokens=prefix, own_tokens=own)

    def memory_at(rows: int) -> MemoryEstimate:
        work = workload_of(question, recipe, rows)
        return peak_memory(shape, storage, recipe, question.options, work, prefix_tokens=prefix)

    size = most
    while size > 1 and memory_at(size).total > question.device.usable_bytes:
        size //= 2
    found = memory_at(size)
    return (size, found) if found.total <= question.device.usable_bytes else (1, found)


def training_flops(
    shape: ModelShape, recipe: Recipe, options: AdaptOptions, work: Workload
) -> float:
    """Return the floating-point operations of one training step.

    Per position 2 N forward and 2 N for the gradients of the activations, which pass through the
    frozen base whatever is trained; 2 N more where its own weights are (Kaplan et al. 2020,
    https://arxiv.org/abs/2001.08361, section 2.1). Attention: 4 x layers x query width x length
    forward and twice that backward (Chowdhery et al. 2022, https://arxiv.org/abs/2204.02311,
    appendix B). Added weights take 6 per parameter and position. Full fine-tuning is counted at
    6 N; the workbench runs the frozen base beside it, which adds 2 N.
    """
    passes = 3 if recipe.is_full else 2
    forward = 2 * shape.active_weights
    attention = 4 * shape.layers * shape.query_width * work.row_tokens
    again = forward + attention if work.has_checkpointing else 0
    own = 6 * recipe.trained(shape, options) if recipe.kind == "weights" else 0
    own = 0 if recipe.is_full else own
    answers = work.batch_size * work.answer_tokens
    head = 4 * answers * shape.vocabulary * shape.width
    return float(work.positions * (passes * forward + 3 * attention + again + own) + head)


def serving_bytes(question: Question, row: MethodPlan) -> int:
    """Return what answering with all versions at once takes: one base, every result, the texts.

    Full fine-tuning has 16-bit weights for each version.
    """
    shape, storage = question.shape, question.storage
    length = question.work.row_tokens + row.extra_tokens
    texts = question.versions * length * kv_bytes_per_token(shape, storage)
    base = base_bytes(shape, storage)
    return base + question.versions * row.stored_bytes + texts


def kept_bytes(question: Question, row: MethodPlan) -> int:
    """Return the disk space of the results for all tasks."""
    return question.tasks * row.stored_bytes
