"""The panel of a job: it finds the newest one again, follows it, stops it and lets it go on."""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from job_files import alive, set_status
from pages import HOSTILE, Page, Seen, dangers, is_problem, said
from visitors import tiny_experiment
from workbench.service import jobs
from workbench.service.job_status import GoingRun, RowResult
from workbench.service.labels import label_job
from workbench.ui.job_panel import follow, on_idle, on_resume, on_stop, read_history, updates
from workbench.ui.train import on_train

ROWS = {"prompt_tuning": {"steps": 4, "eval_every": 2}}


def submit(page: Page, *, kind: Any = "train", title: str = "a job", **rows: Any) -> jobs.Job:
    experiment = tiny_experiment(
        page.workspace, page.setting["model"], page.setting["task"], rows or ROWS
    )
    return jobs.submit(page.workspace, page.context.profile, experiment, kind=kind, title=title)


def look(page: Page, job_id: str | None = None, kind: Any = "train") -> list[Any]:
    return updates(page.context, kind, page.setting["token"], job_id)


def test_without_a_job_the_panel_says_what_to_do(empty_page):
    choice, view, timer, *buttons, _ = look(empty_page)

    assert Seen(view).text.startswith("Nothing was trained here yet.")
    assert (choice.value, timer.active) == (None, False)
    assert [button.interactive for button in buttons] == [False, False, False]


def test_without_a_choice_the_newest_job_is_shown(empty_page):
    submit(empty_page, title="old")
    new = submit(empty_page, title="new")

    choice, view, *_ = look(empty_page)

    assert choice.value == new.status.job_id
    assert ("section", "aria-label", "new") in Seen(view).attributes


def test_a_job_that_is_gone_makes_room_for_the_newest(empty_page):
    job = submit(empty_page)

    assert look(empty_page, "20200101-000000-gone-abc")[0].value == job.status.job_id


def test_a_chosen_job_stays_chosen(empty_page):
    old = submit(empty_page, title="old")
    submit(empty_page, title="new")

    choice, *_ = look(empty_page, old.status.job_id)

    assert choice.value == old.status.job_id
    assert len(choice.choices) == 2


def test_a_named_job_is_called_so_in_the_list_and_the_panel(empty_page):
    job = submit(empty_page, title="a job")
    label_job(empty_page.workspace, job.status.job_id, "monday", "")

    choice, view, *_ = look(empty_page)

    ((title, _),) = choice.choices
    assert title.startswith("monday · a job · ")  # its state, then its time
    assert title.endswith(job.status.created[:16].replace("T", " "))
    assert job.status.job_id not in title
    assert "monday · a job" in Seen(view).text
    assert "--name monday" in Seen(view).text


def test_each_panel_has_jobs_of_its_own_kind(empty_page):
    submit(empty_page, kind="train", title="training")
    evaluation = submit(empty_page, kind="evaluate", title="evaluation")

    choice, *_ = look(empty_page, kind="evaluate")

    assert [key for _, key in choice.choices] == [evaluation.status.job_id]


def test_another_visitors_jobs_are_not_shown(chunk_page):
    submit(chunk_page)

    choice, *_ = updates(chunk_page.context, "train", "another-another-another", None)

    assert choice.choices == []


def test_looking_starts_the_next_job(empty_page):
    job = submit(empty_page)

    look(empty_page)

    assert jobs.read_job(empty_page.workspace, job.status.job_id).status.state != "queued"


def test_looking_starts_no_process_where_training_happens_in_the_page(chunk_page):
    job = submit(chunk_page)

    look(chunk_page)

    assert jobs.read_job(chunk_page.workspace, job.status.job_id).status.state == "queued"


STATES = {
    "running": [True, True, False, False],
    "finished": [False, False, False, False],
    "stopped": [False, False, True, True],
    "failed": [False, False, True, True],
    "interrupted": [False, False, True, True],
    "broken": [False, False, False, True],
}


