"""Prefix tuning: keys and values in place of words, exact in every batch and in plain PEFT."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import PeftModel, PrefixTuningConfig, get_peft_model
from safetensors.torch import load_file
from test_engine_identities import OTHER_ARCHITECTURES, ids, mixed_rows, plain_logprob
from transformers import AutoModelForCausalLM

from toys import TOY_TEMPLATE, open_tiny
from workbench.batches import Example
from workbench.encoding import PromptEncoder
from workbench.errors import ConfigError, ModelError
from workbench.fitting.base import FitContext
from workbench.fitting.prediction import predict
from workbench.methods.catalog import make_method
from workbench.models.adapters.reading import (
    import_adapter,
    join_states,
    read_adapter,
    split_states,
)
from workbench.models.base import Conditioning, GenerationOptions, Prefix, PrefixStates
from workbench.models.engine import Engine
from workbench.models.loading import LoadedBase
from workbench.training.loss import answer_loss

QUICK = {"steps": 12, "batch_size": 4, "eval_every": 4, "learning_rate": 0.1}
INSTRUCTION = "Say good or bad.\n\n"
TEXTS = ("T: sun\nA:", "T: a much longer line of rain, rain and rain\nA:", "x")
ARCHITECTURES = ("llama", *OTHER_ARCHITECTURES)
EXACT = 1e-5  # nats, in float32


@pytest.fixture(params=ARCHITECTURES)
def engine(request, tiny_base) -> Engine:
    """Return an engine over each architecture, its weights from a fixed seed."""
    return engine_of(request.param, tiny_base)


def engine_of(name: str, base: LoadedBase) -> Engine:
    if name == "llama":
        return Engine(base)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        model = OTHER_ARCHITECTURES[name](len(base.tokenizer)).eval()
    return Engine(LoadedBase(model, base.tokenizer, base.info))


def context_of(engine: Engine, task, folder, *, chat: bool = False) -> FitContext:
    encoder = PromptEncoder(engine.tokenizer, TOY_TEMPLATE, task, chat)
    return FitContext(engine, encoder, seed=0, folder=folder)


def states_of(engine: Engine, text: str, head: str = "") -> PrefixStates:
    """Return the keys and values of a text after a head."""
    skipped = len(ids(engine, head))
    with torch.no_grad():
        found = engine.compute_prefix(Prefix((ids(engine, head + text),)), None)
    return PrefixStates(
        tuple(key[:, skipped:] for key in found.keys),
        tuple(value[:, skipped:] for value in found.values),
    )


def probabilities(engine: Engine, fitted, samples) -> np.ndarray:
    found = predict(engine, fitted, samples)
    return np.array([list(one.probabilities.values()) for one in found])


# The engine


@pytest.mark.parametrize("head", ["", "Hello. "])
def test_keys_and_values_of_a_text_are_the_text(head, engine):
    states = states_of(engine, INSTRUCTION, head)
    choices = [ids(engine, choice) for choice in (" good", " bad")]
    prefix = Prefix((ids(engine, head),), states=states)
    rows = [Conditioning(prefix, ids(engine, text)) for text in TEXTS]

    scores = engine.score(rows, [choices] * len(rows))

    for text, score in zip(TEXTS, scores, strict=True):
        whole = ids(engine, head + INSTRUCTION + text)
        expected = [plain_logprob(engine, whole, choice) for choice in choices]
        np.testing.assert_allclose(score.logprobs, expected, atol=EXACT)
    assert {row.prefix.num_tokens for row in rows} == {len(ids(engine, head + INSTRUCTION))}


def test_a_zero_prefix_is_not_no_prefix(engine):
    layers, heads, width = engine.forward.state_shape
    zeros = split_states(torch.zeros(4, layers * 2 * heads * width), engine.forward.state_shape)
    own, choices = ids(engine, TEXTS[0]), [[ids(engine, " good"), ids(engine, " bad")]]

    bare = engine.score([Conditioning(Prefix(), own)], choices)[0]
    zero = engine.score([Conditioning(Prefix(states=zeros), own)], choices)[0]

    assert np.abs(bare.logprobs - zero.logprobs).max() > 0.01


def test_prefixes_in_a_mixed_batch_score_and_write_what_they_do_alone(tiny_engine):
    generator, shape = torch.manual_seed(4), tiny_engine.forward.state_shape
    learned = [
        split_states(torch.randn(size, 2 * 2 * 2 * 16, generator=generator), shape)
        for size in (1, 7)
    ]
    head = ids(tiny_engine, "H")
    prefixes = [Prefix(pieces, states=states) for pieces in ((), (head,)) for states in learned]
    rows = [Conditioning(prefix, ids(tiny_engine, t)) for prefix in prefixes for t in TEXTS]
    rows += [row for row in mixed_rows(tiny_engine) if row.adapter is None]
    choices = [ids(tiny_engine, choice) for choice in (" good", " bad")]
    options = GenerationOptions(max_new_tokens=8)

    together = tiny_engine.score(rows, [choices] * len(rows))
    backwards = tiny_engine.score(rows[::-1], [choices] * len(rows))[::-1]
    written = tiny_engine.generate(rows, options)

    for row, score, other, text in zip(rows, together, backwards, written, strict=True):
        alone = tiny_engine.score([row], [choices])[0]
        np.testing.assert_allclose(score.logprobs, alone.logprobs, atol=1e-4)
        np.testing.assert_allclose(score.logprobs, other.logprobs, atol=1e-4)
        assert text.token_ids == tiny_engine.generate([row], options)[0].token_ids
    assert len({tuple(s.logprobs.round(3)) for s in together}) == len(rows)


def test_prefixes_with_other_states_have_other_digests(tiny_engine):
    states = states_of(tiny_engine, INSTRUCTION)
    moved = PrefixStates(states.keys, tuple(value + 1e-3 for value in states.values))
    prefixes = [Prefix(), Prefix(states=states), Prefix(states=moved), Prefix(((5,),), (), states)]

    assert len({prefix.digest for prefix in prefixes}) == len(prefixes)
    assert Prefix(states=states).digest == Prefix(states=states_of(tiny_engine, INSTRUCTION)).digest


def test_a_learned_prefix_leaves_the_first_layers_attention_over_the_content_as_it_was(
    toy_context,
):
    """Petrov, Torr and Bibi 2024, https://arxiv.org/abs/2310.19698, section 4."""
    engine = toy_context.engine
    fitted = make_method("prefix_tuning", QUICK | {"steps": 40}).fit(toy_context)
    own = fitted.condition(toy_context.task.test[0].fields).token_ids
    seen: list[dict[int, torch.Tensor]] = []
    for prefix in (Prefix(), fitted.prefix):
        layers: dict[int, torch.Tensor] = {}
        engine.observe([Conditioning(prefix, own)], layers.__setitem__)
        seen.append(layers)
    bare, prefixed = seen
    size = fitted.prefix.num_tokens

    def over_content(layer: int) -> torch.Tensor:
        content = prefixed[layer][..., size:]
        return content / content.sum(dim=-1, keepdim=True)

    torch.testing.assert_close(over_content(0), bare[0], rtol=0, atol=1e-5)
    assert float(prefixed[0][..., :size].sum(dim=-1).mean()) > 0.01
    assert float((over_content(1) - bare[1]).abs().max()) > 1e-3


