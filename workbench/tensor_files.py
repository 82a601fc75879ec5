"""Files of tensors: whole or not at all, the same bytes for the same content, and sealed.

They are in safetensors format, and their metadata has a digest of everything else in the file.
Readers elsewhere pass over it; a file without one (made elsewhere, or before it was written) is
read as it is.

Format: https://huggingface.co/docs/safetensors, section "Format": 8 bytes of length, a header in
JSON, and the tensors' bytes one after the other.
"""

import hashlib
import mmap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open

from workbench.atomic import explained, is_about_space, parse_json, replacing, sorted_json
from workbench.errors import DamagedFile, StoreError

_DIGEST = "content_sha256"  # in the metadata
_METADATA = "__metadata__"
_LENGTH_BYTES = 8
_ALIGNMENT = 8  # of the tensors' bytes, as safetensors itself has it
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


class TensorFile(Protocol):
    """An open file of tensors."""

    def metadata(self) -> dict[str, str]:
        """Return the texts beside the tensors."""

    def keys(self) -> list[str]:
        """Return the tensors' names."""

    def get_tensor(self, name: str) -> torch.Tensor:
        """Return a tensor, on the CPU."""


def write_tensors(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    keep: Path | None = None,
) -> None:
    """Write tensors whole or not at all, with a digest over all of the file.

    The bytes follow from names, types, shapes, numbers and metadata alone, whatever order they are
    given in.

    Args:
        path: The file; its folder is made if it is not there.
        tensors: By name, on any device.
        metadata: Texts beside them; PEFT and transformers look for {"format": "pt"}.
        keep: Where the file that was there goes; None drops it. On a full disk what is there
            already makes room.

    Raises:
        StoreError: no space left, or no permission.
    """
    try:
        _write(path, tensors, metadata, keep)
    except StoreError as error:
        # The last one is still there, so the one before may give its space.
        if not (is_about_space(error) and keep is not None and keep.is_file() and path.is_file()):
            raise
        with explained(keep):
            keep.unlink()
        _write(path, tensors, metadata, keep)


@contextmanager
def open_tensors(path: Path, *, needs_digest: bool = False) -> Iterator[TensorFile]:
    """Open a file of tensors after its content was held against its digest, if it has one.

    Args:
        path: The file.
        needs_digest: Refuse a file without one: it is none that `write_tensors` wrote.

    Raises:
        DamagedFile: missing, torn, or not what was written.
    """
    try:
        with (
            path.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            has_digest = is_sealed(content)
        stored = safe_open(path, framework="pt")
    except (OSError, ValueError, SafetensorError) as error:
        raise DamagedFile(f"{path.name} cannot be read ({_short(error)})") from error
    if needs_digest and not has_digest:
        raise DamagedFile(f"{path.name} has no digest")
    with stored as opened:
        yield opened


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file by name, on the CPU, after its digest was checked if it has one.

    Raises:
        DamagedFile: missing, torn, or not what was written.
    """
    with open_tensors(path) as stored:
        return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118


def is_sealed(content: "bytes | mmap.mmap") -> bool:
    """Return whether a safetensors file has a digest, after it was held against the content.

    Raises:
        ValueError: the content is not what the digest was made of, or there is no header.
    """
    size = int.from_bytes(content[:_LENGTH_BYTES], "little")
    begin = _LENGTH_BYTES + size
    if begin > len(content):
        raise ValueError(f"{len(content)} bytes, of which its header claims {size}")
    header = parse_json(content[_LENGTH_BYTES:begin])
    metadata = header.pop(_METADATA, None) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or _DIGEST not in metadata:
        return False
    digest = metadata.pop(_DIGEST)
    sha = hashlib.sha256(_header_bytes(header, metadata))
    with memoryview(content) as view, view[begin:] as data:
        sha.update(data)
    if sha.hexdigest() != digest:
        raise ValueError("its content is not what was written")
    return True


def _write(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str] | None,
    keep: Path | None,
) -> None:
    """Write tensors; each is fetched once, so the digest takes its place when all are written."""
    header: dict[str, Any] = {}
    begin = 0
    # The widest numbers first, so that each tensor begins at a multiple of its own width.
    ordered = sorted(tensors.items(), key=lambda one: (-one[1].element_size(), one[0]))
    for name, tensor in ordered:
        end = begin + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    kept = {"format": "pt"} if metadata is None else dict(metadata)
    sha = hashlib.sha256(_header_bytes(header, kept))
    unsealed = _header_bytes(header, kept | {_DIGEST: sha.hexdigest()})  # as long as the sealed
    with replacing(path, _LENGTH_BYTES + len(unsealed) + begin, keep=keep) as stream:
        stream.write(len(unsealed).to_bytes(_LENGTH_BYTES, "little") + unsealed)
        for _, tensor in ordered:
            content = _bytes_of(tensor)
            sha.update(content)
            stream.write(content)
        stream.seek(_LENGTH_BYTES)
        stream.write(_header_bytes(header, kept | {_DIGEST: sha.hexdigest()}))


def _header_bytes(header: Mapping[str, Any], metadata: Mapping[str, str]) -> bytes:
    content = sorted_json({**header, _METADATA: metadata}, separators=(",", ":")).encode()
    return content + b" " * (-len(content) % _ALIGNMENT)


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def _short(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)[:120]
