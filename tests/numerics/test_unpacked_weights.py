"""4-bit weights kept unpacked are the same weights: every number is, to the last bit."""

from copy import deepcopy

import bitsandbytes as bnb
import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from toys import TEST_DEVICE, TOY_TEMPLATE, open_tiny, write_base
from workbench.encoding import PromptEncoder
from workbench.fitting.base import FitContext, SupportsSave
from workbench.fitting.prediction import predict
from workbench.methods.catalog import METHODS, make_method, method_class
from workbench.models.base import Conditioning, GenerationOptions, Prefix
from workbench.models.engine import Engine
from workbench.models.loading import PRECISIONS
from workbench.models.quantised_layers import (
    base_hash,
    dequantised_weight,
    exact_products,
    packed_layers,
    restored_products,
    unpacked_anew,
)
from workbench.progress import Interrupted
from workbench.training.options import TrainingOptions

FOUR_BIT = ("nf4", "nf4-single", "fp4", "fp4-single")
PRODUCTS = ("float32", "bfloat16")
TRAINED = tuple(name for name in METHODS if issubclass(method_class(name), TrainingOptions))
QUICK = {"steps": 8, "batch_size": 4, "eval_every": 4, "learning_rate": 0.01}
TOKENS = torch.tensor([[5, 6, 7, 8, 9, 10, 11]], device=TEST_DEVICE)
# Linear layers without biases, with them, and GPT-2's own kind, whose weights lie transposed.
FAMILIES = {
    "llama": None,
    "qwen2": {
        "vocab_size": 258,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    "gpt2": {"n_layer": 2, "n_embd": 64, "n_head": 4},
}


@pytest.fixture(scope="module")
def folders(tiny_folder, tmp_path_factory):
    """Return a folder of each family, biases far from zero."""
    return {
        family: tiny_folder
        if sizes is None
        else write_base(family, tmp_path_factory.mktemp(family), tiny_folder, **sizes)
        for family, sizes in FAMILIES.items()
    }


def both(folder, precision, products):
    """Return the base packed and the base unpacked beside itself."""
    return [
        open_tiny(folder, precision, products=products, kept=kept)
        for kept in ("packed", "restored")
    ]


def gradient(model) -> torch.Tensor:
    """Return the gradient of a loss in the embeddings of some tokens."""
    inputs = model.get_input_embeddings()(TOKENS).detach().requires_grad_()
    model(inputs_embeds=inputs).logits.float().log_softmax(-1)[..., 3].sum().backward()
    return inputs.grad


def logits(model) -> torch.Tensor:
    with torch.inference_mode():
        return model(TOKENS).logits


@pytest.mark.parametrize("products", PRODUCTS)
@pytest.mark.parametrize("precision", FOUR_BIT)
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_texts_gradients_and_hashes_are_equal(family, precision, products, folders):
    packed, restored = both(folders[family], precision, products)
    before = base_hash(packed.model)
    rows = [Conditioning(Prefix((tuple(range(30, 50)),)), tuple(range(60, 60 + n))) for n in (1, 9)]
    choices = [[(5,), (9, 7)]] * 2

    assert packed.info.restored_bytes == 0 < restored.info.restored_bytes
    assert restored.info.footprint_bytes == packed.info.footprint_bytes
    assert base_hash(restored.model) == before
    engines = [Engine(packed), Engine(restored)]
    scores = [[s.logprobs.tolist() for s in engine.score(rows, choices)] for engine in engines]
    texts = [engine.generate(rows, GenerationOptions(max_new_tokens=6)) for engine in engines]
    assert scores[0] == scores[1]
    assert [t.token_ids for t in texts[0]] == [t.token_ids for t in texts[1]]
    assert torch.equal(gradient(packed.model), gradient(restored.model))
    assert base_hash(packed.model) == base_hash(restored.model) == before


@pytest.mark.parametrize("products", PRODUCTS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.usefixtures("kept_weights")
def test_products_are_those_of_bitsandbytes(family, products, folders):
    ours = open_tiny(folders[family], "nf4", products=products)
    theirs = AutoModelForCausalLM.from_pretrained(
        folders[family],
        dtype=torch.float32,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, products),
        ),
    )
    layers = {
        name: layer
        for name, layer in theirs.named_modules()
        if isinstance(layer, bnb.nn.Linear4bit)
    }
    assert layers
    for name, layer in layers.items():
        layer.support_avx512bf16_for_cpu = False
        inputs = torch.randn(3, layer.in_features, generator=torch.Generator().manual_seed(1))
        found, expected = ours.model.get_submodule(name)(inputs), layer(inputs)
        if products == "bfloat16":
            assert torch.equal(found, expected), name
        else:  # the same weights, summed in another order
            assert torch.allclose(found, expected, atol=1e-5), name


