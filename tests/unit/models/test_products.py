"""Products with frozen weights against float64, whichever kernel takes them.

Tolerance: 1e-5 of the largest, which float32 sums of this length keep.
"""

import pytest
import torch

from workbench.models.products import PlainLinear, frozen_product, product, use_own_products
from workbench.models.split_attention import split_attention

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


@pytest.mark.parametrize("trained", ["weight", "bias"])
def test_what_is_trained_gets_its_gradient(trained):
    layer = torch.nn.Linear(64, 16).requires_grad_(requires_grad=False)
    use_own_products(layer)
    assert type(layer) is PlainLinear
    parameter = getattr(layer, trained).requires_grad_()
    layer(random(3, 64)).sum().backward()
    expected = torch.func.functional_call(
        torch.nn.Linear(64, 16), dict(layer.named_parameters()), random(3, 64)
    )
    (found,) = torch.autograd.grad(expected.sum(), parameter)
    assert torch.allclose(parameter.grad, found)


def test_attention_takes_heads_in_any_order():
    """The kernel reads other orders wrongly, without a word; products used to have another."""
    query, key, value = (random(2, heads, 9, 8, seed=heads) for heads in (6, 2, 2))
    value = value + 1
    expected = split_attention(query, key, value, (), None, None)
    groups = query.shape[1] // key.shape[1]
    plain = torch.nn.functional.scaled_dot_product_attention(
        query,
        key.repeat_interleave(groups, dim=1),
        value.repeat_interleave(groups, dim=1),
        is_causal=True,
    )
    assert torch.allclose(expected, plain, atol=1e-5)
    for place in range(3):
        given = [query, key, value]
        given[place] = given[place].transpose(2, 3).contiguous().transpose(2, 3)
        assert torch.allclose(split_attention(*given, (), None, None), plain, atol=1e-5)
