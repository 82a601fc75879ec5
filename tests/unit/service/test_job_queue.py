"""Whose turn it is: addresses, visitors, age; what clocks and invented tokens cannot change."""

import itertools
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from job_files import alive, set_status
from visitors import visitor
from workbench.errors import StoreError
from workbench.runs.experiment import Experiment
from workbench.service import job_queue, jobs
from workbench.service.job_queue import changing, entries, in_order, note_start
from workbench.service.profile import CPU_SPACE, Caps, Profile

EXPERIMENT = Experiment(methods={"zero_shot": {}})
HOME, SCHOOL, CAFE = "203.0.113.7", "198.51.100.20", "192.0.2.99"


def profile(**caps: float) -> Profile:
    return Profile("tests", is_public=True, caps=Caps(**caps))


class Line:
    """The queue below a root, as its visitors fill it; a title says whose job it is."""

    def __init__(self, root: Path, **caps: float) -> None:
        self.root, self.profile = root, profile(**caps)
        self._numbers = itertools.count()

    def submit(self, title: str, address: str, token: str = "") -> jobs.Job:
        token = token or f"token-number-{next(self._numbers):04d}"
        workspace = visitor(self.root, token)
        return jobs.submit(
            workspace, self.profile, EXPERIMENT, kind="train", title=title, address=address
        )

    def starts(self, number: int) -> list[str]:
        """Start and end so many jobs, as their processes would; return whose they were."""
        titles = []
        for _ in range(number):
            with changing(self.root) as ledger:
                first = in_order(self.root, entries(self.root))[0]
                note_start(ledger, first)
            titles.append(first.status.title)
            job = jobs.Job(first.folder, self.root, None, first.status)
            set_status(job, state="finished")
        return titles


@pytest.fixture
def line(tmp_path):
    return Line(tmp_path)


def test_addresses_take_turns_however_many_tokens_one_invents(line):
    for number in range(4):
        line.submit(f"home {number}", HOME)
    line.submit("school 0", SCHOOL)
    line.submit("school 1", SCHOOL)

    assert line.starts(6) == ["home 0", "school 0", "home 1", "school 1", "home 2", "home 3"]


def test_visitors_of_one_address_take_turns(line):
    for number in range(3):
        line.submit(f"anna {number}", HOME, "anna-anna-anna-anna")
    line.submit("ben 0", HOME, "ben-ben-ben-ben-ben")

    assert line.starts(4) == ["anna 0", "ben 0", "anna 1", "anna 2"]


def test_who_waits_for_a_turn_is_not_overtaken_by_addresses_that_come_anew(line):
    line.submit("home 0", HOME)
    line.submit("home 1", HOME)
    first = line.starts(1)
    for number in range(3):
        line.submit(f"new {number}", f"198.51.100.{number}")

    assert [*first, *line.starts(2)] == ["home 0", "home 1", "new 0"]


def test_a_job_deleted_and_submitted_again_goes_to_the_end_of_the_line(line):
    job = line.submit("home", HOME, "anna-anna-anna-anna")
    line.submit("school", SCHOOL)
    anna = visitor(line.root, "anna-anna-anna-anna")
    jobs.stop(anna, job.status.job_id)
    jobs.delete(anna, job.status.job_id)
    line.submit("home again", HOME, "anna-anna-anna-anna")

    assert line.starts(2) == ["school", "home again"]


def test_a_resumed_job_goes_to_the_end_of_the_line(line):
    job = line.submit("home", HOME, "anna-anna-anna-anna")
    line.submit("school", SCHOOL)
    anna = visitor(line.root, "anna-anna-anna-anna")
    jobs.stop(anna, job.status.job_id)
    jobs.resume(anna, line.profile, job.status.job_id, address=HOME)

    assert line.starts(2) == ["school", "home"]


def test_one_who_was_served_does_not_come_first_again_by_deleting_what_was_served(line):
    line.submit("home 0", HOME, "anna-anna-anna-anna")
    line.submit("home 1", HOME)
    line.submit("school", SCHOOL)
    line.starts(1)
    anna = visitor(line.root, "anna-anna-anna-anna")
    (job,) = jobs.list_jobs(anna)
    jobs.delete(anna, job.status.job_id)

    assert line.starts(2) == ["school", "home 1"]


def test_the_place_shown_is_the_place_in_that_order(line):
    home = [line.submit(f"home {number}", HOME) for number in range(3)]
    school = line.submit("school", SCHOOL)
    expected = [0, 2, 3, 1]

    assert [jobs.place_in_queue(line.root, job) for job in (*home, school)] == expected


