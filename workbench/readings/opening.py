"""What is opened to be read: runs, adapters and controls by the names a user gives."""

from collections.abc import Sequence
from pathlib import Path

from workbench.errors import ConfigError, StoreError
from workbench.methods.catalog import METHODS, method_class
from workbench.models.adapters.files import CONFIG_NAME
from workbench.readings.inspector import Learned, controls, learned_adapters, learned_runs
from workbench.runs.experiment import Experiment, read_experiment
from workbench.runs.finding import find_stored_run
from workbench.runs.origin import own_experiment
from workbench.runs.store import StoredRun, check_adapter

_CHOOSE = "Choose a run of a soft prompt or of a weight adapter."


def opened(
    target: str, against: Sequence[str], runs: Path, on: Sequence[str] = ()
) -> tuple[Experiment, Learned, list[Learned]]:
    """Return the experiment to open, what is read, and what is held against it.

    Args:
        target: Id or folder of a run, folder of an adapter, or key of a control.
        against: Further ones.
        runs: Folder to look for runs below.
        on: `key=value` of base, data and wording to read on; for what no run says.

    Raises:
        ConfigError: nothing was learned that could be opened, a control stands alone, or something
            else is to be read on than what the first run was made on.
        StoreError: nothing of that name, or the run is not finished.
    """
    found = {name: _find(name, runs) for name in dict.fromkeys((target, *against))}
    made = [run for run in found.values() if isinstance(run, StoredRun)]
    if made and on:
        raise ConfigError(
            f"--on {on[0]}: run {made[0].record.run_id} is read on its own base, data and wording. "
            "Leave --on out, or open no run."
        )
    experiment = own_experiment(made[0]) if made else read_experiment(None, on)
    chosen = [_learned(name, one) for name, one in found.items()]
    if not chosen[0].kind or (chosen[0].key.startswith("control:") and not (made or on)):
        raise ConfigError(
            f"inspect {target}: a control is read beside a run that says base and task. "
            "Add --against RUN, or say them: --on task.name=TASK."
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
