"""Sizes counted on the empty model: published figures, plain PEFT, and bases that are loaded."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from peft import (
    AdaLoraConfig,
    IA3Config,
    LoraConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from transformers import AutoConfig
from transformers.integrations.bitsandbytes import replace_with_bnb_linear
from transformers.utils.quantization_config import BitsAndBytesConfig

from architectures import ARCHITECTURES, save_tiny, tiny_config, tiny_model
from toys import open_tiny
from workbench.budget.counting import count_shape, empty_model, shape_of
from workbench.budget.known import KNOWN_SHAPES, any_gpu
from workbench.budget.memory import Storage, base_bytes, kv_bytes_per_token, restored_bytes
from workbench.budget.plan import Question, make_plan
from workbench.budget.sources import find_shape
from workbench.budget.trained import RECIPES, AdaptOptions
from workbench.errors import WorkbenchError
from workbench.methods.catalog import make_method
from workbench.models.base import Prefix
from workbench.models.engine import Engine
from workbench.models.forward import BaseForward
from workbench.shared_options import TARGETS

OPTIONS = AdaptOptions()

# As in the config.json of each; what their files hold by their own index (without second copies).
PUBLISHED = {
    "SmolLM2-135M": (134_515_008, {
        "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "vocab_size": 49_152, "tie_word_embeddings": True,
    }),
    "Llama-3.2-1B": (1_235_814_400, {
        "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192,
        "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
        "vocab_size": 128_256, "tie_word_embeddings": True,
    }),
    "Gemma-3-1B": (999_885_952, {
        "model_type": "gemma3_text", "hidden_size": 1152, "intermediate_size": 6912,
        "num_hidden_layers": 26, "num_attention_heads": 4, "num_key_value_heads": 1,
        "head_dim": 256, "vocab_size": 262_144,
    }),
    "Gemma-3-4B, which sees too": (4_300_079_472, {
        "model_type": "gemma3",
        "text_config": {
            "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10_240,
            "num_hidden_layers": 34, "sliding_window": 1024,
        },
        "vision_config": {
            "model_type": "siglip_vision_model", "hidden_size": 1152, "image_size": 896,
            "intermediate_size": 4304, "num_attention_heads": 16, "num_hidden_layers": 27,
            "patch_size": 14, "vision_use_head": False,
        },
    }),
    "Mixtral-8x7B": (46_702_792_704, {
        "model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14_336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 32_000,
    }),
    "Qwen3-30B-A3B": (30_532_122_624, {
        "model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144,
        "moe_intermediate_size": 768, "num_hidden_layers": 48, "num_attention_heads": 32,
        "num_key_value_heads": 4, "head_dim": 128, "num_experts": 128, "num_experts_per_tok": 8,
        "vocab_size": 151_936,
    }),
    "Phi-3-mini": (3_821_079_552, {
        "model_type": "phi3", "hidden_size": 3072, "intermediate_size": 8192,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
        "vocab_size": 32_064,
    }),
    "Pythia-70M": (70_426_624, {
        "model_type": "gpt_neox", "hidden_size": 512, "intermediate_size": 2048,
        "num_hidden_layers": 6, "num_attention_heads": 8, "vocab_size": 50_304,
    }),
    "OPT-125M": (125_239_296, {
        "model_type": "opt", "hidden_size": 768, "ffn_dim": 3072, "num_hidden_layers": 12,
        "num_attention_heads": 12, "word_embed_proj_dim": 768, "vocab_size": 50_272,
    }),
    "OPT-350M": (331_196_416, {
        "model_type": "opt", "hidden_size": 1024, "ffn_dim": 4096, "num_hidden_layers": 24,
        "num_attention_heads": 16, "word_embed_proj_dim": 512, "do_layer_norm_before": False,
        "vocab_size": 50_272,
    }),
    "Falcon-7B": (6_921_720_704, {
        "model_type": "falcon", "hidden_size": 4544, "num_hidden_layers": 32,
        "num_attention_heads": 71, "multi_query": True, "parallel_attn": True, "bias": False,
        "vocab_size": 65_024,
    }),
    "SmolLM3-3B": (3_075_098_624, {
        "model_type": "smollm3", "hidden_size": 2048, "intermediate_size": 11_008,
        "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 4,
        "vocab_size": 128_256,
    }),
    "GPT-2": (124_439_808, {
        "model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024,
        "vocab_size": 50_257,
    }),
    "Qwen2.5-0.5B": (494_032_768, {
        "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864,
        "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
        "vocab_size": 151_936, "tie_word_embeddings": True,
    }),
    "Mistral-7B": (7_241_732_096, {
        "model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14_336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "vocab_size": 32_000,
    }),
}  # fmt: skip


@pytest.mark.parametrize(("published", "config"), PUBLISHED.values(), ids=PUBLISHED)
def test_a_config_alone_gives_the_published_parameters(tmp_path, published, config):
    (tmp_path / "config.json").write_text(json.dumps(config))

    assert find_shape(str(tmp_path)).parameters == published


# The figures of the table's entries once more, in the words of their config.json.
def _llama(width, inner, layers, heads, vocabulary, context, **more):
    return {
        "model_type": "llama", "hidden_size": width, "intermediate_size": inner,
        "num_hidden_layers": layers, "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1], "vocab_size": vocabulary,
        "max_position_embeddings": context, **more,
    }  # fmt: skip


_TIED = {"tie_word_embeddings": True}
TABLE = {
    "smollm2-135m-instruct": _llama(576, 1536, 30, (9, 3), 49_152, 8192, **_TIED),
    "smollm2-360m-instruct": _llama(960, 2560, 32, (15, 5), 49_152, 8192, **_TIED),
    "smollm2-1.7b-instruct": _llama(2048, 8192, 24, (32, 32), 49_152, 8192, **_TIED),
    "gemma-3-270m": _llama(
        640, 2048, 18, (4, 1), 262_144, 32_768, model_type="gemma3_text", head_dim=256
    ),
    "qwen3-0.6b": _llama(
        1024, 3072, 28, (16, 8), 151_936, 40_960, model_type="qwen3", head_dim=128, **_TIED
    ),
    "mistral-7b": _llama(4096, 14_336, 32, (32, 8), 32_000, 32_768, model_type="mistral"),
    "llama-2-7b": _llama(4096, 11_008, 32, (32, 32), 32_000, 4096),
    "llama-3.1-8b": _llama(4096, 14_336, 32, (32, 8), 128_256, 131_072),
    "llama-2-13b": _llama(5120, 13_824, 40, (40, 40), 32_000, 4096),
    "llama-33b": _llama(6656, 17_920, 60, (52, 52), 32_000, 2048),
    "llama-65b": _llama(8192, 22_016, 80, (64, 64), 32_000, 2048),
    "llama-2-70b": _llama(8192, 28_672, 80, (64, 8), 32_000, 4096),
    "gpt-3-175b": {
        "model_type": "gpt2", "n_embd": 12_288, "n_layer": 96, "n_head": 96, "n_positions": 2048,
        "vocab_size": 50_257,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN_SHAPES)
def test_the_table_holds_what_is_counted_on_the_empty_model(name):
    known, values = KNOWN_SHAPES[name], dict(TABLE[name])
    config = AutoConfig.for_model(values.pop("model_type"), **values)

    assert count_shape(config, name=name, source=known.source) == known


def counted(count):
    """Return what is counted, or the words of a refusal."""
    try:
        return count()
    except WorkbenchError as error:
        return str(error)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_any_architecture_is_counted_layer_by_layer_or_refused_in_a_sentence(name):
    model = empty_model(tiny_config(name), name)
    shape = counted(lambda: count_shape(model.config, name=name, source="made here"))
    if isinstance(shape, str):
        assert shape.startswith(f"model '{name}': ")
        assert "\n" not in shape
        return
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert 0 < shape.decoder_parameters < shape.parameters
    head = [n for n, m in model.named_modules() if m is model.get_output_embeddings()]
    kept = [*head, *(model._keep_in_fp32_modules or ())]
    replaced = replace_with_bnb_linear(
        model, kept, BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    )
    found = [m for m in replaced.modules() if type(m).__name__ == "Linear4bit"]
    packed = [linear for linear in shape.linears if linear.is_quantised]
    assert sum(linear.count for linear in packed) == len(found)
    assert sum(linear.count * linear.weights for linear in packed) == sum(
        layer.in_features * layer.out_features for layer in found
    )


LOADED = ("falcon", "gemma3", "gpt2", "gpt_neox", "mixtral", "opt-projected", "phi3", "qwen3")
TARGETS_CHOSEN = ("lora", "dora", "adalora")


@pytest.fixture(scope="module", params=LOADED)
def tiny(request, tmp_path_factory):
    return save_tiny(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def base(tiny):
    return open_tiny(tiny, "nf4")


@pytest.mark.parametrize("precision", ["nf4", "int8", "fp32"])
def test_the_footprint_is_exactly_that_of_the_loaded_base(tiny, base, precision):
    loaded = base if precision == "nf4" else open_tiny(tiny, precision)
    shape, storage = find_shape(str(tiny)), Storage(precision, is_gpu=False)
    states = Engine(loaded).compute_prefix(Prefix(((5, 6, 7),)), None)

    assert base_bytes(shape, storage) == loaded.info.footprint_bytes
    assert 3 * kv_bytes_per_token(shape, storage) == sum(
        kept.nbytes for kept in (*states.keys, *states.values)
    )
    unpacked = Storage(precision, is_gpu=False, unpacked_bytes=4)
    assert restored_bytes(shape, unpacked) == loaded.info.restored_bytes
    assert restored_bytes(shape, storage) == 0


OTHERS = ("bitfit", "bottleneck_adapter", "full_fine_tuning", "ia3")
METHODS = {name: (name, {}) for name in OTHERS} | {
    f"{name} on {targets}": (name, {"targets": targets})
    for name in TARGETS_CHOSEN
    for targets in TARGETS
}  # fmt: skip


@pytest.mark.parametrize(("name", "options"), METHODS.values(), ids=METHODS)
def test_a_weight_method_trains_what_is_planned_or_both_refuse_alike(tiny, base, name, options):
    context = SimpleNamespace(engine=SimpleNamespace(forward=BaseForward(base.model)))
    shape, method = find_shape(str(tiny)), make_method(name, options)
    asked = replace(OPTIONS, **options)

    planned = counted(lambda: RECIPES[name].trained(shape, asked))

    assert planned == counted(lambda: method.num_trainable(context))
    plan = make_plan(Question(shape, any_gpu(24), options=asked), (name,))
    assert plan.refused.get(name, plan.rows and plan.rows[0].trained) == planned


def test_keys_and_values_of_several_shapes_cannot_be_learned():
    even = KNOWN_SHAPES["llama-2-7b"]
    latent = replace(even, name="latent", state_width=even.layers * (576 + 512))

    plan = make_plan(Question(latent, any_gpu(24)))

    assert make_plan(Question(even, any_gpu(24))).refused == {}
    assert plan.refused == {
        "prefix_tuning": "model 'latent': its keys and values are not of one shape, so they cannot "
        "be learned as a prefix. Use prompt_tuning or lora."
    }


def test_a_mixture_without_a_linear_mlp_refuses_what_would_go_there_and_plans_the_rest():
    shape = count_shape(tiny_config("mixtral"), name="mixture", source="made here")

    plan = make_plan(Question(shape, any_gpu(24)))

    assert set(plan.refused) == {"ia3", "bottleneck_adapter"}
    assert plan.row("lora").trained > 0
    packed = sum(linear.count * linear.weights for linear in shape.linears if linear.is_quantised)
    assert packed + shape.expert_parameters < shape.decoder_parameters


@pytest.mark.parametrize("targets", TARGETS)
def test_layers_of_one_name_and_several_sizes_all_count(targets):
    model = tiny_model("llama")
    narrow = model.model.layers[1].mlp
    narrow.gate_proj, narrow.up_proj = torch.nn.Linear(32, 48), torch.nn.Linear(32, 48)
    narrow.down_proj = torch.nn.Linear(48, 32)
    shape = shape_of(model, name="uneven", source="made here")
    context = SimpleNamespace(engine=SimpleNamespace(forward=SimpleNamespace(model=model)))

    trained = make_method("lora", {"targets": targets}).num_trainable(context)

    planned = RECIPES["lora"].trained(shape, replace(OPTIONS, targets=targets))
    assert planned == trained
    assert shape.inner_width == (64 + 48) / 2


BY_PEFT = {
    "lora": LoraConfig(r=OPTIONS.rank),
    "dora": LoraConfig(r=OPTIONS.rank, use_dora=True),
    "adalora": AdaLoraConfig(init_r=OPTIONS.init_rank, total_step=10),
    "ia3": IA3Config(),
    "prompt_tuning": PromptTuningConfig(num_virtual_tokens=OPTIONS.num_virtual_tokens),
    "p_tuning": PromptEncoderConfig(num_virtual_tokens=OPTIONS.num_virtual_tokens),
    "prefix_tuning": PrefixTuningConfig(num_virtual_tokens=OPTIONS.num_virtual_tokens),
}
# PEFT's defaults for AdaLoRA and IA3 are other layers in some families.
QUERIES_AND_VALUES: dict[str, list[str]] = {
    "falcon": ["query_key_value"], "gpt2": ["c_attn"], "gpt_neox": ["query_key_value"],
    **{family: ["q_proj", "v_proj"] for family in ("llama", "mistral", "opt", "qwen3")},
}  # fmt: skip
MLP_END = {"falcon": "dense_4h_to_h", "gpt2": "mlp.c_proj", "gpt_neox": "dense_4h_to_h",
           "opt": "fc2"}  # fmt: skip


def peft_config(name, family):
    """Return PEFT's config of a method, on the layers that it should change."""
    config = replace(BY_PEFT[name], task_type="CAUSAL_LM")
    chosen = QUERIES_AND_VALUES[family]
    if isinstance(config, LoraConfig):
        return replace(config, target_modules=chosen, fan_in_fan_out=family == "gpt2")
    if isinstance(config, IA3Config):
        end = MLP_END.get(family, "down_proj")
        keys = ["k_proj" if layer == "q_proj" else layer for layer in chosen]
        return replace(config, target_modules=[*keys, end], feedforward_modules=[end],
                       fan_in_fan_out=family == "gpt2")  # fmt: skip
    return config


# Falcon keeps keys and values for one head, and PEFT makes them for each head that asks.
COMPARED = [
    (family, name)
    for family in QUERIES_AND_VALUES
    for name in BY_PEFT
    if (family, name) != ("falcon", "prefix_tuning")
]


@pytest.mark.parametrize(("family", "name"), COMPARED)
def test_counts_are_those_of_plain_peft(family, name):
    model = tiny_model(family)
    shape = shape_of(model, name=family, source="made here")

    wrapped = get_peft_model(model, peft_config(name, family))

    trained = sum(part.numel() for part in wrapped.parameters() if part.requires_grad)
    assert RECIPES[name].trained(shape, OPTIONS) == trained


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "phi3"])
def test_all_linear_layers_are_those_that_peft_means_by_it(family):
    model = tiny_model(family)
    shape = shape_of(model, name=family, source="made here")
    config = LoraConfig(
        r=4, target_modules="all-linear", task_type="CAUSAL_LM", fan_in_fan_out=family == "gpt2"
    )

    wrapped = get_peft_model(model, config)

    planned = RECIPES["lora"].trained(shape, AdaptOptions(rank=4, targets="all_linear"))
    assert planned == sum(part.numel() for part in wrapped.parameters() if part.requires_grad)
