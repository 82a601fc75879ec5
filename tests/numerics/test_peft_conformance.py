"""Adapters of every kind made with plain PEFT: here they answer as in PEFT, or are refused by name.

Tolerance: 1e-4 on log-probabilities of tiny models in float32.
"""

import dataclasses
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import peft
import pytest
import torch
from peft import (
    AdaLoraConfig,
    IA3Config,
    LoraConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from transformers import AutoModelForCausalLM

from toys import open_tiny, write_base
from workbench.errors import ModelError
from workbench.models.adapters.peft_changes import adapter_of
from workbench.models.adapters.reading import read_adapter
from workbench.models.base import Conditioning, Prefix
from workbench.models.engine import Engine

WIDE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
BASES = {
    "llama": ("llama", WIDE),
    "tied": ("llama", WIDE | {"tie_word_embeddings": True, "attention_bias": True}),
    "gpt2": ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
    "phi3": ("phi3", WIDE),
    "gemma3": (  # sees pictures too
        "gemma3",
        {
            "text_config": WIDE | {"vocab_size": 257, "head_dim": 8, "initializer_range": 0.15},
            "vision_config": {
                **{"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2},
                **{"num_attention_heads": 2, "image_size": 16, "patch_size": 8},
            },
            "mm_tokens_per_image": 4,
        },
    ),
}
CONTEXTS = ((5, 60, 7, 33, 9, 101), (8, 3, 250, 11))
CHOICES = ((12,), (40, 41, 42))


@dataclasses.dataclass(frozen=True)
class Case:
    """An adapter of plain PEFT: its base, its config, and what happens to it before it is saved."""

    base: str
    config: Callable[[], peft.PeftConfig]
    changed: Callable[[PeftModel], None] = lambda _model: None
    edited: tuple[tuple[str, object], ...] = ()  # fields of adapter_config.json


def lora(base="llama", *, edited=(), **options) -> Case:
    options = {"r": 3, "lora_alpha": 7, "target_modules": ["q_proj", "v_proj"]} | options
    config = {"task_type": "CAUSAL_LM", "init_lora_weights": False} | options
    return Case(base, lambda: LoraConfig(**config), edited=tuple(edited))


def of(kind, base="llama", **options) -> Case:
    return Case(base, lambda: kind(task_type="CAUSAL_LM", **options))


def pruned(model: PeftModel) -> None:
    """Prune triplets as PEFT's own training loop does, one module of all it had."""
    masks = {}
    for number, (name, parameter) in enumerate(model.named_parameters()):
        if "lora_E" in name:
            mask = [(number + place) % 3 == 0 and number % 5 > 0 for place in range(len(parameter))]
            parameter.data[~torch.tensor(mask)] = 0
            masks[name.removeprefix("base_model.model.")] = mask
    model.peft_config["default"].rank_pattern = masks


EXPRESSION = (
    r"(?:.*?(?:self_attn|mlp).*?(?:q_proj|v_proj))|(?:\bmodel\.layers\.[\d]{1,}\.mlp\.up_proj)"
)
ADALORA = {"init_r": 5, "target_r": 3, "total_step": 10, "lora_alpha": 6}
EQUAL = {
    "lora": lora(),
    "lora with biases and a tied head": lora("tied"),
    "rslora": lora(use_rslora=True),
    "all linear layers": lora(target_modules="all-linear"),
    "an expression": lora(target_modules=EXPRESSION),
    "whole names": lora(target_modules=["model.layers.0.self_attn.q_proj", "mlp.down_proj"]),
    "excluded modules": lora(exclude_modules=["layers.0.self_attn.q_proj"]),
    "one layer": lora(layers_to_transform=[1]),
    "one layer by a pattern": lora(layers_to_transform=1, layers_pattern="layers"),
    "patterns": lora(
        rank_pattern={"layers.1.self_attn.q_proj": 5, "q_proj": 2},
        alpha_pattern={"v_proj": 20, "layers.0.self_attn.v_proj": 1},
    ),
    "patterns from the start of the name": lora(
        rank_pattern={"^model.layers.0.self_attn.q_proj": 5, "^self_attn.v_proj": 9},
        alpha_pattern={
            "^layers.0.self_attn.v_proj": 30,  # of no module: names begin with "model"
            r"^model\.layers\.1\.self_attn\.q_proj$": 20,
            "self.attn.v_proj": 2,  # a point is any character
        },
    ),
    "ranks by an expression": lora(rank_pattern={r".*\.1\..*(q|v)_proj": 6}, use_rslora=True),
    "patterns and rslora": lora(rank_pattern={"q_proj": 6}, use_rslora=True),
    "a rank above the width": lora(r=300),
    "started by EVA": lora(edited=[("init_lora_weights", "eva"), ("eva_config", {"rho": 2.0})]),
    "as Unsloth writes it": lora(
        target_modules=EXPRESSION,
        edited=[
            (
                "auto_mapping",
                {
                    "base_model_class": "LlamaForCausalLM",
                    "parent_library": "transformers.models.llama.modeling_llama",
                    "unsloth_fixed": True,
                },
            )
        ],
    ),
    "dora": lora(use_dora=True, target_modules=["q_proj", "up_proj"]),
    "dora with biases": lora("tied", use_dora=True, use_rslora=True),
    "gpt2": lora("gpt2", target_modules=["c_attn", "mlp.c_proj"], fan_in_fan_out=True),
    "dora on gpt2": lora("gpt2", use_dora=True, target_modules=["c_fc"], fan_in_fan_out=True),
    "queries and values, of pictures too": lora("gemma3"),
    "all linear layers, of pictures too": lora("gemma3", target_modules="all-linear"),
    "dora, of pictures too": lora("gemma3", use_dora=True),
    "ia3, of pictures too": of(
        IA3Config, "gemma3", target_modules=["v_proj", "fc2"], feedforward_modules=["fc2"]
    ),
    "fused layers": lora("phi3", target_modules=["qkv_proj", "gate_up_proj"]),
    "adalora": of(AdaLoraConfig, **ADALORA, target_modules=["q_proj", "v_proj"]),
    "adalora, pruned": dataclasses.replace(
        of(AdaLoraConfig, **ADALORA, target_modules=["q_proj", "up_proj"]), changed=pruned
    ),
    "ia3": of(IA3Config),
    "ia3 with biases": of(IA3Config, "tied"),
    "ia3 on gpt2": of(IA3Config, "gpt2", fan_in_fan_out=True),
    "ia3 by expressions": of(
        IA3Config,
        target_modules=r".*\.(v|down)_proj",
        feedforward_modules=r".*\.down_proj",
    ),
    "ia3 of attention alone": of(IA3Config, target_modules=["v_proj"], feedforward_modules=[]),
    "prompt tuning": of(PromptTuningConfig, num_virtual_tokens=4),
    "prompt tuning on gpt2": of(PromptTuningConfig, "gpt2", num_virtual_tokens=4),
    "p-tuning": of(PromptEncoderConfig, num_virtual_tokens=4, encoder_hidden_size=16),
    "prefix tuning": of(PrefixTuningConfig, num_virtual_tokens=4),
    "prefix tuning, projected": of(
        PrefixTuningConfig, num_virtual_tokens=4, prefix_projection=True, encoder_hidden_size=16
    ),
}
REFUSED = {
    "head": (lora(target_modules=["q_proj", "lm_head"]), "'lm_head'"),
    "head that is the embedding": (lora("tied", target_modules=["lm_head"]), "'lm_head'"),
    "head beside pictures": (lora("gemma3", target_modules=["lm_head", "fc1"]), "'lm_head'"),
    "pictures alone": (lora("gemma3", target_modules=["fc1"]), "only layers that no text runs"),
    "embedding": (lora(target_modules=["embed_tokens"]), "embed_tokens"),
    "copy of the head": (lora(modules_to_save=["lm_head"]), "modules_to_save is ['lm_head']"),
    "copy of the embedding": (lora(modules_to_save=["embed_tokens"]), "modules_to_save is "),
    "tokens": (lora(trainable_token_indices=[5]), "trainable_token_indices is [5]"),
    "alphas by an expression": (
        lora(alpha_pattern={r".*\.q_proj": 20}),
        "Write out the names of modules in alpha_pattern",
    ),
    "biases": (lora("tied", bias="lora_only"), "bias is 'lora_only'"),
    "bias of B": (lora("tied", lora_bias=True), "lora_bias is True"),
    "layers twice": (lora(layer_replication=[[0, 2], [1, 2]]), "layer_replication is "),
    "parameters": (
        lora(target_modules=[], target_parameters=["mlp.up_proj.weight"]),
        "target_parameters is ",
    ),
    "invocation": (lora(alora_invocation_tokens=[5]), "alora_invocation_tokens is [5]"),
    "pissa": (lora(init_lora_weights="pissa"), "init_lora_weights is 'pissa'"),
    "olora": (lora(init_lora_weights="olora"), "init_lora_weights is 'olora'"),
    "grouped": (lora(edited=[("use_qalora", True)]), "use_qalora is True"),
    "classifier": (lora(edited=[("task_type", "SEQ_CLS")]), "task_type is 'SEQ_CLS'"),
    "option of tomorrow": (lora(edited=[("twist", 0.5)]), "twist is 0.5"),
    "vera": (of(peft.VeraConfig, target_modules=["q_proj"], r=4), "peft_type is 'VERA'"),
    "loha": (of(peft.LoHaConfig, target_modules=["q_proj"], r=4), "peft_type is 'LOHA'"),
    "oft": (
        of(peft.OFTConfig, target_modules=["q_proj"], oft_block_size=4, r=0),
        "peft_type is 'OFT'",
    ),
    "new tokens": (
        of(peft.TrainableTokensConfig, token_indices=[5]),
        "peft_type is 'TRAINABLE_TOKENS'",
    ),
}


@pytest.fixture(scope="module")
def base_folder(tiny_folder, tmp_path_factory):
    """Return a function that gives the folder of a tiny random base, made once."""
    found: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in found:
            family, options = BASES[name]
            folder = tmp_path_factory.mktemp(name)
            found[name] = write_base(family, folder, tiny_folder, **options)
        return found[name]

    return make


@pytest.fixture(scope="module")
def engine_over(base_folder):
    engines: dict[str, Engine] = {}

    def make(name: str) -> Engine:
        if name not in engines:
            engines[name] = Engine(open_tiny(base_folder(name)))
        return engines[name]

    return make


def export(case: Case, base: Path, folder: Path) -> Path:
    """Write the adapter with plain PEFT, every trained number moved away from its start."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT warns of tied heads, biases and pruned modules
        torch.manual_seed(4)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), case.config())
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += 0.2 * torch.randn_like(parameter)
        case.changed(model)
        model.save_pretrained(folder, save_embedding_layers=False)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | dict(case.edited)))
    return folder


def logprobs_in_peft(base: Path, folder: Path | None) -> list[float]:
    """Return the log-probability of each choice after each context, one text at a time."""
    model = AutoModelForCausalLM.from_pretrained(base)
    if folder is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = PeftModel.from_pretrained(model, folder)
    found = []
    for context in CONTEXTS:
        for choice in CHOICES:
            ids = torch.tensor([[*context, *choice]])
            with torch.inference_mode():
                logits = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
            logprobs = logits.log_softmax(-1)[-len(choice) - 1 : -1]
            found.append(float(logprobs[range(len(choice)), list(choice)].sum()))
    return found


def logprobs_here(engine: Engine, folder: Path) -> list[float]:
    adapter, prefix, name = read_adapter(folder), Prefix(()), None
    if adapter.summary.kind == "prompt_tuning":
        prefix = Prefix((adapter.prompt_vectors(engine.forward.embedding_width),))
    elif adapter.summary.kind == "prefix_tuning":
        prefix = Prefix(states=adapter.prefix_states(engine.forward.state_shape))
    else:
        name = "theirs"
        engine.adapters.add(name, adapter_of(adapter, engine.forward.model, base_name="tiny"))
    rows = [Conditioning(prefix, context, name) for context in CONTEXTS]
    scores = engine.score(rows, [CHOICES] * len(rows))
    return [float(value) for score in scores for value in score.logprobs]


@pytest.mark.parametrize("name", EQUAL)
def test_an_adapter_of_plain_peft_answers_as_in_peft(name, base_folder, engine_over, tmp_path):
    case = EQUAL[name]
    base = base_folder(case.base)
    folder = export(case, base, tmp_path / "export")

    found = logprobs_here(engine_over(case.base), folder)

    assert found == pytest.approx(logprobs_in_peft(base, folder), abs=1e-4)
    assert found != pytest.approx(logprobs_in_peft(base, None), abs=1e-2)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_applied_is_refused_by_name(name, base_folder, engine_over, tmp_path):
    case, named = REFUSED[name]
    folder = export(case, base_folder(case.base), tmp_path / "export")

    with pytest.raises(ModelError) as caught:
        logprobs_here(engine_over(case.base), folder)

    assert named in str(caught.value)
