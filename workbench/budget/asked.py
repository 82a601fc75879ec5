"""A question from plain values, as people type them on the command line or the page."""

from collections.abc import Mapping
from typing import Any

from workbench.budget.known import DEVICES, GIB, Device, any_gpu, processor
from workbench.budget.memory import BUDGET_PRECISIONS, BudgetPrecision, Workload
from workbench.budget.plan import Question
from workbench.budget.shape import ModelShape
from workbench.budget.trained import AdaptOptions
from workbench.errors import ConfigError, unknown_name
from workbench.options import Option, check_value, declared_options
from workbench.shared_options import TARGETS

_MOST_GIB = 100_000.0


_WORK, _ADAPT, _QUESTION = map(declared_options, (Workload, AdaptOptions, Question))
NUMBERS: Mapping[str, Option] = {
    "batch_size": _WORK["batch_size"],
    "micro_batch_size": _QUESTION["micro_batch_size"],
    "length": _WORK["row_tokens"],
    "steps": _QUESTION["steps"],
    "rank": _ADAPT["rank"],
    "num_virtual_tokens": _ADAPT["num_virtual_tokens"],
    "demonstrations": _ADAPT["demonstrations"],
    "tasks": _QUESTION["tasks"],
    "versions": _QUESTION["versions"],
}
"""What is asked for; where a method has the option too, the bounds are the method's."""


def find_device(name: str, gib: object, *, own_memory_bytes: int) -> Device:
    """Return a device by name, or any GPU of that memory.

    Args:
        name: A name of the table, "cpu", or empty.
        gib: Memory in GB as cards are sold (GiB), for "cpu" or without a name; None: not given.
        own_memory_bytes: Memory of this machine, for "cpu".

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
        unknown = unknown_name("targets", str(targets)[:40], TARGETS)
        problems.append(f"targets: {unknown}")
    given = {key: option.default for key, option in NUMBERS.items()} | dict(numbers or {})
    for key, value in given.items():
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        given[key], problem = check_value(whole, NUMBERS[key])
        if problem:
            problems.append(f"{key}: {problem}")
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
            targets=targets,
            demonstrations=given["demonstrations"],
        ),
        work=Workload(
            batch_size=given["batch_size"],
            row_tokens=given["length"],
            has_checkpointing=has_checkpointing,
        ),
        micro_batch_size=given["micro_batch_size"],
        steps=given["steps"],
        tasks=given["tasks"],
        versions=given["versions"],
    )


def _precision(name: str) -> BudgetPrecision:
    return next(known for known in BUDGET_PRECISIONS if known == name)
