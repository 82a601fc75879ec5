"""Precisions measured by workers are those of one process, and a worker that differs says so."""

from collections import deque
from dataclasses import replace

import pytest

from toys import TOY_TEMPLATE, make_toy_task
from workbench.errors import RunError
from workbench.progress import ignore_progress
from workbench.runs.experiment import Experiment
from workbench.runs.measurements.precisions import AskedPrecisions, measure_precisions
from workbench.runs.measurements.records import MeasurementStore
from workbench.runs.store import RunStore
from workbench.workers.bench import Bench
from workbench.workers.pool import Nobody, Pool
from workbench.workers.precisions import measure_by_workers
from workbench.workers.work import Give, Ready

WANTED = ("nf4", "fp32")


class BenchCrew:
    """Workers that do what they are given at once, in this process."""

    def __init__(self, *benches: Bench) -> None:
        self.benches = {bench.where: bench for bench in benches}
        self.said = deque((name, Ready(name, "1")) for name in self.benches)
        self.done: list[tuple[str, str]] = []

    def size(self) -> int:
        return len(self.benches)

    def give(self, worker, message) -> None:
        assert isinstance(message, Give)
        bench = self.benches[worker]
        bench.take(message.shared)
        self.done.append((worker, message.work.name))
        self.said.append((worker, bench.do(message.work, ignore_progress)))

    def dismiss(self, worker) -> None:
        del self.benches[worker]

    def wait(self, seconds):
        said = list(self.said)
        self.said.clear()
        return said

    def now(self) -> float:
        return 0.0


class OtherBench(Bench):
    """A worker on whose machine the base has other products."""

    def take(self, shared) -> None:
        def other(asked: AskedPrecisions) -> AskedPrecisions:
            there = asked.experiment.model_copy(update={"compute_dtype": "bfloat16"})
            return replace(asked, experiment=there)

        super().take({key: other(asked) for key, asked in shared.items()})


@pytest.fixture(scope="module")
def asked(tiny_folder) -> AskedPrecisions:
    experiment = Experiment(model=str(tiny_folder), compute_dtype="float32", device="cpu")
    return AskedPrecisions(experiment, make_toy_task(12, 4, 6), TOY_TEMPLATE)


@pytest.fixture(scope="module")
def alone(asked, tmp_path_factory):
    """Return what one process measures."""
    store = MeasurementStore(tmp_path_factory.mktemp("alone"))
    return [one.record for one in measure_precisions(asked, WANTED, store)]


def bench(folder, where: str, kind: type[Bench] = Bench) -> Bench:
    return kind(where, RunStore(folder / where))


def by_workers(crew: BenchCrew, asked, folder, wanted=WANTED):
    pool = Pool(crew, {}, "1")
    store = MeasurementStore(folder / "parts")
    return list(measure_by_workers(pool, asked, wanted, store, teller=Nobody())), pool


def in_short(record):
    answers = {
        row: (given.answers, given.is_right, given.metrics) for row, given in record.answers.items()
    }
    return record.precision, record.weights, record.text, answers, record.restored_bytes


def test_workers_measure_what_one_process_measures_and_it_is_found_again(asked, alone, tmp_path):
    crew = BenchCrew(bench(tmp_path, "one"), bench(tmp_path, "two"))

    measured, _ = by_workers(crew, asked, tmp_path)
    again, _ = by_workers(BenchCrew(bench(tmp_path, "three")), asked, tmp_path)

    found = sorted((one.record for one in measured), key=lambda r: WANTED.index(r.precision))
    assert [in_short(record) for record in found] == [in_short(record) for record in alone]
    assert {worker for worker, name in crew.done if name != "the precisions' settings"} == {
        "one",
        "two",
    }
    assert [one.was_found for one in measured] == [False, False]
    assert [one.was_found for one in again] == [True, True]


def test_a_worker_whose_products_differ_is_sent_away_and_another_measures(asked, tmp_path):
    crew = BenchCrew(bench(tmp_path, "one"), bench(tmp_path, "two", OtherBench))

    measured, pool = by_workers(crew, asked, tmp_path, ("nf4", "fp4"))

    assert [one.record.base["compute_dtype"] for one in measured] == ["float32", "float32"]
    assert list(crew.benches) == ["one"]
    (note,) = pool.take_notes()
    assert note.startswith("two would measure ")
    assert "otherwise (base). Give all machines the same base" in note


def test_a_base_that_no_worker_has_ends_it_with_the_reason(asked, tmp_path):
    missing = asked.experiment.model_copy(update={"model": str(tmp_path / "nowhere")})

    with pytest.raises(RunError, match=r"no worker is left\. one: .*nowhere"):
        by_workers(BenchCrew(bench(tmp_path, "one")), replace(asked, experiment=missing), tmp_path)
