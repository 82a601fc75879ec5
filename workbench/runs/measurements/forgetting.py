"""Measure what a base loses elsewhere with an adapter in place: other texts, other tasks.

For learned weights "after" means that the adapter is active. For learned vectors and words it means
that they stand before the text, or before the other task's own prompt.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from workbench.encoding import PromptEncoder, PromptStart
from workbench.errors import ConfigError, StoreError
from workbench.fitting.base import FittedMethod, SupportsSave
from workbench.methods.catalog import method_class
from workbench.models.base import Prefix
from workbench.models.perplexity import BLOCK, CONTEXT
from workbench.progress import Progress, ignore_progress
from workbench.runs.execute import restore
from workbench.runs.experiment import Experiment
from workbench.runs.measurements.loss_and_answers import (
    answers_to_test,
    check_answerable,
    text_loss,
)
from workbench.runs.measurements.records import (
    Answers,
    ForgettingRecord,
    InPlace,
    MeasurementStore,
    TextLoss,
)
from workbench.runs.session import Session, open_session, open_task, open_template
from workbench.runs.store import StoredRun
from workbench.tasks.base import Task
from workbench.tasks.text import PlainText
from workbench.templates import PromptTemplate


@dataclass(frozen=True)
class TrainedRun:
    """A finished run of a trained method, and the experiment that made it."""

    run: StoredRun
    experiment: Experiment


@dataclass(frozen=True)
class Elsewhere:
    """Where to look for what was forgotten.

    Attributes:
        texts: Perplexity is taken of each.
        tasks: Each with its own wording; asked without demonstrations.
    """

    texts: tuple[PlainText, ...] = ()
    tasks: tuple[tuple[Task, PromptTemplate], ...] = ()


@dataclass(frozen=True)
class LearnedPart:
    """What a run learned, without the words of its own task.

    Attributes:
        in_place: What it is, in words.
        prefix: Learned vectors, keys and values or words, and the special tokens before them; None
            for weights.
        adapter: Name of the weight adapter, or None.
    """

    in_place: str
    prefix: Prefix | None
    adapter: str | None


NOTHING_LEARNED = LearnedPart("the base alone", None, None)


def check_runs(runs: Sequence[TrainedRun], elsewhere: Elsewhere) -> None:
    """Refuse what cannot be measured, before anything is loaded.

    Raises:
        ConfigError: a run that learned nothing, runs of several bases, a task whose answers are
            not right or wrong.
        StoreError: a run that is not finished.
    """
    for run in (trained.run for trained in runs):
        if run.record.status != "finished":
            raise StoreError(f"run {run.record.run_id}: is {run.record.status}; finish it.")
        if not issubclass(method_class(run.spec.method), SupportsSave):
            raise ConfigError(
                f"run {run.record.run_id}: '{run.spec.method}' learns nothing, so it forgets "
                "nothing. Choose a run of a trained method."
            )
        base, first = run.spec.base, runs[0].run
        if base != first.spec.base:
            raise ConfigError(
                f"run {run.record.run_id}: its base {base.model_dump()} is not that of run "
                f"{first.record.run_id}, {first.spec.base.model_dump()}. Give runs of one base "
                "and precision, or call the command once for each."
            )
    for task, _ in elsewhere.tasks:
        check_answerable(task)


def measure_forgetting(
    runs: Sequence[TrainedRun],
    elsewhere: Elsewhere,
    store: MeasurementStore,
    *,
    progress: Progress = ignore_progress,
) -> Iterator[ForgettingRecord]:
    """Yield what each run changes elsewhere; every part is kept and found again.

    Args:
        runs: Trained runs on one base; see `check_runs`.
        elsewhere: Texts and tasks.
        store: Finished parts are found there and kept there.
        progress: Told about each step.

    Raises:
        ModelError: the base or an adapter cannot be loaded.
        StoreError: the run's wording or base has changed since.
    """
    bench = _Bench(runs[0], store, progress)
    for trained in runs:
        run = trained.run
        yield ForgettingRecord(
            run_id=run.record.run_id,
            method=run.spec.method,
            row=run.record.row,
            task=run.spec.task.name,
            own_accuracy=run.record.metrics.get("accuracy"),
            in_place=bench.in_place(trained),
            texts={
                text.name: (bench.text(text, None), bench.text(text, trained))
                for text in elsewhere.texts
            },
            tasks={
                task.name: (
                    bench.answers(task, template, None, chat=trained.experiment.chat),
                    bench.answers(task, template, trained, chat=trained.experiment.chat),
                )
                for task, template in elsewhere.tasks
            },
        )


def learned_part(fitted: FittedMethod) -> LearnedPart:
    """Return what was learned, without the instruction that belongs to the run's own task.

    Vectors that were stored together with the words around them keep those words; a prompt of words
    alone that was found by training or search is kept whole.

    Raises:
        ConfigError: a fitted method that cannot be put before other texts.
    """
    if fitted.voters:
        raise ConfigError(
            "forgetting: prompts that vote have no one prefix to put before a text. Choose a run "
            "of a single prompt."
        )
    prefix = fitted.prefix
    kept = tuple(p for p in prefix.pieces if not isinstance(p, tuple) or p == fitted.start.head_ids)
    has_vectors = any(not isinstance(piece, tuple) for piece in kept)
    if has_vectors or prefix.num_tokens > prefix.num_computed:
        return LearnedPart(
            "learned vectors before the text", replace(prefix, pieces=kept), fitted.adapter
        )
    if fitted.adapter is not None:
        return LearnedPart("learned weights active", None, fitted.adapter)
    return LearnedPart("learned words before the text", prefix, None)


def asked_with(learned: LearnedPart, encoder: PromptEncoder) -> FittedMethod:
    """Return the zero-shot prompt of another task with what was learned in place.

    Learned vectors stand before that prompt, so its instruction becomes the rows' own tokens.
    """
    start = encoder.start()
    if learned.prefix is None:
        return FittedMethod(encoder, start, start.prefix, adapter=learned.adapter)
    head = PromptStart(start.head_ids, ())
    return FittedMethod(encoder, head, learned.prefix, adapter=learned.adapter)


class _Bench:
    """Finds parts, and loads the base once the first one is missing."""

    def __init__(self, first: TrainedRun, store: MeasurementStore, progress: Progress) -> None:
        self._first, self._store, self._progress = first, store, progress
        self._opened: Session | None = None
        self._learned: dict[str, LearnedPart] = {}

    def in_place(self, trained: TrainedRun) -> str:
        """Return what a run puts in place, in words."""
        spec = self._spec(trained)
        found = self._store.find("in_place", spec, InPlace)
        if found is None:
            found = InPlace(words=self._what(trained).in_place)
            self._store.keep("in_place", spec, found)
        return found.words

    def text(self, text: PlainText, trained: TrainedRun | None) -> TextLoss:
        """Return the loss of a text, of the base alone or with a run's adapter."""
        spec = self._spec(trained) | {"text": text.digest, "windows": [BLOCK, CONTEXT]}
        found = self._store.find("text", spec, TextLoss)
        if found is None:
            learned = self._what(trained)
            found = text_loss(
                self._session().engine,
                [text.text],
                prefix=learned.prefix,
                adapter=learned.adapter,
                progress=self._progress,
            )
            self._store.keep("text", spec, found)
        return found

    def answers(
        self, task: Task, template: PromptTemplate, trained: TrainedRun | None, *, chat: bool
    ) -> Answers:
        """Return the zero-shot answers to another task, alone or with a run's adapter."""
        spec = self._spec(trained) | {
            "task": task.digest,
            "template": template.digest,
            "chat": chat,
        }
        found = self._store.find(task.name, spec, Answers)
        if found is None:
            session = self._session()
            encoder = PromptEncoder(session.engine.tokenizer, template, task, chat)
            fitted = asked_with(self._what(trained), encoder)
            found = answers_to_test(session.engine, fitted, progress=self._progress)
            self._store.keep(task.name, spec, found)
        return found

    def _spec(self, trained: TrainedRun | None) -> dict[str, Any]:
        run = None if trained is None else trained.run.spec.digest
        return {"base": self._first.run.spec.base.model_dump(), "run": run}

    def _session(self) -> Session:
        if self._opened is None:
            self._opened = open_session(self._first.experiment)
        return self._opened

    def _what(self, trained: TrainedRun | None) -> LearnedPart:
        """Return what a run learned, restored once."""
        if trained is None:
            return NOTHING_LEARNED
        run = trained.run
        if run.spec.digest not in self._learned:
            session = self._session_of(trained)
            self._learned[run.spec.digest] = learned_part(restore(session, run))
        return self._learned[run.spec.digest]

    def _session_of(self, trained: TrainedRun) -> Session:
        """Return the base with a run's own task and wording.

        Raises:
            StoreError: base or wording are not those of the run.
        """
        experiment, run = trained.experiment, trained.run
        engine = self._session().engine
        task = open_task(experiment.task)
        template = open_template(experiment.template, task)
        session = Session(engine, PromptEncoder(engine.tokenizer, template, task, experiment.chat))
        now = session.spec(run.spec.method, run.spec.options, run.spec.seed)
        if (now.base, now.template) != (run.spec.base, run.spec.template):
            raise StoreError(
                f"run {run.record.run_id}: base or wording have changed since it was made. Run the "
                "comparison again."
            )
        return session
