"""What can be chosen in the page: a setting, and the ways of answering that exist for it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import ConfigError, StoreError, unknown_name
from workbench.fitting.base import needs_run
from workbench.fitting.reasoning import ReasoningOptions
from workbench.methods.catalog import METHODS, method_class
from workbench.runs.experiment import Experiment, read_experiment
from workbench.runs.runner import requests_of
from workbench.runs.store import StoredRun
from workbench.service.profile import Profile
from workbench.service.uploads import task_choice
from workbench.service.wordings import template_name
from workbench.service.workspace import Workspace
from workbench.serving.asking import Way
from workbench.serving.desk import ModelDesk
from workbench.yaml_files import check_mapping

WORDS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "zero_shot": ("zero_shot", {}),
    "few_shot": ("few_shot", {}),
    "few_shot_calibrated": (
        "few_shot",
        {"calibrate": True, "calibration_inputs": "training_texts"},
    ),
    "chain_of_thought": ("chain_of_thought", {"max_new_tokens": 48}),
    "few_shot_nearest": (
        "few_shot",
        {"selection": "nearest_balanced", "order": "nearest_last", "calibrate": True},
    ),
    "self_consistency": ("self_consistency", {"max_new_tokens": 48}),
}
"""Ways that need no training, by row name."""

FIRST_WORDS = ("zero_shot", "few_shot", "chain_of_thought")
"""Those that are chosen before anybody chooses."""

_SLOW_WORDS = ("few_shot_nearest", "self_consistency")  # minutes for a test split on two cores
_DRAWN_WORDS = ("few_shot", "few_shot_calibrated", "self_consistency")  # another seed, another row

EXAMPLES: Mapping[str, str] = {
    "soft_prompt": "example_prompt_tuning",
    "lora": "example_lora",
}
"""Adapters of the package, trained on the default task, by folder: their row names."""

_WORDS, _RUN, _IMPORT, _EXAMPLE = "words:", "run:", "import:", "example:"
_ADAPTER = "adapter"  # the folder in a run's
_EXAMPLE_FOLDER = Path(__file__).parents[1] / "examples"


@dataclass(frozen=True)
class Setting:
    """What all columns and rows share; the values of the page's first row.

    Attributes:
        task: Key of a task, see `uploads.task_choice`.
        wording: Key of a wording, see `wordings.template_name`.
        model: Name of the base model.
        precision: How its linear layers are stored.
        chat: Whether the model's chat template is used.
    """

    task: str = "support_intents"
    wording: str = "plain"
    model: str = "smollm2-135m-instruct"
    precision: str = "nf4"
    chat: bool = False


def experiment_of(
    workspace: Workspace,
    profile: Profile,
    setting: Setting,
    *,
    methods: Mapping[str, Mapping[str, Any]] | None = None,
    seeds: Sequence[int] = (0,),
    limit_test: int | None = None,
) -> Experiment:
    """Return the experiment that the page's values ask for.

    Raises:
        ConfigError: a base that is not offered, or values no experiment can have.
        StoreError: an upload or a wording that is not the visitor's.
    """
    profile.check_model(setting.model)
    task = task_choice(workspace, setting.task).model_dump()
    rows = {name: dict(options) for name, options in (methods or {"zero_shot": {}}).items()}
    for options in rows.values():
        _own_start(workspace, options)
    changes = {
        "model": setting.model,
        "precision": setting.precision,
        "chat": setting.chat,
        "template": template_name(workspace, setting.wording),
        "task": {**task, "limit_test": limit_test} if limit_test else task,
        "seeds": list(seeds),
        "methods": rows,
        "reference": "zero_shot" if "zero_shot" in rows else next(iter(rows)),
    }
    return read_experiment(None, (), changes)


def checked_experiment(workspace: Workspace, content: Mapping[str, Any]) -> Experiment:
    """Return an experiment that came from outside; every name in it is one of the visitor's own.

    Tasks and wordings are given by key, imported adapters by name; paths are refused.

    Raises:
        ConfigError: unknown keys, methods or options, values no experiment can have, or a path.
        StoreError: an upload, a wording or an adapter that is not the visitor's.
    """
    asked = check_mapping(content, Experiment, where="experiment")
    files = (asked.task.train, asked.task.dev, asked.task.test)
    if any(file is not None for file in files):
        raise ConfigError(
            "experiment.task: files are not read from here. Upload the rows first, and give the "
            "key of the upload as the task's name."
        )
    task = task_choice(workspace, asked.task.name).model_dump()
    limits = ("limit_train", "limit_dev", "limit_test", "split_seed")
    task |= {name: getattr(asked.task, name) for name in limits}
    rows = {row: dict(options) for row, options in asked.methods.items()}
    for row, options in rows.items():
        _check_row_name(row)
        if asked.method_of(row)[0] == "imported":
            options["adapter"] = _imported_folder(workspace, options.get("adapter"))
        _own_start(workspace, options)
    changes = {
        **asked.model_dump(mode="json"),
        "task": task,
        "template": template_name(workspace, asked.template),
        "methods": rows,
    }
    experiment = read_experiment(None, (), changes)
    requests_of(experiment)  # said now, not by a job that waited for its turn
    return experiment


def way_choices(
    workspace: Workspace, desk: ModelDesk, experiment: Experiment
) -> list[tuple[str, str]]:
    """Return (title, key) of every way that can answer with an experiment's base and wording.

    Words first, then trained runs, the newest first, then adapters trained elsewhere.
    """
    writes_texts = desk.task(experiment.task).kind == "generation"
    choices = [
        (name, f"{_WORDS}{name}")
        for name, (method, options) in WORDS.items()
        if not (writes_texts and _needs_short_answers(method, options))
    ]
    choices += [
        (title, f"{_RUN}{run.record.run_id}")
        for run, title in trained_runs(workspace, desk, experiment)
    ]
    for folder in imported_folders(workspace):
        choices.append((f"imported {folder}", f"{_IMPORT}{folder}"))
    if _has_examples(experiment):
        choices += [(row, f"{_EXAMPLE}{folder}") for folder, row in EXAMPLES.items()]
    return choices


def is_quick(key: str) -> bool:
    """Return whether a way may be chosen before anybody chooses it for a whole test split."""
    return key.removeprefix(_WORDS) not in _SLOW_WORDS


def _needs_short_answers(method: str, options: Mapping[str, Any]) -> bool:
    """Return whether a way cannot write texts: it reasons, or corrects label probabilities."""
    return issubclass(method_class(method), ReasoningOptions) or bool(options.get("calibrate"))


def trained_runs(
    workspace: Workspace, desk: ModelDesk, experiment: Experiment
) -> list[tuple[StoredRun, str]]:
    """Return finished trained runs of an experiment's base, task and wording, with their titles."""
    setting = desk.setting(experiment)
    fitting = [
        run
        for run in reversed(workspace.runs())
        if run.record.status == "finished"
        and run.spec.method in METHODS
        and needs_run(method_class(run.spec.method))
        and run.spec.base == setting["base"]
        and run.spec.task == setting["task"]
        and run.spec.template == setting["template"]
    ]
    return [(run, run_title(run)) for run in fitting]


