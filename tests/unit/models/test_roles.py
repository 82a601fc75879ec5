"""Which layers a change of weights is put on: PEFT's own defaults, and what layers do."""

from pathlib import Path

import pytest
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from architectures import tiny_model
from workbench.errors import ConfigError
from workbench.models.layers import features_of, linear_layers, unread_layers
from workbench.models.roles import _ROLES, is_targeted, layers_of_role, shortest_targets

SMALL = {
    "vocab_size": 32,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
GROUPED = SMALL | {"num_key_value_heads": 1}
LATENT = SMALL | {
    "num_key_value_heads": 2,
    "kv_lora_rank": 4,
    "q_lora_rank": 4,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
}
FAMILIES = {
    "biogpt": SMALL,
    "dbrx": {
        **{"vocab_size": 32, "d_model": 16, "n_layers": 2, "n_heads": 2, "max_seq_len": 32},
        "attn_config": {"kv_n_heads": 1, "rope_theta": 10_000.0},
        "ffn_config": {"ffn_hidden_size": 24, "hidden_size": 16, "moe_num_experts": 2},
    },
    "falcon": SMALL,
    "gemma3_text": GROUPED | {"head_dim": 8},
    "gpt2": SMALL,
    "gpt_bigcode": SMALL,
    "gpt_neox": SMALL,
    "glm": GROUPED | {"head_dim": 8},
    "granitemoeshared": GROUPED | {"shared_intermediate_size": 24, "num_local_experts": 2},
    "llama": GROUPED,
    "minicpm3": LATENT,
    "opt": SMALL | {"ffn_dim": 24, "word_embed_proj_dim": 16},
    "persimmon": SMALL,
    "phi": SMALL,
    "phi3": GROUPED,
    "qwen3": GROUPED | {"head_dim": 8},
    "starcoder2": GROUPED,
}


# PEFT puts Phi's MLP in too, and names no default for the families left out.
KNOWN_TO_PEFT = (
    *("falcon", "gemma3_text", "gpt2", "gpt_bigcode", "gpt_neox", "llama", "opt", "qwen3"),
)
MIXTURES = ("dbrx", "granitemoeshared")  # their routers and experts have no role


def small(family):
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **FAMILIES[family]))


def lora(family, targets=None):
    """Return PEFT's config; only GPT-2's own layers are not plain linear ones."""
    return LoraConfig(
        task_type="CAUSAL_LM", r=2, target_modules=targets, fan_in_fan_out=family == "gpt2"
    )


def changed_by_peft(model, config, part):
    wrapped = get_peft_model(model, config)
    names = (name for name, _ in wrapped.named_parameters() if part in name)
    return {name.removeprefix("base_model.model.").partition(f".{part}")[0] for name in names}


@pytest.mark.parametrize("family", KNOWN_TO_PEFT)
def test_queries_and_values_are_the_layers_that_peft_takes_by_default(family):
    found = linear_layers(small(family), "attention_qv")

    theirs = changed_by_peft(small(family), lora(family), "lora_A")
    assert set(found) == theirs


@pytest.mark.parametrize("family", ["falcon", "gpt2", "gpt_bigcode", "gpt_neox", "llama"])
def test_ia3_scales_the_layers_that_peft_takes_by_default(family):
    model = small(family)

    found = {*linear_layers(model, "keys_values"), *linear_layers(model, "mlp_output")}

    config = IA3Config(task_type="CAUSAL_LM", fan_in_fan_out=family == "gpt2")
    assert found == changed_by_peft(small(family), config, "ia3_l")


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in MIXTURES])
def test_attention_and_mlp_are_all_linear_layers_and_share_none(family):
    model = small(family)

    attention, mlp = linear_layers(model, "attention"), linear_layers(model, "mlp")

    assert {*attention, *mlp} == set(linear_layers(model))
    assert not set(attention) & set(mlp)
    assert set(linear_layers(model, "attention_qv")) <= set(attention)
    assert set(linear_layers(model, "attention_output")) <= set(attention)
    assert set(linear_layers(model, "mlp_output")) < set(mlp)


@pytest.mark.parametrize("family", ["gemma3", "gemma4_unified", "phi4_multimodal"])
def test_layers_that_only_see_or_hear_are_told_from_those_that_a_text_runs_through(family):
    model, ran = tiny_model(family).eval(), set()
    linear = [name for name, module in model.named_modules() if features_of(module)]
    for name in linear:
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.add(name))

    with torch.no_grad():
        model(torch.tensor([[5, 6, 7, 8]]))

    assert unread_layers(model, linear) == sorted({*linear} - ran) != []
    assert {*linear_layers(model)} == ran - {"lm_head"}


def test_every_name_is_that_of_a_layer_in_a_family_that_is_run():
    table = Path("docs/architectures.md").read_text(encoding="utf-8")
    layers = [name for family in FAMILIES for name in linear_layers(small(family))]
    names = {name for parts in _ROLES.values() for called in parts.values() for name in called}

    assert [family for family in FAMILIES if f"| `{family}` | exact |" not in table] == []
    assert sorted(n for n in names if not any(is_targeted(one, [n]) for one in layers)) == []


@pytest.mark.parametrize("role", ["attention", "mlp", "attention_qv", "all_linear"])
@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "llama"])
def test_what_is_written_for_peft_names_the_changed_layers_and_no_others(family, role):
    model = small(family)
    chosen = linear_layers(model, role)

    targets = shortest_targets(chosen, dict(model.named_modules()))

    assert changed_by_peft(small(family), lora(family, targets), "lora_A") == set(chosen)


def test_a_base_without_such_layers_says_what_its_layers_are_called():
    names = ["layers.0.mixer.in_proj", "layers.0.mixer.out_proj"]

    with pytest.raises(ConfigError) as caught:
        layers_of_role(names, "attention_qv", where="base model 'states'")

    assert str(caught.value) == (
        "targets: base model 'states' has no layer for its queries (q_proj, q_b_proj, c_attn, "
        "qkv_proj, query_key_value, Wqkv); its linear layers are called in_proj, out_proj. "
        "Use lora with targets 'all_linear', or a prompt method."
    )
