"""A store at an address: what is brought there, what comes back, one message for what cannot."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from specs import spec_of
from stores.conftest import client_of, s3_server, use_server
from stores.made import record
from workbench.errors import BusyRun, LostRun, StoreError
from workbench.runs import lease as lease_module
from workbench.runs import run_copy
from workbench.runs.address import Address, AddressClaims
from workbench.runs.lease import LeaseTimes
from workbench.runs.shared_store import SharedStore, open_store
from workbench.runs.store import RunStore

TIMES = LeaseTimes(expires=3.0, beat=0.3, settle=0.2)
LARGE = bytes(range(256)) * 8192  # 2 MiB: not sent from memory
SPEC = spec_of()
RUN = SPEC.run_id


class Counted(Address):
    """An address that notes what is written to it."""

    written: list[str]

    def write(self, name: str, content: bytes) -> None:
        self.written.append(name)
        super().write(name, content)

    def put(self, file: Path, name: str) -> None:
        self.written.append(name)
        super().put(file, name)


def store_at(address: str, local: Path, *, every: float = 60.0) -> SharedStore:
    """Return a store whose address notes what is written there."""
    store = SharedStore(local, address, lease=TIMES, upload_every=every)
    store.address = Counted(address)
    store.address.written = []
    return store


def make(store: RunStore, status: str = "finished") -> None:
    """Make a run with files of each kind."""
    with store.working_on(SPEC) as folder:
        write_files(store, folder)
        store.write_record(record(RUN, status))
        for checkpoint in folder.glob("checkpoint*"):
            checkpoint.unlink()


def write_files(store: RunStore, folder: Path) -> None:
    (folder / "adapter").mkdir(exist_ok=True)
    (folder / "adapter" / "weights.safetensors").write_bytes(LARGE)
    (folder / "history.jsonl").write_text('{"step": 1}\n')
    (folder / "checkpoint.safetensors").write_bytes(LARGE[::-1])
    store.write_predictions(RUN, [])


def writes_of(store: SharedStore) -> list[str]:
    """Return what was written to a store's address, beats apart."""
    return [name for name in store.address.written if "/claims/" not in name]


def files_of(folder: Path) -> dict[str, bytes]:
    names = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in names
        if not path.name.startswith(".")
    }


@pytest.mark.parametrize("status", ["finished", "trained"])
def test_a_run_that_ended_is_found_on_another_machine(status, address, tmp_path):
    here, there = store_at(address, tmp_path / "a"), store_at(address, tmp_path / "b")
    make(here, status)

    found = there.find(RUN)

    assert (found.folder, found.record.status) == (tmp_path / "b" / RUN, status)
    assert found.damaged() == []
    assert files_of(tmp_path / "b" / RUN) == files_of(tmp_path / "a" / RUN)


def test_a_run_that_nobody_made_is_none_and_a_path_is_not_asked_for(address, tmp_path):
    store = store_at(address, tmp_path)

    assert store.find(RUN) is None
    assert store.find("..") is None
    assert store.find("../x") is None
    assert store.find(".lock") is None
    assert store.runs() == []


def test_nothing_is_brought_twice_and_the_record_comes_last(address, tmp_path):
    store = store_at(address, tmp_path / "a")
    make(store)
    first = writes_of(store)
    with store.working_on(SPEC):
        pass
    store.look(RUN)
    store_at(address, tmp_path / "b").look(RUN)

    contents = [name for name in first if "/files/" in name]
    assert len(set(contents)) == len(contents) == 4  # adapter, history, predictions, spec
    assert first[-2:] == [f"{RUN}/files.json", f"{RUN}/record.json"]
    assert writes_of(store) == first
    assert store.address.names(f"{RUN}/claims") == []