def run_title(run: StoredRun) -> str:
    """Return what a run is called in lists: row, seed, and the first letters of its hash."""
    return f"{run.record.row} · seed {run.spec.seed} · {run.spec.digest[:4]}"


def imported_folders(workspace: Workspace) -> list[str]:
    """Return the names of the adapters the visitor imported, the newest first."""
    paths = workspace.imports.glob("*/adapter_config.json")
    found = sorted(((path.stat().st_mtime, path.parent.name) for path in paths), reverse=True)
    return [name for _, name in found]


def ways_of(workspace: Workspace, keys: Sequence[str], *, most: int) -> list[Way]:
    """Return the chosen ways.

    Raises:
        ConfigError: none, too many, or an unknown one.
        StoreError: a run or an adapter that is not the visitor's.
    """
    chosen = _chosen(keys)
    if len(keys) > most:
        raise ConfigError(f"columns: {len(keys)} chosen; at most {most} here.")
    return [_way(workspace, key) for key in chosen]


def rows_of(workspace: Workspace, keys: Sequence[str], *, seeds: Sequence[int]) -> dict[str, Any]:
    """Return the rows of an experiment that evaluates the chosen ways.

    A trained run keeps its options and its seed, so that it is found and not trained again.

    Raises:
        ConfigError: none, or an unknown one.
        StoreError: a run or an adapter that is not the visitor's.
    """
    rows: dict[str, Any] = {}
    for key in _chosen(keys):
        way = _way(workspace, key)
        options: dict[str, Any] = dict(way.options)
        name = key.removeprefix(_WORDS) if key.startswith(_WORDS) else way.method
        if way.run is not None:
            options["seeds"] = [way.run.spec.seed]
            name = _free_name(way.run.record.row, way.run.spec.digest, rows)
        elif key.startswith((_IMPORT, _EXAMPLE)):
            name, options["seeds"] = way.label.replace(" ", "_"), [0]
        elif key.removeprefix(_WORDS) in _DRAWN_WORDS:
            options["seeds"] = list(seeds)
        else:
            options["seeds"] = [0]  # nothing random in it
        rows[name] = options if name == way.method else {"method": way.method, **options}
    return rows


