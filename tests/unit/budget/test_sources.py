"""Where a model's size comes from: a folder with a config, the table, or the Hub's cache."""

import json

import pytest
from transformers import AutoConfig

from architectures import tiny_config, tiny_tokenizer
from workbench.budget.known import KNOWN_SHAPES, known_model
from workbench.budget.sources import find_shape
from workbench.errors import ModelError
from workbench.models.catalog import BASE_MODELS
from workbench.models.folder_checks import check_folder
from workbench.models.loading import load_base

SMALL = {"model_type": "llama", "num_hidden_layers": 3, "hidden_size": 48, "intermediate_size": 80,
         "vocab_size": 101, "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip


def written(folder, config):
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return str(folder)


@pytest.mark.parametrize("name", BASE_MODELS)
def test_the_table_has_every_base_of_the_catalog_with_its_parameters(name):
    assert KNOWN_SHAPES[name].parameters == BASE_MODELS[name].num_parameters
    assert find_shape(BASE_MODELS[name].hub_id).parameters == BASE_MODELS[name].num_parameters


def test_a_folder_with_a_config_and_no_weights_is_enough(tmp_path):
    assert find_shape(written(tmp_path, SMALL)).layers == 3


@pytest.mark.parametrize("left_out", ["num_key_value_heads", "intermediate_size", "vocab_size"])
def test_what_a_config_leaves_out_is_what_transformers_takes(tmp_path, left_out):
    without = {key: value for key, value in SMALL.items() if key != left_out}
    usual = {"num_key_value_heads": 4, "intermediate_size": 11_008, "vocab_size": 32_000}

    found = find_shape(written(tmp_path, without))

    assert found == find_shape(written(tmp_path, without | {left_out: usual[left_out]}))


def test_a_config_may_say_none_for_what_follows_from_the_rest(tmp_path):
    plain = find_shape(written(tmp_path, SMALL))

    assert find_shape(written(tmp_path, SMALL | {"head_dim": None})) == plain


def test_weights_that_are_quantised_already_are_refused_as_at_loading(tmp_path):
    held = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    folder = written(tmp_path, SMALL | held)

    with pytest.raises(ModelError) as planned:
        find_shape(folder)
    with pytest.raises(ModelError) as loaded:
        check_folder(tmp_path, "loading")

    reasons = [str(caught.value).partition(": ")[2] for caught in (planned, loaded)]
    assert reasons[0] == reasons[1]
    assert "quantised already by gptq" in reasons[0]


@pytest.mark.parametrize(
    "name", ["bloom", "lfm2", "mamba", "gemma3n_text", "xlm", "t5", "llama4_text"]
)
def test_what_a_config_decides_is_said_alike_and_before_weights_are_read(tmp_path, name):
    """A file of weights that is no such file would be complained of if it were opened."""
    config = AutoConfig.for_model("t5") if name == "t5" else tiny_config(name)
    config.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"none")

    with pytest.raises(ModelError) as planned:
        find_shape(str(tmp_path))
    with pytest.raises(ModelError) as loaded:
        load_base(str(tmp_path), device="cpu")

    reasons = [str(caught.value).partition(": ")[2] for caught in (planned, loaded)]
    assert reasons[0] == reasons[1]
    assert "Use a Llama-, Gemma-" in reasons[0]
    assert "\n" not in reasons[0]


WRONG = {
    "no such family": {"model_type": "no-such"},
    "no family": {"hidden_size": 64},
    "no decoder": {"model_type": "clip"},
    "no attention": {"model_type": "mamba", "hidden_size": 32, "num_hidden_layers": 2},
    "no layers at all": SMALL | {"num_hidden_layers": 0},
    "more layers than there are": SMALL | {"num_hidden_layers": 1 << 24},
    "a width in words": SMALL | {"hidden_size": "wide"},
    "a width beyond reason": SMALL | {"hidden_size": 1 << 60},
    "no head": SMALL | {"num_attention_heads": 0},
    "heads that do not share the width out": SMALL | {"num_attention_heads": 5},
    "a flag that is none": SMALL | {"tie_word_embeddings": "perhaps"},
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
def test_a_config_that_makes_no_sense_is_refused_in_words(tmp_path, content):
    with pytest.raises(ModelError, match="model '") as caught:
        find_shape(written(tmp_path, content))

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"model_type": []}'])
def test_a_file_that_is_no_config_is_refused_in_words(tmp_path, text):
    with pytest.raises(ModelError):
        find_shape(written(tmp_path, text))


@pytest.mark.parametrize("name", ["", "llama-2-14b", "no/such-model", "a\0b", "x" * 5000, "../.."])
def test_an_unknown_name_is_refused_and_known_ones_are_named(name):
    with pytest.raises(ModelError):
        find_shape(name)


def test_who_may_name_no_folder_gets_none(tmp_path):
    with pytest.raises(ModelError, match="llama-2-13b"):
        known_model(written(tmp_path, SMALL))
