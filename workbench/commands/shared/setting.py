"""The experiment that a command is asked for, and the folder it lives in."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from workbench.errors import ConfigError
from workbench.methods.catalog import METHODS
from workbench.runs.experiment import Experiment, read_experiment

DEFAULT_FOLDER = Path("runs")


def resolve_experiment(
    path: Path | None, settings: Sequence[str] | None, changes: Mapping[str, object]
) -> Experiment:
    """Return the experiment of a file, `--set` settings and command-line options.

    Raises:
        ConfigError: every problem at once.
    """
    changes = dict(changes)
    rows, seeds = changes.pop("rows", None), changes.pop("seeds", None)
    if seeds is not None:
        changes["seeds"] = _seeds(str(seeds))
    experiment = read_experiment(path, settings or (), changes)
    return experiment if rows is None else _only_rows(experiment, str(rows))


def experiment_folder(path: Path | None, out: Path | None) -> Path:
    """Return where runs and report go: --out, else a folder named after the experiment."""
    return out or DEFAULT_FOLDER / (path.stem if path else "default")


def select_rows(experiment: Experiment, rows: str | None) -> Experiment:
    """Return the experiment with only the given rows (comma-separated)."""
    return experiment if rows is None else _only_rows(experiment, rows)


def _only_rows(experiment: Experiment, rows: str) -> Experiment:
    """Keep rows by name; a method that the experiment does not have gets its default options."""
    names = [name.strip() for name in rows.split(",") if name.strip()]
    kept = {}
    for name in dict.fromkeys(names):
        if name not in experiment.methods and name not in METHODS:
            known = ", ".join(dict.fromkeys([*experiment.methods, *METHODS]))
            raise ConfigError(f"--methods: unknown row or method '{name}'. Known: {known}.")
        kept[name] = experiment.methods.get(name, {})
    if not kept:
        raise ConfigError("--methods: no row named. Example: --methods zero_shot,lora")
    reference = experiment.reference if experiment.reference in kept else next(iter(kept))
    return experiment.model_copy(update={"methods": kept, "reference": reference})


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(
            f"--seeds {text}: whole numbers separated by commas are needed. Example: --seeds 0,1,2"
        ) from error
    if min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise ConfigError(f"--seeds {text}: seeds are different numbers from 0 up.")
    return seeds
