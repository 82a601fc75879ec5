"""What lies in memory while a base is trained or asked: weights, what is trained, activations.

Activations are counted, tensor by tensor, as autograd keeps them in a Llama-like block whose own
weights are frozen. A frozen linear layer keeps nothing, since only the gradient of its input is
wanted; that is where this differs from Korthikanti et al. 2022, https://arxiv.org/abs/2205.05198,
section 4.1, who train every weight in 16 bits and arrive at 34 s b h + 5 a s^2 b bytes. Kept are,
per position and layer:

    the inputs of the norms, in float32       2 D
    queries and attention output              2 heads x head width
    keys and values                           2 H x head width
    normalisers, and elsewhere masks          see `_attention_bytes`
    gate, its activation, and up              3 x inner width
    what the method's own change reads        see `Recipe.kept`
"""

from dataclasses import dataclass, replace
from typing import Literal

from workbench.batches import PASS_TOKENS
from workbench.budget.shape import ModelShape
from workbench.budget.trained import AdaptOptions, Recipe
from workbench.options import option
from workbench.shared_options import BATCH_SIZE, CHECKPOINTING_HELP

BudgetPrecision = Literal["nf4", "nf4-single", "fp4", "fp4-single", "int8", "bf16", "fp32"]
BUDGET_PRECISIONS: tuple[BudgetPrecision, ...] = (
    "nf4", "nf4-single", "fp4", "fp4-single", "int8", "bf16", "fp32",
)  # fmt: skip
_BLOCK = 64  # weights that share a scale, Dettmers et al. 2023, section 3
_SCALE_BLOCK = 256  # scales that share a scale of their own: double quantisation, likewise
_CODE_BYTES = 16 * 4  # the 16 values a 4-bit weight can have
_SCALE_CODE_BYTES = 256 * 4 + 4  # the values a quantised scale can have, and their mean
_FLOAT = 4
_ADAM_BYTES = 8  # two moments in float32, Kingma & Ba 2015
# Of the tensors alive, glibc held 28 to 47 % more over six methods (benchmarks/RESULTS.md).
_HELD_SHARE = 0.33
SCORING_TOKENS = 1024  # of a batch that is scored, `workbench/models/engine.py`
LOGIT_ROWS = 256  # positions whose logits are held at once, likewise
HEAD_BLOCK_BYTES = 1 << 26  # of a 16-bit head in float32, `workbench/models/output_head.py`


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One training step, or one pass of a step that runs its batch in parts.

    Attributes:
        batch_size: Rows.
        row_tokens: Positions of the longest row, shared prompt and answer included.
        shared_tokens: How many of these are the same in all rows; learned vectors count here.
        given_tokens: How many of these are keys and values alone, which prefix tuning learns.
        answer_tokens: Positions of a row whose loss is taken.
        has_checkpointing: Whether only the inputs of layers are kept and the rest is computed
            again (Chen et al. 2016, https://arxiv.org/abs/1604.06174).
    """

    batch_size: int = BATCH_SIZE.option(help="Rows of a training step.")
    row_tokens: int = option(
        256, minimum=2, maximum=1_000_000, help="Tokens of a row, prompt and answer."
    )
    shared_tokens: int = 0
    given_tokens: int = 0
    answer_tokens: int = 1
    has_checkpointing: bool = option(False, help=CHECKPOINTING_HELP)

    @property
    def own_tokens(self) -> int:
        """Positions of a row that are its own."""
        return max(1, self.row_tokens - self.shared_tokens - self.given_tokens)

    @property
    def positions(self) -> int:
        """Positions that are run at once."""
        return self.shared_tokens + self.batch_size * self.own_tokens

    def with_vectors(self, vectors: int) -> "Workload":
        """Return the workload with so many learned vectors before every row."""
        longer, shared = self.row_tokens + vectors, self.shared_tokens + vectors
        return replace(self, row_tokens=longer, shared_tokens=shared)

    def with_states(self, states: int) -> "Workload":
        """Return the workload with so many learned keys and values before every row."""
        longer, given = self.row_tokens + states, self.given_tokens + states
        return replace(self, row_tokens=longer, given_tokens=given)


@dataclass(frozen=True)
class Storage:
    """How a base lies in memory.

    Attributes:
        precision: How the linear layers are stored.
        is_gpu: On a GPU what is not quantised is stored in 16 bits, on a processor in 32.
        unpacked_bytes: Of each 4-bit weight where they are kept unpacked beside them, for speed,
            in the dtype of products; 0 where they are not.
    """

    precision: BudgetPrecision
    is_gpu: bool
    unpacked_bytes: int = 0

    @property
    def element_bytes(self) -> int:
        """Size of what is not quantised, and of the values between layers."""
        if self.precision == "fp32":
            return _FLOAT
        return 2 if self.precision == "bf16" or self.is_gpu else _FLOAT

    @property
    def is_quantised(self) -> bool:
        """Whether the linear layers are stored in fewer bits than the rest."""
        return self.precision not in ("bf16", "fp32")

    @property
    def is_4_bit(self) -> bool:
        """Whether the linear layers are stored in 4 bits."""
        return self.is_quantised and self.precision != "int8"


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of a step's parts, and what is there at the moment that takes the most.

    Attributes:
        base: Weights of the base.
        trained: Trained values in float32, and the copy of the best ones so far.
        gradients: Those of the trained values.
        optimizer: Moments of AdamW.
        activations: Kept between forward and backward pass; in use, keys and values.
        working: What one layer, and the logits of the answers, take besides.
        held: What a processor's allocator holds besides: freed pieces that no tensor fits into.
        restored: 4-bit weights kept unpacked beside the base.
    """

    base: int
    trained: int = 0
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    working: int = 0
    held: int = 0
    restored: int = 0

    @property
    def total(self) -> int:
        """At the peak, with what the allocator holds."""
        return self.living + self.held

    @property
    def living(self) -> int:
        """Of all tensors at the peak: gradients come as backward gives activations back."""
        weights = self.base + self.restored
        return weights + self.trained + self.optimizer + max(self.gradients, self.passing)

    @property
    def passing(self) -> int:
        """What a step makes and gives back."""
        return self.activations + self.working

    @property
    def learning(self) -> int:
        """What training takes besides weights and activations: the rest of the peak."""
        return self.living - self.base - self.restored - self.trained - self.passing

    def on(self, storage: Storage) -> "MemoryEstimate":
        """Return the estimate with what the allocator holds where the tensors are."""
        share = 0.0 if storage.is_gpu else _HELD_SHARE
        return replace(self, held=int(share * (self.living - self.base - self.restored)))


def base_bytes(shape: ModelShape, storage: Storage) -> int:
    """Return the memory of a base's tensors: weights, scales of quantised ones, and buffers.

    Embeddings, norms, biases, experts and output head are never quantised.
    """
    packed = [linear for linear in shape.linears if linear.is_quantised]
    rest = shape.parameters - sum(linear.count * linear.weights for linear in packed)
    weights = sum(
        linear.count * _matrix_bytes(linear.weights, linear.outputs, storage) for linear in packed
    )
    return weights + rest * storage.element_bytes + shape.buffer_bytes


def restored_bytes(shape: ModelShape, storage: Storage) -> int:
    """Return the memory of 4-bit weights kept unpacked beside the base."""
    if not storage.is_4_bit:
        return 0
    packed = (linear.count * linear.weights for linear in shape.linears if linear.is_quantised)
    return sum(packed) * storage.unpacked_bytes


def _matrix_bytes(weights: int, outputs: int, storage: Storage) -> int:
    if not storage.is_quantised:
        return weights * storage.element_bytes
    if storage.precision == "int8":
        return weights + outputs * _FLOAT  # a scale for each output
    scales = -(-weights // _BLOCK)
    packed = -(-weights // 2) + _CODE_BYTES
    if storage.precision.endswith("-single"):
        return packed + scales * _FLOAT
    return packed + scales + -(-scales // _SCALE_BLOCK) * _FLOAT + _SCALE_CODE_BYTES


def kv_bytes_per_token(shape: ModelShape, storage: Storage) -> int:
    """Return the bytes of one position's keys and values in all layers."""
    return shape.state_width * storage.element_bytes


def training_memory(
    shape: ModelShape, storage: Storage, recipe: Recipe, options: AdaptOptions, work: Workload
) -> MemoryEstimate:
    """Return the memory of one training step of a method."""
    trained = recipe.trained(shape, options)
    kept = _layer_bytes(shape, storage, recipe, options, work)
    activations = shape.layers * kept + _cast_weights(shape, storage, recipe)
    activations -= _before_first_change(shape, storage, recipe, options, work)
    if work.has_checkpointing:
        entering = work.positions * shape.width * storage.element_bytes
        activations = shape.layers * entering + kept
    return MemoryEstimate(
        base=base_bytes(shape, storage),
        trained=2 * _FLOAT * trained,
        gradients=_FLOAT * trained,
        optimizer=_ADAM_BYTES * trained,
        activations=activations + _head_bytes(shape, storage, work),
        working=_working_bytes(shape, storage, work),
        restored=restored_bytes(shape, storage),
    ).on(storage)


def peak_memory(
    shape: ModelShape,
    storage: Storage,
    recipe: Recipe,
    options: AdaptOptions,
    work: Workload,
    *,
    prefix_tokens: int,
) -> MemoryEstimate:
    """Return the memory of a training at its peak: a step, or an evaluation on dev in between."""
    step = training_memory(shape, storage, recipe, options, work)
    asking = asking_memory(shape, storage, prefix_tokens=prefix_tokens, own_tokens=work.own_tokens)
    evaluation = replace(step, activations=asking.activations, working=asking.working, gradients=0)
    return max(step, evaluation.on(storage), key=lambda estimate: estimate.total)


def asking_memory(
    shape: ModelShape, storage: Storage, *, prefix_tokens: int, own_tokens: int = 1
) -> MemoryEstimate:
    """Return the memory of scoring a batch after a shared prefix; a long row is scored alone."""
    tokens = max(SCORING_TOKENS, own_tokens)
    mask = tokens * (own_tokens + prefix_tokens) * storage.element_bytes
    layer = tokens * storage.element_bytes * (4 * shape.width + 4 * shape.inner_width)
    logits = 2 * LOGIT_ROWS * shape.vocabulary * _FLOAT
    head = min(_head_copy(shape, storage), HEAD_BLOCK_BYTES)
    return MemoryEstimate(
        base=base_bytes(shape, storage),
        activations=(prefix_tokens + tokens) * kv_bytes_per_token(shape, storage) // shape.layers
        + prefix_tokens * kv_bytes_per_token(shape, storage),
        working=layer + mask + logits + head + _one_matrix(shape, storage),
        restored=restored_bytes(shape, storage),
    ).on(storage)


def _layer_bytes(
    shape: ModelShape, storage: Storage, recipe: Recipe, options: AdaptOptions, work: Workload
) -> int:
    """Return what one layer keeps for the backward pass."""
    size, positions = storage.element_bytes, work.positions
    norms = shape.norm_width * (_FLOAT if shape.has_float_norms else size)
    inner = (shape.activation_copies * shape.inner_width + shape.expert_outputs) * size
    quantised = shape.read_width * size if storage.precision == "int8" else 0
    changes = quantised + recipe.kept(shape, options, size)
    return (
        positions * (norms + inner)
        + _attention_bytes(shape, storage, work)
        + positions * changes // shape.layers
    )


def _attention_bytes(shape: ModelShape, storage: Storage, work: Workload) -> int:
    """Return what attention keeps: queries, keys, values, outputs and normalisers.

    On a processor the shared prefix and the rows' own tokens are attended apart, without a mask
    and with each key once, by all architectures that take our attention. By others, and on a GPU,
    a mask is kept as numbers too, and keys and values are repeated for every query head.
    """
    size, positions = storage.element_bytes, work.positions
    queries = 2 * positions * shape.query_width * size + positions * shape.heads * _FLOAT
    rows, own, seen = work.batch_size, work.own_tokens, work.row_tokens
    if storage.is_gpu or shape.attention == "own":
        is_one_row = (positions <= PASS_TOKENS or rows == 1) and not work.given_tokens
        mask = positions**2 if is_one_row else rows * own * seen
        keys = positions if is_one_row else rows * seen
        if shape.attention == "own" and shape.kv_heads == 1:  # weights are kept, by head
            return queries + 2 * keys * shape.kv_width * size + shape.heads * mask * _FLOAT
        return queries + 2 * keys * shape.query_width * size + mask * size
    return queries + 2 * (positions + work.given_tokens) * shape.kv_width * size


def _before_first_change(
    shape: ModelShape, storage: Storage, recipe: Recipe, options: AdaptOptions, work: Workload
) -> int:
    """Return what the first layer need not keep, since nothing before it is trained."""
    if recipe.kind != "weights" or recipe.is_full:
        return 0
    norm = work.positions * shape.width * _FLOAT
    is_late = recipe.starts_late(options)
    return norm + (_attention_bytes(shape, storage, work) if is_late else 0)


def _cast_weights(shape: ModelShape, storage: Storage, recipe: Recipe) -> int:
    """Return the 16-bit copies of trained float32 weights that the products are made with."""
    weights = shape.linear_weights + shape.expert_parameters
    return weights * 2 if recipe.is_full and storage.element_bytes == 2 else 0


def _head_bytes(shape: ModelShape, storage: Storage, work: Workload) -> int:
    """Return what the last norm and the loss keep; a 16-bit head is copied to float32 for it."""
    answers = work.batch_size * work.answer_tokens
    norm = work.positions * shape.width * _FLOAT
    return norm + answers * shape.vocabulary * _FLOAT + _head_copy(shape, storage)


def _head_copy(shape: ModelShape, storage: Storage) -> int:
    return 0 if storage.element_bytes == _FLOAT else shape.vocabulary * shape.width * _FLOAT


def _one_matrix(shape: ModelShape, storage: Storage) -> int:
    """Return the largest matrix as it is unpacked for a product, unless all are kept so."""
    if not storage.is_quantised or (storage.is_4_bit and storage.unpacked_bytes):
        return 0
    packed = (linear.weights for linear in shape.linears if linear.is_quantised)
    return max(packed, default=0) * storage.element_bytes


def _working_bytes(shape: ModelShape, storage: Storage, work: Workload) -> int:
    """Return logits with their gradient, an unpacked matrix, and gradients inside one layer."""
    answers = work.batch_size * work.answer_tokens
    logits = 2 * answers * shape.vocabulary * _FLOAT
    inside = work.positions * 3 * shape.inner_width * storage.element_bytes
    return logits + inside + _one_matrix(shape, storage)
