"""Folders of base models: the config that a plan reads, and what is looked at before loading."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import safetensors.torch
import torch
from transformers import (
    CONFIG_MAPPING,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MixtralConfig,
    Qwen2Config,
)

from fuzz.mutation import changed_json
from fuzz.target import Target, joined, several, written
from workbench.budget.sources import find_shape
from workbench.errors import WorkbenchError
from workbench.models.folder_checks import INDEX, SINGLE, check_folder, check_weight_files
from workbench.models.weights import find_weights

_FILES = (
    "config.json",
    "tokenizer.json",
    INDEX,
    SINGLE,
    "part-1.safetensors",
    "part-2.safetensors",
)


def _config(content: bytes, folder: Path) -> None:
    (folder / "config.json").write_bytes(content)
    shape = find_shape(str(folder))
    assert shape.layers > 0
    assert shape.parameters > 0


def _folder(content: bytes, folder: Path) -> None:
    written(content, folder, _FILES)
    with suppress(WorkbenchError):
        find_weights(str(folder))
    check_folder(folder, "base")
    check_weight_files(folder, "base")


def _config_seeds() -> Sequence[bytes]:
    sizes = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    configs = [
        LlamaConfig(**sizes),
        Qwen2Config(**sizes),
        Gemma3TextConfig(**sizes, head_dim=8),
        MixtralConfig(**sizes, num_local_experts=2),
        GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4),
    ]
    others = [{**sizes, "model_type": name} for name in list(CONFIG_MAPPING)[::12]]
    whole = [config.to_json_string(use_diff=False) for config in configs]
    return [text.encode() for text in (*whole, *map(json.dumps, others))]


def _folder_seeds() -> Sequence[bytes]:
    weights = safetensors.torch.save({"a.weight": torch.ones(2, 2), "b.weight": torch.ones(2)})
    config = json.dumps({"model_type": "llama", "hidden_size": 2}).encode()
    index = {
        "metadata": {},
        "weight_map": {"a.weight": "part-1.safetensors", "b": "part-2.safetensors"},
    }
    parts = {
        INDEX: json.dumps(index).encode(),
        "part-1.safetensors": weights,
        "part-2.safetensors": weights,
    }
    return [
        joined({"config.json": config, "tokenizer.json": b"{}", SINGLE: weights}),
        joined({"config.json": config, **parts}),
    ]


TARGETS = (
    Target("base_config", _config, _config_seeds, (changed_json,), share=2.0),
    Target("base_folder", _folder, _folder_seeds, (several,)),
)
