"""From stored runs to what readings are given: vectors with their start and path, or weights."""

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from workbench.atomic import parse_json
from workbench.errors import ConfigError, DamagedFile
from workbench.fitting.base import FitContext
from workbench.fitting.learning import PROMPT, read_learned_vectors
from workbench.methods.catalog import METHODS, make_method, method_class
from workbench.models.adapters.files import CONFIG_NAME
from workbench.options import declared_options
from workbench.readings.base import Kind, WeightChange
from workbench.readings.vectors.prompt import INSTEAD_OF_INSTRUCTION, SoftPrompt
from workbench.runs.session import Session
from workbench.runs.spec import BaseIdentity
from workbench.runs.store import StoredRun
from workbench.tensor_files import read_tensors
from workbench.training.folder import PATH_FOLDER


@runtime_checkable
class _StartsFromVectors(Protocol):
    def initial_vectors(self, context: FitContext) -> torch.Tensor: ...


def adapter_folder_of(run: StoredRun) -> Path:
    """Return where a run's adapter lies; that of an imported one is named by its options."""
    if run.spec.method in METHODS:
        for name, option in declared_options(method_class(run.spec.method)).items():
            if option.holds == "adapter" and run.spec.options.get(name):
                return Path(str(run.spec.options[name]))
    return run.adapter_folder


def kind_of(run: StoredRun) -> Kind | None:
    """Return what a run learned, vectors or weights; None if there is nothing to read."""
    if run.record.status != "finished":
        return None
    return kind_of_adapter(adapter_folder_of(run))


def kind_of_adapter(folder: Path) -> Kind | None:
    """Return what an adapter in PEFT's format holds; None if its config cannot be read.

    Only the config is looked at, because lists ask for every adapter; what is opened is checked.
    """
    try:
        config = parse_json((folder / CONFIG_NAME).read_text(encoding="utf-8"))
        kinds: dict[str, Kind] = {
            "PROMPT_TUNING": "vectors",
            "LORA": "weights",
            "ADALORA": "weights",
        }
        return kinds.get(str(config["peft_type"]))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def load_prompt(session: Session, run: StoredRun, name: str) -> SoftPrompt:
    """Return a run's learned vectors, where they started, and the path between if it was kept.

    Raises:
        ConfigError: the run has another base, so that its vectors mean nothing on this one.
        DamagedFile: what it learned is not what was written.
        ModelError: the adapter cannot be read, or is no soft prompt.
    """
    _check_base(session, run.spec.base, run.record.run_id)
    run.check_learned(also=[f"{PATH_FOLDER}/"])
    context = session.context(run.spec.seed, run.folder)
    vectors = read_learned_vectors(context, adapter_folder_of(run)).float().numpy()
    path = tuple(
        (int(file.stem), _point(run, file))
        for file in sorted((run.folder / PATH_FOLDER).glob("*.safetensors"))
    )
    start = path[0][1] if path and path[0][0] == 0 else _start_of(session, run, vectors)
    position = str(run.spec.options.get("position", INSTEAD_OF_INSTRUCTION))
    task = run.spec.task.name
    return SoftPrompt(name, vectors, start, path, task=task, position=position)


def _point(run: StoredRun, file: Path) -> np.ndarray:
    """Return the vectors (P, D) of a point of a run's path."""
    try:
        return read_tensors(file)[PROMPT].float().numpy()
    except (DamagedFile, KeyError) as error:
        raise DamagedFile(
            f"run {run.record.run_id}: its path is damaged at {file.name} ({error}). Make it again "
            "with evaluate, or delete it."
        ) from error


def load_adapter_prompt(session: Session, folder: Path, name: str) -> SoftPrompt:
    """Return the vectors of an adapter in PEFT's format; nothing is known of their start.

    Raises:
        ModelError: the adapter cannot be read, is no soft prompt, or has another width.
    """
    context = session.context(0, folder)
    return SoftPrompt(name, read_learned_vectors(context, folder).float().numpy())


def load_weights(session: Session, run: StoredRun, name: str) -> WeightChange:
    """Return where a run's weight change lies.

    Raises:
        ConfigError: the run has another base.
    """
    _check_base(session, run.spec.base, run.record.run_id)
    run.check_learned()
    return WeightChange(name, adapter_folder_of(run), task=run.spec.task.name)


def _start_of(session: Session, run: StoredRun, vectors: np.ndarray) -> np.ndarray | None:
    """Return the start that follows from a run's options and seed, if it is of this task."""
    if run.spec.method not in METHODS or run.spec.task.digest != session.task.digest:
        return None
    method = make_method(run.spec.method, run.spec.options)
    if not isinstance(method, _StartsFromVectors):
        return None
    context = session.context(run.spec.seed, run.folder)
    start = method.initial_vectors(context).detach().float().cpu().numpy()
    return start if start.shape == vectors.shape else None


def _check_base(session: Session, base: BaseIdentity, run_id: str) -> None:
    info = session.engine.info
    if base.identity != info.identity:  # a folder has many names
        raise ConfigError(
            f"run {run_id}: was made on base '{base.name}' from other weights than "
            f"'{info.name}' here. A soft prompt means nothing on another base; open it with its "
            "own."
        )
