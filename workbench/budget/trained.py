"""What each method trains and stores, by formula from a model's shape.

A count raises the error that the method itself would raise where the model has nothing it could be
put on.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from workbench.budget.shape import Linear, ModelShape
from workbench.errors import ModelError
from workbench.options import option
from workbench.shared_options import (
    DEMONSTRATIONS,
    INIT_RANK,
    NUM_VIRTUAL_TOKENS,
    RANK,
    TARGETS,
    WIDTH,
)

Kind = Literal["words", "vectors", "weights"]
Before = Literal["nothing", "demonstrations", "vectors", "states"]
_FLOAT = 4  # bytes
_VALUE_BYTES = 4  # trained values are float32, in memory and in the files
_HEADER_BYTES = 131  # of a safetensors file per tensor: its name, dtype, shape and place


@dataclass(frozen=True, kw_only=True)
class AdaptOptions:
    """Sizes of what is trained; defaults and bounds are those of the methods.

    Attributes:
        num_virtual_tokens: Learned vectors (P) of prompt tuning, P-tuning and prefix tuning.
        rank: Rank of LoRA and its kin.
        init_rank: Where AdaLoRA starts.
        targets: Layers LoRA and its kin change.
        bottleneck: Inner width of a bottleneck adapter.
        bottleneck_places: Adapters in each layer: 2 (Houlsby) or 1 (Pfeiffer).
        demonstrations: Solved examples of few-shot prompting.
    """

    num_virtual_tokens: int = NUM_VIRTUAL_TOKENS.option(help="How many stand in the prompt.")
    rank: int = RANK.option(help="Of LoRA and its kin: wider learns more and costs more.")
    init_rank: int = INIT_RANK.option()
    targets: str = option("attention_qv", choices=TARGETS, help="Layers that LoRA changes.")
    bottleneck: int = WIDTH.option()
    bottleneck_places: int = option(2, minimum=1, maximum=2, help="Adapters in each layer.")
    demonstrations: int = DEMONSTRATIONS.option(help="Solved examples in a few-shot prompt.")


def _nothing_kept(_shape: ModelShape, _options: AdaptOptions, _size: int) -> int:
    return 0


@dataclass(frozen=True)
class Recipe:
    """How a method's costs follow from shape and options.

    Attributes:
        name: As in the catalog of methods.
        kind: What it changes.
        trained: Returns the number of trained parameters.
        formula: The same in words.
        source: Where the method comes from.
        stored: Returns the parameters in its file; None: those trained.
        tensors: Returns the number of tensors in its file.
        value_bytes: Size of a value in its file.
        options: Those of `AdaptOptions` that its costs follow from, to what the method calls them.
        before: What stands before every row when it is used. Vectors run through the layers as
            tokens do; states are there as keys and values alone.
        kept: Returns the bytes that its changes of all layers keep for the backward pass per
            position, given the size of a value between layers.
        starts_late: Returns whether its first change comes after the first attention.
        is_full: Whether the base's own weights are trained.
    """

    name: str
    kind: Kind
    trained: Callable[[ModelShape, AdaptOptions], int]
    formula: str
    source: str
    stored: Callable[[ModelShape, AdaptOptions], int] | None = None
    tensors: Callable[[ModelShape, AdaptOptions], int] = lambda _shape, _options: 1
    value_bytes: int = _VALUE_BYTES
    options: Mapping[str, str] = field(default_factory=dict)
    before: Before = "nothing"
    kept: Callable[[ModelShape, AdaptOptions, int], int] = _nothing_kept
    starts_late: Callable[[AdaptOptions], bool] = lambda _options: False
    is_full: bool = False

    @property
    def trains(self) -> bool:
        """Whether it trains at all."""
        return self.kind != "words"

    def stored_bytes(self, shape: ModelShape, options: AdaptOptions) -> int:
        """Return the size of the file its result is kept in; 0 where nothing is learned."""
        if not self.trains:
            return 0
        stored = (self.stored or self.trained)(shape, options)
        return self.value_bytes * stored + _HEADER_BYTES * self.tensors(shape, options)


def targeted(shape: ModelShape, options: AdaptOptions) -> tuple[Linear, ...]:
    """Return the linear layers that LoRA and its kin change.

    Raises:
        ConfigError: there are none of that role.
    """
    return shape.layers_of_role(options.targets)


def _vectors(shape: ModelShape, options: AdaptOptions) -> int:
    return options.num_virtual_tokens * shape.embedding_width


def _encoder(shape: ModelShape, options: AdaptOptions) -> int:
    width = shape.embedding_width
    return _vectors(shape, options) + 3 * (width**2 + width)


def _prefix(shape: ModelShape, options: AdaptOptions) -> int:
    if not shape.has_even_states:
        raise ModelError(
            f"model '{shape.name}': its keys and values are not of one shape, so they cannot be "
            "learned as a prefix. Use prompt_tuning or lora."
        )
    return options.num_virtual_tokens * shape.state_width


def _low_rank(shape: ModelShape, options: AdaptOptions, rank: int) -> int:
    return rank * sum(
        linear.count * (linear.inputs + linear.outputs) for linear in targeted(shape, options)
    )


def _lora(shape: ModelShape, options: AdaptOptions) -> int:
    return _low_rank(shape, options, options.rank)


def _dora(shape: ModelShape, options: AdaptOptions) -> int:
    return _lora(shape, options) + _written(targeted(shape, options))


def _adalora(shape: ModelShape, options: AdaptOptions) -> int:
    values = options.init_rank * _number(targeted(shape, options))
    return _low_rank(shape, options, options.init_rank) + values


def _ia3(shape: ModelShape, _options: AdaptOptions) -> int:
    scaled, entered = shape.layers_of_role("keys_values"), shape.layers_of_role("mlp_output")
    return _written(scaled) + sum(linear.count * linear.inputs for linear in entered)


def _bottleneck(shape: ModelShape, options: AdaptOptions) -> int:
    inner = options.bottleneck
    return sum(
        linear.count * (2 * linear.outputs * inner + inner + linear.outputs)
        for linear in _bottlenecked(shape, options)
    )


def _bottlenecked(shape: ModelShape, options: AdaptOptions) -> tuple[Linear, ...]:
    ends = shape.layers_of_role("mlp_output")
    return ends + (
        shape.layers_of_role("attention_output") if options.bottleneck_places > 1 else ()
    )


def _biases(shape: ModelShape, _options: AdaptOptions) -> int:
    return _written(shape.layers_of_role("all_linear"))


def _everything(shape: ModelShape, _options: AdaptOptions) -> int:
    return shape.decoder_parameters


def _none(_shape: ModelShape, _options: AdaptOptions) -> int:
    return 0


def _written(layers: Iterable[Linear]) -> int:
    return sum(linear.count * linear.outputs for linear in layers)


def _number(layers: Iterable[Linear]) -> int:
    return sum(linear.count for linear in layers)


def _per_target(tensors: int) -> Callable[[ModelShape, AdaptOptions], int]:
    def count(shape: ModelShape, options: AdaptOptions) -> int:
        return tensors * _number(targeted(shape, options))

    return count


def _bias_tensors(shape: ModelShape, _options: AdaptOptions) -> int:
    return _number(shape.layers_of_role("all_linear"))


def _ia3_tensors(shape: ModelShape, _options: AdaptOptions) -> int:
    return _number(shape.layers_of_role("keys_values") + shape.layers_of_role("mlp_output"))


def _low_rank_kept(shape: ModelShape, options: AdaptOptions, size: int, rank: int) -> int:
    layers = targeted(shape, options)
    if size == _FLOAT:  # what several layers read is kept once
        read = sum(shape.read_of(layers).values())
    else:  # each makes a float32 copy of its own
        read = sum(linear.count * linear.inputs for linear in layers)
    return (read + rank * _number(layers)) * _FLOAT


def _lora_kept(shape: ModelShape, options: AdaptOptions, size: int) -> int:
    return _low_rank_kept(shape, options, size, options.rank)


def _dora_kept(shape: ModelShape, options: AdaptOptions, size: int) -> int:
    return _lora_kept(shape, options, size) + _written(targeted(shape, options)) * _FLOAT


def _adalora_kept(shape: ModelShape, options: AdaptOptions, size: int) -> int:
    return _low_rank_kept(shape, options, size, options.init_rank)


def _ia3_kept(shape: ModelShape, options: AdaptOptions, size: int) -> int:
    return _ia3(shape, options) * size


def _bottleneck_kept(shape: ModelShape, options: AdaptOptions, _size: int) -> int:
    layers = _bottlenecked(shape, options)
    return (_written(layers) + options.bottleneck * _number(layers)) * _FLOAT


def _everything_kept(shape: ModelShape, _options: AdaptOptions, size: int) -> int:
    return (shape.read_width + shape.layers * shape.norm_width) * size


def _is_in_mlp(options: AdaptOptions) -> bool:
    return options.targets == "mlp"


_LOW_RANK = "r (in + out) over the targeted layers"
_RANK_AND_TARGETS = {"rank": "rank", "targets": "targets"}
_TOKENS = {"num_virtual_tokens": "num_virtual_tokens"}
_RECIPES = (
    Recipe("zero_shot", "words", _none, "none", "Brown et al. 2020"),
    Recipe("few_shot", "words", _none, "none", "Brown et al. 2020",
           options={"demonstrations": "k"}, before="demonstrations"),
    Recipe("prompt_tuning", "vectors", _vectors, "P D", "Lester et al. 2021",
           options=_TOKENS, before="vectors"),
    Recipe("p_tuning", "vectors", _encoder, "P D + 3 (D D + D)", "Liu et al. 2021",
           stored=_vectors, options=_TOKENS, before="vectors"),
    Recipe("prefix_tuning", "vectors", _prefix, "P L 2 H head width", "Li & Liang 2021",
           options=_TOKENS, before="states"),
    Recipe("ia3", "weights", _ia3, "one per feature of keys, values and the end of the MLP",
           "Liu et al. 2022", tensors=_ia3_tensors, kept=_ia3_kept),
    Recipe("bitfit", "weights", _biases, "one bias per output of each linear layer",
           "Ben Zaken et al. 2022", tensors=_bias_tensors),
    Recipe("lora", "weights", _lora, _LOW_RANK, "Hu et al. 2021", tensors=_per_target(2),
           options=_RANK_AND_TARGETS, kept=_lora_kept, starts_late=_is_in_mlp),
    Recipe("dora", "weights", _dora, f"{_LOW_RANK}, and out for each", "Liu et al. 2024",
           tensors=_per_target(3), options=_RANK_AND_TARGETS, kept=_dora_kept,
           starts_late=_is_in_mlp),
    Recipe("adalora", "weights", _adalora, f"{_LOW_RANK} and r for each, at the first rank",
           "Zhang et al. 2023", tensors=_per_target(3),
           options={"init_rank": "init_rank", "targets": "targets"}, kept=_adalora_kept,
           starts_late=_is_in_mlp),
    Recipe("bottleneck_adapter", "weights", _bottleneck, "2 D m + m + D for each adapter",
           "Houlsby et al. 2019",
           tensors=lambda shape, options: 4 * _number(_bottlenecked(shape, options)),
           options={"bottleneck": "width", "bottleneck_places": "places"}, kept=_bottleneck_kept,
           starts_late=lambda _: True),
    Recipe("full_fine_tuning", "weights", _everything, "linear layers and norms of the decoder",
           "the reference", tensors=lambda shape, _: 9 * shape.layers + 1, value_bytes=2,
           kept=_everything_kept, is_full=True),
)  # fmt: skip
RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in _RECIPES}

UNPLANNED: Mapping[str, str] = {
    "hard_prompt": "as many tokens as the instruction has, and none of it is kept as numbers",
    "prompt_ensemble": "several times what prompt tuning takes",
}
"""Methods that train and have no recipe, and why."""