# The method


@pytest.mark.parametrize("reparametrisation", ["none", "mlp"])
@pytest.mark.parametrize("chat", [False, True])
def test_a_prefix_of_the_instruction_starts_exactly_at_zero_shot(
    chat, reparametrisation, tiny_engine, toy_task, tmp_path
):
    context = context_of(tiny_engine, toy_task, tmp_path, chat=chat)
    zero = make_method("zero_shot", {}).fit(context)
    size = len(context.encoder.start().shared_ids)
    options = {"steps": 1, "learning_rate": 1e-8, "num_virtual_tokens": size}

    prefix = make_method(
        "prefix_tuning", QUICK | options | {"reparametrisation": reparametrisation}
    ).fit(context)

    found = probabilities(tiny_engine, prefix, toy_task.test)
    np.testing.assert_allclose(found, probabilities(tiny_engine, zero, toy_task.test), atol=EXACT)


@pytest.mark.parametrize("init", ["instruction", "labels", "vocabulary", "random", "zero"])
def test_every_init_gives_states_of_its_kind(init, toy_context):
    method = make_method("prefix_tuning", {"init": init, "num_virtual_tokens": 6})

    states, unit = method.initial_states(toy_context)

    assert states.shape == (6, 2 * 2 * 2 * 16)
    by_kind = states.reshape(6, 4, 32)
    scales = unit.reshape(4, 32)[:, 0]
    if init == "zero":
        assert not states.any()
    elif init == "random":
        spread = by_kind.square().mean(dim=(0, 2)).sqrt()
        torch.testing.assert_close(spread, scales, rtol=0.25, atol=0)
    else:
        torch.testing.assert_close(by_kind.square().mean(dim=(0, 2)).sqrt(), scales)


