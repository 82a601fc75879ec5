"""The tensors of an adapter's file: names, types, shapes and numbers, checked against its config.

What the header says is checked before any tensor is made of it.
"""

import re
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from workbench.errors import ModelError
from workbench.models.adapters.config import BY_THE_WEIGHTS, MAX_RANK, strict_json
from workbench.models.adapters.files import shown
from workbench.models.roles import is_targeted
from workbench.tensor_files import is_sealed

_DTYPES = ("F32", "F16", "BF16")
_MAX_HEADER_BYTES = 4_000_000  # of the weights; 1000 adapted modules need about 300 kB
PEFT_TENSOR = re.compile(
    r"base_model\.model\.(\w+(?:\.\w+)*)\."
    r"(lora_[AB]\.weight|lora_[ABE]|lora_magnitude_vector|ia3_l)",
    flags=re.ASCII,
)
_LEARNED = "learned_vectors"  # a key of the weights' metadata, which PEFT passes over
_RANGE = re.compile(r"(\d{1,6}):(\d{1,6})", flags=re.ASCII)
_Shape = tuple[int | str, ...]  # names stand for sizes that the base decides


def learned_range(begin: int, end: int) -> dict[str, str]:
    """Return metadata for a file of weights that says which of its positions were learned."""
    return {"format": "pt", _LEARNED: f"{begin}:{end}"}


def checked_tensors(
    where: str, config: Mapping[str, Any], content: bytes
) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file by name, all as the config wants them and finite.

    Args:
        where: What messages call the file.
        config: What `checked_config` returned.
        content: The file.

    Raises:
        ModelError: the file is damaged, or anything in it is not as it should be.
    """
    _check_content(where, content)
    # All triplets of an AdaLoRA's module may have been pruned.
    shapes = _shapes(where, content, least=0 if config["peft_type"] == "ADALORA" else 1)
    if "target_modules" in config:
        _check_parts(where, config, shapes)
    else:
        wanted = {"prompt_embeddings": (config["num_virtual_tokens"], _columns(config))}
        if shapes != wanted:
            raise ModelError(
                f"{where}: holds {shown(shapes)}; by the config, {wanted} is needed. Export the "
                "adapter again with PEFT's save_pretrained."
            )
    try:
        tensors: dict[str, torch.Tensor] = safetensors.torch.load(content)
    except SafetensorError as error:
        raise _damaged(where, str(error)) from error
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ModelError(
                f"{where}: {shown(name)} holds NaN or infinity. All numbers have to be finite; "
                "train the adapter again, with a lower learning rate."
            )
    return tensors


def _check_content(where: str, content: bytes) -> None:
    """Hold a file that the workbench wrote against the digest in it."""
    _header(where, content)  # refuses one that is no header, or a very long one
    try:
        is_sealed(content)
    except (ValueError, RecursionError) as error:
        raise _damaged(where, str(error)) from error


def _shapes(where: str, content: bytes, *, least: int) -> dict[str, tuple[int, ...]]:
    """Return the tensors' shapes by name, from the header, before any tensor is made."""
    header = _header(where, content)
    header.pop("__metadata__", None)
    shapes = {}
    for name, entry in header.items():
        fields = entry if isinstance(entry, dict) else {}
        dtype, shape = fields.get("dtype"), fields.get("shape")
        if dtype not in _DTYPES:
            raise ModelError(
                f"{where}: {shown(name)} is of type {shown(dtype)}. Allowed: {', '.join(_DTYPES)}. "
                "Save the adapter in one of them."
            )
        if not isinstance(shape, list) or not all(type(n) is int and n >= least for n in shape):
            raise _damaged(where, f"{shown(name)} has the shape {shown(shape)}")
        shapes[name] = tuple(shape)
    return shapes


def _header(where: str, content: bytes) -> dict[str, Any]:
    """Return what a safetensors file says about its tensors."""
    length = int.from_bytes(content[:8], "little")
    if length > _MAX_HEADER_BYTES:
        raise _damaged(where, f"its header claims {length} bytes")
    if len(content) < 8 + length:
        raise _damaged(where, f"{len(content)} bytes, of which its header claims {length}")
    return strict_json(where, content[8 : 8 + length])


def learned_positions(where: str, content: bytes, num_vectors: int) -> tuple[int, int] | None:
    """Return begin and end of the positions that the metadata says were learned, or None.

    Raises:
        ModelError: it says something else, or positions beyond the file's vectors.
    """
    metadata = _header(where, content).get("__metadata__")
    said = metadata.get(_LEARNED) if isinstance(metadata, dict) else None
    if said is None:
        return None
    match = _RANGE.fullmatch(said) if isinstance(said, str) else None
    begin, end = (int(number) for number in match.groups()) if match else (0, 0)
    if not 0 <= begin < end <= num_vectors:
        raise ModelError(
            f"{where}: its metadata says {_LEARNED} {shown(said)}; a begin and an end within its "
            f"{num_vectors} vectors are needed, as in 3:23. Export it again."
        )
    return begin, end


