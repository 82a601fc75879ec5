"""Work on a job: what it leaves behind, and that pieces of it add up to the whole."""

import itertools
import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.numpy import load_file

from visitors import keep_rows, local_workspace, tiny_experiment
from workbench.errors import StoreError
from workbench.progress import ProgressEvent
from workbench.runs.store import StoredRun
from workbench.service import jobs, worker
from workbench.service.accelerator import chunk_runner
from workbench.service.jobs import Job, JobStatus
from workbench.service.profile import LOCAL, ZERO_GPU
from workbench.service.worker import work
from workbench.service.workspace import Workspace
from workbench.serving.desk import ModelDesk
from workbench.workers.placing import Placing

METHODS = {
    "zero_shot": {},
    "prompt_tuning": {"steps": 24, "eval_every": 10},
    "lora": {"steps": 24, "eval_every": 10, "dropout": 0.1},
}
TRAINED = ("prompt_tuning", "lora")
TICK = 0.01  # seconds of the tests' clock between two looks at it
CHUNK = 0.6  # seconds, so about 15 steps


@pytest.fixture(scope="module")
def desk():
    """Return a desk that works on the calling thread, as where an accelerator is lent."""
    return ModelDesk(is_direct=True)


@pytest.fixture(scope="module")
def submitted(tiny_folder, tmp_path_factory):
    """Return a function that submits a job in a workspace of its own."""

    def submit(root: Path | None = None, **methods: object) -> tuple[Workspace, Job]:
        workspace = local_workspace(root or tmp_path_factory.mktemp("root"))
        key = keep_rows(workspace, workspace.root / "given")
        experiment = tiny_experiment(workspace, tiny_folder, key, methods or METHODS)
        title = "a job"
        return workspace, jobs.submit(workspace, LOCAL, experiment, kind="evaluate", title=title)

    return submit


@pytest.fixture
def add(submitted, whole):
    """Return a function that submits another job where the baselines are known already."""
    return partial(submitted, whole[0].root)


@contextmanager
def ticking():
    """Let a second pass with every hundredth look at the clock, so that pieces are always equal."""
    ticks = (TICK * number for number in itertools.count())
    with pytest.MonkeyPatch.context() as patch:
        for module in (worker, jobs):
            patch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
        yield


@pytest.fixture
def clock():
    with ticking():
        yield


def run(workspace: Workspace, job: Job, desk: ModelDesk, **options: object) -> JobStatus:
    return work(job.folder, workspace.store, open_session=desk.session, **options)


def status_of(workspace: Workspace, job: Job) -> JobStatus:
    return jobs.read_job(workspace, job.status.job_id).status


def runs_of(workspace: Workspace, job: Job) -> dict[str, StoredRun]:
    return {row.row: workspace.run(row.run_id) for row in status_of(workspace, job).rows}


def learned(workspace: Workspace, job: Job, row: str) -> dict[str, bytes]:
    """Return the tensors a row learned, as bytes."""
    folder = runs_of(workspace, job)[row].adapter_folder
    tensors = load_file(folder / "adapter_model.safetensors")
    return {name: tensor.tobytes() for name, tensor in tensors.items()}


def measured(workspace: Workspace, job: Job) -> dict[str, object]:
    runs = runs_of(workspace, job)
    return {row: (run.record.metrics, run.predictions()) for row, run in runs.items()}


def history(workspace: Workspace, job: Job, row: str) -> list[tuple[float, ...]]:
    """Return the figures of each entry, without the seconds."""
    lines = (runs_of(workspace, job)[row].folder / "history.jsonl").read_text().splitlines()
    return [tuple(v for k, v in json.loads(line).items() if k != "seconds") for line in lines]


@pytest.fixture(scope="module")
def whole(submitted, desk):
    """Return the workspace and job of a whole run."""
    workspace, job = submitted()
    run(workspace, job, desk)
    return workspace, job


def test_a_finished_job_says_so_with_all_its_rows(whole):
    status = status_of(*whole)

    assert (status.state, status.message, status.pid) == ("finished", "", None)
    assert [(row.row, row.seed, row.found) for row in status.rows] == [
        ("zero_shot", 0, False), ("prompt_tuning", 0, False), ("lora", 0, False),
    ]  # fmt: skip


def test_the_figures_of_the_rows_are_those_of_the_runs(whole):
    workspace, job = whole

    assert [row.accuracy for row in status_of(workspace, job).rows] == [
        workspace.run(row.run_id).record.metrics["accuracy"].value
        for row in status_of(workspace, job).rows
    ]


def test_a_finished_job_has_a_report_in_five_forms(whole):
    files = {path.name for path in whole[1].folder.glob("report.*")}

    assert files == {"report.html", "report.md", "report.tex", "report.csv", "report.json"}