def test_layers_round_trip_through_pefts_layout():
    flat = torch.arange(3 * 2 * 2 * 4 * 5, dtype=torch.float32).reshape(3, -1)

    states = split_states(flat, (2, 4, 5))

    assert torch.equal(join_states(states), flat)
    assert {tuple(tensor.shape) for tensor in (*states.keys, *states.values)} == {(4, 3, 5)}


@pytest.mark.parametrize(
    "options", [{}, {"reparametrisation": "mlp", "hidden_size": 24}, {"num_virtual_tokens": 5}]
)
def test_what_is_trained_and_what_is_stored_follow_the_formula(options, toy_context, tmp_path):
    method = make_method("prefix_tuning", QUICK | options)

    fitted = method.fit(toy_context)
    method.save(toy_context, fitted, tmp_path / "adapter")

    num, width, key_width, hidden = fitted.prefix.num_tokens, 2 * 2 * 32, 32, 24
    kept = num * width
    with_mlp = num * key_width + key_width * hidden + hidden + (hidden + 1) * width
    expected = with_mlp if "reparametrisation" in options else kept
    assert fitted.cost.trained_parameters == expected == method.num_trainable(toy_context)
    assert fitted.cost.stored_bytes == 4 * kept
    stored = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert {name: tuple(t.shape) for name, t in stored.items()} == {
        "prompt_embeddings": (num, width)
    }


def test_an_init_text_alone_is_refused(toy_context):
    with pytest.raises(ConfigError) as caught:
        make_method("prefix_tuning", QUICK | {"init_text": "x"}).fit(toy_context)

    assert str(caught.value) == (
        "methods.prefix_tuning: init 'text' and init_text belong together. Give both, or neither."
    )


# Plain PEFT


@pytest.mark.parametrize("chat", [False, True])
def test_an_exported_prefix_answers_the_same_in_plain_peft(chat, engine, toy_task, tmp_path):
    context = context_of(engine, toy_task, tmp_path / "run", chat=chat)
    method = make_method("prefix_tuning", QUICK)
    fitted = method.fit(context)
    method.save(context, fitted, tmp_path / "adapter")
    engine.forward.model.save_pretrained(tmp_path / "base")

    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval()
    plain = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()

    choices = [choice[:1] for choice in context.encoder.choice_ids()]
    for sample in toy_task.test[:4]:
        own = context.encoder.own_ids(sample.fields, context.encoder.start())
        with torch.no_grad():
            logits = plain(input_ids=torch.tensor([own])).logits[0, -1].log_softmax(-1)
        ours = engine.score([fitted.condition(sample.fields)], [choices])[0]
        expected = [float(logits[choice[0]]) for choice in choices]
        np.testing.assert_allclose(ours.logprobs, expected, atol=1e-4)
    restored = method.restore(context, tmp_path / "adapter")
    np.testing.assert_allclose(
        probabilities(engine, restored, toy_task.test),
        probabilities(engine, fitted, toy_task.test),
        atol=1e-6,
    )


@pytest.mark.parametrize("projection", [False, True])
def test_a_prefix_trained_in_plain_peft_is_imported(projection, engine, toy_task, tmp_path):
    engine.forward.model.save_pretrained(tmp_path / "base")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval()
    config = PrefixTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=5, prefix_projection=projection
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        peft = get_peft_model(base, config).eval()
    peft.save_pretrained(tmp_path / "adapter")
    context = context_of(engine, toy_task, tmp_path / "run")
    method = make_method("imported", {"adapter": str(tmp_path / "adapter")})

    fitted = method.fit(context)

    assert (
        fitted.cost.trained_parameters
        == load_file(tmp_path / "adapter" / "adapter_model.safetensors")[
            "prompt_embeddings"
        ].numel()
    )
    for sample in toy_task.test[:3]:
        row = fitted.condition(sample.fields)
        with torch.no_grad():
            logits = peft(input_ids=torch.tensor([row.token_ids])).logits[0, -1].log_softmax(-1)
        ours = engine.score([row], [[(8,), (9,)]])[0].logprobs
        np.testing.assert_allclose(ours, [float(logits[8]), float(logits[9])], atol=1e-4)


