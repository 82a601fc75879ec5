"""What can be chosen in the page: a setting, and the ways of answering that exist for it."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from workbench.errors import ConfigError, StoreError, unknown_name
from workbench.fitting.base import PACES, Offer, needs_run
from workbench.fitting.reasoning import ReasoningOptions
from workbench.methods.catalog import METHODS, method_class
from workbench.models.adapters.reading import check_imported
from workbench.options import declared_options
from workbench.runs.experiment import Experiment, read_experiment
from workbench.runs.labels import read_label, run_title
from workbench.runs.runner import requests_of
from workbench.runs.store import StoredRun
from workbench.service.profile import Profile
from workbench.service.uploads import task_choice
from workbench.service.wordings import template_name
from workbench.service.workspace import Workspace
from workbench.serving.asking import Way
from workbench.serving.desk import ModelDesk
from workbench.yaml_files import check_mapping

EXAMPLES: Mapping[str, str] = {
    "soft_prompt": "example_prompt_tuning",
    "lora": "example_lora",
}
"""Adapters of the package, trained on the default task, by folder: their row names."""

_WORDS, _RUN, _IMPORT, _EXAMPLE = "words:", "run:", "import:", "example:"
_BASELINE = Experiment().reference
_ADAPTER = "adapter"  # the folder in a run's
_EXAMPLE_FOLDER = Path(__file__).parents[1] / "examples"


@dataclass(frozen=True)
class Words:
    """A way that needs no training, and the method it belongs to."""

    method: str
    offer: Offer


@cache
def words() -> Mapping[str, Words]:
    """Return the ways that need no training by row name, the fastest first."""
    found = [Words(name, offer) for name in METHODS for offer in method_class(name).offers]
    found.sort(key=lambda one: PACES.index(one.offer.pace))
    return {one.offer.name: one for one in found}


@dataclass(frozen=True)
class Setting:
    """What all columns and rows share; the values of the page's setting.

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
    rows = {name: dict(options) for name, options in (methods or {_BASELINE: {}}).items()}
    for row, options in rows.items():
        _own_adapters(workspace, str(options.get("method", row)), options)
    changes = {
        "model": setting.model,
        "precision": setting.precision,
        "chat": setting.chat,
        "template": template_name(workspace, setting.wording),
        "task": {**task, "limit_test": limit_test} if limit_test else task,
        "seeds": list(seeds),
        "methods": rows,
        "reference": _BASELINE if _BASELINE in rows else next(iter(rows)),
    }
    return read_experiment(None, (), changes)


def checked_experiment(
    workspace: Workspace, profile: Profile, content: Mapping[str, Any]
) -> Experiment:
    """Return an experiment that came from outside; every name in it is one of the visitor's own.

    Tasks and wordings are given by key, imported adapters by name; paths are refused.

    Raises:
        ConfigError: unknown keys, methods or options, values no experiment can have, a path, or
            more than the profile allows, which is said before anything is made of it.
        StoreError: an upload, a wording or an adapter that is not the visitor's.
    """
    asked = check_mapping(content, Experiment, where="experiment")
    profile.check(asked)
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
        _own_adapters(workspace, asked.method_of(row)[0], options)
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
        for name, found in words().items()
        if not (writes_texts and _needs_short_answers(found))
    ]
    choices += [
        (title, f"{_RUN}{run.record.run_id}")
        for run, title in trained_runs(workspace, desk, experiment)
    ]
    for folder, name in imported_names(workspace).items():
        choices.append((f"imported {name}", f"{_IMPORT}{folder}"))
    if _has_examples(experiment):
        choices += [(row, f"{_EXAMPLE}{folder}") for folder, row in EXAMPLES.items()]
    return choices


def is_quick(key: str) -> bool:
    """Return whether a way may be chosen before anybody chooses it for a whole test split."""
    found = words().get(key.removeprefix(_WORDS))
    return found is None or found.offer.pace != PACES[-1]


def answers_in_one_pass(key: str) -> bool:
    """Return whether a way neither reasons nor votes before it answers, as far as its key says."""
    found = words().get(key.removeprefix(_WORDS))
    return found is None or found.offer.pace in ("one pass", "demonstrations")


def run_ids(keys: Sequence[str]) -> list[str]:
    """Return the ids of the runs among chosen ways."""
    return [key.removeprefix(_RUN) for key in keys if key.startswith(_RUN)]


