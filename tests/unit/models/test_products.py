"""Products with frozen weights against float64, whichever kernel takes them.

Tolerance: 1e-5 of the largest, which float32 sums of this length keep.
"""

import copy

import pytest
import torch

from workbench.models import products
from workbench.models.compute_dtype import processor_dtype
from workbench.models.products import (
    BlockedWeight,
    PlainLinear,
    can_block,
    frozen_product,
    product,
    use_own_products,
)

ROWS = (1, 2, 4, 5, 6, 7, 40, 128, 129, 300)  # on both sides of every bound
SHAPES = ((576, 192), (1536, 576), (64, 8), (64, 13), (3600, 16))  # (in, out)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gap(found, expected):
    assert found.shape == expected.shape
    return float((found.double() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", ROWS)
def test_products_and_their_gradients_are_those_of_float64(rows, shape, with_bias):
    size, out = shape
    weight, above = random(out, size, seed=1), random(1, rows, out, seed=2)
    bias = random(out, seed=3) if with_bias else None
    inputs = random(1, rows, size).requires_grad_()
    exact = inputs.detach().double().requires_grad_()
    expected = exact @ weight.double().t() + (0 if bias is None else bias.double())
    expected.backward(above.double())

    without = product(inputs.detach(), weight, bias)
    found = product(inputs, weight, bias)
    found.backward(above)

    assert gap(without, expected.detach()) < 1e-5
    assert torch.equal(found, without)  # training sees what answers see
    assert gap(inputs.grad, exact.grad) < 1e-5


@pytest.mark.parametrize("rows", ROWS)
def test_inputs_may_lie_in_any_order(rows):
    weight = random(192, 576, seed=1)
    turned = random(576, rows).t()
    between = random(rows, 3, 576)[:, 1]
    for inputs in (turned, between):
        found = product(inputs, weight)
        assert gap(found, inputs.double() @ weight.double().t()) < 1e-5
        assert found.is_contiguous()


def test_no_rows_are_no_products():
    assert product(random(0, 64), random(8, 64)).shape == (0, 8)


def test_a_weight_is_read_once_each_way_and_not_held():
    weight, reads = random(16, 64), []

    def read():
        reads.append(1)
        return weight

    inputs = random(3, 64).requires_grad_()
    made = frozen_product(inputs, read)
    assert len(reads) == 1
    made.sum().backward()
    assert len(reads) == 2
    assert torch.allclose(inputs.grad, weight.sum(dim=0).expand(3, -1), atol=1e-5)


@pytest.mark.parametrize("rows", [3, 300])
@pytest.mark.parametrize("is_start", [True, False])
@pytest.mark.parametrize("trained", ["weight", "bias"])
def test_what_is_trained_gets_its_gradient(trained, is_start, rows):
    layer = torch.nn.Linear(64, 16).requires_grad_(requires_grad=False)
    plain = copy.deepcopy(layer)
    use_own_products(layer)
    assert type(layer) is PlainLinear
    gradients = []
    for one in (layer, plain):
        parameter = getattr(one, trained).requires_grad_()
        inputs = random(rows, 64)
        one(inputs if is_start else inputs.requires_grad_()).square().sum().backward()
        gradients.append(parameter.grad)
    assert torch.allclose(*gradients, rtol=1e-4)


def test_a_second_derivative_is_refused():
    inputs = random(3, 64).requires_grad_()
    made = product(inputs, random(16, 64)).square().sum()
    (first,) = torch.autograd.grad(made, inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def _fails(*_):
    raise RuntimeError("failed to match any schema")


def _rounds(inputs, weight, bias, *_):
    return torch.nn.functional.linear(inputs.bfloat16(), weight.bfloat16(), bias.bfloat16()).float()


@pytest.mark.parametrize("other", [None, _fails, _rounds], ids=["gone", "changed", "rounds"])
def test_without_the_operation_as_it_was_products_are_torchs(other, monkeypatch):
    monkeypatch.setattr(products, "_PRODUCT", other)
    for kept in (products._has_onednn, products._equal_in_blocks):
        kept.cache_clear()
    try:
        inputs, weight, bias = random(300, 576), random(192, 576, seed=1), random(192, seed=2)
        expected = torch.nn.functional.linear(inputs, weight, bias)
        assert torch.equal(product(inputs, weight, bias), expected)
        assert not can_block("cpu", torch.bfloat16, weight.shape)
    finally:
        for kept in (products._has_onednn, products._equal_in_blocks):
            kept.cache_clear()


@pytest.mark.skipif(
    processor_dtype().dtype != torch.bfloat16 or not products._has_onednn(),
    reason="no processor that multiplies in bfloat16",
)
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("shape", [(576, 1536), (1536, 576), (896, 128)])
def test_a_weight_in_blocks_gives_the_same_bits(shape, rows):
    size, out = shape
    inputs, weight = random(rows, size).bfloat16(), random(out, size, seed=1).bfloat16()
    bias = random(out, seed=2).bfloat16()
    if not can_block("cpu", torch.bfloat16, weight.shape):
        pytest.skip("no weight in blocks here: refused, or its products are not torch's")
    blocks = copy.deepcopy(BlockedWeight(weight))
    for added in (None, bias):
        expected = torch.nn.functional.linear(inputs, weight, added)
        assert torch.equal(blocks.product(inputs, added), expected)


def test_other_dtypes_and_devices_have_no_blocks():
    shape = torch.Size((576, 576))
    assert not can_block("cpu", torch.float32, shape)
    assert not can_block("cuda", torch.bfloat16, shape)
