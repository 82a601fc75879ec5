"""Values as a browser sends them, checked: anybody can call a handler with anything."""

import math
from collections.abc import Collection
from typing import Any

from workbench.errors import ConfigError
from workbench.options import whole_number

_MOST = 10**9  # of a seed or a number of items
_MOST_SEEDS = 1000  # that are read; a place allows fewer


def choice_of(value: object, known: Collection[str], kind: str) -> str:
    """Return what was chosen from a list.

    Raises:
        ConfigError: it does not stand there.
    """
    if not isinstance(value, str) or value not in known:
        raise ConfigError(f"{kind}: {str(value)[:40]!r} is none. Choose one from the list.")
    return value


def number_between(value: object, name: str, low: float, high: float) -> float:
    """Return a number within bounds, both of them included.

    Raises:
        ConfigError: no number, or out of bounds.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    number: Any = value if is_number else math.nan
    if not low <= number <= high:  # NaN is inside of no bounds
        raise ConfigError(
            f"{name}: {str(value)[:40]}; a number from {low:g} to {high:g} is needed."
        )
    return float(number)


def seed_of(value: object) -> int:
    """Return a seed.

    Raises:
        ConfigError: no whole number from 0 up.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    number: Any = value if is_number else -1
    if not 0 <= number < 2**31 or number != int(number):  # NaN is inside of no bounds
        raise ConfigError(f"seed: {str(value)[:40]}; a number from 0 up is needed.")
    return int(number)


def parse_seeds(text: object) -> list[int]:
    """Return the seeds in "0, 1, 2".

    Raises:
        ConfigError: not whole numbers from 0 up, one twice, or very many.
    """
    parts = str(text or "0").split(",")
    if len(parts) > _MOST_SEEDS:
        raise ConfigError(f"seeds: {len(parts)} of them; at most {_MOST_SEEDS} are read.")
    read = map(whole_number, parts)
    seeds = [seed for seed in read if isinstance(seed, int) and 0 <= seed < _MOST]
    if len(seeds) < len(parts):
        raise ConfigError(f"seeds: {str(text)[:40]!r}; whole numbers like 0, 1, 2 are needed.")
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds: {text}; one of them is given twice.")
    return seeds


def item_limit(value: object) -> int | None:
    """Return the most test items; empty takes all.

    Raises:
        ConfigError: no number from 1 up.
    """
    text = "" if value is None else str(value).strip()
    if not text:
        return None
    number = whole_number(text)
    if not isinstance(number, int) or not 0 < number < _MOST:
        raise ConfigError(f"most test items: {text[:40]!r}; a number from 1 up is needed.")
    return number
