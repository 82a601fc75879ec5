"""Identities of the engine: whatever is mixed, padded or cached, a row scores as it does alone.

Tolerances: 1e-4 nats where products are float32, on the tiny model and on the real NF4 base.
"""

import itertools
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
)

from toys import TEST_DEVICE, add_lora
from workbench.errors import ModelError, PromptError
from workbench.models.base import Conditioning, GenerationOptions, Prefix
from workbench.models.engine import Engine
from workbench.models.loading import LoadedBase
from workbench.models.quantised_layers import base_hash, unpacked_anew

TOLERANCE = 1e-4  # nats
INSTRUCTION = "Say good or bad.\n\n"
TEXTS = ("T: sun\nA:", "T: a much longer line of rain, rain and rain\nA:", "x")
CHOICES = (" good", " bad", " goodness", " b")


def ids(engine: Engine, text: str) -> tuple[int, ...]:
    return tuple(engine.tokenizer(text, add_special_tokens=False).input_ids)


def plain_logprob(engine: Engine, context: tuple[int, ...], choice: tuple[int, ...]) -> float:
    """Score one choice with the library's own forward pass: batch of one, no cache."""
    tokens = torch.tensor([context + choice], device=engine.forward.device)
    with torch.no_grad():
        logprobs = engine.forward.model(tokens).logits[0].float().log_softmax(-1)
    return sum(float(logprobs[len(context) - 1 + i, t]) for i, t in enumerate(choice))


def mixed_rows(engine: Engine) -> list[Conditioning]:
    """Rows of words, vectors and weights, with prefixes of different lengths."""
    vectors = torch.randn(5, engine.forward.embedding_width, generator=torch.manual_seed(3))
    prefixes = (
        Prefix(),
        Prefix((ids(engine, INSTRUCTION),)),
        Prefix((ids(engine, INSTRUCTION + "T: a\nA: good\n\n"),)),
        Prefix((ids(engine, "H"), 0.1 * vectors)),
    )
    adapters = (None, "first", "second")
    return [
        Conditioning(prefix, ids(engine, text), adapter)
        for prefix, text, adapter in itertools.product(prefixes, TEXTS, adapters)
    ]


@pytest.fixture
def engine_with_adapters(tiny_engine):
    add_lora(tiny_engine, "first", trained=True)
    add_lora(tiny_engine, "second", trained=True)
    return tiny_engine


def test_scores_equal_a_plain_loop(tiny_engine):
    choices = [ids(tiny_engine, choice) for choice in CHOICES]
    contexts = [ids(tiny_engine, INSTRUCTION + text) for text in TEXTS]

    scores = tiny_engine.score([Conditioning(Prefix(), c) for c in contexts], [choices] * 3)

    for context, score in zip(contexts, scores, strict=True):
        expected = [plain_logprob(tiny_engine, context, choice) for choice in choices]
        np.testing.assert_allclose(score.logprobs, expected, atol=TOLERANCE)


def test_log_probability_of_a_choice_is_the_sum_over_its_tokens(tiny_engine):
    context = ids(tiny_engine, TEXTS[0])
    first, second = ids(tiny_engine, " g"), ids(tiny_engine, "ood")

    whole, start = tiny_engine.score([Conditioning(Prefix(), context)], [[first + second, first]])[
        0
    ].logprobs
    rest = tiny_engine.score([Conditioning(Prefix(), context + first)], [[second]])[0].logprobs[0]

    assert whole == pytest.approx(start + rest, abs=TOLERANCE)


def test_soft_prompt_made_of_a_texts_embeddings_scores_like_the_text(tiny_engine):
    instruction = ids(tiny_engine, INSTRUCTION)
    choices = [[ids(tiny_engine, choice) for choice in CHOICES]] * 3
    own = [ids(tiny_engine, text) for text in TEXTS]
    vectors = tiny_engine.forward.embed(instruction)

    words = tiny_engine.score([Conditioning(Prefix((instruction,)), o) for o in own], choices)
    soft = tiny_engine.score([Conditioning(Prefix((vectors,)), o) for o in own], choices)
    plain = tiny_engine.score([Conditioning(Prefix(), instruction + o) for o in own], choices)

    for word, vector, text in zip(words, soft, plain, strict=True):
        np.testing.assert_array_equal(word.logprobs, vector.logprobs)
        np.testing.assert_allclose(word.logprobs, text.logprobs, atol=TOLERANCE)


def test_untrained_lora_is_the_base(tiny_engine):
    add_lora(tiny_engine, "fresh", trained=False)
    own, choices = ids(tiny_engine, TEXTS[1]), [[ids(tiny_engine, c) for c in CHOICES]]

    base = tiny_engine.score([Conditioning(Prefix(), own)], choices)[0]
    fresh = tiny_engine.score([Conditioning(Prefix(), own, "fresh")], choices)[0]

    np.testing.assert_array_equal(base.logprobs, fresh.logprobs)


