"""Workspaces: names cannot leave a folder, and no visitor sees what another one has."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visitors import ANNA, BEN, keep_rows, local_workspace, store_run, visitor, write_rows
from workbench.errors import ConfigError, StoreError, WorkbenchError
from workbench.runs.experiment import Experiment, TaskChoice, store_experiment
from workbench.runs.store import RunStore
from workbench.service import jobs
from workbench.service.profile import Profile
from workbench.service.uploads import task_choice, task_choices
from workbench.service.ways import imported_folders, ways_of
from workbench.service.wordings import keep_wording, template_name, wording_choices
from workbench.service.workspace import (
    checked_name,
    new_token,
    open_workspace,
    shared_run,
    workspace_of,
)

WORDING = "version: 1\ninput: 'Q: {text}'\n"

BAD_NAMES = {
    "empty": "",
    "parent": "..",
    "here": ".",
    "way up": "../record",
    "way up inside": "a/../../b",
    "dots inside": "a..b",
    "slash": "a/b",
    "backslash": "a\\b",
    "absolute": "/etc/passwd",
    "home": "~root",
    "drive": "C:run",
    "zero byte": "run\0",
    "line break at the end": "run\n",
    "percent escape": "%2e%2e%2fetc",
    "double percent escape": "%252e%252e",
    "full-width dots": "\uff0e\uff0e",
    "one dot leader": "\u2024\u2024",
    "full-width slash": "a\uff0fb",
    "digits of another script": "\u0661\u0662\u0663",
    "direction override": "run\u202e",
    "hidden": ".lock",
    "option": "-rf",
    "very long": "a" * 161,
    "huge": "a" * 1_000_000,
    "nothing": None,
    "number": 7,
    "list": ["run"],
    "mapping": {"run": 1},
    "path": Path("run"),
    "bytes": b"run",
}

pieces = st.sampled_from(
    ["..", "/", "\\", "\0", "%2e", "\uff0e", "\u2024", "a", "run", ".", "-", "_", " ", "\n", "~"]
)
names = st.one_of(st.text(max_size=200), st.lists(pieces, max_size=12).map("".join))


@pytest.mark.parametrize("case", BAD_NAMES)
def test_what_is_no_name_is_refused(case):
    with pytest.raises(StoreError, match="not a name of a run"):
        checked_name(BAD_NAMES[case], "run")


@pytest.mark.parametrize(
    "name", ["v2", "a", "toy_lora_s0_3f9a1c", "20260101-120000-a-b.c", "a" * 160]
)
def test_a_plain_name_is_returned_as_it_is(name):
    assert checked_name(name, "run") == name


@given(names)
def test_a_name_that_passes_is_one_part_of_a_path_below_the_folder(name):
    try:
        passed = checked_name(name, "run")
    except StoreError:
        return

    folder = Path("/srv/runs")
    assert passed == name
    assert (folder / passed).parent == folder
    assert Path(unquote(passed)).parts == (name,)
    assert passed.isascii()
    assert passed.isprintable()


def test_a_refused_name_is_shown_escaped_and_short():
    with pytest.raises(StoreError) as caught:
        checked_name("\x1b[31m" + "x" * 500, "job")

    assert str(caught.value) == (
        "job '\\x1b[31m" + "x" * 55 + "': not a name of a job. Names have letters, digits, '_', "
        "'-' and '.'; choose one from the list."
    )


BAD_TOKENS = [None, "", "short", "a" * 15, "a" * 65, "a" * 20 + "/", "../" * 8, "ä" * 20, 7, ["a"]]


@pytest.mark.parametrize("token", BAD_TOKENS)
def test_a_public_page_wants_a_token_of_its_form(token, tmp_path):
    with pytest.raises(StoreError, match="needs the token it gave your browser"):
        open_workspace(tmp_path, token, is_public=True)


def test_a_new_token_opens_a_workspace_and_no_two_are_equal(tmp_path):
    first, second = new_token(), new_token()

    assert visitor(tmp_path, first).folder != visitor(tmp_path, second).folder


def test_a_token_is_not_written_into_the_name_of_its_folder(tmp_path):
    assert ANNA not in str(visitor(tmp_path, ANNA).folder)


@pytest.mark.parametrize("token", BAD_TOKENS)
def test_a_local_page_needs_no_token(token, tmp_path):
    assert open_workspace(tmp_path, token, is_public=False) == local_workspace(tmp_path)


# Two visitors


@pytest.fixture
def shared_root(tmp_path) -> Path:
    """Return the root of a public page where Anna has one of everything."""
    root = tmp_path / "root"
    anna = visitor(root, ANNA)
    run_id = store_run(anna.folder)
    key = keep_rows(anna, tmp_path)
    experiment = Experiment(task=TaskChoice(name="sst2"))
    jobs.submit(anna, Profile("tests", is_public=True), experiment, kind="train", title="a job")
    task = _task(anna, key)
    keep_wording(anna, WORDING, task)
    imported = anna.imports / "0123456789ab"
    imported.mkdir(parents=True)
    (imported / "adapter_config.json").write_text("{}")
    assert anna.run(run_id)
    return root


def _task(workspace, key):
    from workbench.runs.session import open_task

    return open_task(task_choice(workspace, key))


def _names(workspace):
    """Return what a visitor is offered: runs, jobs, tasks, wordings, adapters."""
    return {
        "run": [run.record.run_id for run in workspace.runs()],
        "job": [job.status.job_id for job in jobs.list_jobs(workspace)],
        "upload": [key for _, key in task_choices(workspace, [])],
        "wording": [path.stem for path in workspace.wordings.glob("*.yaml")],
        "adapter": imported_folders(workspace),
    }


OPENERS = {
    "run": lambda workspace, name: workspace.run(name),
    "run to answer with": lambda workspace, name: ways_of(workspace, [f"run:{name}"], most=9),
    "run to delete": lambda workspace, name: workspace.delete_run(name),
    "job": jobs.read_job,
    "job to stop": jobs.stop,
    "job to resume": lambda workspace, name: jobs.resume(workspace, Profile("tests"), name),
    "job to delete": jobs.delete,
    "upload": task_choice,
    "wording": lambda workspace, name: template_name(workspace, f"edited:{name}"),
    "adapter": lambda workspace, name: ways_of(workspace, [f"import:{name}"], most=9),
}


def test_everything_of_the_owner_is_found_by_the_owner(shared_root):
    assert {kind: len(found) for kind, found in _names(visitor(shared_root, ANNA)).items()} == {
        "run": 1, "job": 1, "upload": 1, "wording": 1, "adapter": 1,
    }  # fmt: skip


def test_another_visitor_is_offered_nothing_of_it(shared_root):
    ben = visitor(shared_root, BEN)

    assert not any(_names(ben).values())
    assert [
        key for key, _ in wording_choices(ben, _task(visitor(shared_root, ANNA), _key(shared_root)))
    ] == ["plain"]


def _key(root):
    return _names(visitor(root, ANNA))["upload"][0]


@pytest.mark.parametrize("case", OPENERS)
def test_another_visitor_cannot_open_it_by_name(case, shared_root):
    (name,) = _names(visitor(shared_root, ANNA))[case.split()[0]]

    with pytest.raises(StoreError, match="not found among your"):
        OPENERS[case](visitor(shared_root, BEN), name)


@pytest.mark.parametrize("case", OPENERS)
def test_a_way_out_of_the_folder_is_refused(case, shared_root):
    anna = visitor(shared_root, ANNA).folder

    with pytest.raises(WorkbenchError, match=r"not a name|not found|no way"):
        OPENERS[case](visitor(shared_root, BEN), f"../{anna.name}/{case}")


# Local and public


def test_locally_the_runs_of_the_batch_command_are_found_too(tmp_path):
    store_experiment(tmp_path / "quick", Experiment())
    run_id = store_run(tmp_path / "quick")

    assert [run.record.run_id for run in local_workspace(tmp_path).runs()] == [run_id]


def test_locally_the_runs_on_several_bases_are_found_beside_their_reports(tmp_path):
    store_experiment(tmp_path / "bases" / "1-small", Experiment())
    run_id = store_run(tmp_path / "bases")
    workspace = local_workspace(tmp_path)

    assert [run.record.run_id for run in workspace.runs()] == [run_id]
    assert workspace.run(run_id).folder.parent == tmp_path / "bases"


@pytest.mark.parametrize("status", ["finished", "interrupted"])
def test_every_run_that_is_listed_can_be_opened(status, tmp_path):
    store_experiment(tmp_path / "quick", Experiment())
    store_run(tmp_path / "quick", status=status)
    workspace = local_workspace(tmp_path)

    assert [workspace.run(run.record.run_id) for run in workspace.runs()] == workspace.runs()


def test_a_public_page_does_not_show_the_runs_of_the_batch_command(tmp_path):
    store_experiment(tmp_path / "quick", Experiment())
    run_id = store_run(tmp_path / "quick")
    anna = visitor(tmp_path, ANNA)

    assert anna.runs() == []
    with pytest.raises(StoreError, match="not found among your runs"):
        anna.run(run_id)


def test_a_folder_without_an_experiment_is_not_looked_into(tmp_path):
    store_run(tmp_path / "other")

    assert local_workspace(tmp_path).runs() == []


def test_runs_come_oldest_first_and_an_unreadable_one_is_named(tmp_path):
    workspace = local_workspace(tmp_path)
    ids = [store_run(workspace.folder, seed=seed) for seed in (2, 0, 1)]
    (workspace.folder / ids[0] / "record.json").write_text('{"torn')

    assert [run.record.run_id for run in workspace.runs()] == [ids[1], ids[2]]
    assert [run.run_id for run in workspace.broken_runs()] == [ids[0]]
    workspace.delete_run(ids[0])
    assert workspace.broken_runs() == []


def test_a_deleted_run_is_gone(tmp_path):
    workspace = local_workspace(tmp_path)
    run_id = store_run(workspace.folder)

    workspace.delete_run(run_id)

    assert workspace.runs() == []


def test_a_run_in_progress_is_not_deleted(tmp_path):
    workspace = local_workspace(tmp_path)
    run_id = store_run(workspace.folder, status="running")
    spec = workspace.run(run_id).spec

    with (
        RunStore(workspace.folder).working_on(spec),
        pytest.raises(StoreError, match="is being made right now"),
    ):
        workspace.delete_run(run_id)

    assert [run.record.run_id for run in workspace.runs()] == [run_id]


@pytest.mark.parametrize("root", ["runs", "visitors", "workspace"])
@pytest.mark.parametrize("is_public", [True, False])
def test_the_workspace_of_a_job_is_found_from_its_folder(root, is_public, tmp_path):
    workspace = open_workspace(tmp_path / root, ANNA, is_public=is_public)

    assert workspace_of(workspace.jobs / "some-job") == workspace


# Links that lead out


def test_a_link_to_another_visitors_run_is_not_followed(tmp_path):
    run_id = store_run(visitor(tmp_path, ANNA).folder)
    ben = visitor(tmp_path, BEN)
    ben.folder.mkdir(parents=True)
    (ben.folder / run_id).symlink_to(visitor(tmp_path, ANNA).folder / run_id)

    assert ben.runs() == []
    with pytest.raises(StoreError, match="not found among your runs"):
        ben.run(run_id)


def test_a_link_is_not_followed_to_delete_what_it_leads_to(tmp_path):
    run_id = store_run(visitor(tmp_path, ANNA).folder)
    ben = visitor(tmp_path, BEN)
    ben.folder.mkdir(parents=True)
    (ben.folder / run_id).symlink_to(visitor(tmp_path, ANNA).folder / run_id)

    with pytest.raises(StoreError):
        ben.delete_run(run_id)

    assert visitor(tmp_path, ANNA).run(run_id)


def test_a_link_to_a_run_is_not_shared(tmp_path):
    run_id = store_run(tmp_path / "elsewhere")
    ben = visitor(tmp_path, BEN)
    ben.folder.mkdir(parents=True)
    (ben.folder / run_id).symlink_to(tmp_path / "elsewhere" / run_id)

    with pytest.raises(StoreError, match="not found among your runs"):
        ben.share(run_id)


def test_a_shared_run_that_became_a_link_is_not_shown(tmp_path):
    run_id = store_run(visitor(tmp_path, ANNA).folder)
    key = visitor(tmp_path, ANNA).share(run_id)
    folder = visitor(tmp_path, ANNA).folder / run_id
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StoreError, match="opens no run"):
        shared_run(tmp_path, run_id, key)


def test_a_root_that_is_a_link_itself_works(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    run_id = store_run(visitor(tmp_path / "disk", ANNA).folder)

    assert visitor(tmp_path / "runs", ANNA).run(run_id).record.run_id == run_id


def test_locally_a_run_on_another_disk_is_found(tmp_path):
    run_id = store_run(tmp_path / "disk")
    workspace = local_workspace(tmp_path / "runs")
    workspace.folder.mkdir(parents=True)
    (workspace.folder / run_id).symlink_to(tmp_path / "disk" / run_id)

    assert workspace.run(run_id).record.run_id == run_id


# Shared runs


def test_the_right_key_opens_a_run_of_whomever(tmp_path):
    run_id = store_run(visitor(tmp_path, ANNA).folder)

    assert shared_run(tmp_path, run_id, visitor(tmp_path, ANNA).share(run_id)).folder == (
        visitor(tmp_path, ANNA).folder / run_id
    )


WRONG_KEYS = {
    "none": lambda key: None,
    "empty": lambda key: "",
    "cut": lambda key: key[:-1],
    "longer": lambda key: f"{key}0",
    "upper case": lambda key: key.upper(),
    "another": lambda key: "0" * 32,
    "of a former version": lambda key: "0" * 24,
    "not ASCII": lambda key: "é" * 32,
    "a way out": lambda key: f"../{key[3:]}",
    "a list": lambda key: [key],
    "bytes": lambda key: key.encode(),
}


@pytest.mark.parametrize("case", WRONG_KEYS)
def test_a_wrong_key_opens_nothing(case, tmp_path):
    run_id = store_run(visitor(tmp_path, ANNA).folder)
    key = visitor(tmp_path, ANNA).share(run_id)

    with pytest.raises(StoreError) as caught:
        shared_run(tmp_path, run_id, WRONG_KEYS[case](key))

    assert str(caught.value) == (
        "link: opens no run. It was taken back, its run was deleted, or part of it is missing. Ask "
        "whoever sent it for a new one."
    )


@pytest.mark.parametrize("named", ["another run", "missing_run", "../x", None, ["run"]])
def test_a_key_opens_its_run_under_its_own_name_alone(named, tmp_path):
    first, second = (store_run(visitor(tmp_path, ANNA).folder, seed=seed) for seed in (0, 1))
    key = visitor(tmp_path, ANNA).share(first)

    with pytest.raises(StoreError, match="opens no run"):
        shared_run(tmp_path, second if named == "another run" else named, key)


def test_a_key_survives_a_restart_and_differs_between_copies_of_a_run(tmp_path):
    run_id = store_run(visitor(tmp_path, ANNA).folder)
    store_run(visitor(tmp_path, BEN).folder)
    first = visitor(tmp_path, ANNA).share(run_id)

    assert visitor(tmp_path, ANNA).share(run_id) == first
    assert visitor(tmp_path, BEN).share(run_id) != first


def test_the_first_keys_asked_for_at_once_are_one(tmp_path):
    run_id = store_run(visitor(tmp_path, ANNA).folder)
    barrier = threading.Barrier(8)

    def ask(_: int) -> str:
        barrier.wait(timeout=30)
        return visitor(tmp_path, ANNA).share(run_id)

    with ThreadPoolExecutor(8) as threads:
        keys = set(threads.map(ask, range(8)))

    assert keys == {visitor(tmp_path, ANNA).share(run_id)}


def test_what_a_deleted_run_leaves_of_its_link_is_nothing(tmp_path):
    run_id = store_run(visitor(tmp_path, ANNA).folder)
    visitor(tmp_path, ANNA).share(run_id)

    visitor(tmp_path, ANNA).delete_run(run_id)

    assert [path.name for path in (tmp_path / "links").iterdir()] == [".lock"]


def test_sharing_is_stopped_once(tmp_path):
    run_id = store_run(visitor(tmp_path, ANNA).folder)
    visitor(tmp_path, ANNA).share(run_id)

    assert visitor(tmp_path, ANNA).stop_sharing(run_id)
    assert not visitor(tmp_path, ANNA).stop_sharing(run_id)


def test_stored_bytes_are_the_blocks_of_the_files_below_the_folder(tmp_path):
    workspace = local_workspace(tmp_path)
    (workspace.uploads / "a").mkdir(parents=True)
    (workspace.uploads / "a" / "rows.csv").write_bytes(b"x" * 1000)
    (workspace.folder / "note").write_bytes(b"x" * 5000)

    assert workspace.stored_bytes() == 3 * 4096


@pytest.mark.parametrize("what", ["upload", "job", "import"])
def test_a_visitor_over_the_cap_keeps_nothing_more(what, tmp_path, lora_export):
    from types import SimpleNamespace

    from workbench.service import jobs
    from workbench.service.profile import CPU_SPACE, Caps
    from workbench.service.uploads import ColumnChoice, keep_upload
    from workbench.ui import runs

    anna = visitor(tmp_path, ANNA)
    store_run(anna.folder)
    rows = write_rows(tmp_path / "rows.csv")
    caps = Caps(stored_bytes=10)
    profile = dataclasses.replace(CPU_SPACE, caps=caps)
    context = SimpleNamespace(workspace=lambda token: anna, profile=profile)
    tries = {
        "upload": lambda: keep_upload(anna, caps, rows, "x", ColumnChoice("message", "intent")),
        "job": lambda: jobs.submit(
            anna, profile, Experiment(model=profile.models[0]), kind="train", title="x"
        ),
        "import": lambda: runs.on_import.__wrapped__(context, ANNA, str(rows)),
    }

    with pytest.raises(ConfigError, match="your runs and files take more than 0 MB"):
        tries[what]()
