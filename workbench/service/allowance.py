"""What an experiment as a whole costs a shared server, said before it waits for its turn.

Each number may be within its bounds while their product takes a day, or stores more than a visitor
may have. Time and sizes are the planner's (`workbench/budget`), so they are rough; what was not
foreseen here ends a job later, by its minutes and by `workbench/room.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from workbench.budget.known import DEVICES, GIB, KNOWN_SHAPES, Device, known_model, processor
from workbench.budget.memory import Workload
from workbench.budget.plan import MethodPlan, Question, make_plan
from workbench.budget.shape import ModelShape
from workbench.budget.sources import find_shape
from workbench.budget.trained import RECIPES, AdaptOptions
from workbench.errors import ConfigError, StoreError
from workbench.fitting.base import Method
from workbench.fitting.searching import SearchOptions
from workbench.methods.catalog import method_name, resolved_options
from workbench.options import check_value, declared_options
from workbench.room import ordinary_bytes
from workbench.runs.execute import RunRequest
from workbench.runs.experiment import Experiment
from workbench.runs.runner import requests_of
from workbench.runs.session import open_task
from workbench.service.profile import Profile
from workbench.service.workspace import Workspace
from workbench.tasks.base import Task
from workbench.training.dev_looks import items_per_look
from workbench.training.options import TrainingOptions

_MARGIN = 3.0  # a server may be so many times as fast as the planner assumes
_WRITING = 5.0  # a token that is written takes so many times as long as one that is read
_CHARS_PER_TOKEN = 3.0
_WORDING_TOKENS = 32
_ANSWER_TOKENS = 24  # written for an answer that is no label
_SERVERS = {"small": processor(16 * GIB), "large": DEVICES["t4"]}
_LIKE_ANY = "prompt_tuning"  # its gradients pass through all layers, as any method's do


@dataclass(frozen=True)
class _Asked:
    """What everything is estimated for."""

    shape: ModelShape
    server: Device
    task: Task

    @property
    def row_tokens(self) -> int:
        """Positions of a row without demonstrations, in the mean."""
        texts = [sum(map(len, sample.fields.values())) for sample in self.task.test]
        tokens = sum(texts) / len(texts) / _CHARS_PER_TOKEN + _WORDING_TOKENS
        return max(2, min(round(tokens), self.shape.context_length - 1))

    def reading_seconds(self, positions: float) -> float:
        """Return the time of a forward pass."""
        flops = self.server.teraflops * 1e12 * self.server.utilisation
        return positions * 2 * self.shape.active_weights / flops


def check_allowance(workspace: Workspace, profile: Profile, experiment: Experiment) -> None:
    """Refuse what a shared server has no time or room for; runs that are there cost nothing.

    Raises:
        ConfigError: about how much is asked, how much there is, and what asks for the most.
        StoreError: it stores more than the visitor has room for.
    """
    shape = _shape_of(experiment.model)
    if profile.caps.size is None or shape is None:
        return
    requests = _new_requests(workspace, experiment)
    if not requests:
        return
    asked = _Asked(shape, _SERVERS[profile.caps.size], open_task(experiment.task))
    _check_bytes(workspace, profile.caps.stored_bytes, asked, requests)
    _check_minutes(profile.caps.minutes, asked, requests)


def _shape_of(model: str) -> ModelShape | None:
    """Return a model's size if it is known without asking the Hub."""
    if model in KNOWN_SHAPES:
        return known_model(model)
    return find_shape(model) if Path(model).is_dir() else None


def _new_requests(workspace: Workspace, experiment: Experiment) -> list[RunRequest]:
    """Return the runs of an experiment that the visitor does not have."""
    done = [run.spec for run in workspace.runs() if run.record.status == "finished"]
    return [
        request
        for request in requests_of(experiment)
        if request.search is not None
        or not any(
            (spec.method, spec.seed) == (method_name(request.method), request.seed)
            and spec.options == resolved_options(request.method)
            for spec in done
        )
    ]