def test_while_a_run_goes_on_what_is_new_is_brought_and_what_is_old_goes(address, tmp_path):
    store = store_at(address, tmp_path, every=0.05)
    with store.working_on(SPEC) as folder:
        for step in range(4):
            content = os.urandom(run_copy._SMALL_BYTES + step)
            scratch = folder / ".next"
            scratch.write_bytes(content)
            scratch.replace(folder / "checkpoint.safetensors")
            digest = run_copy._sha(content)
            wait_until(lambda digest=digest: digest in manifest(store).values())
        wait_until(lambda: len(store.address.names(f"{RUN}/files")) == 2)
        assert store.address.read(f"{RUN}/record.json") is None

    assert set(manifest(store)) == {"checkpoint.safetensors", "spec.json"}


def manifest(store: SharedStore) -> dict[str, str]:
    return json.loads(store.address.read(f"{RUN}/files.json") or b"{}").get("files", {})


def wait_until(holds: Callable[[], bool]) -> None:
    last = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < last
        time.sleep(0.02)


def test_a_run_left_half_done_goes_on_elsewhere(address, tmp_path):
    here, there = store_at(address, tmp_path / "a"), store_at(address, tmp_path / "b")
    with here.working_on(SPEC) as folder:
        write_files(here, folder)
        here.write_record(record(RUN, "interrupted"))
    old = tmp_path / "b" / RUN
    (old / "path").mkdir(parents=True)
    (old / "path" / "0000009.safetensors").write_bytes(b"of an attempt of its own before")

    assert there.find(RUN) is None
    with there.working_on(SPEC) as folder:
        found = files_of(folder)

    expected = files_of(tmp_path / "a" / RUN)
    expected.pop("record.json")
    assert found == expected


def test_who_goes_on_where_he_was_keeps_what_he_has(address, tmp_path):
    store = store_at(address, tmp_path)
    with store.working_on(SPEC) as folder:
        write_files(store, folder)
    later = folder / "checkpoint.safetensors"
    later.write_bytes(b"written while the address was out of reach")

    with store.working_on(SPEC):
        assert later.read_bytes() == b"written while the address was out of reach"


TORN = {
    "a content cut": lambda address, name: address.write(name, b"cut"),
    "a content of the same length": lambda address, name: address.write(
        name, b"x" * (address.size(name) or 0)
    ),
    "a content missing": lambda address, name: address.remove(name),
}


@pytest.mark.parametrize("tear", TORN)
def test_a_torn_content_is_noticed_and_made_again(tear, address, tmp_path):
    here, there = store_at(address, tmp_path / "a"), store_at(address, tmp_path / "b")
    make(here)
    digest = here.find(RUN).files["adapter/weights.safetensors"]
    TORN[tear](here.address, f"{RUN}/files/{digest}")

    there.look(RUN)
    assert not (tmp_path / "b" / RUN / "record.json").exists()
    make(there)

    third = store_at(address, tmp_path / "c")
    assert third.find(RUN).damaged() == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[1]",
        b"\xff",
        b'{"run_id"',
        *(
            json.dumps({**record(RUN).model_dump(mode="json"), "files": files}).encode()
            for files in (
                {"../x": "0" * 64},
                {"/x": "0" * 64},
                {"x": "../0"},
                {".lock": "0" * 64},
                3,
            )
        ),
    ],
)
def test_a_record_that_is_torn_or_leads_elsewhere_is_not_believed(content, tmp_path):
    address = f"memory://{tmp_path.name}/torn"
    make(store_at(address, tmp_path / "a"))
    store = store_at(address, tmp_path / "b")
    store.address.write(f"{RUN}/record.json", content)

    assert store.find(RUN) is None
    make(store)
    assert store_at(address, tmp_path / "c").find(RUN).damaged() == []
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"files": {"../x": "1"}}', b'{"files": 1}'])
def test_a_torn_list_of_files_costs_what_was_half_done(content, tmp_path):
    address = f"memory://{tmp_path.name}/torn"
    here, there = store_at(address, tmp_path / "a"), store_at(address, tmp_path / "b")
    with here.working_on(SPEC) as folder:
        write_files(here, folder)
    here.address.write(f"{RUN}/files.json", content)

    with there.working_on(SPEC) as folder:
        assert set(files_of(folder)) == {"spec.json"}


