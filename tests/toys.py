"""A separable toy task and the tiny model, for tests that need more than fixtures."""

import os
from pathlib import Path

import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from workbench.models.adapters.bank import WeightAdapter
from workbench.models.adapters.layer_changes import LowRankChange, new_low_rank
from workbench.models.engine import Engine
from workbench.models.layers import features_of, linear_layers
from workbench.models.loading import LoadedBase, load_weights
from workbench.models.weights import find_weights
from workbench.tasks.base import DroppedRows, Sample, Task, TaskSource
from workbench.templates import ChainOfThought, PromptTemplate, WorkedDemonstration

TOY_LABELS = ("good", "bad")
TEST_DEVICE = os.environ.get("WORKBENCH_TEST_DEVICE", "cpu")  # where models of tests are


def toy_samples(split: str, num: int) -> tuple[Sample, ...]:
    """Return samples whose label is written in their text: separable by any trained method."""
    words = {"good": "yes sun", "bad": "no rain"}
    return tuple(
        Sample(
            id=f"{split}-{i}",
            fields={"text": f"{words[TOY_LABELS[i % 2]]} {i % 7}"},
            target=TOY_LABELS[i % 2],
        )
        for i in range(num)
    )


def make_toy_task(train: int, dev: int, test: int) -> Task:
    """Return a separable task of two labels with so many samples in each split."""
    return Task(
        name="toy",
        kind="classification",
        labels=TOY_LABELS,
        field_names=("text",),
        train=toy_samples("train", train),
        dev=toy_samples("dev", dev),
        test=toy_samples("test", test),
        source=TaskSource("embedded", "tests", "none"),
        dropped=DroppedRows({}),
    )


TOY_TEMPLATE = PromptTemplate(
    name="toy",
    version=1,
    instruction="Say {labels}.",
    input="T: {text}\nA:",
    separator="\n\n",
    chain_of_thought=ChainOfThought(
        input="T: {text}\nR:",
        trigger="Think.",
        answer_phrase="So",
        demonstrations=[
            WorkedDemonstration(fields={"text": "sun 1"}, rationale="Sun.", answer="good"),
            WorkedDemonstration(fields={"text": "rain 2"}, rationale="Rain.", answer="bad"),
        ],
    ),
)


def open_tiny(
    folder: Path, precision: str = "fp32", *, products: str = "float32", kept: str = "auto"
) -> LoadedBase:
    """Return the tiny model in a precision, its 4-bit weights kept in memory in some way."""
    return load_weights(
        find_weights(str(folder)),
        name=str(folder),
        precision=precision,
        compute_dtype=products,
        device=TEST_DEVICE,
        weights_in_memory=kept,
    )


def write_base(family: str, folder: Path, tokenizer_of: Path, **options: object) -> Path:
    """Write a small random base of a family, its biases far from zero, with a tokenizer beside."""
    sizes = {"vocab_size": 257, "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = AutoConfig.for_model(family, **sizes | {"initializer_range": 0.15} | options)
        model = AutoModelForCausalLM.from_config(config)
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).write_bytes((tokenizer_of / file).read_bytes())
    return folder


def add_lora(
    engine: Engine, name: str, *, trained: bool = False, rank: int = 4
) -> dict[str, torch.nn.Parameter]:
    """Put a LoRA on queries and values; what is trained is drawn by the name's length."""
    generator = torch.Generator().manual_seed(len(name))
    layers = linear_layers(engine.forward.model, "attention_qv")
    changes = {
        layer: LowRankChange(*new_low_rank(features_of(module), rank, generator), 2.0)
        for layer, module in layers.items()
    }
    engine.adapters.add(name, WeightAdapter(changes))
    parameters = engine.adapters.parameters(name)
    for parameter in parameters.values() if trained else ():
        drawn = 0.2 * torch.randn(parameter.shape, generator=generator)
        parameter.data = drawn.to(parameter.device)
    return parameters


def export_lora(base_folder: Path, folder: Path, **options: object) -> Path:
    """Write a LoRA with plain PEFT, its B no longer zero, as someone else would."""
    options = {"task_type": "CAUSAL_LM", "r": 4, "target_modules": ["q_proj", "v_proj"]} | options
    base = AutoModelForCausalLM.from_pretrained(base_folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        model = get_peft_model(base, LoraConfig(**options))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(folder)
    return folder


def export_prompt(base_folder: Path, folder: Path, **options: object) -> Path:
    """Write a soft prompt with plain PEFT."""
    options = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 5} | options
    base = AutoModelForCausalLM.from_pretrained(base_folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12)
        model = get_peft_model(base, PromptTuningConfig(**options))
    model.save_pretrained(folder)
    return folder


def write_tiny(folder: Path) -> Path:
    """Write a two-layer Llama over bytes, made from a fixed seed, into a folder; return it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<end>": 0} | {symbol: i + 1 for i, symbol in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    chat = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>", chat_template=chat
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        config = LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=1024,
            initializer_range=0.15,
            bos_token_id=None,
            eos_token_id=0,
            pad_token_id=0,
        )
        LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
