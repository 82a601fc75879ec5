"""Chains of runs come to the same, in whatever order an executor makes them."""

from collections.abc import Callable

import pytest

from toys import TOY_TEMPLATE, make_toy_task, open_tiny
from workbench.encoding import PromptEncoder
from workbench.errors import ModelError
from workbench.models.engine import Engine
from workbench.runs.executor import Assignment, LocalExecutor, Made, drive
from workbench.runs.experiment import Experiment
from workbench.runs.failures import FailedRun
from workbench.runs.rows import RowRun, run_requests
from workbench.runs.runner import requests_of
from workbench.runs.session import Session
from workbench.runs.store import RunStore

QUICK = {"steps": 2, "batch_size": 2, "eval_every": 1, "num_virtual_tokens": 2}
EXPERIMENT = Experiment(
    seeds=(0, 1),
    methods={
        "zero_shot": {},
        "prompt_tuning": {**QUICK, "learning_rates": [0.1, 0.3, 0.9]},
        "p_tuning": {**QUICK, "learning_rates": 3},
    },
)


class Backwards(LocalExecutor):
    """Takes all there is, and makes the last of it first."""

    def is_hungry(self) -> bool:
        return True

    def submit(self, assignment: Assignment) -> None:
        self._waiting.appendleft(assignment)


class Watched:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.numbers: list[tuple[int, int]] = []
        self.begun: list[str] = []
        self.ended_runs: list[str] = []
        self.failures: list[FailedRun] = []

    def began(self, request, run_id, *, number, total, where) -> None:
        self.numbers.append((number, total))
        self.begun.append(run_id)

    def progressed(self, run_id, event) -> None:
        assert run_id in self.begun

    def ended(self, request, run, *, found) -> None:
        self.ended_runs.append(run.record.run_id)

    def failed(self, failure, run_id) -> None:
        self.failures.append(failure)


@pytest.fixture(scope="module")
def session(tiny_folder) -> Session:
    base = open_tiny(tiny_folder)
    return Session(
        Engine(base), PromptEncoder(base.tokenizer, TOY_TEMPLATE, make_toy_task(12, 4, 6))
    )


def made(session: Session, folder, executor: Callable[..., object]) -> tuple[list, Watched]:
    asked = [(session, request) for request in requests_of(EXPERIMENT)]
    watched = Watched()
    rows = run_requests(RunStore(folder), asked, watcher=watched, make_executor=executor)
    return rows, watched


def in_short(rows: list) -> list[tuple[object, ...]]:
    return [
        (
            row.row,
            row.run.record.run_id,
            row.run.record.metrics,
            row.search and row.search.best.run_id,
        )
        for row in rows
    ]


def test_runs_made_backwards_are_the_same_rows(session, tmp_path):
    one, forwards = made(session, tmp_path / "one", LocalExecutor)
    other, backwards = made(session, tmp_path / "other", Backwards)

    assert in_short(one) == in_short(other)
    assert all(isinstance(row, RowRun) for row in one)
    assert sorted(forwards.begun) == sorted(backwards.begun)
    assert forwards.begun != backwards.begun
    assert sorted(forwards.ended_runs) == sorted(forwards.begun)


def test_a_row_begins_here_when_the_one_before_has_ended(session, tmp_path):
    rows, watched = made(session, tmp_path, LocalExecutor)

    spans = {}
    for place, run_id in enumerate(watched.begun):
        method = next(name for name in EXPERIMENT.methods if f"_{name}_s" in run_id)
        spans.setdefault(method, []).append(place)
    for places in spans.values():
        assert places == list(range(places[0], places[-1] + 1))
    assert [number for number, _ in watched.numbers] == list(range(len(watched.begun)))
    assert len(rows) == 6


def test_a_grid_is_one_wave_where_the_method_knows_its_own_rate(session, tmp_path):
    waves: dict[str, list[int]] = {}

    class Counting(Backwards):
        def next(self, listener) -> tuple[Assignment, Made]:
            rows = [assignment.request.row for assignment in self._waiting]
            for row in {*rows}:
                waves.setdefault(row, []).append(rows.count(row))
            return super().next(listener)

    experiment = Experiment(
        reference="p_tuning",
        methods={name: {**QUICK, "learning_rates": 3} for name in ("prompt_tuning", "p_tuning")},
    )
    asked = [(session, request) for request in requests_of(experiment)]
    rows = run_requests(RunStore(tmp_path), asked, watcher=Watched(), make_executor=Counting)

    assert waves["p_tuning"][0] == 3
    assert waves["prompt_tuning"][0] == 1  # the scale of the embeddings decides
    assert max(waves["prompt_tuning"]) == 2
    for row in rows:
        assert len(row.search.trials) - row.search.num_extended == 3
        assert sum(trial.is_default for trial in row.search.trials) == 1


def test_an_error_in_the_middle_of_a_chain_fails_its_rows_alone(session, tmp_path):
    class Fails(LocalExecutor):
        def next(self, listener) -> tuple[Assignment, Made]:
            assignment = self._waiting[0]
            if assignment.request.row != "p_tuning":
                return super().next(listener)
            self._waiting.popleft()
            listener.began(assignment, "")
            return assignment, Made(error=ModelError("no numbers"))

    rows, watched = made(session, tmp_path, Fails)

    failed = [row for row in rows if isinstance(row, FailedRun)]
    assert [(row.row, row.seed, row.reason) for row in failed] == [
        ("p_tuning", 0, "no numbers"),
        ("p_tuning", 1, "no numbers"),
    ]
    assert watched.failures == failed
    assert len(rows) == 6


def test_chains_without_runs_end(session, tmp_path):
    def nothing():
        return
        yield

    drive([nothing()], LocalExecutor(RunStore(tmp_path), lambda: False), Watched())