def test_the_place_shown_counts_the_one_that_runs(line):
    first, second = line.submit("home", HOME), line.submit("school", SCHOOL)

    with alive(first):
        places = [jobs.place_in_queue(line.root, job) for job in (first, second)]

    assert places[1] == 1


# Bounds


def test_an_address_may_hold_a_share_of_the_places_whatever_its_tokens(tmp_path):
    line = Line(tmp_path, waiting=12, address_jobs=3)
    for number in range(3):
        line.submit(f"home {number}", HOME)

    with pytest.raises(StoreError) as caught:
        line.submit("one more", HOME)

    assert str(caught.value) == (
        "jobs: 3 from your network address are unfinished, at most 3 are allowed. Wait for one of "
        "them."
    )


def test_an_address_that_has_none_finds_a_place_in_a_full_queue(tmp_path):
    line = Line(tmp_path, waiting=4, address_jobs=2)
    for address in (HOME, SCHOOL):
        for number in range(2):
            line.submit(f"{address} {number}", address)

    line.submit("cafe", CAFE)

    with pytest.raises(StoreError, match=r"the queue is full \(5 waiting or running\)"):
        line.submit("cafe again", CAFE)


def test_even_addresses_that_have_none_are_bounded(tmp_path):
    line = Line(tmp_path, waiting=1, address_jobs=1)
    for number in range(10):
        line.submit(f"{number}", f"203.0.113.{number}")

    with pytest.raises(StoreError, match="the queue is full"):
        line.submit("eleven", HOME)


def test_a_resumed_job_needs_a_place_of_its_address_too(tmp_path):
    line = Line(tmp_path, waiting=12, address_jobs=1)
    job = line.submit("home", HOME, "anna-anna-anna-anna")
    anna = visitor(line.root, "anna-anna-anna-anna")
    jobs.stop(anna, job.status.job_id)
    line.submit("home again", HOME)

    with pytest.raises(StoreError, match="1 from your network address"):
        jobs.resume(anna, line.profile, job.status.job_id, address=HOME)


def test_a_public_address_has_room_for_a_class_and_leaves_room_for_others():
    caps = CPU_SPACE.caps

    assert 30 <= caps.address_jobs <= caps.waiting / 2


def test_a_job_whose_minutes_are_used_up_is_not_resumed(tmp_path):
    line = Line(tmp_path)
    job = line.submit("home", HOME, "anna-anna-anna-anna")
    set_status(job, state="stopped", seconds=1200.0)
    limited = replace(line.profile, caps=Caps(minutes=20))

    with pytest.raises(StoreError, match="its 20 minutes are used up"):
        jobs.resume(visitor(tmp_path, "anna-anna-anna-anna"), limited, job.status.job_id)


def test_an_address_is_kept_as_a_hash_with_a_key_of_its_own(tmp_path):
    found = []
    for name in ("one", "two"):
        job = Line(tmp_path / name).submit("home", HOME)
        texts = [path.read_bytes() for path in (tmp_path / name).rglob("*") if path.is_file()]
        assert not any(HOME.encode() in text for text in texts)
        found.append(job.status.address)

    assert found[0] != found[1]
    assert min(map(len, found)) >= 16


def test_the_key_of_the_hash_is_for_the_owner_alone(line):
    line.submit("home", HOME)

    assert (line.root / ".queue.json").stat().st_mode & 0o077 == 0


# Clocks


class Backwards(datetime):
    """A clock that somebody sets back an hour with every look at it."""

    looks = itertools.count()

    @classmethod
    def now(cls, tz=None):
        return datetime(2026, 5, 1, 12, tzinfo=tz) - timedelta(hours=next(cls.looks))


def test_a_clock_set_back_changes_neither_order_nor_list(line, monkeypatch):
    monkeypatch.setattr(jobs, "datetime", Backwards)
    token = "anna-anna-anna-anna"
    for title in ("first", "second", "third"):
        line.submit(title, HOME, token)

    listed = [job.status.title for job in jobs.list_jobs(visitor(line.root, token))]
    assert listed == ["third", "second", "first"]
    assert line.starts(3) == ["first", "second", "third"]


class Standing(datetime):
    """A clock that stands."""

    @classmethod
    def now(cls, tz=None):
        return datetime(2026, 5, 1, 12, tzinfo=tz)


def test_ids_do_not_collide_while_a_clock_stands(line, monkeypatch):
    monkeypatch.setattr(jobs, "datetime", Standing)

    ids = {line.submit("same", HOME).status.job_id for _ in range(20)}

    assert len(ids) == 20


