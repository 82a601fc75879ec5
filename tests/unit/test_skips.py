"""What is left out is written down: tests/SKIPS.md and the code say the same."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS / "SKIPS.md"
SKIPPING = {"skip", "skipif", "xfail", "importorskip", "exit"}


def left_out() -> set[str]:
    """Return the markers whose tests the default run leaves out."""
    options = tomllib.loads((TESTS.parent / "pyproject.toml").read_text())["tool"]["pytest"]
    return set(re.findall(r"not (\w+)", options["ini_options"]["addopts"]))


def skips(tree: ast.AST, markers: set[str], function: str = "") -> Iterator[tuple[str, str]]:
    """Yield (function, what) of each `pytest.skip` and its kin, and of each mark that leaves out.

    A mark counts where it stands: on a function, or for the whole file (no function).
    """
    for node in ast.iter_child_nodes(tree):
        inside = function
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            inside = node.name
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            if (owner == "pytest" and node.attr in SKIPPING) or (
                owner == "pytest.mark" and node.attr in SKIPPING | markers
            ):
                yield function, node.attr
        yield from skips(node, markers, inside)


def in_the_code(folder: Path, markers: set[str]) -> set[tuple[str, str]]:
    """Return (place, what) of everything below a folder that may leave a test out."""
    return {
        ("::".join(filter(None, (f"tests/{path.relative_to(folder).as_posix()}", function))), what)
        for path in folder.rglob("*.py")
        for function, what in skips(ast.parse(path.read_text(encoding="utf-8")), markers)
    }


def on_the_page(text: str) -> list[tuple[str, str]]:
    """Return (place, what) of each line of the table."""
    return re.findall(r"^\| `(tests/[^`]+)` \| `(\w+)` \|", text, re.MULTILINE)


def test_the_page_and_the_code_say_the_same():
    written = on_the_page(PAGE.read_text(encoding="utf-8"))

    assert set(written) == in_the_code(TESTS, left_out())
    assert len(set(written)) == len(written)


def test_every_line_says_why_and_what_lifts_it():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]

    assert rows
    for row in rows:
        assert all(len(cell.strip()) > 5 for cell in row.strip("|").split(" | ")[2:]), row


def test_the_page_names_the_markers_that_are_left_out():
    text = PAGE.read_text(encoding="utf-8")

    assert {marker for marker in left_out() if f"`{marker}`" not in text} == set()


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("def test_x():\n    pytest.skip('why')", ("tests/test_new.py::test_x", "skip")),
        (
            "@pytest.mark.skipif(True, reason='why')\ndef test_x(): ...",
            ("tests/test_new.py::test_x", "skipif"),
        ),
        ("@pytest.mark.xfail\nclass TestX: ...", ("tests/test_new.py::TestX", "xfail")),
        (
            "ROWS = [pytest.param(1, marks=pytest.mark.skip)]",
            ("tests/test_new.py", "skip"),
        ),
        ("pytestmark = [pytest.mark.gpu]", ("tests/test_new.py", "gpu")),
        ("lib = pytest.importorskip('lib')", ("tests/test_new.py", "importorskip")),
    ],
)
def test_a_new_skip_would_be_noticed(tmp_path, code, what):
    (tmp_path / "test_new.py").write_text(f"import pytest\n{code}\n")

    assert in_the_code(tmp_path, {"gpu"}) == {what}


def test_pytest_is_spelled_out():
    """The comparison reads `pytest.skip`; another spelling would pass it by."""
    for path in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "pytest":
                assert {name.name for name in node.names} & {*SKIPPING, "mark"} == set(), path
            if isinstance(node, ast.Import):
                assert all(n.asname is None for n in node.names if n.name == "pytest"), path
