"""The map equals the territory: documents name what exists, and packages carry what they need."""

import re
import tomllib
from pathlib import Path

import pytest

import workbench

ROOT = Path(workbench.__file__).parents[1]
DOCUMENTS = (
    *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"),
    *(
        f"docs/{path.name}"
        for path in sorted((ROOT / "docs").glob("*.md"))
        if path.name != "LOG.md"
    ),
)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_a_document_names_exists(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    named = re.findall(
        r"`((?:workbench|tests|prompts|experiments|docs|benchmarks)/[\w./-]+)`", text
    )

    missing = [path for path in named if not (ROOT / path).exists() and "<" not in path]

    assert missing == []


def test_the_version_stands_in_one_form():
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


def test_every_extra_that_is_recommended_exists():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = re.compile(rf"""[\s'"`](?:\.|{project["name"]})\[([\w,-]+)\]""")
    kinds = ("*.py", "*.md", "*.yaml", "*.jinja", "Makefile")
    folders = ("workbench", "tests", "docs", "benchmarks", "experiments")
    files = [path for kind in kinds for folder in folders for path in (ROOT / folder).rglob(kind)]
    named = {
        (str(path.relative_to(ROOT)), name)
        for path in (*files, *(path for kind in kinds for path in ROOT.glob(kind)))
        for names in extra.findall(path.read_text(encoding="utf-8"))
        for name in names.split(",")
    }

    assert ("Makefile", "dev") in named
    assert {
        (path, name) for path, name in named if name not in project["optional-dependencies"]
    } == set()
