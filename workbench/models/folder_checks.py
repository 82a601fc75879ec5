"""What a model folder must be before its numbers can be believed.

transformers loads more than it should: what a file lacks becomes random numbers, what a file has
too much is left out, an adapter beside the model is applied, and weights that are quantised already
stay so whatever is asked for. It says so in a log at most; here each is one error that names what
and where.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from workbench.atomic import parse_json
from workbench.errors import ModelError, some_of
from workbench.models.control_tokens import control_tokens

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_POINTER = b"version https://git-lfs"
# Old checkpoints carry masks and frequencies, which newer models compute.
_BUFFERS = re.compile(
    r"rotary_emb\.inv_freq$|\.attn(\.attention)?\.bias$|\.(attn|attention)\.masked_bias$"
)


def check_folder(folder: Path, title: str) -> None:
    """Look at what lies in a model folder, weights left out, before anything is loaded.

    Args:
        folder: Local folder with config, tokenizer and safetensors.
        title: Names the base at the start of a message.

    Raises:
        ModelError: a file is a pointer of Git LFS or torn; the weights are quantised already; an
            adapter lies beside the model.
    """
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in {".json", ".safetensors", ".model"}:
            with path.open("rb") as stream:
                is_pointer = stream.read(len(_POINTER)) == _POINTER
            if is_pointer:
                raise ModelError(
                    f"{title}: {path.name} is a pointer of Git LFS, not the file itself. Run "
                    "'git lfs pull' in the folder, or download the model again."
                )
    for name in ("config.json", "tokenizer.json"):
        _read_json(folder / name, title)
    check_unquantised(_read_json(folder / "config.json", title), title)
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"{title}: adapter_config.json lies beside the model, so it is unclear whether the "
            "model with or without the adapter is meant. Move the adapter's files to a folder of "
            "its own, from where it can be imported, or merge it into the model first."
        )


def check_weight_files(folder: Path, title: str) -> None:
    """Read the weights once: whole, and numbers throughout.

    Raises:
        ModelError: a file is missing or torn, or a weight is not finite.
    """
    try:
        files = weight_files(folder)
    except ValueError as error:
        raise _torn(folder / INDEX, error, title) from error
    for path in files:
        _check_tensors(path, title)


class BareExceptions:
    """Turns the bare `Exception` of the tokenizers library, and no other error, into a ValueError.

    Raises:
        ValueError: the library could not read a file.
    """

    def __enter__(self) -> None:
        """Do nothing yet."""

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is Exception:
            raise ValueError(f"its tokenizer cannot be read ({error})")


def open_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a folder.

    Raises:
        ValueError: a file of it is torn; other errors as transformers has them.
    """
    with BareExceptions():
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False
        )
    return tokenizer


