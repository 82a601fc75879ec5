"""The batch command that does the same as the page: to copy, to repeat, to put into a script."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel

from workbench.runs.spec import Experiment

_TASK_FLAGS = {
    "name": "--task",
    "train": "--train",
    "dev": "--dev",
    "test": "--test",
    "text_column": "--text-column",
    "text_b_column": "--text-b-column",
    "label_column": "--label-column",
    "id_column": "--id-column",
    "limit_train": "--limit-train",
    "limit_dev": "--limit-dev",
    "limit_test": "--limit-test",
}
_FLAGS = {"model": "--model", "precision": "--precision", "template": "--template"}
_SETTINGS = ("revision", "compute_dtype", "device", "reference")


def compare_command(experiment: Experiment, out: Path) -> str:
    """Return the `workbench compare` line that runs an experiment; only what is not default.

    Paths are written relative to the working directory where they lie below it.
    """
    default = Experiment()
    words = ["workbench", "compare"]
    words += _changed(experiment.task, default.task, _TASK_FLAGS)
    words += _settings(experiment.task, default.task, ("kind", "split_seed"), prefix="task.")
    words += _changed(experiment, default, _FLAGS)
    words += ["--chat"] if experiment.chat else []
    words += _settings(experiment, default, _SETTINGS)
    if experiment.seeds != default.seeds:
        words += ["--seeds", ",".join(map(str, experiment.seeds))]
    for row, options in experiment.methods.items():
        for key, value in options.items():
            words += ["--set", f"methods.{row}.{key}={json.dumps(value)}"]
    words += ["--methods", ",".join(experiment.methods), "--out", _shown(out)]
    return " ".join(map(shlex.quote, words))


def _changed(given: BaseModel, default: BaseModel, flags: Mapping[str, str]) -> list[str]:
    """Return flag and value of every field that differs from the default."""
    changed = [key for key in flags if getattr(given, key) != getattr(default, key)]
    return [word for key in changed for word in (flags[key], _shown(getattr(given, key)))]


def _settings(
    given: BaseModel, default: BaseModel, keys: Sequence[str], *, prefix: str = ""
) -> list[str]:
    """Return `--set key=value` of every field that differs from the default."""
    changed = [key for key in keys if getattr(given, key) != getattr(default, key)]
    settings = [f"{prefix}{key}={json.dumps(getattr(given, key))}" for key in changed]
    return [word for setting in settings for word in ("--set", setting)]


def _shown(value: object) -> str:
    path = Path(str(value))
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return str(value)
