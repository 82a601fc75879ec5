"""The one base in memory, and the one thread that runs it.

Adapters on a base are switched by global state and a decoding loop holds the engine's lock between
two tokens, so everything that touches the engine runs on a single thread, one piece of work after
the other. A stream is left by closing it: the thread then ends after the current token.
"""

import logging
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeVar

from transformers import PreTrainedTokenizerBase

from workbench.encoding import PromptEncoder
from workbench.errors import WorkbenchError
from workbench.fitting.base import FittedMethod
from workbench.models.engine import Engine
from workbench.models.loading import BaseInfo
from workbench.progress import Interrupted, never_stopped, stopped_by
from workbench.runs.experiment import Experiment, TaskChoice
from workbench.runs.session import Session, asked_base, open_task, open_template, run_setting
from workbench.runs.spec import RunSetting
from workbench.tasks.base import Task
from workbench.templates import PromptTemplate
from workbench.training.ranks import Ranks

Result = TypeVar("Result")
Item = TypeVar("Item")
Measured = TypeVar("Measured")

_log = logging.getLogger(__name__)

_MOST_TASKS = 16
_MOST_FITTED = 32  # each may be a weight adapter in memory
_MOST_MEASURED = 64  # of what is small; visitors' own tasks are among what it is kept by
_MOST_PREVIEWED = 4  # tokenizers; a page of strangers offers no more bases
_WAITING_ITEMS = 64  # of a stream that nobody takes; then the thread waits


@dataclass(frozen=True)
class BaseChoice:
    """What decides which base is in memory."""

    model: str
    revision: str | None
    precision: str
    compute_dtype: str
    device: str
    weights_in_memory: str


