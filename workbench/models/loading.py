"""Load one base model in one precision; the only file that knows bitsandbytes.

On a CPU with AVX512-BF16, bitsandbytes repacks every 4-bit weight in place at the first forward
pass without gradients. Afterwards gradients are wrong or missing and dequantising returns garbage,
without an error. `load_base` switches that off on every layer, and `packed_layers` lets callers
check it before each backward pass.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import bitsandbytes as bnb
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from workbench.errors import ConfigError, ModelError, unknown_name
from workbench.models.attention import use_grouped_attention
from workbench.models.base import Precision
from workbench.models.compute_dtype import ChosenDtype, processor_dtype
from workbench.models.configs import (
    TRANSFORMERS_ERRORS,
    attention_for,
    check_can_run,
    context_length,
    first_line,
)
from workbench.models.folder_checks import (
    check_folder,
    check_loaded,
    check_tokenizer,
    check_weight_files,
    open_tokenizer,
)
from workbench.models.one_at_a_time import LOADING
from workbench.models.weights import WeightSource, find_weights

PRECISIONS: tuple[Precision, ...] = (
    "nf4",
    "nf4-single",
    "fp4",
    "fp4-single",
    "int8",
    "bf16",
    "fp32",
)
_SMALL_SHARE = 0.01  # of a base's matrices: routers and the like, which are left out of 4 bits
_SINGLE = "-single"  # ends the name of a 4-bit precision whose block scales stay in float32
ComputeDtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class BaseInfo:
    """What is known about a loaded base; stored with every run.

    Attributes:
        name: As asked for.
        source: Where the weights came from, and what of them is not in `precision`.
        identity: Changes when the weights change.
        precision: Storage of the linear layers.
        compute_dtype: What their products are computed in.
        compute_reason: Why in that.
        device: "cpu" or "cuda".
        num_parameters: Parameters of the base (not of adapters).
        footprint_bytes: Memory of the base's tensors.
        context_length: Longest input in tokens.
    """

    name: str
    source: str
    identity: str
    precision: Precision
    compute_dtype: str
    compute_reason: str
    device: str
    num_parameters: int
    footprint_bytes: int
    context_length: int

    @property
    def double_quantisation(self) -> bool | None:
        """Whether the scales of 4-bit blocks are quantised too; None where there are none."""
        return uses_double_quantisation(self.precision)


@dataclass(frozen=True)
class LoadedBase:
    """A frozen base model with its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    info: BaseInfo


def load_base(
    name: str,
    *,
    precision: str = "nf4",
    revision: str | None = None,
    compute_dtype: ComputeDtype | Literal["auto"] = "auto",
    device: str = "auto",
) -> LoadedBase:
    """Return the frozen base model `name` in `precision`, ready for inference and for gradients.

    Args:
        name: Short name of the catalog, Hub id, or local folder.
        precision: One of `PRECISIONS`; "nf4" and "fp4" use double quantisation
            (Dettmers et al. 2023, https://arxiv.org/abs/2305.14314, section 3), "nf4-single" and
            "fp4-single" leave it out.
        revision: Hub revision; None is the default branch.
        compute_dtype: "auto" takes bfloat16 on a GPU and on a CPU that multiplies in it.
        device: "auto" takes a GPU when there is one.

    Raises:
        ConfigError: unknown precision or base model.
        ModelError: weights not found, or not a causal language model.
    """
    known = check_precision(precision)
    weights = find_weights(name, revision)
    return load_weights(
        weights, name=name, precision=known, compute_dtype=compute_dtype, device=device
    )


def check_precision(precision: str) -> Precision:
    """Return the precision if there is one of that name.

    Raises:
        ConfigError: unknown precision.
    """
    for known in PRECISIONS:
        if known == precision:
            return known
    raise ConfigError(f"precision: {unknown_name('precision', precision, PRECISIONS)}")


def uses_double_quantisation(precision: Precision) -> bool | None:
    """Return whether the scales of 4-bit blocks are quantised too; None where there are none."""
    kind = precision.removesuffix(_SINGLE)
    return kind == precision if kind in ("nf4", "fp4") else None


