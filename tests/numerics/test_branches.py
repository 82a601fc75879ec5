"""Branches of ids and vectors after one start: each as transformers runs it on its own."""

import pytest
import torch

START = (40, 41, 42, 43)


def branch(seed):
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, 1, 64, generator=generator)
    return (first, (50,), second, (60, 61 + seed))


@pytest.mark.parametrize("num", [1, 3])
def test_every_branch_is_what_transformers_makes_of_it_alone(num, tiny_engine):
    branches = [branch(seed) for seed in range(num)]

    found = tiny_engine.states_of_branches(START, branches)

    model = tiny_engine.forward.model
    embed = model.get_input_embeddings()
    assert found.shape == (num, 64)
    for one, state in zip(branches, found, strict=True):
        pieces = [embed(torch.tensor(p)) if isinstance(p, tuple) else p for p in (START, *one)]
        with torch.inference_mode():
            alone = model.model(inputs_embeds=torch.cat(pieces)[None]).last_hidden_state
        torch.testing.assert_close(state, alone[0, -1], rtol=1e-4, atol=1e-4)
