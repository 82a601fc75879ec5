"""Finding weights: what the Hub and its cache have, or in words why they do not."""

import shutil
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError
from transformers import AutoModelForCausalLM

from workbench.budget.sources import find_shape
from workbench.errors import ModelError
from workbench.models import weights
from workbench.models.weights import find_weights, locate_weights

HUB_ID, COMMIT = "acme/tiny", "a" * 40


@pytest.mark.parametrize("name", ["a b/c d", "x/" + "y" * 5000, "a/b\0c", "../../nowhere/at/all"])
def test_a_name_that_is_neither_folder_nor_id_is_one_message(name):
    for look in (find_weights, locate_weights):
        with pytest.raises(ModelError, match="neither a folder nor an id of the Hub"):
            look(name)


@pytest.fixture
def snapshot(tmp_path, monkeypatch, tiny_folder) -> Path:
    """Return the folder of a snapshot in the Hub's cache that holds a config alone."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--acme--tiny"
    folder = repository / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    shutil.copy(tiny_folder / "config.json", folder)
    return folder


@pytest.fixture
def hub(snapshot, monkeypatch, tiny_folder):
    """Return what the Hub was asked for; it has the tiny model, or raises `hub.error`."""

    class Hub:
        def __init__(self):
            self.asked: list[bool] = []
            self.error: Exception | None = None
            self.files = ["config.json", "tokenizer.json", "model.safetensors"]
            self.listed = list(self.files)

        def download(self, _hub_id, *, local_files_only=False, allow_patterns, **_options):
            self.asked.append(not local_files_only)
            if self.error is not None:
                raise self.error
            for name in () if local_files_only else self.files:
                if any(Path(name).match(pattern) for pattern in allow_patterns):
                    shutil.copy(tiny_folder / name, snapshot)
            return str(snapshot)

    fake = Hub()
    monkeypatch.setattr(weights, "snapshot_download", fake.download)
    monkeypatch.setattr("workbench.budget.sources.snapshot_download", fake.download)
    monkeypatch.setattr(weights, "list_repo_files", lambda *_args, **_options: fake.listed, False)
    return fake


def test_a_model_that_was_only_planned_is_downloaded(hub, snapshot):
    """Planning leaves its config in the cache, which is no model yet."""
    assert find_shape(HUB_ID).layers == 2
    with pytest.raises(ModelError, match="has to be downloaded"):
        locate_weights(HUB_ID)
    assert find_weights(HUB_ID).folder == snapshot
    assert hub.asked == [True]


def test_a_whole_snapshot_is_taken_without_asking_the_hub(hub, snapshot):
    find_weights(HUB_ID)
    assert find_weights(HUB_ID).folder == snapshot
    assert "in the Hub's cache" in locate_weights(HUB_ID)
    assert hub.asked == [True, False]


@pytest.mark.parametrize("is_whole", [True, False])
def test_of_several_files_all_have_to_be_there(hub, snapshot, tiny_folder, is_whole):
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    model.save_pretrained(snapshot, max_shard_size="100KB")
    if not is_whole:
        sorted(snapshot.glob("model-*.safetensors"))[1].unlink()
    find_weights(HUB_ID)
    assert hub.asked == [not is_whole]


def test_a_gated_repository_is_called_one(hub, snapshot):
    response = httpx2.Response(403, request=httpx2.Request("GET", "https://hub.invalid/acme/tiny"))
    hub.error = GatedRepoError("gated", response=response)
    with pytest.raises(ModelError, match=r"'acme/tiny'.*licence.*hf auth login"):
        find_weights(HUB_ID)
    (snapshot / "config.json").unlink()
    with pytest.raises(ModelError, match=r"'acme/tiny'.*licence.*hf auth login"):
        find_shape(HUB_ID)


def test_pickled_weights_alone_are_called_that(hub):
    hub.files = ["config.json", "tokenizer.json"]
    hub.listed = [*hub.files, "pytorch_model.bin"]
    with pytest.raises(ModelError, match=r"pytorch_model\.bin.*safetensors"):
        find_weights(HUB_ID)


@pytest.mark.parametrize("error", [None, OSError("no network"), httpx2.ProxyError("no proxy")])
def test_a_hub_that_has_no_weights_or_no_answer_is_said_as_before(hub, error):
    hub.files, hub.listed, hub.error = ["config.json"], ["config.json"], error
    with pytest.raises(ModelError, match="neither be found in the Hub's cache nor downloaded"):
        find_weights(HUB_ID)
