"""The workbench's own files after an accident, or edited by hand."""

import json
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

from fuzz.asked import public, toy
from fuzz.mutation import changed_json
from fuzz.target import Target, joined, several, split, written
from specs import spec_of
from workbench.errors import StoreError, TaskError, WorkbenchError
from workbench.estimates import Estimate
from workbench.models.weight_error import WeightError
from workbench.presentation.reading import Reading, Standing
from workbench.readings import inspector
from workbench.runs.experiment import Experiment, TaskChoice, stored_experiment
from workbench.runs.labels import run_title
from workbench.runs.measurements.records import (
    Answers,
    ForgettingRecord,
    MeasurementStore,
    PrecisionRecord,
    TextLoss,
)
from workbench.runs.origin import own_experiment
from workbench.runs.run_cost import RunCost
from workbench.runs.search import searches_of
from workbench.runs.store import RunRecord, RunStore
from workbench.sealed import sealed_text
from workbench.service.comparisons import list_comparisons, open_comparison
from workbench.service.job_status import JobStatus, RowResult
from workbench.service.jobs import list_jobs, place_in_queue, read_job
from workbench.service.labels import run_labels
from workbench.service.uploads import task_choice, task_choices
from workbench.service.wordings import wording_choices, wording_text
from workbench.tasks.base import Task
from workbench.training.folder import TrainingFolder
from workbench.ui.job_panel import read_history

_RUN = spec_of("lora", options={"rank": 4}).run_id
_JOB, _UPLOAD = "20260101-000000-000000-lora-abcdef", "0123456789ab"
_RUN_FILES = (
    "spec.json",
    "record.json",
    "predictions.jsonl",
    "history.jsonl",
    "origin.json",
    "label.json",
)
_JOB_FILES = ("experiment.json", "status.json", "report.json", "worker.log")
_NUMBER = Estimate(0.5, 0.25, 0.75, 4, 0)


def _no_task(choice: TaskChoice) -> Task:
    raise TaskError(f"task '{choice.name}': none here.")


def _run(content: bytes, folder: Path) -> None:
    workspace = public(folder)
    written(content, workspace.folder / _RUN, _RUN_FILES)
    listed = workspace.runs()
    json.dumps([[run_title(run), run.status_text] for run in listed]).encode()
    json.dumps([[one.name, one.note] for one in run_labels(workspace).values()]).encode()
    run = RunStore(workspace.folder).find(_RUN)
    if run is None:
        return
    with suppress(WorkbenchError):
        own_experiment(run, open_task=_no_task)
    with suppress(WorkbenchError, OSError, ValueError):  # of a run from before there were digests
        run.predictions()
    with suppress(WorkbenchError, OSError, ValueError):
        run.history()
    json.dumps(run.damaged())
    with suppress(WorkbenchError):
        run.check_learned()
    read_history(run.folder / "history.jsonl")
    workspace.run(_RUN)


def _job(content: bytes, folder: Path) -> None:
    workspace = public(folder)
    written(content, workspace.jobs / _JOB, _JOB_FILES)
    for job in list_jobs(workspace):
        if job.status.state == "queued":
            place_in_queue(workspace.root, job)
        json.dumps([job.log, job.status.without_folders().model_dump(mode="json")]).encode()
    for entry in list_comparisons(workspace):
        json.dumps(entry.title)
        with suppress(WorkbenchError):
            open_comparison(workspace, entry.key)
    for read in (stored_experiment, searches_of):
        with suppress(WorkbenchError):
            read(workspace.jobs / _JOB)
    read_job(workspace, _JOB)


def _upload(content: bytes, folder: Path) -> None:
    workspace = public(folder)
    written(
        content, workspace.folder, (f"uploads/{_UPLOAD}/upload.json", f"wordings/{_UPLOAD}.yaml")
    )
    json.dumps(task_choices(workspace, ["sst2"])).encode()
    for _, key in wording_choices(workspace, toy()):
        with suppress(WorkbenchError):
            wording_text(workspace, toy(), key)
    task_choice(workspace, f"upload:{_UPLOAD}")