def products_of(
    precision: Precision,
    compute_dtype: ComputeDtype | Literal["auto"] = "auto",
    device: str = "auto",
) -> tuple[str, str]:
    """Return the device a base would be on and the dtype of its products, without loading it."""
    target = device_of(device)
    return target, _name(products_dtype(compute_dtype, precision, target).dtype)


def load_weights(
    weights: WeightSource,
    *,
    name: str,
    precision: Precision,
    compute_dtype: ComputeDtype | Literal["auto"] = "auto",
    device: str = "auto",
) -> LoadedBase:
    """Return the base whose files are in `weights.folder`; see `load_base`."""
    target = device_of(device)
    compute, why = products_dtype(compute_dtype, precision, target)
    storage = _storage_dtype(precision, compute, target)
    quantization = _quantization(precision, compute)
    title = f"model '{name}' ({weights.source})"
    check_folder(weights.folder, title)
    try:
        config = AutoConfig.from_pretrained(weights.folder, trust_remote_code=False)
        check_can_run(config, title)
        attention = attention_for(config)
        check_weight_files(weights.folder, title)
        with LOADING:
            model, found = AutoModelForCausalLM.from_pretrained(
                weights.folder,
                quantization_config=quantization,
                # Quantised from what the files say: rounded to 16 bits first, it is another base.
                dtype=storage if quantization is None else torch.float32,
                device_map={"": target} if target != "cpu" else None,
                attn_implementation=attention,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are named below
            )
        tokenizer = open_tokenizer(weights.folder)
    except TRANSFORMERS_ERRORS as error:
        raise ModelError(
            f"{title}: cannot be loaded as a causal language model: {first_line(error)}. Use a "
            "folder with the config and the tokenizer that its weights were saved with."
        ) from error
    check_loaded(model, found, title)
    check_tokenizer(tokenizer, model, title)
    model.requires_grad_(requires_grad=False)
    model.eval()
    _prevent_packing(model)
    _store_in(storage, model)
    if target == "cpu" or attention == "eager":
        use_grouped_attention(model)
    info = BaseInfo(
        name=name,
        source=weights.source + ("" if quantization is None else _unquantised(model)),
        identity=weights.identity,
        precision=precision,
        compute_dtype=_name(compute),
        compute_reason=why,
        device=target,
        num_parameters=model.num_parameters(),
        footprint_bytes=footprint_bytes(model),
        context_length=context_length(model.config.get_text_config()),
    )
    return LoadedBase(model, tokenizer, info)


def _prevent_packing(model: torch.nn.Module) -> None:
    """Keep 4-bit weights in the layout that has exact gradients (see the module docstring)."""
    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False


def _store_in(dtype: torch.dtype, model: torch.nn.Module) -> None:
    """Bring what is not quantised, and what 4-bit weights are restored to, into one dtype.

    Plain tensors are copied out of the weight file, which would stay mapped as a whole.
    """
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        if state is not None:
            state.dtype = dtype  # forward restores to its inputs' dtype, backward to this one
        elif type(parameter) is torch.nn.Parameter:
            is_mapped = parameter.device.type == "cpu"
            parameter.data = parameter.data.to(dtype, copy=is_mapped)


@contextmanager
def exact_products(model: torch.nn.Module) -> Iterator[None]:
    """Let 4-bit layers multiply in the dtype of all the rest, inside the block."""
    layers = [layer for layer in model.modules() if isinstance(layer, bnb.nn.Linear4bit)]
    usual = [layer.compute_dtype for layer in layers]
    for layer in layers:
        layer.compute_dtype = layer.weight.quant_state.dtype  # set by `_store_in`
    try:
        yield
    finally:
        for layer, dtype in zip(layers, usual, strict=True):
            layer.compute_dtype = dtype