def test_mixing_methods_in_one_batch_changes_no_score(engine_with_adapters):
    engine = engine_with_adapters
    rows, choices = mixed_rows(engine), [ids(engine, choice) for choice in CHOICES]

    together = engine.score(rows, [choices] * len(rows))

    for row, score in zip(rows, together, strict=True):
        alone = engine.score([row], [choices])[0]
        np.testing.assert_allclose(score.logprobs, alone.logprobs, atol=TOLERANCE)
    assert len({tuple(s.logprobs.round(3)) for s in together}) == len(rows)


def test_order_of_rows_changes_no_score(engine_with_adapters):
    engine = engine_with_adapters
    rows, choices = mixed_rows(engine), [ids(engine, choice) for choice in CHOICES]

    forwards = engine.score(rows, [choices] * len(rows))
    backwards = engine.score(rows[::-1], [choices] * len(rows))[::-1]

    for one, other in zip(forwards, backwards, strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=TOLERANCE)


def test_rows_generate_in_a_mixed_batch_what_they_generate_alone(engine_with_adapters):
    engine, options = engine_with_adapters, GenerationOptions(max_new_tokens=12)
    rows = mixed_rows(engine)

    together = engine.generate(rows, options)

    assert [g.token_ids for g in together] == [
        engine.generate([row], options)[0].token_ids for row in rows
    ]


def test_greedy_generation_equals_the_librarys_generate(tiny_engine):
    context = ids(tiny_engine, INSTRUCTION + TEXTS[1])

    ours = tiny_engine.generate(
        [Conditioning(Prefix(), context)], GenerationOptions(max_new_tokens=20)
    )[0]
    theirs = tiny_engine.forward.model.generate(
        torch.tensor([context], device=TEST_DEVICE),
        max_new_tokens=20,
        do_sample=False,
        pad_token_id=0,
    )[0, len(context) :].tolist()

    assert list(ours.token_ids) == [token for token in theirs if token != 0]


def test_sampling_depends_on_the_seed_and_not_on_the_batch(engine_with_adapters):
    engine, rows = engine_with_adapters, mixed_rows(engine_with_adapters)[:6]
    options = GenerationOptions(max_new_tokens=10, temperature=1.0, top_k=40, top_p=0.9, seed=5)

    together = [g.token_ids for g in engine.generate(rows, options)]
    alone = [engine.generate([row], options)[0].token_ids for row in rows]
    other = [
        g.token_ids
        for g in engine.generate(
            rows, GenerationOptions(max_new_tokens=10, temperature=1.0, seed=6)
        )
    ]

    assert together == alone
    assert together != other


def test_sampling_one_row_twice_gives_two_samples(tiny_engine):
    row = Conditioning(Prefix(), ids(tiny_engine, TEXTS[1]))

    first, second = tiny_engine.generate(
        [row, row], GenerationOptions(max_new_tokens=20, temperature=1.5)
    )

    assert first.token_ids != second.token_ids


def test_streamed_text_joins_to_the_generated_text(engine_with_adapters):
    engine, rows = engine_with_adapters, mixed_rows(engine_with_adapters)[:5]
    streamed = [""] * len(rows)

    options = GenerationOptions(max_new_tokens=15)
    for delta in engine.stream(rows, options):
        streamed[delta.row] += delta.text

    assert streamed == [g.text for g in engine.generate(rows, options)]


def test_generation_stops_before_the_stop_string(tiny_engine):
    row = Conditioning(Prefix(), ids(tiny_engine, TEXTS[1]))
    free = tiny_engine.generate([row], GenerationOptions(max_new_tokens=20))[0].text
    stop = free[4:6]

    cut = tiny_engine.generate([row], GenerationOptions(max_new_tokens=20, stop=(stop,)))[0]

    assert cut.text == free[: free.find(stop)]
    assert cut.finish_reason == "stop"


def test_cancelling_ends_generation_between_two_tokens(tiny_engine):
    rows = [Conditioning(Prefix(), ids(tiny_engine, text)) for text in TEXTS]
    answers = iter([False, False, False, True])

    generations = tiny_engine.generate(
        rows, GenerationOptions(max_new_tokens=50), should_stop=lambda: next(answers)
    )

    assert {g.finish_reason for g in generations} == {"cancelled"}
    assert {len(g.token_ids) for g in generations} == {3}


def test_closing_a_stream_of_mixed_adapters_leaves_the_base_as_it_was(engine_with_adapters):
    engine, rows = engine_with_adapters, mixed_rows(engine_with_adapters)
    choices = [ids(engine, choice) for choice in CHOICES]
    before = engine.score(rows[:1], [choices])[0].logprobs

    stream = engine.stream(rows, GenerationOptions(max_new_tokens=10))
    next(stream)
    stream.close()

    np.testing.assert_array_equal(engine.score(rows[:1], [choices])[0].logprobs, before)


