"""What `import workbench` gives: nine names, loaded when they are asked for, and typed."""

import subprocess
import sys
from pathlib import Path

import pytest

import workbench

HEAVY = ("torch", "transformers", "pandas", "numpy", "pydantic", "gradio", "typer", "rich")


def test_importing_the_package_loads_nothing_heavy():
    program = f"import sys, workbench; print([name for name in {HEAVY} if name in sys.modules])"

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


def test_the_error_is_there_without_the_stack():
    program = (
        "import sys, workbench; print(workbench.WorkbenchError.__name__, "
        f"[name for name in {HEAVY} if name in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "WorkbenchError []"


def test_every_public_name_is_there_and_documented():
    assert len(workbench.__all__) < 10
    for name in workbench.__all__:
        assert getattr(workbench, name).__doc__.strip()
        assert name in dir(workbench)


def test_type_checkers_are_told_of_the_same_names():
    text = Path(workbench.__file__).read_text(encoding="utf-8")
    told = text.split("if TYPE_CHECKING:\n")[1].split("\n\n")[0]
    places = dict.fromkeys(workbench.__all__)
    for line in told.splitlines():
        place, _, names = line.strip().removeprefix("from ").partition(" import ")
        for name in names.split(", "):
            places[name] = place

    assert places == workbench._PLACES
    assert Path(workbench.__file__).with_name("py.typed").is_file()


def test_a_name_that_is_not_there_is_an_attribute_error():
    name = "comparee"

    with pytest.raises(AttributeError, match="module 'workbench' has no attribute 'comparee'"):
        getattr(workbench, name)
