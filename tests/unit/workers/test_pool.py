"""Which worker does what, by a crew whose workers say what a test lets them say."""

from collections import deque
from dataclasses import dataclass

import pytest

from workbench.errors import ModelError, RunError
from workbench.progress import ProgressEvent
from workbench.workers.pool import MOST_ATTEMPTS, Pool
from workbench.workers.work import Done, Failed, Give, Gone, Ready, Step, Stop, Stopped, Unfit

VERSION = "1 (abc)"


@dataclass(frozen=True)
class Piece:
    name: str
    base: str = "a"
    shared: tuple[str, ...] = ()


class ScriptedCrew:
    """Workers that say what they are told to say."""

    def __init__(self, *names: str) -> None:
        self.members = list(names)
        self.said: deque[tuple[str, object]] = deque((n, Ready(n, VERSION)) for n in names)
        self.given: list[tuple[str, object]] = []
        self.seconds = 0.0

    def size(self) -> int:
        return len(self.members)

    def give(self, worker, message) -> None:
        self.given.append((worker, message))

    def dismiss(self, worker) -> None:
        self.members.remove(worker)

    def wait(self, seconds):
        self.seconds += 0.0 if self.said else seconds
        said = list(self.said)
        self.said.clear()
        return said

    def now(self) -> float:
        return self.seconds

    def work_of(self) -> dict[str, str]:
        return {worker: m.work.name for worker, m in self.given if isinstance(m, Give)}


class Heard:
    def __init__(self) -> None:
        self.begun: list[tuple[str, str]] = []
        self.steps: list[tuple[str, int]] = []

    def began(self, work, where) -> None:
        self.begun.append((work.name, where))

    def progressed(self, work, event) -> None:
        self.steps.append((work.name, event.done))


@pytest.fixture
def heard() -> Heard:
    return Heard()


def start(crew: ScriptedCrew, heard: Heard, *pieces: Piece, **shared: object) -> Pool:
    """Return a pool whose workers are ready and have been given what there is."""
    pool = Pool(crew, shared, VERSION)
    for piece in pieces:
        pool.submit(piece)
    assert pool.next(heard) is None  # they say that they are ready
    assert pool.next(heard) is None  # and are given work
    return pool


def test_two_bases_go_to_two_workers_before_one_changes_its_base(heard):
    crew = ScriptedCrew("w1", "w2")
    pool = start(crew, heard, Piece("a1"), Piece("a2"), Piece("b1", "b"), Piece("b2", "b"))
    assert crew.work_of() == {"w1": "a1", "w2": "b1"}

    crew.said += [("w2", Done(None)), ("w1", Done(None))]
    pool.next(heard)
    pool.next(heard)
    pool.next(heard)

    assert crew.work_of() == {"w1": "a2", "w2": "b2"}


def test_a_worker_changes_its_base_rather_than_do_nothing(heard):
    crew = ScriptedCrew("w1")
    pool = start(crew, heard, Piece("a1"), Piece("b1", "b"))

    crew.said.append(("w1", Done("kept")))
    work, outcome = pool.next(heard)
    pool.next(heard)

    assert (work.name, outcome.result) == ("a1", "kept")
    assert crew.work_of() == {"w1": "b1"}


def test_what_is_shared_is_sent_to_each_worker_once(heard):
    crew = ScriptedCrew("w1")
    pieces = [Piece("p1", shared=("task",)), Piece("p2", shared=("task", "more"))]
    pool = start(crew, heard, *pieces, task="rows", more="others")

    crew.said.append(("w1", Done(None)))
    pool.next(heard)
    pool.next(heard)

    assert [m.shared for _, m in crew.given] == [{"task": "rows"}, {"more": "others"}]


def test_no_two_workers_do_work_of_one_name_at_a_time(heard):
    crew = ScriptedCrew("w1", "w2")
    pool = start(crew, heard, Piece("same"), Piece("same"))
    assert crew.work_of() == {"w1": "same"}

    crew.said.append(("w1", Done(None)))
    pool.next(heard)
    pool.next(heard)

    assert [w for w, _ in crew.given] in (["w1", "w1"], ["w1", "w2"])


