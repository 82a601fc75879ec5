"""The decode loop: one token for every unfinished row per step, whatever the rows are made of."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase
from transformers.cache_utils import Cache

from workbench.models.base import FinishReason, Generation, GenerationOptions, TextDelta

StepForward = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, list[int]], torch.Tensor]
_REPLACEMENT = "\ufffd"  # an incomplete UTF-8 sequence: wait for the next token


class RowText:
    """The growing text of one row: finds stop strings and says what may be shown already."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, options: GenerationOptions) -> None:
        self._tokenizer, self._stop = tokenizer, options.stop
        self.token_ids: list[int] = []
        self.text = ""
        self._shown = 0

    def append(self, token_id: int) -> bool:
        """Add a token; return whether a stop string is complete (the text is cut before it)."""
        self.token_ids.append(token_id)
        text = self._tokenizer.decode(self.token_ids, skip_special_tokens=True)
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
        end = len(self.text.rstrip(_REPLACEMENT))
        for stop in self._stop:
            for size in range(min(len(stop) - 1, end), 0, -1):
                if self.text.endswith(stop[:size], 0, end):
                    end -= size
                    break
        return end


class TokenSampler:
    """Chooses the next token of each row; each row has a random generator of its own."""

    def __init__(self, options: GenerationOptions, seeds: Sequence[int]) -> None:
        self._options = options
        self._generators = [np.random.default_rng(seed) for seed in seeds]

    def choose(self, logits: torch.Tensor, row: int) -> int:
        """Return a token id from logits (V,)."""
        if self._options.temperature <= 0:
            return int(logits.argmax())
        scaled = (logits / self._options.temperature).double().cpu().numpy()
        order = np.argsort(-scaled, kind="stable")
        if self._options.top_k > 0:
            order = order[: self._options.top_k]
        probabilities = np.exp(scaled[order] - scaled[order[0]])
        probabilities /= probabilities.sum()
        keep = np.cumsum(probabilities) - probabilities < self._options.top_p
        kept = np.where(keep, probabilities, 0.0)
        return int(self._generators[row].choice(order, p=kept / kept.sum()))


def decode(
    forward: StepForward,
    cache: Cache,
    valid: torch.Tensor,
    first_logits: torch.Tensor,
    *,
    tokenizer: PreTrainedTokenizerBase,
    end_tokens: frozenset[int],
    options: GenerationOptions,
    prompt_tokens: Sequence[int],
    seeds: Sequence[int],
    should_stop: Callable[[], bool],
) -> Iterator[TextDelta]:
    """Yield the text of all rows as it grows; the last delta of a row carries its `Generation`.

    Args:
        forward: Runs one token per row: token ids (B, 1), positions (B, 1), valid keys (B, K),
            and the original numbers of the rows still in the batch; returns logits (B, V).
        cache: Keys and values of all rows, aligned at the right edge.
        valid: (B, K) which keys are real.
        first_logits: (B, V) after the prompt.
        tokenizer: Turns ids into text.
        end_tokens: Ids that end a row.
        options: See `GenerationOptions`.
        prompt_tokens: Prompt positions of each row.
        seeds: One per row.
        should_stop: Asked between tokens; True ends every row as "cancelled".
    """
    batch = _Batch(tokenizer, options, prompt_tokens, seeds)
    logits = first_logits
    positions = torch.tensor(prompt_tokens, device=valid.device)
    for step in range(options.max_new_tokens):
        if should_stop():
            yield from batch.cancel()
            return
        is_last = step == options.max_new_tokens - 1
        going: list[int] = []  # places in the batch of rows that are not finished
        chosen = batch.choose(logits)
        for place, token_id in enumerate(chosen):
            row = batch.rows[place]
            delta = batch.accept(row, token_id, ends=token_id in end_tokens, is_last=is_last)
            if delta.generation is None:
                going.append(place)
            if delta.text or delta.generation is not None:
                yield delta
        if not going:
            return
        if len(going) < len(batch.rows):
            keep = torch.tensor(going, device=valid.device)
            for layer in cache.layers:
                layer.keep_rows(keep)
            valid, positions = valid[keep], positions[keep]
            batch.rows = [batch.rows[place] for place in going]
        tokens = torch.tensor([[chosen[place]] for place in going], device=valid.device)
        valid = torch.nn.functional.pad(valid, (0, 1), value=True)
        logits = forward(tokens, positions[:, None], valid, batch.rows)
        positions = positions + 1


class _Batch:
    """Texts and random generators of the rows; `rows` are the numbers of the unfinished ones."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        options: GenerationOptions,
        prompt_tokens: Sequence[int],
        seeds: Sequence[int],
    ) -> None:
        self.rows = list(range(len(prompt_tokens)))
        self._texts = [RowText(tokenizer, options) for _ in prompt_tokens]
        self._sampler = TokenSampler(options, seeds)
        self._prompt_tokens = prompt_tokens

    def choose(self, logits: torch.Tensor) -> list[int]:
        """Return the next token of each unfinished row."""
        return [self._sampler.choose(logits[place], row) for place, row in enumerate(self.rows)]

    def accept(self, row: int, token_id: int, *, ends: bool, is_last: bool) -> TextDelta:
        """Add a token to a row; return what can be shown, and the end if it is one."""
        if ends:
            return self._finish(row, "eos")
        if self._texts[row].append(token_id):
            return self._finish(row, "stop")
        if is_last:
            return self._finish(row, "length")
        return TextDelta(row, self._texts[row].new_text(final=False))

    def cancel(self) -> list[TextDelta]:
        """End every unfinished row."""
        return [self._finish(row, "cancelled") for row in self.rows]

    def _finish(self, row: int, reason: FinishReason) -> TextDelta:
        text = self._texts[row]
        generation = Generation(text.text, tuple(text.token_ids), reason, self._prompt_tokens[row])
        return TextDelta(row, text.new_text(final=True), generation)