def test_the_report_has_the_rows_and_the_baselines(whole):
    report = json.loads((whole[1].folder / "report.json").read_text())

    assert {row["row"] for row in report["rows"]} > {"majority_class", *METHODS}


def test_a_job_run_again_finds_its_runs_and_changes_nothing(whole, desk):
    workspace, job = whole
    before = measured(workspace, job)
    again = jobs.submit(workspace, LOCAL, job.experiment, kind="evaluate", title="again")

    status = run(workspace, again, desk)

    assert [row.found for row in status.rows] == [True, True, True]
    assert measured(workspace, again) == before


def test_a_finished_job_is_not_worked_on_again(whole, desk):
    with pytest.raises(StoreError, match="is finished, not waiting"):
        run(*whole, desk)


@pytest.fixture(scope="module")
def in_chunks(submitted, desk):
    """Return workspace and job of a run in chunks, and the states after them."""
    workspace, job = submitted()
    run_chunk = chunk_runner(desk, replace(ZERO_GPU, chunk_seconds=CHUNK))
    states, adapters = [], []
    with ticking():
        while len(states) < 100:
            states.append(run_chunk(str(job.folder)))
            adapters.append(desk.session(job.experiment).engine.adapters.names)
            if states[-1] != "interrupted":
                break
    return workspace, job, states, adapters


def test_chunks_end_interrupted_until_the_last_one(in_chunks):
    _, _, states, _ = in_chunks

    assert states[-1] == "finished"
    assert set(states[:-1]) == {"interrupted"}
    assert len(states) > 4


@pytest.mark.parametrize("method", TRAINED)
def test_what_chunks_learn_is_bit_equal_to_one_run(method, in_chunks, whole):
    assert learned(*in_chunks[:2], method) == learned(*whole, method)


def test_what_chunks_measure_is_equal_to_one_run(in_chunks, whole):
    assert measured(*in_chunks[:2]) == measured(*whole)


@pytest.mark.parametrize("method", TRAINED)
def test_chunks_have_the_history_of_one_run(method, in_chunks, whole):
    assert history(*in_chunks[:2], method) == history(*whole, method)


def test_no_chunk_leaves_an_adapter_on_the_shared_base(in_chunks):
    assert set(in_chunks[3]) == {()}


def test_computing_time_adds_up_over_chunks(in_chunks):
    workspace, job, states, _ = in_chunks

    assert status_of(workspace, job).seconds > CHUNK * (len(states) - 1)


@pytest.mark.parametrize("minutes", [0.01, 0.0157])
def test_a_job_whose_minutes_are_up_stops_and_says_so(minutes, add, desk, clock):
    workspace, job = add(prompt_tuning={"steps": 500, "eval_every": 4})

    status = run(workspace, job, desk, minutes=minutes)

    assert status.state == "stopped"
    assert status.message.startswith(f"the {minutes:g} minutes a job may take here are up (")


def test_a_job_whose_minutes_are_up_has_a_checkpoint(add, desk, clock):
    workspace, job = add(prompt_tuning={"steps": 501, "eval_every": 4})

    run(workspace, job, desk, minutes=0.015)

    run_id = status_of(workspace, job).run_id
    assert (workspace.folder / run_id / "checkpoint.safetensors").is_file()


def test_minutes_count_over_all_resumptions(add, desk, clock):
    workspace, job = add(prompt_tuning={"steps": 502, "eval_every": 4})
    run(workspace, job, desk, minutes=0.015)
    done = status_of(workspace, job).done
    jobs.resume(workspace, LOCAL, job.status.job_id)

    status = run(workspace, job, desk, minutes=0.015)

    assert (status.state, status.done) == ("stopped", done)


def test_a_stop_that_was_asked_for_is_said(add, desk):
    workspace, job = add(zero_shot={})
    (job.folder / "stop").touch()

    status = run(workspace, job, desk)

    assert (status.state, status.message) == (
        "stopped",
        "asked to stop; resume goes on from there",
    )


def test_a_process_told_to_end_leaves_its_job_interrupted(add, desk):
    workspace, job = add(zero_shot={})
    stopping = threading.Event()
    stopping.set()

    assert run(workspace, job, desk, stopping=stopping).state == "interrupted"


def test_an_error_of_the_visitor_fails_the_job_with_its_message(add, desk):
    workspace, job = add(zero_shot={}, lora={"rank": 0})

    status = run(workspace, job, desk)

    assert (status.state, status.message) == (
        "failed",
        "methods.lora.rank: 0 is out of bounds; allowed: 1 to 512",
    )


def test_one_job_trains_several_weight_adapters(add):
    workspace, job = add(lora={"steps": 2, "seeds": [0, 1]})

    assert run(workspace, job, ModelDesk(is_direct=True)).state == "finished"


