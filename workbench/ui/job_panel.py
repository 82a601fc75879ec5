"""A job as a panel that follows it: progress, curves, stop and resume; shared by two tabs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import gradio as gr

from workbench.analysis.training_figure import history_plot
from workbench.atomic import parse_json
from workbench.errors import without_folders
from workbench.service import jobs
from workbench.service.command_line import evaluate_command
from workbench.service.job_status import CAN_DELETE, CAN_RESUME
from workbench.service.jobs import Job
from workbench.service.workspace import Workspace
from workbench.ui.addresses import caller_address
from workbench.ui.choices import ChoiceList
from workbench.ui.context import KEEP, PROBLEM, AppContext, guarded, problem, shows_problems
from workbench.ui.rendering import render
from workbench.ui.setup import Setup
from workbench.ui.wiring import AT_ONCE, QUIET, TRAIN, WATCH

Kind = Literal["train", "evaluate"]

_TICK_SECONDS = 1.5  # while a job is unfinished
_IDLE_SECONDS = 10  # between looks at what another tab of the browser, or a command, did
KEPT = (KEEP,) * 7  # a panel's outputs after an error that is shown elsewhere
_NO_BUTTONS = (lambda: gr.Button(interactive=False),) * 3
_EMPTY: Mapping[Kind, str] = {
    "train": "Nothing was trained here yet. Choose a method and press Train; you can close this "
    "page meanwhile, the training goes on.",
    "evaluate": "Nothing was evaluated here yet. Choose rows and press Evaluate; you can close "
    "this page meanwhile.",
}


@dataclass(frozen=True)
class JobPanel:
    """The components of a panel.

    Attributes:
        choice: Which job is shown.
        view: The job as HTML.
        timer: Looks again while the job is unfinished.
        stop: Asks it to stop.
        resume: Lets it go on.
        delete: Removes it from the list; its runs stay.
        seen: The jobs and their states as they are shown.
    """

    choice: gr.Dropdown
    view: gr.HTML
    timer: gr.Timer
    stop: gr.Button
    resume: gr.Button
    delete: gr.Button
    seen: gr.State

    @property
    def outputs(self) -> list[Any]:
        """What `updates` returns values for."""
        buttons = [self.stop, self.resume, self.delete]
        return [self.choice, self.view, self.timer, *buttons, self.seen]


@shows_problems(KEEP, PROBLEM, lambda: gr.Timer(active=False), *_NO_BUTTONS, list)
def updates(context: AppContext, kind: Kind, token: object, job_id: str | None) -> list[Any]:
    """Return the panel's state for a job; for none, that of the newest one.

    Looking also starts the next waiting job, so that a queue never stands still.
    """
    workspace = context.workspace(token)
    if context.profile.executor == "process":
        jobs.start_next(workspace.root)
    found = _jobs_of(workspace, kind)
    choices = [(_title(job), job.status.job_id) for job in found]
    shown = next((job for job in found if job.status.job_id == job_id), None)
    shown = shown or (found[0] if found else None)
    if shown is None:
        view = render("hint", text=_EMPTY[kind])
        return [
            gr.Dropdown(choices=[], value=None),
            view,
            gr.Timer(active=False),
            *_buttons(None),
            _states(found),
        ]
    return [
        gr.Dropdown(choices=choices, value=shown.status.job_id),
        job_html(workspace, shown, minutes=context.profile.caps.minutes),
        gr.Timer(active=shown.is_unfinished),
        *_buttons(shown),
        _states(found),
    ]


@shows_problems(*KEPT)
def on_idle(
    context: AppContext, kind: Kind, token: object, job_id: str | None, seen: object
) -> list[Any]:
    """Return the panel's state anew if a job was begun, resumed or ended elsewhere; else nothing.

    The page's timer leaves a stopped job alone, but whoever has two tabs resumes it in the other.
    """
    if _states(_jobs_of(context.workspace(token), kind)) == seen:
        return [gr.skip()] * len(KEPT)
    return updates(context, kind, token, job_id)


def job_html(workspace: Workspace, job: Job, *, minutes: float | None = None) -> str:
    """Return a job's progress, rows and curves; on a public page, nothing about this machine.

    Args:
        workspace: Of the visitor.
        job: Which one.
        minutes: The most computing time of a job here, for those that wait.
    """
    is_public = workspace.is_public
    status = job.status.without_folders() if is_public else job.status
    status = status.model_copy(update={"title": job.title})
    command = ""
    if job.experiment is not None:
        place = workspace.folder / "jobs" / status.job_id
        command = evaluate_command(job.experiment, place, job.name)
    is_drawn = status.kind == "train" or status.state != "finished"
    histories = _histories(workspace, job) if is_drawn else []
    drawing = history_plot(histories, steps=status.steps if status.stage == "train" else None)
    return render(
        "job",
        status=status,
        fraction=status.fraction,
        ahead=jobs.place_in_queue(workspace.root, job) if status.state == "queued" else 0,
        minutes=minutes,
        drawing=drawing if histories else None,
        command=without_folders(command) if is_public else command,
        log=job.log if status.state in ("failed", "interrupted") and not is_public else "",
        can_resume=status.state in CAN_RESUME,
    )


def follow(context: AppContext, kind: Kind, token: object, job: Job) -> Iterator[list[Any]]:
    """Yield the panel of a job just submitted or resumed, and what went wrong, if anything.

    Where training has to happen inside a handler, this does one chunk after the other; otherwise
    the job has a process of its own and the panel's timer takes over.
    """
    job_id = job.status.job_id
    yield [*updates(context, kind, token, job_id), ""]
    if context.profile.executor == "process":
        return
    troubles: list[str] = []
    run_chunk = guarded(lambda error: troubles.append(problem(error)))(context.run_chunk)
    while run_chunk(str(job.folder)) == "interrupted":
        choice, view, *_, seen = updates(context, kind, token, job_id)
        # It only rests between two chunks, so the page offers what a running job allows.
        rests = [gr.Timer(active=True), gr.Button(interactive=True)]
        others = [gr.Button(interactive=False)] * 2
        yield [choice, view, *rests, *others, seen, ""]
    yield [*updates(context, kind, token, job_id), "".join(troubles)]


@shows_problems(KEEP, PROBLEM, *KEPT[2:])
def on_stop(context: AppContext, kind: Kind, token: object, job_id: str | None) -> list[Any]:
    """Ask the shown job to stop."""
    jobs.stop(context.workspace(token), job_id)
    return updates(context, kind, token, job_id)


@shows_problems(KEEP, PROBLEM, *KEPT[2:])
def on_delete(context: AppContext, kind: Kind, token: object, job_id: str | None) -> list[Any]:
    """Delete the shown job; its runs stay, and are found again by another one."""
    jobs.delete(context.workspace(token), job_id)
    return updates(context, kind, token, None)


@shows_problems(KEEP, PROBLEM, *KEPT[2:])
def on_resume(
    context: AppContext, kind: Kind, token: object, job_id: str | None
) -> Iterator[list[Any]]:
    """Let the shown job go on."""
    workspace = context.workspace(token)
    job = jobs.resume(workspace, context.profile, job_id, address=caller_address())
    for shown in follow(context, kind, token, job):
        yield shown[:-1]


def build(context: AppContext, setup: Setup, kind: Kind, tab: gr.Tab) -> JobPanel:
    """Lay out a panel and wire what does not depend on its tab."""
    with gr.Row():
        choice = ChoiceList(
            [], label="Job", elem_id=f"wb-{kind}-job", scale=4, min_width=220, interactive=True
        )
        stop = gr.Button("Stop", interactive=False, elem_id=f"wb-{kind}-stop", min_width=90)
        resume = gr.Button("Resume", interactive=False, elem_id=f"wb-{kind}-resume", min_width=90)
        delete = gr.Button("Delete", interactive=False, elem_id=f"wb-{kind}-delete", min_width=90)
    setup.address.keep("job", choice, tab=kind, known=partial(_job_ids, context, kind))
    view = gr.HTML(render("hint", text=_EMPTY[kind]), elem_id=f"wb-{kind}-view")
    timer = gr.Timer(_TICK_SECONDS, active=False)
    idle = gr.Timer(_IDLE_SECONDS)
    panel = JobPanel(choice, view, timer, stop, resume, delete, gr.State([]))
    inputs = [setup.values["token"], choice]
    look = partial(updates, context, kind)
    gr.on(
        [panel.timer.tick, choice.input, tab.select, setup.loaded],
        look,
        inputs,
        panel.outputs,
        **QUIET,
        **WATCH,
    )
    again = partial(on_idle, context, kind)
    idle.tick(again, [*inputs, panel.seen], panel.outputs, **QUIET, **WATCH)
    stop.click(partial(on_stop, context, kind), inputs, panel.outputs, **AT_ONCE)
    delete.click(partial(on_delete, context, kind), inputs, panel.outputs, **AT_ONCE)
    resume.click(partial(on_resume, context, kind), inputs, panel.outputs, **QUIET, **TRAIN)
    return panel


def _jobs_of(workspace: Workspace, kind: Kind) -> list[Job]:
    return [job for job in jobs.list_jobs(workspace) if job.status.kind == kind]


def _job_ids(context: AppContext, kind: Kind, token: object) -> list[str]:
    return [job.status.job_id for job in _jobs_of(context.workspace(token), kind)]


def _states(found: Sequence[Job]) -> list[list[str]]:
    """Return what decides whether the list, the buttons and the timer are still right."""
    return [[job.status.job_id, job.status.state] for job in found]


def _histories(workspace: Workspace, job: Job) -> list[tuple[str, Sequence[Mapping[str, float]]]]:
    """Return the training histories of the job's finished runs and of the current one."""
    run_ids = {f"{row.row}, seed {row.seed}": row.run_id for row in job.status.rows}
    if job.status.run_id and job.status.state != "finished":
        run_ids[job.status.row] = job.status.run_id
    found: list[tuple[str, Sequence[Mapping[str, float]]]] = []
    for name, run_id in run_ids.items():
        history = read_history(workspace.folder / run_id / "history.jsonl")
        if history:
            found.append((name, history))
    return found


def read_history(path: Path) -> list[Mapping[str, float]]:
    """Return the entries of a history that may be being written; a torn line is left out."""
    if not path.is_file():
        return []
    entries: list[Mapping[str, float]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            entry = parse_json(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and "step" in entry:
            entries.append(entry)
    return entries


def _title(job: Job) -> str:
    return f"{job.title} · {job.status.state} · {job.status.created[:16].replace('T', ' ')}"


def _buttons(job: Job | None) -> list[gr.Button]:
    state = None if job is None else job.status.state
    return [
        gr.Button(interactive=state in ("queued", "running")),
        gr.Button(interactive=state in CAN_RESUME),
        gr.Button(interactive=state in CAN_DELETE),
    ]
