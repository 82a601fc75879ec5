"""One base, one task and one wording, ready to run the methods of an experiment on."""

import hashlib
import os
import platform
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from workbench.encoding import PromptEncoder
from workbench.errors import ConfigError, unknown_name
from workbench.fitting.base import FitContext, Method
from workbench.memory import keep_freed_memory, return_freed_memory
from workbench.methods.catalog import method_name, resolved_options
from workbench.models.adapters.files import CONFIG_NAME, WEIGHTS_NAME
from workbench.models.engine import Engine
from workbench.models.loading import BaseInfo, LoadedBase, load_base
from workbench.options import declared_options
from workbench.presentation.display import byte_size
from workbench.runs.experiment import Experiment, TaskChoice
from workbench.runs.spec import (
    BaseIdentity,
    RunSetting,
    RunSpec,
    TaskIdentity,
    TemplateIdentity,
)
from workbench.runs.store import check_adapter
from workbench.tasks.base import Task
from workbench.tasks.catalog import load_task, prompts_folder, task_from_files, wordings_of
from workbench.tasks.rows import ColumnMapping
from workbench.templates import PromptTemplate, default_template, read_template
from workbench.training.options import TrainingOptions
from workbench.training.ranks import Ranks

_RECORDED_PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "prompt-workbench")


@dataclass(frozen=True)
class Session:
    """What all runs of an experiment share.

    Attributes:
        engine: Owner of the base.
        encoder: Task and wording.
        experiment: Where base, data and wording lie; None where nobody asks for it later.
        ranks: The processes that share its trainings.
        base: The base as those machines have it that make the runs; None where that is this one.
    """

    engine: Engine
    encoder: PromptEncoder
    experiment: Experiment | None = None
    ranks: Ranks = field(default_factory=Ranks)
    base: BaseInfo | None = None

    @property
    def info(self) -> BaseInfo:
        """What is known about the base that the runs are made on."""
        return self.base or self.engine.info

    @property
    def task(self) -> Task:
        """The task of the experiment."""
        return self.encoder.task

    @property
    def setting(self) -> RunSetting:
        """Base, task and wording as they stand in the specs of its runs."""
        encoder = self.encoder
        return run_setting(self.info, encoder.task, encoder.template, encoder.chat)

    def spec(self, method: str, options: dict[str, object], seed: int) -> RunSpec:
        """Return the resolved spec of one run; `options` must be complete.

        What is no method, such as a baseline, has a name too; of a method see `spec_of`.
        """
        shared = self.setting
        return RunSpec(
            base=shared.base,
            task=shared.task,
            template=shared.template,
            method=method,
            options=options,
            seed=seed,
        )

    def spec_of(self, method: Method, seed: int) -> RunSpec:
        """Return the resolved spec of a method's run."""
        spec = self.spec(method_name(method), resolved_options(method), seed)
        changes: dict[str, object] = {"contents": _contents(method)}
        if isinstance(method, TrainingOptions):
            changes["processes"] = self.ranks.parts
        return spec.model_copy(update=changes)

    def context(self, seed: int, folder: Path, *, adapter_name: str = "adapter") -> FitContext:
        """Return what a method needs to fit or to be restored."""
        return FitContext(self.engine, self.encoder, seed, folder, adapter_name, ranks=self.ranks)


def _contents(method: Method) -> dict[str, str]:
    """Return, of each option that names adapter folders, a digest of their files.

    Raises:
        DamagedFile: one lies in a run and is not what the run wrote.
    """
    found = {}
    for name, declared in declared_options(type(method)).items():
        given = getattr(method, name)
        if declared.holds in ("adapter", "run", "runs") and given:
            folders = [Path(folder.strip()) for folder in given.split(",")]
            files = [folder / file for folder in folders for file in (CONFIG_NAME, WEIGHTS_NAME)]
            if all(file.is_file() for file in files):  # else its fit says what is missing
                for folder in folders:
                    check_adapter(folder)
                sha = hashlib.sha256()
                for file in files:
                    sha.update(hashlib.sha256(file.read_bytes()).digest())
                found[name] = sha.hexdigest()[:16]
    return found


