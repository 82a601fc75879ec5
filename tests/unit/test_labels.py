"""Names and notes of runs: beside the run, in no digest, usable where an id is."""

import json

import pytest
from typer.testing import CliRunner

from specs import spec_of
from workbench.cli import app
from workbench.commands.shared.typed import typed_command
from workbench.errors import ConfigError, StoreError
from workbench.estimates import Estimate
from workbench.runs.address import Address
from workbench.runs.finding import find_stored_run
from workbench.runs.labels import (
    NO_LABEL,
    Label,
    as_run_name,
    check_free,
    names_of_seeds,
    read_label,
    write_label,
)
from workbench.runs.run_copy import RunCopy
from workbench.runs.run_files import LABEL, digests_of
from workbench.runs.store import RunRecord, RunStore


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs" / "demo")


@pytest.fixture
def made(store):
    """Return two finished runs."""
    runs = []
    for seed in (0, 1):
        spec = spec_of("lora", seed=seed)
        with store.working_on(spec):
            store.write_predictions(spec.run_id, [])
            figure = {"accuracy": Estimate(0.5, 0.4, 0.6, 4, 0)}
            store.write_record(
                RunRecord(
                    run_id=spec.run_id, row="lora", status="finished", source="s",
                    started=f"2026-01-0{seed + 1}T00:00:00+00:00", metrics=figure,
                )
            )  # fmt: skip
        runs.append(store.find(spec.run_id))
    return runs


def run(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_a_name_changes_neither_digest_nor_what_was_sealed(made, store):
    before = digests_of(made[0].folder)

    write_label(made[0].folder, Label("best so far", "rank 8"))

    again = store.find(made[0].record.run_id)
    assert read_label(again.folder) == Label("best so far", "rank 8")
    assert again == made[0]
    assert again.damaged() == []
    assert digests_of(made[0].folder) == before


def test_a_name_stays_on_its_machine(made):
    one, address = made[0], Address("memory://named-runs")
    write_label(one.folder, Label("best", "a note"))

    RunCopy(address, one.record.run_id, one.folder).upload(lambda: None, ends=True)

    sent = json.loads(address.read(f"{one.record.run_id}/files.json"))["files"]
    assert set(sent) == {"spec.json", "predictions.jsonl"}


def test_a_run_is_found_by_the_name_it_was_given(made, tmp_path):
    write_label(made[1].folder, Label("best so far"))

    assert find_stored_run(" best  so far", tmp_path / "runs") == made[1]
    assert find_stored_run("best", tmp_path / "runs") is None


def test_a_name_is_found_in_any_unicode_form(made, tmp_path):
    decomposed = "cafe\u0301"
    write_label(made[1].folder, Label(decomposed))

    assert read_label(made[1].folder).name == "caf\u00e9"
    assert find_stored_run(decomposed, tmp_path / "runs") == made[1]


def test_a_name_that_two_runs_have_is_refused_with_both_ids(made, tmp_path):
    for one in made:
        write_label(one.folder, Label("twin"))

    with pytest.raises(StoreError) as refused:
        find_stored_run("twin", tmp_path / "runs")
    ids = ", ".join(sorted(one.record.run_id for one in made))
    assert str(refused.value) == (
        f"name 'twin': 2 runs below {tmp_path / 'runs'} have it: {ids}. Give the id of one, or "
        "another name with: workbench name ID NAME"
    )


def test_a_name_is_given_once(made):
    write_label(made[0].folder, Label("taken"))

    check_free("taken", made[0], made)
    with pytest.raises(StoreError, match=r"name 'taken': is the name of run .* already"):
        check_free("taken", made[1], made)
    with pytest.raises(StoreError, match="is the id of run"):
        check_free(made[0].spec.digest, made[1], made)


@pytest.mark.parametrize(
    "name", ["a/b", "../x", "-x", "--remove", "s3://b", "a\tb\x00", "x" * 61, "<b>"]
)
def test_what_could_be_a_folder_an_option_or_markup_is_no_name(made, name):
    with pytest.raises(ConfigError, match="A name begins with a letter or a digit"):
        write_label(made[0].folder, Label(name))
    assert read_label(made[0].folder) == NO_LABEL


def test_a_torn_label_is_none(made):
    write_label(made[0].folder, Label("best"))
    path = made[0].folder / LABEL
    path.write_text(path.read_text()[:-20])

    assert read_label(made[0].folder) == NO_LABEL


def test_the_command_names_shows_and_takes_away(made, tmp_path):
    run_id, runs = made[0].record.run_id, ("--runs", tmp_path / "runs")

    assert run("name", run_id, "first try", "--note", "rank 8", *runs).endswith(
        f"{run_id}: first try (rank 8)\n"
    )
    assert run("name", "first try", "best", *runs) == f"{run_id}: best (rank 8)\n"
    assert run("name", "best", *runs) == f"{run_id}: best (rank 8)\n"
    with pytest.raises(StoreError, match="is the name of run"):
        run("name", made[1].record.run_id, "best", *runs)
    assert run("name", "best", "--remove", *runs) == f"{run_id}: has no name\n"
    assert not (made[0].folder / LABEL).exists()


def test_lists_show_names_and_delete_takes_them(made, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert "name" not in run("runs", tmp_path / "runs").splitlines()[0].split()
    write_label(made[0].folder, Label("best"))

    lines = run("runs", tmp_path / "runs").splitlines()
    assert lines[0].split()[:2] == ["run", "name"]
    assert " best " in lines[1]

    assert (
        run("runs", tmp_path / "runs", "--delete", "best") == f"deleted {made[0].record.run_id}\n"
    )
    assert not made[0].folder.exists()


def test_an_address_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"an address\. A run of a store at an address"):
        run("name", "s3://bucket/run", "best", "--runs", tmp_path)


def test_a_label_of_another_form_is_none(made):
    (made[0].folder / LABEL).write_text(json.dumps({"name": "x", "note": ""}))

    assert read_label(made[0].folder) == NO_LABEL  # it was not sealed


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("my adapter (v2)", "my adapter (v2)"),
        ("../..//etc\x00passwd", "etc passwd"),
        ("<b>--remove</b>", "b --remove b"),
        ("cafe\u0301", "caf\u00e9"),
        ("x" * 300, "x" * 60),
        ("\u202e!?", ""),
        ("", ""),
    ],
)
def test_any_text_has_a_name_near_it(made, text, name):
    assert as_run_name(text) == name
    write_label(made[0].folder, Label(name))  # of the form that is allowed


def test_several_seeds_share_a_name_with_their_numbers():
    assert names_of_seeds(" best ", [3]) == ["best"]
    assert names_of_seeds("best", [0, 7]) == ["best (seed 0)", "best (seed 7)"]
    with pytest.raises(ConfigError, match="up to 60"):
        names_of_seeds("x" * 58, [0, 1])


# The command as it was typed


def test_a_caption_has_the_command_without_places_and_secrets():
    words = ["/usr/bin/workbench", "curve", "my file.yaml", "--visitor", "s3cret", "--sizes", "0,8"]

    assert typed_command(words) == "workbench curve 'my file.yaml' --sizes 0,8"
    assert typed_command([*words, "--store=s3://key:secret@host/x", "--workers", "4"]) == (
        "workbench curve 'my file.yaml' --sizes 0,8"
    )
    assert typed_command(["python -m workbench/__main__.py", "plan"]) == "workbench plan"
    assert typed_command(["/usr/bin/pytest", "-q"]) == ""
