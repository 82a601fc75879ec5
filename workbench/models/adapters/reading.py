"""Adapters trained elsewhere with PEFT: checked as a whole, then rebuilt from what was checked.

PEFT is only ever given a config of checked values, and weights whose names, types, shapes and
numbers were looked at. Nothing is written before everything has passed.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from safetensors import SafetensorError

from workbench.atomic import explained, write_json
from workbench.errors import ModelError
from workbench.models.adapters.config import are_targets, checked_config, strict_json
from workbench.models.adapters.files import CONFIG_NAME, WEIGHTS_NAME, read_adapter_files, shown
from workbench.models.base import PrefixStates
from workbench.models.layers import is_targeted

AdapterKind = Literal["adalora", "ia3", "lora", "prefix_tuning", "prompt_tuning"]

_KINDS: dict[str, AdapterKind] = {
    "ADALORA": "adalora",
    "IA3": "ia3",
    "LORA": "lora",
    "PREFIX_TUNING": "prefix_tuning",
    "PROMPT_TUNING": "prompt_tuning",
}
_DTYPES = ("F32", "F16", "BF16")
_MAX_HEADER_BYTES = 4_000_000  # of the weights; 1000 adapted modules need about 300 kB
_MAX_BASE_NAME = 200  # characters shown
_PEFT_TENSOR = re.compile(
    r"base_model\.model\.(\w+(?:\.\w+)*)\."
    r"(lora_[AB]\.weight|lora_[ABE]|lora_magnitude_vector|ia3_l)",
    flags=re.ASCII,
)
_LEARNED = "learned_vectors"  # a key of the weights' metadata, which PEFT passes over
_RANGE = re.compile(r"(\d{1,6}):(\d{1,6})", flags=re.ASCII)
_Shape = tuple[int | str, ...]  # names stand for sizes that the base decides


@dataclass(frozen=True)
class AdapterSummary:
    """What an adapter is.

    Attributes:
        kind: The method it was trained with; DoRA is a LoRA with lengths of its own.
        num_parameters: Numbers stored.
        rank: Of a low-rank change; that of an AdaLoRA is the one it started with.
        targets: Names of the modules whose weights are changed.
        num_virtual_tokens: Vectors of a soft prompt, or positions of learned keys and values (P).
        width: Of each vector (D), or of a layer's keys.
        digest: Content hash of config and weights.
        base_name: The base it was trained on, by its own account; for display only.
    """

    kind: AdapterKind
    num_parameters: int
    rank: int | None
    targets: tuple[str, ...]
    num_virtual_tokens: int | None
    width: int | None
    digest: str
    base_name: str


@dataclass(frozen=True, eq=False)
class CheckedAdapter:
    """An adapter in memory that passed every check.

    Attributes:
        where: What messages call it.
        config: In PEFT's format, made of checked values alone.
        tensors: By PEFT's names; `parts` sorts those of weights, soft prompts are (P, D), and
            prefixes (P, L x 2 x H x head width).
        summary: What it is.
        learned: Begin and end of the learned ones among the P positions, where the file says it.
    """

    where: str
    config: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]
    summary: AdapterSummary
    learned: tuple[int, int] | None = None

    @cached_property
    def parts(self) -> dict[str, dict[str, torch.Tensor]]:
        """Tensors of each module whose weight is changed, by module and by the part's name.

        "lora_A" (r, in), "lora_B" (out, r), "lora_E" (r, 1), "lora_magnitude_vector" (out,),
        "ia3_l" (out, 1) or (1, in).
        """
        found: dict[str, dict[str, torch.Tensor]] = {}
        for name, tensor in self.tensors.items():
            match = _PEFT_TENSOR.fullmatch(name)
            if match:
                found.setdefault(match[1], {})[match[2].removesuffix(".weight")] = tensor
        return found

    @property
    def features(self) -> dict[str, tuple[int | None, int | None]]:
        """Features (in, out) of each module that is changed, as far as its tensors tell them."""
        found: dict[str, tuple[int | None, int | None]] = {}
        for module, parts in self.parts.items():
            if "ia3_l" in parts:
                rows, columns = parts["ia3_l"].shape
                found[module] = (columns, None) if self._is_feedforward(module) else (None, rows)
            else:
                found[module] = (parts["lora_A"].shape[1], parts["lora_B"].shape[0])
        return found

    def _is_feedforward(self, module: str) -> bool:
        return is_targeted(module, self.config["feedforward_modules"])

    def prompt_vectors(self, width: int) -> torch.Tensor:
        """Return the vectors (P, D) of a soft prompt in float32.

        Raises:
            ModelError: another kind of adapter, or another embedding width.
        """
        if self.summary.kind != "prompt_tuning":
            raise ModelError(
                f"{self.where}: holds a {self.config['peft_type']} adapter, not prompt tuning. "
                "Load it with the method it was trained by."
            )
        vectors = self.tensors["prompt_embeddings"]
        if vectors.shape[1] != width:
            raise ModelError(
                f"{self.where}: prompt_embeddings has shape {tuple(vectors.shape)}; (P, {width}) "
                "is needed for this base model."
            )
        return vectors.float()

    def prefix_states(self, shape: tuple[int, int, int]) -> PrefixStates:
        """Return the keys and values of a prefix in float32.

        Args:
            shape: Layers (L), key/value heads (H) and head width of the base.

        Raises:
            ModelError: another kind of adapter, or keys and values of another shape.
        """
        if self.summary.kind != "prefix_tuning":
            raise ModelError(
                f"{self.where}: holds a {self.config['peft_type']} adapter, not prefix tuning. "
                "Load it with the method it was trained by."
            )
        layers, heads, width = shape
        found = (self.config["num_layers"], self.config["token_dim"])
        if found != (layers, heads * width):
            raise ModelError(
                f"{self.where}: has keys and values of width {found[1]} for {found[0]} layers; "
                f"{heads * width} for {layers} layers is needed for this base model."
            )
        return split_states(self.tensors["prompt_embeddings"].float(), shape)


def split_states(flat: torch.Tensor, shape: tuple[int, int, int]) -> PrefixStates:
    """Return keys and values per layer from PEFT's layout (P, L x 2 x H x head width).

    Args:
        flat: As PEFT stores a prefix: of each position all layers, of each the key, then the value.
        shape: Layers (L), key/value heads (H) and head width.
    """
    layers, heads, width = shape
    split = flat.reshape(len(flat), layers, 2, heads, width).permute(1, 2, 3, 0, 4)
    return PrefixStates(
        keys=tuple(split[layer, 0] for layer in range(layers)),
        values=tuple(split[layer, 1] for layer in range(layers)),
    )


def join_states(states: PrefixStates) -> torch.Tensor:
    """Return keys and values in PEFT's layout (P, L x 2 x H x head width)."""
    pairs = zip(states.keys, states.values, strict=True)
    split = torch.stack([torch.stack([key, value]) for key, value in pairs])
    return split.permute(3, 0, 1, 2, 4).reshape(split.shape[3], -1)


