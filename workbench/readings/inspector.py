"""Readings of what was learned: what can be read, one reading at a time, and each only once.

A reading is stored by the content it was made of (vectors, options, base, task and wording), so
that it is found again by every door. Readings of many steps tell how far they are and can be left.
"""

import hashlib
import json
import logging
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path

from workbench.errors import ConfigError, StoreError
from workbench.models.adapters.reading import read_adapter
from workbench.presentation.reading import Reading
from workbench.progress import Interrupted, ProgressEvent, stopped_by
from workbench.readings.base import Kind, Reader, Subject, WeightChange, open_vocabulary
from workbench.readings.catalog import make_reader
from workbench.readings.loading import (
    kind_of,
    kind_of_adapter,
    load_adapter_prompt,
    load_prompt,
    load_weights,
)
from workbench.readings.scoring import Scorer
from workbench.readings.vectors.neighbours import Vocabulary
from workbench.readings.vectors.prompt import SoftPrompt, random_like
from workbench.runs.experiment import Experiment
from workbench.runs.labels import read_label
from workbench.runs.session import Session
from workbench.runs.spec import BaseIdentity, RunSetting
from workbench.runs.store import StoredRun
from workbench.sealed import is_there, read_sealed, write_sealed
from workbench.serving.desk import ModelDesk

READING_VERSION = 5  # raised when a reading's figures change their meaning
INSTRUCTION, RANDOM = "control:instruction", "control:random"
_MOST_SCORERS = 8

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Learned:
    """Something that can be read.

    Attributes:
        key: Names it among the choices of a page, and in a command.
        title: What readings call it; they are kept, so it never changes.
        kind: Vectors or weights.
        run: The run that made it, or None.
        folder: Where an adapter from elsewhere lies, or None.
        name: What a person called the run; may be empty.
    """

    key: str
    title: str
    kind: Kind
    run: StoredRun | None = None
    folder: Path | None = None
    name: str = ""

    @property
    def listed(self) -> str:
        """What lists call it."""
        return f"{self.name} · {self.title}" if self.name else self.title


def learned_runs(runs: Sequence[StoredRun], base: BaseIdentity) -> list[Learned]:
    """Return what finished runs on a base learned, the newest first.

    Args:
        runs: Any runs; those of other bases are passed over, because nothing of them can be read
            on this one.
        base: Its weights decide; precision and device may differ.
    """
    found = []
    for run in reversed(runs):
        is_same = run.spec.base.is_same_weights(base)
        kind = kind_of(run) if is_same else None
        if kind is not None:
            title = (
                f"{run.spec.task.name} · {run.record.row} · seed {run.spec.seed} · "
                f"{run.spec.digest[:4]}"
            )
            name = read_label(run.folder).name
            found.append(Learned(f"run:{run.record.run_id}", title, kind, run=run, name=name))
    return found


def learned_adapters(folders: Mapping[str, tuple[str, Path]]) -> list[Learned]:
    """Return adapters in PEFT's format by key, with their titles and folders."""
    return [
        Learned(key, title, kind, folder=folder)
        for key, (title, folder) in folders.items()
        if (kind := kind_of_adapter(folder)) is not None
    ]


def controls() -> list[Learned]:
    """Return what every reading can be tried on: a known instruction, and random vectors."""
    return [
        Learned(INSTRUCTION, "control: the instruction's own embeddings", "vectors"),
        Learned(RANDOM, "control: random vectors", "vectors"),
    ]