def test_what_a_dead_worker_did_is_done_by_another(heard):
    crew = ScriptedCrew("w1", "w2")
    pool = start(crew, heard, Piece("p"))

    crew.said.append(("w1", Gone("killed by SIGKILL")))
    assert pool.next(heard) is None
    pool.next(heard)

    assert crew.work_of()["w2"] == "p"
    (note,) = pool.take_notes()
    assert "w1 died (killed by SIGKILL) while making p; it goes on elsewhere." in note
    assert pool.take_notes() == []


def test_work_that_workers_die_of_is_given_up(heard):
    crew = ScriptedCrew("w1")
    pool = start(crew, heard, Piece("deadly"), Piece("other"))
    ended = None
    for _ in range(MOST_ATTEMPTS):
        crew.said += [("w1", Gone("killed by SIGKILL")), ("w1", Ready("w1", VERSION))]
        ended = pool.next(heard) or ended
        pool.next(heard)

    assert ended is not None
    work, outcome = ended
    assert work.name == "deadly"
    with pytest.raises(RunError, match=r"deadly: 3 workers died while making it.*packed"):
        raise outcome.error
    assert crew.given[-1][1].work.name == "other"


def test_a_worker_that_cannot_is_sent_away_and_the_others_go_on(heard):
    crew = ScriptedCrew("w1", "w2")
    pool = start(crew, heard, Piece("p"))

    crew.said.append(("w1", Unfit("w1 takes products in float32.")))
    pool.next(heard)
    pool.next(heard)

    assert crew.members == ["w2"]
    assert crew.work_of()["w2"] == "p"
    assert pool.take_notes() == ["w1 takes products in float32."]


def test_when_no_worker_is_left_the_reasons_are_given(heard):
    crew = ScriptedCrew("w1")
    pool = start(crew, heard, Piece("p"))

    crew.said.append(("w1", Unfit("w1 has other weights.")))
    with pytest.raises(RunError, match=r"no worker is left\. w1 has other weights\."):
        pool.next(heard)


def test_a_worker_of_another_version_is_refused(heard):
    crew = ScriptedCrew("old", "new")
    crew.said[0] = ("old", Ready("old", "0 (def)"))
    start(crew, heard, Piece("p"))

    assert crew.members == ["new"]
    assert crew.work_of() == {"new": "p"}


def test_what_another_driver_does_is_asked_for_again_later(heard):
    crew = ScriptedCrew("w1")
    pool = start(crew, heard, Piece("p"), Piece("q"))
    crew.said.append(("w1", Failed("BusyRun", "host b is at it")))
    pool.next(heard)
    pool.next(heard)
    assert crew.given[-1][1].work.name == "q"

    crew.said.append(("w1", Done(None)))
    assert pool.next(heard)[0].name == "q"
    for _ in range(20):
        pool.next(heard)

    assert crew.given[-1][1].work.name == "p"


def test_an_error_of_the_work_is_everybodys_and_is_not_tried_again(heard):
    crew = ScriptedCrew("w1", "w2")
    pool = start(crew, heard, Piece("p"))

    crew.said.append(("w1", Failed("ModelError", "gradients are no numbers")))
    work, outcome = pool.next(heard)

    assert (work.name, type(outcome.error)) == ("p", ModelError)
    assert str(outcome.error) == "gradients are no numbers"
    pool.next(heard)
    assert len(crew.given) == 1


def test_steps_are_told_and_stopping_waits_for_all(heard):
    crew = ScriptedCrew("w1", "w2")
    pool = start(crew, heard, Piece("p"), Piece("q"))
    crew.said.append(("w2", Step(ProgressEvent("train", 3, 10))))
    crew.said += [("w1", Stopped()), ("w2", Stopped())]

    assert pool.stop(heard, seconds=5)

    assert [w for w, m in crew.given if isinstance(m, Stop)] == ["w1", "w2"]
    assert heard.steps == [("q", 3)]
    assert pool.num_waiting() == 2


def test_stopping_ends_though_a_worker_does_not(heard):
    crew = ScriptedCrew("w1")
    pool = start(crew, heard, Piece("p"))

    assert not pool.stop(heard, seconds=1)
