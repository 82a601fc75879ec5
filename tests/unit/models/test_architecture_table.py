"""The table of tiny models: nothing that transformers can load is forgotten, and all are tiny."""

import torch
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from architectures import ARCHITECTURES, NOT_TINY, tiny_model, tiny_tokenizer

MOST_PARAMETERS = 2_500_000


def test_every_causal_language_model_has_a_row_or_a_reason():
    known = {model_type for model_type, _ in ARCHITECTURES.values()}
    assert set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) == known | set(NOT_TINY)
    assert not known & set(NOT_TINY)


def test_rows_are_tiny():
    sizes = {}
    with torch.device("meta"):
        for name in ARCHITECTURES:
            sizes[name] = sum(weight.numel() for weight in tiny_model(name).parameters())
    assert {name: size for name, size in sizes.items() if size > MOST_PARAMETERS} == {}


def test_the_tokenizer_knows_every_byte():
    tokenizer = tiny_tokenizer()
    text = "naïve – 你好\n"
    assert tokenizer.decode(tokenizer(text).input_ids) == text
