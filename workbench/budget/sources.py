"""Finding a model's config by name: a local folder, the table of known ones, or the Hub."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from workbench.budget.known import KNOWN_SHAPES
from workbench.budget.shape import ModelShape, read_shape, with_name
from workbench.errors import ModelError, unknown_name
from workbench.models.catalog import BASE_MODELS

_HUB_TIMEOUT_SECONDS = 5.0  # long enough for a slow line, short enough to wait for in vain
_MOST_BYTES = 1_000_000  # of a config.json; real ones have a few thousand
_CONFIG = "config.json"


def find_shape(name: str) -> ModelShape:
    """Return the shape of a model by short name, Hub id or local folder; no weights are touched.

    Raises:
        ModelError: no config of that name, or one that is not understood.
    """
    folder = _folder(name)
    if folder is not None:
        return _read(folder / _CONFIG, name, f"config.json of the folder {folder.name}")
    known = _known(name)
    if known is not None:
        return known
    if "/" not in name:
        raise ModelError(
            f"model: {unknown_name('model', name[:80], KNOWN_SHAPES)} A Hub id (owner/model) or a "
            "local folder (./folder) is allowed too."
        )
    path = _hub_config(name)
    return _read(path, name, f"config.json of {name} on the Hub")


def known_model(name: str) -> ModelShape:
    """Return a model of the table, for those who may name no folder and no Hub id.

    Raises:
        ModelError: not in the table.
    """
    known = _known(name)
    if known is None:
        raise ModelError(f"model: {unknown_name('model', name[:80], KNOWN_SHAPES)}")
    return known


def _known(name: str) -> ModelShape | None:
    if name in KNOWN_SHAPES:
        return KNOWN_SHAPES[name]
    short = next((entry.name for entry in BASE_MODELS.values() if entry.hub_id == name), None)
    return with_name(KNOWN_SHAPES[short], name) if short in KNOWN_SHAPES else None


def _folder(name: str) -> Path | None:
    try:
        folder = Path(name).expanduser()
        return folder if folder.is_dir() and name not in KNOWN_SHAPES else None
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, no such home
        return None


def _hub_config(hub_id: str) -> Path:
    """Return the config's file in the Hub's cache, downloading it if need be."""
    try:
        cached = try_to_load_from_cache(hub_id, _CONFIG)
        if isinstance(cached, str):
            return Path(cached)
        # Of one file it would try six times, a minute and more where there is no network.
        folder = snapshot_download(
            hub_id, allow_patterns=[_CONFIG], etag_timeout=_HUB_TIMEOUT_SECONDS
        )
        return Path(folder) / _CONFIG
    except (OSError, ValueError, HFValidationError) as error:  # unreachable, missing, no such id
        raise ModelError(
            f"model '{hub_id[:80]}': its config.json is not in the Hub's cache and cannot be "
            f"downloaded. Check the id and the network, or use one of: {', '.join(KNOWN_SHAPES)}."
        ) from error


def _read(path: Path, name: str, source: str) -> ModelShape:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("larger than a config can be")
        config: Any = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("not a mapping")
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{path}: cannot be read as the config of a model: {error}. A folder as written by "
            "transformers' save_pretrained is needed."
        ) from error
    return read_shape(config, name=name, source=source)
