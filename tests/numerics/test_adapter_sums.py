"""Merging and adding adapters of every kind, held against plain PEFT's merged weights.

Tolerance: 2e-5 on weights and logits of the tiny model in float32.
"""

import itertools

import pytest
import torch
from peft import AdaLoraConfig, IA3Config, LoraConfig, PeftModel, get_peft_model
from test_weight_identities import TOKENS, context_of, logits_of
from transformers import AutoModelForCausalLM

from toys import export_prompt
from workbench.errors import ConfigError
from workbench.methods.catalog import make_method
from workbench.models.adapters.merging import WAYS, changed_weight, combine
from workbench.models.adapters.peft_changes import adapter_of
from workbench.models.adapters.reading import read_adapter

CAUSAL = {"task_type": "CAUSAL_LM"}
DROPPED = CAUSAL | {"lora_dropout": 0.5}
KINDS = {
    "lora": LoraConfig(**DROPPED, r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]),
    "rslora": LoraConfig(
        **DROPPED, r=9, lora_alpha=6, use_rslora=True, target_modules=["k_proj", "v_proj"]
    ),
    "dora": LoraConfig(
        **DROPPED, r=3, lora_alpha=9, use_dora=True, target_modules=["q_proj", "up_proj"]
    ),
    "adalora": AdaLoraConfig(
        **DROPPED, init_r=5, target_r=4, lora_alpha=7, total_step=10, target_modules=["v_proj"]
    ),
    "ia3": IA3Config(
        **CAUSAL, target_modules=["v_proj", "down_proj"], feedforward_modules=["down_proj"]
    ),
}


@pytest.fixture
def context(tiny_folder, tmp_path, toy_task):
    return context_of(tiny_folder, tmp_path, toy_task)


@pytest.fixture(scope="module")
def exports(tiny_folder, tmp_path_factory):
    """Return a folder for each kind, written by plain PEFT, nothing in it zero."""
    folders = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        for name, config in KINDS.items():
            model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_folder), config)
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.data += 0.2 * torch.randn_like(parameter)
            folders[name] = tmp_path_factory.mktemp(name)
            model.save_pretrained(folders[name])
    return folders


@pytest.fixture(scope="module")
def changes_in_peft(exports, tiny_folder):
    """Return by kind what plain PEFT adds to each weight when it merges the adapter."""
    base = dict(AutoModelForCausalLM.from_pretrained(tiny_folder).named_parameters())
    found = {}
    for name, folder in exports.items():
        plain = AutoModelForCausalLM.from_pretrained(tiny_folder)
        merged = PeftModel.from_pretrained(plain, folder).merge_and_unload()
        weights = dict(merged.named_parameters())
        found[name] = {key: (weights[key] - base[key]).detach() for key in base}
    return found


def changes_here(engine, adapter):
    """Return what an adapter adds to each weight of the base, zeros where it changes nothing."""
    found = {}
    for key, parameter in engine.forward.model.named_parameters():
        name = key.removesuffix(".weight")
        change = adapter.changes.get(name)
        found[key] = torch.zeros_like(parameter)
        if change is not None:
            layer = engine.forward.model.get_submodule(name)
            found[key] = (changed_weight(layer, change)[0] - parameter).detach()
    return found


def read(engine, folder):
    return adapter_of(read_adapter(folder), engine.forward.model, base_name="tiny")


def assert_alike(found, wanted):
    for key, change in wanted.items():
        torch.testing.assert_close(found[key], change, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_of_the_training_is_left_out_of_merged_weights(
    kind, exports, changes_in_peft, context
):
    adapter = read(context.engine, exports[kind])
    for change in adapter.changes.values():
        change.train()  # as a change is that has never been on an engine, or is being trained

    assert_alike(changes_here(context.engine, adapter), changes_in_peft[kind])


@pytest.mark.parametrize("way", WAYS)
def test_dropout_of_the_training_is_left_out_of_combinations(way, exports, context):
    engine = context.engine
    layers = dict(engine.forward.model.named_modules())

    def combined(*, training):
        adapters = [read(engine, exports[name]) for name in ("lora", "dora")]
        for change in itertools.chain(*(adapter.changes.values() for adapter in adapters)):
            change.train(training)
        options = {"way": way, "rank": 64, "density": 0.5, "seed": 0}
        return changes_here(engine, combine(adapters, [1.0, 1.0], layers, **options))

    assert_alike(combined(training=True), combined(training=False))


@pytest.mark.parametrize("kinds", [*itertools.combinations(KINDS, 2)], ids="-".join)
def test_a_linear_combination_of_any_two_kinds_loses_no_direction(
    kinds, exports, changes_in_peft, context
):
    engine = context.engine
    layers = dict(engine.forward.model.named_modules())
    factors = [0.5, -1.5]
    adapters = [read(engine, exports[kind]) for kind in kinds]

    options = {"way": "linear", "rank": 1, "density": 0.5, "seed": 0}
    found = changes_here(engine, combine(adapters, factors, layers, **options))

    first, second = (changes_in_peft[kind] for kind in kinds)
    wanted = {key: factors[0] * first[key] + factors[1] * second[key] for key in first}
    assert_alike(found, wanted)


def test_loras_of_unequal_ranks_and_layers_are_added_as_peft_concatenates_them(
    exports, tiny_folder, context
):
    names = ("lora", "rslora")
    folders = [str(exports[name]) for name in names]
    options = {"adapters": ",".join(folders), "weights": "0.7,1.3", "rank": 1}
    make_method("combined", options).fit(context)

    plain = AutoModelForCausalLM.from_pretrained(tiny_folder)
    model = PeftModel.from_pretrained(plain, folders[0], adapter_name=names[0])
    model.load_adapter(folders[1], adapter_name=names[1])
    model.add_weighted_adapter(list(names), [0.7, 1.3], "both", combination_type="cat")
    model.set_adapter("both")
    with torch.inference_mode():
        theirs = model.eval()(torch.tensor([TOKENS])).logits[0]

    torch.testing.assert_close(logits_of(context.engine, "adapter"), theirs, atol=2e-5, rtol=2e-5)


def test_factors_of_a_concatenation_of_prompts_are_refused(tiny_folder, context, tmp_path):
    folder = export_prompt(tiny_folder, tmp_path / "prompt")
    given = {"adapters": f"{folder},{folder}", "way": "concatenation"}

    with pytest.raises(ConfigError) as caught:
        make_method("combined", given | {"weights": "1,0.5"}).fit(context)

    assert str(caught.value) == (
        "methods.combined.weights: '1,0.5' would have no effect: a concatenation takes every "
        "prompt as it is. Leave the weights out, or use way 'average'."
    )
    assert make_method("combined", given | {"weights": "1,1"}).fit(context).prefix.num_tokens >= 10