def test_what_is_lost_here_comes_back_from_there(address, tmp_path):
    store = store_at(address, tmp_path)
    make(store)
    expected = files_of(tmp_path / RUN)
    shutil.rmtree(tmp_path / RUN)
    assert store.find(RUN).damaged() == []
    (tmp_path / RUN / "predictions.jsonl").write_text("torn")
    store = store_at(address, tmp_path)

    assert store.find(RUN).damaged() == []
    assert files_of(tmp_path / RUN) == expected


def test_a_finished_run_takes_the_place_of_a_trained_one_and_never_the_other_way(address, tmp_path):
    a, b, c = (store_at(address, tmp_path / name) for name in "abc")
    make(a, "trained")
    assert b.find(RUN).record.status == "trained"
    make(b, "finished")

    assert c.find(RUN).record.status == "finished"
    assert store_at(address, tmp_path / "a").find(RUN).record.status == "finished"


def test_one_works_on_a_run_and_others_are_told_who(address, tmp_path, monkeypatch):
    a, b = store_at(address, tmp_path / "a"), store_at(address, tmp_path / "b")
    with a.working_on(SPEC):
        with pytest.raises(BusyRun, match=f"process {os.getpid()} on "), b.working_on(SPEC):
            pass
        monkeypatch.setattr(lease_module, "_machine", lambda: "other")
        with pytest.raises(BusyRun, match=f"process {os.getpid()} on "), b.working_on(SPEC):
            pass

    with b.working_on(SPEC):
        pass


def test_who_lost_a_run_brings_nothing_more_there(address, tmp_path):
    a, b = store_at(address, tmp_path / "a"), store_at(address, tmp_path / "b")

    def work() -> None:
        with a.working_on(SPEC) as folder:
            write_files(a, folder)
            a.write_record(record(RUN))
            (name,) = a.address.names(f"{RUN}/claims")
            taken = AddressClaims(a.address, f"{RUN}/claims")
            taken.create("0000002", taken.read(name).replace(b'"token": "', b'"token": "x'))
            taken.remove(name)
            time.sleep(2 * TIMES.beat)

    with pytest.raises(LostRun, match="no longer holds it"):
        work()

    assert a.address.read(f"{RUN}/record.json") is None
    assert b.find(RUN) is None


def test_a_run_that_was_deleted_is_gone_in_both_places(address, tmp_path):
    store = store_at(address, tmp_path / "a")
    make(store)
    store.delete(RUN)

    assert store.find(RUN) is None
    assert store_at(address, tmp_path / "b").find(RUN) is None
    with pytest.raises(StoreError, match="not found"):
        store.delete(RUN)


def test_no_path_and_no_secret_of_this_machine_is_brought_there(address, tmp_path):
    store = store_at(address, tmp_path)
    with store.working_on(SPEC) as folder:
        for name in ("origin.json", "link-key", ".hidden"):
            (folder / name).write_text("secret")
        (folder / "error.log").write_text("a traceback")

    assert set(manifest(store)) == {"spec.json", "error.log"}


@pytest.mark.parametrize("is_pretending", [False, True])
def test_where_two_can_make_one_file_the_last_one_counts(is_pretending, bucket, monkeypatch):
    """A server that does not know conditional writes takes both and says nothing."""
    if is_pretending:
        monkeypatch.setattr(
            Address, "create", lambda self, name, content: self.write(name, content) or True
        )
    claims = AddressClaims(Address(bucket), "claims")
    claims.create("0000001", b"mine")

    began = time.monotonic()
    assert claims.settle("0000001", b"mine", 0.5) is not is_pretending
    assert (time.monotonic() - began >= 0.5) == is_pretending


def said_by(work: Callable[[], object]) -> str:
    with pytest.raises(StoreError) as caught:
        work()
    return str(caught.value)


def test_a_bucket_that_is_not_there_is_one_message_before_any_work(bucket, tmp_path):
    store = store_at(f"{bucket}-other/runs", tmp_path)

    said = said_by(lambda: make(store))

    assert said == (
        f"{bucket}-other/runs: cannot be written. There is no such bucket or folder (The specified "
        "bucket does not exist). Make it first, or correct the address."
    )
    assert not (tmp_path / RUN / "record.json").exists()


