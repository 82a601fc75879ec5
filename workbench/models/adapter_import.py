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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from safetensors import SafetensorError

from workbench.atomic import explained, write_json
from workbench.errors import ModelError
from workbench.models.adapter_config import are_targets, checked_config, strict_json
from workbench.models.adapter_files import CONFIG_NAME, WEIGHTS_NAME, read_adapter_files, shown

AdapterKind = Literal["lora", "prompt_tuning"]

_KINDS: dict[str, AdapterKind] = {"LORA": "lora", "PROMPT_TUNING": "prompt_tuning"}
_DTYPES = ("F32", "F16", "BF16")
_MAX_HEADER_BYTES = 4_000_000  # of the weights; 1000 adapted modules need about 300 kB
_MAX_BASE_NAME = 200  # characters shown
_LORA_TENSOR = re.compile(
    r"base_model\.model\.(\w+(?:\.\w+)*)\.lora_([AB])\.weight", flags=re.ASCII
)


@dataclass(frozen=True)
class AdapterSummary:
    """What an adapter is.

    Attributes:
        kind: The method it was trained with.
        num_parameters: Numbers stored.
        rank: Of a LoRA.
        targets: Names of the modules a LoRA changes.
        num_virtual_tokens: Vectors of a soft prompt (P).
        width: Of each vector (D).
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
        tensors: By PEFT's names; LoRA (r, in) and (out, r), soft prompts (P, D).
        summary: What it is.
    """

    where: str
    config: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]
    summary: AdapterSummary

    @property
    def features(self) -> dict[str, tuple[int, int]]:
        """Features (in, out) of each module that a LoRA changes, by the module's name."""
        found = {}
        for name, tensor in self.tensors.items():
            match = _LORA_TENSOR.fullmatch(name)
            if match and match[2] == "A":
                other = self.tensors[_lora_tensor(match[1], "B")]
                found[match[1]] = (tensor.shape[1], other.shape[0])
        return found

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
    is_lora = config["peft_type"] == "LORA"
    if is_lora:
        config["target_modules"] = _target_names(files.where, config["target_modules"], tensors)
    summary = AdapterSummary(
        kind=_KINDS[config["peft_type"]],
        num_parameters=sum(tensor.numel() for tensor in tensors.values()),
        rank=config["r"] if is_lora else None,
        targets=tuple(config["target_modules"]) if is_lora else (),
        num_virtual_tokens=None if is_lora else config["num_virtual_tokens"],
        width=None if is_lora else config["token_dim"],
        digest=_digest(config, tensors),
        base_name=_one_line(raw.get("base_model_name_or_path")),
    )
    return CheckedAdapter(files.where, config, tensors, summary)


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
            content = safetensors.torch.save(dict(adapter.tensors), metadata={"format": "pt"})
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


def is_targeted(module: str, targets: Iterable[str]) -> bool:
    """Return whether PEFT changes the module of that dotted name, given `target_modules`."""
    return any(module == target or module.endswith(f".{target}") for target in targets)


def _checked_tensors(
    where: str, config: Mapping[str, Any], content: bytes
) -> dict[str, torch.Tensor]:
    shapes = _shapes(where, content)
    if config["peft_type"] == "LORA":
        _check_lora_shapes(where, config, shapes)
    else:
        wanted = {"prompt_embeddings": (config["num_virtual_tokens"], config["token_dim"])}
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
    length = int.from_bytes(content[:8], "little")
    if length > _MAX_HEADER_BYTES:
        raise _damaged(where, f"its header claims {length} bytes")
    if len(content) < 8 + length:
        raise _damaged(where, f"{len(content)} bytes, of which its header claims {length}")
    header = strict_json(where, content[8 : 8 + length])
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


def _check_lora_shapes(
    where: str, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Check that A and B come in pairs of the right rank, for modules the config names."""
    rank, targets = config["r"], config["target_modules"]
    if not shapes:
        raise _damaged(where, "no tensors")
    for name, shape in shapes.items():
        match = _LORA_TENSOR.fullmatch(name)
        if match is None:
            raise ModelError(
                f"{where}: holds {shown(name)}, which is no part of a plain LoRA. Allowed: "
                "base_model.model.<module>.lora_A.weight and the same with lora_B. Export the "
                "adapter alone with PEFT's save_pretrained."
            )
        module, side = match.groups()
        other = _lora_tensor(module, "B" if side == "A" else "A")
        if other not in shapes:
            raise ModelError(
                f"{where}: {shown(name)} has no partner {shown(other)}. A and B are needed for "
                "each module; export the adapter again."
            )
        if len(shape) != 2 or shape[0 if side == "A" else 1] != rank:
            wanted = f"({rank}, in)" if side == "A" else f"(out, {rank})"
            raise ModelError(
                f"{where}: {shown(name)} has shape {shown(shape)}; by the config's r, {wanted} is "
                "needed. Export config and weights together."
            )
        if isinstance(targets, list) and not is_targeted(module, targets):
            raise ModelError(
                f"{where}: {shown(name)} changes a module that target_modules does not name. "
                f"Named: {shown(sorted(targets))}. Export config and weights together."
            )


def _target_names(where: str, targets: list[str] | str, tensors: Mapping[str, Any]) -> list[str]:
    """Return the modules' names as a sorted list; "all-linear" becomes the names in the weights."""
    if isinstance(targets, list):
        return sorted(set(targets))
    modules = (match[1] for name in tensors if (match := _LORA_TENSOR.fullmatch(name)))
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


def _lora_tensor(module: str, side: str) -> str:
    return f"base_model.model.{module}.lora_{side}.weight"


def _damaged(where: str, what: str) -> ModelError:
    return ModelError(
        f"{where}: is damaged or no safetensors file: {what[:200]}. Copy or export it again."
    )