def _reading(content: bytes, folder: Path) -> None:
    """Kept readings are read by the one function that `Inspector` finds them with."""
    path = folder / "reading.json"
    path.write_bytes(content)
    found = inspector._stored(path)
    if found is not None:
        found.model_dump_json().encode()


def _measurement(content: bytes, folder: Path) -> None:
    store = MeasurementStore(folder)
    spec = {"base": "toy"}
    for name, kind in _KINDS.items():
        store.keep(name, spec, TextLoss(losses=[], num_tokens=[], num_bytes=[]))
        (path,) = folder.glob(f"{name}_*.json")
        path.write_bytes(content)
        with suppress(StoreError):
            found = store.find(name, spec, kind)
            if isinstance(found, PrecisionRecord):
                json.dumps([found.precision, found.bits_per_weight, found.scale_bits_per_weight])


def _checkpoint(content: bytes, folder: Path) -> None:
    """Go on from two checkpoints; one of another content than was written is passed over."""
    parts = split(content)
    for name in ("checkpoint.safetensors", "checkpoint_before.safetensors", "history.jsonl"):
        if name in parts:
            (folder / name).write_bytes(parts[name])
    training = TrainingFolder(folder, "toy")
    with training.newest(lambda step: ()) as (found, sentence):
        sentence.encode()
        if found is not None:
            found.load("best")
            json.dumps([found.position["step"], found.history])


_KINDS = {
    "text": TextLoss,
    "answers": Answers,
    "precision": PrecisionRecord,
    "forgetting": ForgettingRecord,
}


@cache
def _run_seeds() -> Sequence[bytes]:
    record = RunRecord(
        run_id=_RUN,
        row="lora",
        status="finished",
        source="tests",
        started="2026-01-01T00:00:00+00:00",
        finished="2026-01-01T00:01:00+00:00",
        metrics={"accuracy": _NUMBER},
        dropped={"empty": 1},
        cost=RunCost(trained_parameters=8, dev_loss=0.5),
        environment={"torch": "2", "threads": 1},
        cautions=["small"],
        warnings=("few rows",),
    )
    predictions = [
        {"sample_id": f"t-{n}", "answer": "good", "correct": True, "probabilities": {"good": 0.5}}
        for n in range(3)
    ]
    kept = Experiment().model_dump(
        mode="json", include={"model", "revision", "device", "task", "template"}
    )
    lines = [{"step": n, "loss": 0.5} for n in range(4)]
    files = {
        "label.json": sealed_text("label.json", {"name": "best", "note": "a note"}),
        "spec.json": json.dumps(spec_of("lora", options={"rank": 4}).model_dump(mode="json")),
        "record.json": json.dumps(record.model_dump(mode="json")),
        "predictions.jsonl": "\n".join(map(json.dumps, predictions)) + "\n",
        "history.jsonl": "\n".join(map(json.dumps, lines)) + "\n",
        "origin.json": json.dumps(kept),
    }
    return [joined({name: text.encode() for name, text in files.items()})]


@cache
def _job_seeds() -> Sequence[bytes]:
    found = []
    for state in ("queued", "running", "finished", "failed"):
        row = RowResult(row="lora", seed=0, run_id=_RUN, accuracy=0.5, found=False)
        status = JobStatus(
            job_id=_JOB,
            kind="evaluate",
            title="lora",
            state=state,
            created="2026-01-01T00:00:00+00:00",
            pid=2**22 + 1,
            pid_started=1.0,
            total=2,
            rows=[row],
            figures={"loss": 0.5},
        )
        trial = {
            "learning_rate": 0.1,
            "is_default": True,
            "run_id": _RUN,
            "accuracy": 0.5,
            "loss": 0.5,
            "num_items": 4,
            "dev_evaluations": 1,
            "train_seconds": 1.0,
        }
        search = {"trials": [trial], "seed": 0, "num_extended": 0}
        report = {
            "created": "2026-01-01T00:00:00+00:00",
            "task": {"name": "toy"},
            "reference": "lora",
            "rows": [{"row": "lora", "run_id": _RUN, "search": search}],
            "failed": [{"row": "lora", "seed": 1, "reason": "no", "place": ""}],
        }
        files = {
            "experiment.json": json.dumps(Experiment().model_dump(mode="json")),
            "status.json": json.dumps(status.model_dump(mode="json")),
            "report.json": json.dumps(report),
            "worker.log": "a line\n",
        }
        found.append(joined({name: text.encode() for name, text in files.items()}))
    return found


