"""The size of a decoder, read from its config: layers, widths, and which parameters there are.

Families are those whose parameters were compared with transformers' own models, module by module
(`tests/unit/budget/test_shape.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from workbench.errors import ModelError, unknown_name

FILE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_LARGEST = 1 << 20  # of any width or count in a config; the largest models stay far below


@dataclass(frozen=True)
class Linear:
    """One linear layer of a decoder block.

    Attributes:
        name: As in Llama's files: "q_proj"; other families' layers go by what they do.
        inputs: Width of its input.
        outputs: Width of its output.
        has_bias: Whether the base has a bias here.
        reads: What it takes; layers that read the same share one stored input.
    """

    name: str
    inputs: int
    outputs: int
    has_bias: bool
    reads: str

    @property
    def weights(self) -> int:
        """Number of weights, bias left out."""
        return self.inputs * self.outputs


@dataclass(frozen=True)
class Family:
    """What the models of one `model_type` have in common, where a config does not say it.

    Attributes:
        is_gated: Three matrices in the feed-forward part (gate, up, down) instead of two.
        has_qkv_bias: Queries, keys and values have biases whatever the config says.
        has_bias: Every linear layer has one.
        layer_norms: Norms over the embedding width in each layer.
        norm_vectors: Parameters of a norm per unit of width: 1, or 2 with a bias.
        has_head_norms: Queries and keys of each head are normed.
        is_tied: Output head and embedding are one matrix unless the config says otherwise.
        has_positions: Positions are learned vectors.
        head_width: Width of a head unless the config says so; None: embedding width / heads.
        activation_copies: Tensors of the feed-forward width that its nonlinearity keeps for the
            backward pass.
    """

    is_gated: bool = True
    has_qkv_bias: bool = False
    has_bias: bool = False
    layer_norms: int = 2
    norm_vectors: int = 1
    has_head_norms: bool = False
    is_tied: bool = False
    has_positions: bool = False
    head_width: int | None = None
    activation_copies: int = 3


_GPT2 = Family(
    is_gated=False,
    has_bias=True,
    norm_vectors=2,
    is_tied=True,
    has_positions=True,
    activation_copies=4,  # transformers writes its approximation of GELU as separate operations
)
FAMILIES: Mapping[str, Family] = {
    "gemma": Family(is_tied=True, head_width=256),
    "gemma2": Family(layer_norms=4, is_tied=True, head_width=256),
    "gemma3_text": Family(layer_norms=4, is_tied=True, head_width=256, has_head_norms=True),
    "gpt2": _GPT2,
    "llama": Family(),
    "mistral": Family(),
    "qwen2": Family(has_qkv_bias=True),
    "qwen3": Family(has_head_norms=True, head_width=128),
}


@dataclass(frozen=True)
class ModelShape:
    """Everything the budget needs to know about a model.

    Attributes:
        name: Shown.
        source: Where the figures come from.
        family: One of `FAMILIES`.
        layers: Decoder blocks (L).
        width: Width of the embedding (D).
        heads: Query heads.
        kv_heads: Key/value heads (H).
        head_width: Width of one head.
        feed_forward: Inner width of the feed-forward part.
        vocabulary: Rows of the embedding (V).
        context_length: Longest input in tokens.
        is_tied: Whether output head and embedding are one matrix.
        has_attention_bias: Queries, keys, values and attention output have biases.
        has_feed_forward_bias: The feed-forward layers have biases.
        file_dtype: How the weights are stored on disk; None where the config does not say.
    """

    name: str
    source: str
    family: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    feed_forward: int
    vocabulary: int
    context_length: int
    is_tied: bool = False
    has_attention_bias: bool = False
    has_feed_forward_bias: bool = False
    file_dtype: str | None = None

    @property
    def traits(self) -> Family:
        """What its family has in common."""
        return FAMILIES[self.family]

    @property
    def query_width(self) -> int:
        """Width of all queries together."""
        return self.heads * self.head_width

    @property
    def kv_width(self) -> int:
        """Width of all keys together; that of the values is the same."""
        return self.kv_heads * self.head_width

    @property
    def linears(self) -> tuple[Linear, ...]:
        """The linear layers of one block. GPT-2 keeps the first three as one matrix."""
        traits, outer, inner = self.traits, self.width, self.feed_forward
        bias = traits.has_bias or self.has_attention_bias
        qkv = bias or traits.has_qkv_bias
        other = traits.has_bias or self.has_feed_forward_bias
        gate = (Linear("gate_proj", outer, inner, other, "feed_forward"),)
        return (
            Linear("q_proj", outer, self.query_width, qkv, "attention"),
            Linear("k_proj", outer, self.kv_width, qkv, "attention"),
            Linear("v_proj", outer, self.kv_width, qkv, "attention"),
            Linear("o_proj", self.query_width, outer, bias, "attended"),
            *(gate if traits.is_gated else ()),
            Linear("up_proj", outer, inner, other, "feed_forward"),
            Linear("down_proj", inner, outer, other, "activated"),
        )

    @property
    def linear_weights(self) -> int:
        """Weights of all blocks' linear layers: what a quantised base stores in few bits."""
        return self.layers * sum(linear.weights for linear in self.linears)

    @property
    def linear_biases(self) -> int:
        """Biases of all blocks' linear layers."""
        return self.layers * sum(linear.outputs for linear in self.linears if linear.has_bias)

    @property
    def norm_parameters(self) -> int:
        """Parameters of all norms, the last one included."""
        traits = self.traits
        heads = 2 * self.head_width if traits.has_head_norms else 0
        in_layer = traits.layer_norms * self.width * traits.norm_vectors + heads
        return self.layers * in_layer + self.width * traits.norm_vectors

    @property
    def embedding_parameters(self) -> int:
        """Embedding, learned positions, and the output head where it is a matrix of its own."""
        positions = self.context_length * self.width if self.traits.has_positions else 0
        return self.vocabulary * self.width * (1 if self.is_tied else 2) + positions

    @property
    def parameters(self) -> int:
        """All parameters."""
        return (
            self.linear_weights
            + self.linear_biases
            + self.norm_parameters
            + self.embedding_parameters
        )


