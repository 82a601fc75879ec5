"""Runs of older versions: read and listed, and found again where the rules are the same."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from workbench.analysis.notes import Fact
from workbench.analysis.run_diff import run_summary
from workbench.cli import main
from workbench.runs.spec import RunSpec
from workbench.runs.store import RunStore, StoredRun

RECORDS = Path(__file__).parents[1] / "records"
CURRENT = RunSpec.model_fields["schema_version"].default


def only_run(version: int) -> StoredRun:
    (run,) = RunStore(RECORDS / f"spec_version_{version}").runs()
    return run


def test_every_version_has_a_record():
    kept = {folder.name for folder in RECORDS.iterdir() if folder.is_dir()}

    assert kept == {f"spec_version_{version}" for version in range(1, CURRENT + 1)}


@pytest.mark.parametrize("version", range(1, CURRENT + 1))
def test_a_record_is_read_with_everything_it_says(version):
    run = only_run(version)

    assert run.spec.schema_version == version
    assert run.spec.run_id == run.record.run_id == run.folder.name
    assert run.spec.is_older_version == (version < CURRENT)
    assert len(run.predictions()) == run.spec.task.num_test
    assert run.history()
    content = json.loads((run.folder / "record.json").read_text())
    stored = {name: part for name, part in content.items() if name not in ("digest", "files")}
    assert (version < 4) or content["files"] == run.files
    later = {"provenance", "warnings", "cautions"} - stored.keys()
    assert run.record.model_dump(mode="json", exclude=later) == stored
    assert (run.record.provenance is None) == ("provenance" in later)
    assert run.spec.model_dump(mode="json") == json.loads((run.folder / "spec.json").read_text())


def test_lists_say_which_runs_are_made_anew(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr(sys, "argv", ["workbench", "runs", str(RECORDS)])
    note = "(older version, made anew when asked for)"

    with pytest.raises(SystemExit):
        main()

    lines = capsys.readouterr().out.splitlines()
    for version in range(1, CURRENT + 1):
        run = only_run(version)
        status = f"finished {note}" if version < CURRENT else "finished"
        (line,) = (line for line in lines if line.startswith(run.record.run_id))
        assert (note in line) == (version < CURRENT)
        assert run_summary(run)[0] == Fact("status", status)


def test_a_spec_of_today_finds_the_run_of_its_own_version_only(tmp_path):
    """Both were asked for alike; what differs is the rules, and the identity of the weights."""
    for version in range(1, CURRENT + 1):
        shutil.copytree(RECORDS / f"spec_version_{version}", tmp_path, dirs_exist_ok=True)
    store = RunStore(tmp_path)
    older, newest = only_run(1), only_run(CURRENT)

    def asked_again(run: StoredRun) -> RunSpec:
        spec = run.spec
        return RunSpec(
            base=spec.base,
            task=spec.task,
            template=spec.template,
            method=spec.method,
            options=spec.options,
            seed=spec.seed,
        )

    assert len(store.runs()) == CURRENT
    assert store.find(asked_again(newest).run_id).record == newest.record
    assert store.find(asked_again(older).run_id) is None