@contextmanager
def restored_products(model: torch.nn.Module) -> Iterator[None]:
    """Let quantised layers multiply with float32 copies of their weights, inside the block.

    So the inputs of 8-bit products are not rounded, which depends on what is in the same batch.
    """
    kinds = (bnb.nn.Linear4bit, bnb.nn.Linear8bitLt)
    layers = [layer for layer in model.modules() if isinstance(layer, kinds)]
    for layer in layers:
        layer.forward = partial(_restored_product, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class has its own


def _restored_product(layer: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    bias: torch.Tensor | None = layer.bias  # type: ignore[assignment]  # modules are untyped
    return torch.nn.functional.linear(
        inputs.float(), dequantised_weight(layer), None if bias is None else bias.float()
    )


def packed_layers(model: torch.nn.Module) -> list[str]:
    """Return the names of 4-bit layers in bitsandbytes' inference-only layout; should be empty."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, bnb.nn.Linear4bit)
        and getattr(module.weight.quant_state, "packing_format_for_cpu", False)
    ]


def dequantised_weight(layer: torch.nn.Module) -> torch.Tensor:
    """Return a float32 copy of a layer's weight, shaped as in the layer, which stays as it is.

    Raises:
        ModelError: the layer is in bitsandbytes' inference-only layout, which restores to garbage.
    """
    weight = layer.get_parameter("weight").detach()
    if isinstance(layer, bnb.nn.Linear4bit):
        if packed_layers(layer):
            raise ModelError(
                "a 4-bit weight was repacked for inference, so it cannot be read. Load the base "
                "again with load_base."
            )
        weight = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    elif isinstance(layer, bnb.nn.Linear8bitLt):
        (scales,) = _int8_scales(layer)
        weight = bnb.functional.int8_vectorwise_dequant(layer.weight.data, scales)
    return weight.to(torch.float32, copy=True)


class StoredBytes(NamedTuple):
    """What one weight matrix takes in memory: its values, their scales, and tables of codes."""

    values: int
    scales: int
    tables: int


def stored_bytes(layer: torch.nn.Module) -> StoredBytes:
    """Return the memory of a layer's weight; a 4-bit layer has code tables of its own."""
    weight = layer.get_parameter("weight")
    scales, tables = _int8_scales(layer), []
    state = getattr(weight, "quant_state", None)
    while state is not None:
        scales += [state.absmax, *([] if state.offset is None else [state.offset])]
        tables.append(state.code)
        state = state.state2
    return StoredBytes(*(sum(t.nbytes for t in part) for part in ([weight.data], scales, tables)))


def base_hash(model: torch.nn.Module) -> str:
    """Return a hash of every weight of the base, adapters left out.

    Equal before and after everything a session does; quantisation states are included.
    """
    sha = hashlib.sha256()
    adapter_parts = ("lora_", "modules_to_save", "original_module")
    for name, tensor in sorted(model.named_parameters(remove_duplicate=False)):
        if any(part in name for part in adapter_parts):
            continue
        sha.update(name.replace("base_layer.", "").encode())
        for part in (tensor.data, *_quantisation_tensors(tensor)):
            sha.update(
                part.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            )
    for scales in _int8_scales(model):
        sha.update(scales.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()


def footprint_bytes(model: torch.nn.Module) -> int:
    """Return the memory of all parameters, buffers and quantisation states, each counted once."""
    tensors = [*model.parameters(), *model.buffers()]
    tensors += [part for tensor in model.parameters() for part in _quantisation_tensors(tensor)]
    tensors += _int8_scales(model)
    unique = {tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in tensors}
    return sum(unique.values())


def _unquantised(model: PreTrainedModel) -> str:
    """Return words about the matrices of a quantised base that stay as they were; "" if none do.

    bitsandbytes quantises linear layers. The experts of a mixture are one tensor of three
    dimensions, and often nearly all of the weights.
    """
    head = model.get_output_embeddings()
    others = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, torch.nn.Embedding) or module is head
        for parameter in module.parameters()
    }
    matrices = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1 and id(parameter) not in others
    }
    sizes = {name: _num_values(parameter) for name, parameter in matrices.items()}
    plain = {name: sizes[name] for name, one in matrices.items() if one.is_floating_point()}
    share = sum(plain.values()) / max(1, sum(sizes.values()))
    if share < _SMALL_SHARE:
        return ""
    largest = max(plain, key=lambda name: plain[name])
    size = sum(matrices[name].nbytes for name in plain)
    dtype = str(matrices[largest].dtype).removeprefix("torch.")
    return (
        f"; {share:.0%} of its matrices' weights ({size / 1e6:.1f} MB, such as {largest}) cannot "
        f"be quantised and stay in {dtype}"
    )


