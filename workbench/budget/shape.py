"""The size of a decoder as plain numbers: what it stores, which layers it has, what they work on.

`counting` makes one from the empty model of a config; `known` keeps some in a table, so that asking
about well-known models needs no torch.
"""

from dataclasses import dataclass, replace
from typing import Literal

from workbench.errors import ConfigError
from workbench.models.roles import layers_of_role

Attention = Literal["apart", "whole", "own"]


@dataclass(frozen=True)
class Linear:
    """The linear layers that are alike in every block.

    Attributes:
        name: Dotted, as in the base; a star stands for the number of the block.
        inputs: Width of its input.
        outputs: Width of its output.
        count: How many there are.
        has_bias: Whether the base has a bias here.
        is_quantised: Whether bitsandbytes stores it in few bits.
        is_adaptable: Whether methods may change it; those of a part that sees are not run on texts.
    """

    name: str
    inputs: int
    outputs: int
    count: int
    has_bias: bool = False
    is_quantised: bool = True
    is_adaptable: bool = True

    @property
    def weights(self) -> int:
        """Number of weights of one of them, bias left out."""
        return self.inputs * self.outputs


@dataclass(frozen=True)
class ModelShape:
    """Everything the budget needs to know about a model.

    Attributes:
        name: Shown.
        source: Where the figures come from.
        model_type: Its architecture, in transformers' words.
        parameters: All of them, shared ones once.
        decoder_parameters: Those of the part that reads texts, embeddings and output head left out.
        linears: All linear layers but the head, alike ones together, in the order of the base.
        layers: Decoder blocks (L).
        width: Width of the states between blocks (D).
        embedding_width: Width of a token's embedding; only a few models have another one there.
        heads: Query heads.
        kv_heads: Key/value heads (H).
        head_width: Width of one head.
        state_width: Features of the keys and values that a position leaves in all layers together.
        inner_width: Features that a block's MLP works on for a position; of experts, those asked.
        activation_copies: Tensors of that width that its nonlinearity keeps for the backward pass.
        norm_width: Features that a block's norms read for a position, all norms together.
        has_float_norms: Norms keep what they read in float32 whatever the states are in.
        vocabulary: Rows of the embedding (V).
        context_length: Longest input in tokens.
        attention: How rows of a training batch are attended on a processor: each apart, all as one
            tree under one mask, or with an architecture's own code, which keeps weights by head.
        expert_parameters: Those of experts, which are no linear layers and stay as in the files.
        expert_share: How many of these a position runs through, as a share.
        expert_outputs: Features that the experts asked hand back for a position, in a block.
        buffer_bytes: What the model keeps beside its parameters.
    """

    name: str
    source: str
    model_type: str
    parameters: int
    decoder_parameters: int
    linears: tuple[Linear, ...]
    layers: int
    width: int
    embedding_width: int
    heads: int
    kv_heads: int
    head_width: int
    state_width: int
    inner_width: int
    activation_copies: int
    norm_width: int
    has_float_norms: bool
    vocabulary: int
    context_length: int
    attention: Attention = "apart"
    expert_parameters: int = 0
    expert_share: float = 1.0
    expert_outputs: int = 0
    buffer_bytes: int = 0

    @property
    def query_width(self) -> int:
        """Width of all queries together."""
        return self.heads * self.head_width

    @property
    def kv_width(self) -> int:
        """Width of all keys together; values have another where the model has latent attention."""
        return self.kv_heads * self.head_width

    @property
    def has_even_states(self) -> bool:
        """Whether the keys and the values of all layers have one shape."""
        return self.state_width == 2 * self.layers * self.kv_width

    @property
    def linear_weights(self) -> int:
        """Weights of the linear layers that run on texts."""
        return sum(linear.count * linear.weights for linear in self.linears if linear.is_adaptable)

    @property
    def quantised_weights(self) -> int:
        """Weights of the blocks that a quantised base stores in few bits."""
        return sum(
            linear.count * linear.weights
            for linear in self.linears
            if linear.is_quantised and linear.is_adaptable
        )

    @property
    def active_weights(self) -> int:
        """Weights that one position is multiplied with: linear layers, and the experts asked."""
        return self.linear_weights + round(self.expert_share * self.expert_parameters)

    def layers_of_role(self, role: str) -> tuple[Linear, ...]:
        """Return the layers that a change of weights is put on, as methods choose them.

        Raises:
            ConfigError: as a method says it: the base has no layer of that role.
        """
        adaptable = [linear for linear in self.linears if linear.is_adaptable]
        names = [linear.name for linear in adaptable]  # with other sizes, one comes again
        chosen = layers_of_role(names, role, where=f"base model '{self.name}'")
        return tuple(linear for linear in adaptable if linear.name in chosen)

    @property
    def read_width(self) -> int:
        """Features that the linear layers of all blocks read for a position, each thing once."""
        return sum(self.read_of(self.layers_of_role("all_linear")).values())

    def read_of(self, layers: tuple[Linear, ...]) -> dict[tuple[str, int], int]:
        """Return the features some layers read for a position, by what they read.

        Layers of one module read the same, except for those that end attention or MLP.
        """
        roles = ("attention_output", "mlp_output")
        ends = {linear.name for role in roles for linear in self._of_role(role)}
        read: dict[tuple[str, int], int] = {}
        for linear in layers:
            place = linear.name if linear.name in ends else linear.name.rpartition(".")[0]
            features = linear.inputs * linear.count
            read[place, linear.inputs] = max(read.get((place, linear.inputs), 0), features)
        return read

    def _of_role(self, role: str) -> tuple[Linear, ...]:
        try:
            return self.layers_of_role(role)
        except ConfigError:
            return ()


def with_name(shape: ModelShape, name: str) -> ModelShape:
    """Return the shape under another name."""
    return replace(shape, name=name)
