"""The run store: one folder per run, written atomically, readable without a deep-learning stack.

<root>/<run id>/spec.json         what was asked, resolved
                record.json       what happened: status, metrics, cost, environment; digests
                predictions.jsonl one line per test item
                history.jsonl     training, as it goes
                adapter/          learned vectors or weights, in PEFT's format
                checkpoint*.safetensors, .lock   only while a run is unfinished

The record is written last and seals the run: a file that is not what it was is noticed when it is
read (`workbench.sealed`, `workbench.runs.run_files`), and whoever lists runs is told of those that
cannot be read.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
)

from workbench.atomic import explained, parse_json, remove_scratch, write_json, write_text
from workbench.errors import DamagedFile, StoreError
from workbench.estimates import Estimate
from workbench.runs.folder_lock import LOCK, held
from workbench.runs.lease import LeaseTimes
from workbench.runs.provenance import Provenance
from workbench.runs.run_cost import RunCost
from workbench.runs.run_files import LABEL, damaged_among, digests_of
from workbench.runs.spec import RunSpec
from workbench.sealed import parse_sealed, write_sealed

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RunStatus = Literal["running", "trained", "finished", "failed", "interrupted"]
_SCHEMA_VERSION = 1
RECORD = "record.json"
_SPEC, _HISTORY = "spec.json", "history.jsonl"
_FILES = "files"  # of a record: what belongs to the run, with digests
PREDICTIONS = "predictions.jsonl"
_BEGINNING = (_SPEC, "origin.json", LABEL)  # what is there before the first record
_WAY_OUT = "Make it again with evaluate, or delete it."
_STARTING_SECONDS = 60.0  # in which a run that has begun has its record
_FILE_SUFFIXES = (".json", ".jsonl", ".log", ".md", ".safetensors", ".txt")
_FOLDERS = ("adapter", "path", "member_*")


class RunRecord(BaseModel):
    """What happened in a run.

    Attributes:
        schema_version: Version of this format.
        run_id: Folder name.
        row: Name of the row in the experiment that asked for it first.
        status: "running" until it ended; a dead process leaves it so, and the run goes on.
            "trained" has its dev score and adapter, and the test split was never predicted: the
            runs a search tried stay so, and the one that won goes on from there.
        source: Where the base's weights came from.
        started: ISO 8601, UTC.
        finished: ISO 8601, UTC; None while unfinished.
        metrics: Name to estimate, as fractions.
        cost: What it took.
        dropped: Rows left out of the splits, by reason.
        warnings: What may not be as meant in the data, as sentences.
        environment: Versions, processor, threads.
        provenance: The code that made it; None in records from before it was kept.
        cautions: What fitting found to be careful about, as sentences to follow the row's name.
        error: What went wrong in a failed run.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: int = _SCHEMA_VERSION
    run_id: str
    row: str
    status: RunStatus
    source: str
    started: str
    finished: str | None = None
    metrics: dict[str, Estimate] = {}
    cost: RunCost = RunCost()
    dropped: dict[str, int] = {}
    warnings: tuple[str, ...] = ()
    environment: dict[str, str | int] = {}
    provenance: Provenance | None = None
    cautions: list[str] = []
    error: str | None = None


@dataclass(frozen=True)
class StoredRun:
    """A run's folder with its spec and record.

    Attributes:
        folder: Where its files are.
        spec: What was asked for.
        record: What happened.
        files: Digests of its files by name; none in records from before they were kept.
    """

    folder: Path
    spec: RunSpec
    record: RunRecord
    files: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def num_dev_scored(self) -> int:
        """How many items its accuracies on dev are of."""
        return self.record.cost.dev_items or self.spec.task.num_dev

    @property
    def adapter_folder(self) -> Path:
        """Where the adapter lies, if the method learns one."""
        return self.folder / "adapter"

    @property
    def status_text(self) -> str:
        """The status as lists show it; a run made by older rules is never found for a new spec."""
        older = " (older version, made anew when asked for)" if self.spec.is_older_version else ""
        return self.record.status + older

    def predictions(self) -> list[dict[str, Any]]:
        """Return one mapping per test item, in the order of the test split.

        Raises:
            DamagedFile: they are not what was written.
            OSError, ValueError: of a run without digests, they cannot be read.
        """
        # Not splitlines: answers may hold U+2028 and its like, which JSON leaves as they are.
        return [parse_json(line) for line in self._text(PREDICTIONS).split("\n") if line]

    def history(self) -> list[dict[str, float]]:
        """Return the steps and dev evaluations of the training; none if nothing was trained.

        Raises:
            DamagedFile: they are not what was written.
            OSError, ValueError: of a run without digests, they cannot be read.
        """
        is_there = _HISTORY in self.files or (self.folder / _HISTORY).is_file()
        text = self._text(_HISTORY) if is_there else ""
        return [parse_json(line) for line in text.split("\n") if line.strip()]

    def damaged(self) -> list[str]:
        """Return the names of files that are not what was written."""
        found = damaged_among(self.folder, self.files, self.files)
        if not self.files and self.record.status == "finished":  # from before digests were kept
            try:
                is_whole = len(self.predictions()) == self.spec.task.num_test
            except (OSError, ValueError):
                is_whole = False
            found += [] if is_whole else [PREDICTIONS]
        return found

    def check_learned(self, *, also: Sequence[str] = ()) -> None:
        """Refuse what was learned or chosen if it is not what was written.

        Args:
            also: How the names of further files begin that are needed.

        Raises:
            DamagedFile: names the file.
        """
        names = [
            name
            for name in self.files
            if name.startswith(tuple(also))
            or not (name.endswith((".jsonl", ".md", _SPEC)) or "path/" in name)
        ]
        for name in damaged_among(self.folder, self.files, names):
            raise self._damaged(name)

    def _text(self, name: str) -> str:
        path = self.folder / name
        if name not in self.files:
            return path.read_text(encoding="utf-8")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise self._damaged(name) from error
        if hashlib.sha256(content).hexdigest() != self.files[name]:
            raise self._damaged(name)
        return content.decode("utf-8")

    def _damaged(self, name: str) -> DamagedFile:
        return DamagedFile(
            f"run {self.record.run_id}: {name} is damaged: it is not what was written. {_WAY_OUT}"
        )


