"""Damaged files of the sentence encoder: named with their one way out, never a traceback."""

import base64
import hashlib
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from torn import DAMAGES
from workbench.errors import ModelError
from workbench.models import sentence_encoder
from workbench.models.sentence_encoder import SentenceEncoder, find_sentence_encoder

FILES = {"modules.json": b"[]" * 40, "model.safetensors": bytes(range(256)) * 4}


@pytest.fixture
def opened(monkeypatch) -> list[Path]:
    """Return the folders that encoders were opened from, which nobody does in truth."""
    found: list[Path] = []
    monkeypatch.setattr(SentenceEncoder, "__init__", lambda self, folder: found.append(folder))
    return found


@pytest.fixture
def snapshot(tmp_path, monkeypatch) -> Path:
    """Return the encoder as the Hub's cache keeps it."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--sentence-transformers--all-MiniLM-L6-v2"
    folder, blobs = repository / "snapshots" / ("a" * 40), repository / "blobs"
    for made in (folder, blobs, repository / "refs"):
        made.mkdir(parents=True)
    (repository / "refs" / "main").write_text(folder.name)
    for name, content in FILES.items():
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        (folder / name).symlink_to(blobs / digest)
    return folder


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """Return the encoder's folder in an installed package."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "no-cache"))
    folder = tmp_path / "site" / "tiny_encoder" / "model"
    folder.mkdir(parents=True)
    info = tmp_path / "site" / "tiny_encoder-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-encoder\nVersion: 1.0\n")
    lines = []
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        lines.append(f"tiny_encoder/model/{name},sha256={digest},{len(content)}")
    (info / "RECORD").write_text("\n".join(lines))
    (folder.parent / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(sentence_encoder, "_PACKAGE", "tiny_encoder")
    monkeypatch.setattr(sentence_encoder, "EMBEDDING_REQUIREMENT", "tiny-encoder==1.0")
    return folder


@pytest.mark.parametrize("place", ["snapshot", "package"])
def test_a_whole_encoder_is_opened(place, opened, request):
    folder = request.getfixturevalue(place)

    assert find_sentence_encoder() is not None
    assert opened == [folder]


@pytest.mark.parametrize("damage", [d for d in DAMAGES if d != "a link to a damaged file"])
def test_a_damaged_snapshot_says_what_to_delete(damage, snapshot, opened):
    DAMAGES[damage]((snapshot / "model.safetensors").resolve())

    with pytest.raises(ModelError) as error:
        find_sentence_encoder()

    assert f"Delete the folder {snapshot.parents[1]} to download it again." in str(error.value)
    assert opened == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_package_says_what_to_install(damage, package, opened):
    DAMAGES[damage](package / "model.safetensors")

    with pytest.raises(ModelError, match=r"--force-reinstall tiny-encoder==1\.0"):
        find_sentence_encoder()
    assert opened == []


@pytest.mark.parametrize("damage", ["cut to half", "missing"])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_what_cannot_be_loaded_is_one_message(tiny_folder, tmp_path, name, damage):
    """Where nobody knows the digests."""
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "encoder"))
    DAMAGES[damage](folder / name)

    with pytest.raises(ModelError, match=r"cannot be loaded from .*encoder.*Install it again"):
        SentenceEncoder(folder)
