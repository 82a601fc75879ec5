"""Quantised layers of a base: their products, weights and memory; alone knows bitsandbytes.

What bitsandbytes' own 4-bit layer does in its forward pass changes the layer. On a CPU with
AVX512-BF16 the first pass without gradients repacks the weight in place; afterwards gradients are
wrong or missing and dequantising returns garbage, without an error. A bias is rounded in place to
the dtype of the products. `keep_unchanged` gives every layer a forward pass that does neither, and
`packed_layers` lets callers check it before each backward pass.

bitsandbytes unpacks a 4-bit weight anew for every product. `keep_restored` keeps the values of that
unpacking instead, so that products have the same numbers and take the time of multiplying alone.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from functools import partial
from typing import Any, NamedTuple, NoReturn

import torch
from transformers import PreTrainedModel

from workbench.errors import ModelError
from workbench.models.nearest_codes import nearest_codes
from workbench.models.products import (
    BlockedWeight,
    can_block,
    frozen_product,
    product,
)


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Leave functions as they are where `torch.compile` is asked to compile them.

    bitsandbytes asks so at import, for kernels that neither a CPU nor an NVIDIA GPU runs, and
    takes its functions as they are where that fails. The compiler takes a second to import.
    """
    compiler = torch.compile

    def refuse(*_args: object, **_options: object) -> NoReturn:
        raise RuntimeError("nothing is compiled while bitsandbytes is imported")

    torch.compile = refuse
    try:
        yield
    finally:
        torch.compile = compiler


with _without_compiler():
    import bitsandbytes as bnb

_MANY_THREADS = 8  # bitsandbytes' own way is shared among them, and is as fast with so many
_SMALL_SHARE = 0.01  # of a base's matrices: routers and the like, which are left out of 4 bits


@contextmanager
def quick_quantising() -> Iterator[None]:
    """Let weights on a CPU be quantised to 4 bits in less time, inside the block; to equal bits.

    All threads of the process have it so meanwhile.
    """
    if torch.get_num_threads() > _MANY_THREADS:
        yield
        return
    library: Any = torch.library.Library("bitsandbytes", "IMPL")  # type: ignore[no-untyped-call]
    library.impl("quantize_4bit", _quantised, "CPU")
    try:
        yield
    finally:
        del library  # and what it has put in the place of bitsandbytes' own