@pytest.mark.parametrize("name", TRAINED)
def test_what_is_trained_is_equal(name, tiny_folder, tmp_path, toy_task):
    found = []
    for base in both(tiny_folder, "nf4", "bfloat16"):
        folder = tmp_path / str(len(found))
        context = context_over(base, folder / "run", toy_task)
        before = base_hash(base.model)
        found.append(trained(name, context, folder / "saved"))
        assert base_hash(base.model) == before

    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("precision", "products"),
    [
        ("nf4", "float32"),
        ("nf4-single", "bfloat16"),
        ("fp4", "bfloat16"),
        ("fp4-single", "float32"),
    ],
)
def test_what_is_trained_is_equal_in_every_kind_of_four_bits(
    precision, products, folders, tmp_path, toy_task
):
    bases = both(folders["qwen2"], precision, products)

    found = [
        trained("lora", context_over(base, tmp_path / f"run{n}", toy_task), tmp_path / f"saved{n}")
        for n, base in enumerate(bases)
    ]

    assert found[0] == found[1]


@pytest.mark.parametrize("order", [("packed", "restored"), ("restored", "packed")])
@pytest.mark.parametrize("name", ["prompt_tuning", "lora", "full_fine_tuning"])
def test_a_training_begun_one_way_goes_on_the_other_way(
    name, order, tiny_folder, tmp_path, toy_task
):
    first, second = (open_tiny(tiny_folder, "nf4", products="bfloat16", kept=way) for way in order)
    whole = trained(name, context_over(first, tmp_path / "whole", toy_task), tmp_path / "saved")
    steps = iter(range(100))
    first = open_tiny(tiny_folder, "nf4", products="bfloat16", kept=order[0])
    begun = FitContext(
        Engine(first),
        PromptEncoder(first.tokenizer, TOY_TEMPLATE, toy_task),
        0,
        tmp_path / "broken",
        should_stop=lambda: next(steps) >= 5,
    )
    with pytest.raises(Interrupted):
        make_method(name, QUICK).fit(begun)

    context = context_over(second, tmp_path / "broken", toy_task)

    assert trained(name, context, tmp_path / "again") == whole


def context_over(base, folder, task) -> FitContext:
    return FitContext(
        Engine(base), PromptEncoder(base.tokenizer, TOY_TEMPLATE, task), seed=0, folder=folder
    )


def trained(name, context, folder):
    """Return what a method learned, byte by byte, and the probabilities it then gives."""
    method = make_method(name, QUICK)
    fitted = method.fit(context)
    assert isinstance(method, SupportsSave)
    method.save(context, fitted, folder)
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    assert files
    answers = predict(context.engine, fitted, context.encoder.task.test)
    return files, [list(one.probabilities.values()) for one in answers]


@pytest.mark.parametrize("products", PRODUCTS)
def test_other_ways_to_multiply_see_the_same_weights(products, folders):
    found = []
    for base in both(folders["gpt2"], "nf4", products):
        layers = [m for m in base.model.modules() if isinstance(m, bnb.nn.Linear4bit)]
        usual = logits(base.model)
        with exact_products(base.model):
            exact = logits(base.model)
        with restored_products(base.model):
            copied = logits(base.model)
        found.append([usual, exact, copied, *map(dequantised_weight, layers)])
        assert torch.equal(logits(base.model), usual)
        assert torch.equal(exact, usual) == (products == "float32")

    assert all(map(torch.equal, *found))


def test_a_copy_of_a_model_and_its_state_are_those_of_packed_weights(folders):
    packed, restored = both(folders["qwen2"], "nf4", "bfloat16")

    copy = deepcopy(restored.model)

    assert torch.equal(logits(copy), logits(packed.model))
    assert base_hash(copy) == base_hash(packed.model)
    states = [packed.model.state_dict(), restored.model.state_dict()]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_what_is_kept_unpacked_stays_right_whatever_becomes_of_the_packed_weights(folders):
    """Repacking strikes 4-bit weights; here the packed ones are gone altogether."""
    base = open_tiny(folders["qwen2"], "nf4", kept="restored")
    expected, slope = logits(base.model), gradient(base.model)

    for layer in base.model.modules():
        if isinstance(layer, bnb.nn.Linear4bit):
            layer.weight.data.zero_()

    assert torch.equal(logits(base.model), expected)
    assert torch.equal(gradient(base.model), slope)
    with unpacked_anew(base.model):
        assert not torch.equal(logits(base.model), expected)
    assert torch.equal(logits(base.model), expected)


@pytest.mark.usefixtures("kept_weights")
def test_no_product_repacks_a_weight_on_a_processor_that_packs(folders, monkeypatch):
    base = open_tiny(folders["gpt2"], "nf4", products="bfloat16")
    for layer in base.model.modules():
        if isinstance(layer, bnb.nn.Linear4bit):
            monkeypatch.setattr(layer, "support_avx512bf16_for_cpu", True)
    before = base_hash(base.model)

    logits(base.model)
    with exact_products(base.model):
        logits(base.model)

    assert packed_layers(base.model) == []
    assert base_hash(base.model) == before


@pytest.mark.parametrize("precision", [p for p in PRECISIONS if p not in FOUR_BIT])
def test_there_is_nothing_to_unpack_in_other_precisions(precision, tiny_folder):
    base = open_tiny(tiny_folder, precision, kept="restored")

    assert base.info.restored_bytes == 0
    assert base.info.restored_reason == "the base is not in 4 bits"