def _check_bytes(
    workspace: Workspace, most: int, asked: _Asked, requests: Iterable[RunRequest]
) -> None:
    """Refuse results that will not fit; the runs of a search are there until it has ended."""
    stored = dict.fromkeys(dict.fromkeys(request.row for request in requests), 0)
    for request, trials in _with_trials(requests):
        plan = _plan(asked, request.method)
        if plan is not None and isinstance(request.method, TrainingOptions):
            results = (1 + trials) * request.method.num_trainings
            stored[request.row] += results * plan.stored_bytes
    needed, left = sum(stored.values()), ordinary_bytes(most) - workspace.stored_bytes()
    if needed > left:
        largest = max(stored, key=lambda row: stored[row])
        raise StoreError(
            f"space: the runs asked for store about {needed / 1e6:,.0f} MB, {largest} "
            f"{stored[largest] / 1e6:,.0f} MB of it, and {max(left, 0) / 1e6:,.0f} of your "
            f"{most / 1e6:,.0f} MB are left. Ask for fewer runs or for a method that stores less, "
            "such as lora, or delete runs or files under Runs."
        )


def _check_minutes(most: float | None, asked: _Asked, requests: Iterable[RunRequest]) -> None:
    """Refuse what takes many times as long as a job may."""
    minutes = dict.fromkeys(dict.fromkeys(request.row for request in requests), 0.0)
    for request, trials in _with_trials(requests):
        training = _training_seconds(asked, request.method)
        answering = _answering_seconds(asked, request.method)
        minutes[request.row] += ((1 + trials) * training + answering) / 60
    total = sum(minutes.values())
    if most is not None and total > _MARGIN * most:
        longest = max(minutes, key=lambda row: minutes[row])
        raise ConfigError(
            f"time: what is asked would take about {_duration(total)} here, {longest} "
            f"{_duration(minutes[longest])} of it, and a job may take {most:g} minutes. Ask for "
            "fewer rows, seeds, learning rates, steps or test items, or run it on your own machine."
        )


def _with_trials(requests: Iterable[RunRequest]) -> Iterable[tuple[RunRequest, int]]:
    """Yield each request with the trainings of its search, which all seeds of a row share."""
    seen = set()
    for request in requests:
        search, is_first = request.search, request.row not in seen
        seen.add(request.row)
        is_searched = search is not None and is_first
        yield request, search.num_rates + search.extend if search and is_searched else 0


def _plan(asked: _Asked, method: Method) -> MethodPlan | None:
    """Return what a training costs; None where a method trains nothing or cannot be put there."""
    if not isinstance(method, TrainingOptions):
        return None
    name = method_name(method)
    recipe = RECIPES.get(name, RECIPES[_LIKE_ANY])
    known, sizes = declared_options(AdaptOptions), {}
    for size, own in recipe.options.items():
        value, problem = check_value(getattr(method, own, None), known[size])
        if problem is None:
            sizes[size] = value
    question = Question(
        asked.shape,
        asked.server,
        options=AdaptOptions(**sizes),  # type: ignore[arg-type]  # each was checked
        work=Workload(
            batch_size=method.batch_size,
            row_tokens=asked.row_tokens,
            has_checkpointing=method.gradient_checkpointing,
        ),
        micro_batch_size=method.micro_batch_size,
        steps=method.steps,
    )
    return next(iter(make_plan(question, [recipe.name]).rows), None)


def _training_seconds(asked: _Asked, method: Method) -> float:
    """Return how long fitting takes: steps, and every scoring of dev."""
    item = asked.reading_seconds(_prompt_tokens(asked, method))
    if isinstance(method, SearchOptions):
        return method.budget * len(asked.task.dev) * item
    plan = _plan(asked, method)
    if plan is None or not isinstance(method, TrainingOptions):
        return 0.0
    evaluations = -(-method.steps // method.eval_every)
    tokens = asked.row_tokens
    num = items_per_look(
        method, example_tokens=tokens, item_tokens=tokens, num_dev=len(asked.task.dev)
    )
    return method.num_trainings * ((plan.seconds or 0.0) + evaluations * num * item)


def _answering_seconds(asked: _Asked, method: Method) -> float:
    """Return how long the test split takes: what is read, and what is written."""
    written = getattr(method, "max_new_tokens", 0) * getattr(method, "samples", 1)
    written += 0 if asked.task.labels else _ANSWER_TOKENS
    item = _prompt_tokens(asked, method) + _WRITING * written
    return asked.reading_seconds(len(asked.task.test) * item)


def _prompt_tokens(asked: _Asked, method: Method) -> int:
    """Return the positions of a row with what stands before it."""
    tokens = asked.row_tokens * (1 + getattr(method, "k", 0))
    return min(tokens, asked.shape.context_length)


def _duration(minutes: float) -> str:
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.0f} hours"
