"""The engine: the one owner of the one base; it scores and continues rows of any methods.

A method says how the base is to be conditioned for a row (`Conditioning`); the engine runs rows of
any mixture of methods in one batch, computes the keys and values of each shared prefix once, and
routes each row through its weight adapter.
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from transformers.cache_utils import Cache

from workbench.errors import PromptError
from workbench.models.adapters.bank import AdapterBank
from workbench.models.attention import AttentionWatch, RowBlocks, attention_can_be_watched
from workbench.models.base import (
    ChoiceScores,
    Conditioning,
    Generation,
    GenerationOptions,
    Prefix,
    PrefixStates,
    TextDelta,
)
from workbench.models.decoding import DecodedRows, RowSeed, decode
from workbench.models.decoding_cache import DecodingCache
from workbench.models.forward import BaseForward
from workbench.models.loading import LoadedBase
from workbench.models.prefix_cache import PrefixCache, PrefixKey
from workbench.models.probe import check_exact, equal_lean_step
from workbench.models.rows import (
    PackedRows,
    pack_rows,
    prefixed_cache,
    recording_cache,
)
from workbench.models.scoring import choice_scores, choice_trees
from workbench.models.token_tree import TokenTree
from workbench.progress import raise_if_stopped

_MAX_ROWS = 64
_MAX_BATCH_TOKENS = 1024  # own tokens of a scoring batch; larger ones were not faster on 2 cores
_MAX_CACHE_BYTES = 1 << 30  # keys and values of a generating batch
_PREFIX_CACHE_SHARE = 0.06  # of what the base takes in memory, unpacked weights included
_MAX_PREFIX_BYTES = 1 << 28


class Engine:
    """Runs conditioned rows on one frozen base; safe to call from several threads.

    Args:
        base: The loaded base; nothing else may run it while the engine lives.

    Raises:
        ModelError: the architecture cannot be run exactly; see `workbench.models.probe`.
    """

    def __init__(self, base: LoadedBase) -> None:
        self.info = base.info
        self.tokenizer = base.tokenizer
        self.forward = BaseForward(base.model)
        self.forward.token_name = lambda number: str(base.tokenizer.convert_ids_to_tokens(number))
        self.adapters = AdapterBank(base.model)
        packed, beside = base.info.footprint_bytes, base.info.restored_bytes
        own, share = _PREFIX_CACHE_SHARE * packed, _PREFIX_CACHE_SHARE * (packed + beside)
        # Unpacked weights are there because memory is; but of it, too, only so much is taken.
        self.prefixes = PrefixCache(int(max(own, min(share, _MAX_PREFIX_BYTES))))
        self.lock = threading.RLock()
        self._end_tokens = self.forward.end_tokens(base.tokenizer)
        self.forward.take_shapes(check_exact(self))
        self.forward.lean = equal_lean_step(self)

    # Scoring

    def score(
        self, rows: Sequence[Conditioning], choices: Sequence[Sequence[Sequence[int]]]
    ) -> list[ChoiceScores]:
        """Return the log-probabilities of each row's choices as its continuation.

        Args:
            rows: How the base is conditioned, one per item.
            choices: Per row its C choices, each at least one token id.

        Raises:
            PromptError: a row with its longest choice exceeds the context window.
            ModelError: an adapter that is not present.
            Interrupted: asked to stop, see `workbench.progress.stopped_by`.
        """
        scores: list[ChoiceScores | None] = [None] * len(rows)
        with self.lock:
            for batch in self.score_batches(rows, choices):
                for index, score in batch.items():
                    scores[index] = score
        return [score for score in scores if score is not None]

    def score_batches(
        self, rows: Sequence[Conditioning], choices: Sequence[Sequence[Sequence[int]]]
    ) -> Iterator[dict[int, ChoiceScores]]:
        """Return what scores the rows batch by batch: of each, scores by the row's place.

        Prefixes are run before it returns, each once. See `score`, which is all batches together.
        """
        for row, row_choices in zip(rows, choices, strict=True):
            self.check_length(row, max(len(choice) for choice in row_choices))
        with self.lock, torch.inference_mode():
            states = self._states_of_rows(rows)
        return self._scored(rows, choices, states)

    def _scored(
        self,
        rows: Sequence[Conditioning],
        choices: Sequence[Sequence[Sequence[int]]],
        states: Sequence[PrefixStates | None],
    ) -> Iterator[dict[int, ChoiceScores]]:
        sizes = [
            len(row.token_ids) + sum(len(choice) - 1 for choice in row_choices)
            for row, row_choices in zip(rows, choices, strict=True)
        ]
        for batch in _batches([(0, size) for size in sizes], _MAX_ROWS, _MAX_BATCH_TOKENS):
            raise_if_stopped()
            # Not around the `yield`: lock and mode would leak into whoever takes the batches.
            with self.lock, torch.inference_mode():
                found = self._score_batch(
                    [rows[i] for i in batch],
                    [choices[i] for i in batch],
                    [states[i] for i in batch],
                )
            yield dict(zip(batch, found, strict=True))

    def _score_batch(
        self,
        rows: Sequence[Conditioning],
        choices: Sequence[Sequence[Sequence[int]]],
        states: Sequence[PrefixStates | None],
    ) -> list[ChoiceScores]:
        trees, paths = choice_trees([row.token_ids for row in rows], choices)
        hidden = self.run(trees, states, [row.adapter for row in rows]).hidden
        return choice_scores(self.forward, hidden, paths)

    # Generation

    def generate(
        self,
        rows: Sequence[Conditioning],
        options: GenerationOptions,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        on_delta: Callable[[TextDelta], None] = lambda _: None,
    ) -> list[Generation]:
        """Return the continuation of each row, in order; see `stream`."""
        results: dict[int, Generation] = {}
        for delta in self.stream(rows, options, should_stop=should_stop):
            if delta.generation is not None:
                results[delta.row] = delta.generation
            on_delta(delta)
        return [results[index] for index in range(len(rows))]

    def stream(
        self,
        rows: Sequence[Conditioning],
        options: GenerationOptions,
        *,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[TextDelta]:
        """Yield text as it grows, rows of one batch side by side, token by token.

        Closing the iterator, or `should_stop` returning True, ends the work between two tokens.
        Each row draws from a generator of its own, see `GenerationOptions.seed`.

        Raises:
            PromptError: a row plus `max_new_tokens` exceeds the context window.
            ModelError: an adapter that is not present.
        """
        for row in rows:
            self.check_length(row, options.max_new_tokens)
        seeds = _row_seeds(rows, options.seed)
        sizes = [
            (row.prefix.num_tokens, len(row.token_ids) + options.max_new_tokens) for row in rows
        ]
        max_tokens = max(1, _MAX_CACHE_BYTES // self.forward.cache_bytes_per_token)
        for batch in _batches(sizes, _MAX_ROWS, max_tokens):
            deltas = self._stream_batch(
                [rows[i] for i in batch], [seeds[i] for i in batch], options, should_stop
            )
            for delta in deltas:
                yield TextDelta(batch[delta.row], delta.text, delta.generation)

    def _stream_batch(
        self,
        rows: Sequence[Conditioning],
        seeds: Sequence[RowSeed],
        options: GenerationOptions,
        should_stop: Callable[[], bool],
    ) -> Iterator[TextDelta]:
        adapters = [row.adapter for row in rows]
        trees = [TokenTree.chain(row.token_ids) for row in rows]
        with self.lock:
            # Not around the whole: a mode held across `yield` would leak into the caller.
            with torch.inference_mode():
                states = self._states_of_rows(rows)
                prompt = self.run(trees, states, adapters, room=options.max_new_tokens)
                # Rows are padded on the right here, so their last tokens are in different columns.
                last = torch.tensor([len(tree) - 1 for tree in trees])
                logits = self.forward.logits(prompt.hidden[torch.arange(len(rows)), last])
                cache = prompt.decoding_cache()

            def step(tokens: torch.Tensor, left: list[int]) -> torch.Tensor:
                with torch.inference_mode(), self.adapters.active([adapters[i] for i in left]):
                    return self.forward.step(tokens, cache)

            sizes = [row.num_tokens for row in rows]
            decoded = DecodedRows(self.tokenizer, self._end_tokens, options, sizes, seeds)
            yield from decode(step, cache, logits, rows=decoded, should_stop=should_stop)

    # What readings look at

    def observe(self, rows: Sequence[Conditioning], watch: AttentionWatch) -> None:
        """Run rows in one batch and tell `watch` each layer's attention weights (B, heads, T, K).

        Keys of a row: its prefix, padded on the left to the longest one, then its own tokens.

        Raises:
            ModelError: this base computes attention its own way, or an adapter is not present.
        """
        with self.lock, torch.inference_mode():
            trees = [TokenTree.chain(row.token_ids) for row in rows]
            adapters = [row.adapter for row in rows]
            states = self._states_of_rows(rows)
            with attention_can_be_watched(self.forward.model):
                self.run(trees, states, adapters, watch=watch)

    def states_of_prefix(self, prefix: Prefix, adapter: str | None = None) -> torch.Tensor:
        """Return (L + 1, P, D) hidden states: what enters each of L layers, and the final ones.

        Only of the pieces: learned keys and values have no hidden states.
        """
        with self.lock, torch.inference_mode(), self.adapters.active([adapter]):
            return self.forward.states_of_prefix(prefix)

    def states_of_branches(
        self,
        start: tuple[int, ...],
        branches: Sequence[Sequence[tuple[int, ...] | torch.Tensor]],
    ) -> torch.Tensor:
        """Return (n, D) the last state of each branch after one shared start, in a single pass.

        Args:
            start: Token ids, at least one.
            branches: Token ids and vectors (P, D) in a row each; all equally long, and the last
                piece token ids.
        """
        length = sum(map(len, branches[0]))
        tree = TokenTree.chain([0] * len(start))  # any ids do where pieces stand in
        for branch in branches:
            last = [int(token) for token in branch[-1]]
            tree.append(len(start) - 1, [0] * (length - len(last)) + last)
        pieces = [start, *(piece for branch in branches for piece in branch)][:-1]
        with self.lock, torch.inference_mode(), self.adapters.active([None]):
            hidden = self.forward.hidden_states(
                pack_rows([tree], [0], self.forward.device),
                None,
                pieces=pieces,
                blocks=RowBlocks(len(start), len(branches), length),
            )
        return hidden[0, len(start) + length - 1 :: length]

    # What scoring, generation and training share

    def run(
        self,
        trees: Sequence[TokenTree],
        states: Sequence[PrefixStates | None],
        adapters: Sequence[str | None],
        *,
        room: int | None = None,
        training: bool = False,
        watch: AttentionWatch | None = None,
    ) -> "RowStates":
        """Run rows after their prefixes; with `room` they can be continued by so many tokens.

        `watch` is told each layer's attention weights; `workbench.models.rows` says how their keys
        are laid out.

        Differentiable with respect to the prefix states and the adapters.

        Raises:
            PromptError: a token that the base has no embedding for.
        """
        self.forward.check_tokens(token for tree in trees for token in tree.token_ids)
        lengths = [0 if state is None else state.num_tokens for state in states]
        packed = pack_rows(trees, lengths, self.forward.device)
        num_layers = self.forward.num_layers
        cache: Cache | None
        if room is None:
            cache = prefixed_cache(states, num_layers)
        else:
            cache = DecodingCache(states, num_layers, max(map(len, trees)) + room)
        with self.adapters.active(adapters, training=training):
            hidden = self.forward.hidden_states(packed, cache, watch=watch)
        return RowStates(hidden, packed, cache)

    def run_as_tree(
        self,
        prefix: Prefix,
        rows: Sequence[Sequence[int]],
        adapter: str | None,
        *,
        training: bool = False,
    ) -> list[torch.Tensor]:
        """Return the hidden states (T, D) of each row after one shared prefix, in a single pass.

        Prefix and rows are one tree, so each layer is entered once and the prefix is run once.

        Raises:
            PromptError: a token that the base has no embedding for.
        """
        self.forward.check_tokens(token for row in rows for token in row)
        if prefix.patches:
            raise ValueError("patches act on a prefix that is run on its own, not on a tree")
        if prefix.states is not None:
            raise ValueError("learned keys and values cannot be nodes of a tree; run two passes")
        # Equal lengths make the tree a block per row, which attention can take apart.
        start, length = prefix.num_tokens, max(map(len, rows))
        tree = TokenTree.chain([0] * start)
        for row in rows:  # nothing looks at the padding
            tree.append(start - 1, [*row, *[0] * (length - len(row))])
        packed = pack_rows([tree], [0], self.forward.device)
        with self.adapters.active([adapter], training=training):
            hidden = self.forward.hidden_states(
                packed, None, pieces=prefix.pieces, blocks=RowBlocks(start, len(rows), length)
            )
        # The padding of shorter rows is returned too; nobody asks for it.
        return list(hidden[0, start:].reshape(len(rows), length, -1))

    def _states_of_rows(self, rows: Sequence[Conditioning]) -> list[PrefixStates | None]:
        """Return the keys and values of each row's prefix; each is computed at most once.

        They are stored in the dtype products are computed in, which is as exact as they are.
        """
        found: dict[PrefixKey, PrefixStates] = {}
        states: list[PrefixStates | None] = []
        for row in rows:
            if not row.prefix.num_tokens:
                states.append(None)
                continue
            # The revision changes whenever the adapter does, so no stale keys are found.
            key = (row.prefix.digest, row.adapter, self.adapters.revision(row.adapter))
            if key not in found:
                found[key] = self.prefixes.get(key, partial(self._stored_prefix, row))
            states.append(found[key])
        return states

    def _stored_prefix(self, row: Conditioning) -> PrefixStates:
        computed = self.compute_prefix(row.prefix, row.adapter)
        return computed.to(getattr(torch, self.info.compute_dtype))

    def compute_prefix(
        self, prefix: Prefix, adapter: str | None, *, training: bool = False
    ) -> PrefixStates:
        """Return the prefix's keys and values: those of its pieces, then its learned ones.

        Differentiable with respect to its vectors and its learned keys and values.
        """
        if not prefix.num_computed and prefix.states is not None:
            return prefix.states.to(self.forward.device)
        cache = recording_cache(self.forward.num_layers)
        with self.adapters.active([adapter], training=training):
            self.forward.run_prefix(prefix, cache)
        computed = _states_of(cache)
        return computed if prefix.states is None else computed.followed_by(prefix.states)

    def check_length(self, row: Conditioning, new_tokens: int) -> None:
        """Refuse a row that has no room for so many new tokens.

        Raises:
            PromptError: both together exceed the context window; says by how many tokens.
        """
        if not row.token_ids:
            raise ValueError("a row needs at least one token of its own")
        excess = row.num_tokens + new_tokens - self.info.context_length
        if excess > 0:
            raise PromptError(
                f"prompt: {row.num_tokens} tokens (of which {row.prefix.num_tokens} shared prefix) "
                f"and up to {new_tokens} more exceed the context of {self.info.context_length} "
                f"tokens of '{self.info.name}' by {excess}. Shorten the text, use fewer "
                "demonstrations, or use a model with a longer context."
            )


@dataclass(frozen=True)
class RowStates:
    """Hidden states (B, T, D) of a batch, how it was packed, and its keys and values if kept."""

    hidden: torch.Tensor
    packed: PackedRows
    cache: Cache | None

    def decoding_cache(self) -> DecodingCache:
        """Return the keys and values of rows that were run with room, ready to be continued.

        Once: whoever continues them writes into them. Take copies of the first where rows are to
        be continued in several ways.

        Raises:
            ValueError: they were handed out before, or were run without room.
        """
        if not isinstance(self.cache, DecodingCache):
            raise ValueError("these rows were run without room for more tokens")
        self.cache.align(self.packed)
        return self.cache


def _states_of(cache: Cache) -> PrefixStates:
    return PrefixStates(
        keys=tuple(layer.keys[0] for layer in cache.layers),
        values=tuple(layer.values[0] for layer in cache.layers),
    )


def _row_seeds(rows: Sequence[Conditioning], seed: int) -> list[RowSeed]:
    """Return what each row draws from: the seed, its content, and its number among equal rows.

    With the seed alone all rows would draw the same stream; by content a row draws the same in
    any batch and order.
    """
    seen: Counter[bytes] = Counter()
    seeds: list[RowSeed] = []
    for row in rows:
        content = repr((row.prefix.digest, row.token_ids, row.adapter)).encode()
        digest = hashlib.sha256(content).digest()
        seeds.append((seed, int.from_bytes(digest[:16]), seen[digest]))
        seen[digest] += 1
    return seeds


def _batches(
    sizes: Sequence[tuple[int, int]], max_rows: int, max_tokens: int
) -> Iterator[list[int]]:
    """Yield index lists of rows of similar size, prefix and rest of each.

    Rows times columns, of the longest prefix and of the longest rest, stay within the limit.
    """
    batch: list[int] = []
    longest = (0, 0)
    for index in sorted(range(len(sizes)), key=lambda i: -sum(sizes[i])):
        prefix, rest = sizes[index]
        wider = (max(longest[0], prefix), max(longest[1], rest))
        if batch and (len(batch) == max_rows or sum(wider) * (len(batch) + 1) > max_tokens):
            yield batch
            batch, wider = [], (prefix, rest)
        batch.append(index)
        longest = wider
    if batch:
        yield batch
