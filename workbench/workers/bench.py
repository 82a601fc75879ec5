"""What a worker works with: one base in memory, the sessions opened on it, and the run store."""

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers.utils import logging as transformers_logging

from workbench.encoding import PromptEncoder
from workbench.errors import StoreError, WorkbenchError
from workbench.memory import keep_freed_memory
from workbench.models.engine import Engine
from workbench.models.loading import BaseInfo
from workbench.progress import Interrupted, Progress, stopped_by
from workbench.runs.experiment import Experiment
from workbench.runs.origin import from_anywhere
from workbench.runs.session import Session, asked_base
from workbench.runs.shared_store import open_store
from workbench.runs.spec import BaseIdentity, RunSetting
from workbench.runs.store import RunStore
from workbench.tasks.base import Task
from workbench.templates import PromptTemplate
from workbench.training.ranks import Ranks
from workbench.workers.serving_loop import code_version
from workbench.workers.work import (
    Answer,
    Done,
    Failed,
    Ready,
    Stopped,
    Tell,
    Unfit,
    UnfitWorker,
    Work,
)

_Made = TypeVar("_Made")


@dataclass(frozen=True)
class SessionParts:
    """What makes a session equal to the driver's.

    Attributes:
        base: An experiment that asks for the base with everything settled.
        setting: What the session must come to.
        task: Its data.
        template: Its wording.
        experiment: The session's own, kept beside its runs.
        processes: Into how many parts its trainings are cut.
    """

    base: Experiment
    setting: RunSetting
    task: Task
    template: PromptTemplate
    experiment: Experiment | None
    processes: int = 1

    @property
    def base_key(self) -> str:
        """Says which base this is, to be held against others."""
        return _base_key(self.setting.base)


def parts_of(session: Session, asked: Experiment) -> SessionParts:
    """Return what makes a session equal to one of the driver's.

    Args:
        session: The driver's.
        asked: Says what the base is asked for by; what it comes to is the session's.
    """
    setting, encoder = session.setting, session.encoder
    settled = {
        "precision": setting.base.precision,
        "compute_dtype": setting.base.compute_dtype,
        "device": setting.base.device,
    }
    base = from_anywhere(asked).model_copy(update=settled)
    own = None if session.experiment is None else from_anywhere(session.experiment)
    return SessionParts(base, setting, encoder.task, encoder.template, own, session.ranks.parts)


def _base_key(base: BaseIdentity | BaseInfo) -> str:
    return f"{base.identity} {base.precision} {base.compute_dtype} {base.device}"