def _num_values(parameter: torch.Tensor) -> int:
    """Return the values of a matrix, which 4-bit layers keep two in a byte."""
    state = getattr(parameter, "quant_state", None)
    return int(parameter.numel() if state is None else state.shape.numel())


def _quantisation_tensors(parameter: torch.Tensor) -> list[torch.Tensor]:
    state = getattr(parameter, "quant_state", None)
    parts = []
    while state is not None:
        parts += [state.absmax, state.code, getattr(state, "offset", None)]
        state = getattr(state, "state2", None)
    return [part for part in parts if isinstance(part, torch.Tensor)]


def _int8_scales(model: torch.nn.Module) -> list[torch.Tensor]:
    """Return the scales of int8 layers, which the first forward pass moves to another place."""
    layers = [m for m in model.modules() if isinstance(m, bnb.nn.Linear8bitLt)]
    found = [m.weight.SCB if m.state.SCB is None else m.state.SCB for m in layers]
    return [scales for scales in found if scales is not None]


def device_of(device: str) -> str:
    """Return where a base goes that is asked for on a device, "auto" included.

    Raises:
        ConfigError: no such device, or no usable GPU.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device 'cuda': no usable GPU found. Use device 'cpu' or 'auto'.")
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"device: {unknown_name('device', device, ('auto', 'cpu', 'cuda'))}")
    return device


def _quantization(precision: Precision, compute: torch.dtype) -> BitsAndBytesConfig | None:
    double = uses_double_quantisation(precision)
    if double is not None:
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=precision.removesuffix(_SINGLE),
            bnb_4bit_use_double_quant=double,
            bnb_4bit_compute_dtype=compute,
        )
    return BitsAndBytesConfig(load_in_8bit=True) if precision == "int8" else None


def _storage_dtype(precision: Precision, compute: torch.dtype, device: str) -> torch.dtype:
    """Return the dtype of what is not quantised and of the residual stream.

    On a CPU a quantised base keeps both in float32: embeddings, norms and attention are a small
    part of the work there, and the log-probabilities of labels do not get rounded to bfloat16.
    """
    if precision == "bf16":
        return torch.bfloat16
    if precision == "fp32" or device == "cpu":
        return torch.float32
    return compute


def products_dtype(wanted: str, precision: Precision, device: str) -> ChosenDtype:
    """Return what the products of a base are taken in, and why.

    Raises:
        ConfigError: no dtype of that name.
    """
    if precision in ("fp32", "bf16"):
        own = torch.float32 if precision == "fp32" else torch.bfloat16
        return ChosenDtype(own, f"that is what {precision} is")
    if wanted != "auto":
        allowed = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
        if wanted not in allowed:
            raise ConfigError(f"compute_dtype: {unknown_name('compute dtype', wanted, allowed)}")
        return ChosenDtype(allowed[wanted], "asked for")
    if device == "cuda":  # emulated before Ampere; float16 would need its losses scaled
        return ChosenDtype(torch.bfloat16, "the device is a GPU")
    if precision == "int8":
        return ChosenDtype(torch.float32, "int8 weights on a CPU")
    return processor_dtype()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def check_quantisation() -> str:
    """Return whether NF4 works here: a matrix is quantised and restored on the default device."""
    device = device_of("auto")
    weight = torch.linspace(-1, 1, 4096, device=device).reshape(64, 64)
    try:
        packed, state = bnb.functional.quantize_4bit(weight, quant_type="nf4")
        restored = bnb.functional.dequantize_4bit(packed, state)
    except (RuntimeError, NotImplementedError) as error:
        return f"do not work on {device}: {error}. Use precision bf16 or fp32."
    gap = float((restored - weight).abs().max())
    return f"work on {device} (largest rounding of NF4 on [-1, 1]: {gap:.2f})"
