"""A process that starts quickly: fewer looks for garbage, and none at the end."""

import subprocess
import sys

import pytest

PROGRAM = """
import atexit, gc
atexit.register(lambda: print("frozen", gc.get_freeze_count() >= 200_000))
{start}
looks = []
gc.callbacks.append(lambda phase, info: looks.append(phase) if phase == "start" else None)
kept = [[] for _ in range(200_000)]
print("looks", len(looks))
"""


def said(start: str) -> dict[str, str]:
    program = [sys.executable, "-c", PROGRAM.format(start=start)]
    lines = subprocess.run(program, capture_output=True, text=True, check=True).stdout.splitlines()
    return dict(line.split() for line in lines)


@pytest.fixture(scope="module")
def quick() -> dict[str, str]:
    """Return what a process says that collects rarely."""
    return said("from workbench.startup import collect_rarely; collect_rarely()")


def test_there_are_a_fifth_of_the_looks_while_objects_come_in(quick):
    assert 0 < 5 * int(quick["looks"]) < int(said("")["looks"])


def test_what_is_there_is_not_looked_at_when_the_process_ends(quick):
    assert quick["frozen"] == "True"