def read_shape(config: Mapping[str, Any], *, name: str, source: str) -> ModelShape:
    """Return the shape that a config in transformers' format stands for.

    Args:
        config: The content of config.json.
        name: Shown.
        source: Where it comes from.

    Raises:
        ModelError: not a decoder of a known family, or a figure is missing or makes no sense.
    """
    config = _of_text(config)
    family = config.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        raise ModelError(
            f"model '{name}': the planner does not know its kind of model. "
            f"{unknown_name('model_type', str(family)[:40], FAMILIES)}"
        )
    reader = _Reader(config, name)
    width = reader.count("hidden_size", "n_embd")
    heads = reader.count("num_attention_heads", "n_head")
    traits = FAMILIES[family]
    bias = reader.flag("attention_bias", default=False)
    return ModelShape(
        name=name,
        source=source,
        family=family,
        layers=reader.count("num_hidden_layers", "n_layer"),
        width=width,
        heads=heads,
        kv_heads=reader.count("num_key_value_heads", default=heads),
        head_width=reader.count("head_dim", default=traits.head_width or width // heads),
        feed_forward=reader.count("intermediate_size", "n_inner", default=4 * width),
        vocabulary=reader.count("vocab_size"),
        context_length=reader.count("max_position_embeddings", "n_positions", default=2048),
        is_tied=reader.flag("tie_word_embeddings", default=traits.is_tied),
        has_attention_bias=bias,
        has_feed_forward_bias=reader.flag("mlp_bias", default=False),
        file_dtype=reader.dtype(),
    )


def with_name(shape: ModelShape, name: str) -> ModelShape:
    """Return the shape under another name."""
    return replace(shape, name=name)


class _Reader:
    """Takes checked values out of a config."""

    def __init__(self, config: Mapping[str, Any], name: str) -> None:
        self._config, self._name = config, name

    def count(self, *keys: str, default: int | None = None) -> int:
        """Return the first of these keys that is there, as a number above 0."""
        found = next((self._config[key] for key in keys if self._config.get(key) is not None), None)
        found = default if found is None else found
        if isinstance(found, bool) or not isinstance(found, int) or not 0 < found <= _LARGEST * 16:
            raise ModelError(
                f"model '{self._name}', config.json: {keys[0]} is {str(found)[:40]}. A whole "
                "number above 0 is needed; take the config that came with the weights."
            )
        return found

    def flag(self, key: str, *, default: bool) -> bool:
        """Return a yes or no."""
        found = self._config.get(key)
        return default if found is None else found is True

    def dtype(self) -> str | None:
        """Return the dtype of the files, where it is one of those known."""
        found = str(self._config.get("dtype") or self._config.get("torch_dtype"))
        return found if found in FILE_BYTES else None


def _of_text(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a config about text; models that also see have it apart."""
    inner = config.get("text_config")
    if not isinstance(inner, Mapping):
        return config
    kind = inner.get("model_type") or f"{config.get('model_type')}_text"
    return {**inner, "model_type": kind}
