"""The run store: one folder per run, written atomically, readable without a deep-learning stack.

<root>/<run id>/spec.json         what was asked, resolved
                record.json       what happened: status, metrics, cost, environment
                predictions.jsonl one line per test item
                history.jsonl     training, as it goes
                adapter/          learned vectors or weights, in PEFT's format
                checkpoint.safetensors, .lock   only while a run is unfinished
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from workbench.atomic import explained, write_json, write_text
from workbench.errors import StoreError
from workbench.metrics import Estimate
from workbench.runs.provenance import Provenance
from workbench.runs.spec import RunSpec

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RunStatus = Literal["running", "trained", "finished", "failed", "interrupted"]
_SCHEMA_VERSION = 1
_PREDICTIONS = "predictions.jsonl"


Figure = float | int | None


class RunCost(BaseModel):
    """What a run took; None where a figure does not apply or is not known.

    A figure that was never given is not written, so that a record says as much as it knows; one
    that has no field here, from a record of another version, is kept as it is.

    Attributes:
        trained_parameters: How many were learned.
        stored_bytes: Size of the adapter.
        train_seconds: With the evaluations on dev.
        best_step: The step that was kept.
        learning_rate: At its peak.
        dev_evaluations: How often dev was scored.
        dev_accuracy: Accuracy on dev of the step that was kept.
        dev_loss: Its mean loss on dev, in nats.
        peak_memory_bytes: The process on a processor, what torch allocated on a GPU.
        labelled_examples: Rows whose labels were used: those that were learned from or shown, and
            the dev rows where dev chose anything.
        prompt_tokens_mean: Tokens of a prompt, mean over the test items.
        generated_tokens_mean: Tokens written for an item, mean over the test items.
        milliseconds_per_item: Time of an answer, mean over the test items.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Figure] = Field(init=False)

    trained_parameters: int | None = None
    stored_bytes: int | None = None
    train_seconds: float | None = None
    best_step: int | None = None
    learning_rate: float | None = None
    dev_evaluations: int | None = None
    dev_accuracy: float | None = None
    dev_loss: float | None = None
    peak_memory_bytes: int | None = None
    labelled_examples: int | None = None
    prompt_tokens_mean: float | None = None
    generated_tokens_mean: float | None = None
    milliseconds_per_item: float | None = None

    @model_serializer(mode="wrap")
    def _only_given(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Figure]:
        return {name: v for name, v in serialise(self).items() if name in self.model_fields_set}

    @property
    def figures(self) -> dict[str, Figure]:
        """The figures that were given, by name, for tables that show all of them."""
        return self.model_dump()


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
    """A run's folder with its spec and record."""

    folder: Path
    spec: RunSpec
    record: RunRecord

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
        """Return one mapping per test item, in the order of the test split."""
        text = (self.folder / _PREDICTIONS).read_text(encoding="utf-8")
        # Not splitlines: answers may hold U+2028 and its like, which JSON leaves as they are.
        return [json.loads(line) for line in text.split("\n") if line]

    def history(self) -> list[dict[str, float]]:
        """Return the steps and dev evaluations of the training; none if nothing was trained."""
        path = self.folder / "history.jsonl"
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        return [json.loads(line) for line in text.split("\n") if line.strip()]


class RunStore:
    """Runs below one folder.

    Args:
        root: The folder; made when needed.
        also: Further folders whose finished runs are found too; nothing is written there.
    """

    def __init__(self, root: Path, also: Sequence[Path] = ()) -> None:
        self.root = root
        self.roots = (root, *also)

    def folder(self, spec: RunSpec) -> Path:
        """Return the folder of a spec's run, whether it exists or not."""
        return self.root / spec.run_id

    def find(self, run_id: str) -> StoredRun | None:
        """Return a run by its id, or None if there is none."""
        for root in self.roots:
            folder = root / run_id
            if folder.parent == root and (folder / "record.json").is_file():
                run = _read_run(folder)
                if root == self.root or run.record.status == "finished":
                    return run
        return None

    def runs(self) -> list[StoredRun]:
        """Return all runs, oldest first."""
        folders = (path.parent for root in self.roots for path in root.glob("*/record.json"))
        found = [_read_run(folder) for folder in folders]
        return sorted(found, key=lambda run: run.record.started)

    @contextmanager
    def working_on(self, spec: RunSpec) -> Iterator[Path]:
        """Hold a run's folder for the block; its spec is written first.

        Raises:
            StoreError: another process works on the run, or the folder cannot be written.
        """
        folder = self.folder(spec)
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise StoreError(
                f"run {spec.run_id}: another process is working on it. Wait for it, or use "
                "another folder with --out."
            ) from error
        try:
            write_json(folder / "spec.json", spec.model_dump(mode="json"))
            yield folder
        finally:
            lock.release()

    def write_record(self, record: RunRecord) -> None:
        """Write a run's record in one step."""
        write_json(self.root / record.run_id / "record.json", record.model_dump(mode="json"))

    def write_predictions(self, run_id: str, predictions: "Iterable[DataclassInstance]") -> None:
        """Write predictions (dataclass instances), one line each, in one step."""
        lines = [json.dumps(asdict(p), ensure_ascii=False) for p in predictions]
        write_text(self.root / run_id / _PREDICTIONS, "".join(line + "\n" for line in lines))

    def delete(self, run_id: str) -> None:
        """Delete a run's folder.

        Raises:
            StoreError: no such run.
        """
        run = self.find(run_id)
        if run is None:
            raise StoreError(f"run '{run_id}': not found below {self.root}.")
        shutil.rmtree(run.folder)


def _read_run(folder: Path) -> StoredRun:
    try:
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
        return StoredRun(folder, RunSpec(**spec), RunRecord(**record))
    except (OSError, ValueError, ValidationError) as error:
        raise StoreError(
            f"run {folder}: spec.json or record.json cannot be read ({error}). Delete the folder "
            "to run it again."
        ) from error
