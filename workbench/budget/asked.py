"""A question from plain values, as people type them on the command line or the page."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from workbench.budget.known import DEVICES, GIB, Device, any_gpu, processor
from workbench.budget.memory import BUDGET_PRECISIONS, BudgetPrecision, Workload
from workbench.budget.plan import Question
from workbench.budget.shape import ModelShape
from workbench.budget.trained import TARGETS, AdaptOptions, Targets
from workbench.errors import ConfigError, unknown_name

_MOST_GIB = 100_000.0


@dataclass(frozen=True)
class Bound:
    """What a number may be, and what it is when nothing is said."""

    default: int
    least: int
    most: int
    help: str

    @property
    def words(self) -> str:
        """What is allowed, and an example."""
        return f"{self.least} to {self.most:,} are allowed; give one of them, like {self.default}."


NUMBERS: Mapping[str, Bound] = {
    "batch_size": Bound(8, 1, 4096, "Rows of a training step."),
    "length": Bound(256, 2, 1_000_000, "Tokens of a row, prompt and answer."),
    "steps": Bound(300, 1, 10_000_000, "Training steps."),
    "rank": Bound(8, 1, 4096, "Rank of LoRA and its kin."),
    "num_virtual_tokens": Bound(20, 1, 10_000, "Learned vectors."),
    "demonstrations": Bound(8, 1, 1000, "Solved examples in a few-shot prompt."),
    "tasks": Bound(1, 1, 1_000_000, "Tasks to train for."),
    "versions": Bound(1, 1, 1_000_000, "Results that answer from one device at once."),
}


def find_device(name: str, gib: object, *, own_memory_bytes: int) -> Device:
    """Return a device by name, or any GPU of that memory.

    Args:
        name: Of the table, "cpu", or empty.
        gib: Memory in GB as cards are sold (GiB), for "cpu" or without a name; None: not given.
        own_memory_bytes: Of this machine, for "cpu".

    Raises:
        ConfigError: unknown name, or no sensible amount.
    """
    amount = None if gib in (None, "") else _amount(gib)
    if name == "cpu":
        return processor(own_memory_bytes if amount is None else round(amount * GIB))
    if name:
        if name not in DEVICES:
            known = [*DEVICES, "cpu"]
            raise ConfigError(f"device: {unknown_name('device', name[:40], known)}")
        if amount is not None:
            raise ConfigError(
                f"memory: {amount:g} GB beside '{name}', whose memory is known. Give one of them."
            )
        return DEVICES[name]
    if amount is None:
        raise ConfigError("device: none named. Say how much memory there is, or name a device.")
    return any_gpu(amount)


def _amount(gib: object) -> float:
    if isinstance(gib, bool) or not isinstance(gib, int | float) or not 0 < gib <= _MOST_GIB:
        raise ConfigError(
            f"memory: {str(gib)[:40]} is no amount in GB. Above 0 and up to {_MOST_GIB:,.0f} are "
            "allowed; give what the device has, like 16."
        )
    return float(gib)


def ask(
    shape: ModelShape,
    device: Device,
    *,
    precision: str = "nf4",
    targets: str = "attention_qv",
    has_checkpointing: bool = False,
    numbers: Mapping[str, Any] | None = None,
) -> Question:
    """Return the question, every value checked.

    Raises:
        ConfigError: every value that is not allowed, at once.
    """
    problems = []
    if precision not in BUDGET_PRECISIONS:
        unknown = unknown_name("precision", str(precision)[:40], BUDGET_PRECISIONS)
        problems.append(f"precision: {unknown}")
    if targets not in TARGETS:
        unknown = unknown_name("targets", str(targets)[:40], get_args(Targets))
        problems.append(f"targets: {unknown}")
    given = {key: bound.default for key, bound in NUMBERS.items()} | dict(numbers or {})
    for key, value in given.items():
        bound = NUMBERS[key]
        whole = isinstance(value, float) and value.is_integer()
        given[key] = int(value) if whole else value
        if isinstance(value, bool) or not isinstance(given[key], int):
            problems.append(f"{key}: {str(value)[:40]} is no whole number. {bound.words}")
        elif not bound.least <= given[key] <= bound.most:
            problems.append(f"{key}: {given[key]} is out of bounds. {bound.words}")
    if not problems and given["length"] > shape.context_length:
        problems.append(
            f"length: {given['length']}; {shape.name} reads at most {shape.context_length} tokens. "
            "Give fewer, or choose a model that reads more."
        )
    if problems:
        raise ConfigError("\n".join(problems))
    return Question(
        shape=shape,
        device=device,
        precision=_precision(precision),
        options=AdaptOptions(
            num_virtual_tokens=given["num_virtual_tokens"],
            rank=given["rank"],
            targets=next(known for known in TARGETS if known == targets),
            demonstrations=given["demonstrations"],
        ),
        work=Workload(
            batch_size=given["batch_size"],
            row_tokens=given["length"],
            has_checkpointing=has_checkpointing,
        ),
        steps=given["steps"],
        tasks=given["tasks"],
        versions=given["versions"],
    )


def _precision(name: str) -> BudgetPrecision:
    return next(known for known in BUDGET_PRECISIONS if known == name)
