"""Options as dataclass fields: defaults, bounds and help in one place, checked in one place."""

import dataclasses
import importlib
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from workbench.errors import ConfigError, unknown_name

Holds = Literal["text", "adapter", "run", "runs"]
PublicSize = Literal["small", "large"]
_SHOWN_CHARS = 60  # of a value in a message
_MOST_UNKNOWN = 20  # names in a message
NUMBER = re.compile(
    r"[-+]?(?:0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+"
    r"|(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:[eE][-+]?\d+)?)$",
    re.ASCII,
)
"""How a number is written: 1e-3, 1E3, .5, 1_000, 0x10."""

_OF_ANOTHER_BASE = {"0x": 16, "0o": 8, "0b": 2}
_SWITCHES = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class Public(NamedTuple):
    """The most that a shared server lets strangers ask for: a number, or characters of a text.

    Attributes:
        small: On a server without an accelerator.
        large: On one with an accelerator.
    """

    small: float
    large: float

    def on(self, size: PublicSize) -> float:
        """Return the bound on a server of a size."""
        return self.small if size == "small" else self.large


FREE = Public(math.inf, math.inf)
"""Of a number that costs a server nothing, however large it is."""
TEXT = Public(2000, 2000)
"""Of what people write or choose."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """What one option of a dataclass may be, and what it is when nothing is said.

    Attributes:
        name: Name of the field.
        kind: Its type, `None` left out.
        is_optional: Whether `None` is allowed too.
        default: When nothing is said.
        help: What it does, in a sentence.
        minimum: The smallest number allowed; None: no bound.
        maximum: The largest.
        choices: The only values allowed; None: any.
        holds: What a text without choices stands for, see `option`.
        public: The most on a shared server; None where nobody said.
    """

    name: str
    kind: type
    is_optional: bool
    default: Any
    help: str
    minimum: float | None
    maximum: float | None
    choices: Sequence[str] | None
    holds: Holds | None
    public: Public | None

    @property
    def bounds(self) -> str:
        """What a number may be, in words: "1 to 512", "0 or more"; empty where it may be any."""
        low, high = self.minimum, self.maximum
        if low is None:
            return "" if high is None else f"at most {_number(high)}"
        return f"{_number(low)} or more" if high is None else f"{_number(low)} to {_number(high)}"


def option(
    default: Any,
    *,
    help: str,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] | None = None,
    holds: Holds | None = None,
    public: tuple[float, float] | None = None,
) -> Any:
    """Return a dataclass field with a default, bounds and a help text.

    The return type is `Any` as for `dataclasses.field`, so that the annotation beside it counts.

    Args:
        default: When nothing is said.
        help: What it does, in a sentence.
        minimum: The smallest number allowed.
        maximum: The largest.
        choices: The only values allowed.
        holds: What a text without choices stands for: "text" for words; "adapter" for the folder of
            an adapter that was trained elsewhere; "run" for the adapter folder of a run, "runs" for
            several, comma-separated. A page takes names of the visitor's own where a folder is
            meant, and puts the folders in their place.
        public: The most on a shared server without and with an accelerator, see `Public`; `FREE`
            for what costs nothing. Numbers and texts of methods and readings need it.
    """
    metadata = {
        "help": help,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "holds": holds,
        "public": None if public is None else Public(*public),
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Size:
    """A whole number that several dataclasses have as an option, with the same bounds in each."""

    default: int
    minimum: int
    maximum: int
    public: tuple[float, float] | None = None
    help: str

    def option(self, **changes: Any) -> Any:
        """Return the option, where wanted with another default or help."""
        return option(**{**dataclasses.asdict(self), **changes})


def declared_options(found: type) -> dict[str, Option]:
    """Return the fields of a dataclass that are made by `option`, by name, in order."""
    hints = typing.get_type_hints(found)
    options = {}
    for field in dataclasses.fields(found):
        if not field.metadata:
            continue
        kinds = _kinds(hints[field.name])
        options[field.name] = Option(
            name=field.name,
            kind=next(kind for kind in kinds if kind is not type(None)),
            is_optional=type(None) in kinds,
            default=field.default,
            **field.metadata,
        )
    return options


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
    known = declared_options(method)
    problems = []
    num_unknown = 0
    resolved = {name: option.default for name, option in known.items()}
    for name, value in options.items():
        if name not in known:
            num_unknown += 1
            if num_unknown <= _MOST_UNKNOWN:
                problems.append(f"{where}: {unknown_name('option', name, known)}")
            continue
        resolved[name], problem = check_value(value, known[name])
        if problem:
            problems.append(f"{where}.{name}: {problem}")
    if num_unknown > _MOST_UNKNOWN:
        problems.append(f"{where}: {num_unknown - _MOST_UNKNOWN} more unknown options.")
    if problems:
        raise ConfigError("\n".join(problems))
    return resolved


def check_value(value: object, option: Option) -> tuple[object, str | None]:
    """Return a value in its option's type, or a sentence about what is wrong.

    A number may be given as text, a whole one as a float such as 1e3, a switch by yes, no, on, off.
    """
    allowed = (option.kind, type(None)) if option.is_optional else (option.kind,)
    if option.kind is int:
        value = whole_number(value)
    elif option.kind is float:
        value = _as_float(value)
    elif option.kind is bool and isinstance(value, str):
        value = _SWITCHES.get(value.strip().lower(), value)
    if not any(type(value) is kind for kind in allowed):
        names = " or ".join("null" if kind is type(None) else kind.__name__ for kind in allowed)
        shown = repr(value)[:_SHOWN_CHARS]
        return value, f"{shown} is a {type(value).__name__}, {names} is needed"
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = option.minimum, option.maximum
        inside = (low is None or value >= low) and (high is None or value <= high)
        if isinstance(value, float) and not math.isfinite(value):
            allowed_numbers = option.bounds or "any finite number"
            return value, f"{value} is no finite number; allowed: {allowed_numbers}"
        if not inside:
            return value, f"{value} is out of bounds; allowed: {option.bounds}"
    if option.choices and value not in option.choices:
        return value, unknown_name("value", str(value), option.choices)
    return value, None


def read_number(text: str) -> int | float | None:
    """Return the number a text says (see `NUMBER`; 010 is ten), None if it says none."""
    plain = text.strip()
    if not NUMBER.match(plain):
        return None
    sign, digits = (-1, plain[1:]) if plain[:1] == "-" else (1, plain.removeprefix("+"))
    base = _OF_ANOTHER_BASE.get(digits[:2].lower())
    try:
        if base is not None:
            number = sign * int(digits, base)
            str(number)  # has no more digits than Python writes
            return number
        plain = plain.replace("_", "")
        return int(plain) if plain.lstrip("+-").isdigit() else float(plain)
    except ValueError:  # 0x_; or more digits than Python reads
        return None


def whole_number(value: object) -> object:
    """Return a value as an integer if it is or says a whole number, else as it is."""
    number = read_number(value) if isinstance(value, str) else value
    is_whole = isinstance(number, float) and number.is_integer()
    number = int(number) if is_whole else number  # type: ignore[call-overload]
    return number if type(number) is int else value


def _kinds(hint: Any) -> tuple[type, ...]:
    """Return the types of a field's annotation."""
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _as_float(value: object) -> object:
    """Return the nearest float of a number or its text, infinity beyond all; else the value."""
    number = read_number(value) if isinstance(value, str) else value
    if not isinstance(number, int | float) or isinstance(number, bool):
        return value
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _number(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value:,}"