def learned_range(begin: int, end: int) -> dict[str, str]:
    """Return metadata for a file of weights that says which of its positions were learned."""
    return {"format": "pt", _LEARNED: f"{begin}:{end}"}


def import_adapter(source: Path, target_root: Path) -> tuple[Path, AdapterSummary]:
    """Check an adapter and store it, rebuilt, in a folder of its own.

    Args:
        source: A zip or a folder with adapter_config.json and adapter_model.safetensors.
        target_root: Where the folder is made; it is named by the adapter's digest.

    Returns:
        The folder, and what the adapter is.

    Raises:
        ModelError: anything about the adapter is not as it should be; nothing was written.
        StoreError: the folder cannot be written.
    """
    adapter = read_adapter(source)
    return write_adapter(adapter, target_root), adapter.summary


def check_adapter(folder: Path) -> AdapterSummary:
    """Return what an adapter is, after all checks that an import makes.

    Raises:
        ModelError: anything about the adapter is not as it should be.
    """
    return read_adapter(folder).summary


def read_prompt_vectors(folder: Path, width: int) -> torch.Tensor:
    """Return the vectors (P, D) of a prompt-tuning adapter in PEFT's format.

    Raises:
        ModelError: files missing, another kind of adapter, or another embedding width.
    """
    return read_adapter(folder).prompt_vectors(width)


def read_adapter(source: Path) -> CheckedAdapter:
    """Return the adapter of a zip or a folder.

    Raises:
        ModelError: anything about the adapter is not as it should be.
    """
    files = read_adapter_files(source)
    raw = strict_json(f"{files.where}, {CONFIG_NAME}", files.config)
    config = checked_config(f"{files.where}, {CONFIG_NAME}", raw)
    tensors = _checked_tensors(f"{files.where}, {WEIGHTS_NAME}", config, files.weights)
    if "target_modules" in config:
        config["target_modules"] = _target_names(files.where, config["target_modules"], tensors)
    summary = AdapterSummary(
        kind=_KINDS[config["peft_type"]],
        num_parameters=sum(tensor.numel() for tensor in tensors.values()),
        rank=config.get("r", config.get("init_r")),
        targets=tuple(config.get("target_modules", ())),
        num_virtual_tokens=config.get("num_virtual_tokens"),
        width=config.get("token_dim"),
        digest=_digest(config, tensors),
        base_name=_one_line(raw.get("base_model_name_or_path")),
    )
    learned = _learned(f"{files.where}, {WEIGHTS_NAME}", files.weights, summary)
    return CheckedAdapter(files.where, config, tensors, summary, learned)


