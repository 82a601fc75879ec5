"""Work on a job: what it leaves behind, and that pieces of it add up to the whole."""

import itertools
import json
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.numpy import load_file

from visitors import keep_rows, local_workspace, tiny_experiment
from workbench.errors import StoreError
from workbench.service import jobs, worker
from workbench.service.accelerator import chunk_runner
from workbench.service.desk import ModelDesk
from workbench.service.jobs import Job, JobStatus
from workbench.service.profile import LOCAL, ZERO_GPU
from workbench.service.worker import work
from workbench.service.workspace import Workspace

METHODS = {
    "zero_shot": {},
    "prompt_tuning": {"steps": 40, "eval_every": 16},
    "lora": {"steps": 40, "eval_every": 16, "dropout": 0.1},
}
TRAINED = ("prompt_tuning", "lora")
TICK = 0.01  # seconds of the tests' clock between two looks at it


@pytest.fixture(scope="module")
def desk():
    """Return a desk that works on the calling thread, as where an accelerator is lent."""
    return ModelDesk(is_direct=True)


@pytest.fixture(scope="module")
def submitted(tiny_folder, tmp_path_factory):
    """Return a function that submits a job in a workspace of its own."""

    def submit(methods: dict[str, dict[str, object]] = METHODS) -> tuple[Workspace, Job]:
        root = tmp_path_factory.mktemp("root")
        workspace = local_workspace(root)
        key = keep_rows(workspace, root / "given")
        experiment = tiny_experiment(workspace, tiny_folder, key, methods)
        title = "a job"
        return workspace, jobs.submit(workspace, LOCAL, experiment, kind="evaluate", title=title)

    return submit


@pytest.fixture
def clock(monkeypatch):
    """Let a second pass with every hundredth look at the clock, so that pieces are always equal."""
    ticks = (TICK * number for number in itertools.count())
    for module in (worker, jobs):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(ticks)))


def run(workspace: Workspace, job: Job, desk: ModelDesk, **options: object) -> JobStatus:
    return work(job.folder, workspace.store, open_session=desk.session, **options)


def status_of(workspace: Workspace, job: Job) -> JobStatus:
    return jobs.read_job(workspace, job.status.job_id).status


def learned(workspace: Workspace, method: str) -> dict[str, bytes]:
    """Return the tensors a method learned, as bytes."""
    (run,) = (run for run in workspace.runs() if run.spec.method == method)
    tensors = load_file(run.adapter_folder / "adapter_model.safetensors")
    return {name: tensor.tobytes() for name, tensor in tensors.items()}


def measured(workspace: Workspace) -> dict[str, object]:
    return {run.spec.method: (run.record.metrics, run.predictions()) for run in workspace.runs()}


def history(workspace: Workspace, method: str) -> list[tuple[float, ...]]:
    """Return step, loss and dev loss of each entry, without the seconds."""
    (run,) = (run for run in workspace.runs() if run.spec.method == method)
    lines = (run.folder / "history.jsonl").read_text().splitlines()
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


def test_a_finished_job_has_a_report_in_four_forms(whole):
    files = {path.name for path in whole[1].folder.glob("report.*")}

    assert files == {"report.html", "report.md", "report.csv", "report.json"}


def test_the_report_has_the_rows_and_the_baselines(whole):
    report = json.loads((whole[1].folder / "report.json").read_text())

    assert {row["row"] for row in report["rows"]} > {"majority_class", *METHODS}


def test_a_job_run_again_finds_its_runs_and_changes_nothing(whole, desk):
    workspace, job = whole
    before = measured(workspace)
    again = jobs.submit(workspace, LOCAL, job.experiment, kind="evaluate", title="again")

    status = run(workspace, again, desk)

    assert [row.found for row in status.rows] == [True, True, True]
    assert measured(workspace) == before


def test_a_finished_job_is_not_worked_on_again(whole, desk):
    with pytest.raises(StoreError, match="is finished, not waiting"):
        run(*whole, desk)


@pytest.fixture(scope="module")
def in_chunks(submitted, desk):
    """Return workspace and job of a run in chunks, and the states after them."""
    workspace, job = submitted()
    ticks = (TICK * number for number in itertools.count())
    profile = replace(ZERO_GPU, chunk_seconds=0.8)
    states, adapters = [], []
    with pytest.MonkeyPatch.context() as patch:
        for module in (worker, jobs):
            patch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
        run_chunk = chunk_runner(desk, profile)
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
    assert learned(in_chunks[0], method) == learned(whole[0], method)


def test_what_chunks_measure_is_equal_to_one_run(in_chunks, whole):
    assert measured(in_chunks[0]) == measured(whole[0])


@pytest.mark.parametrize("method", TRAINED)
def test_chunks_have_the_history_of_one_run(method, in_chunks, whole):
    assert history(in_chunks[0], method) == history(whole[0], method)


