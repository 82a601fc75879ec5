"""Model folders as people have them: what is not the model that its config names is refused.

Otherwise transformers fills gaps with random numbers, applies adapters, or leaves matrices alone.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BitsAndBytesConfig,
)

from architectures import save_tiny
from toys import TEST_DEVICE
from workbench.errors import ModelError, PromptError
from workbench.fitting.learning import embedding_rms
from workbench.models.base import Conditioning, GenerationOptions, Prefix
from workbench.models.engine import Engine
from workbench.models.loading import load_base

WEIGHTS = "model.safetensors"
_UP = "model.layers.0.mlp.up_proj"


@pytest.fixture
def folder(tiny_folder, tmp_path) -> Path:
    """Return a copy of the tiny model's folder, to be damaged."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "base"))


def load(folder: Path, precision: str = "fp32"):
    return load_base(str(folder), precision=precision, device=TEST_DEVICE)


def refusal(folder: Path, precision: str = "fp32") -> str:
    """Return the one message with which a folder is refused."""
    with pytest.raises(ModelError) as error:
        load(folder, precision)
    message = str(error.value)
    assert "base" in message  # which folder
    return message


def change_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_weights(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
) -> None:
    tensors = change(load_file(folder / WEIGHTS))
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def add_tokens(folder: Path, *tokens: str, is_special: bool) -> None:
    """Add tokens to the folder's tokenizer, after the last row of the embedding."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    (tokenizer.add_special_tokens if is_special else tokenizer.add_tokens)(list(tokens))
    tokenizer.save(str(folder / "tokenizer.json"))


# What is not the model


@pytest.mark.parametrize("gone", ["lm_head.weight", f"{_UP}.weight", "model.layers.1.", "model."])
def test_missing_weights_are_named(folder, gone):
    change_weights(folder, lambda all_: {k: v for k, v in all_.items() if not k.startswith(gone)})
    message = refusal(folder)
    assert gone.removesuffix(".") in message
    assert "missing" in message


def test_a_layer_that_the_config_does_not_have_is_named(folder):
    change_config(folder, num_hidden_layers=1)
    message = refusal(folder)
    assert "model.layers.1." in message
    assert "num_hidden_layers" not in message  # the message says what is there, not what is meant


def test_weights_of_another_shape_are_named(folder):
    change_config(folder, intermediate_size=96)
    message = refusal(folder)
    assert "mlp.up_proj.weight" in message or "mlp.down_proj.weight" in message
    assert "128" in message
    assert "96" in message


def test_a_classifier_is_not_a_language_model(folder):
    classifier = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3)
    classifier.save_pretrained(folder)
    message = refusal(folder)
    assert "lm_head.weight" in message
    assert "score.weight" in message


def test_a_tied_head_is_not_missing(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(folder)
    assert "lm_head.weight" not in load_file(folder / WEIGHTS)
    assert load(folder).info.num_parameters == model.num_parameters()


def test_old_buffers_are_no_weights(folder):
    """Checkpoints of earlier years carry the frequencies of their rotations."""
    old = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(8) for i in range(2)}
    change_weights(folder, lambda all_: all_ | old)
    load(folder)


@pytest.mark.parametrize("name", ["gpt_neox", "gpt2"])
def test_old_masks_are_no_weights_however_low(tmp_path, name):
    """In 16 bits the lowest number of a mask of earlier years, -1e9, is minus infinity."""
    folder = save_tiny(name, tmp_path / "base")
    block = {"gpt_neox": "gpt_neox.layers.{}.attention", "gpt2": "transformer.h.{}.attn"}[name]
    old = {f"{block.format(i)}.masked_bias": torch.tensor(-1e9).half() for i in range(2)}
    assert not any(mask.isfinite() for mask in old.values())
    change_weights(folder, lambda all_: all_ | old)
    load(folder)


def test_a_folder_loads_to_the_same_numbers_twice(folder):
    first, second = load(folder).model.state_dict(), load(folder).model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("num", [1, 2])
def test_what_is_left_over_is_not_called_missing(folder, num):
    """Training by reinforcement leaves a head for values beside the model."""
    names = ["v_head.summary.weight", "v_head.summary.bias"][:num]
    change_weights(folder, lambda all_: all_ | {name: torch.ones(1) for name in names})
    message = refusal(folder)
    assert "v_head.summary.weight" in message
    assert "random" not in message
    assert ("1 weight in its files has no place" in message) == (num == 1)
    assert ("2 weights in its files have no place" in message) == (num == 2)


# What is quantised already


@pytest.mark.parametrize(
    ("quantization", "names"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 32}, "gptq"),
        ({"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm"}, "awq"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8"),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors"),
        ({"load_in_4bit": True}, "bitsandbytes"),
    ],
)
@pytest.mark.parametrize("precision", ["fp32", "nf4", "int8"])
def test_a_quantised_folder_is_refused(folder, quantization, names, precision):
    change_config(folder, quantization_config=quantization)
    message = refusal(folder, precision)
    assert names in message
    assert "quantised already" in message


@pytest.mark.parametrize("nothing", [{}, None])
def test_an_empty_word_on_quantisation_says_nothing(folder, nothing):
    change_config(folder, quantization_config=nothing)
    load(folder)


def test_quantised_matrices_without_a_word_in_the_config_are_refused(folder):
    def packed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        weight = tensors.pop(f"{_UP}.weight")
        shape = (weight.shape[1] // 8, weight.shape[0])
        return tensors | {f"{_UP}.qweight": torch.zeros(shape, dtype=torch.int32)}

    change_weights(folder, packed)
    message = refusal(folder)
    assert f"{_UP}.weight" in message
    assert f"{_UP}.qweight" in message


@pytest.mark.parametrize("kind", ["nf4", "fp4", "int8"])
def test_what_bitsandbytes_saved_is_refused(folder, tmp_path, kind):
    options = (
        BitsAndBytesConfig(load_in_8bit=True)
        if kind == "int8"
        else BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=kind)
    )
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=options)
    model.save_pretrained(folder)
    assert "quantised already by bitsandbytes" in refusal(folder, kind)


# What lies beside the model


def test_an_adapter_beside_the_model_is_never_applied(folder):
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder),
        LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False),
    )
    adapted.save_pretrained(folder)
    message = refusal(folder)
    assert "adapter_config.json" in message
    assert "folder of its own" in message


def test_a_tokenizer_with_more_tokens_than_the_embedding_is_refused(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(200)
    model.save_pretrained(folder)
    message = refusal(folder)
    assert "200" in message
    assert "256" in message  # the tokenizer's highest id


@pytest.mark.parametrize("is_special", [True, False])
def test_only_an_added_token_that_texts_reach_needs_a_row(folder, is_special):
    """A padding token that was added and never trained is in no prompt; an added word may be."""
    add_tokens(folder, "<pad>" if is_special else "sunny", is_special=is_special)
    if is_special:
        load(folder)
    else:
        assert "'sunny' (257)" in refusal(folder)


@pytest.mark.parametrize("role", ["bos_token", "eos_token"])
def test_a_token_that_starts_or_ends_texts_needs_a_row(folder, role):
    add_tokens(folder, "<own>", is_special=True)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {role: "<own>"}))
    assert "'<own>' (257)" in refusal(folder)


def test_a_prompt_with_a_token_that_has_no_row_is_refused_in_words(folder):
    """A wording may write any control token; the embedding must not be asked for it."""
    add_tokens(folder, "<image>", is_special=True)
    engine = Engine(load(folder))
    number = engine.tokenizer.convert_tokens_to_ids("<image>")
    options = GenerationOptions(max_new_tokens=1)
    for row in (
        Conditioning(Prefix(((5, number),)), (6, 7)),
        Conditioning(Prefix(((5,),)), (6, number)),
    ):
        for run in (
            lambda row=row: engine.score([row], [[(8,)]]),
            lambda row=row: engine.generate([row], options),
            lambda row=row: engine.run_as_tree(row.prefix, [row.token_ids], None),
        ):
            with pytest.raises(PromptError, match=r"'<image>' \(257\).*257 rows.*Leave it out"):
                run()
    with pytest.raises(PromptError, match="'<image>'"):
        engine.score([Conditioning(Prefix(((5,),)), (6,))], [[(8, number, 9)]])
    with pytest.raises(PromptError, match="'<image>'"):
        engine.states_of_prefix(Prefix(((5, number),)))


def test_a_step_size_is_taken_from_the_embeddings_that_are_there(folder):
    add_tokens(folder, "<pad>", is_special=True)
    engine = Engine(load(folder))
    context = SimpleNamespace(engine=engine, encoder=SimpleNamespace(tokenizer=engine.tokenizer))
    table = engine.forward.embed(range(257))
    assert embedding_rms(context) == pytest.approx(float(table.square().mean().sqrt()), rel=0.05)


# What is no weight


def test_a_pointer_to_a_large_file_is_no_weight_file(folder):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n"
    (folder / WEIGHTS).write_text(pointer)
    message = refusal(folder)
    assert WEIGHTS in message
    assert "git lfs pull" in message


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_a_pointer_in_place_of_another_file(folder, name):
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\nsize 1\n")
    message = refusal(folder)
    assert name in message
    assert "git lfs pull" in message


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_a_torn_json_file_is_named(folder, name):
    whole = (folder / name).read_text()
    (folder / name).write_text(whole[: len(whole) // 2])
    assert name in refusal(folder)


@pytest.mark.parametrize(
    "content", ["{}", "[1]", '{"weight_map": 3}', '{"weight_map": {"a": 1}}', '{"weight_map": {}}']
)
def test_an_index_that_names_no_files_is_torn(folder, content):
    (folder / WEIGHTS).rename(folder / "model-00001-of-00001.safetensors")
    (folder / f"{WEIGHTS}.index.json").write_text(content)
    message = refusal(folder)
    assert f"{WEIGHTS}.index.json is torn" in message
    assert "again" in message


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_a_torn_weight_file_is_named(folder, share):
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: int(share * len(whole))])
    message = refusal(folder)
    assert WEIGHTS in message
    assert "not whole" in message


def test_a_missing_shard_is_named(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / WEIGHTS).unlink()
    model.save_pretrained(folder, max_shard_size="100KB")
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    shard.unlink()
    assert shard.name in refusal(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("precision", ["fp32", "nf4", "int8"])
def test_weights_that_are_not_numbers_are_named(folder, value, precision):
    def spoiled(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensors[f"{_UP}.weight"][3, 5] = value
        return tensors

    change_weights(folder, spoiled)
    message = refusal(folder, precision)
    assert f"{_UP}.weight" in message
    assert "not finite" in message


@pytest.mark.parametrize(
    "values",
    [
        {"model_type": "no-such-model"},
        {"model_type": "t5"},
        {"num_attention_heads": 0},
        {"hidden_size": "wide"},
        {"rope_parameters": {"rope_type": "no-such-rope"}},
        {"auto_map": {"AutoModelForCausalLM": "own.Model"}, "model_type": "own"},
    ],
)
def test_a_config_of_nothing_known_is_one_message(folder, values):
    change_config(folder, **values)
    assert refusal(folder)


# What is as it should be


def test_a_whole_folder_is_taken(folder):
    assert Engine(load(folder)).info.num_parameters > 0


def test_a_larger_embedding_than_the_tokenizer_is_taken(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(320)
    model.save_pretrained(folder)
    assert load(folder).model.get_input_embeddings().weight.shape[0] == 320


def test_shards_are_taken(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / WEIGHTS).unlink()
    model.save_pretrained(folder, max_shard_size="100KB")
    assert load(folder).info.num_parameters == model.num_parameters()
