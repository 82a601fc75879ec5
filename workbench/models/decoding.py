"""The decode loop: one token for every unfinished row per step, whatever the rows are made of."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from workbench.models.base import FinishReason, Generation, GenerationOptions, TextDelta
from workbench.models.decoding_cache import DecodingCache
from workbench.models.growing_text import REPLACEMENT, GrowingText

StepForward = Callable[[torch.Tensor, list[int]], torch.Tensor]
RowSeed = tuple[int, ...]  # what the generator of a row is made from


class RowText:
    """The growing text of one row: finds stop strings and says what may be shown already."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, options: GenerationOptions) -> None:
        self._growing, self._stop = GrowingText(tokenizer), options.stop
        self.text = ""
        self._shown = 0

    @property
    def token_ids(self) -> list[int]:
        """All tokens so far."""
        return self._growing.token_ids

    def append(self, token_id: int) -> bool:
        """Add a token; return whether a stop string is complete (the text is cut before it)."""
        text = self._growing.append(token_id)
        ends = [place for stop in self._stop if (place := text.find(stop)) >= 0]
        self.text = text[: min(ends)] if ends else text
        return bool(ends)

    def new_text(self, *, final: bool) -> str:
        """Return what can be shown and has not been shown yet."""
        end = len(self.text) if final else self._safe_end()
        fresh, self._shown = self.text[self._shown : end], max(self._shown, end)
        return fresh

    def _safe_end(self) -> int:
        """Hold back what may turn out to be the start of a stop string or half a character."""
        end = len(self.text.rstrip(REPLACEMENT))
        for stop in self._stop:
            for size in range(min(len(stop) - 1, end), 0, -1):
                if self.text.endswith(stop[:size], 0, end):
                    end -= size
                    break
        return end


class Chosen(NamedTuple):
    """The next token of each row (B,), as numbers and where the base is."""

    ids: list[int]
    tokens: torch.Tensor


class TokenSampler:
    """Chooses the next token of each row; each row has a random generator of its own."""

    def __init__(self, options: GenerationOptions, seeds: Sequence[RowSeed]) -> None:
        self._options = options
        self._generators = [np.random.default_rng(seed) for seed in seeds]

    def choose(self, logits: torch.Tensor, rows: Sequence[int]) -> Chosen:
        """Return the tokens of rows by their logits (B, V), which wait for the device once."""
        if self._options.temperature <= 0:
            tokens = logits.argmax(dim=-1)
            return Chosen(tokens.tolist(), tokens)
        scaled = (logits / self._options.temperature).double().cpu().numpy()
        ids = [self._draw(values, row) for values, row in zip(scaled, rows, strict=True)]
        return Chosen(ids, torch.tensor(ids, device=logits.device))

    def _draw(self, scaled: np.ndarray, row: int) -> int:
        """Return a token drawn by a row's generator from its scaled logits (V,)."""
        order = _descending(scaled, self._options.top_k or len(scaled))
        probabilities = np.exp(scaled[order] - scaled[order[0]])
        probabilities /= probabilities.sum()
        # The mass before a token, not with it: the token that crosses top_p is kept.
        keep = np.cumsum(probabilities) - probabilities < self._options.top_p
        kept = np.where(keep, probabilities, 0.0)
        return int(self._generators[row].choice(order, p=kept / kept.sum()))


def _descending(values: np.ndarray, most: int) -> np.ndarray:
    """Return the places of the highest values (V,), at most so many.

    Stable, so that equal logits are drawn in the same order on every machine.
    """
    if most >= len(values):
        return np.argsort(-values, kind="stable")
    # Sorting a few of a large vocabulary is enough, with all that equal the last of them.
    (high,) = np.nonzero(values >= np.partition(values, -most)[-most])
    found: np.ndarray = high[np.argsort(-values[high], kind="stable")[:most]]
    return found


class DecodedRows:
    """The rows of a batch, their texts so far and their random generators.

    Args:
        tokenizer: Turns ids into text.
        end_tokens: Ids that end a row.
        options: See `GenerationOptions`.
        prompt_tokens: Prompt positions of each row.
        seeds: One per row.

    Attributes:
        going: Numbers of the rows that are not finished, in their order in the batch.
        most: Upper bound of new tokens.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        end_tokens: frozenset[int],
        options: GenerationOptions,
        prompt_tokens: Sequence[int],
        seeds: Sequence[RowSeed],
    ) -> None:
        self.going = list(range(len(prompt_tokens)))
        self.prompt_tokens = prompt_tokens
        self._end_tokens, self.most = end_tokens, options.max_new_tokens
        self._texts = [RowText(tokenizer, options) for _ in prompt_tokens]
        self._sampler = TokenSampler(options, seeds)

    def choose(self, logits: torch.Tensor) -> Chosen:
        """Return the next token of each unfinished row from logits (B, V)."""
        return self._sampler.choose(logits, self.going)

    def accept(self, row: int, token_id: int) -> TextDelta:
        """Add a token to a row; return what can be shown, and the end if it is one."""
        text = self._texts[row]
        if token_id in self._end_tokens:
            return self._finish(row, "eos")
        if text.append(token_id):
            return self._finish(row, "stop")
        if len(text.token_ids) == self.most:
            return self._finish(row, "length")
        return TextDelta(row, text.new_text(final=False))

    def cancel(self) -> list[TextDelta]:
        """End every unfinished row."""
        return [self._finish(row, "cancelled") for row in self.going]

    def _finish(self, row: int, reason: FinishReason) -> TextDelta:
        text = self._texts[row]
        generation = Generation(text.text, tuple(text.token_ids), reason, self.prompt_tokens[row])
        return TextDelta(row, text.new_text(final=True), generation)


def decode(
    forward: StepForward,
    cache: DecodingCache,
    first_logits: torch.Tensor,
    *,
    rows: DecodedRows,
    should_stop: Callable[[], bool],
) -> Iterator[TextDelta]:
    """Yield the text of all rows as it grows; the last delta of a row carries its `Generation`.

    Args:
        forward: Runs one token (B,) per row after those in the cache, for the rows of these
            original numbers; returns logits (B, V).
        cache: Keys and values of all rows, with room for what is to come.
        first_logits: (B, V) after the prompt.
        rows: What the logits belong to; none has a token yet.
        should_stop: Asked between tokens; True ends every row as "cancelled".
    """
    logits = first_logits
    for _ in range(rows.most):
        if should_stop():
            yield from rows.cancel()
            return

        # 1. Each row takes its token. The last step ends every row.
        chosen = rows.choose(logits)
        places: list[int] = []  # of the rows that go on, in the batch as it was run
        for place, (row, token_id) in enumerate(zip(rows.going, chosen.ids, strict=True)):
            delta = rows.accept(row, token_id)
            if delta.generation is None:
                places.append(place)
            if delta.text or delta.generation is not None:
                yield delta
        if not places:
            return

        # 2. Finished rows leave the batch: a step costs about as much as it has rows.
        tokens = chosen.tokens
        if len(places) < len(rows.going):
            keep = torch.tensor(places, device=tokens.device)
            cache.keep_rows(keep)
            tokens = tokens[keep]
            rows.going = [rows.going[place] for place in places]

        # 3. The rest is run on.
        logits = forward(tokens, rows.going)
