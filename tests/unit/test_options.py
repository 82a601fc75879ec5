"""Options of a dataclass: defaults filled in, every problem named at once."""

import math
import time
from dataclasses import dataclass
from typing import ClassVar

import pytest

from workbench.errors import ConfigError
from workbench.options import Size, check_options, declared_options, option, read_number


@dataclass(frozen=True, kw_only=True)
class Method:
    """One option of each kind."""

    family: ClassVar[str] = "words"

    count: int = option(6, minimum=0, maximum=256, help="A whole number.")
    rate: float = option(0.5, minimum=0.0, maximum=1.0, help="A fraction.")
    scale: float = option(2.0, minimum=0.0, help="Bounded below.")
    shift: float = option(0.0, help="Not bounded.")
    depth: float = option(-1.0, maximum=0.0, help="Bounded above.")
    size: int | None = option(None, minimum=1, help="May be absent.")
    use_it: bool = option(False, help="A switch.")
    init: str = option("text", choices=("text", "random"), help="A choice.")
    note: str | None = option(None, help="Free text.")
    steps: int = option(10, minimum=1, help="A whole number without an upper bound.")


DEFAULTS = {
    "count": 6,
    "rate": 0.5,
    "scale": 2.0,
    "shift": 0.0,
    "depth": -1.0,
    "size": None,
    "use_it": False,
    "init": "text",
    "note": None,
    "steps": 10,
}
HUGE = 10**400


def test_defaults_are_filled_in() -> None:
    assert check_options(Method, {}, where="m") == DEFAULTS


@dataclass(frozen=True, kw_only=True)
class Other:
    """A size that several have."""

    batch: int = Size(default=8, minimum=1, maximum=1_000_000, help="A size others have.").option()


def test_a_size_that_several_have_is_said_like_any_option() -> None:
    assert declared_options(Other)["batch"].bounds == "1 to 1,000,000"


def test_what_is_allowed_is_said_in_words() -> None:
    bounds = {name: one.bounds for name, one in declared_options(Method).items()}

    assert bounds == {
        "count": "0 to 256",
        "rate": "0 to 1",
        "scale": "0 or more",
        "shift": "",
        "depth": "at most 0",
        "size": "1 or more",
        "use_it": "",
        "init": "",
        "note": "",
        "steps": "1 or more",
    }


@pytest.mark.parametrize(
    ("name", "value", "resolved"),
    [
        ("count", 0, 0),
        ("count", 256, 256),
        ("rate", 1, 1.0),
        ("rate", 0.0, 0.0),
        ("shift", -3, -3.0),
        ("size", None, None),
        ("size", 1, 1),
        ("use_it", True, True),
        ("init", "random", "random"),
        ("note", "", ""),
        ("steps", HUGE, HUGE),
    ],
)
def test_a_value_within_bounds_is_kept_in_its_fields_type(name, value, resolved) -> None:
    options = check_options(Method, {name: value}, where="m")

    assert options == DEFAULTS | {name: resolved}
    assert type(options[name]) is type(resolved)


