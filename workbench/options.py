"""Options as dataclass fields: defaults, bounds and help in one place, checked in one place."""

import dataclasses
import importlib
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from workbench.errors import ConfigError, unknown_name


def option(
    default: Any,
    *,
    help: str,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] | None = None,
) -> Any:
    """Return a dataclass field with a default, bounds and a help text.

    The return type is `Any` as for `dataclasses.field`, so that the annotation beside it counts.
    """
    metadata = {"help": help, "minimum": minimum, "maximum": maximum, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


def named_class(table: Mapping[str, str], name: str, *, what: str, where: str) -> type[Any]:
    """Return the class a catalog has under a name; its module is only imported now.

    Args:
        table: Name to "module:class".
        name: Looked up.
        what: What the names stand for, in a message.
        where: Begins the message.

    Raises:
        ConfigError: unknown name.
    """
    if name not in table:
        raise ConfigError(f"{where}: {unknown_name(what, name, table)}")
    module, attribute = table[name].split(":")
    found: type[Any] = getattr(importlib.import_module(module), attribute)
    return found


def check_options(method: type, options: Mapping[str, object], *, where: str) -> dict[str, object]:
    """Return the options of a method with the defaults filled in.

    Raises:
        ConfigError: every unknown name, wrong type and value out of bounds at once.
    """
    fields = {field.name: field for field in dataclasses.fields(method)}
    hints = typing.get_type_hints(method)
    problems = []
    resolved = {name: field.default for name, field in fields.items()}
    for name, value in options.items():
        if name not in fields:
            problems.append(f"{where}: {unknown_name('option', name, fields)}")
            continue
        resolved[name], problem = _checked(value, hints[name], fields[name].metadata)
        if problem:
            problems.append(f"{where}.{name}: {problem}")
    if problems:
        raise ConfigError("\n".join(problems))
    return resolved


def _checked(value: object, hint: object, metadata: Mapping[str, Any]) -> tuple[object, str | None]:
    """Return the value in its field's type, or a sentence about what is wrong."""
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        value = _as_float(value)
    if not any(type(value) is kind for kind in allowed):
        names = " or ".join("null" if kind is type(None) else kind.__name__ for kind in allowed)
        return value, f"{value!r} is a {type(value).__name__}, {names} is needed"
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = metadata["minimum"], metadata["maximum"]
        inside = (low is None or value >= low) and (high is None or value <= high)
        if isinstance(value, float) and not math.isfinite(value):
            return value, f"{value} is no finite number; allowed: {_bounds(low, high)}"
        if not inside:
            return value, f"{value} is out of bounds; allowed: {_bounds(low, high)}"
    if metadata["choices"] and value not in metadata["choices"]:
        return value, unknown_name("value", str(value), metadata["choices"])
    return value, None


def _as_float(value: int) -> float:
    """Return the nearest float; infinity beyond all floats."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _bounds(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return "any finite number"
    if low is None:
        return f"at most {high}"
    return f"{low} or more" if high is None else f"{low} to {high}"
