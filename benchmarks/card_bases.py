"""Bases of published shapes with random weights, made on the spot: speed and memory need no others.

The sizes are those of each model's config.json on the Hub; weights are drawn a block at a time, so
that the largest takes the memory of one block. The tokenizer has a token for each byte.
"""

import json
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from workbench.models.loading import ComputeDtype, LoadedBase, load_weights
from workbench.models.weights import WeightSource

_LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_act": "silu",
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128_256,
    "max_position_embeddings": 131_072,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500_000.0,
}
_LLAMA_ROPE = {
    "rope_type": "llama3",
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "llama-3.2-1b": {  # https://huggingface.co/meta-llama/Llama-3.2-1B/blob/main/config.json
        **_LLAMA,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "head_dim": 64,
        "rope_scaling": {**_LLAMA_ROPE, "factor": 32.0},
        "tie_word_embeddings": True,
    },
    "qwen3-4b": {  # https://huggingface.co/Qwen/Qwen3-4B/blob/main/config.json
        "model_type": "qwen3",
        "architectures": ["Qwen3ForCausalLM"],
        "hidden_act": "silu",
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151_936,
        "max_position_embeddings": 40_960,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "tie_word_embeddings": True,
    },
    "llama-3.1-8b": {  # https://huggingface.co/meta-llama/Llama-3.1-8B/blob/main/config.json
        **_LLAMA,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "head_dim": 128,
        "rope_scaling": {**_LLAMA_ROPE, "factor": 8.0},
        "tie_word_embeddings": False,
    },
}
"""What decides speed and memory, by name; the ids of special tokens are those of our tokenizer."""

_TINY = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 512,
    "max_position_embeddings": 8192,
}
_END_ID = 0
_END = {"bos_token_id": None, "eos_token_id": _END_ID, "pad_token_id": _END_ID}
_SPREAD, _TINY_SPREAD = 0.02, 0.15  # of the weights; narrow layers need more to tell texts apart
_SEED = 15


def config_of(shape: str, *, is_tiny: bool = False) -> dict[str, Any]:
    """Return the config of a published shape, or of a tiny model of the same architecture."""
    spread = {"initializer_range": _TINY_SPREAD if is_tiny else _SPREAD}
    return {**PUBLISHED[shape], **(_TINY if is_tiny else {}), **_END, **spread, "dtype": "bfloat16"}


def write_base(config: Mapping[str, Any], folder: Path, device: str) -> None:
    """Write a base of a config: random weights in bfloat16, a file for each block, and a tokenizer.

    Args:
        config: What `config_of` returns.
        folder: Where to.
        device: Where the numbers are drawn. The same seed draws others on another device.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    files: dict[str, str] = {}
    for number, (block, shapes) in enumerate(_blocks(folder).items()):
        name = f"model-{number:05d}.safetensors"
        tensors = {
            one: _drawn(one, shape, config["initializer_range"], device)
            for one, shape in shapes.items()
        }
        save_file(tensors, folder / name, metadata={"format": "pt", "block": block})
        files |= dict.fromkeys(tensors, name)
    index = {"metadata": {}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    _write_tokenizer(folder)


def open_base(
    folder: Path, device: str, *, compute_dtype: ComputeDtype | Literal["auto"] = "auto"
) -> LoadedBase:
    """Return a base of this module in NF4; its files are taken on trust, so they are not hashed."""
    source = WeightSource(folder, "random weights", f"random:{_SEED}")
    return load_weights(
        source, name=folder.name, precision="nf4", device=device, compute_dtype=compute_dtype
    )


def _blocks(folder: Path) -> dict[str, dict[str, torch.Size]]:
    """Return names and shapes of a config's weights, block by block."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    blocks: dict[str, dict[str, torch.Size]] = defaultdict(dict)
    for name, parameter in _parameters(model):  # a tied head is there once
        blocks[".".join(name.split(".")[:3])][name] = parameter.shape
    return blocks


def _parameters(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    tied = model.config.tie_word_embeddings
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if not (tied and name == "lm_head.weight"):
            yield name, parameter


def _drawn(name: str, shape: torch.Size, spread: float, device: str) -> torch.Tensor:
    """Return a weight: ones for a norm, else N(0, spread), drawn from seed and name."""
    if len(shape) == 1:
        return torch.ones(shape, dtype=torch.bfloat16)
    generator = torch.Generator(device).manual_seed(_SEED * 2**32 + zlib.crc32(name.encode()))
    values = torch.empty(shape, dtype=torch.bfloat16, device=device)
    values.normal_(std=spread, generator=generator)
    if name.endswith(("embed_tokens.weight", "lm_head.weight")):
        values[_END_ID] = 0  # a logit of 0 is never the highest: no answer ends early
    return values.cpu()


def _write_tokenizer(folder: Path) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<end>": 0} | {symbol: number + 1 for number, symbol in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")
    fast.save_pretrained(folder)