def _chosen(keys: object) -> list[str]:
    """Return chosen keys, each once.

    Raises:
        ConfigError: none, or no list of texts.
    """
    if not keys:
        raise ConfigError("columns: none chosen. Choose at least one way to answer.")
    if not isinstance(keys, list | tuple) or not all(isinstance(key, str) for key in keys):
        raise ConfigError(f"columns: {str(keys)[:60]!r} is no list of ways. Choose from the list.")
    return list(dict.fromkeys(keys))


def _free_name(row: str, digest: str, taken: Mapping[str, object]) -> str:
    safe = "".join(c if c.isalnum() or c == "_" else "_" for c in row)
    return safe if safe not in taken and safe not in WORDS else f"{safe}_{digest[:4]}"


def _way(workspace: Workspace, text: str) -> Way:
    if text.startswith(_WORDS):
        name = text.removeprefix(_WORDS)
        if name not in WORDS:
            raise ConfigError(f"columns: {unknown_name('way', name[:80], WORDS)}")
        method, options = WORDS[name]
        return Way(name, method, dict(options))
    if text.startswith(_RUN):
        run = workspace.run(text.removeprefix(_RUN))
        if run.record.status != "finished":
            raise StoreError(f"run '{run.record.run_id}': is {run.record.status}. Resume its job.")
        return Way(run_title(run), run.spec.method, dict(run.spec.options), run.spec.seed, run)
    if text.startswith(_IMPORT):
        name = text.removeprefix(_IMPORT)
        return Way(f"imported {name}", "imported", {"adapter": _imported_folder(workspace, name)})
    folder = text.removeprefix(_EXAMPLE)
    if text.startswith(_EXAMPLE) and folder in EXAMPLES:
        return Way(EXAMPLES[folder], "imported", {"adapter": str(_EXAMPLE_FOLDER / folder)})
    raise ConfigError(f"columns: {text[:60]!r} is no way to answer. Choose from the list.")


def _has_examples(experiment: Experiment) -> bool:
    """Return whether the package's example adapters were trained for an experiment's setting."""
    default = Experiment()
    return (experiment.model, experiment.task, experiment.template, experiment.chat) == (
        default.model,
        default.task,
        default.template,
        default.chat,
    )


def _imported_folder(workspace: Workspace, name: object) -> str:
    """Return the folder of an imported adapter.

    Raises:
        StoreError: it is not among the visitor's.
    """
    if name not in imported_folders(workspace):
        raise StoreError(f"adapter {str(name)[:60]!r}: not found among yours. Import it again.")
    return str(workspace.imports / str(name))


def _own_start(workspace: Workspace, options: dict[str, Any]) -> None:
    """Put adapter folders of the visitor's runs in place of their ids: to start from, to combine.

    A run that was started so names the folder already; only the run's name in it is believed.

    Raises:
        StoreError: no such run, or not the visitor's.
    """
    for option in ("init_prompt", "adapters"):
        asked = options.get(option)
        if asked is not None:
            folders = [_own_adapter(workspace, part.strip()) for part in str(asked).split(",")]
            options[option] = ",".join(folders)


def _own_adapter(workspace: Workspace, asked: str) -> str:
    path = Path(asked)
    name = path.parent.name if path.name == _ADAPTER and len(path.parts) > 1 else asked
    return str(workspace.run(name).adapter_folder)


def _check_row_name(row: str) -> None:
    """Refuse names of rows that could not be typed in a command, or would spoil a table.

    Raises:
        ConfigError: anything but letters, digits, "_" and "-", up to 60 of them.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,60}", row):
        raise ConfigError(
            f"experiment.methods: {row[:60]!r} is no name for a row. Use letters, digits, '_', '-'."
        )
