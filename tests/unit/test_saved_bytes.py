"""What methods save is the same bytes in every process: Python orders sets differently in each."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.fitting.base import SupportsSave
from workbench.methods.catalog import METHODS, method_class

TESTS = Path(__file__).parents[1]
SAVED = [name for name in METHODS if issubclass(method_class(name), SupportsSave)]


@pytest.fixture(scope="module")
def saved(tiny_folder, tmp_path_factory) -> tuple[Path, Path]:
    """Return what two processes of different hash seeds saved."""
    folders = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    python = os.pathsep.join(map(str, (TESTS, TESTS.parent)))
    processes = [
        subprocess.Popen(
            [sys.executable, str(TESTS / "saving.py"), str(tiny_folder), str(folder)],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": python},
        )
        for folder, seed in zip(folders, ("1", "2"), strict=True)
    ]
    assert [process.wait(300) for process in processes] == [0, 0]
    return folders


@pytest.mark.parametrize("method", SAVED)
def test_two_processes_save_the_same_bytes(method, saved):
    first, second = (
        {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in (folder / method / "adapter").rglob("*")
            if path.is_file()
        }
        for folder in saved
    )

    assert first == second
    assert len(first) >= 2