def test_wrong_credentials_are_one_message(tmp_path, monkeypatch):
    with s3_server(tmp_path, INITIAL_NO_AUTH_ACTION_COUNT="2") as url:
        client_of(url).create_bucket(Bucket="locked")
        use_server(url, monkeypatch)
        store = store_at("s3://locked/runs", tmp_path / "a")

        reading, writing = said_by(lambda: store.find(RUN)), said_by(lambda: make(store))

    assert reading.startswith("s3://locked/runs: cannot be read. Access is denied (")
    assert writing.startswith("s3://locked/runs: cannot be ")
    assert writing.endswith("Check your credentials and what they allow there.")
    assert "secret" not in reading + writing


def test_a_server_that_is_gone_is_one_message_and_loses_nothing(
    bucket, s3_url, tmp_path, monkeypatch
):
    store = store_at(f"{bucket}/runs", tmp_path / "a", every=0.1)

    def work() -> None:
        with store.working_on(SPEC) as folder:
            use_server("http://127.0.0.1:9", monkeypatch)
            write_files(store, folder)
            store.write_record(record(RUN))

    said = said_by(work)
    assert said.startswith(f"{bucket}/runs: cannot be read. Could not connect to the endpoint")
    assert said.endswith(
        f"What is done so far is in {tmp_path / 'a' / RUN}, and is brought there when the run is "
        "asked for again."
    )
    use_server(s3_url, monkeypatch)
    assert store.find(RUN).record.status == "finished"
    assert store_at(f"{bucket}/runs", tmp_path / "b").find(RUN).damaged() == []


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path):
    (tmp_path / "file").write_text("")
    store = store_at(f"file://{tmp_path}/file/runs", tmp_path / "a")

    assert said_by(lambda: make(store)).startswith(
        f"file://{tmp_path}/file/runs: cannot be written."
    )


def test_a_read_only_folder_is_one_message(tmp_path, monkeypatch):
    system = type(fsspec.filesystem("file"))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(system, "makedirs", refuse)
    store = store_at(f"file://{tmp_path}/there", tmp_path / "a")

    assert said_by(lambda: make(store)) == (
        f"file://{tmp_path}/there: cannot be written. Access is denied ([Errno 13] Permission "
        "denied). Check your credentials and what they allow there."
    )


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("s3://", "s3://: names no bucket or folder. Write it as 's3://bucket/folder'."),
        (
            "what://ever",
            "what://ever: no kind of address that is known (Protocol not known: what). Write it "
            "as 's3://bucket/folder', 'gs://bucket/folder' or 'file:///folder'.",
        ),
        (
            "ftp://me:secret@127.0.0.1:9/x",
            "ftp://127.0.0.1:9/x: cannot be read. [Errno 111] Connection refused. Check the "
            "address and the connection, then ask again.",
        ),
    ],
)
def test_an_address_that_cannot_be_used_is_one_message(place, said, tmp_path):
    assert said_by(lambda: open_store(place, tmp_path).find(RUN)) == said


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    def missing(_: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)

    assert said_by(lambda: open_store("s3://bucket/runs", tmp_path)) == (
        "s3://bucket/runs: this kind of address needs a package that is not installed (Install "
        "s3fs to access S3). Install it beside the workbench: pip install s3fs."
    )


def test_a_place_is_a_folder_or_an_address_and_nothing_is_asked_of_it(tmp_path):
    folder = open_store(tmp_path / "shared", tmp_path / "local", lease=TIMES)
    address = open_store("s3://nowhere/at/all", tmp_path / "local", lease=TIMES)

    assert (type(folder), folder.root, folder.lease) == (RunStore, tmp_path / "shared", TIMES)
    assert (type(address), address.root) == (SharedStore, tmp_path / "local")
    assert str(address.address) == "s3://nowhere/at/all"
    assert os.listdir(tmp_path) == []
