"""Merged and combined changes: one weight for many, and nothing lost where nothing has to be.

Tolerance: 1e-5 on logits of the tiny model in float32.
"""

import itertools

import numpy as np
import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from test_weight_identities import QUICK, TOKENS, context_of, logits_of
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from toys import add_lora, export_prompt
from workbench.errors import ConfigError, ModelError
from workbench.methods.catalog import make_method
from workbench.models.adapters.bank import WeightAdapter
from workbench.models.adapters.layer_changes import weight_of
from workbench.models.adapters.merging import changed_weight, combine, save_merged
from workbench.models.base import Conditioning, Prefix
from workbench.models.loading import LoadedBase


@pytest.fixture
def context(tiny_folder, tmp_path, toy_task):
    return context_of(tiny_folder, tmp_path, toy_task)


def layers_of(engine) -> dict[str, torch.nn.Module]:
    return dict(engine.forward.model.named_modules())


def delta(engine, name: str, adapter: str) -> torch.Tensor:
    layer = layers_of(engine)[name]
    change = engine.adapters.adapter(adapter).changes[name]
    return (changed_weight(layer, change)[0] - weight_of(layer)).detach()


def assert_merged_answers_alike(context, folder, tolerance: float) -> None:
    """Merge the context's adapter and compare with base and adapter, and with the base alone."""
    engine = context.engine
    base = LoadedBase(engine.forward.model, engine.tokenizer, engine.info)
    save_merged(base, engine.adapters.adapter("adapter"), folder, torch.float32)

    merged = AutoModelForCausalLM.from_pretrained(folder)
    with torch.inference_mode():
        found = merged(torch.tensor([TOKENS])).logits[0]
    torch.testing.assert_close(found, logits_of(engine, "adapter"), atol=tolerance, rtol=tolerance)
    assert (found - logits_of(engine, None)).abs().max() > 1e-2


@pytest.mark.usefixtures("kept_weights")
@pytest.mark.parametrize("precision", ["fp32", "nf4"])
@pytest.mark.parametrize("name", ["lora", "dora", "adalora", "ia3"])
def test_a_merged_model_answers_like_base_and_adapter(
    name, precision, tiny_folder, tmp_path, toy_task
):
    context = context_of(tiny_folder, tmp_path, toy_task, precision=precision)
    make_method(name, QUICK).fit(context)

    tolerance = 1e-5 if precision == "fp32" else 1e-3  # 4-bit products are made another way
    assert_merged_answers_alike(context, tmp_path / "merged", tolerance)