class Bench:
    """A worker's base, sessions and store.

    Args:
        where: The worker's name for people.
        store: Where runs are found and go.
    """

    def __init__(self, where: str, store: RunStore) -> None:
        self.where, self.store = where, store
        self._shared: dict[str, Any] = {}
        self._engine: tuple[str, Engine] | None = None
        self._sessions: dict[str, Session] = {}
        self._kept: dict[str, Any] = {}

    def take(self, shared: Mapping[str, Any]) -> None:
        """Keep what work to come shares."""
        self._shared |= shared

    def session(self, key: str) -> Session:
        """Return the session of shared parts; its base is loaded unless it is there.

        Raises:
            UnfitWorker: the session is another one here: other weights, device or products.
            WorkbenchError: the base cannot be loaded.
        """
        if key not in self._sessions:
            parts: SessionParts = self._shared[key]
            engine = self._engine_of(parts)
            encoder = PromptEncoder(
                engine.tokenizer, parts.template, parts.task, parts.setting.template.chat
            )
            session = Session(engine, encoder, parts.experiment, Ranks(parts.processes))
            self._check(session.setting, parts.setting)
            self._sessions[key] = session
        return self._sessions[key]

    def kept(self, key: str, make: Callable[[Any], _Made]) -> _Made:
        """Return what is made of something shared, once for as long as the base stays.

        Args:
            key: Of what is shared.
            make: Makes it.
        """
        if key not in self._kept:
            self._kept[key] = make(self._shared[key])
        found: _Made = self._kept[key]
        return found

    def base(self, asked: Experiment, identity: str) -> BaseInfo:
        """Return what the base that an experiment asks for comes to here; it is loaded.

        Args:
            asked: Asks for it.
            identity: Which weights are meant.

        Raises:
            UnfitWorker: it cannot be loaded, or has other weights here.
        """
        engine = self._load(asked, identity)
        self._engine = _base_key(engine.info), engine
        return engine.info

    def release(self) -> None:
        """Let go of the base, so that two never lie in memory together."""
        self._engine = None
        self._sessions.clear()
        self._kept.clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def do(
        self, work: Work, progress: Progress, should_stop: Callable[[], bool] = lambda: False
    ) -> Answer:
        """Do work and return how it ended; an error of ours ends the worker."""
        try:
            with stopped_by(should_stop):
                return Done(work.do(self, progress, should_stop))
        except Interrupted:
            return Stopped()
        except UnfitWorker as unfit:
            return Unfit(str(unfit))
        except WorkbenchError as error:
            return Failed(type(error).__name__, str(error))

    def _engine_of(self, parts: SessionParts) -> Engine:
        if self._engine is not None and self._engine[0] == parts.base_key:
            return self._engine[1]
        engine = self._load(parts.base, parts.setting.base.identity)
        self._engine = parts.base_key, engine
        return engine

    def _load(self, asked: Experiment, identity: str) -> Engine:
        """Load a base in the place of the one that is there."""
        self.release()
        keep_freed_memory()
        transformers_logging.disable_progress_bar()  # the driver shows what is going on
        try:
            base = asked_base(asked)
            if base.info.identity == identity:
                return Engine(base)
        except WorkbenchError as error:
            raise UnfitWorker(f"{self.where}: {error}") from error
        raise UnfitWorker(
            f"{self.where}: model '{asked.model}' has other weights there ({base.info.source}) "
            "than here. Give all machines the same files: a folder that they share, or copies "
            "that keep their dates (cp -p)."
        )

    def _check(self, here: RunSetting, asked: RunSetting) -> None:
        if here == asked:
            return
        found = asked.differences(here)
        if here.base.device != asked.base.device:
            found.append(f"on {here.base.device}")
        raise UnfitWorker(
            f"{self.where} would make these runs {' and '.join(found) or 'otherwise'}; asked for "
            f"is {asked.base.precision} with products in {asked.base.compute_dtype} on "
            f"{asked.base.device}. Give all machines the same base, or write compute_dtype and "
            "device into the experiment."
        )


def ready_bench(where: str, place: str | None, local: Path, token: str, tell: Tell) -> Bench:
    """Return a worker's bench, and tell that it is ready.

    Args:
        where: The worker's name for people.
        place: Folder or address that several machines share; None if only this one does.
        local: Folder that a store at an address keeps its runs in.
        token: See `check_store`.
        tell: Takes what is to be said to the driver.

    Raises:
        UnfitWorker: the store is not the driver's, or cannot be written.
        WorkbenchError: there can be no such store.
    """
    store = RunStore(local) if place is None else open_store(place, local)
    bench = Bench(where, store)
    check_store(bench.store, where, token)
    tell(Ready(where, code_version()))
    return bench


def check_store(store: RunStore, where: str, token: str) -> None:
    """Refuse a store that is not the driver's, or cannot be written.

    Args:
        store: As this worker sees it.
        where: The worker's name for people.
        token: Name of a file that the driver has put there; none is looked for if "".

    Raises:
        UnfitWorker: says what is wrong.
    """
    try:
        if token and not (store.root / token).is_file():
            raise UnfitWorker(
                f"{where}: {store.root} is another folder there than here. Use a folder that all "
                "machines share, or a store at an address (s3://…)."
            )
        store.root.mkdir(parents=True, exist_ok=True)
        probe = store.root / f"{token or '.probe'}-{abs(hash(where))}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UnfitWorker(
            f"{where}: {store.root} cannot be written there ({error.strerror})."
        ) from error
    except StoreError as error:
        raise UnfitWorker(f"{where}: {error}") from error