def first_ways() -> list[str]:
    """Return the keys of the ways that are chosen before anybody chooses."""
    return [f"{_WORDS}{name}" for name, found in words().items() if found.offer.is_first]


def _needs_short_answers(found: Words) -> bool:
    """Return whether a way cannot write texts: it reasons, or corrects label probabilities."""
    is_reasoning = issubclass(method_class(found.method), ReasoningOptions)
    return is_reasoning or bool(found.offer.options.get("calibrate"))


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
        and run.spec.setting == setting
    ]
    return [(run, run_title(run)) for run in fitting]


def imported_folders(workspace: Workspace) -> list[str]:
    """Return the names of the adapters the visitor imported, the newest first."""
    found = []
    for path in workspace.imports.glob("[!.]*/adapter_config.json"):
        with suppress(OSError):  # one that leads nowhere hides no other
            found.append((path.stat().st_mtime, path.parent.name))
    return [name for _, name in sorted(found, reverse=True)]


def imported_names(workspace: Workspace) -> dict[str, str]:
    """Return what the imported adapters are called, by their folders, the newest first."""
    folders = imported_folders(workspace)
    return {folder: read_label(workspace.imports / folder).name or folder for folder in folders}


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
            digest = Path(str(options["adapter"])).name
            name, options["seeds"] = _free_name(way.label, digest, rows), [0]
        elif words()[name].offer.is_drawn:
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


_ROW_CHARS = 55  # a server takes 60, and a digest may follow


def _free_name(row: str, digest: str, taken: Mapping[str, object]) -> str:
    kept = (c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in row[:_ROW_CHARS])
    safe = "".join(kept)
    return safe if safe not in taken and safe not in words() else f"{safe}_{digest[:4]}"


def _way(workspace: Workspace, text: str) -> Way:
    if text.startswith(_WORDS):
        name = text.removeprefix(_WORDS)
        if name not in words():
            raise ConfigError(f"columns: {unknown_name('way', name[:80], words())}")
        found = words()[name]
        return Way(name, found.method, dict(found.offer.options))
    if text.startswith(_RUN):
        run = workspace.run(text.removeprefix(_RUN))
        if run.record.status != "finished":
            raise StoreError(f"run '{run.record.run_id}': is {run.record.status}. Resume its job.")
        return Way(run_title(run), run.spec.method, dict(run.spec.options), run.spec.seed, run)
    if text.startswith(_IMPORT):
        path = _imported_folder(workspace, text.removeprefix(_IMPORT))
        name = read_label(Path(path)).name or Path(path).name
        return Way(f"imported {name}", "imported", {"adapter": path})
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


def _imported_folder(workspace: Workspace, asked: object) -> str:
    """Return the folder of an imported adapter by its key or its name; a path of one stays.

    Raises:
        StoreError: it is not among the visitor's.
        ModelError: it is damaged.
    """
    examples = [str(_EXAMPLE_FOLDER / name) for name in EXAMPLES]
    if asked in examples:
        return str(asked)
    names = imported_names(workspace)
    folders = {name: workspace.imports / folder for folder, name in names.items()}
    folders |= {folder: workspace.imports / folder for folder in names}
    by_path = {str(folder): folder for folder in folders.values()}
    folder = (folders | by_path).get(asked) if isinstance(asked, str) else None
    if folder is None:
        raise StoreError(f"adapter {str(asked)[:60]!r}: not found among yours. Import it again.")
    check_imported(folder)
    return str(folder)


def _own_adapters(workspace: Workspace, method: str, options: dict[str, Any]) -> None:
    """Put folders of the visitor's own adapters in place of their names, in every such option.

    A run that was started so names the folders already; only a run's name in it is believed.

    Raises:
        ConfigError: unknown method.
        StoreError: no such adapter or run, or not the visitor's.
    """
    for name, option in declared_options(method_class(method)).items():
        asked = options.get(name)
        if option.holds == "adapter":
            options[name] = _imported_folder(workspace, asked)
        elif asked is not None and option.holds in ("run", "runs"):
            parts = str(asked).split(",") if option.holds == "runs" else [str(asked)]
            options[name] = ",".join(_own_adapter(workspace, part.strip()) for part in parts)


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
