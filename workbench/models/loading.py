"""Load one base model in one precision, frozen, ready for inference and for gradients."""

from dataclasses import dataclass
from typing import Literal

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
from workbench.models.products import use_own_products
from workbench.models.quantised_layers import (
    footprint_bytes,
    keep_restored,
    keep_unchanged,
    quick_quantising,
    restored_bytes,
    restored_size,
    unquantised_words,
)
from workbench.models.weights import WeightSource, find_weights
from workbench.models.weights_in_memory import (
    WeightsInMemory,
    check_weights_in_memory,
    choose_weights,
    one_process,
)

PRECISIONS: tuple[Precision, ...] = (
    "nf4",
    "nf4-single",
    "fp4",
    "fp4-single",
    "int8",
    "bf16",
    "fp32",
)
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
        restored_bytes: Memory of 4-bit weights kept unpacked beside them, for speed alone.
        restored_reason: Why they are kept so, or are not.
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
    restored_bytes: int = 0
    restored_reason: str = ""

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
    weights_in_memory: WeightsInMemory = "auto",
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
        weights_in_memory: "restored" keeps 4-bit weights unpacked beside themselves, in the dtype
            of products: the same values, so the same numbers on a CPU, several times faster.
            "auto" does so where there is room, see `workbench.models.weights_in_memory`.

    Raises:
        ConfigError: unknown precision or base model.
        ModelError: weights not found, or not a causal language model.
    """
    known = check_precision(precision)
    weights = find_weights(name, revision)
    return load_weights(
        weights,
        name=name,
        precision=known,
        compute_dtype=compute_dtype,
        device=device,
        weights_in_memory=weights_in_memory,
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
    weights_in_memory: WeightsInMemory = "auto",
) -> LoadedBase:
    """Return the base whose files are in `weights.folder`; see `load_base`."""
    target = device_of(device)
    check_weights_in_memory(weights_in_memory)
    compute, why = products_dtype(compute_dtype, precision, target)
    title = f"model '{name}' ({weights.source})"
    model, tokenizer = _read(weights, title, precision, compute, target)
    with one_process() as is_turn:
        size = restored_size(model, compute)
        kept = choose_weights(weights_in_memory, target, size, is_turn=is_turn)
        if kept.is_restored:
            keep_restored(model)
    is_quantised = precision not in ("bf16", "fp32")
    info = BaseInfo(
        name=name,
        source=weights.source + (unquantised_words(model) if is_quantised else ""),
        identity=weights.identity,
        precision=precision,
        compute_dtype=_name(compute),
        compute_reason=why,
        device=target,
        num_parameters=model.num_parameters(),
        footprint_bytes=footprint_bytes(model),
        context_length=context_length(model.config.get_text_config()),
        restored_bytes=restored_bytes(model),
        restored_reason=kept.reason,
    )
    return LoadedBase(model, tokenizer, info)


def _read(
    weights: WeightSource, title: str, precision: Precision, compute: torch.dtype, device: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return model and tokenizer of a folder: quantised, frozen, checked against the files."""
    quantization = _quantization(precision, compute)
    storage = _storage_dtype(precision, compute, device)
    check_folder(weights.folder, title)
    try:
        config = AutoConfig.from_pretrained(weights.folder, trust_remote_code=False)
        check_can_run(config, title)
        attention = attention_for(config)
        check_weight_files(weights.folder, title)
        with LOADING, quick_quantising():
            model, found = AutoModelForCausalLM.from_pretrained(
                weights.folder,
                quantization_config=quantization,
                # Quantised from what the files say: rounded to 16 bits first, it is another base.
                dtype=storage if quantization is None else torch.float32,
                device_map={"": device} if device != "cpu" else None,
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
    keep_unchanged(model)
    use_own_products(model)
    _store_in(storage, model)
    if device == "cpu" or attention == "eager":
        use_grouped_attention(model)
    return model, tokenizer


def _store_in(dtype: torch.dtype, model: torch.nn.Module) -> None:
    """Bring what is not quantised, and what 4-bit weights are restored to, into one dtype.

    Plain tensors are copied out of the weight file, which would stay mapped as a whole.
    """
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        if state is not None:
            state.dtype = dtype  # what bitsandbytes restores to, products of ours aside
        elif type(parameter) is torch.nn.Parameter:
            is_mapped = parameter.device.type == "cpu"
            parameter.data = parameter.data.to(dtype, copy=is_mapped)


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
