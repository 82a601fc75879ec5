"""Logits have sums in float32 whatever the head's weights are stored in."""

import pytest
import torch

from workbench.models import output_head
from workbench.models.output_head import wide_product


def _head(dtype: torch.dtype, *, bias: bool) -> torch.nn.Linear:
    torch.manual_seed(3)
    return torch.nn.Linear(24, 101, bias=bias).to(dtype).requires_grad_(requires_grad=False)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_blocks_of_the_vocabulary_give_the_product_in_float32(dtype, bias, monkeypatch):
    monkeypatch.setattr(output_head, "_BLOCK_BYTES", 4 * 24 * 10)
    head = _head(dtype, bias=bias)
    hidden = torch.randn(2, 3, 24).to(dtype)

    found = wide_product(hidden, head)

    exact = hidden.double() @ head.weight.double().T
    exact = exact if head.bias is None else exact + head.bias.double()
    assert found.dtype == torch.float32
    assert found.shape == (2, 3, 101)
    assert float((found - exact).abs().max()) < 1e-6  # bfloat16's own sums are off by 1e-3


def test_no_copy_is_larger_than_a_block(monkeypatch):
    monkeypatch.setattr(output_head, "_BLOCK_BYTES", 4 * 24 * 10)
    head, widened = _head(torch.bfloat16, bias=False), list[int]()
    usual = torch.Tensor.float

    def noted(tensor: torch.Tensor) -> torch.Tensor:
        widened.append(tensor.numel())
        return usual(tensor)

    monkeypatch.setattr(torch.Tensor, "float", noted)
    wide_product(torch.randn(1, 24), head)

    assert max(widened) <= 240


def test_gradients_pass_through_blocks(monkeypatch):
    monkeypatch.setattr(output_head, "_BLOCK_BYTES", 4 * 24 * 10)
    head = _head(torch.bfloat16, bias=False)
    hidden = torch.randn(2, 24, requires_grad=True)

    (found,) = torch.autograd.grad(wide_product(hidden, head).square().sum(), hidden)

    whole = head.weight.float()
    (expected,) = torch.autograd.grad((hidden @ whole.T).square().sum(), hidden)
    torch.testing.assert_close(found, expected)