class ModelDesk:
    """Owner of the engine; safe to call from any number of threads.

    Args:
        is_direct: Run work on the calling thread instead, one at a time: where each call is made in
            a forked process (ZeroGPU), which has no other threads.
    """

    def __init__(self, *, is_direct: bool = False) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._direct = threading.Lock() if is_direct else None
        self._choice: BaseChoice | None = None
        self._engine: Engine | None = None
        self._infos: dict[BaseChoice, BaseInfo] = {}
        self._measured: OrderedDict[tuple[object, ...], Any] = OrderedDict()
        self._tasks: OrderedDict[TaskChoice, Task] = OrderedDict()
        self._fitted: OrderedDict[str, FittedMethod] = OrderedDict()
        self._tasks_lock = threading.Lock()
        self._previews_lock = threading.Lock()
        self._previews: OrderedDict[tuple[str, str | None], PreTrainedTokenizerBase] = OrderedDict()

    @property
    def loaded(self) -> BaseInfo | None:
        """The base in memory, if any."""
        engine = self._engine
        return None if engine is None else engine.info

    def info(self, experiment: Experiment) -> BaseInfo:
        """Return what is known about an experiment's base; loads it only the first time."""
        choice = _base_choice(experiment)
        if choice not in self._infos:
            self.call(lambda: self.session(experiment))
        return self._infos[choice]

    def setting(self, experiment: Experiment) -> RunSetting:
        """Return base, task and template as they stand in the specs of an experiment's runs."""
        info, task = self.info(experiment), self.task(experiment.task)
        template = open_template(experiment.template, task)
        return run_setting(info, task, template, experiment.chat)

    def call(self, work: Callable[[], Result]) -> Result:
        """Run work on the model's thread and return what it returns."""
        if self._direct is not None:
            with self._direct:
                return work()
        return self._thread.submit(work).result()

    def stream(self, work: Callable[[Callable[[], bool]], Iterator[Item]]) -> Iterator[Item]:
        """Yield what `work` yields on the model's thread.

        Args:
            work: Is given `should_stop`, which returns True once the reader has left.

        Raises:
            Interrupted: the desk was closed before the work began.
        """
        if self._direct is not None:
            with self._direct:
                yield from work(lambda: False)
            return
        items: queue.Queue[Item | None] = queue.Queue(_WAITING_ITEMS)
        left = threading.Event()
        produced = self._thread.submit(_produce, work, items, left.is_set)
        # Work that is taken from the line never says that it ended.
        produced.add_done_callback(lambda one: items.put(None) if one.cancelled() else None)
        try:
            while (item := items.get()) is not None:
                yield item
            if produced.cancelled():
                raise Interrupted("closed before this began")
            produced.result()  # raises what the work raised
        finally:
            left.set()

    def warm(self, experiment: Experiment) -> Future[bool]:
        """Load a base before anybody asks, beside whatever else starts; return whether it did."""
        if self._direct is None:
            return self._thread.submit(self._load_quietly, experiment)
        self.call(lambda: self.session(experiment))  # ZeroGPU wants it loaded while the app starts
        done: Future[bool] = Future()
        done.set_result(True)
        return done

    def task(self, choice: TaskChoice) -> Task:
        """Return a task; read once as long as it stays among the last used."""
        with self._tasks_lock:
            if choice in self._tasks:
                self._tasks.move_to_end(choice)
                return self._tasks[choice]
        task = open_task(choice)
        with self._tasks_lock:
            self._tasks[choice] = task
            while len(self._tasks) > _MOST_TASKS:
                self._tasks.popitem(last=False)
        return task

    def session(self, experiment: Experiment, task: Task | None = None) -> Session:
        """Return base, task and wording of an experiment; call it on the model's thread.

        Another base than the one in memory takes its place. A task that was read for the
        experiment is not read again.

        Raises:
            WorkbenchError: the task, the wording or the base cannot be had.
        """
        task = task or self.task(experiment.task)
        template = open_template(experiment.template, task)
        engine = self.engine(experiment)
        encoder = PromptEncoder(engine.tokenizer, template, task, experiment.chat)
        if (experiment.model, experiment.revision) not in self._previews:
            self._lend(experiment, engine)
        return Session(engine, encoder, experiment, Ranks(experiment.processes))

    def engine(self, experiment: Experiment) -> Engine:
        """Return the engine over an experiment's base; call it on the model's thread.

        Another base than the one in memory takes its place.

        Raises:
            WorkbenchError: the base cannot be had.
        """
        choice = _base_choice(experiment)
        if self._engine is None or choice != self._choice:
            self._engine, self._choice = None, None
            self._fitted.clear()
            with never_stopped():  # who asked may leave, and the next one finds it loaded
                base = asked_base(experiment)
                self._engine, self._choice = Engine(base), choice
            self._infos[choice] = base.info
        return self._engine

    def _lend(self, experiment: Experiment, engine: Engine) -> PreTrainedTokenizerBase:
        """Keep a copy of a base's tokenizer to look at prompts with; call it on the model's thread.

        A precision does not change it, so that to look puts no base in another one's place.
        """
        tokenizer = deepcopy(engine.tokenizer)
        self._previews[experiment.model, experiment.revision] = tokenizer
        while len(self._previews) > _MOST_PREVIEWED:
            self._previews.popitem(last=False)
        return tokenizer

    def measured(self, experiment: Experiment, measure: Callable[[Session], Measured]) -> Measured:
        """Return what `measure` finds for an experiment's base, task and wording.

        Once for each, as long as it is among the last that were asked for.
        """
        key = (_base_choice(experiment), experiment.task, experiment.template, experiment.chat)
        if key in self._measured:
            known: Measured = self._measured[key]
            return known
        found = self.call(lambda: measure(self.session(experiment)))
        self._measured[key] = found
        while len(self._measured) > _MOST_MEASURED:
            self._measured.popitem(last=False)
        return found

    @contextmanager
    def encoder(self, experiment: Experiment, template: PromptTemplate) -> Iterator[PromptEncoder]:
        """Lend an encoder to look at prompts with, beside whatever the model is doing.

        It has a tokenizer of its own, because one tokenizer cannot serve two threads at once.
        """
        task = self.task(experiment.task)
        self.info(experiment)
        with self._previews_lock:
            tokenizer = self._previews.get((experiment.model, experiment.revision))
            if tokenizer is None:  # many other bases were loaded since
                tokenizer = self.call(
                    lambda: self._lend(experiment, self.session(experiment).engine)
                )
            yield PromptEncoder(tokenizer, template, task, experiment.chat)

    def fitted(self, key: str, fit: Callable[[], FittedMethod]) -> FittedMethod:
        """Return a fitted method, fitted at most once while it is among the last used.

        Call it on the model's thread; `key` is the digest of the run's spec.
        """
        if key in self._fitted:
            self._fitted.move_to_end(key)
            return self._fitted[key]
        fitted = fit()
        self._fitted[key] = fitted
        while len(self._fitted) > _MOST_FITTED:
            self._drop_oldest()
        return fitted

    def forget_fitted(self) -> None:
        """Take what was fitted off the base; call it on the model's thread.

        A job that runs on this base names its adapters as answers do, by the digest of the spec.
        """
        while self._fitted:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, oldest = self._fitted.popitem(last=False)
        if oldest.adapter is not None and self._engine is not None:
            self._engine.adapters.remove(oldest.adapter)

    def _load_quietly(self, experiment: Experiment) -> bool:
        try:
            self.session(experiment)
        except WorkbenchError as error:  # said again to whoever asks first
            _log.warning("base model not loaded: %s", error)
            return False
        return True

    def close(self) -> None:
        """End the thread after what it is doing."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _produce(
    work: Callable[[Callable[[], bool]], Iterator[Item]],
    items: queue.Queue[Item | None],
    should_stop: Callable[[], bool],
) -> None:
    """Hand over what `work` yields, then None, until it should stop."""

    def hand_over(item: Item | None) -> None:
        while not should_stop():
            with suppress(queue.Full):
                items.put(item, timeout=0.2)
                return

    try:
        with stopped_by(should_stop):
            for item in work(should_stop):
                hand_over(item)
                if should_stop():  # whether or not the work asks for itself
                    break
    finally:  # a failure ends the stream too, or the reader would wait for ever
        hand_over(None)


def _base_choice(experiment: Experiment) -> BaseChoice:
    return BaseChoice(
        experiment.model,
        experiment.revision,
        experiment.precision,
        experiment.compute_dtype,
        experiment.device,
        experiment.weights_in_memory,
    )
