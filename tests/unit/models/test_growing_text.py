"""The text of tokens that come one at a time is that of decoding all of them, at each token."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from workbench.models.growing_text import GrowingText

_WORDS = ["▁", "▁▁", "▁the", "the", "▁a", ".", "▁.", "'s", "▁'", "n't", "é", "日", "\ufffd", "▁\n"]
_BYTES = [f"<0x{value:02X}>" for value in range(256)]


def _pieces(decoder: object, words: list[str] = _WORDS, **options: object):
    """Return a tokenizer of pieces and bytes; the last two are a special and an added one."""
    vocabulary = {word: number for number, word in enumerate([*words, *_BYTES])}
    backend = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    backend.decoder = decoder
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", **options)
    tokenizer.add_tokens(["▁added piece"])
    return tokenizer


def _sentencepiece(*more: object):
    first = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    return _pieces(decoders.Sequence([*first, *more]))


def _bytewise(**options: object):
    """Return a tokenizer with a token per byte and some of several bytes, cut anywhere."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*alphabet, "Ġthe", "Ġ.", "æĹ¥", "ðŁĺ", "Ģx", "Ġ'", "st"]
    backend = Tokenizer(models.BPE({word: i for i, word in enumerate(dict.fromkeys(words))}, []))
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", **options)
    tokenizer.add_tokens(["Ġan added token é"])
    return tokenizer


def _wordpiece(**options: object):
    words = ["[UNK]", "the", "##re", "is", ".", "n", "'", "t", "'s", ",", "do", "n't"]
    backend = Tokenizer(
        models.WordPiece(vocab={word: i for i, word in enumerate(words)}, unk_token="[UNK]")
    )
    backend.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", **options)


def _suffixed():
    """Return a tokenizer whose last token reads in another way than before others."""
    backend = Tokenizer(models.BPE({"he": 0, "llo</w>": 1, "you</w>": 2, "a": 3}, []))
    backend.decoder = decoders.BPEDecoder(suffix="</w>")
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>")


TOKENIZERS = {
    "bytes": _bytewise(),
    "bytes, asked in vain to clean up": _bytewise(clean_up_tokenization_spaces=True),  # Llama-3
    "bytes, made to clean up": _bytewise(
        clean_up_tokenization_spaces=True,
        clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output=True,
    ),
    "sentencepiece": _sentencepiece(decoders.Strip(" ", 1, 0)),
    "sentencepiece, space kept": _sentencepiece(),
    "metaspace": _pieces(decoders.Metaspace()),
    "metaspace, no prefix": _pieces(decoders.Metaspace(prepend_scheme="never")),
    "wordpiece": _wordpiece(),
    "wordpiece, cleaned up": _wordpiece(clean_up_tokenization_spaces=True),
    "suffixes": _suffixed(),
}


def check_equal(tokenizer, ids: list[int]) -> None:
    """Compare the text at each token with that of all tokens so far."""
    growing = GrowingText(tokenizer)
    for number, token in enumerate(ids, start=1):
        expected = tokenizer.decode(ids[:number], skip_special_tokens=True)
        assert growing.append(token) == growing.text == expected
    assert growing.token_ids == ids


@pytest.mark.parametrize("name", TOKENIZERS)
def test_text_of_any_tokens_is_that_of_decoding_them_all(name):
    tokenizer = TOKENIZERS[name]
    size = len(tokenizer)
    # The first tokens and the last are the odd ones; an id that nothing has is skipped.
    token = st.one_of(
        st.integers(0, size), st.integers(0, min(13, size)), st.integers(size - 2, size - 1)
    )

    @settings(max_examples=300, deadline=None)
    @given(st.lists(token, max_size=14))
    def check(ids: list[int]) -> None:
        check_equal(tokenizer, ids)

    check()


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=12))
def test_texts_of_any_characters_come_back(text):
    for name in ("bytes", "sentencepiece"):
        tokenizer = TOKENIZERS[name]
        if name == "bytes":
            letters = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
            ids = [tokenizer.convert_tokens_to_ids(x) for word, _ in letters for x in word]
        else:
            ids = [tokenizer.convert_tokens_to_ids(f"<0x{x:02X}>") for x in text.encode()]
        check_equal(tokenizer, ids)


def test_only_open_tokens_are_decoded(monkeypatch):
    """A long text costs no more at its end than at its start."""
    for name in ("bytes", "bytes, asked in vain to clean up", "sentencepiece", "metaspace"):
        tokenizer, seen = TOKENIZERS[name], list[int]()
        growing = GrowingText(tokenizer)
        decode = type(tokenizer).decode
        with monkeypatch.context() as patch:
            patch.setattr(
                tokenizer,
                "decode",
                lambda ids, decode=decode, tokenizer=tokenizer, seen=seen, **options: (
                    seen.append(len(ids)) or decode(tokenizer, ids, **options)
                ),
            )
            for _ in range(50):
                growing.append(
                    tokenizer.convert_tokens_to_ids("e" if name.startswith("bytes") else "the")
                )
        assert max(seen) <= 2
