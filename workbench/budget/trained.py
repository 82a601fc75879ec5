"""What each method trains and stores, by formula from a model's shape."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from workbench.budget.shape import Linear, ModelShape

Kind = Literal["words", "vectors", "weights"]
Targets = Literal["attention_qv", "attention", "mlp", "all_linear"]
TARGETS: tuple[Targets, ...] = ("attention_qv", "attention", "mlp", "all_linear")
_VALUE_BYTES = 4  # trained values are float32, in memory and in the files
_HEADER_BYTES = 131  # of a safetensors file per tensor: its name, dtype, shape and place
_ROLES: Mapping[Targets, tuple[str, ...]] = {
    "attention_qv": ("q_proj", "v_proj"),
    "attention": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "mlp": ("gate_proj", "up_proj", "down_proj"),
}


@dataclass(frozen=True, kw_only=True)
class AdaptOptions:
    """Sizes of what is trained; the defaults are those of the methods.

    Attributes:
        num_virtual_tokens: Learned vectors (P) of prompt tuning, P-tuning and prefix tuning.
        rank: Of LoRA and its kin.
        init_rank: Where AdaLoRA starts.
        targets: Layers LoRA and its kin change.
        bottleneck: Inner width of a bottleneck adapter.
        bottleneck_places: Adapters in each layer: 2 (Houlsby) or 1 (Pfeiffer).
        demonstrations: Solved examples of few-shot prompting.
    """

    num_virtual_tokens: int = 20
    rank: int = 8
    init_rank: int = 12
    targets: Targets = "attention_qv"
    bottleneck: int = 32
    bottleneck_places: int = 2
    demonstrations: int = 8


@dataclass(frozen=True)
class Recipe:
    """How a method's costs follow from shape and options.

    Attributes:
        name: As in the catalog of methods.
        kind: What it changes.
        trained: Returns the number of trained parameters.
        formula: The same in words.
        source: Of the method.
        stored: Returns the parameters in its file; None: those trained.
        tensors: Returns the number of tensors in its file.
        value_bytes: Size of a value in its file.
    """

    name: str
    kind: Kind
    trained: Callable[[ModelShape, AdaptOptions], int]
    formula: str
    source: str
    stored: Callable[[ModelShape, AdaptOptions], int] | None = None
    tensors: Callable[[ModelShape, AdaptOptions], int] = lambda _shape, _options: 1
    value_bytes: int = _VALUE_BYTES

    @property
    def trains(self) -> bool:
        """Whether it trains at all."""
        return self.kind != "words"

    @property
    def is_full(self) -> bool:
        """Whether the base's own weights are trained."""
        return self.name == "full_fine_tuning"

    def stored_bytes(self, shape: ModelShape, options: AdaptOptions) -> int:
        """Return the size of the file its result is kept in; 0 where nothing is learned."""
        if not self.trains:
            return 0
        stored = (self.stored or self.trained)(shape, options)
        return self.value_bytes * stored + _HEADER_BYTES * self.tensors(shape, options)


def targeted(shape: ModelShape, options: AdaptOptions) -> tuple[Linear, ...]:
    """Return the linear layers of a block that LoRA and its kin change."""
    wanted = _ROLES.get(options.targets)
    return tuple(linear for linear in shape.linears if wanted is None or linear.name in wanted)


def _vectors(shape: ModelShape, options: AdaptOptions) -> int:
    return options.num_virtual_tokens * shape.width


def _encoder(shape: ModelShape, options: AdaptOptions) -> int:
    return _vectors(shape, options) + 3 * (shape.width**2 + shape.width)


def _prefix(shape: ModelShape, options: AdaptOptions) -> int:
    return options.num_virtual_tokens * shape.layers * 2 * shape.kv_width


def _low_rank(shape: ModelShape, options: AdaptOptions, rank: int) -> int:
    sums = (linear.inputs + linear.outputs for linear in targeted(shape, options))
    return shape.layers * rank * sum(sums)


def _lora(shape: ModelShape, options: AdaptOptions) -> int:
    return _low_rank(shape, options, options.rank)


def _dora(shape: ModelShape, options: AdaptOptions) -> int:
    lengths = sum(linear.outputs for linear in targeted(shape, options))
    return _lora(shape, options) + shape.layers * lengths


def _adalora(shape: ModelShape, options: AdaptOptions) -> int:
    values = shape.layers * len(targeted(shape, options)) * options.init_rank
    return _low_rank(shape, options, options.init_rank) + values


def _ia3(shape: ModelShape, _options: AdaptOptions) -> int:
    return shape.layers * (2 * shape.kv_width + shape.feed_forward)


def _bottleneck(shape: ModelShape, options: AdaptOptions) -> int:
    inner = options.bottleneck
    one = 2 * shape.width * inner + inner + shape.width
    return shape.layers * options.bottleneck_places * one


def _biases(shape: ModelShape, _options: AdaptOptions) -> int:
    return shape.layers * sum(linear.outputs for linear in shape.linears)


def _everything(shape: ModelShape, _options: AdaptOptions) -> int:
    return shape.linear_weights + shape.linear_biases + shape.norm_parameters


def _none(_shape: ModelShape, _options: AdaptOptions) -> int:
    return 0


def _per_target(tensors: int) -> Callable[[ModelShape, AdaptOptions], int]:
    def count(shape: ModelShape, options: AdaptOptions) -> int:
        return tensors * shape.layers * len(targeted(shape, options))

    return count


_LOW_RANK = "r (in + out) over the targeted layers"
_RECIPES = (
    Recipe("zero_shot", "words", _none, "none", "Brown et al. 2020"),
    Recipe("few_shot", "words", _none, "none", "Brown et al. 2020"),
    Recipe("prompt_tuning", "vectors", _vectors, "P D", "Lester et al. 2021"),
    Recipe(
        "p_tuning", "vectors", _encoder, "P D + 3 (D D + D)", "Liu et al. 2021", stored=_vectors
    ),
    Recipe("prefix_tuning", "vectors", _prefix, "P L 2 H head width", "Li & Liang 2021"),
    Recipe("ia3", "weights", _ia3, "L (2 H head width + feed-forward)", "Liu et al. 2022",
           tensors=lambda shape, _: 3 * shape.layers),
    Recipe("bitfit", "weights", _biases, "one bias per output of each linear layer",
           "Ben Zaken et al. 2022", tensors=lambda shape, _: len(shape.linears) * shape.layers),
    Recipe("lora", "weights", _lora, _LOW_RANK, "Hu et al. 2021", tensors=_per_target(2)),
    Recipe("dora", "weights", _dora, f"{_LOW_RANK}, and out for each", "Liu et al. 2024",
           tensors=_per_target(3)),
    Recipe("adalora", "weights", _adalora, f"{_LOW_RANK} and r for each, at the first rank",
           "Zhang et al. 2023", tensors=_per_target(3)),
    Recipe("bottleneck_adapter", "weights", _bottleneck, "2 D m + m + D for each adapter",
           "Houlsby et al. 2019",
           tensors=lambda shape, options: 4 * options.bottleneck_places * shape.layers),
    Recipe("full_fine_tuning", "weights", _everything, "linear layers and norms of the decoder",
           "the reference", tensors=lambda shape, _: 9 * shape.layers + 1, value_bytes=2),
)  # fmt: skip
RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in _RECIPES}
