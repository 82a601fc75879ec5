"""The map equals the territory: documents name what exists, and packages carry what they need."""

import re
import tomllib
from pathlib import Path

import pytest

from workbench.commands import compare

ROOT = Path(compare.__file__).parents[2]
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_a_document_names_exists(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    named = re.findall(
        r"`((?:workbench|tests|prompts|experiments|docs|benchmarks)/[\w./-]+)`", text
    )

    missing = [path for path in named if not (ROOT / path).exists() and "<" not in path]

    assert missing == []


def test_the_version_stands_in_one_form():
    import workbench

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == workbench.__version__


def test_every_dependency_has_a_tested_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[<>=\[]", name)[0] for name in project["dependencies"]}
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }

    assert {name.lower() for name in wanted} - pinned == set()
