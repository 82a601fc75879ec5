"""Adapters trained elsewhere with PEFT: checked as a whole, then rebuilt from what was checked.

PEFT is only ever given a config of checked values, and weights whose names, types, shapes and
numbers were looked at. Nothing is written before everything has passed.
"""

import hashlib
import json
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import sqrt
from pathlib import Path
from typing import Any, Literal

import torch

from workbench.atomic import explained, write_json
from workbench.errors import ModelError
from workbench.models.adapters.config import checked_config, strict_json
from workbench.models.adapters.files import CONFIG_NAME, WEIGHTS_NAME, read_adapter_files
from workbench.models.adapters.settling import settle
from workbench.models.adapters.tensors import (
    PEFT_TENSOR,
    checked_tensors,
    learned_positions,
    learned_range,
    pattern_value,
)
from workbench.models.base import PrefixStates
from workbench.models.catalog import is_hub_id
from workbench.models.roles import is_targeted
from workbench.sealed import flush, is_old, put_in_place, remove, version_of
from workbench.tensor_files import write_tensors

AdapterKind = Literal["adalora", "ia3", "lora", "prefix_tuning", "prompt_tuning"]

_KINDS: dict[str, AdapterKind] = {
    "ADALORA": "adalora",
    "IA3": "ia3",
    "LORA": "lora",
    "PREFIX_TUNING": "prefix_tuning",
    "PROMPT_TUNING": "prompt_tuning",
}
_MAX_BASE_NAME = 200  # characters shown
_MOST_KEPT = 256  # folders in memory


@dataclass(frozen=True)
class AdapterSummary:
    """What an adapter is.

    Attributes:
        kind: The method it was trained with; DoRA is a LoRA with lengths of its own.
        num_parameters: How many numbers it stores.
        rank: Rank of a low-rank change; that of an AdaLoRA is the one it started with.
        targets: Last parts of the names of modules whose weights are changed.
        num_virtual_tokens: Vectors of a soft prompt, or positions of learned keys and values (P).
        width: Numbers in each vector (D), or in a layer's keys.
        digest: Content hash of config and weights; the name of the base is no part of it.
        base_name: The base it was trained on, by its own account; for display and cautions only.
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
        config: The config in PEFT's format, made of checked values alone.
        tensors: The tensors by PEFT's names; `parts` sorts those of weights, soft prompts are
            (P, D), and prefixes (P, L x 2 x H x head width).
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
            match = PEFT_TENSOR.fullmatch(name)
            if match:
                found.setdefault(match[1], {})[match[2].removesuffix(".weight")] = tensor
        return found

    def scaling_of(self, module: str) -> float:
        """Return what B A of a module is multiplied by: alpha by its rank, or by the root of it."""
        alphas = self.config.get("alpha_pattern", {})
        alpha = float(pattern_value(alphas, module, self.config["lora_alpha"]))
        if self.summary.kind == "adalora":
            return alpha / int(self.config["init_r"])
        rank = len(self.parts[module]["lora_A"])
        return alpha / (sqrt(rank) if self.config["use_rslora"] else rank)

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


def import_adapter(source: Path, target_root: Path) -> tuple[Path, AdapterSummary]:
    """Check an adapter and store it, rebuilt, in a folder of its own.

    Args:
        source: A zip or a folder with adapter_config.json and adapter_model.safetensors.
        target_root: Where the folder is made; its name follows from content and base.

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
    tensors = checked_tensors(f"{files.where}, {WEIGHTS_NAME}", config, files.weights)
    if "target_modules" in config:
        settle(files.where, config, tensors)
    summary = AdapterSummary(
        kind=_KINDS[config["peft_type"]],
        num_parameters=sum(tensor.numel() for tensor in tensors.values()),
        rank=config.get("r", config.get("init_r")),
        targets=tuple(sorted({t.rpartition(".")[2] for t in config.get("target_modules", ())})),
        num_virtual_tokens=config.get("num_virtual_tokens"),
        width=config.get("token_dim"),
        digest=_digest(config, tensors),
        base_name=_one_line(raw.get("base_model_name_or_path")),
    )
    if is_hub_id(summary.base_name):  # a path would tell others about somebody's machine
        config["base_model_name_or_path"] = summary.base_name
    learned = learned_positions(
        f"{files.where}, {WEIGHTS_NAME}", files.weights, summary.num_virtual_tokens or 0
    )
    return CheckedAdapter(files.where, config, tensors, summary, learned)


def check_imported(folder: Path) -> None:
    """Look whether an adapter is what was imported; it is read again only when it has changed.

    Raises:
        ModelError: it is not; says to import it again.
    """
    versions: list[int] = []
    with suppress(OSError):  # said when it is read
        for path in (folder, folder / CONFIG_NAME, folder / WEIGHTS_NAME):
            versions += version_of(path)
    _check_imported(folder, *versions)


@lru_cache(maxsize=_MOST_KEPT)
def _check_imported(folder: Path, *_versions: int) -> None:
    if not _is_whole(folder):
        raise ModelError(
            f"adapter '{folder.name}': has changed on disk or is damaged since it was imported. "
            "Import it again."
        )


def write_adapter(adapter: CheckedAdapter, target_root: Path) -> Path:
    """Write an adapter's folder, whole or not at all; a whole one that is there already is kept.

    Raises:
        StoreError: no space left, or no permission.
    """
    name = _folder_name(adapter)
    target, scratch = target_root / name, target_root / f".{name}.{secrets.token_hex(4)}"
    for left in target_root.glob(".*"):
        if left.is_dir() and is_old(left):
            remove(left)
    if _is_whole(target):
        return target
    try:
        with explained(target):
            scratch.mkdir(parents=True)
            write_json(scratch / CONFIG_NAME, adapter.config)
            learned = adapter.learned
            metadata = None if learned is None else learned_range(*learned)
            write_tensors(scratch / WEIGHTS_NAME, adapter.tensors, metadata)
            flush(scratch)
            put_in_place(scratch, target, is_good=_is_whole)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _is_whole(folder: Path) -> bool:
    """Return whether a folder holds the adapter that its name stands for."""
    try:
        return _folder_name(read_adapter(folder)) == folder.name
    except ModelError:
        return False


def _folder_name(adapter: CheckedAdapter) -> str:
    """Return where an adapter is kept: equal weights that name another base lie apart."""
    digest, base = adapter.summary.digest, adapter.config.get("base_model_name_or_path")
    return digest if base is None else hashlib.sha256(f"{digest} {base}".encode()).hexdigest()[:12]


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
