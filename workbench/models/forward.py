"""The forward pass of a causal language model, with masks and positions of our own making.

Hidden states and logits are separate steps: logits (V wide) are only computed where they are
needed, and always in float32.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache

from workbench.errors import ModelError, PromptError
from workbench.models.attention import GROUPED_ATTENTION, AttentionWatch, RowBlocks
from workbench.models.base import Patch, Prefix, PrefixStates
from workbench.models.decoding_cache import DecodingCache, added
from workbench.models.lean_step import LeanStep, Masks, is_known
from workbench.models.output_head import wide_product
from workbench.models.row_layout import LazyMask, RowLayout
from workbench.models.rows import PackedRows, pack_rows, recording_cache
from workbench.models.stopping import ask_between_layers
from workbench.models.token_tree import TokenTree


class BaseForward:
    """Runs one causal language model; knows its layers, its masks and its output head.

    Attributes:
        device: Where the model is.
        dtype: Of what it keeps between layers.
        num_layers: Layers that have keys and values (L).
        window: How many tokens a layer with sliding attention sees, itself included; or None.
        layer_types: The kinds of attention its layers have, by the names transformers gives them.
        token_name: Writes a token's id for a message.
        lean: Runs steps of decoding in less time, where it does so exactly.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        config = model.config.get_text_config()
        self.device = model.get_input_embeddings().weight.device
        self.dtype = model.get_input_embeddings().weight.dtype
        self.num_layers = int(config.num_hidden_layers)
        self._decoder = model.get_decoder()
        ask_between_layers(self._decoder, self.num_layers)
        self.window = getattr(config, "sliding_window", None)
        default = "sliding_attention" if self.window else "full_attention"
        self._kinds = getattr(config, "layer_types", None) or [default] * self.num_layers
        self.layer_types = set(self._kinds)
        self._softcap = getattr(config, "final_logit_softcapping", None)
        # Cohere multiplies its logits, Granite divides them; others do neither.
        self._logit_scale = float(getattr(config, "logit_scale", None) or 1.0) / float(
            getattr(config, "logits_scaling", None) or 1.0
        )
        self._shapes: list[tuple[int, int, int]] = []  # per layer; see `take_shapes`
        self.token_name: Callable[[int], str] = str
        self.lean: LeanStep | None = None  # set where a probe found it equal

    def take_shapes(self, states: PrefixStates) -> None:
        """Remember how wide keys and values are, from those of any prefix of this base."""
        self._shapes = [
            (int(keys.shape[0]), int(keys.shape[-1]), int(values.shape[-1]))
            for keys, values in zip(states.keys, states.values, strict=True)
        ]

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """Shape of a token's keys and of its values: layers (L), heads (H) and head width.

        Raises:
            ModelError: layers, or keys and values, differ in it.
        """
        heads, width, value_width = self._shapes[0]
        if value_width != width or len(set(self._shapes)) > 1:
            raise ModelError(
                f"model '{self.model.config._name_or_path}': its keys and values are not of one "
                "shape, so they cannot be learned as a prefix. Use prompt_tuning or lora."
            )
        return len(self._shapes), heads, width

    @property
    def cache_bytes_per_token(self) -> int:
        """Memory of one token's keys and values in all layers."""
        numbers = sum(heads * (keys + values) for heads, keys, values in self._shapes)
        return numbers * int(self.dtype.itemsize)

    @property
    def embedding_width(self) -> int:
        """Width of a token's embedding (D)."""
        return int(self.model.get_input_embeddings().weight.shape[1])

    @property
    def num_embeddings(self) -> int:
        """Rows of the embedding (V)."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    def check_tokens(self, token_ids: Iterable[int]) -> None:
        """Look whether the embedding has a row for each token.

        Raises:
            PromptError: a token that was added to the tokenizer and never to the model.
        """
        highest = max(token_ids, default=0)
        if highest >= self.num_embeddings:
            raise PromptError(
                f"prompt: it has the token '{self.token_name(highest)}' ({highest}), which was "
                "added to the tokenizer and never to the model "
                f"'{self.model.config._name_or_path}', whose embedding has {self.num_embeddings} "
                "rows. Leave it out of the wording, and use no chat template that writes it."
            )

    def embed(self, token_ids: Sequence[int]) -> torch.Tensor:
        """Return the embeddings (T, D) as the first layer sees them, in float32.

        Raises:
            PromptError: see `check_tokens`.
        """
        self.check_tokens(token_ids)
        ids = torch.tensor(list(token_ids), dtype=torch.long, device=self.device)
        embedded: torch.Tensor = self.model.get_input_embeddings()(ids)
        return embedded.float()

    def embed_pieces(self, pieces: Sequence[tuple[int, ...] | torch.Tensor]) -> torch.Tensor:
        """Return ids and vectors in a row as (P, D) float32."""
        embedded = [
            piece.to(self.device) if isinstance(piece, torch.Tensor) else self.embed(piece)
            for piece in pieces
            if len(piece)
        ]
        return torch.cat(embedded) if embedded else self.embed(())

    def hidden_states(
        self,
        packed: PackedRows,
        cache: Cache | None,
        *,
        pieces: Sequence[tuple[int, ...] | torch.Tensor] = (),
        blocks: RowBlocks | None = None,
        watch: AttentionWatch | None = None,
    ) -> torch.Tensor:
        """Return the last layer's states (B, T, D) of the packed rows.

        With `pieces`, ids and vectors stand in for the first tokens of a single row; `blocks` says
        that this row is a tree of rows; `watch` is told the attention weights of each layer.

        Raises:
            ModelError: attention weights are asked for and this base computes them its own way.
        """
        inputs: dict[str, torch.Tensor] = {"input_ids": packed.token_ids}
        if pieces:
            start = self.embed_pieces(pieces)  # (P, D)
            rest = self.embed(packed.token_ids[0, len(start) :].tolist())
            inputs = {"inputs_embeds": torch.cat([start, rest])[None].to(self.dtype)}
        # Only our own attention function knows the keyword; others go by the mask, as exactly.
        is_ours = self.model.config._attn_implementation == GROUPED_ATTENTION
        extra: dict[str, object] = {}
        if blocks is not None and is_ours:
            extra["row_blocks"] = blocks
        if watch is not None:
            if not is_ours:
                raise ModelError(
                    f"model '{self.model.config._name_or_path}': its attention weights cannot be "
                    "read. Readings of attention need a Llama-, Qwen- or Mistral-like model."
                )
            extra["attention_watch"] = watch
        outputs = self._decoder(
            **inputs,
            attention_mask=self._row_masks(packed.layout),
            position_ids=packed.position_ids,
            past_key_values=cache,
            use_cache=cache is not None,
            **extra,
        )
        hidden: torch.Tensor = outputs.last_hidden_state
        return hidden

    def states_of_prefix(self, prefix: Prefix) -> torch.Tensor:
        """Return (L + 1, P, D) hidden states: what enters each of L layers, and the final ones."""
        cache = recording_cache(self.num_layers)
        states = self.run_prefix(prefix, cache, output_hidden_states=True).hidden_states
        return torch.stack([state[0].float() for state in states])

    def final_norm(self, states: torch.Tensor) -> torch.Tensor:
        """Return states (..., D) as the output head expects them, for those between two layers.

        Raises:
            ModelError: this base calls its last norm by a name that is not known.
        """
        normed: torch.Tensor = self._part("norm", "ln_f")(states.to(self.dtype))
        return normed.float()

    def _part(self, *names: str) -> Any:
        """Return the decoder's part of one of the names that most models give it."""
        for name in names:
            if hasattr(self._decoder, name):
                return getattr(self._decoder, name)
        raise ModelError(
            f"model '{self.model.config._name_or_path}': its states between two layers cannot be "
            f"read or replaced, because its decoder has no {' or '.join(names)}. Such readings "
            "need a Llama-, Gemma-, Qwen-, Mistral- or GPT-2-like model."
        )

    def run_prefix(self, prefix: Prefix, cache: Cache, **options: object) -> Any:
        """Fill `cache` with the keys and values of a prefix; return the decoder's outputs."""
        inputs = self.embed_pieces(prefix.pieces)[None].to(self.dtype)  # (1, P, D)
        # Any ids do: the chain is only there for mask and positions, vectors stand in for tokens.
        chain = pack_rows([TokenTree.chain([0] * inputs.shape[1])], [0], self.device)
        with self._patched(prefix.patches):
            return self._decoder(
                inputs_embeds=inputs,
                attention_mask=self._row_masks(chain.layout),
                position_ids=chain.position_ids,
                past_key_values=cache,
                use_cache=True,
                **options,
            )

    @contextmanager
    def _patched(self, patches: Sequence[Patch]) -> Iterator[None]:
        """Replace hidden states where they enter a layer, inside the block."""
        if not patches:
            yield
            return
        layers = self._part("layers", "h")
        hooks = [layers[patch.layer].register_forward_pre_hook(_replaced(patch))
                 for patch in patches]  # fmt: skip
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def step(self, tokens: torch.Tensor, cache: DecodingCache) -> torch.Tensor:
        """Return logits (B, V) after one more token (B,) per row than the cache has."""
        positions, num_keys = cache.positions, cache.num_keys + 1
        cache.positions = positions + 1
        if self.lean is not None and self.lean.can_run:
            hidden = self.lean(tokens, positions, cache, self._added_masks(cache, num_keys))
            return self.logits(hidden[:, -1])
        allowed = cache.valid(num_keys)[:, None, None, :]
        outputs = self._decoder(
            input_ids=tokens[:, None],
            attention_mask=self._masks(allowed, self._distances(num_keys)),
            position_ids=positions[:, None],
            past_key_values=cache,
            use_cache=True,
        )
        return self.logits(outputs.last_hidden_state[:, -1])

    def new_lean_step(self) -> LeanStep | None:
        """Return the lean step of this base, to be compared with its own, or None."""
        is_there = self.device.type == "cpu" and is_known(self._decoder)
        return LeanStep(self._decoder, self._kinds) if is_there else None

    def _distances(self, num_keys: int) -> torch.Tensor:
        """Return (1, 1, 1, K) how far keys lie before the next token.

        Rows end at the right edge, so that is how far their columns do, whatever the row.
        """
        return torch.arange(num_keys - 1, -1, -1, device=self.device)[None, None, None, :]

    def _added_masks(self, cache: DecodingCache, num_keys: int) -> Masks:
        """Return what `_masks` says as numbers that are added to scores, or None where it can."""
        is_windowed = "sliding_attention" in self.layer_types and self.window is not None
        if not is_windowed or num_keys <= int(self.window or 0):
            plain = None if cache.all_real else cache.hiding(num_keys, self.dtype)
            return dict.fromkeys(self.layer_types, plain)
        masks = self._masks(cache.valid(num_keys)[:, None, None, :], self._distances(num_keys))
        kinds = masks if isinstance(masks, Mapping) else dict.fromkeys(self.layer_types, masks)
        return {kind: added(mask, self.dtype) for kind, mask in kinds.items()}

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return float32 logits (..., V) of hidden states (..., D)."""
        logits = wide_product(hidden, self.model.get_output_embeddings()) * self._logit_scale
        if self._softcap:
            logits = torch.tanh(logits / self._softcap) * self._softcap
        return logits

    def end_tokens(self, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
        """Return the ids that end a generation."""
        configured = self.model.generation_config.eos_token_id
        ids = configured if isinstance(configured, list) else [configured]
        return frozenset(i for i in (*ids, tokenizer.eos_token_id) if i is not None)

    def _row_masks(self, layout: RowLayout) -> torch.Tensor | Mapping[str, torch.Tensor]:
        """Return the mask of rows after prefixes, or one per kind of layer; see `_masks`."""
        full, windowed = LazyMask(layout, None), LazyMask(layout, self.window)
        if "sliding_attention" not in self.layer_types or self.window is None:
            return full
        if len(self.layer_types) == 1:
            return windowed
        return {"full_attention": full, "sliding_attention": windowed}

    def _masks(
        self, allowed: torch.Tensor, distances: torch.Tensor
    ) -> torch.Tensor | Mapping[str, torch.Tensor]:
        """Return the mask, or one per kind of layer where some see only a sliding window."""
        if "sliding_attention" not in self.layer_types or self.window is None:
            return allowed
        windowed: torch.Tensor = allowed & (distances < self.window)
        if len(self.layer_types) == 1:
            return windowed
        return {"full_attention": allowed, "sliding_attention": windowed}


def _replaced(
    patch: Patch,
) -> Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], tuple[torch.Tensor, ...]]:
    """Return a hook that puts a patch's states into the first input (1, P, D) of a layer."""

    def hook(
        _module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, ...]:
        # A copy: the layer before has returned this very tensor, and it may have been kept.
        states = inputs[0].clone()
        end = patch.position + len(patch.states)
        states[0, patch.position : end] = patch.states.to(states)
        return (states, *inputs[1:])

    return hook
