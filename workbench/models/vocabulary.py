"""The embedding table of a base as its first layer sees it, and the tokens nearest to vectors."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from workbench.models.forward import BaseForward

_BLOCK = 32_768  # tokens whose embeddings or distances are held at once


def embedding_table(forward: BaseForward) -> torch.Tensor:
    """Return (V, D) float32: the embedding of every token id, scaled as the base scales it.

    It is the base's own memory where that is float32 and not scaled; do not write to it.
    """
    weight: torch.Tensor = forward.model.get_input_embeddings().weight.detach()
    some = [0, len(weight) // 2, len(weight) - 1]
    if weight.dtype == torch.float32 and torch.equal(forward.embed(some), weight[some]):
        return weight
    with torch.inference_mode():
        blocks = [
            forward.embed(range(start, min(start + _BLOCK, len(weight)))).cpu()
            for start in range(0, len(weight), _BLOCK)
        ]
    return torch.cat(blocks).clone()  # an inference tensor could not be used in training


def ordinary_tokens(tokenizer: PreTrainedTokenizerBase, size: int) -> torch.Tensor:
    """Return (V,) bool: the tokens that ordinary text is made of, special and added ones left out.

    Args:
        tokenizer: The base's.
        size: Rows of the embedding table (V), which may have more of them than there are tokens.
    """
    ordinary = torch.zeros(size, dtype=torch.bool)
    ordinary[: min(size, len(tokenizer))] = True
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    ordinary[[token for token in special if token < size]] = False
    return ordinary


def nearest_tokens(
    table: torch.Tensor,
    vectors: torch.Tensor,
    *,
    by_cosine: bool = False,
    among: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return (P,) ids of the tokens nearest to vectors (P, D), by distance or by cosine.

    Args:
        table: (V, D) embeddings.
        vectors: (P, D).
        by_cosine: The largest cosine instead of the smallest Euclidean distance.
        among: (V,) bool, the tokens allowed; None allows all.
    """
    with torch.no_grad():
        scores = vectors @ table.T  # (P, V)
        squares = table.square().sum(dim=1)
        scores = scores / squares.sqrt().clamp_min(1e-12) if by_cosine else scores - squares / 2
        if among is not None:
            scores = scores.masked_fill(~among, -torch.inf)
        return scores.argmax(dim=1)


def token_texts(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> list[str]:
    """Return tokens as people can read them: a space as "␣", a line break as "⏎".

    Pieces of a character, which no text shows alone, are given as the tokenizer writes them.
    """
    texts = []
    for token, raw in zip(token_ids, tokenizer.convert_ids_to_tokens(list(token_ids)), strict=True):
        text = "" if raw is None else tokenizer.convert_tokens_to_string([raw])
        if raw is not None and raw.startswith("\N{LOWER ONE EIGHTH BLOCK}") and text[:1] != " ":
            text = f" {text}"  # SentencePiece drops the space of a first word
        if raw is None or not text or "\N{REPLACEMENT CHARACTER}" in text:
            text = f"<{token}>" if raw is None else str(raw)
        shown = text.replace(" ", "\N{OPEN BOX}").replace("\n", "\N{RETURN SYMBOL}")
        texts.append("".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in shown))
    return texts