def _columns(config: Mapping[str, Any]) -> int:
    """Return how many numbers a config says there are for each position."""
    width: int = config["token_dim"]
    return 2 * config["num_layers"] * width if config["peft_type"] == "PREFIX_TUNING" else width


def _check_parts(
    where: str, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Check that each module has all its parts in the right shapes, and is one the config names."""
    targets = config["target_modules"]
    if not shapes:
        raise _damaged(where, "no tensors")
    for name, shape in shapes.items():
        match = PEFT_TENSOR.fullmatch(name)
        wanted = {} if match is None else _wanted_parts(config, match[1], shapes)
        if match is None or match[2] not in wanted:
            allowed = ", ".join(wanted or _wanted_parts(config, "module", shapes))
            raise ModelError(
                f"{where}: holds {shown(name)}, which is no part of a plain {config['peft_type']} "
                f"adapter. Allowed: base_model.model.<module>. with {allowed}. Export the adapter "
                "alone with PEFT's save_pretrained."
            )
        module, part = match.groups()
        for other in wanted:
            if f"base_model.model.{module}.{other}" not in shapes:
                raise ModelError(
                    f"{where}: {shown(name)} has no partner "
                    f"{shown(f'base_model.model.{module}.{other}')}. Each module needs "
                    f"{' and '.join(wanted)}; export the adapter again."
                )
        if not _fits(shape, wanted[part]):
            needed = "(" + ", ".join(map(str, wanted[part])) + ")"
            raise ModelError(
                f"{where}: {shown(name)} has shape {shown(shape)}; by the config, {needed} is "
                "needed. Export config and weights together."
            )
        if isinstance(targets, list) and not is_targeted(module, targets):
            raise ModelError(
                f"{where}: {shown(name)} changes a module that target_modules does not name. "
                f"Named: {shown(sorted(targets))}. Export config and weights together."
            )


def _wanted_parts(
    config: Mapping[str, Any], module: str, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, _Shape]:
    """Return the parts a module needs and their shapes; the base decides what is named."""
    if config["peft_type"] == "IA3":
        feedforward = config["feedforward_modules"]
        is_input = feedforward != BY_THE_WEIGHTS and is_targeted(module, feedforward)
        if feedforward == BY_THE_WEIGHTS:
            is_input = shapes.get(f"base_model.model.{module}.ia3_l", ())[:1] == (1,)
        return {"ia3_l": (1, "in") if is_input else ("out", 1)}
    if config["peft_type"] == "ADALORA":
        # Triplets that were pruned are left out of the file.
        found = shapes.get(f"base_model.model.{module}.lora_E", (config["init_r"],))
        rank = min([config["init_r"], *found[:1]])
        return {"lora_A": (rank, "in"), "lora_B": ("out", rank), "lora_E": (rank, 1)}
    rank = _rank(config, module, shapes)
    parts: dict[str, _Shape] = {"lora_A.weight": (rank, "in"), "lora_B.weight": ("out", rank)}
    return parts | ({"lora_magnitude_vector": ("out",)} if config.get("use_dora") else {})


def _rank(config: Mapping[str, Any], module: str, shapes: Mapping[str, tuple[int, ...]]) -> int:
    pattern, default = config.get("rank_pattern", {}), int(config["r"])
    if pattern == BY_THE_WEIGHTS:
        found = shapes.get(f"base_model.model.{module}.lora_A.weight", ())[:1] or (default,)
        return min(found[0], MAX_RANK)
    return int(pattern_value(pattern, module, default))


def _fits(shape: tuple[int, ...], wanted: _Shape) -> bool:
    return len(shape) == len(wanted) and all(
        found > 0 if isinstance(size, str) else size == found
        for found, size in zip(shape, wanted, strict=True)
    )


def pattern_value(pattern: Mapping[str, Any], module: str, default: Any) -> Any:
    """Return what PEFT's `rank_pattern` or `alpha_pattern` says of a module: its first match."""
    return next((v for key, v in pattern.items() if _is_meant(module, key)), default)


def _is_meant(module: str, key: str) -> bool:
    r"""Return whether `re.match(rf"(.*\.)?({key})$", module)` finds the module, without running it.

    Only for keys of names and points: there a point is any character, and "\." a point.
    Source: `peft.utils.other.get_pattern_key`.
    """
    characters = re.findall(r"\\?.", key.removeprefix("^").removesuffix("$"))
    start = len(module) - len(characters)
    begins = start == 0 or (start > 0 and module[start - 1] == "." and not key.startswith("^"))
    return begins and all(
        sign == "." or sign[-1] == letter
        for sign, letter in zip(characters, module[start:], strict=True)
    )


def _damaged(where: str, what: str) -> ModelError:
    return ModelError(
        f"{where}: is damaged or no safetensors file: {what[:200]}. Copy or export it again."
    )
