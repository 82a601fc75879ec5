"""The text of token ids that come one at a time, equal to decoding all of them at each token.

How a token reads can depend on its neighbours: bytes make a character together, and the first
piece of a text loses its space. So ids are decoded from the last place where the text is closed,
and only for decoders of which it is known where that is; for others all ids are decoded each time.
"""

import json
import re
from typing import Any

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

REPLACEMENT = "\ufffd"  # an incomplete UTF-8 sequence: wait for the next token
_BYTE_PIECE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
# What sentencepiece models are decoded with, in its order: each piece on its own, runs of bytes
# together, then all in one, less the space in front.
_PIECEWISE = ("Replace", "ByteFallback", "Fuse", "Strip")


class GrowingText:
    """The text of one row's tokens so far, without special tokens.

    Attributes:
        token_ids: All tokens so far.
        text: What the tokenizer makes of all of them.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.token_ids: list[int] = []
        self.text = ""
        self._tokenizer = tokenizer
        self._has_bytes, self._has_pieces = _is_bytewise(tokenizer), _is_piecewise(tokenizer)
        self._closed = ""  # the text that nothing to come can change
        self._open: list[int] = []  # the tokens after it
        self._before: list[int] = []  # a token of the closed text that the open ones are read after
        self._text_before = ""  # how that one reads alone

    def append(self, token_id: int) -> str:
        """Add a token and return the whole text."""
        self.token_ids.append(token_id)
        if not (self._has_bytes or self._has_pieces):
            self.text = self._decoded(self.token_ids)
            return self.text
        self._open.append(token_id)
        read = self._decoded([*self._before, *self._open])
        self.text = self._closed + read[len(self._text_before) :]
        if self._has_bytes:
            self._close_bytes()
        else:
            self._close_pieces()
        return self.text

    def _close_bytes(self) -> None:
        """Close the text where it ends in a whole character: what follows starts a new one."""
        if not self.text.endswith(REPLACEMENT):
            self._closed = self.text
            self._open.clear()

    def _close_pieces(self) -> None:
        """Close the text after a piece that is no byte and that can stand before the next ones."""
        last = self._open[-1:]
        if _BYTE_PIECE.fullmatch(str(self._tokenizer.convert_ids_to_tokens(last[0]))):
            return
        alone = self._decoded(last)
        if alone:  # so the space that the first piece loses is not one of the next ones
            self._closed, self._before, self._text_before = self.text, last, alone
            self._open.clear()

    def _decoded(self, token_ids: list[int]) -> str:
        text: str = self._tokenizer.decode(token_ids, skip_special_tokens=True)
        return text


def _is_bytewise(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether tokens are bytes put one after another, as in GPT-2's and Llama-3's."""
    return bool(_decoder(tokenizer).get("type") == "ByteLevel")


def _is_piecewise(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether tokens are pieces of text, as in sentencepiece's, Llama-2's and Gemma's."""
    decoder = _decoder(tokenizer)
    steps = decoder.get("decoders", [decoder])
    if [step.get("type") for step in steps] == ["Metaspace"]:
        return True
    names = tuple(step.get("type") for step in steps)
    # `Strip` may be left out; it takes at most one character, in front.
    strips = [step for step in steps if step.get("type") == "Strip"]
    is_front = all(step["start"] <= 1 and step["stop"] == 0 for step in strips)
    return names in (_PIECEWISE, _PIECEWISE[:-1]) and is_front


def _cleans_up(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Return whether spaces before punctuation are taken out after decoding.

    Files of Llama-3 ask for it, but transformers does so with BPE only where it is forced to.
    """
    is_forced = tokenizer.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output
    is_bpe = type(tokenizer.backend_tokenizer.model).__name__ == "BPE"
    return bool(tokenizer.clean_up_tokenization_spaces and (is_forced or not is_bpe))


def _decoder(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return how a tokenizer decodes, as in its file; nothing where it has a way of its own."""
    is_plain = (
        isinstance(tokenizer, PreTrainedTokenizerFast)
        and type(tokenizer)._decode is PreTrainedTokenizerFast._decode
        and type(tokenizer).decode is PreTrainedTokenizerFast.decode
        and not _cleans_up(tokenizer)  # it looks across tokens
    )
    decoder = tokenizer.backend_tokenizer.decoder if is_plain else None
    if decoder is None:
        return {}
    try:
        found: dict[str, Any] = json.loads(decoder.__getstate__())
    except (TypeError, ValueError):  # written in Python
        return {}
    return found