@dataclass(frozen=True)
class BrokenRun:
    """The folder of a run that cannot be read.

    Attributes:
        folder: Where it is.
        reason: What is wrong, as the end of a sentence.
        is_beginning: Whether there is nothing yet but what was asked, as after a kill before the
            first record: then nothing is lost.
    """

    folder: Path
    reason: str
    is_beginning: bool = False

    @property
    def run_id(self) -> str:
        """Folder name."""
        return self.folder.name

    @property
    def sentence(self) -> str:
        """What is wrong and what to do."""
        return f"run {self.run_id}: {self.reason}. {_WAY_OUT}"


class RunStore:
    """Runs below one folder.

    Args:
        root: The folder; made when needed.
        also: Further folders whose finished runs are found too; nothing is written there.
        lease: How long processes of other machines hold a run, where the folder is one that
            several machines share; None: only this machine works there.
    """

    def __init__(
        self, root: Path, also: Sequence[Path] = (), *, lease: LeaseTimes | None = None
    ) -> None:
        self.root, self.lease = root, lease
        self.roots = (root, *also)

    @property
    def is_shared(self) -> bool:
        """Whether other machines work on it too."""
        return self.lease is not None

    def folder(self, spec: RunSpec) -> Path:
        """Return the folder of a spec's run, whether it exists or not."""
        return self.root / spec.run_id

    def look(self, run_id: str) -> StoredRun | BrokenRun | None:
        """Return a run by its id, what is wrong with one that cannot be read, or None.

        A run that can be read, in whichever folder, goes before one that cannot.
        """
        broken = None
        for root in self.roots:
            folder = root / run_id
            if folder.parent != root or not _is_run(folder):
                continue
            run = _look_into(folder)
            if isinstance(run, BrokenRun):
                broken = broken or run
            elif root == self.root or run.record.status == "finished":
                return run
        return broken

    def find(self, run_id: str) -> StoredRun | None:
        """Return a run by its id, or None if there is none.

        Raises:
            DamagedFile: it cannot be read.
        """
        found = self.look(run_id)
        if isinstance(found, BrokenRun):
            raise DamagedFile(found.sentence)
        return found

    def runs(self) -> list[StoredRun]:
        """Return all runs that can be read, oldest first; `broken` has the others."""
        return sort_runs(self.everything())[0]

    def broken(self) -> list[BrokenRun]:
        """Return the runs that cannot be read, by name."""
        return sort_runs(self.everything())[1]

    def everything(self) -> Iterator[StoredRun | BrokenRun]:
        """Yield all runs, those that cannot be read too, in no order."""
        for root in self.roots:
            with suppress(OSError):  # not there yet, or not to be looked into
                for name in os.listdir(root):
                    if _is_run(root / name, in_lists=True):
                        yield _look_into(root / name)

    @contextmanager
    def working_on(self, spec: RunSpec) -> Iterator[Path]:
        """Hold a run's folder for the block; its spec is written first.

        Raises:
            BusyRun: another process works on the run; in a folder that machines share this may
                take as long as a lease lasts to be known.
            LostRun: another process has taken it over meanwhile, because this one was away.
            StoreError: the folder cannot be written.
        """
        folder = self.folder(spec)
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            remove_unlike_file(folder / LOCK)
        with held(folder, LOCK, f"run {spec.run_id}", self.lease):
            with explained(folder):
                _make_way(folder)
            write_json(folder / _SPEC, spec.model_dump(mode="json"))
            yield folder

    def write_record(self, record: RunRecord) -> None:
        """Write a run's record in one step; of one that is trained or finished it seals the files.

        So it is written after all of them.
        """
        folder = self.root / record.run_id
        files = digests_of(folder) if record.status in ("trained", "finished") else {}
        write_sealed(folder / RECORD, {**record.model_dump(mode="json"), _FILES: files})

    def write_predictions(self, run_id: str, predictions: "Iterable[DataclassInstance]") -> None:
        """Write predictions (dataclass instances), one line each, in one step."""
        lines = [json.dumps(asdict(p), ensure_ascii=False) for p in predictions]
        write_text(self.root / run_id / PREDICTIONS, "".join(line + "\n" for line in lines))

    def delete(self, run_id: str) -> None:
        """Delete a run's folder, whether it can be read or not.

        Raises:
            StoreError: no such run.
        """
        run = self.look(run_id)
        if run is None:
            raise StoreError(f"run '{run_id}': not found below {self.root}.")
        shutil.rmtree(run.folder)