# 257 are the tokenizer's; to a Qwen2 transformers adds one that ends a text.
SIZES = {"vocab_size": 258, "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0}
OTHERS = {
    "qwen2 with biases": lambda: Qwen2ForCausalLM(
        Qwen2Config(
            **SIZES,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            initializer_range=0.15,
        )
    ),
    "gpt2 with turned weights": lambda: GPT2LMHeadModel(
        GPT2Config(**SIZES, n_embd=64, n_layer=2, n_head=4, initializer_range=0.15)
    ),
}


@pytest.fixture
def other_folder(architecture, tiny_folder, tmp_path):
    """Return a folder with another tiny model, its biases far from zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = OTHERS[architecture]()
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(tmp_path / "base")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "base" / file).write_bytes((tiny_folder / file).read_bytes())
    return tmp_path / "base"


@pytest.mark.parametrize("precision", ["fp32", "nf4"])
@pytest.mark.parametrize(
    ("architecture", "name", "options"),
    [
        ("qwen2 with biases", "ia3", {}),
        ("qwen2 with biases", "dora", {}),
        ("gpt2 with turned weights", "lora", {"targets": "all_linear"}),
    ],
)
def test_biases_and_turned_weights_are_merged_too(
    name, options, precision, other_folder, tmp_path, toy_task
):
    context = context_of(other_folder, tmp_path, toy_task, precision=precision)
    make_method(name, QUICK | {"learning_rate": 0.1} | options).fit(context)

    tolerance = 2e-5 if precision == "fp32" else 1e-3
    assert_merged_answers_alike(context, tmp_path / "merged", tolerance)


@pytest.mark.parametrize("architecture", ["qwen2 with biases"])
def test_a_combination_has_no_place_for_a_changed_bias(other_folder, tmp_path, toy_task):
    context = context_of(other_folder, tmp_path, toy_task)
    make_method("ia3", QUICK | {"learning_rate": 0.1}).fit(context)
    adapter, layers = context.engine.adapters.adapter("adapter"), layers_of(context.engine)

    with pytest.raises(ModelError, match=r"has a bias, and this adapter \(IA3\) changes it"):
        combine([adapter], [1.0], layers, way="svd", rank=4, density=1.0, seed=0)


@pytest.mark.parametrize("architecture", OTHERS)
def test_original_weights_of_a_quantised_base_are_shaped_as_it_computes(
    other_folder, tmp_path, toy_task
):
    exact = context_of(other_folder, tmp_path, toy_task)
    rounded = context_of(other_folder, tmp_path, toy_task, precision="nf4")
    adapter = make_method("full_fine_tuning", {}).new_adapter(rounded)

    rounded.engine.adapters.add("adapter", adapter)

    found = logits_of(rounded.engine, "adapter")
    torch.testing.assert_close(found, logits_of(exact.engine, None), atol=2e-5, rtol=0)
    start = make_method("lora", {"init": "loftq", "rank": 32, "targets": "all_linear"}).new_adapter(
        rounded
    )
    rounded.engine.adapters.add("nearer", start)
    gaps = [
        (logits_of(rounded.engine, name) - logits_of(exact.engine, None)).norm()
        for name in ("nearer", None)
    ]
    assert gaps[0] < gaps[1]


@pytest.mark.parametrize("name", ["bitfit", "bottleneck_adapter"])
def test_what_acts_beside_the_weights_is_not_merged(name, context):
    method = make_method(name, {})
    layer, change = next(iter(method.new_adapter(context).changes.items()))

    with pytest.raises(ModelError, match="acts beside the weights and cannot be merged into them"):
        changed_weight(layers_of(context.engine)[layer], change)


def test_a_linear_combination_is_the_weighted_sum_of_the_changes(context):
    engine = context.engine
    for name in ("first", "other one"):
        add_lora(engine, name, trained=True)
    adapters = [engine.adapters.adapter(name) for name in ("first", "other one")]

    both = combine(
        adapters, [1.0, -0.5], layers_of(engine), way="linear", rank=1, density=0.5, seed=0
    )
    engine.adapters.add("both", both)

    for name in both.changes:
        wanted = delta(engine, name, "first") - 0.5 * delta(engine, name, "other one")
        torch.testing.assert_close(delta(engine, name, "both"), wanted, atol=1e-5, rtol=1e-4)


def test_combining_by_svd_is_the_best_approximation_of_that_rank(context):
    engine = context.engine
    for name in ("first", "other one"):
        add_lora(engine, name, trained=True)
    adapters = [engine.adapters.adapter(name) for name in ("first", "other one")]

    engine.adapters.add(
        "both",
        combine(adapters, [1.0, 1.0], layers_of(engine), way="svd", rank=3, density=0.5, seed=0),
    )

    for name in engine.adapters.adapter("both").changes:
        total = delta(engine, name, "first") + delta(engine, name, "other one")
        rest = (delta(engine, name, "both") - total).norm()
        values = torch.linalg.svdvals(total)
        torch.testing.assert_close(rest, values[3:].norm(), atol=1e-4, rtol=1e-4)


def test_ties_keeps_what_agrees_and_drops_what_is_outvoted(context):
    engine = context.engine
    add_lora(engine, "first", trained=True)
    first = engine.adapters.adapter("first")
    layers = layers_of(engine)
    name = next(iter(first.changes))
    few = WeightAdapter({name: first.changes[name]})

    agreeing = combine([few, few], [1.0, 1.0], layers, way="ties", rank=64, density=0.25, seed=0)
    engine.adapters.add("ties", agreeing)

    found, whole = delta(engine, name, "ties"), delta(engine, name, "first")
    kept = whole.abs() >= whole.abs().flatten().sort(descending=True).values[whole.numel() // 4 - 1]
    torch.testing.assert_close(found, torch.where(kept, whole, 0.0), atol=1e-4, rtol=1e-3)


def test_dare_drops_by_the_seed_and_keeps_the_sum_on_average(context):
    engine = context.engine
    add_lora(engine, "first", trained=True)
    first, layers = engine.adapters.adapter("first"), layers_of(engine)
    name = next(iter(first.changes))
    few = WeightAdapter({name: first.changes[name]})

    def dared(seed: int) -> torch.Tensor:
        adapter = combine(
            [few, few], [0.5, 0.5], layers, way="dare_linear", rank=64, density=0.5, seed=seed
        )
        engine.adapters.add("dare", adapter)
        return delta(engine, name, "dare")

    whole = delta(engine, name, "first")
    mean = torch.stack([dared(seed) for seed in range(60)]).mean(0)

    assert torch.equal(dared(1), dared(1))
    assert not torch.equal(dared(1), dared(2))
    assert (mean - whole).norm() < 0.2 * whole.norm()


def test_combined_loras_answer_as_their_sum_in_plain_peft(
    lora_export, tiny_folder, context, tmp_path
):
    folders = f"{lora_export},{lora_export}"
    make_method("combined", {"adapters": folders, "weights": "0.25,0.5"}).fit(context)

    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_folder), lora_export
    )
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.scaling["default"] *= 0.75
    with torch.inference_mode():
        theirs = model(torch.tensor([TOKENS])).logits[0]
    torch.testing.assert_close(logits_of(context.engine, "adapter"), theirs, atol=1e-5, rtol=1e-4)


def test_soft_prompts_are_put_together_or_averaged(tiny_folder, context, tmp_path):
    folder = str(export_prompt(tiny_folder, tmp_path / "prompt"))
    one = make_method("imported", {"adapter": folder}).fit(context).prefix.pieces[0]
    given = {"adapters": f"{folder},{folder}"}

    both = make_method("combined", given | {"way": "concatenation"}).fit(context)
    mean = make_method("combined", given | {"way": "average", "weights": "1,3"}).fit(context)

    assert torch.equal(both.prefix.pieces[-1].cpu(), torch.cat([one, one]).cpu())
    torch.testing.assert_close(mean.prefix.pieces[-1], one.to(mean.prefix.pieces[-1]))


REFUSED = {
    "one adapter": (
        {"adapters": "{lora}"},
        "methods.combined.adapters: 1 given, two or more are needed, comma-separated. Example: "
        "runs/a/adapter,runs/b/adapter",
    ),
    "too few factors": (
        {"adapters": "{lora},{lora}", "weights": "1"},
        "methods.combined.weights: '1' is not 2 comma-separated numbers, one for each adapter. "
        "Example: 1,0.5",
    ),
    "vectors among weights": (
        {"adapters": "{lora},{prompt}"},
        "methods.combined.way: 'linear' is for changes of weights, and among the adapters are "
        "lora, prompt_tuning. Use one of: concatenation, average.",
    ),
    "weights among vectors": (
        {"adapters": "{lora},{prompt}", "way": "average"},
        "methods.combined.way: 'average' is for soft prompts, and the adapters are lora, "
        "prompt_tuning. Use one of: linear, svd, ties, dare_linear, dare_ties.",
    ),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_go_together_is_refused(
    options, message, lora_export, tiny_folder, context, tmp_path
):
    prompt = export_prompt(tiny_folder, tmp_path / "prompt")
    folders = options["adapters"].format(lora=lora_export, prompt=prompt)

    with pytest.raises(ConfigError) as caught:
        make_method("combined", options | {"adapters": folders}).fit(context)

    assert str(caught.value) == message


def test_a_hundred_adapters_on_one_base_answer_in_one_batch_as_alone(context):
    engine = context.engine
    names = [f"adapter {'x' * number}" for number in range(100)]
    for name in names:
        add_lora(engine, name, trained=True, rank=2)
    choices = [(8,), (9, 10)]
    rows = [Conditioning(Prefix((TOKENS[:3],)), TOKENS[3:], name) for name in names]

    together = engine.score(rows, [choices] * len(rows))

    for row, found in itertools.islice(zip(rows, together, strict=True), 0, None, 9):
        (alone,) = engine.score([row], [choices])
        np.testing.assert_allclose(found.logprobs, alone.logprobs, atol=1e-4)
    assert len({round(float(score.logprobs[0]), 4) for score in together}) > 90