class Inspector:
    """Makes readings on the desk's base and keeps them.

    Args:
        desk: Owner of the base.
        num_items: Test items that prompts are scored on.
    """

    def __init__(self, desk: ModelDesk, num_items: int = 64) -> None:
        self._desk, self._num_items = desk, num_items
        self._vocabularies: dict[tuple[str, str], Vocabulary] = {}
        self._scorers: dict[RunSetting, Scorer] = {}
        self._closing = threading.Event()

    def close(self) -> None:
        """Stop every reading that is being made: a process waits for their threads at its end."""
        self._closing.set()

    def subject(
        self, experiment: Experiment, chosen: Learned, against: Sequence[Learned] = ()
    ) -> Subject:
        """Return what readings are given.

        Raises:
            ConfigError: made on another base.
            ModelError: an adapter cannot be read.
        """
        return self._desk.call(lambda: self._subject(experiment, chosen, against))

    def _subject(
        self, experiment: Experiment, chosen: Learned, against: Sequence[Learned]
    ) -> Subject:
        session = self._desk.session(experiment)
        subject = Subject(
            session,
            self._vocabulary(session),
            self._scorer(session),
            made_elsewhere=_made_elsewhere(session.setting, against),
        )
        if chosen.kind == "weights":
            others = tuple(_weights(session, o) for o in against if o.kind == "weights")
            return replace(subject, weights=_weights(session, chosen), other_weights=others)
        prompts = [
            self._prompt(subject, one) for one in (chosen, *against) if one.kind == "vectors"
        ]
        return replace(subject, prompt=prompts[0], others=tuple(prompts[1:]))

    def stream(
        self, subject: Subject, name: str, options: Mapping[str, object], *, folder: Path
    ) -> Iterator[ProgressEvent | Reading]:
        """Yield how far a reading is, and last the reading; closing the iterator ends the work.

        Args:
            subject: What to read.
            name: Name of the reading in the catalog.
            options: Its own; defaults are filled in.
            folder: Where readings are kept.

        Raises:
            ConfigError: unknown reading or option, or one that does not fit what is read.
        """
        reader = make_reader(name, options)
        _check_kind(reader, subject)
        path = folder / f"{name}-{reading_digest(subject, name, reader)}.json"
        found = _stored(path)
        if found is not None:
            yield _placed(found, subject)
            return
        for step in self._work(subject, reader):
            if isinstance(step, Reading):
                with suppress(StoreError):  # one that cannot be kept is made again when asked for
                    write_sealed(path, {"reading": step.model_dump(mode="json")})
                yield _placed(step, subject)
            else:
                yield step

    def read(
        self, subject: Subject, name: str, options: Mapping[str, object], *, folder: Path
    ) -> Reading:
        """Return a reading, made now if it is not kept; see `stream`."""
        for step in self.stream(subject, name, options, folder=folder):
            if isinstance(step, Reading):
                return step
        raise Interrupted(f"reading '{name}' stopped")

    def _work(self, subject: Subject, reader: Reader) -> Iterator[ProgressEvent | Reading]:
        """Yield steps and result of a reading made on a thread of its own.

        What needs the base runs on the model's thread; the rest leaves it to others.
        """
        steps: queue.Queue[ProgressEvent | None] = queue.Queue()
        left = threading.Event()

        def should_stop() -> bool:
            return left.is_set() or self._closing.is_set()

        watched = replace(subject, progress=steps.put, should_stop=should_stop)

        def work() -> Reading:
            def read() -> Reading:
                with stopped_by(should_stop):
                    return reader.read(watched)

            try:
                return self._desk.call(read) if reader.needs_base else read()
            finally:  # a failure ends the steps too, or the reader would wait for ever
                steps.put(None)

        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reading")
        made = thread.submit(work)
        try:
            while (step := steps.get()) is not None:
                yield step
            yield made.result()  # or raises what the reading raised
        finally:
            left.set()
            thread.shutdown(wait=False)

    def _prompt(self, subject: Subject, one: Learned) -> SoftPrompt:
        session = subject.session
        if one.run is not None:
            return load_prompt(session, one.run, one.title)
        if one.folder is not None:
            return load_adapter_prompt(session, one.folder, one.title)
        ids = list(subject.instruction_ids)
        if not ids:
            raise ConfigError(
                "controls: this wording has no instruction whose embeddings could be read. Choose "
                "another wording."
            )
        vectors = subject.vocabulary.embeddings[ids]
        if one.key == RANDOM:
            vectors = random_like(vectors, seed=1_000_003)  # no draw that readings compare with
        return SoftPrompt(one.title, vectors, task=session.task.name)

    def _vocabulary(self, session: Session) -> Vocabulary:
        info = session.engine.info
        key = (info.name, info.identity)
        if key not in self._vocabularies:
            self._vocabularies.clear()  # as large as the embedding table; one base at a time
            self._vocabularies[key] = open_vocabulary(session)
        return self._vocabularies[key]

    def _scorer(self, session: Session) -> Scorer:
        key = session.setting
        found = self._scorers.get(key)
        if found is None or not found.belongs_to(session.engine):
            while len(self._scorers) >= _MOST_SCORERS:
                self._scorers.pop(next(iter(self._scorers)))
            found = self._scorers[key] = Scorer(session, self._num_items)
        return found


def reading_digest(subject: Subject, name: str, reader: Reader) -> str:
    """Return a hash of everything that decides what a reading says."""
    prompts = [p.digest for p in (subject.prompt, *subject.others) if p is not None]
    adapters = [
        read_adapter(w.folder).summary
        for w in (subject.weights, *subject.other_weights)
        if w is not None
    ]
    content = {
        "version": READING_VERSION,
        "name": name,
        "options": {field.name: getattr(reader, field.name) for field in fields(reader)},
        "prompts": prompts,
        "weights": [(one.digest, one.base_name) for one in adapters],
        "beside": [(one.name, one.task) for one in subject.others]
        + [(one.name, one.task) for one in subject.other_weights],
        "setting": subject.session.setting.model_dump(),
        "num_items": subject.scorer.num_items,
    }
    payload = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(payload.encode()).hexdigest()[:16]


def _placed(reading: Reading, subject: Subject) -> Reading:
    """Return a reading that says of what and on what it was made; it is kept without that."""
    notes = [*reading.notes, *subject.made_elsewhere]
    made = {"of": subject.title, "setting": subject.setting_text, "notes": notes}
    return reading.model_copy(update=made)


def _made_elsewhere(here: RunSetting, against: Sequence[Learned]) -> tuple[str, ...]:
    """Return a sentence for each run that was made on something else than what is read on."""
    sentences = []
    for one in against:
        differing = [] if one.run is None else here.differences(one.run.spec.setting)
        if differing:
            sentences.append(
                f"{one.title}: made {' and '.join(differing)}; what is scored here is scored on "
                "the setting above."
            )
    return tuple(sentences)


def _weights(session: Session, one: Learned) -> WeightChange:
    if one.run is not None:
        return load_weights(session, one.run, one.title)
    assert one.folder is not None, one.key
    return WeightChange(one.title, one.folder)


def _check_kind(reader: Reader, subject: Subject) -> None:
    kind = "vectors" if subject.prompt is not None else "weights"
    if reader.kind != kind:
        raise ConfigError(
            f"reading '{reader.title}': reads {reader.kind}, and {kind} are given. Choose another "
            "reading, or another run."
        )


def _stored(path: Path) -> Reading | None:
    """Return a kept reading; one of which any byte has changed is made again."""
    if not is_there(path):
        return None
    try:
        return Reading.model_validate_json(json.dumps(read_sealed(path)["reading"]))
    except (OSError, ValueError, KeyError):
        _log.warning("%s: is damaged or of an older version, and is made again.", path)
        return None