PROBLEMS = {
    "unknown, one close": (
        {"conut": 1},
        "m: unknown option 'conut'. Did you mean 'count'? "
        "Known: count, depth, init, note, rate, scale, shift, size, steps, use_it.",
    ),
    "unknown, none close": (
        {"zzz": 1},
        "m: unknown option 'zzz'. "
        "Known: count, depth, init, note, rate, scale, shift, size, steps, use_it.",
    ),
    "class attribute": (
        {"family": "weights"},
        "m: unknown option 'family'. "
        "Known: count, depth, init, note, rate, scale, shift, size, steps, use_it.",
    ),
    "text for a whole number": ({"count": "six"}, "m.count: 'six' is a str, int is needed"),
    "fraction for a whole number": ({"count": 6.5}, "m.count: 6.5 is a float, int is needed"),
    "bool for a whole number": ({"count": True}, "m.count: True is a bool, int is needed"),
    "bool for a fraction": ({"rate": False}, "m.rate: False is a bool, float is needed"),
    "whole number for a bool": ({"use_it": 1}, "m.use_it: 1 is a int, bool is needed"),
    "null where it is not allowed": ({"count": None}, "m.count: None is a NoneType, int is needed"),
    "list for an optional number": (
        {"size": [1]},
        "m.size: [1] is a list, int or null is needed",
    ),
    "bool for an optional number": (
        {"size": True},
        "m.size: True is a bool, int or null is needed",
    ),
    "number for a text": ({"note": 1}, "m.note: 1 is a int, str or null is needed"),
    "not a number": (
        {"rate": math.nan},
        "m.rate: nan is no finite number; allowed: 0 to 1",
    ),
    "infinite": ({"scale": math.inf}, "m.scale: inf is no finite number; allowed: 0 or more"),
    "infinite without bounds": (
        {"shift": -math.inf},
        "m.shift: -inf is no finite number; allowed: any finite number",
    ),
    "whole number beyond all floats": (
        {"shift": HUGE},
        "m.shift: inf is no finite number; allowed: any finite number",
    ),
    "negative whole number beyond all floats": (
        {"depth": -HUGE},
        "m.depth: -inf is no finite number; allowed: at most 0",
    ),
    "below": ({"count": -1}, "m.count: -1 is out of bounds; allowed: 0 to 256"),
    "above": ({"count": 257}, "m.count: 257 is out of bounds; allowed: 0 to 256"),
    "below, no upper bound": ({"size": 0}, "m.size: 0 is out of bounds; allowed: 1 or more"),
    "above, no lower bound": (
        {"depth": 0.5},
        "m.depth: 0.5 is out of bounds; allowed: at most 0",
    ),
    "no choice, one close": (
        {"init": "tekst"},
        "m.init: unknown value 'tekst'. Did you mean 'text'? Known: random, text.",
    ),
    "no choice, other case": (
        {"init": "RANDOM"},
        "m.init: unknown value 'RANDOM'. Known: random, text.",
    ),
    "all at once": (
        {"count": "six", "zzz": 1, "rate": 2, "init": "x", "use_it": True},
        "m.count: 'six' is a str, int is needed\n"
        "m: unknown option 'zzz'. "
        "Known: count, depth, init, note, rate, scale, shift, size, steps, use_it.\n"
        "m.rate: 2.0 is out of bounds; allowed: 0 to 1\n"
        "m.init: unknown value 'x'. Known: random, text.",
    ),
}


@pytest.mark.parametrize(("options", "message"), PROBLEMS.values(), ids=PROBLEMS)
def test_a_wrong_option_says_what_is_allowed(options, message) -> None:
    with pytest.raises(ConfigError) as error:
        check_options(Method, options, where="m")

    assert str(error.value) == message


def test_of_very_many_unknown_options_the_first_are_named() -> None:
    with pytest.raises(ConfigError) as error:
        check_options(Method, {f"zz{number}": 1 for number in range(5000)}, where="m")

    lines = str(error.value).splitlines()
    assert len(lines) == 21
    assert "'zz19'" in lines[19]
    assert lines[20] == "m: 4980 more unknown options."


@pytest.mark.parametrize(
    "text", ["1" * 20_000 + "x", "1_" * 10_000 + "x", "." + "1" * 20_000 + "e"]
)
def test_no_number_is_seen_in_a_time_that_grows_with_the_text_alone(text: str) -> None:
    began = time.thread_time()

    assert read_number(text) is None
    assert time.thread_time() - began < 0.5  # going back over every digit took some seconds


def test_a_number_that_cannot_be_written_out_is_none() -> None:
    assert read_number("0x" + "f" * 9000) is None
    assert read_number("-0x" + "f" * 100) == -(16**100) + 1
