"""A short torture; `make torture` is the long one and writes docs/torture.md."""

from pathlib import Path

import pytest

from torture.harness import experiment_file
from torture.kills import kill_comparisons, kill_jobs
from torture.tears import tear_finished, tear_unfinished


@pytest.fixture(autouse=True)
def _no_network(socket_enabled) -> None:
    """Sockets of the file system: the fork server listens on one."""


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> Path:
    """Return an experiment on the tiny base."""
    return experiment_file(tmp_path_factory.mktemp("torture"))


def test_killed_comparisons_end_equal_to_an_unbroken_one(experiment, tmp_path):
    tally = kill_comparisons(experiment, tmp_path / "kills", kills=8, seed=1)
    assert tally.faults == []
    assert tally.lost == 0
    assert tally.equal == tally.ended > 0


def test_killed_jobs_end_equal_to_an_unbroken_one(experiment, tmp_path):
    tally = kill_jobs(experiment, tmp_path / "jobs", kills=5, seed=1)
    assert tally.faults == []
    assert tally.lost == 0
    assert tally.equal == tally.ended > 0


def test_torn_files_of_a_finished_comparison_are_made_again(experiment, tmp_path):
    tally = tear_finished(experiment, tmp_path / "finished", share=0.04, seed=1)
    assert tally.faults == []
    assert tally.equal == tally.num_tried > 0


def test_torn_files_of_an_unfinished_comparison_do_not_stop_it(experiment, tmp_path):
    tally = tear_unfinished(experiment, tmp_path / "unfinished", stops=1, share=0.06, seed=1)
    assert tally.faults == []
    assert tally.equal == tally.num_tried > 0
