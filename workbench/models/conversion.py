"""A GGUF file inside a package, converted once to safetensors and kept in the cache folder.

The conversion is believed only as long as every byte of it is as it was written: its `source.json`
has the digest of each file, which costs a third of a second for half a gigabyte to compare.
"""

import importlib
import importlib.util
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from workbench.errors import ModelError
from workbench.models.catalog import PackagedWeights
from workbench.models.configs import TRANSFORMERS_ERRORS, first_line
from workbench.models.one_at_a_time import LOADING
from workbench.models.published_digests import check_package, damaged_package
from workbench.sealed import (
    digests_of,
    file_digest,
    flush,
    is_old,
    is_there,
    put_in_place,
    read_sealed,
    remove,
    write_sealed,
)

_SEAL = "source.json"
_SCRATCH, _OLD = ".converting-", ".old-"

_log = logging.getLogger(__name__)


def converted(packaged: PackagedWeights, target: Path) -> str:
    """Return the sha256 of the package's file whose whole conversion is in `target`.

    It is made now where there is none, or a damaged one. Several processes make it once.

    Raises:
        ModelError: the package is damaged, or the folder cannot be written.
    """
    found = _whole(target)  # without the lock, so that a cache may be read-only
    if found is not None:
        return found
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            found = _whole(target)
            if found is None:
                if is_there(target):
                    _log.warning(
                        "%s: is damaged or of an older version, and is converted again.", target
                    )
                else:
                    _log.warning("%s: made now, once; it takes about half a minute.", target)
                found = _convert(packaged, target)
            return found
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{target}: the model of package {packaged.requirements[0]} cannot be converted there "
            f"({first_line(error)}). Make room or set WORKBENCH_CACHE to another folder."
        ) from error


def _whole(target: Path) -> str | None:
    """Return the digest of what was converted; None where there is nothing, or any byte differs."""
    try:
        origin = read_sealed(target / _SEAL)
        is_whole = digests_of(target, without=_SEAL) == origin["files"]
        return str(origin["sha256"]) if is_whole and not target.is_symlink() else None
    except (OSError, ValueError, KeyError):
        return None


def _convert(packaged: PackagedWeights, target: Path) -> str:
    """Write the dequantised GGUF model to `target`, whole or not at all; return the file's digest.

    Called with the target's lock held, so what others left half made is nobody's.
    """
    for left in target.parent.glob(f"{_SCRATCH}*"):
        if left.name.startswith(f"{_SCRATCH}{target.name}-") or is_old(left):
            remove(left)
    for left in target.parent.glob(f"{_OLD}{target.name}-*"):
        remove(left)
    prefix = f"{_SCRATCH}{target.name}-"
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=prefix) as scratch:
        gguf, folder = _gguf_path(packaged, Path(scratch)), Path(scratch) / "model"
        model, tokenizer = _opened(packaged, gguf)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        digest = file_digest(gguf)
        origin: Mapping[str, Any] = {
            "sha256": digest,
            "file": gguf.name,
            "files": digests_of(folder, without=_SEAL),
        }
        write_sealed(folder / _SEAL, origin)
        flush(folder)
        put_in_place(folder, target)
    return digest


def _opened(packaged: PackagedWeights, gguf: Path) -> tuple[Any, Any]:
    """Return model and tokenizer of a GGUF file.

    Raises:
        ModelError: the file is not what it should be.
    """
    try:
        with LOADING:
            model = AutoModelForCausalLM.from_pretrained(
                gguf.parent,
                gguf_file=gguf.name,
                quantization_config=GgufConfig(dequantize=True),
                dtype=torch.float32,
            )
        return model, AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    except TRANSFORMERS_ERRORS as error:
        raise damaged_package(gguf.name, packaged.requirements, _title(packaged)) from error


def _gguf_path(packaged: PackagedWeights, scratch: Path) -> Path:
    """Return the whole GGUF file of a package.

    Raises:
        ModelError: a file of the package is damaged or missing.
    """
    check_package(packaged.requirements, _title(packaged))
    if packaged.assemble:
        module = importlib.import_module(packaged.module)
        return Path(module.assemble(scratch / packaged.gguf_file))
    # Found, not imported: the package imports a plugin host that is not needed for its file.
    spec = importlib.util.find_spec(packaged.module)
    locations = (spec.submodule_search_locations if spec else None) or [""]
    path = Path(locations[0]) / packaged.gguf_file
    if not path.is_file():
        raise damaged_package(packaged.gguf_file, packaged.requirements, _title(packaged))
    return path


def _title(packaged: PackagedWeights) -> str:
    return f"package {packaged.module}"