def _quantised(
    values: torch.Tensor, block: int, kind: str, storage: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return packed weights (bytes, 1) and scales (blocks,), as bitsandbytes' operation does."""
    code = bnb.functional.get_4bit_type(kind, device="cpu")
    packed, scales = nearest_codes(values, code, block)
    return packed.view(storage).unsqueeze(1), scales


class _UnchangedLinear(bnb.nn.Linear4bit):  # type: ignore[misc]  # bitsandbytes is not typed
    """A 4-bit layer that no product changes; it may have its weight unpacked beside it.

    `restored` (out, in) is no parameter and no buffer: hashed, saved and counted is the 4-bit
    weight.
    """

    restored: torch.Tensor | None = None
    blocks: BlockedWeight | None = None  # of `restored`, where products profit

    def restored_product(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the product (..., out) of inputs (..., in) in the dtype of products."""
        assert self.restored is not None
        bias = None if self.bias is None else self.bias.to(inputs.dtype)
        learns = inputs.requires_grad or (bias is not None and bias.requires_grad)
        if self.blocks is not None and not (learns and torch.is_grad_enabled()):
            return self.blocks.product(inputs, bias)
        return product(inputs, self.restored, bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the product (..., out) of inputs (..., in), in the inputs' dtype."""
        dtype, restored, weight = self.compute_dtype, self.restored, self.weight
        inputs = x.to(dtype)
        if restored is not None and restored.dtype == dtype:  # the probe asks for another for once
            return self.restored_product(inputs).to(x.dtype)
        bias = None if self.bias is None else self.bias.to(dtype)
        made: torch.Tensor
        if inputs.device.type == "cpu":
            made = frozen_product(inputs, partial(_unpacked, self), bias)
        else:
            made = bnb.matmul_4bit(inputs, weight, bias=bias, quant_state=weight.quant_state)
        return made.to(x.dtype)


def keep_unchanged(model: torch.nn.Module) -> None:
    """Let no product change a 4-bit layer (see the module docstring)."""
    for layer in _four_bit_layers(model):
        layer.__class__ = _UnchangedLinear


class DirectProducts:
    """The products of several 4-bit layers with the same inputs, without what surrounds them."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self._layers = layers

    def __call__(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return each layer's outputs (..., out) of inputs (..., in)."""
        if not all(map(_is_untouched, self._layers)):
            return [layer(x) for layer in self._layers]
        inputs = x.to(self._layers[0].compute_dtype)
        return [layer.restored_product(inputs).to(x.dtype) for layer in self._layers]


def _is_untouched(layer: Any) -> bool:
    """Return whether a layer would multiply with its unpacked weight and do nothing else."""
    return (
        isinstance(layer, _UnchangedLinear)
        and not layer._forward_hooks
        and not layer._forward_pre_hooks
        and "forward" not in layer.__dict__  # see `restored_products`
        and layer.restored is not None  # see `unpacked_anew`
        and layer.compute_dtype == layer.restored.dtype
    )


def restored_size(model: torch.nn.Module, dtype: torch.dtype) -> int:
    """Return the bytes that `keep_restored` would take for products in a dtype."""
    size = 0
    for layer in _four_bit_layers(model):
        shape, device = layer.weight.quant_state.shape, layer.weight.device.type
        size += shape.numel() * dtype.itemsize * (2 if can_block(device, dtype, shape) else 1)
    return size


def keep_restored(model: torch.nn.Module) -> None:
    """Let 4-bit layers keep their weights unpacked, in the dtype of their products."""
    for layer in _four_bit_layers(model):
        weight = layer.restored = _unpacked(layer)
        if can_block(weight.device.type, weight.dtype, weight.shape):
            layer.blocks = BlockedWeight(weight)


def _unpacked(layer: Any) -> torch.Tensor:
    """Return a 4-bit layer's weight (out, in) in the dtype of its products."""
    state = copy(layer.weight.quant_state)  # others may read the layer's own meanwhile
    state.dtype = layer.compute_dtype  # what it is restored to
    found: torch.Tensor = bnb.functional.dequantize_4bit(layer.weight.data, state)
    return found


def restored_bytes(model: torch.nn.Module) -> int:
    """Return the memory of weights that are kept unpacked beside the base."""
    kept = [layer for layer in _four_bit_layers(model) if layer.restored is not None]
    return sum(int(layer.restored.nbytes) * (2 if layer.blocks else 1) for layer in kept)


@contextmanager
def unpacked_anew(model: torch.nn.Module) -> Iterator[None]:
    """Let 4-bit layers unpack their weights for every product, inside the block."""
    layers = _four_bit_layers(model)
    kept = [layer.restored for layer in layers]
    for layer in layers:
        layer.restored = None
    try:
        yield
    finally:
        for layer, weight in zip(layers, kept, strict=True):
            layer.restored = weight


def _four_bit_layers(model: torch.nn.Module) -> list[Any]:
    return [layer for layer in model.modules() if isinstance(layer, bnb.nn.Linear4bit)]


@contextmanager
def exact_products(model: torch.nn.Module) -> Iterator[None]:
    """Let 4-bit layers multiply in the dtype of all the rest, inside the block."""
    layers = _four_bit_layers(model)
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
        for part in (tensor.data, *quantisation_tensors(tensor)):
            sha.update(
                part.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            )
    for scales in _int8_scales(model):
        sha.update(scales.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()


def footprint_bytes(model: torch.nn.Module) -> int:
    """Return the memory of all parameters, buffers and quantisation states, each counted once."""
    tensors = [*model.parameters(), *model.buffers()]
    tensors += [part for tensor in model.parameters() for part in quantisation_tensors(tensor)]
    tensors += _int8_scales(model)
    unique = {tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in tensors}
    return sum(unique.values())


def quantisation_tensors(parameter: torch.Tensor) -> list[torch.Tensor]:
    """Return the scales and tables of a 4-bit weight; none of another one."""
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


def unquantised_words(model: PreTrainedModel) -> str:
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


def check_quantisation(device: str) -> str:
    """Return whether NF4 works here: a matrix is quantised and restored on a device."""
    weight = torch.linspace(-1, 1, 4096, device=device).reshape(64, 64)
    try:
        packed, state = bnb.functional.quantize_4bit(weight, quant_type="nf4")
        restored = bnb.functional.dequantize_4bit(packed, state)
    except (RuntimeError, NotImplementedError) as error:
        return f"do not work on {device}: {error}. Use precision bf16 or fp32."
    gap = float((restored - weight).abs().max())
    return f"work on {device} (largest rounding of NF4 on [-1, 1]: {gap:.2f})"