@pytest.mark.parametrize("state", STATES)
def test_the_buttons_are_those_the_state_allows(state, empty_page):
    job = submit(empty_page)
    if state == "broken":
        (job.folder / "experiment.json").write_text("{")

    with alive(job) if state == "running" else nullcontext(set_status(job, state=state)):
        _, _, timer, *buttons, _ = look(empty_page)

    assert [timer.active, *(button.interactive for button in buttons)] == STATES[state]


def test_a_job_says_what_made_place_for_it(empty_page):
    with alive(submit(empty_page), message="your oldest ended job was removed"):
        _, view, *_ = look(empty_page)

    assert "<p>your oldest ended job was removed</p>" in view


def test_a_running_job_shows_its_curve_and_figures(empty_page):
    job = submit(empty_page)
    folder = empty_page.workspace.folder / "some_run"
    folder.mkdir()
    entries = [{"step": step, "seconds": step, "loss": 2.0 / step} for step in (1, 2, 3)]
    text = "\n".join(map(json.dumps, entries))
    (folder / "history.jsonl").write_text(f'{text}\n{{"step": 4, "lo')
    running = {"row": "prompt_tuning, seed 0", "run_id": "some_run", "total": 1}
    running |= {"stage": "train", "done": 3, "steps": 4, "figures": {"loss": 0.667}}

    with alive(job, **running):
        _, view, *_ = look(empty_page)

    seen = Seen(view)
    assert "svg" in seen.tags
    assert "prompt_tuning, seed 0" in seen.text
    assert "0.667" in seen.text
    assert ("div", "aria-valuenow", "75") in seen.attributes


def test_runs_that_go_on_side_by_side_are_listed_with_their_workers(empty_page):
    job = submit(empty_page)
    going = [
        GoingRun(run_id="a", row="lora, seed 0", number=2, where="gpu-1", stage="train", done=5,
                 steps=10),
        GoingRun(run_id="b", row=HOSTILE[0], number=3, where="gpu-2", stage="fit"),
    ]  # fmt: skip
    with alive(job, stage="train", number=3, total=4, going_on=going):
        view = look(empty_page, job.status.job_id)[1]

    text = Seen(view).text
    assert "2 of 4 runs are going on:" in text
    assert "lora, seed 0 on gpu-1: training, step 5 of 10" in text
    assert "on gpu-2: preparing" in text
    assert ("div", "aria-valuenow", "62") in Seen(view).attributes  # two done, and half of one
    assert dangers(view) == []


def test_a_finished_job_is_at_a_hundred(page):
    _, view, *_ = look(page, page.job_id, kind="evaluate")

    assert ("div", "aria-valuenow", "100") in Seen(view).attributes


def test_a_finished_job_has_its_rows_and_its_command(page):
    text = Seen(look(page, page.job_id, kind="evaluate")[1]).text

    assert all(row in text for row in page.rows)
    assert "workbench evaluate" in text


def test_a_failed_job_shows_why_and_its_log_on_the_own_machine(empty_page):
    job = submit(empty_page)
    (job.folder / "worker.log").write_text("what it printed")
    set_status(job, state="failed", message="/srv/x/rows.csv: cannot be read")

    text = Seen(look(empty_page)[1]).text

    assert "/srv/x/rows.csv: cannot be read" in text
    assert "what it printed" in text


def test_a_public_page_shows_neither_folders_nor_logs(chunk_page):
    job = submit(chunk_page)
    (job.folder / "worker.log").write_text("what it printed")
    set_status(job, state="failed", message="/srv/x/rows.csv: cannot be read")

    text = Seen(look(chunk_page)[1]).text

    assert "rows.csv: cannot be read" in text
    assert "/srv/x" not in text
    assert "what it printed" not in text
    assert str(chunk_page.context.root) not in text


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_job_is_shown_as_text(text, empty_page):
    job = submit(empty_page, title=text)
    (job.folder / "worker.log").write_text(text)
    row = RowResult(row=text, seed=0, run_id="r", accuracy=0.5, found=True)
    set_status(job, state="failed", message=text, row=text, rows=[row])

    _, view, *_ = look(empty_page)

    assert dangers(view) == []
    assert not is_problem(view)


