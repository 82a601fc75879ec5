"""Adapters trained elsewhere: config, tensors, folder and archive."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import safetensors.torch
import torch

from fuzz.mutation import changed_json, changed_tensors, changed_zip
from fuzz.target import Target
from workbench.models.adapters.config import checked_config, strict_json
from workbench.models.adapters.files import CONFIG_NAME, WEIGHTS_NAME
from workbench.models.adapters.named_base import caution_of_base
from workbench.models.adapters.reading import CheckedAdapter, import_adapter, read_adapter
from workbench.readings.loading import kind_of_adapter

_MODULE = "base_model.model.model.layers.0.self_attn.q_proj"
_WIDTH = 4


def _config(content: bytes, folder: Path) -> None:
    checked = checked_config("config", strict_json("config", content))
    again = checked_config("config", json.loads(json.dumps(checked)))
    assert set(again) == set(checked)


def _look_into(adapter: CheckedAdapter) -> None:
    for module in adapter.parts:
        if adapter.summary.kind in ("lora", "adalora"):
            adapter.scaling_of(module)
    if isinstance(adapter.config.get("feedforward_modules", []), list):
        json.dumps(adapter.features)
    caution_of_base(adapter.summary.base_name, "smollm2-135m-instruct")
    json.dumps([adapter.summary.targets, adapter.summary.base_name], ensure_ascii=False).encode()
    if adapter.summary.kind == "prompt_tuning":
        adapter.prompt_vectors(_WIDTH)
    if adapter.summary.kind == "prefix_tuning":
        adapter.prefix_states((1, 1, _WIDTH))


def _taken(source: Path, folder: Path) -> None:
    """Import an adapter; what was kept is the same adapter."""
    kept, summary = import_adapter(source, folder / "imports")
    adapter = read_adapter(kept)
    assert adapter.summary.digest == summary.digest
    kind_of_adapter(kept)
    _look_into(adapter)


def _folder(content: bytes, folder: Path) -> None:
    config, _, weights = content.partition(b"\n")
    source = folder / "given"
    source.mkdir()
    (source / CONFIG_NAME).write_bytes(config)
    (source / WEIGHTS_NAME).write_bytes(weights)
    kind_of_adapter(source)
    _taken(source, folder)


def _zip(content: bytes, folder: Path) -> None:
    source = folder / "given.zip"
    source.write_bytes(content)
    _taken(source, folder)


_LORA = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
_IA3 = {"peft_type": "IA3", "target_modules": ["q_proj"], "feedforward_modules": []}
_ADALORA = {"peft_type": "ADALORA", "init_r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
_PROMPT = {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3, "token_dim": _WIDTH}
_PREFIX = {**_PROMPT, "peft_type": "PREFIX_TUNING", "num_layers": 1, "num_attention_heads": 1}
_MORE = {
    "base_model_name_or_path": "someone/model",
    "auto_mapping": None,
    "bias": "none",
    "rank_pattern": {"q_proj": 2},
    "alpha_pattern": {"^layers.0.self_attn.q_proj": 8},
    "use_dora": True,
    "task_type": "CAUSAL_LM",
    "init_lora_weights": "gaussian",
    "eva_config": {"rho": 2.0},
    "layers_to_transform": [0],
    "lora_dropout": 0.1,
}
_MAPPED = {
    "base_model_class": "LlamaForCausalLM",
    "parent_library": "transformers.models.a.modeling_a",
}


@cache
def _adapters() -> Sequence[tuple[Mapping[str, Any], bytes]]:
    """Return a config and weights of every kind."""
    low = {f"{_MODULE}.lora_A.weight": (2, 4), f"{_MODULE}.lora_B.weight": (4, 2)}
    dora = {**low, f"{_MODULE}.lora_magnitude_vector": (4,)}
    triplets = {
        f"{_MODULE}.lora_A": (2, 4),
        f"{_MODULE}.lora_B": (4, 2),
        f"{_MODULE}.lora_E": (2, 1),
    }
    vectors = {"prompt_embeddings": (3, _WIDTH)}
    kinds: Sequence[tuple[Mapping[str, Any], Mapping[str, tuple[int, ...]]]] = (
        (_LORA, low),
        ({**_LORA, **_MORE}, dora),
        ({**_LORA, "target_modules": ".*q_proj"}, low),
        (_IA3, {f"{_MODULE}.ia3_l": (4, 1)}),
        (_ADALORA, triplets),
        (_PROMPT, vectors),
        (_PREFIX, {"prompt_embeddings": (3, 2 * _WIDTH)}),
        ({**_LORA, "auto_mapping": _MAPPED}, low),
        ({**_PROMPT, "peft_type": "P_TUNING", "encoder_dropout": 0.1}, vectors),
    )
    return [
        (
            config,
            safetensors.torch.save(
                {name: torch.full(shape, 0.5) for name, shape in tensors.items()},
                metadata={"format": "pt", "learned_vectors": "0:2"},
            ),
        )
        for config, tensors in kinds
    ]


def _config_seeds() -> Sequence[bytes]:
    return [json.dumps(config).encode() for config, _ in _adapters()]


def _folder_seeds() -> Sequence[bytes]:
    return [json.dumps(config).encode() + b"\n" + weights for config, weights in _adapters()]


def _zip_seeds() -> Sequence[bytes]:
    found = []
    for config, weights in _adapters():
        stream = io.BytesIO()
        packing = (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED)[len(found) % 2]
        with zipfile.ZipFile(stream, "w", packing) as archive:
            archive.writestr(f"one/{CONFIG_NAME}", json.dumps(config))
            archive.writestr(f"one/{WEIGHTS_NAME}", weights)
            archive.writestr("one/README.md", "A card.")
        found.append(stream.getvalue())
    return found


def _changed_folder(content: bytes, draw: Random) -> bytes:
    config, _, weights = content.partition(b"\n")
    if draw.random() < 0.5:
        return changed_json(config, draw).replace(b"\n", b" ") + b"\n" + weights
    return config + b"\n" + changed_tensors(weights, draw)


TARGETS = (
    Target("adapter_config", _config, _config_seeds, (changed_json,)),
    Target("adapter", _folder, _folder_seeds, (_changed_folder,), share=1.5),
    Target("adapter_zip", _zip, _zip_seeds, (changed_zip,), share=1.5),
)
