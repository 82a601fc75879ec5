"""Adapters leave the workbench whole: as an archive, or to their owner's account."""

import json
import logging
import zipfile
from pathlib import Path

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from visitors import local_workspace, store_run
from workbench.errors import ConfigError, StoreError
from workbench.runs.store import StoredRun
from workbench.service.publishing import adapter_archive, push_adapter

TOKEN = "hf_secretsecretsecretsecret"
CONTENT = {
    "adapter_config.json": b'{"r": 4}',
    "adapter_model.safetensors": bytes(range(256)),
    "README.md": b"# Card\n",
}


class FakeHub:
    """Takes what is uploaded, or refuses like the Hub."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.refusal, self.repositories, self.files, self.messages = refusal, {}, {}, []

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        if self.refusal is not None:
            raise self.refusal
        assert exist_ok
        self.repositories[repo_id] = private

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        self.messages.append(commit_message)
        for path in folder_path.rglob("*"):
            self.files[repo_id, path.name] = path.read_bytes()


def with_adapter(root: Path) -> StoredRun:
    workspace = local_workspace(root)
    run = workspace.run(store_run(workspace.folder, method="lora"))
    run.adapter_folder.mkdir()
    for name, content in CONTENT.items():
        (run.adapter_folder / name).write_bytes(content)
    return run


@pytest.fixture
def run(tmp_path) -> StoredRun:
    return with_adapter(tmp_path / "root")


# As an archive


def test_an_archive_has_the_files_of_the_adapter_in_one_folder(run, tmp_path):
    path = adapter_archive(run, tmp_path / "out")

    with zipfile.ZipFile(path) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    assert found == {f"{run.record.run_id}/{name}": data for name, data in CONTENT.items()}


def test_an_archive_is_called_like_its_run(run, tmp_path):
    assert adapter_archive(run, tmp_path / "out").name == f"{run.record.run_id}.zip"


def test_an_archive_made_twice_is_one(run, tmp_path):
    adapter_archive(run, tmp_path / "out")

    path = adapter_archive(run, tmp_path / "out")

    with zipfile.ZipFile(path) as archive:
        assert len(archive.namelist()) == 3


@pytest.mark.parametrize("missing", [name for name in CONTENT if name != "README.md"])
def test_a_run_without_a_whole_adapter_has_no_archive(missing, run, tmp_path):
    (run.adapter_folder / missing).unlink()

    with pytest.raises(StoreError) as caught:
        adapter_archive(run, tmp_path / "out")

    assert str(caught.value) == (
        f"run '{run.record.run_id}': has no adapter; lora stores none, or the run is not finished."
    )
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_one_message(run, tmp_path):
    (tmp_path / "out").write_text("a file")

    with pytest.raises(StoreError, match="cannot be written"):
        adapter_archive(run, tmp_path / "out")


# To the Hub


def test_a_pushed_adapter_lies_in_a_private_repository(run):
    hub = FakeHub()

    address = push_adapter(run, "me/my-adapter", token=TOKEN, hub=hub)

    assert address == "https://huggingface.co/me/my-adapter"
    assert hub.repositories == {"me/my-adapter": True}
    assert hub.files == {("me/my-adapter", name): data for name, data in CONTENT.items()}


def test_the_commit_names_the_run(run):
    hub = FakeHub()

    push_adapter(run, "me/my-adapter", token=TOKEN, hub=hub)

    assert hub.messages == [f"Adapter of run {run.record.run_id}"]


BAD_IDS = {
    "no owner": ("my-adapter", "owner and name are needed: me/my-adapter"),
    "empty": ("", "repository ''"),
    "three parts": ("a/b/c", "Example: me/my-adapter"),
    "a path": ("../../etc", "Example: me/my-adapter"),
    "an address": ("https://huggingface.co/me/x", "Example: me/my-adapter"),
    "a space": ("me/my adapter", "Example: me/my-adapter"),
    "long": (f"me/{'x' * 200}", "Example: me/my-adapter"),
    "markup": ("<b>/<i>", "Example: me/my-adapter"),
}


@pytest.mark.parametrize("case", BAD_IDS)
def test_what_is_no_repository_is_refused_before_anything_is_sent(case, run):
    repo_id, expected = BAD_IDS[case]
    hub = FakeHub()

    with pytest.raises(ConfigError) as caught:
        push_adapter(run, repo_id, token=TOKEN, hub=hub)

    assert expected in str(caught.value)
    assert hub.repositories == {}


REQUEST = httpx2.Request("POST", "https://huggingface.co/api/repos/create")
REFUSALS = {
    "not allowed": HfHubHTTPError("403", response=httpx2.Response(403, request=REQUEST)),
    "no network": httpx2.ConnectError("no route", request=REQUEST),
    "too slow": httpx2.ReadTimeout("timed out", request=REQUEST),
    "offline": OfflineModeIsEnabled("offline"),
    "broken pipe": BrokenPipeError("pipe"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_of_the_hub_is_one_message(case, run):
    refusal = REFUSALS[case]

    with pytest.raises(ConfigError) as caught:
        push_adapter(run, "me/my-adapter", token=TOKEN, hub=FakeHub(refusal))

    assert str(caught.value) == (
        f"repository 'me/my-adapter': the Hub refused ({type(refusal).__name__}). Log in again, "
        "and check that the repository is yours."
    )


def test_a_run_without_an_adapter_is_not_pushed(tmp_path):
    workspace = local_workspace(tmp_path)
    run = workspace.run(store_run(workspace.folder))

    with pytest.raises(StoreError, match="has no adapter; zero_shot stores none"):
        push_adapter(run, "me/my-adapter", token=TOKEN, hub=FakeHub())


@pytest.mark.parametrize("refusal", [None, *REFUSALS])
def test_the_token_is_written_nowhere(refusal, tmp_path, caplog, capfd):
    run = with_adapter(tmp_path)
    hub = FakeHub(REFUSALS.get(refusal))
    messages = []

    with caplog.at_level(logging.DEBUG):
        try:
            messages.append(push_adapter(run, "me/my-adapter", token=TOKEN, hub=hub))
        except ConfigError as error:
            messages.append(f"{error} {error.__cause__!r}")

    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    told = [caplog.text, *capfd.readouterr(), *messages, *hub.messages]
    assert not any(TOKEN.encode() in content for content in [*written, *hub.files.values()])
    assert not any(TOKEN in text for text in told)


def test_without_a_hub_the_one_of_the_token_is_asked(run):
    # The Hub is switched off here, so all there is to see is that a real client was refused.
    with pytest.raises(ConfigError, match="the Hub refused"):
        push_adapter(run, "me/my-adapter", token=TOKEN)


def test_cards_are_no_json_but_configs_are(run, tmp_path):
    path = adapter_archive(run, tmp_path / "out")

    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read(f"{run.record.run_id}/adapter_config.json")) == {"r": 4}