def write_adapter(adapter: CheckedAdapter, target_root: Path) -> Path:
    """Write an adapter's folder, whole or not at all; one that is there already is kept.

    Raises:
        StoreError: no space left, or no permission.
    """
    target = target_root / adapter.summary.digest
    scratch = target_root / f".{adapter.summary.digest}.{secrets.token_hex(4)}"
    if target.is_dir():
        return target
    try:
        with explained(target):
            scratch.mkdir(parents=True)
            write_json(scratch / CONFIG_NAME, adapter.config)
            learned = adapter.learned
            metadata = {"format": "pt"} if learned is None else learned_range(*learned)
            content = safetensors.torch.save(dict(adapter.tensors), metadata=metadata)
            with (scratch / WEIGHTS_NAME).open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            try:
                scratch.rename(target)
            except OSError:
                if not target.is_dir():  # else someone else has just written the same
                    raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _checked_tensors(
    where: str, config: Mapping[str, Any], content: bytes
) -> dict[str, torch.Tensor]:
    shapes = _shapes(where, content)
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


def _shapes(where: str, content: bytes) -> dict[str, tuple[int, ...]]:
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
        if not isinstance(shape, list) or not all(type(n) is int and n > 0 for n in shape):
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


def _learned(where: str, content: bytes, summary: AdapterSummary) -> tuple[int, int] | None:
    """Return which positions the metadata says were learned; None where it says nothing."""
    metadata = _header(where, content).get("__metadata__")
    said = metadata.get(_LEARNED) if isinstance(metadata, dict) else None
    if said is None:
        return None
    match = _RANGE.fullmatch(said) if isinstance(said, str) else None
    begin, end = (int(number) for number in match.groups()) if match else (0, 0)
    if not 0 <= begin < end <= (summary.num_virtual_tokens or 0):
        raise ModelError(
            f"{where}: its metadata says {_LEARNED} {shown(said)}; a begin and an end within its "
            f"{summary.num_virtual_tokens} vectors are needed, as in 3:23. Export it again."
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
        match = _PEFT_TENSOR.fullmatch(name)
        wanted = {} if match is None else _wanted_parts(config, match[1])
        if match is None or match[2] not in wanted:
            allowed = ", ".join(wanted or _wanted_parts(config, "module"))
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


def _wanted_parts(config: Mapping[str, Any], module: str) -> dict[str, _Shape]:
    """Return the parts a module needs and their shapes; the base decides what is named."""
    if config["peft_type"] == "IA3":
        is_input = is_targeted(module, config["feedforward_modules"])
        return {"ia3_l": (1, "in") if is_input else ("out", 1)}
    if config["peft_type"] == "ADALORA":
        rank = config["init_r"]
        return {"lora_A": (rank, "in"), "lora_B": ("out", rank), "lora_E": (rank, 1)}
    rank = config["r"]
    parts: dict[str, _Shape] = {"lora_A.weight": (rank, "in"), "lora_B.weight": ("out", rank)}
    return parts | ({"lora_magnitude_vector": ("out",)} if config.get("use_dora") else {})


def _fits(shape: tuple[int, ...], wanted: _Shape) -> bool:
    return len(shape) == len(wanted) and all(
        isinstance(size, str) or size == found for found, size in zip(shape, wanted, strict=True)
    )


def _target_names(where: str, targets: list[str] | str, tensors: Mapping[str, Any]) -> list[str]:
    """Return the modules' names as a sorted list; "all-linear" becomes the names in the weights."""
    if isinstance(targets, list):
        return sorted(set(targets))
    modules = (match[1] for name in tensors if (match := _PEFT_TENSOR.fullmatch(name)))
    names = sorted({module.rpartition(".")[2] for module in modules})
    if not are_targets(names):
        raise ModelError(
            f"{where}, {CONFIG_NAME}: target_modules is 'all-linear', and the weights' modules are "
            f"called {shown(names)}. List target_modules by name."
        )
    return names


def _digest(config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> str:
    sha = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return sha.hexdigest()[:12]


def _one_line(name: object) -> str:
    """Return a name that is safe to show: printable, on one line, not long."""
    text = name if isinstance(name, str) else ""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_MAX_BASE_NAME]


def _damaged(where: str, what: str) -> ModelError:
    return ModelError(
        f"{where}: is damaged or no safetensors file: {what[:200]}. Copy or export it again."
    )
