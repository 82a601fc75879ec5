"""Which readings `inspect` makes, and their options, as the command line says them."""

from collections.abc import Sequence
from typing import Any

from workbench.errors import ConfigError
from workbench.readings.base import Kind
from workbench.readings.catalog import make_reader, reader_class, readers_of
from workbench.yaml_files import parse_value


def chosen_readings(readings: str | None, kind: Kind) -> list[str]:
    """Return the readings asked for; without a word, those that take seconds at most.

    Raises:
        ConfigError: an unknown reading, one of another kind, or none.
    """
    possible = readers_of(kind)
    if readings == "all":
        return possible
    if readings is None:
        return [name for name in possible if reader_class(name).cost != "minutes"]
    names = [name.strip() for name in readings.split(",") if name.strip()]
    for name in names:
        if reader_class(name).kind != kind:
            raise ConfigError(
                f"--readings {name}: reads {reader_class(name).kind}, and {kind} are given. "
                f"Possible here: {', '.join(possible)}."
            )
    if not names:
        raise ConfigError(f"--readings: none named. Possible here: {', '.join(possible)}, or all.")
    return names


def reading_options(settings: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return `--set reading.option=value` by reading, checked before anything is loaded.

    Raises:
        ConfigError: not of that form, for a reading that is not made, or not an option of it.
    """
    options: dict[str, dict[str, Any]] = {name: {} for name in names}
    for setting in settings:
        key, sign, text = setting.partition("=")
        name, dot, option = key.strip().partition(".")
        if not (sign and dot and option) or name not in options:
            raise ConfigError(
                f"--set {setting}: not of the form reading.option=value for a reading that is "
                f"made ({', '.join(names)}). Example: --set nearest.k=10"
            )
        options[name][option] = parse_value(text, where=f"--set {setting}")
    for name in names:
        make_reader(name, options[name])
    return options
