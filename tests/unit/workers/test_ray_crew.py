"""What a crew on a cluster asks of its machines, and hears from its workers."""

import threading

import pytest

from workbench.errors import ConfigError, StoreError
from workbench.runs.experiment import Experiment, ResourceChoice
from workbench.workers.cluster import check_token_here, connected
from workbench.workers.ray_crew import Share, share_of
from workbench.workers.ray_worker import RayWorker
from workbench.workers.serving_loop import WorkerLoop
from workbench.workers.work import Ready, Unfit, UnfitWorker


def node(cpus=16, gpus=0, *, is_alive=True, **labels):
    return {"Alive": is_alive, "Resources": {"CPU": cpus, "GPU": gpus}, "Labels": labels}


@pytest.mark.parametrize(
    ("machine", "asked", "use_gpus", "share"),
    [
        (node(), None, False, Share(16, 0, 1)),
        (node(16, 4), None, True, Share(4, 1, 4)),
        (node(16, 4), None, False, Share(16, 0, 1)),
        (node(16, 0), None, True, Share(16, 1, 0)),
        (node(2, 4), None, True, Share(1, 1, 2)),
        (node(0), None, False, Share(0, 0, 0)),
        (node(is_alive=False), None, False, Share(0, 0, 0)),
        (node(), {"num_cpus": 5}, False, Share(5, 0, 3)),
        (node(16, 2), {"num_gpus": 0.5}, True, Share(4, 0.5, 4)),
        (node(16, 8), {"num_gpus": 2}, True, Share(4, 2, 4)),
        (node(16, 2), {"num_gpus": 0.3, "num_cpus": 1}, True, Share(1, 0.3, 6)),
        (node(kind="slow"), {"labels": {"kind": "fast"}}, False, Share(0, 0, 0)),
        (node(kind="fast"), {"labels": {"kind": "fast"}}, False, Share(16, 0, 1)),
    ],
)
def test_a_machine_is_shared_by_cards_or_as_is_asked(machine, asked, use_gpus, share):
    found = share_of(machine, asked and ResourceChoice(**asked), use_gpus=use_gpus)

    assert found.count == share.count
    assert found == share or not share.count


@pytest.mark.parametrize("asked", [{"num_cpus": 0}, {"num_gpus": 1.5}, {"num_gpus": 0}, {"cpu": 1}])
def test_shares_that_no_machine_has_are_refused(asked):
    with pytest.raises(ValueError, match="resources"):
        Experiment(resources=asked)


def test_a_node_that_was_started_without_a_token_is_refused(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    check_token_here("one")
    monkeypatch.delenv("RAY_AUTH_MODE")

    with pytest.raises(UnfitWorker) as caught:
        check_token_here("one")

    assert str(caught.value) == (
        "one: its node was started without RAY_AUTH_MODE=token. Stop it, and start it with the "
        "token of the others; see docs/cluster.md."
    )


def test_without_ray_the_package_to_install_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)

    with pytest.raises(ConfigError) as caught, connected("10.0.0.1:6379"):
        pass

    assert str(caught.value) == (
        "--cluster: the package 'ray' is not installed. Install it on all machines: "
        "pip install 'prompt-workbench[cluster]'"
    )


def test_what_a_lost_reply_had_in_it_is_said_again(monkeypatch):
    worker = quiet_worker(monkeypatch)
    first, second = Ready("one", "1"), Unfit("no")

    worker._tell(first)
    assert worker.news(0, 0.0) == [first]
    worker._tell(second)

    assert worker.news(0, 0.0) == [first, second]
    assert worker.news(1, 0.0) == [second]
    assert worker.news(2, 0.0) == []
    worker.end()


def test_an_old_call_that_comes_late_takes_nothing_away(monkeypatch):
    worker = quiet_worker(monkeypatch)
    for word in ("one", "two", "three"):
        worker._tell(Unfit(word))
    assert len(worker.news(2, 0.0)) == 1

    assert worker.news(0, 0.0) == []

    assert worker.news(2, 0.0) == [Unfit("three")]
    worker.end()


def test_messages_are_taken_in_the_order_they_were_sent(monkeypatch):
    worker = quiet_worker(monkeypatch)
    taken = []
    monkeypatch.setattr(worker._loop, "take", taken.append)

    worker.give(1, "stop")
    assert taken == []
    worker.give(0, "give")

    assert taken == ["give", "stop"]
    worker.end()


def test_whatever_ends_the_thread_of_a_worker_reaches_the_driver(monkeypatch):
    def broken(_):
        raise RuntimeError("of ours")

    monkeypatch.setattr(RayWorker, "_make_bench", broken)
    worker = RayWorker("one", "/nowhere", "")

    with pytest.raises(RuntimeError, match="of ours"):
        worker.news(0, 30.0)


def test_a_worker_that_cannot_begin_says_why(monkeypatch):
    def refused():
        raise StoreError("cannot be written")

    told = []
    WorkerLoop(refused, told.append).run()

    assert told == [Unfit("cannot be written")]


def quiet_worker(monkeypatch):
    """Return a worker whose bench is never used."""
    made = threading.Event()
    monkeypatch.setattr(RayWorker, "_make_bench", lambda _: made.set())
    worker = RayWorker("one", "/nowhere", "")
    assert made.wait(10)
    return worker
