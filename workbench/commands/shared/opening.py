"""What `inspect` opens: runs, adapters and controls by the names a user gives, and readings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.commands.shared.stored_runs import find_stored_run
from workbench.errors import ConfigError, StoreError
from workbench.methods.catalog import METHODS, method_class
from workbench.models.adapters.files import CONFIG_NAME
from workbench.readings.base import Kind
from workbench.readings.catalog import make_reader, reader_class, readers_of
from workbench.readings.inspector import Learned, controls, learned_adapters, learned_runs
from workbench.runs.experiment import Experiment
from workbench.runs.origin import own_experiment
from workbench.runs.store import StoredRun, check_adapter
from workbench.yaml_files import parse_value

_CHOOSE = "Choose a run of a soft prompt or of a weight adapter."


def opened(
    target: str, against: Sequence[str], runs: Path
) -> tuple[Experiment, Learned, list[Learned]]:
    """Return the experiment to open, what is read, and what is held against it.

    Raises:
        ConfigError: nothing was learned that could be opened, or a control stands alone.
        StoreError: nothing of that name, or the run is not finished.
    """
    found = {name: _find(name, runs) for name in dict.fromkeys((target, *against))}
    made = [run for run in found.values() if isinstance(run, StoredRun)]
    experiment = own_experiment(made[0]) if made else Experiment()
    chosen = [_learned(name, one) for name, one in found.items()]
    if not chosen[0].kind or (chosen[0].key.startswith("control:") and not made):
        raise ConfigError(
            f"inspect {target}: a control is read beside a run that says base and task. "
            "Add --against RUN."
        )
    return experiment, chosen[0], chosen[1:]


def _find(name: str, runs: Path) -> StoredRun | Path | str:
    """Return a run, an adapter folder, or the key of a control.

    Raises:
        StoreError: nothing of that name, or it is damaged.
    """
    if name in {one.key for one in controls()}:
        return name
    path = Path(name)
    is_adapter = (path / CONFIG_NAME).is_file() and not (path / "record.json").is_file()
    if is_adapter:
        check_adapter(path)
        return path
    run = find_stored_run(name, runs)
    if run is not None:
        run.check_learned()
        return run
    raise StoreError(
        f"inspect: no run or adapter '{name}' (looked below {runs}). Give the id of a run (see: "
        "workbench runs), its folder, the folder of an adapter in PEFT's format, or "
        "control:random or control:instruction."
    )


def _learned(name: str, found: StoredRun | Path | str) -> Learned:
    if isinstance(found, StoredRun):
        if found.record.status != "finished":
            raise StoreError(f"run {found.record.run_id}: is {found.record.status}; finish it.")
        learned = learned_runs([found], found.spec.base)
        if not learned:
            raise ConfigError(
                f"run {found.record.run_id}: '{found.spec.method}' learns nothing that could be "
                f"opened. {_instead_of(found.spec.method)}"
            )
        return learned[0]
    if isinstance(found, Path):
        adapters = learned_adapters({name: (f"adapter {found.name}", found)})
        if not adapters:
            raise ConfigError(
                f"inspect {name}: an adapter that cannot be opened. Soft prompts (PROMPT_TUNING) "
                "and LoRA in PEFT's format can."
            )
        return adapters[0]
    return next(one for one in controls() if one.key == found)


def _instead_of(method: str) -> str:
    """Return what to open where a method's result cannot be."""
    own = getattr(method_class(method), "instead_of_reading", "") if method in METHODS else ""
    return own or _CHOOSE


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