def _upload_seeds() -> Sequence[bytes]:
    choice = TaskChoice(name="mine", train=Path("rows.csv"), text_column="message")
    upload = json.dumps(choice.model_dump(mode="json")).encode()
    wording = b"version: 1\ninstruction: Say {labels}.\ninput: |-\n  {text}\n  Label:\n"
    return [joined({f"uploads/{_UPLOAD}/upload.json": upload, f"wordings/{_UPLOAD}.yaml": wording})]


def _reading_seeds() -> Sequence[bytes]:
    standing = Standing(
        what="loss",
        value=0.5,
        control="random",
        low=0.1,
        median=0.4,
        high=0.9,
        percentile=50.0,
        p_value=0.5,
        num_controls=19,
    )
    reading = Reading(
        name="nearest", title="Nearest", verdict="none", standings=[standing], data={"n": 1}
    )
    return [json.dumps(reading.model_dump(mode="json")).encode()]


@cache
def _measurement_seeds() -> Sequence[bytes]:
    text = TextLoss(losses=[1.0, 2.0], num_tokens=[3, 4], num_bytes=[10, 12])
    answers = Answers(
        targets=["a"],
        answers=[None],
        is_right=[False],
        metrics={"accuracy": _NUMBER},
        milliseconds_per_item=1.0,
    )
    weight = WeightError("model.layers.0.q", 4, 2, 1, 1, 0.5)
    precision = PrecisionRecord(
        base={"precision": "nf4"},
        weights=[weight],
        text_name="text",
        text=text,
        answers={"zero_shot": answers},
        decoded_tokens_per_second=1.0,
        environment={"torch": "2"},
    )
    forgetting = ForgettingRecord(
        run_id=_RUN,
        method="lora",
        row="lora",
        task="toy",
        own_accuracy=_NUMBER,
        in_place="all",
        texts={"text": (text, text)},
        tasks={"toy": (answers, answers)},
    )
    return [
        json.dumps({"spec": {"base": "toy"}, "result": one.model_dump(mode="json")}).encode()
        for one in (text, answers, precision, forgetting)
    ]


@cache
def _checkpoint_seeds() -> Sequence[bytes]:
    with tempfile.TemporaryDirectory() as place:
        training = TrainingFolder(Path(place), "toy")
        for step in (2, 4):
            history = [{"step": n, "loss": 0.5} for n in range(step)]
            parts = {name: {"a": torch.full((2,), float(step))} for name in ("best", "now")}
            training.save(parts, {"step": step, "best_step": 1}, history)
            training.write_history(history)
        files = {path.name: path.read_bytes() for path in Path(place).iterdir() if path.is_file()}
    return [joined(files)]


TARGETS = (
    Target("stored_run", _run, _run_seeds, (several,), share=1.5),
    Target("stored_job", _job, _job_seeds, (several,), share=1.5),
    Target("stored_upload", _upload, _upload_seeds, (several,)),
    Target("stored_reading", _reading, _reading_seeds, (changed_json,), share=0.7),
    Target("stored_measurement", _measurement, _measurement_seeds, (changed_json,)),
    Target("checkpoint", _checkpoint, _checkpoint_seeds, (several,)),
)
