"""Tokenizers with and without special tokens at a text's ends, and prompts that share nothing.

The oracle is the model itself on the prompt's tokens and the label's, one after another.
"""

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM

from toys import TOY_TEMPLATE, add_lora
from workbench.batches import Example
from workbench.encoding import PromptEncoder
from workbench.models.base import Conditioning, Prefix
from workbench.training.loss import answer_loss

BEFORE, AFTER = "<", ">"  # tokens of the tiny vocabulary stand for special ones


@pytest.fixture(params=["$A", "< $A", "$A >", "< $A >"])
def frame(request, tiny_base) -> str:
    """Let the tokenizer put special tokens around every text."""
    tokenizer = tiny_base.tokenizer
    known = [(token, tokenizer.convert_tokens_to_ids(token)) for token in (BEFORE, AFTER)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=request.param, special_tokens=known
    )
    return request.param


@pytest.fixture(params=["instruction", "none"])
def encoder(request, frame, tiny_base, toy_task) -> PromptEncoder:
    instruction = TOY_TEMPLATE.instruction if request.param == "instruction" else ""
    template = TOY_TEMPLATE.model_copy(update={"instruction": instruction, "input": "{text}\nA:"})
    return PromptEncoder(tiny_base.tokenizer, template, toy_task)


@pytest.fixture
def oracle(tiny_folder):
    return AutoModelForCausalLM.from_pretrained(tiny_folder, attn_implementation="eager").eval()


def expected(oracle, frame, encoder, sample, choice) -> float:
    """Return the label's log-probability after the special start and the prompt's text."""
    text = encoder.render(sample.fields).text
    plain = encoder.tokenizer(text, add_special_tokens=False).input_ids
    start = [encoder.tokenizer.convert_tokens_to_ids(BEFORE)] if frame.startswith(BEFORE) else []
    ids = [*start, *plain, *choice]
    with torch.inference_mode():
        logprobs = oracle(torch.tensor([ids])).logits[0].log_softmax(-1)
    first = len(ids) - len(choice)
    return sum(float(logprobs[first + i - 1, token]) for i, token in enumerate(choice))


def test_labels_follow_the_prompt(frame, encoder, tiny_engine, oracle):
    start, choices = encoder.start(), encoder.choice_ids()
    if not encoder.template.instruction and not frame.startswith(BEFORE):
        assert start.prefix.num_tokens == 0
    samples = encoder.task.test[:3]
    rows = [Conditioning(start.prefix, encoder.own_ids(one.fields, start)) for one in samples]
    scores = tiny_engine.score(rows, [choices] * len(rows))
    for sample, score in zip(samples, scores, strict=True):
        for choice, found in zip(choices, score.logprobs, strict=True):
            right = expected(oracle, frame, encoder, sample, choice)
            assert float(found) == pytest.approx(right, abs=1e-4)


@pytest.mark.parametrize("adapter", [None, "lora"])
def test_training_sees_the_same_prompt(frame, encoder, tiny_engine, oracle, adapter):
    if adapter:
        add_lora(tiny_engine, adapter)  # changes nothing yet
    start, choices = encoder.start(), encoder.choice_ids()
    sample, choice = encoder.task.train[0], choices[0]
    example = Example(encoder.own_ids(sample.fields, start), choice)
    loss = answer_loss(tiny_engine, start.prefix, adapter, [example])
    right = -expected(oracle, frame, encoder, sample, choice) / len(choice)
    assert loss.item() == pytest.approx(right, abs=1e-4)


def test_an_empty_piece_is_no_piece(tiny_engine):
    rows = [(5, 6, 7), (8, 9)]
    plain = tiny_engine.run_as_tree(Prefix(), rows, None)
    for empty in (Prefix(((),)), Prefix((torch.zeros(0, 64),))):
        for one, other in zip(tiny_engine.run_as_tree(empty, rows, None), plain, strict=True):
            torch.testing.assert_close(one, other)
