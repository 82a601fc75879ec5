"""Texts are scored as transformers scores them, under any conditioning."""

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from toys import TEST_DEVICE, add_lora
from workbench.models.base import Prefix
from workbench.models.perplexity import block_losses, special_start, text_blocks

TEXT = "The quick brown fox jumps over the lazy dog. Naïve “quotes” and — dashes. " * 4


def ids_of(engine, text: str) -> list[int]:
    return list(engine.tokenizer(text).input_ids)


def loss_of(model, ids: list[int], *, scored_from: int) -> float:
    """Return transformers' own loss in nats, summed over the tokens from a place on."""
    tokens = torch.tensor([ids], device=TEST_DEVICE)
    labels = tokens.clone()
    labels[0, :scored_from] = -100
    with torch.inference_mode():
        return float(model(tokens, labels=labels).loss) * (len(ids) - scored_from)


def test_a_text_in_one_block_has_transformers_own_loss(tiny_engine):
    ids = ids_of(tiny_engine, TEXT)
    blocks = text_blocks(tiny_engine.tokenizer, TEXT, block=len(ids))

    (loss,) = block_losses(tiny_engine, blocks)

    expected = loss_of(tiny_engine.forward.model, ids, scored_from=1)
    assert loss == pytest.approx(expected, rel=1e-6)
    assert loss / (len(ids) - 1) == pytest.approx(expected / (len(ids) - 1), abs=1e-5)


def test_each_block_follows_as_many_tokens_as_fit(tiny_engine):
    ids = ids_of(tiny_engine, TEXT)
    blocks = text_blocks(tiny_engine.tokenizer, TEXT, block=20, context=30)

    losses = block_losses(tiny_engine, blocks)

    assert [token for block in blocks for token in block.scored_ids] == ids[1:]
    for number, loss in enumerate(losses):
        first = 1 + 20 * number
        begin, end = max(0, first - 30), min(first + 20, len(ids))
        expected = loss_of(tiny_engine.forward.model, ids[begin:end], scored_from=first - begin)
        assert loss == pytest.approx(expected, rel=1e-5)


def test_vectors_equal_to_tokens_score_like_these_tokens(tiny_engine):
    before = ids_of(tiny_engine, "Say good or bad.")
    blocks = text_blocks(tiny_engine.tokenizer, TEXT, block=1000)
    as_words = block_losses(tiny_engine, blocks, prefix=Prefix((tuple(before),)))

    vectors = tiny_engine.forward.embed(before)
    as_vectors = block_losses(tiny_engine, blocks, prefix=Prefix((vectors,)))

    ids = ids_of(tiny_engine, TEXT)
    expected = loss_of(tiny_engine.forward.model, before + ids, scored_from=len(before) + 1)
    assert as_words == pytest.approx([expected], rel=1e-5)
    assert as_vectors == pytest.approx(as_words, rel=1e-6)
    assert block_losses(tiny_engine, blocks)[0] != pytest.approx(expected, rel=1e-3)


def test_an_adapter_whose_b_is_zero_changes_nothing_and_a_trained_one_does(tiny_engine):
    blocks = text_blocks(tiny_engine.tokenizer, TEXT)
    alone = block_losses(tiny_engine, blocks)
    add_lora(tiny_engine, "fresh")
    add_lora(tiny_engine, "trained", trained=True)

    fresh = block_losses(tiny_engine, blocks, adapter="fresh")
    trained = block_losses(tiny_engine, blocks, adapter="trained")

    assert fresh.tolist() == alone.tolist()
    assert abs(trained - alone).max() > 0.1
    assert block_losses(tiny_engine, blocks).tolist() == alone.tolist()


def test_bytes_are_those_of_the_text_after_its_first_token(tiny_engine):
    blocks = text_blocks(tiny_engine.tokenizer, TEXT, block=7)

    assert sum(block.num_bytes for block in blocks) == len(TEXT[1:].encode())


@pytest.mark.parametrize("text", ["", "x"])
def test_a_text_without_a_token_that_follows_another_has_no_blocks(text, tiny_engine):
    assert text_blocks(tiny_engine.tokenizer, text) == []


def test_what_a_tokenizer_puts_before_a_text_stands_before_each_window(tiny_engine):
    assert special_start(tiny_engine.tokenizer) == ()
    blocks = text_blocks(tiny_engine.tokenizer, TEXT, block=20, context=30)
    tiny_engine.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<end> $A", special_tokens=[("<end>", 0)]
    )

    losses = block_losses(tiny_engine, blocks)

    assert special_start(tiny_engine.tokenizer) == (0,)
    assert text_blocks(tiny_engine.tokenizer, TEXT, block=20, context=30) == blocks
    last = blocks[-1]
    ids = [0, *last.context_ids, *last.scored_ids]
    expected = loss_of(tiny_engine.forward.model, ids, scored_from=1 + len(last.context_ids))
    assert losses[-1] == pytest.approx(expected, rel=1e-5)