def check_unquantised(config: Mapping[str, object], title: str) -> None:
    """Look whether a config says that its weights are quantised.

    Raises:
        ModelError: they are.
    """
    inner = [value for value in config.values() if isinstance(value, dict)]
    for part in (config, *inner):
        quantisation = part.get("quantization_config")
        if isinstance(quantisation, dict) and quantisation:
            method = quantisation.get("quant_method") or "bitsandbytes"
            raise ModelError(
                f"{title}: its weights are quantised already by {method}, as its config.json says "
                "(quantization_config), and would stay so in every precision. Use the model as it "
                "was before, in 16 or 32 bits; the workbench quantises it itself (--precision)."
            )


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files that make up the model; others may lie beside them.

    Raises:
        ValueError: the index of several files is no JSON, or names none.
    """
    single, index = folder / SINGLE, folder / INDEX
    if single.is_file():
        return [single]
    if not index.is_file():
        return []
    try:
        content = parse_json(index.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    files = content.get("weight_map") if isinstance(content, dict) else None
    names = list(files.values()) if isinstance(files, dict) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError("no file under weight_map")
    if others := [name for name in names if Path(name).name != name or not name.isprintable()]:
        raise ValueError(f"weight_map names {others[0][:80]!r}, which is no file of the folder")
    return sorted({folder / name for name in names})


def check_loaded(
    model: PreTrainedModel, found: Mapping[str, Collection[object]], title: str
) -> None:
    """Compare what was loaded with what the folder held.

    Args:
        model: The model as transformers made it.
        found: What `from_pretrained` returns with `output_loading_info`. What a model's class
            declares harmless, and heads that are tied to the embedding, are not in it.
        title: Names the base at the start of a message.

    Raises:
        ModelError: weights are missing, left over or of another shape.
    """
    missing = sorted(map(str, found["missing_keys"]))
    extra = sorted(name for name in map(str, found["unexpected_keys"]) if not _BUFFERS.search(name))
    reshaped = sorted(_shapes(entry) for entry in found["mismatched_keys"])
    errors = [str(message) for message in found["error_msgs"]]
    parts = [
        f"{len(names)} {one if len(names) == 1 else several}: {some_of(names)}"
        for one, several, names in (
            ("weight is missing in its files", "weights are missing in its files", missing),
            (
                "weight in its files has no place in it",
                "weights in its files have no place in it",
                extra,
            ),
            (
                "weight has another shape in its files than in its config",
                "weights have another shape in its files than in its config",
                reshaped,
            ),
            ("weight cannot be read", "weights cannot be read", errors),
        )
        if names
    ]
    if parts:
        risk = "What is missing would be random numbers. " if missing or reshaped else ""
        raise ModelError(
            f"{title}: is not the {type(model).__name__} that its config.json describes. "
            f"{'; '.join(parts)}. {risk}Use a folder with the weights of a causal language model, "
            "all of them and no others, and the config they were saved with."
        )


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, title: str) -> None:
    """Compare the ids that the tokenizer gives for texts with the rows of the embedding.

    Control tokens are in no text. Some models have one that stands for a picture and has no row; a
    prompt that writes it is refused when it is run.

    Raises:
        ModelError: there are tokens that the embedding has no row for.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    beyond = {number: text for text, number in tokenizer.get_vocab().items() if number >= rows}
    around = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}
    in_texts = (beyond.keys() - control_tokens(tokenizer).added.keys()) | (beyond.keys() & around)
    if not in_texts:
        return
    names = some_of([f"'{beyond[number]}' ({number})" for number in sorted(in_texts)])
    raise ModelError(
        f"{title}: its tokenizer has ids up to {max(beyond)}, but its embedding has only {rows} "
        f"rows, and texts can reach {names}. Tokenizer and weights are of two models, or the "
        "embedding was not enlarged after tokens were added: use the tokenizer that the weights "
        "were trained with."
    )


def _read_json(path: Path, title: str) -> dict[str, object]:
    if not path.is_file():
        return {}
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _torn(path, error, title) from error
    return content if isinstance(content, dict) else {}


def _torn(path: Path, error: Exception, title: str) -> ModelError:
    return ModelError(
        f"{title}: {path.name} is torn or not what its name says ({error}). Download or copy it "
        "again."
    )


def _check_tensors(path: Path, title: str) -> None:
    """Read a weight file once: whole, and numbers throughout."""
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  it is no mapping
                if _BUFFERS.search(name):  # a mask's lowest number is infinite in 16 bits
                    continue
                tensor = file.get_tensor(name)
                if tensor.is_floating_point() and tensor.itemsize > 1 and tensor.numel():
                    low, high = torch.aminmax(tensor)  # either is NaN where the tensor has one
                    if not (low.isfinite() and high.isfinite()):
                        raise ModelError(
                            f"{title}: {name} in {path.name} is not finite (NaN or infinite), so "
                            "nothing the model computes would be a number. Download or save the "
                            "weights again."
                        )
    except FileNotFoundError as error:
        raise ModelError(
            f"{title}: {path.name}, which {INDEX} names, is missing. Download it again."
        ) from error
    except (OSError, SafetensorError) as error:  # a folder of that name is the former
        raise ModelError(
            f"{title}: {path.name} is not whole ({error}). Download or copy it again."
        ) from error


def _shapes(entry: object) -> str:
    """Return a mismatch, (name, shape in the file, shape in the model), as words."""
    if not isinstance(entry, tuple):
        return str(entry)
    name, in_file, in_model = entry
    return f"{name} ({list(in_file)} instead of {list(in_model)})"