def sort_runs(
    found: Iterable[StoredRun | BrokenRun],
) -> tuple[list[StoredRun], list[BrokenRun]]:
    """Return the runs that can be read, oldest first, and the others by name, each once."""
    readable: dict[Path, StoredRun] = {}
    broken: dict[Path, BrokenRun] = {}
    for run in found:
        if isinstance(run, BrokenRun):
            broken[run.folder] = run
        else:
            readable[run.folder] = run
    return (
        sorted(readable.values(), key=lambda run: run.record.started),
        sorted(broken.values(), key=lambda run: run.run_id),
    )


def folders_below(folder: Path) -> list[Path]:
    """Return the folders anywhere below one that hold runs, for a store of each."""
    marks = {RECORD, _SPEC}
    found = {
        Path(place).parent
        for place, folders, files in os.walk(folder)
        if marks.intersection(folders + files)  # a damaged run may have a folder of that name
    }
    return sorted(found)


def check_adapter(folder: Path) -> None:
    """Refuse the folder of an adapter that lies in a run and is not what the run wrote.

    Raises:
        DamagedFile: says which file, or that the run cannot be read.
    """
    here = folder.resolve()
    for place in (here.parent, here.parent.parent):  # an ensemble has a folder for each member
        if _has(place, RECORD):
            run = _look_into(place)
            if isinstance(run, BrokenRun):
                raise DamagedFile(run.sentence)
            run.check_learned()
            return


def _is_run(folder: Path, *, in_lists: bool = False) -> bool:
    """Return whether a folder is a run's; lists wait for the record of one that is beginning."""
    if _has(folder, RECORD):
        return True
    try:
        begun = (folder / _SPEC).stat().st_mtime
    except (OSError, ValueError):
        return False
    return not in_lists or begun < time.time() - _STARTING_SECONDS


def _has(folder: Path, name: str) -> bool:
    """Return whether a folder has a file; of one that nobody may look into, nothing is known."""
    with suppress(OSError):
        return (folder / name).exists()
    return False


def _look_into(folder: Path) -> StoredRun | BrokenRun:
    """Return the run of a folder, or what is wrong with it."""
    name = RECORD
    try:
        record, files = parse_record((folder / RECORD).read_text(encoding="utf-8"))
        name = _SPEC
        spec = RunSpec(**parse_json((folder / _SPEC).read_bytes()))
    except FileNotFoundError:
        is_beginning = name == RECORD and _has_only_begun(folder)
        return BrokenRun(folder, f"{name} is missing", is_beginning)
    except OSError as error:
        return BrokenRun(folder, f"{name} cannot be read ({error.strerror})")
    except (ValueError, TypeError, RecursionError) as error:
        return BrokenRun(folder, f"{name} cannot be read ({_first_line(error)})")
    if spec.run_id != record.run_id:  # the id ends in the spec's digest
        return BrokenRun(folder, f"{_SPEC} is damaged: it is not what was written")
    return StoredRun(folder, spec, record, files)


def parse_record(text: str | bytes) -> tuple[RunRecord, dict[str, str]]:
    """Return what the file of a record says, and the digests of the run's files by name.

    Raises:
        ValueError, TypeError: it is no record, or not what was written.
    """
    content = parse_sealed(RECORD, text, is_digest_needed=False)
    files = content.pop(_FILES, {})  # a record from before they were kept has none
    return RunRecord(**content), files


def _has_only_begun(folder: Path) -> bool:
    with suppress(OSError):
        names = (path.name for path in folder.iterdir())
        return all(name in _BEGINNING or name.startswith(".") for name in names)
    return False


def _first_line(error: Exception) -> str:
    """Return what is wrong first, on one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error).partition("\n")[0]


def remove_unlike_file(path: Path) -> None:
    """Remove a folder or a link that has the name of a file to be written.

    Raises:
        OSError: it cannot be removed.
    """
    if path.is_symlink():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)


def _make_way(folder: Path) -> None:
    """Remove what cannot be a run's from its folder: half-written files, folders named as files."""
    remove_scratch(folder)
    for path in sorted(folder.rglob("*")):
        if path.is_dir() and not path.is_symlink() and path.suffix in _FILE_SUFFIXES:
            shutil.rmtree(path)
        elif not path.is_dir() and any(path.match(name) for name in _FOLDERS):
            path.unlink()  # a link that leads nowhere too
