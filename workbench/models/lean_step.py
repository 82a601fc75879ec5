"""One more token per row through a Llama-like decoder, without what transformers does around it.

With few rows a step is hundreds of short operations, and on a CPU much of its time goes into
finding out what to do: masks made anew in each layer, calls through many modules, norms in more
operations than they need. Here the same sums are taken in the same order, so that logits are equal
to the last bit; `workbench.models.probe` compares them at load. Where they are not, and for other
architectures and devices, the model's own forward pass is used.

The layers' own modules are called wherever something hangs on them, so adapters act as ever.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel

from workbench.models.decoding_cache import DecodingCache, RoomyLayer
from workbench.models.quantised_layers import DirectProducts
from workbench.models.stopping import ask_to_go_on
from workbench.progress import raise_if_stopped

# Their layers compute what this module computes: rotary positions, RMS norms, a gated MLP. Read in
# transformers 5.23; others differ in a norm, a factor or the order of the halves that are turned.
_KNOWN = ("LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer", "Qwen3DecoderLayer")

_NOTING = "transformers.utils.output_capturing"

Masks = Mapping[str, torch.Tensor | None]
"""What is added to scores (B, 1, 1, K) in layers of each kind; None hides nothing."""


class LeanStep:
    """Runs one token per row through a decoder of a known kind.

    Args:
        decoder: The model without its head; see `is_known`.
        kinds: The kind of attention of each layer, by which masks are named.
    """

    def __init__(self, decoder: PreTrainedModel, kinds: Sequence[str]) -> None:
        self._decoder = decoder
        self._layers = [
            _LeanLayer(layer, kind) for layer, kind in zip(decoder.layers, kinds, strict=True)
        ]

    @property
    def can_run(self) -> bool:
        """Whether nothing hangs on a module whose work is done here."""
        return all(layer.is_plain for layer in self._layers)

    def __call__(
        self, tokens: torch.Tensor, positions: torch.Tensor, cache: DecodingCache, masks: Masks
    ) -> torch.Tensor:
        """Return the last states (B, 1, D) after one more token (B,) per row."""
        raise_if_stopped()  # once: a step of few rows is as short as a layer of a long batch
        hidden = self._decoder.embed_tokens(tokens[:, None])
        cos, sin = self._decoder.rotary_emb(hidden, positions[:, None])  # (B, 1, head width)
        first, second = sin[:, None].chunk(2, dim=-1)
        turn = _Turn(cos[:, None], torch.cat((-first, second), dim=-1))
        for layer, states in zip(self._layers, cache.layers, strict=True):
            hidden = layer.run(hidden, turn, states, masks[layer.kind])
        normed: torch.Tensor = self._decoder.norm(hidden)
        return normed


def is_known(decoder: PreTrainedModel) -> bool:
    """Return whether every layer of a decoder is one whose forward pass is written here."""
    layers = getattr(decoder, "layers", None) or ()
    return bool(layers) and all(type(layer).__name__ in _KNOWN for layer in layers)


class _Turn(NamedTuple):
    """Rotary factors (B, 1, 1, head width); the sine has the sign of the half it goes to."""

    cos: torch.Tensor
    signed_sin: torch.Tensor

    def of(self, states: torch.Tensor) -> torch.Tensor:
        """Return states (B, heads, 1, head width) turned by their positions.

        Source: Su et al. 2021, https://arxiv.org/abs/2104.09864, section 3.2.2.
        """
        first, second = states.chunk(2, dim=-1)
        return states * self.cos + torch.cat((second, first), dim=-1) * self.signed_sin


class _LeanLayer:
    """One layer of a decoder."""

    def __init__(self, layer: Any, kind: str) -> None:
        self.kind = kind
        self._layer, self._attention, self._mlp = layer, layer.self_attn, layer.mlp
        attention, mlp = self._attention, self._mlp
        self._qkv = DirectProducts((attention.q_proj, attention.k_proj, attention.v_proj))
        self._output = DirectProducts((attention.o_proj,))
        self._gate_up = DirectProducts((mlp.gate_proj, mlp.up_proj))
        self._down = DirectProducts((mlp.down_proj,))
        self._normed_heads = hasattr(attention, "q_norm")
        self._norms = (_Norm(layer.input_layernorm), _Norm(layer.post_attention_layernorm))

    @property
    def is_plain(self) -> bool:
        """Whether no hook waits for a module that is not called here."""
        return not any(map(has_hooks, (self._layer, self._attention, self._mlp)))

    def run(
        self, hidden: torch.Tensor, turn: _Turn, states: RoomyLayer, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the layer's states (B, 1, D)."""
        hidden = hidden + self._attend(self._norms[0](hidden), turn, states, mask)
        return hidden + self._pass_mlp(self._norms[1](hidden))

    def _attend(
        self, hidden: torch.Tensor, turn: _Turn, states: RoomyLayer, mask: torch.Tensor | None
    ) -> torch.Tensor:
        attention, rows = self._attention, len(hidden)
        query, key, value = (
            part.view(rows, -1, 1, attention.head_dim) for part in self._qkv(hidden)
        )
        if self._normed_heads:
            query, key = attention.q_norm(query), attention.k_norm(key)
        keys, values = states.update(turn.of(key), value)
        # The queries that share a key's head stand behind each other, so nothing is repeated.
        grouped = turn.of(query).view(rows, keys.shape[1], -1, attention.head_dim)
        attended = scaled_dot_product_attention(
            grouped, keys, values, attn_mask=mask, scale=attention.scaling
        )
        (output,) = self._output(attended.reshape(rows, 1, -1))
        return output

    def _pass_mlp(self, hidden: torch.Tensor) -> torch.Tensor:
        gate, up = self._gate_up(hidden)
        (output,) = self._down(self._mlp.act_fn(gate) * up)
        return output


class _Norm:
    """The root mean square norm of a layer.

    Source: Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467, equation 4.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        weight = module.weight
        # A tensor: to divide by a number makes one of it each time.
        self._width = torch.tensor(float(weight.shape[0]), device=weight.device)

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        module = self._module
        if hidden.dtype != torch.float32 or has_hooks(module):
            own: torch.Tensor = module(hidden)
            return own
        variance = hidden.pow(2).sum(-1, keepdim=True).div_(self._width)
        normed: torch.Tensor = module.weight * (
            hidden * torch.rsqrt(variance.add_(module.variance_epsilon))
        )
        return normed


def has_hooks(module: torch.nn.Module) -> bool:
    """Return whether something is done before or after a module is run.

    Asking to stop aside, and what transformers notes of hidden states: its hooks stay once somebody
    has asked for these, and note nothing in other passes.
    """
    hooks = (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
    return any(hook is not ask_to_go_on and hook.__module__ != _NOTING for hook in hooks)