def test_a_bug_fails_the_job_without_details_and_goes_on_to_the_log(add):
    workspace, job = add(zero_shot={})

    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret details")

    with pytest.raises(ZeroDivisionError):
        work(job.folder, workspace.store, open_session=broken)  # type: ignore[arg-type]

    status = status_of(workspace, job)
    assert (status.state, status.message) == ("failed", "a bug of ours; the log has the details")


def test_a_folder_without_an_experiment_is_refused(tmp_path, desk):
    with pytest.raises(StoreError, match="no experiment in it"):
        work(tmp_path, local_workspace(tmp_path).store, open_session=desk.session)


def test_the_process_of_a_folder_without_a_job_ends_with_one(tmp_path):
    folder = tmp_path / "workspace" / "jobs" / "some-job"
    folder.mkdir(parents=True)

    ended = subprocess.run(
        [sys.executable, "-m", "workbench.service.job_process", folder],
        check=False,
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 1
    assert ended.stderr.endswith(f"StoreError: {folder}: no experiment in it.\n")


def test_a_job_that_hangs_is_ended_and_may_not_go_on(add):
    workspace, job = add(zero_shot={})
    script = (
        "import sys, time; from pathlib import Path\n"
        "from workbench.service.worker import end_at_the_latest\n"
        "end_at_the_latest(Path(sys.argv[1]), seconds=0.5)\n"
        "time.sleep(60)\n"
    )

    ended = subprocess.run([sys.executable, "-c", script, str(job.folder)], timeout=50, check=False)

    assert ended.returncode == 1
    status = status_of(workspace, job)
    assert (status.state, status.seconds) == ("stopped", 0.5)
    assert status.message == "it did not stop when its time was up, and was ended"


def test_runs_side_by_side_are_noted_apart(add):
    _, job = add(zero_shot={})
    writer = worker.StatusWriter(job.folder, job.status)
    for number, row in enumerate(("lora", "dora")):
        request = SimpleNamespace(row=row, seed=0, is_trial=True)
        writer.began(request, f"run of {row}", number=number, total=4, where=f"worker {number}")
    writer.progressed("run of dora", ProgressEvent("train", 1, 10, {"loss": 2.0}))
    writer.progressed("run of lora", ProgressEvent("train", 5, 10, {"loss": 1.0}))

    now = {run.row: (run.where, run.done) for run in writer.status.going_on}
    assert now == {"lora, seed 0": ("worker 0", 5), "dora, seed 0": ("worker 1", 1)}
    assert (writer.status.row, writer.status.figures) == ("lora, seed 0", {"loss": 1.0})
    assert writer.status.fraction == pytest.approx((0.5 + 0.1) / 4)

    trial = SimpleNamespace(record=SimpleNamespace(run_id="run of lora"))
    writer.ended(request, trial, found=False)

    assert [run.row for run in writer.status.going_on] == ["dora, seed 0"]
    assert writer.status.fraction == pytest.approx((1 + 0.1) / 4)


def test_a_job_whose_workers_make_its_runs_is_the_same_job(add, whole, socket_enabled):
    workspace, job = add()

    status = work(job.folder, workspace.store, placing=Placing(workers=1))

    assert status.state == "finished", status.message
    assert all(row.found for row in status.rows)  # made by this process before
    assert measured(workspace, job) == measured(*whole)


def test_time_left_is_never_below_nothing(add):
    _, job = add(zero_shot={})
    writer = worker.StatusWriter(job.folder, job.status)

    for step in (1, 2, 12):
        writer.progressed("run", ProgressEvent("train", step, 10, {}))

    assert writer.status.seconds_left == 0.0


def test_steps_left_become_seconds_left(add, monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    _, job = add(zero_shot={})
    writer = worker.StatusWriter(job.folder, job.status)

    writer.progressed("run", ProgressEvent("train", 1, 10, {}))
    now.seconds = 2.0
    writer.progressed("run", ProgressEvent("train", 2, 10, {}))

    assert writer.status.seconds_left == 16.0


def test_only_the_figures_of_a_training_are_kept(add):
    _, job = add(zero_shot={})
    writer = worker.StatusWriter(job.folder, job.status)

    writer.progressed("run", ProgressEvent("train", 1, 10, {"loss": 1.0, "surprise": 2.0}))

    assert writer.status.figures == {"loss": 1.0}


def test_the_last_step_is_always_written(add):
    workspace, job = add(zero_shot={})
    writer = worker.StatusWriter(job.folder, job.status)

    for step in range(1, 11):
        writer.progressed("run", ProgressEvent("train", step, 10, {}))

    assert status_of(workspace, job).done == 10
