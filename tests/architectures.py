"""Tiny configurations of every causal language model that the installed transformers can make.

A row of the table says only what its model needs beyond the sizes all share. Names are model types,
with a suffix where one type has several rows because its config changes how it computes.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.integrations.heterogeneity.configuration_utils import (
    AmbiguousGlobalPerLayerAttributeError,
)

BEGIN, END, PAD = "<begin>", "<end>", "<pad>"
VOCABULARY_SIZE = 3 + 256 + 5  # special tokens, a token per byte, and rows that nothing uses yet

LEFT_OUT = object()  # in a row: the config knows the size by this name but may not be given it

# Configs take of these what they know; their own names for the same thing are among them.
_SIZES: dict[str, object] = {
    "vocab_size": VOCABULARY_SIZE,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
    "hidden_size": 32,
    "d_model": 32,
    "embedding_size": 32,
    "num_hidden_layers": 2,
    "num_layers": 2,
    "n_layer": 2,
    "decoder_layers": 2,
    "encoder_layers": 2,
    "num_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rotary_dim": 4,
    "intermediate_size": 64,
    "ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "encoder_ffn_dim": 64,
    "max_position_embeddings": 512,
    "n_positions": 512,
    "max_seq_len": 512,
    "sliding_window": 16,
    # Mixtures of experts.
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "expert_ffn_hidden_size": 16,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    # Multi-head latent attention: queries and keys are wider than values.
    "kv_lora_rank": 8,
    "q_lora_rank": 12,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "qk_head_dim": 12,
    "v_head_dim": 6,
    # Sparse attention.
    "index_n_heads": 2,
    "index_head_dim": 8,
    "index_topk": 16,
    # Linear attention and state spaces.
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_d_state": 8,
    "mamba_expand": 2,
}
# Their configs leave these out to mean something, so they get them only in a row of the table.
_ONLY_IF_SET = ("num_key_value_heads", "sliding_window", "q_lora_rank")

_LINEAR_AND_FULL = {"layer_types": ["linear_attention", "full_attention"]}
_SLIDING_AND_FULL = {"layer_types": ["sliding_attention", "full_attention"]}
_MULTIPLIERS = {
    "embedding_multiplier": 12.0,
    "logits_scaling": 8.0,
    "residual_multiplier": 0.22,
    "attention_multiplier": 0.0625,
}

_SHARED_BLOCKS = {
    "layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"],
    "use_mamba_kernels": False,
}
_INDEXED = {
    "layer_types": ["linear_attention", "indexed_attention"],
    "hc_lowrank": 8,
    "indexer_n_heads": 2,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 8,
    "indexer_budget": 64,
    "indexer_compress_ratio": 2,
}
_SMALL_VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}

# Types whose row says nothing beyond the shared sizes.
# fmt: off
_PLAIN = (
    "afmoe", "apertus", "arcee", "aria_text", "axk1", "axk2", "bart", "beam", "bert",
    "bert-generation", "big_bird", "bigbird_pegasus", "biogpt", "bitnet", "blenderbot",
    "blenderbot-small", "bloom", "camembert", "codegen", "cohere", "cohere2", "cohere2_moe",
    "ctrl", "cwm", "data2vec-text", "deepseek_v2", "deepseek_v3", "deepseek_v32", "diffllama",
    "doge", "dots1", "electra", "ernie", "ernie4_5", "ernie4_5_moe", "exaone4", "exaone_moe",
    "falcon", "falcon_mamba", "flex_olmo", "flint", "gemma", "gemma3_text", "glm",
    "glm4", "glm4_moe", "glm4_moe_lite", "glm_moe_dsa", "gpt-sw3", "gpt2", "gpt_bigcode",
    "gpt_neox", "gpt_neox_japanese", "gpt_oss", "gptj", "granite", "granite_swa", "granitemoe",
    "granitemoe_swa", "granitemoeshared", "helium", "hrm_text", "hunyuan_v1_dense",
    "hunyuan_v1_moe", "hy_v3", "hy_v4", "hyperclovax", "inkling2_text", "inkling_text",
    "internlm3", "iquestcoder", "jais2", "jetmoe", "kolibri1", "laguna", "llama", "llama4_text",
    "mamba", "marian", "mbart", "megatron-bert", "mellum", "mimo_v2_flash", "minicpm3",
    "minimax", "minimax_m2", "minimax_m3_vl_text", "ministral", "ministral3", "mistral",
    "mixtral", "modernbert-decoder", "moshi", "mpt", "mvp", "nanochat", "olmo", "olmo2",
    "olmo3", "olmo_hybrid", "olmoe", "openai-gpt", "opt", "pegasus", "persimmon", "phi", "phi3",
    "phimoe", "plbart", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "rembert", "roberta",
    "roberta-prelayernorm", "roformer", "rwkv", "seed_oss", "smollm3", "solar_open", "stablelm",
    "starcoder2", "trocr", "vaultgemma", "whisper", "xglm", "xlm", "xlm-roberta",
    "xlm-roberta-xl", "youtu",
)
# fmt: on

_ROWS: dict[str, tuple[str, dict[str, object]]] = {
    # One way to compute among several that a type's config can ask for.
    "bert-decoder": ("bert", {"is_decoder": True}),
    "llama-tied": ("llama", {"tie_word_embeddings": True, "attention_bias": True}),
    "llama-rope-llama3": (
        "llama",
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            }
        },
    ),
    "llama-rope-linear": (
        "llama",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}},
    ),
    "llama-rope-dynamic": (
        "llama",
        {
            "max_position_embeddings": 64,
            "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 8.0},
        },
    ),
    "llama-rope-yarn": (
        "llama",
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 10000.0,
                "factor": 4.0,
                "original_max_position_embeddings": 128,
            }
        },
    ),
    "phi3-rope-longrope": (
        "phi3",
        {
            "original_max_position_embeddings": 64,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "short_factor": [1.0] * 4,
                "long_factor": [2.0, 3.0, 4.0, 5.0],
                "original_max_position_embeddings": 64,
            },
        },
    ),
    "mistral-window": ("mistral", {"sliding_window": 16}),
    "phi3-window": ("phi3", {"sliding_window": 16}),
    "starcoder2-window": ("starcoder2", {"sliding_window": 16}),
    "qwen2-window": ("qwen2", {"use_sliding_window": True, "max_window_layers": 1}),
    "gemma2": ("gemma2", {"attn_logit_softcapping": 2.0}),  # reached, as the usual 50 by large ones
    "gemma2-uncapped": ("gemma2", {"attn_logit_softcapping": None}),
    "gpt2-scaled-by-layer": (
        "gpt2",
        {"scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True},
    ),
    "opt-projected": ("opt", {"word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "falcon-one-key-head": (
        "falcon",
        {"multi_query": True, "new_decoder_architecture": False, "alibi": False},
    ),
    "falcon-key-heads": ("falcon", {"num_kv_heads": 2, "new_decoder_architecture": True}),
    "falcon-alibi": (
        "falcon",
        {"multi_query": False, "new_decoder_architecture": False, "alibi": True, "bias": True},
    ),
    "olmo-clipped": ("olmo", {"clip_qkv": 0.5}),
    "granite-multiplied": ("granite", _MULTIPLIERS),
    "cohere-normed": ("cohere", {"logit_scale": 0.25, "use_qk_norm": True}),
    "smollm3-some-rope": ("smollm3", {"no_rope_layers": [1, 0]}),
    "llama4_text-chunked": (
        "llama4_text",
        {
            "intermediate_size_mlp": 64,
            "num_experts_per_tok": 1,
            "interleave_moe_layer_step": 2,
            "attention_chunk_size": 16,
            "layer_types": ["chunked_attention", "full_attention"],
            "no_rope_layers": [1, 0],
        },
    ),
    # Types that cannot be made from the shared sizes alone.
    "bailing_hybrid": ("bailing_hybrid", {"layer_group_size": 2}),
    "bamba": ("bamba", {"attn_layer_indices": [1]}),
    "cohere_compass_text": (
        "cohere_compass_text",
        {
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 10000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            },
            **_SLIDING_AND_FULL,
        },
    ),
    "cpmant": ("cpmant", {"dim_head": 8, "dim_ff": 64}),
    "dbrx": (
        "dbrx",
        {
            "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
            "ffn_config": {"ffn_hidden_size": 16, "moe_num_experts": 4, "moe_top_k": 2},
        },
    ),
    "deepseek_v4": ("deepseek_v4", {}),
    "dots3_note_text": ("dots3_note_text", {}),
    "falcon_h1": ("falcon_h1", {"mamba_d_ssm": 64}),
    "gemma3n_text": (
        "gemma3n_text",
        {
            **_SLIDING_AND_FULL,
            "vocab_size_per_layer_input": VOCABULARY_SIZE,
            "hidden_size_per_layer_input": 8,
            "num_kv_shared_layers": 0,
            "laurel_rank": 4,
            "activation_sparsity_pattern": [0.0, 0.0],
        },
    ),
    "gemma4_text": (
        "gemma4_text",
        {
            "vocab_size_per_layer_input": VOCABULARY_SIZE,
            "hidden_size_per_layer_input": 8,
            **_SLIDING_AND_FULL,
        },
    ),
    "gemma4_text-plain": (
        "gemma4_text",
        {"hidden_size_per_layer_input": 0, **_SLIDING_AND_FULL},
    ),
    "gemma4_unified_text": ("gemma4_unified_text", _SLIDING_AND_FULL),
    "gpt_neo": (
        "gpt_neo",
        {"attention_types": [[["global", "local"], 1]], "num_heads": 4, "window_size": 16},
    ),
    "granitemoehybrid": (
        "granitemoehybrid",
        {**_MULTIPLIERS, "layer_types": ["mamba", "attention"]},
    ),
    "jamba": (
        "jamba",
        {"attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False},
    ),
    "kimi_linear": (
        "kimi_linear",
        {**_LINEAR_AND_FULL, "linear_head_dim": 8, "linear_num_heads": 4},
    ),
    "lfm2": ("lfm2", {"layer_types": ["conv", "full_attention"]}),
    "lfm2_moe": ("lfm2_moe", {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1}),
    "lfm3": ("lfm3", {"layer_types": ["conv", "full_attention"]}),
    "longcat_flash": ("longcat_flash", {"head_dim": 4}),
    "mamba2": ("mamba2", {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1}),
    "nemotron": ("nemotron", {"num_key_value_heads": 2}),
    "nemotron_h": (
        "nemotron_h",
        {
            "layers_block_type": ["mamba", "attention", "mlp"],
            "ssm_state_size": 8,
            "mamba_num_heads": 8,
            "mamba_head_dim": 8,
            "n_groups": 1,
        },
    ),
    "phi4_multimodal": (
        "phi4_multimodal",
        {
            "vision_config": {**_SMALL_VISION, "crop_size": 28},
            "audio_config": {
                "hidden_size": 16,
                "intermediate_size": 16,
                "num_blocks": 1,
                "num_attention_heads": 2,
                "ext_pw_out_channel": 16,
                "depthwise_separable_out_channel": 16,
                "nemo_conv_channels": 8,
            },
        },
    ),
    "prophetnet": (
        "prophetnet",
        {"num_hidden_layers": LEFT_OUT, "num_decoder_layers": 2, "num_encoder_layers": 2},
    ),
    "qwen3_5_moe_text": ("qwen3_5_moe_text", _LINEAR_AND_FULL),
    "qwen3_5_text": ("qwen3_5_text", _LINEAR_AND_FULL),
    "qwen3_next": ("qwen3_next", _LINEAR_AND_FULL),
    "qwen4_exp_text": ("qwen4_exp_text", _INDEXED),
    "recurrent_gemma": ("recurrent_gemma", {"block_types": ["recurrent", "attention"]}),
    "reformer": (
        "reformer",
        {
            "is_decoder": True,
            "attention_head_size": 8,
            "feed_forward_size": 64,
            "attn_layers": ["local", "lsh"],
            "axial_pos_shape": [16, 32],
            "axial_pos_embds_dim": [16, 16],
        },
    ),
    "roc_bert": (
        "roc_bert",
        {
            "pronunciation_embed_dim": 8,
            "pronunciation_vocab_size": VOCABULARY_SIZE,
            "shape_embed_dim": 8,
            "shape_vocab_size": VOCABULARY_SIZE,
        },
    ),
    "xlnet": (
        "xlnet",
        {"max_position_embeddings": LEFT_OUT, "n_head": 4, "d_inner": 64},
    ),
    "xlstm": ("xlstm", {"hidden_size": 64, "num_heads": 4, "qk_dim_factor": 1.0}),
    "xmod": ("xmod", {"default_language": "en_XX", "languages": ["en_XX"]}),
    "zamba": ("zamba", {**_SHARED_BLOCKS, "num_hidden_layers": 4}),
    "zamba2": ("zamba2", {**_SHARED_BLOCKS, "num_hidden_layers": 4}),
    "zaya": ("zaya", {"num_experts_per_tok": 1}),
    # Readers of pictures and sounds, whose text part is run here.
    "gemma3": ("gemma3", {"text_config": _SLIDING_AND_FULL, "vision_config": _SMALL_VISION}),
    "gemma4": (
        "gemma4",
        {
            "text_config": {
                "vocab_size_per_layer_input": VOCABULARY_SIZE,
                "hidden_size_per_layer_input": 8,
                **_SLIDING_AND_FULL,
            },
            "vision_config": _SMALL_VISION,
        },
    ),
    "gemma4_unified": (
        "gemma4_unified",
        {
            "text_config": _SLIDING_AND_FULL,
            "vision_config": {"mm_embed_dim": 16},
            # Places of pictures and sounds must be in the vocabulary, and never in a text.
            "image_token_id": 1,
            "video_token_id": 1,
            "audio_token_id": 1,
        },
    ),
    "qwen3_5": ("qwen3_5", {"text_config": _LINEAR_AND_FULL}),
    "qwen4_exp": ("qwen4_exp", {"text_config": _INDEXED}),
    "dots3_note": (
        "dots3_note",
        {"vision_config": {"adapter_out_dim": 32}, "audio_config": {"adapter_out_dim": 32}},
    ),
    "qwen3_5_moe": ("qwen3_5_moe", {"text_config": _LINEAR_AND_FULL}),
    "llama4": ("llama4", {}),
    "mllama": ("mllama", {}),
    "emu3": ("emu3", {}),
    "fuyu": ("fuyu", {}),
    "got_ocr2": ("got_ocr2", {"vision_config": _SMALL_VISION}),
    "git": ("git", {"vision_config": _SMALL_VISION}),
    "moss_transcribe_diarize": (
        "moss_transcribe_diarize",
        {
            "audio_config": {
                "hidden_size": 16,
                "intermediate_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
            }
        },
    ),
}

ARCHITECTURES: dict[str, tuple[str, dict[str, object]]] = dict(
    sorted(({name: (name, {}) for name in _PLAIN} | _ROWS).items())
)
"""Name -> (model type, what its config needs beyond the shared sizes)."""

NOT_TINY: dict[str, str] = {
    "blt": "cuts bytes into patches by a second model of its own; made of four models",
    "gemma3n": "its eyes come from the package timm; gemma3n_text is the part that reads text",
    "gemma4_assistant": "drafts for a Gemma 4 and reads that model's states, never text alone",
    "gemma4_unified_assistant": "drafts for a Gemma 4 and reads that model's states",
    "musicgen": "writes the codes of sounds, not text",
    "musicgen_melody": "writes the codes of sounds, not text",
}
"""Model types that transformers lists as causal language models and that have no row: why."""


def tiny_config(name: str) -> PreTrainedConfig:
    """Return the tiny configuration of a row of the table."""
    model_type, values = ARCHITECTURES[name]
    default = AutoConfig.for_model(model_type)
    text = getattr(default, "text_config", None)
    if not isinstance(text, PreTrainedConfig):
        return AutoConfig.for_model(model_type, **_values(default, values))
    inner = values.get("text_config", {})
    assert isinstance(inner, Mapping)
    sizes = {"model_type": text.model_type, **_values(text, inner)}
    return AutoConfig.for_model(model_type, **{**values, "text_config": sizes})


def tiny_model(name: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Return a model of a row, its weights drawn from a fixed seed and far from their start.

    On the device of the context it is called in: `torch.device("meta")` makes shapes alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(tiny_config(name), dtype=dtype)
    generator = torch.Generator().manual_seed(1)
    for weight in model.parameters():
        if weight.is_meta:
            continue
        # Norms, biases and decays start at constants that would hide what is done with them.
        drawn = torch.randn(weight.shape, generator=generator, device="cpu")
        if weight.ndim >= 2:
            weight.data = (1.2 / max(weight.shape[-1], 16) ** 0.5 * drawn).to(dtype)
        else:
            weight.data = (weight.data + 0.1 * drawn).to(dtype)
    return model.eval()


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with a token per byte, after the three special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: number for number, symbol in enumerate((BEGIN, END, PAD, *alphabet))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BEGIN, eos_token=END, pad_token=PAD
    )


def save_tiny(name: str, folder: Path) -> Path:
    """Write a row's model and the tokenizer as a model folder; return the folder."""
    tiny_model(name).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def _values(default: PreTrainedConfig, values: Mapping[str, object]) -> dict[str, object]:
    """Return the shared sizes that a config knows, and what its row says."""
    sizes = {name: size for name, size in _SIZES.items() if _is_known(default, name)}
    if "kv_lora_rank" in sizes:  # every head has its own keys there, as wide as its config says
        sizes.pop("head_dim", None)
        sizes["num_key_value_heads"] = sizes["num_attention_heads"]
    both = sizes | dict(values)
    return {name: value for name, value in both.items() if value is not LEFT_OUT}


def _is_known(default: PreTrainedConfig, name: str) -> bool:
    computed = getattr(type(default), name, None)
    if isinstance(computed, property) and computed.fset is None:
        return False
    try:
        value = getattr(default, name)
    except AmbiguousGlobalPerLayerAttributeError:  # known, and different in each layer
        return True
    except AttributeError:
        return name in getattr(type(default), "__dataclass_fields__", {})
    return value is not None or name not in _ONLY_IF_SET