def test_a_job_whose_runs_were_deleted_can_still_be_looked_at(empty_page):
    job = submit(empty_page)
    row = RowResult(row="lora", seed=0, run_id="gone_run", accuracy=None, found=False)
    set_status(job, state="finished", rows=[row])

    _, view, *_ = look(empty_page)

    assert "lora" in Seen(view).text


@pytest.mark.parametrize("job_id", [3, ["x"], {"a": 1}, "../x", "", float("nan")])
def test_what_is_no_job_shows_the_newest(job_id, empty_page):
    job = submit(empty_page)

    assert look(empty_page, job_id)[0].value == job.status.job_id


@pytest.mark.parametrize("token", [None, "short", 3, ["a"]])
def test_a_public_page_needs_a_token(token, chunk_page):
    _, view, *_ = updates(chunk_page.context, "train", token, None)

    assert "needs the token it gave your browser" in said(view)


# Another tab


def again(page: Page, seen: Any, job_id: str | None = None) -> list[Any]:
    return on_idle(page.context, "train", page.setting["token"], job_id, seen)


def test_a_job_that_another_tab_resumes_is_followed_here(empty_page):
    job = submit(empty_page)
    set_status(job, state="stopped")
    _, _, timer, *_, seen = look(empty_page, job.status.job_id)
    assert timer.active is False

    with alive(job):
        _, view, timer, *_, now = again(empty_page, seen, job.status.job_id)

    assert timer.active is True
    assert 'data-state="running"' in view
    assert now != seen


def test_a_job_that_another_tab_begins_or_deletes_is_noticed(empty_page):
    *_, seen = look(empty_page)
    job = submit(empty_page)
    set_status(job, state="stopped")

    choice, *_, seen = again(empty_page, seen)
    jobs.delete(empty_page.workspace, job.status.job_id)
    gone, *_ = again(empty_page, seen, job.status.job_id)

    assert choice.value == job.status.job_id
    assert gone.choices == []


def test_nothing_is_drawn_anew_while_nothing_changes(empty_page):
    set_status(submit(empty_page), state="stopped")
    *_, seen = look(empty_page)

    assert again(empty_page, seen) == [gr.skip()] * 7


@pytest.mark.parametrize("seen", [None, 3, "x", {"a": 1}, [["a"]]])
def test_anything_seen_before_is_looked_at_anew(seen, empty_page):
    job = submit(empty_page)

    assert again(empty_page, seen)[0].value == job.status.job_id


# Stop and resume


def test_a_waiting_job_is_stopped_at_once(chunk_page):
    job = submit(chunk_page)

    on_stop(chunk_page.context, "train", chunk_page.setting["token"], job.status.job_id)

    assert jobs.read_job(chunk_page.workspace, job.status.job_id).status.state == "stopped"


@pytest.mark.parametrize("job_id", [None, "", "missing", "../x", 3, ["a"]])
@pytest.mark.parametrize("handler", [on_stop, on_resume])
def test_what_is_no_job_is_one_message(handler, job_id, empty_page):
    shown = handler(empty_page.context, "train", None, job_id)
    shown = list(shown)[-1] if isinstance(shown, Iterator) else shown

    assert is_problem(shown[1])
    assert "on our side" not in said(shown[1])


def test_a_finished_job_is_not_resumed(empty_page):
    job = submit(empty_page)
    set_status(job, state="finished")

    (shown,) = on_resume(empty_page.context, "train", None, job.status.job_id)

    assert said(shown[1]) == f"job '{job.status.job_id}': is finished; nothing to resume."


