"""CITATION.cff is what the Citation File Format allows, and says what the project says."""

import subprocess
import sys
import tomllib

import pytest
import yaml

from readme import ROOT

CITATION = ROOT / "CITATION.cff"


def check(path):
    """Check a file against the schema of version 1.2.0 that check-jsonschema brings along."""
    schema = ("--builtin-schema", "vendor.citation-file-format", "--default-filetype", "yaml")
    command = [sys.executable, "-m", "check_jsonschema", *schema, str(path)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_the_citation_is_valid():
    done = check(CITATION)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [("license: Apache-2.0", "license: Apache"), ("  - name:", "  - called:"), ("title:", "name:")],
)
def test_a_citation_that_is_none_is_noticed(old, new, tmp_path):
    text = CITATION.read_text(encoding="utf-8")
    wrong = tmp_path / "CITATION.cff"
    wrong.write_text(text.replace(old, new), encoding="utf-8")

    assert old in text
    assert check(wrong).returncode == 1


def test_it_says_what_the_project_says():
    cited = yaml.safe_load(CITATION.read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert cited["version"] == project["version"]
    assert cited["license"] == project["license"]
