"""Changes of weights go on the part of a model that reads texts, and on no other."""

import pytest
import torch

from architectures import tiny_model
from workbench.models.layers import linear_layers


@pytest.mark.parametrize("name", ["gemma3", "llama"])
def test_only_layers_that_a_text_runs_through_are_changed(name):
    model, ran = tiny_model(name), []
    for path, module in model.named_modules():
        module.register_forward_hook(lambda *_, path=path: ran.append(path))

    with torch.no_grad():
        model(torch.tensor([[5, 6, 7]]))

    assert set(linear_layers(model)) <= set(ran)