def test_a_stopped_job_is_resumed(empty_page):
    job = submit(empty_page)
    set_status(job, state="stopped", message="stopped before it began")

    (shown,) = on_resume(empty_page.context, "train", None, job.status.job_id)

    assert len(shown) == 7
    assert not is_problem(shown[1])
    assert jobs.read_job(empty_page.workspace, job.status.job_id).status.message != (
        "stopped before it began"
    )


# Training inside the page


def test_a_job_in_the_page_is_followed_to_its_end(chunk_page):
    job = submit(chunk_page)

    shown = list(follow(chunk_page.context, "train", chunk_page.setting["token"], job))

    assert jobs.read_job(chunk_page.workspace, job.status.job_id).status.state == "finished"
    assert 'data-state="queued"' in shown[0][1]
    assert 'data-state="finished"' in shown[-1][1]
    assert [update[-1] for update in shown] == [""] * len(shown)


def chunks_that_end(*states: str) -> Any:
    """Return what runs a chunk: it leaves one state after the other."""
    left = list(states)

    def run_chunk(folder: str) -> str:
        path = Path(folder) / "status.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"state": left[0]}))
        if left[0] == "finished":
            path.with_name("report.json").write_text('{"rows": []}')
        return left.pop(0)

    return run_chunk


def in_chunks(page: Page, *states: str) -> Any:
    return replace(page.context, run_chunk=chunks_that_end(*states))


def test_between_two_chunks_a_job_can_be_stopped_and_not_resumed(chunk_page):
    context = in_chunks(chunk_page, "interrupted", "interrupted", "finished")
    shown = list(follow(context, "train", chunk_page.setting["token"], submit(chunk_page)))

    states = [
        [timer.active, *(button.interactive for button in buttons)]
        for _, _, timer, *buttons, _, _ in shown
    ]
    assert states == [[True, True, False, False]] * 3 + [[False] * 4]


def test_a_stop_between_two_chunks_ends_the_job(chunk_page):
    token = chunk_page.setting["token"]
    job = submit(chunk_page)
    context = in_chunks(chunk_page, "interrupted")
    shown = follow(context, "train", token, job)
    next(shown)
    next(shown)

    on_stop(context, "train", token, job.status.job_id)

    assert chunk_page.context.run_chunk(str(job.folder)) == "stopped"


def test_a_job_stopped_before_its_first_chunk_is_no_error(chunk_page):
    token = chunk_page.setting["token"]
    job = submit(chunk_page)
    shown = follow(chunk_page.context, "train", token, job)
    next(shown)
    on_stop(chunk_page.context, "train", token, job.status.job_id)

    *_, last = shown

    assert 'data-state="stopped"' in last[1]
    assert is_problem(last[-1])
    assert "is stopped, not waiting" in said(last[-1])


def test_a_bug_in_a_chunk_is_said_without_details(chunk_page):
    def broken(_: str) -> str:
        raise ZeroDivisionError("secret details")

    context = replace(chunk_page.context, run_chunk=broken)

    *_, last = follow(context, "train", chunk_page.setting["token"], submit(chunk_page))

    assert is_problem(last[-1])
    assert "secret" not in last[-1]


def test_a_training_in_the_page_ends_with_a_run(chunk_page):
    values = chunk_page.values(prompt_tuning__steps=2)

    *_, last = on_train(chunk_page.context, method="prompt_tuning", seed=0, **values)

    assert 'data-state="finished"' in last[1]
    assert "prompt_tuning" in [run.spec.method for run in chunk_page.workspace.runs()]


# Histories


def test_a_line_that_is_being_written_is_left_out(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text('{"step": 1}\n\n{"step": 2}\n{"st')

    assert read_history(path) == [{"step": 1}, {"step": 2}]


def test_a_history_that_is_not_there_is_empty(tmp_path):
    assert read_history(tmp_path / "history.jsonl") == []


def test_titles_say_state_and_time(empty_page):
    job = submit(empty_page, title="my title")
    set_status(job, state="finished", created="2026-01-02T03:04:05+00:00")

    assert look(empty_page)[0].choices[0][0] == "my title · finished · 2026-01-02 03:04"