def open_task(choice: TaskChoice) -> Task:
    """Return the task an experiment asks for.

    Raises:
        ConfigError: unknown task.
        TaskError: the data cannot be read or used.
    """
    limits = {
        "limit_train": choice.limit_train,
        "limit_dev": choice.limit_dev,
        "limit_test": choice.limit_test,
    }
    if choice.train is None:
        return load_task(choice.name or "", seed=choice.split_seed, **limits)
    return task_from_files(
        choice.train,
        dev=choice.dev,
        test=choice.test,
        mapping=columns_of(choice),
        kind=choice.kind,
        name=choice.name,
        separator=choice.separator,
        seed=choice.split_seed,
        **limits,
    )


def columns_of(choice: TaskChoice) -> ColumnMapping:
    """Return the columns of files that an experiment asks for."""
    return ColumnMapping(
        text=choice.text_column,
        text_b=choice.text_b_column,
        label=choice.label_column,
        id=choice.id_column,
        references=choice.references_column,
    )


def open_template(name: str, task: Task) -> PromptTemplate:
    """Return a task's wording; a task without templates gets one made from its label names.

    Args:
        name: A file in `prompts/<task>/` by its name, or the path of a YAML file.
        task: Its fields and labels have to fit.

    Raises:
        ConfigError: no such wording, or the file is wrong.
        PromptError: the wording does not fit the task.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
    else:
        folder, known = prompts_folder() / task.name, wordings_of(task.name)
        if task.source.kind == "file" and name == "plain" and "plain" not in known:
            return default_template(
                task.field_names, task.labels, writes_text=task.kind == "generation"
            )
        if name not in known:
            raise ConfigError(
                f"template: {unknown_name(f'wording of task {task.name!r}', name, known)} "
                "The path of a .yaml file is allowed too."
            )
        path = folder / f"{name}.yaml"
    return read_template(path).check(task.field_names, task.labels, where=str(path))


def open_session(experiment: Experiment, task: Task | None = None) -> Session:
    """Load task (unless it is read already), wording and base; the cheap checks come first.

    Where a training asks for several processes, this one runs their parts one after the other;
    see `workbench.runs.joint_training`.
    """
    keep_freed_memory()
    transformers_logging.disable_progress_bar()  # ours says what is being loaded
    task = task or open_task(experiment.task)
    template = open_template(experiment.template, task)
    base = asked_base(experiment)
    encoder = PromptEncoder(base.tokenizer, template, task, experiment.chat)
    return Session(Engine(base), encoder, experiment, Ranks(experiment.processes))


def asked_base(experiment: Experiment) -> LoadedBase:
    """Load the base that an experiment asks for, as it asks for it.

    Raises:
        ConfigError: unknown precision or base model.
        ModelError: weights not found, or not a causal language model.
    """
    base = load_base(
        experiment.model,
        precision=experiment.precision,
        revision=experiment.revision,
        compute_dtype=experiment.compute_dtype,
        device=experiment.device,
        weights_in_memory=experiment.weights_in_memory,
    )
    return_freed_memory()
    return base


def run_setting(info: BaseInfo, task: Task, template: PromptTemplate, chat: bool) -> RunSetting:
    """Return the parts of a spec that all runs of a comparison share."""
    return RunSetting(
        base=BaseIdentity(
            name=info.name,
            identity=info.identity,
            precision=info.precision,
            compute_dtype=info.compute_dtype,
            device=info.device,
        ),
        task=TaskIdentity(
            name=task.name,
            digest=task.digest,
            kind=task.kind,
            num_train=len(task.train),
            num_dev=len(task.dev),
            num_test=len(task.test),
        ),
        template=TemplateIdentity(
            name=template.name, version=template.version, digest=template.digest, chat=chat
        ),
    )


def memory_text(info: BaseInfo) -> str:
    """Return "168.1 MB in 4 bits, 424.7 MB beside them for speed": what a base takes in memory."""
    bits = {"bf16": "16", "fp32": "32", "int8": "8"}.get(info.precision, "4")
    words = f"{byte_size(info.footprint_bytes)} in {bits} bits"
    if info.restored_bytes:
        words += f", {byte_size(info.restored_bytes)} beside them for speed"
    return words


def environment(info: BaseInfo) -> dict[str, str | int]:
    """Return versions, threads and processor of this process, and how it keeps and multiplies."""
    found: dict[str, str | int] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count() or 0,
        "products": f"{info.compute_dtype}: {info.compute_reason}",
        "weights_in_memory": memory_text(info),
        "base_parameters": info.num_parameters,
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    for package in _RECORDED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
