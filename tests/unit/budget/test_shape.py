"""Shapes read from configs, held against transformers' own models, which are never filled."""

import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from workbench.budget.known import KNOWN_SHAPES
from workbench.budget.shape import FAMILIES, read_shape
from workbench.budget.sources import find_shape, known_model
from workbench.errors import ModelError
from workbench.models.catalog import BASE_MODELS

_SMALL = {"num_hidden_layers": 3, "hidden_size": 48, "intermediate_size": 80, "vocab_size": 101,
          "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}  # fmt: skip
CONFIGS = {
    "gemma": _SMALL,
    "gemma2": _SMALL,
    "gemma3_text": _SMALL,
    "gpt2": {"n_layer": 3, "n_embd": 48, "n_head": 4, "vocab_size": 101, "n_positions": 64},
    "llama": _SMALL | {"attention_bias": True, "mlp_bias": True},
    "mistral": _SMALL | {"tie_word_embeddings": True},
    "qwen2": {key: value for key, value in _SMALL.items() if key != "head_dim"},
    "qwen3": _SMALL,
}


def empty_model(family, changes):
    config = AutoConfig.for_model(family, **changes)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def test_every_family_is_compared():
    assert set(CONFIGS) == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_are_those_of_the_real_model(family):
    model = empty_model(family, CONFIGS[family])

    shape = read_shape(model.config.to_dict(), name="small", source="made here")

    assert shape.parameters == model.num_parameters()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_config_that_leaves_defaults_out_means_the_same(family):
    model = empty_model(family, CONFIGS[family])

    shape = read_shape({"model_type": family} | CONFIGS[family], name="small", source="made here")

    assert shape.parameters == model.num_parameters()


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"gpt2"}))  # it has other layer names
def test_every_linear_layer_has_the_real_widths(family):
    model = empty_model(family, CONFIGS[family])
    found = {
        name.split(".")[-1]: (layer.in_features, layer.out_features, layer.bias is not None)
        for name, layer in model.get_decoder().named_modules()
        if isinstance(layer, torch.nn.Linear)
    }

    shape = read_shape(model.config.to_dict(), name="small", source="made here")

    wanted = {linear.name: (linear.inputs, linear.outputs, linear.has_bias)
              for linear in shape.linears}  # fmt: skip
    assert found == wanted


@pytest.mark.parametrize("name", BASE_MODELS)
def test_the_table_has_every_base_of_the_catalog_with_its_parameters(name):
    assert KNOWN_SHAPES[name].parameters == BASE_MODELS[name].num_parameters
    assert find_shape(BASE_MODELS[name].hub_id).parameters == BASE_MODELS[name].num_parameters


PUBLISHED = {  # parameters that the files on the Hub hold, by their own index
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-65b": 65_285_660_672,
    "llama-3.1-8b": 8_030_261_248,
    "mistral-7b": 7_241_732_096,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_well_known_models_have_their_published_parameters(name):
    assert KNOWN_SHAPES[name].parameters == PUBLISHED[name]


def test_gpt_3_has_175_billion_parameters():
    assert round(KNOWN_SHAPES["gpt-3-175b"].parameters / 1e9) == 175


def test_a_folder_with_a_config_and_no_weights_is_enough(tmp_path):
    config = {"model_type": "llama"} | _SMALL
    (tmp_path / "config.json").write_text(json.dumps(config))

    assert find_shape(str(tmp_path)).layers == 3


def test_a_model_that_also_sees_is_read_by_its_text_part(tmp_path):
    config = {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"} | _SMALL}

    assert read_shape(config, name="sees", source="made here").family == "gemma3_text"


WRONG = {
    "no such family": {"model_type": "mamba"},
    "no width": {"model_type": "llama", "num_hidden_layers": 2},
    "no layers at all": {"model_type": "llama", **_SMALL, "num_hidden_layers": 0},
    "a width in words": {"model_type": "llama", **_SMALL, "hidden_size": "wide"},
    "a width beyond reason": {"model_type": "llama", **_SMALL, "hidden_size": 1 << 60},
    "no head": {"model_type": "llama", **_SMALL, "num_attention_heads": True},
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
def test_a_config_that_makes_no_sense_is_refused_in_words(content):
    with pytest.raises(ModelError, match="model 'odd'"):
        read_shape(content, name="odd", source="made here")


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"model_type": []}'])
def test_a_file_that_is_no_config_is_refused_in_words(tmp_path, text):
    (tmp_path / "config.json").write_text(text)

    with pytest.raises(ModelError):
        find_shape(str(tmp_path))


@pytest.mark.parametrize("name", ["", "llama-2-14b", "no/such-model", "a\0b", "x" * 5000, "../.."])
def test_an_unknown_name_is_refused_and_known_ones_are_named(name):
    with pytest.raises(ModelError):
        find_shape(name)


def test_who_may_name_no_folder_gets_none(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"} | _SMALL))

    with pytest.raises(ModelError, match="llama-2-13b"):
        known_model(str(tmp_path))
