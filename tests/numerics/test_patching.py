"""Looking inside changes nothing: patches, states and attention weights against the model's own."""

import numpy as np
import pytest
import torch

from toys import TEST_DEVICE
from workbench.errors import ModelError
from workbench.models.base import Conditioning, GenerationOptions, Patch, Prefix
from workbench.models.engine import Engine

CHOICES = [[5], [9, 4]]
OWN = (11, 12, 13)
HEAD = (21, 22, 23, 24, 25, 26)


def logprobs(engine: Engine, prefix: Prefix) -> np.ndarray:
    return engine.score([Conditioning(prefix, OWN)], [CHOICES])[0].logprobs


@pytest.mark.parametrize("layer", [0, 1])
def test_a_state_patched_onto_itself_changes_no_logit(tiny_engine, layer):
    plain = Prefix((HEAD,))
    states = tiny_engine.states_of_prefix(plain)
    patched = Prefix((HEAD,), (Patch(layer, 2, states[layer, 2:5]),))

    np.testing.assert_allclose(
        logprobs(tiny_engine, patched), logprobs(tiny_engine, plain), atol=1e-6
    )


def test_a_patch_at_layer_0_is_another_embedding(tiny_engine):
    other = tiny_engine.forward.embed((31, 32))
    patched = Prefix((HEAD,), (Patch(0, 1, other),))
    spelled = Prefix(((HEAD[0], 31, 32, *HEAD[3:]),))

    np.testing.assert_allclose(
        logprobs(tiny_engine, patched), logprobs(tiny_engine, spelled), atol=1e-6
    )
    assert abs(logprobs(tiny_engine, patched) - logprobs(tiny_engine, Prefix((HEAD,)))).max() > 0.01


def test_a_later_patch_changes_what_follows_and_only_in_its_own_row(tiny_engine):
    plain = Prefix((HEAD,))
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 64)).astype(np.float32))
    patched = Prefix((HEAD,), (Patch(1, 0, noise),))
    alone = logprobs(tiny_engine, plain)
    rows = [Conditioning(prefix, OWN) for prefix in (patched, plain, patched)]

    found = [score.logprobs for score in tiny_engine.score(rows, [CHOICES] * 3)]

    assert plain.digest != patched.digest
    np.testing.assert_allclose(found[1], alone, atol=1e-5)
    np.testing.assert_allclose(found[0], found[2], atol=1e-6)
    assert abs(found[0] - alone).max() > 0.01


def test_a_patch_is_kept_while_writing_on(tiny_engine):
    states = tiny_engine.states_of_prefix(Prefix((HEAD,)))
    patched = Prefix(((1, 2, 3, 4, 5, 6),), (Patch(0, 0, states[0]),))
    options = GenerationOptions(max_new_tokens=6)

    found, expected = (
        tiny_engine.generate([Conditioning(prefix, OWN)], options)[0].token_ids
        for prefix in (patched, Prefix((HEAD,)))
    )

    assert found == expected


def test_states_are_the_models_own(tiny_engine):
    found = tiny_engine.states_of_prefix(Prefix((HEAD,)))
    with torch.no_grad():
        model = tiny_engine.forward.model
        outputs = model(torch.tensor([HEAD], device=TEST_DEVICE), output_hidden_states=True)
    expected = torch.stack([state[0] for state in outputs.hidden_states])

    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    logits = tiny_engine.forward.logits(tiny_engine.forward.final_norm(found[1]))
    normed = tiny_engine.forward.logits(model.model.norm(outputs.hidden_states[1][0]))
    torch.testing.assert_close(logits, normed.detach(), atol=1e-5, rtol=0)


def watched(engine: Engine, rows: list[Conditioning]) -> list[torch.Tensor]:
    layers: dict[int, torch.Tensor] = {}
    engine.observe(rows, lambda layer, weights: layers.setdefault(layer, weights.clone()))
    return [layers[layer] for layer in sorted(layers)]


def test_attention_weights_are_those_of_eager_attention(tiny_engine, tiny_folder):
    from transformers import AutoModelForCausalLM

    eager = AutoModelForCausalLM.from_pretrained(tiny_folder, attn_implementation="eager")
    with torch.no_grad():
        expected = eager(torch.tensor([HEAD + OWN]), output_attentions=True).attentions

    found = watched(tiny_engine, [Conditioning(Prefix((HEAD,)), OWN)])

    assert len(found) == len(expected) == 2
    for weights, whole in zip(found, expected, strict=True):
        torch.testing.assert_close(weights.cpu(), whole[:, :, len(HEAD) :], atol=1e-5, rtol=0)


def test_watching_changes_no_score_and_padding_gets_no_attention(tiny_engine):
    rows = [Conditioning(Prefix((HEAD,)), OWN), Conditioning(Prefix(((7,),)), (9, 8, 7, 6))]
    before = tiny_engine.score(rows, [CHOICES] * 2)

    found = watched(tiny_engine, rows)

    after = tiny_engine.score(rows, [CHOICES] * 2)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.logprobs, other.logprobs)
    for weights in found:
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
        assert weights[1, :, :, : len(HEAD) - 1].abs().max() == 0.0


def test_what_stands_before_leaves_first_layer_attention_over_the_content(tiny_engine):
    """Petrov, Torr and Bibi 2024: only its total is scaled."""
    vectors = torch.from_numpy(np.random.default_rng(3).normal(size=(5, 64)).astype(np.float32))
    long = Conditioning(Prefix((vectors,)), (31, 32, 33, 34))
    short = Conditioning(Prefix(((40,),)), (31, 32, 33, 34))

    (with_prompt, *_), (without, *_) = (watched(tiny_engine, [row]) for row in (long, short))
    one = with_prompt[0, :, :, 5:]
    other = without[0, :, :, 1:]

    torch.testing.assert_close(
        one / one.sum(-1, keepdim=True), other / other.sum(-1, keepdim=True), atol=1e-5, rtol=0
    )


def test_bases_that_attend_their_own_way_say_so(tiny_engine, monkeypatch):
    model = tiny_engine.forward.model
    monkeypatch.setattr(model.config, "_attn_implementation", "sdpa")
    monkeypatch.setattr(model, "set_attn_implementation", lambda _: None)

    with pytest.raises(ModelError, match="attention weights cannot be read"):
        tiny_engine.observe([Conditioning(Prefix((HEAD,)), OWN)], lambda *_: None)


def test_a_tree_refuses_patches_it_would_pass_over(tiny_engine):
    patched = Prefix((HEAD,), (Patch(0, 0, torch.zeros(1, 64)),))

    with pytest.raises(ValueError, match="not on a tree"):
        tiny_engine.run_as_tree(patched, [OWN], None)
