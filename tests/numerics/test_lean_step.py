"""The lean step of decoding gives the logits of the model's own pass, or is not used."""

import pytest
import torch

from architectures import save_tiny
from toys import add_lora, open_tiny
from workbench.models.adapters.bank import LayerChange, WeightAdapter
from workbench.models.base import Conditioning, GenerationOptions, Prefix
from workbench.models.engine import Engine
from workbench.models.forward import BaseForward
from workbench.models.lean_step import LeanStep

LEAN = (
    "llama",
    "llama-tied",
    "llama-rope-dynamic",
    "mistral-window",
    "qwen2",
    "qwen2-window",
    "qwen3",
)


def _rows(engine: Engine, adapters: tuple[str | None, ...]) -> list[Conditioning]:
    """Return rows of all kinds of prefixes and lengths, each with an adapter."""
    with torch.inference_mode():
        states = engine.compute_prefix(Prefix((tuple(range(40, 49)),)), None)
        vectors = engine.forward.embed((50, 51, 52)) * 1.1
    prefixes = [
        Prefix(),
        Prefix((tuple(range(60, 81)),)),
        Prefix(((7, 8), vectors)),
        Prefix((), states=states),
    ]
    return [
        Conditioning(
            prefixes[number % 4],
            tuple(range(20, 23 + 3 * number)),
            adapters[number % len(adapters)],
        )
        for number in range(6)
    ]


def _logits(engine: Engine, rows: list[Conditioning], monkeypatch) -> list[torch.Tensor]:
    """Return the logits of each step of greedy decoding, which some rows leave early."""
    found: list[torch.Tensor] = []
    step = engine.forward.step

    def noted(tokens, cache):
        found.append(step(tokens, cache))
        return found[-1]

    with monkeypatch.context() as patch:
        patch.setattr(engine.forward, "step", noted)
        engine.generate(rows, GenerationOptions(max_new_tokens=24, stop=("e", "t")))
    return found


@pytest.mark.parametrize("name", LEAN)
def test_logits_of_every_step_are_equal_to_the_last_bit(name, tmp_path, monkeypatch):
    engine = Engine(open_tiny(save_tiny(name, tmp_path / name)))
    add_lora(engine, "one", trained=True)
    add_lora(engine, "the other", trained=True)
    lean = engine.forward.lean
    assert lean is not None
    assert lean.can_run
    for adapters in ((None,), ("one",), (None, "one", "the other")):
        rows = _rows(engine, adapters)
        engine.forward.lean = lean
        ours = _logits(engine, rows, monkeypatch)
        engine.forward.lean = None
        theirs = _logits(engine, rows, monkeypatch)
        assert len(ours) > 2
        assert all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "granite-multiplied", "cohere-normed", "phi3"])
def test_other_architectures_keep_their_own_pass(name, tmp_path):
    assert Engine(open_tiny(save_tiny(name, tmp_path / name))).forward.lean is None


def test_whoever_has_looked_at_hidden_states_keeps_the_lean_step(tiny_folder):
    """transformers leaves hooks on every layer once it was asked for them."""
    engine = Engine(open_tiny(tiny_folder))

    engine.states_of_prefix(Prefix(((5, 7, 9),)))

    assert engine.forward.lean is not None
    assert engine.forward.lean.can_run


def test_a_lean_step_that_is_off_by_one_bit_is_not_used(tiny_folder, monkeypatch):
    run = LeanStep.__call__

    def off(self, *args):
        hidden = run(self, *args)
        return torch.nextafter(hidden, torch.tensor(torch.inf))

    monkeypatch.setattr(LeanStep, "__call__", off)
    assert Engine(open_tiny(tiny_folder)).forward.lean is None


@pytest.mark.parametrize("wrong", ["one row", "rows of different length", "the second step"])
def test_a_lean_step_that_is_off_in_one_case_alone_is_not_used(wrong, tiny_folder, monkeypatch):
    run, calls = LeanStep.__call__, []

    def off(self, tokens, positions, cache, masks):
        hidden = run(self, tokens, positions, cache, masks)
        calls.append(cache)
        found = {
            "one row": len(tokens) == 1,
            "rows of different length": len(tokens) > 1,
            "the second step": calls.count(cache) == 2,
        }
        return torch.nextafter(hidden, torch.tensor(torch.inf)) if found[wrong] else hidden

    monkeypatch.setattr(LeanStep, "__call__", off)
    assert Engine(open_tiny(tiny_folder)).forward.lean is None
    assert calls


@pytest.mark.parametrize(("name", "hidden"), [("llama", "padding"), ("mistral-window", "window")])
def test_a_lean_step_that_sees_what_is_hidden_is_not_used(name, hidden, tmp_path, monkeypatch):
    def seen(self, cache, num_keys):
        plain = (
            None if hidden == "padding" or cache.all_real else cache.hiding(num_keys, self.dtype)
        )
        return dict.fromkeys(self.layer_types, plain)

    monkeypatch.setattr(BaseForward, "_added_masks", seen)
    assert Engine(open_tiny(save_tiny(name, tmp_path / name))).forward.lean is None


class _Doubled(LayerChange):
    def output(self, layer, inputs, outputs):
        return 2 * outputs


@pytest.mark.parametrize(
    "place",
    [
        "model.layers.0.mlp",
        "model.layers.1.input_layernorm",
        "model.layers.0.mlp.act_fn",
        "model.norm",
        "model.layers.1.self_attn.o_proj",
        "model.layers.1.mlp.up_proj",
    ],
)
def test_what_hangs_on_a_module_acts_in_the_lean_step_too(place, tiny_engine, monkeypatch):
    tiny_engine.adapters.add("doubled", WeightAdapter({place: _Doubled()}))
    rows = _rows(tiny_engine, ("doubled", None))
    lean = tiny_engine.forward.lean
    assert lean is not None
    ours = _logits(tiny_engine, rows, monkeypatch)
    tiny_engine.forward.lean = None
    assert all(map(torch.equal, ours, _logits(tiny_engine, rows, monkeypatch)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_joined_weights_of_4_bit_layers_give_the_same_logits(dtype, tiny_folder, monkeypatch):
    from workbench.models.loading import load_weights
    from workbench.models.weights import find_weights

    source, name = find_weights(str(tiny_folder)), str(tiny_folder)
    base = load_weights(
        source,
        name=name,
        precision="nf4",
        compute_dtype=dtype,
        device="cpu",
        weights_in_memory="restored",
    )
    engine = Engine(base)
    lean = engine.forward.lean
    assert lean is not None
    add_lora(engine, "one", trained=True)
    for adapters in ((None,), (None, "one")):
        rows = _rows(engine, adapters)
        engine.forward.lean = lean
        ours = _logits(engine, rows, monkeypatch)
        engine.forward.lean = None
        assert all(map(torch.equal, ours, _logits(engine, rows, monkeypatch)))
