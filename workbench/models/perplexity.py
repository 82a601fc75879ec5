"""How probable a base finds a text, in nats, under any conditioning.

A text is scored block by block; each block follows the tokens before it, as many as fit. Nothing is
scored twice, and the text's first token, which nothing leads to, not at all.

Source: rolling log-likelihood of lm-evaluation-harness (`get_rolling_token_windows`).
Differs from the source: every window, not only the first, begins with the special tokens that the
tokenizer puts before a text; where it puts none, no end-of-text token stands in for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from workbench.models.base import Conditioning, Prefix
from workbench.models.control_tokens import control_tokens
from workbench.models.engine import Engine

BLOCK = 128  # tokens scored together; also the unit that intervals resample
CONTEXT = 128  # tokens before a block, at most
_PROBE = "a"


@dataclass(frozen=True)
class TextBlock:
    """Tokens to be scored and the ones they follow.

    Attributes:
        context_ids: At least one token.
        scored_ids: At least one token.
        num_bytes: Length of the scored part of the text in UTF-8.
    """

    context_ids: tuple[int, ...]
    scored_ids: tuple[int, ...]
    num_bytes: int


def text_blocks(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    *,
    block: int = BLOCK,
    context: int = CONTEXT,
) -> list[TextBlock]:
    """Return a text as blocks; a text of fewer than two tokens has none.

    Args:
        tokenizer: The base's; it has to tell offsets.
        text: Tokenised as a whole, all of it as text.
        block: Tokens scored together.
        context: Tokens before them, at most; at least 1.
    """
    controls = control_tokens(tokenizer)
    encoded = controls.encode(tokenizer, controls.as_text(text), add_special_tokens=False)
    ids, ends = encoded.ids, encoded.ends
    blocks = []
    for first in range(1, len(ids), block):
        last = min(first + block, len(ids)) - 1
        # From end to end: the space before a token belongs to it, wherever offsets begin.
        scored = text[ends[first - 1] : ends[last]]
        blocks.append(
            TextBlock(
                ids[max(0, first - context) : first],
                ids[first : last + 1],
                len(scored.encode("utf-8", "surrogatepass")),
            )
        )
    return blocks


def special_start(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Return the special tokens that the tokenizer puts before a text."""
    plain = list(tokenizer(_PROBE, add_special_tokens=False).input_ids)
    ids = list(tokenizer(_PROBE).input_ids)
    # Some tokenizers put something after a text as well, so the text is looked for.
    starts = [at for at in range(len(ids)) if ids[at : at + len(plain)] == plain]
    return tuple(ids[: starts[0]]) if starts else ()


def block_losses(
    engine: Engine,
    blocks: Sequence[TextBlock],
    *,
    prefix: Prefix | None = None,
    adapter: str | None = None,
) -> np.ndarray:
    """Return (W,) negative log-probabilities in nats, summed over the tokens of each block.

    Args:
        engine: Owner of the base.
        blocks: Blocks of any number of texts.
        prefix: What stands before each window; the tokenizer's own start unless given.
        adapter: Weight adapter active for all of them, or None.

    Raises:
        PromptError: prefix, context and block together exceed the context window.
    """
    before = Prefix((special_start(engine.tokenizer),)) if prefix is None else prefix
    rows = [Conditioning(before, block.context_ids, adapter) for block in blocks]
    scores = engine.score(rows, [[block.scored_ids] for block in blocks])
    return np.array([-float(score.logprobs[0]) for score in scores])