def test_no_chunk_leaves_an_adapter_on_the_shared_base(in_chunks):
    assert set(in_chunks[3]) == {()}


def test_computing_time_adds_up_over_chunks(in_chunks):
    workspace, job, states, _ = in_chunks

    assert status_of(workspace, job).seconds > 0.8 * (len(states) - 1)


@pytest.mark.parametrize("minutes", [0.01, 0.0141, 0.0157, 0.0166])
def test_a_job_whose_minutes_are_up_stops_and_says_so(minutes, submitted, desk, clock):
    workspace, job = submitted({"prompt_tuning": {"steps": 500, "eval_every": 4}})

    status = run(workspace, job, desk, minutes=minutes)

    assert status.state == "stopped"
    assert status.message.startswith(f"the {minutes:g} minutes a job may take here are up (")


def test_a_job_whose_minutes_are_up_has_a_checkpoint(submitted, desk, clock):
    workspace, job = submitted({"prompt_tuning": {"steps": 500, "eval_every": 4}})

    run(workspace, job, desk, minutes=0.015)

    assert len(list(workspace.folder.glob("*/checkpoint.safetensors"))) == 1


def test_minutes_count_over_all_resumptions(submitted, desk, clock):
    workspace, job = submitted({"prompt_tuning": {"steps": 500, "eval_every": 4}})
    run(workspace, job, desk, minutes=0.015)
    done = status_of(workspace, job).done
    jobs.resume(workspace, LOCAL, job.status.job_id)

    status = run(workspace, job, desk, minutes=0.015)

    assert (status.state, status.done) == ("stopped", done)


def test_a_stop_that_was_asked_for_is_said(submitted, desk):
    workspace, job = submitted({"zero_shot": {}})
    (job.folder / "stop").touch()

    status = run(workspace, job, desk)

    assert (status.state, status.message) == (
        "stopped",
        "stopped before run 1 of 1; resume goes on from there",
    )


def test_a_process_told_to_end_leaves_its_job_interrupted(submitted, desk):
    workspace, job = submitted({"zero_shot": {}})
    stopping = threading.Event()
    stopping.set()

    assert run(workspace, job, desk, stopping=stopping).state == "interrupted"


def test_an_error_of_the_visitor_fails_the_job_with_its_message(submitted, desk):
    workspace, job = submitted({"zero_shot": {}, "lora": {"rank": 0}})

    status = run(workspace, job, desk)

    assert (status.state, status.message) == (
        "failed",
        "methods.lora.rank: 0 is out of bounds; allowed: 1 to 512",
    )


def test_a_bug_fails_the_job_without_details_and_goes_on_to_the_log(submitted):
    workspace, job = submitted({"zero_shot": {}})

    def broken(_: object) -> None:
        raise ZeroDivisionError("secret details")

    with pytest.raises(ZeroDivisionError):
        work(job.folder, workspace.store, open_session=broken)  # type: ignore[arg-type]

    status = status_of(workspace, job)
    assert (status.state, status.message) == ("failed", "a bug of ours; the log has the details")


def test_a_folder_without_an_experiment_is_refused(tmp_path, desk):
    with pytest.raises(StoreError, match="no experiment in it"):
        work(tmp_path, local_workspace(tmp_path).store, open_session=desk.session)


def test_the_process_of_a_folder_without_a_job_ends_with_one(tmp_path, capfd):
    folder = tmp_path / "workspace" / "jobs" / "some-job"
    folder.mkdir(parents=True)

    assert worker.main([str(folder)]) == 1
    assert "no experiment in it" in capfd.readouterr().err


def test_steps_left_become_seconds_left(submitted, clock):
    _, job = submitted({"zero_shot": {}})
    from workbench.progress import ProgressEvent

    writer = worker.StatusWriter(job.folder, job.status)
    writer.progressed(ProgressEvent("train", 1, 10, {}))
    writer.progressed(ProgressEvent("train", 2, 10, {"loss": 1.0, "surprise": 2.0}))

    assert writer.status.seconds_left == pytest.approx(8 * _spent(writer), rel=0.5)
    assert writer.status.figures == {"loss": 1.0}


def _spent(writer: worker.StatusWriter) -> float:
    return 5 * TICK  # looks at the clock between two steps


def test_the_status_is_written_at_the_last_step_at_least(submitted):
    workspace, job = submitted({"zero_shot": {}})
    from workbench.progress import ProgressEvent

    writer = worker.StatusWriter(job.folder, job.status)
    writer.progressed(ProgressEvent("train", 10, 10, {}))

    assert Path(job.folder / "status.json").read_text().count('"done": 10') == 1
    assert status_of(workspace, job).done == 10