def test_a_prefix_is_computed_once_for_all_rows_and_calls(tiny_engine):
    prefix = Prefix((ids(tiny_engine, INSTRUCTION),))
    rows = [Conditioning(prefix, ids(tiny_engine, text)) for text in TEXTS * 40]
    choices = [[ids(tiny_engine, " good")]] * len(rows)
    tiny_engine.prefixes.budget_bytes = 1 << 30

    tiny_engine.score(rows, choices)
    tiny_engine.score(rows, choices)

    assert tiny_engine.prefixes.num_computed == 1


def test_the_base_is_the_same_after_everything(engine_with_adapters):
    engine = engine_with_adapters
    before = base_hash(engine.forward.model)

    rows = mixed_rows(engine)
    engine.score(rows, [[ids(engine, " good")]] * len(rows))
    engine.generate(rows[:3], GenerationOptions(max_new_tokens=3))
    engine.adapters.remove("first")

    assert base_hash(engine.forward.model) == before


def test_base_hash_notices_a_changed_weight(tiny_base):
    before = base_hash(tiny_base.model)

    tiny_base.model.model.layers[0].mlp.up_proj.weight.data[0, 0] += 1e-3

    assert base_hash(tiny_base.model) != before


def test_too_long_a_prompt_is_refused_with_its_size(tiny_engine):
    row = Conditioning(Prefix((ids(tiny_engine, "a" * 1000),)), ids(tiny_engine, "b" * 30))

    with pytest.raises(PromptError) as caught:
        tiny_engine.score([row], [[ids(tiny_engine, "ok")]])

    assert str(caught.value) == (
        "prompt: 1030 tokens (of which 1000 shared prefix) and up to 2 more exceed the context of "
        f"1024 tokens of '{tiny_engine.info.name}' by 8. Shorten the text, use fewer "
        "demonstrations, or use a model with a longer context."
    )


def test_an_unknown_adapter_is_refused(engine_with_adapters):
    row = Conditioning(Prefix(), ids(engine_with_adapters, "x"), "frist")

    with pytest.raises(ModelError, match="Did you mean 'first'"):
        engine_with_adapters.generate([row], GenerationOptions())


OTHER_ARCHITECTURES = {
    "gemma3 with a sliding window of 8": lambda v: Gemma3ForCausalLM(
        Gemma3TextConfig(
            vocab_size=v,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=3,
            layer_types=["sliding_attention", "sliding_attention", "full_attention"],
            num_attention_heads=4,
            num_key_value_heads=1,
            head_dim=16,
            initializer_range=0.2,
            sliding_window=8,
            pad_token_id=0,
        )
    ),
    "gpt2 with learned positions": lambda v: GPT2LMHeadModel(
        GPT2Config(vocab_size=v, n_embd=64, n_layer=2, n_head=4, initializer_range=0.2)
    ),
    "mistral with a sliding window of 8": lambda v: MistralForCausalLM(
        MistralConfig(
            vocab_size=v,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            initializer_range=0.2,
            sliding_window=8,
        )
    ),
}


@pytest.mark.parametrize("name", OTHER_ARCHITECTURES)
def test_other_architectures_score_and_generate_exactly(name, tiny_base):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        model = OTHER_ARCHITECTURES[name](len(tiny_base.tokenizer)).eval().to(TEST_DEVICE)
    engine = Engine(LoadedBase(model, tiny_base.tokenizer, tiny_base.info))
    prefix = Prefix((ids(engine, INSTRUCTION),))
    choices = [ids(engine, choice) for choice in CHOICES]

    scores = engine.score(
        [Conditioning(prefix, ids(engine, text)) for text in TEXTS], [choices] * 3
    )
    generations = engine.generate(
        [Conditioning(prefix, ids(engine, text)) for text in TEXTS],
        GenerationOptions(max_new_tokens=10),
    )

    for text, score, generation in zip(TEXTS, scores, generations, strict=True):
        context = ids(engine, INSTRUCTION + text)
        expected = [plain_logprob(engine, context, choice) for choice in choices]
        np.testing.assert_allclose(score.logprobs, expected, atol=TOLERANCE)
        tokens = list(context)
        for token in generation.token_ids:
            with torch.no_grad():
                assert token == int(
                    model(torch.tensor([tokens], device=TEST_DEVICE)).logits[0, -1].argmax()
                )
            tokens.append(token)


@pytest.mark.slow
@pytest.mark.parametrize("way", [nullcontext, unpacked_anew], ids=["as loaded", "packed"])
def test_the_real_base_scores_like_a_plain_loop(real_engine, way):
    context = ids(real_engine, "Decide the sentiment.\n\nReview: a gripping film\nSentiment:")
    choices = [ids(real_engine, word) for word in (" positive", " negative", " not good at all")]
    prefix = Prefix((context[:5],))

    with way(real_engine.forward.model):
        score = real_engine.score([Conditioning(prefix, context[5:])], [choices])[0]
        expected = [plain_logprob(real_engine, context, choice) for choice in choices]

    np.testing.assert_allclose(score.logprobs, expected, atol=1e-3)
