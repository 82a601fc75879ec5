"""Every reader of foreign bytes answers or says one message, on what was once too much and on more.

`make fuzz` looks for an hour and writes docs/fuzz.md; here are the inputs it found, and about a
minute of new ones, the same in every run. FUZZ_RANDOM=1 draws others.
"""

import os
import socket
import time
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import boundary
from fuzz.boundary import Fault, attempt
from fuzz.target import CORPUS, Target, joined, split
from fuzz.targets import TARGETS
from workbench.errors import ConfigError

SECONDS = 1.6  # of a target with a share of one; 24 of them take about a minute
IS_RANDOM = os.environ.get("FUZZ_RANDOM") == "1"
KEPT = [(name, file) for name, target in TARGETS.items() for file in target.kept]


@pytest.fixture(autouse=True)
def _no_network(socket_enabled) -> None:
    """An event loop has a pair of sockets; whoever connects is noticed by `attempt`."""


@pytest.mark.parametrize("name", TARGETS)
def test_the_inputs_to_begin_with_are_taken_or_refused(name, tmp_path):
    for content in TARGETS[name].seeds():
        attempt(TARGETS[name], content, tmp_path / "own")


@pytest.mark.parametrize(("name", "file"), KEPT)
def test_what_was_once_too_much_is_answered_or_refused(name, file, tmp_path):
    attempt(TARGETS[name], TARGETS[name].kept[file], tmp_path / "own")


@pytest.mark.parametrize("name", TARGETS)
def test_new_inputs_are_answered_or_refused(name, tmp_path):
    target = TARGETS[name]
    until = time.monotonic() + SECONDS * target.share

    @settings(
        derandomize=not IS_RANDOM,
        database=None,
        deadline=None,
        max_examples=2000,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**32), st.none() | st.binary(max_size=200))
    def look(seed: int, start: bytes | None) -> None:
        if time.monotonic() < until:
            attempt(target, target.drawn(Random(seed), start), tmp_path / "own")

    look()


def test_every_folder_of_the_corpus_is_a_targets():
    assert {folder.name for folder in CORPUS.iterdir()} <= TARGETS.keys()


def _reader(read) -> Target:
    return Target("test", lambda content, folder: read(folder), lambda: [b""])


def _says(message):
    def read(folder: Path) -> None:
        raise ConfigError(message)

    return read


def test_a_reader_that_keeps_to_its_bounds_passes(tmp_path):
    def read(folder: Path) -> None:
        (folder / "a").write_text("b")
        raise ConfigError("a: is no number. Write one.")

    assert attempt(_reader(read), b"", tmp_path / "own") < 1
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize(
    ("read", "fault"),
    [
        (lambda folder: {}["x"], "KeyError: 'x'"),
        (lambda folder: (folder.parent / "beside").write_text("x"), "outside of its folder: open"),
        (lambda folder: (folder.parent / "beside").mkdir(), "outside of its folder: os.mkdir"),
        (lambda folder: os.system("true"), "outside of its folder: os.system"),
        (lambda folder: socket.getaddrinfo("x.invalid", 80), "outside of its folder: socket"),
        (_says(""), "an empty message"),
        (_says("x" * 30_000), "a message of 30000 characters"),
    ],
)
def test_a_reader_that_does_not_is_noticed(read, fault, tmp_path):
    with pytest.raises(Fault, match=fault):
        attempt(_reader(read), b"", tmp_path / "own")


def test_a_slow_reader_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(boundary, "CPU_SECONDS", 0.01)

    with pytest.raises(Fault, match="took"):
        attempt(_reader(lambda folder: sum(range(3_000_000))), b"", tmp_path / "own")


def test_several_files_come_back_out_of_one_input():
    parts = {"a.json": b'{"x": 1}', "b/c.yaml": b"x: 1\n\n", "d": b""}

    assert split(joined(parts)) == parts
