"""What is stored in 16 bits, computed in float32: as if the whole model had been widened."""

from contextlib import contextmanager
from copy import deepcopy

import pytest
import torch
from transformers.cache_utils import DynamicCache

from architectures import save_tiny, tiny_model
from toys import open_tiny
from workbench.models import probe
from workbench.models.engine import Engine
from workbench.models.loading import PRECISIONS
from workbench.models.quantised_layers import dequantised_weight, restored_products
from workbench.models.wide_products import WideProducts

IDS = torch.tensor([[5, 6, 7, 8, 9, 10], [20, 21, 22, 23, 24, 25]])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "gpt_oss", "mixtral", "deepseek_v3"])
def test_a_narrow_model_computes_as_its_wide_copy(name, dtype):
    model = tiny_model(name, dtype)
    wide = deepcopy(model).float()
    with torch.inference_mode():
        cache = DynamicCache(config=model.config)
        expected = wide(input_ids=IDS).logits
        rounded = model(input_ids=IDS).logits
        with WideProducts():
            whole = model(input_ids=IDS, use_cache=False).logits
            model(input_ids=IDS[:, :4], past_key_values=cache)
            rest = model(input_ids=IDS[:, 4:], past_key_values=cache).logits
    assert whole.dtype == torch.float32
    assert rounded.dtype == dtype
    torch.testing.assert_close(whole, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(rest, expected[:, 4:], rtol=1e-5, atol=1e-5)
    assert float((rounded - expected).abs().max()) > 1e-4  # so there was something to undo
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}


@pytest.mark.filterwarnings("ignore:MatMul8bitLt")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_quantised_layers_multiply_with_their_restored_weights(tmp_path, precision):
    model = open_tiny(save_tiny("gpt_neox", tmp_path / "base"), precision).model
    layer = model.get_submodule("gpt_neox.layers.0.mlp.dense_h_to_4h")
    inputs = torch.randn(3, 32, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        before = layer(inputs.to(layer.bias.dtype))
        with restored_products(model), WideProducts():
            restored = layer(inputs)
        after = layer(inputs.to(layer.bias.dtype))
    expected = inputs.double() @ dequantised_weight(layer).double().T + layer.bias.double()
    torch.testing.assert_close(restored.double(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(before, after)


def test_where_nothing_can_be_widened_the_base_as_it_is_decides(tmp_path, monkeypatch):
    @contextmanager
    def failing():
        raise torch.OutOfMemoryError("no room for a wide matrix")
        yield

    monkeypatch.setattr(probe, "WideProducts", failing)
    assert Engine(open_tiny(save_tiny("llama", tmp_path / "base"), "bf16")).info.num_parameters


@pytest.mark.parametrize(
    "ask",
    [
        lambda value, narrow: value.to(narrow),
        lambda value, narrow: value.to(narrow.dtype),
        lambda value, narrow: value.type_as(narrow),
        lambda value, narrow: narrow.new_zeros(1).copy_(value),
        lambda value, narrow: torch.zeros_like(narrow).copy_(value),
    ],
)
def test_what_asks_for_the_type_of_something_narrow_gets_float32(ask):
    with torch.inference_mode():  # whose tensors ask in other operations than those made outside
        value, narrow = torch.tensor([1.001]), torch.ones(1, dtype=torch.bfloat16)
        with WideProducts():
            assert torch.equal(ask(value, narrow), value)
    with WideProducts():
        assert torch.equal(ask(value.clone(), narrow.clone()), value)
    assert not torch.equal(ask(value, narrow).float(), value)