def test_a_prefix_of_another_base_is_refused(tiny_engine, toy_context, toy_task, tmp_path):
    method = make_method("prefix_tuning", QUICK)
    method.save(toy_context, method.fit(toy_context), tmp_path / "adapter")
    context = replace(toy_context, engine=engine_of(ARCHITECTURES[1], tiny_base_of(toy_context)))

    with pytest.raises(ModelError) as caught:
        method.restore(context, tmp_path / "adapter")

    assert str(caught.value) == (
        f"adapter folder {tmp_path / 'adapter'}: has keys and values of width 32 for 2 layers; 16 "
        "for 3 layers is needed for this base model."
    )


def tiny_base_of(context: FitContext) -> LoadedBase:
    engine = context.engine
    return LoadedBase(engine.forward.model, engine.tokenizer, engine.info)


def test_a_soft_prompt_is_no_prefix_and_a_prefix_no_soft_prompt(toy_context, tmp_path):
    for name in ("prompt_tuning", "prefix_tuning"):
        method = make_method(name, QUICK | {"learning_rate": 0.01})
        method.save(toy_context, method.fit(toy_context_for(toy_context, name)), tmp_path / name)

    with pytest.raises(ModelError, match="holds a PROMPT_TUNING adapter, not prefix tuning"):
        make_method("prefix_tuning", {}).restore(toy_context, tmp_path / "prompt_tuning")
    with pytest.raises(ModelError, match="holds a PREFIX_TUNING adapter, not prompt tuning"):
        make_method("prompt_tuning", {}).restore(toy_context, tmp_path / "prefix_tuning")


def toy_context_for(context: FitContext, name: str) -> FitContext:
    return replace(context, folder=context.folder / name)


def test_an_imported_copy_knows_what_was_learned(tiny_engine, toy_task, tmp_path):
    context = context_of(tiny_engine, toy_task, tmp_path / "run", chat=True)
    for name in ("prompt_tuning", "prefix_tuning"):
        method = make_method(name, QUICK | {"learning_rate": 0.01, "num_virtual_tokens": 4})
        fitted = method.fit(replace(context, folder=tmp_path / "run" / name))
        method.save(context, fitted, tmp_path / name)

        folder, summary = import_adapter(tmp_path / name, tmp_path / "imports")

        head = len(context.encoder.start().head_ids)
        assert read_adapter(folder).learned == (head, head + 4)
        assert (summary.kind, summary.num_virtual_tokens) == (name, head + 4)
        assert summary.num_parameters == (head + 4) * (64 if name == "prompt_tuning" else 128)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_layers", 3, "by the config, {'prompt_embeddings': (20, 192)} is needed"),
        ("num_layers", None, "num_layers is missing"),
        ("num_layers", 0, "num_layers is 0. Allowed: a whole number, 1 to 1000"),
        ("num_transformer_submodules", 2, "num_transformer_submodules is 2. Allowed: 1 or null"),
    ],
)
def test_a_prefix_whose_config_does_not_fit_is_refused(
    field, value, message, toy_context, tmp_path
):
    method = make_method("prefix_tuning", QUICK | {"num_virtual_tokens": 20})
    method.save(toy_context, method.fit(toy_context), tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    config = json.loads(path.read_text())
    config[field] = value
    if value is None:
        del config[field]
    path.write_text(json.dumps(config))

    with pytest.raises(ModelError) as caught:
        read_adapter(tmp_path / "adapter")

    assert message in str(caught.value)


def test_keys_and_values_learned_in_float32_train_a_base_in_16_bits(tiny_folder):
    engine = Engine(open_tiny(tiny_folder, "bf16"))
    learned = states_of(engine, "Say whether it is good.")
    keys = [key.float().requires_grad_() for key in learned.keys]
    values = [value.float().requires_grad_() for value in learned.values]
    prefix = Prefix((), states=PrefixStates(tuple(keys), tuple(values)))
    batch = [Example((5, 7, 9), (11,)), Example((6, 8), (12,))]

    answer_loss(engine, prefix, None, batch).backward()

    assert all(bool(one.grad.isfinite().all()) for one in (*keys, *values))
    assert any(bool(one.grad.any()) for one in keys)
