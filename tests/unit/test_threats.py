"""Every threat in the table has a test, and the test is there."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "threats.md"
_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def rows() -> list[list[str]]:
    """Return the cells of the table's rows, heads apart."""
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return [cells for cells in found if cells[0] != "threat" and set(cells[0]) != {"-"}]


@cache
def names_in(file: str) -> frozenset[str]:
    """Return the names of a file's tests."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def test_every_row_names_its_threat_its_control_and_a_test():
    assert len(rows()) > 10
    assert [cells for cells in rows() if len(cells) != 3 or not _TEST.search(cells[2])] == []


def test_every_test_of_the_table_is_there():
    named = [match.groups() for cells in rows() for match in _TEST.finditer(cells[2])]
    missing = [(file, name) for file, name in named if not (ROOT / file).is_file()]
    assert missing == []
    assert [(f, name) for f, name in named if name and name not in names_in(f)] == []
