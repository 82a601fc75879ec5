"""Finding a model's size by name: a local folder, the table of known ones, or the Hub."""

import json
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import GatedRepoError
from transformers import AutoConfig, PreTrainedConfig

from workbench.budget.counting import count_shape
from workbench.budget.known import KNOWN_SHAPES, known_model
from workbench.budget.shape import ModelShape
from workbench.errors import ModelError
from workbench.models.configs import TRANSFORMERS_ERRORS, first_line
from workbench.models.folder_checks import check_unquantised
from workbench.models.published_digests import check_snapshot
from workbench.models.weights import HUB_ERRORS, gated_repository

_HUB_TIMEOUT_SECONDS = 5.0  # long enough for a slow line, short enough to wait for in vain
_MOST_BYTES = 1_000_000  # of a config.json; real ones have a few thousand
_CONFIG = "config.json"
_COUNTED = re.compile(r"layers?$|labels|blocks|depth")
_MOST_COUNTED = 100_000


def find_shape(name: str) -> ModelShape:
    """Return the shape of a model by short name, Hub id or local folder; no weights are touched.

    Raises:
        ModelError: no config of that name, or one that is not understood.
    """
    folder = _folder(name)
    if folder is not None:
        return _read(folder / _CONFIG, name, f"config.json of the folder {folder.name}")
    try:
        return known_model(name)
    except ModelError as unknown:
        if "/" not in name:
            raise ModelError(
                f"{unknown} A Hub id (owner/model) or a local folder (./folder) is allowed too."
            ) from None
    return _read(_hub_config(name), name, f"config.json of {name} on the Hub")


def _folder(name: str) -> Path | None:
    try:
        folder = Path(name).expanduser()
        return folder if folder.is_dir() and name not in KNOWN_SHAPES else None
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, no such home
        return None


def _hub_config(hub_id: str) -> Path:
    """Return the config's file in the Hub's cache, downloading it if need be.

    Raises:
        ModelError: it cannot be had, or is damaged.
    """
    try:
        cached = try_to_load_from_cache(hub_id, _CONFIG)
        if isinstance(cached, str):
            check_snapshot([Path(cached)], f"model '{hub_id}'")
            return Path(cached)
        # Of one file it would try six times, a minute and more where there is no network.
        folder = snapshot_download(
            hub_id, allow_patterns=[_CONFIG], etag_timeout=_HUB_TIMEOUT_SECONDS
        )
        return Path(folder) / _CONFIG
    except GatedRepoError as error:
        raise gated_repository(hub_id) from error
    except (*HUB_ERRORS, ValueError) as error:
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
    check_unquantised(config, f"model '{name}' ({source})")
    _check_counts(config, name)
    return count_shape(_config_of(config, name), name=name, source=source)


def _check_counts(values: Mapping[str, Any], name: str) -> None:
    """Refuse numbers of layers or labels of which transformers would make a list first of all.

    Raises:
        ModelError: one that no model has.
    """
    pending = [values]
    while pending:
        for key, value in pending.pop().items():
            if isinstance(value, dict):
                pending.append(value)
            elif _COUNTED.search(key) and isinstance(value, int | float) and value > _MOST_COUNTED:
                raise ModelError(
                    f"model '{name}', config.json: {key} is {str(value)[:20]}; no model has more "
                    f"than {_MOST_COUNTED:,}. Take the config that came with the weights."
                )


def _config_of(values: Mapping[str, Any], name: str) -> PreTrainedConfig:
    """Return transformers' config of these values, with what they leave out as transformers has it.

    Raises:
        ModelError: no architecture that the installed transformers knows, or values it refuses.
    """
    rest = {key: value for key, value in values.items() if key not in ("model_type", "auto_map")}
    try:
        return AutoConfig.for_model(str(values.get("model_type")), **rest)
    except TRANSFORMERS_ERRORS as error:
        raise ModelError(
            f"model '{name}', config.json: transformers {version('transformers')} reads no model "
            f"of it (model_type '{str(values.get('model_type'))[:40]}'): {first_line(error)}. "
            "Take the config that came with the weights."
        ) from error