# What the queue remembers may be lost


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"key": "short"}', b"\xff", None, "link",
     b'{"key": "0123456789abcdef0123456789abcdef"}',
     b'{"key": "0123456789abcdef0123456789abcdef", "unfinished": ["../jobs/elsewhere"]}'],
)  # fmt: skip
def test_a_spoiled_memory_of_the_queue_begins_anew(content, line):
    line.submit("home 0", HOME)
    line.submit("home 1", HOME)
    path = line.root / ".queue.json"
    path.unlink()
    if content is None:
        path.mkdir()
    elif content == "link":
        path.symlink_to("/dev/null")
    else:
        path.write_bytes(content)

    line.submit("home 2", HOME)

    first, *others = line.starts(3)
    assert first == "home 0"
    assert sorted(others) == ["home 1", "home 2"]


def test_a_number_that_is_counted_goes_on_where_the_memory_was_lost(line):
    job = line.submit("home 0", HOME, "anna-anna-anna-anna")
    jobs.stop(visitor(line.root, "anna-anna-anna-anna"), job.status.job_id)
    (line.root / ".queue.json").unlink()

    assert line.submit("home 1", HOME).status.serial > job.status.serial


def test_a_submission_cut_short_once_its_job_is_there_has_it_in_the_line(line, monkeypatch):
    rename = Path.rename

    def rename_and_die(path: Path, target: Path) -> Path:
        rename(path, target)
        raise KeyboardInterrupt

    line.submit("home", HOME)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename_and_die)
        with pytest.raises(KeyboardInterrupt):
            line.submit("school", SCHOOL)

    assert line.starts(2) == ["home", "school"]


def test_a_job_whose_files_could_not_be_read_for_a_moment_stays_in_the_line(line):
    job = line.submit("home", HOME)
    status = job.folder / "status.json"
    content = status.read_bytes()
    status.unlink()
    line.submit("school", SCHOOL)
    status.write_bytes(content)

    assert line.starts(2) == ["home", "school"]


def test_a_job_that_goes_on_without_having_waited_counts_before_others(line):
    job = set_status(line.submit("home", HOME), state="interrupted", in_chunks=True)
    waiting = line.submit("school", SCHOOL)

    with jobs.running(job.folder, in_chunks=True):
        assert jobs.place_in_queue(line.root, waiting) == 1


def test_the_memory_of_the_queue_stays_small(line, monkeypatch):
    monkeypatch.setattr(job_queue, "_MOST_SERVED", 4)
    for number in range(8):
        line.submit(f"{number}", f"203.0.113.{number}")

    assert len(line.starts(8)) == 8

    with changing(line.root) as ledger:
        assert len(ledger.served) == 4


@pytest.mark.parametrize("name", [".jobs.lock", ".running.lock"])
@pytest.mark.parametrize("kind", ["folder", "link", "content"])
def test_what_lies_in_the_place_of_a_lock_is_put_aside(name, kind, line):
    line.root.mkdir(exist_ok=True)
    path = line.root / name
    {
        "folder": path.mkdir,
        "link": lambda: path.symlink_to("/nowhere/at/all"),
        "content": lambda: path.write_text("x"),
    }[kind]()

    job = line.submit("home", HOME)
    with alive(job):
        assert jobs.place_in_queue(line.root, line.submit("school", SCHOOL)) == 1

    assert line.starts(1) == ["school"]


# What it costs


_LOOKS: list[str] = []
_EVENTS = ("open", "os.scandir", "os.listdir")


@pytest.fixture(scope="module")
def looks():
    """Return a function that says how many files and folders an action looks into."""
    state = {"counts": False}

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if state["counts"] and event in _EVENTS:
            _LOOKS.append(str(arguments[0]))

    sys.addaudithook(note)  # for good, so it counts only when told to

    def count(root: Path, act: Callable[[], object]) -> int:
        _LOOKS.clear()
        state["counts"] = True
        try:
            act()
        finally:
            state["counts"] = False
        return sum(path.startswith(str(root)) for path in _LOOKS)

    return count


def test_jobs_that_ended_cost_nobody_a_look(line, looks):
    token = "anna-anna-anna-anna"
    anna = visitor(line.root, token)
    ended = line.submit("stranger", CAFE, "a-stranger-a-stranger")
    jobs.stop(visitor(line.root, "a-stranger-a-stranger"), ended.status.job_id)

    def work() -> None:
        job_id = line.submit("home", HOME, token).status.job_id
        jobs.stop(anna, job_id)
        job = jobs.resume(anna, line.profile, job_id, address=HOME)
        jobs.place_in_queue(line.root, job)
        jobs.stop(anna, job_id)
        jobs.start_next(line.root)
        jobs.delete(anna, job_id)

    work()
    few = looks(line.root, work)
    for number in range(2000):
        folder = line.root / "visitors" / f"{number // 100:032x}" / "jobs" / f"job-{number}"
        shutil.copytree(ended.folder, folder)

    assert looks(line.root, work) == few > 0
