"""The two files of an adapter made elsewhere, read from a zip or a folder; nothing is unpacked.

Nothing in here trusts what it reads. Names in a zip are compared and shown, never used as a path,
and no more is read than was allowed before. What lies beside the two is never opened; in a zip, a
stranger's gift, it has to be of a kind that training leaves there.
"""

import itertools
import os
import re
import reprlib
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from workbench.errors import ModelError

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"

_FINDER_PREFIX = "._"  # of what macOS adds beside every file it zips
_PASSED_OVER = re.compile(
    r"""
    \.DS_Store | \.git(attributes|ignore|keep) | (LICEN[CS]E | NOTICE)(\.\w+)?
    # Cards, tokenizers, settings, logs and curves.
    | [\w .()+-]+\.(csv|html|jinja|jpe?g|jsonl?|log|md|pdf|png|svg|tiktoken|toml|tsv|txt|ya?ml)
    | (tokenizer|spiece|[\w.]+\.bpe)\.model(\.v\d+)?
    # The state of Trainer, Accelerate and DeepSpeed.
    | (optimizer|scheduler|scaler)\.(pt|bin) | rng_state(_\d+)?\.pth | random_states_\d+\.pkl
    | ((bf|fp)16_)?(zero_pp_rank_\d+_)?mp_rank_\d+_(model|optim)_states\.pt | zero_to_fp32\.py
    | training_args\.bin | completed | latest | events\.out\.tfevents\.[\w.-]+
    """,
    flags=re.ASCII | re.VERBOSE,
)
"""Names of files that may lie beside an adapter in a zip."""
_CHECKPOINT = re.compile(r"checkpoint-\d+")  # a folder of Trainer's, with an older state
_BLOB = re.compile(r"[0-9a-f]{40,64}")  # a file of the Hub's cache, named by its content
_CODE_SUFFIXES = (
    *(".bin", ".ckpt", ".dill", ".h5", ".hdf5", ".joblib", ".keras", ".msgpack", ".npy", ".npz"),
    *(".pickle", ".pkl", ".pt", ".pth", ".py", ".pyc", ".pyd", ".sh", ".so"),
)
_MAX_FILES = 200  # an adapter has two; trainers add a tokenizer, their state and checkpoints
_MAX_CONFIG_BYTES = 64_000  # genuine ones have 1 to 5 kB
_MAX_WEIGHTS_BYTES = 2_000_000_000
_MAX_ZIP_BYTES = 512_000_000  # packed, and unpacked in all
_MAX_RATIO = 200  # of unpacked to packed; deflate reaches 1000, weights hardly 2
_MAX_LISTING_BYTES = 65_536  # of a zip's table of contents; 50 entries need about 5 kB
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120  # characters; the names of modules are long
_END_BYTES, _LOCATOR_BYTES = 22, 20  # of the two records that a zip ends with


@dataclass(frozen=True)
class AdapterFiles:
    """The content of an adapter's two files, not looked into yet.

    Attributes:
        where: What messages call the source.
        config: Content of adapter_config.json.
        weights: Content of adapter_model.safetensors.
    """

    where: str
    config: bytes
    weights: bytes


def read_adapter_files(source: Path) -> AdapterFiles:
    """Return the content of adapter_config.json and adapter_model.safetensors.

    Args:
        source: A folder, or a zip in which the two lie side by side.

    Raises:
        ModelError: not readable, one of the two missing, links, beyond the limits, or, in a zip,
            files of another kind than training leaves.
    """
    if source.is_dir():
        return _read_folder(source)
    if source.suffix.lower() == ".zip" and source.is_file():
        return _read_zip(source)
    raise ModelError(
        f"adapter {source}: is no folder and no .zip file. Give a folder, or a zip, with "
        f"{CONFIG_NAME} and {WEIGHTS_NAME}."
    )


def shown(value: object) -> str:
    """Return a value of a stranger's making as a message shows it: escaped, and not long."""
    return _SHORT.repr(value)


def _read_folder(folder: Path) -> AdapterFiles:
    where = f"adapter folder {folder}"
    with _explained(where), os.scandir(folder) as found:
        entries = sorted(itertools.islice(found, _MAX_FILES + 1), key=lambda entry: entry.name)
    _check_number(where, len(entries))
    links = [entry.name for entry in entries if entry.is_symlink()]
    blobs = {name: blob for name in links if (blob := _blob_of(folder, name))}
    if others := [name for name in links if name not in blobs]:
        raise ModelError(
            f"{where}: {', '.join(map(repr, others))} is a link. Only plain files are read, and "
            "links of the Hub's cache; copy what it points to into the folder."
        )
    files = [e.name for e in entries if e.name in blobs or e.is_file(follow_symlinks=False)]
    folders = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    if pipes := {entry.name for entry in entries} - {*files, *folders}:
        raise ModelError(f"{where}: {sorted(pipes)[0]!r} is no plain file. Take it away.")
    _check_both_there(where, files, folders=folders)
    return AdapterFiles(
        where,
        _read_plain_file(where, blobs.get(CONFIG_NAME, folder / CONFIG_NAME), _MAX_CONFIG_BYTES),
        _read_plain_file(where, blobs.get(WEIGHTS_NAME, folder / WEIGHTS_NAME), _MAX_WEIGHTS_BYTES),
    )


def _blob_of(folder: Path, name: str) -> Path | None:
    """Return the file of the Hub's cache that a link stands for; None for any other link.

    Only `models--x/snapshots/<revision>/…`, and only links into `models--x/blobs` right beside it:
    whoever wrote such a folder wrote those files too.
    """
    try:
        snapshot = folder.resolve(strict=True)
        target = (snapshot / name).readlink()
    except OSError:
        return None
    for root in snapshot.parents:
        if root.name == "snapshots" and root.parent.name.startswith("models--"):
            blob = Path(os.path.normpath(snapshot / target))
            is_in_cache = blob.parent == root.parent / "blobs" and _BLOB.fullmatch(blob.name)
            is_plain = not (blob.parent.is_symlink() or blob.is_symlink()) and blob.is_file()
            return blob if is_in_cache and is_plain else None
    return None


def _read_plain_file(where: str, path: Path, limit: int) -> bytes:
    # A link put in place since the folder was listed is refused by the system.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with _explained(where), os.fdopen(os.open(path, flags), "rb") as stream:
        _check_size(where, path.name, os.fstat(stream.fileno()).st_size, limit)
        content = stream.read(limit + 1)
    _check_size(where, path.name, len(content), limit)
    return content


def _read_zip(source: Path) -> AdapterFiles:
    where = f"adapter zip {source.name}"
    with _explained(where), source.open("rb") as stream:
        _check_listing_size(where, stream)
        with zipfile.ZipFile(stream) as archive:
            config, weights = _chosen_entries(where, archive.infolist())
            return AdapterFiles(where, _unpacked(archive, config), _unpacked(archive, weights))


def _check_listing_size(where: str, stream: BinaryIO) -> None:
    """Bound what listing the zip costs before anything lists it.

    Only the plainest end is accepted: with a comment, or the fields of archives beyond 4 GB, this
    function and `zipfile` could find the end at two different places.
    """
    size = stream.seek(0, os.SEEK_END)
    _check_size(where, "the zip", size, _MAX_ZIP_BYTES)
    stream.seek(max(0, size - _END_BYTES - _LOCATOR_BYTES))
    tail = stream.read()
    end = tail[-_END_BYTES:]
    if end[:4] != b"PK\x05\x06" or end[-2:] != b"\0\0" or tail.startswith(b"PK\x06\x07"):
        raise ModelError(
            f"{where}: is no zip archive, is cut off, or ends in a comment. "
            "Zip the two files again with an ordinary tool."
        )
    if int.from_bytes(end[12:16], "little") > _MAX_LISTING_BYTES:
        raise _too_many_files(where, "thousands of")


def _chosen_entries(
    where: str, entries: Sequence[zipfile.ZipInfo]
) -> tuple[zipfile.ZipInfo, zipfile.ZipInfo]:
    """Return config and weights after looking at every entry of the zip."""
    _check_number(where, len(entries))
    seen = set[str]()
    for entry in entries:
        _check_entry(where, entry)
        name = entry.orig_filename
        if name.casefold() in seen:
            raise ModelError(
                f"{where}: holds {shown(name)} twice. Each name is allowed once; zip the two files "
                "again."
            )
        seen.add(name.casefold())
    _check_size(where, "unpacked, it", sum(entry.file_size for entry in entries), _MAX_ZIP_BYTES)
    files = [entry for entry in entries if not entry.is_dir()]
    older = [e for e in files if any(map(_CHECKPOINT.fullmatch, e.orig_filename.split("/")[:-1]))]
    if len(older) < len(files):  # an older state lies below the adapter itself
        files = [entry for entry in files if entry not in older]
    parents, names = zip(*(_split(entry) for entry in files), strict=True) if files else ((), ())
    _check_both_there(where, names)
    _check_known(where, names)
    config, weights = names.index(CONFIG_NAME), names.index(WEIGHTS_NAME)
    if parents[config] != parents[weights]:
        raise ModelError(
            f"{where}: {CONFIG_NAME} and {WEIGHTS_NAME} lie in different folders. "
            "Zip them side by side."
        )
    _check_size(where, CONFIG_NAME, files[config].file_size, _MAX_CONFIG_BYTES)
    return files[config], files[weights]


def _check_entry(where: str, entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename  # `filename` is cut at a NUL
    parts = name.removesuffix("/").split("/")
    if (
        re.search(r"[\\\0]|^[A-Za-z]:", name)
        or len(name) > 255
        or not {"", ".", ".."}.isdisjoint(parts)
    ):
        problem = "is no plain relative name"
    elif stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        problem = "is a link or a device, not a file"
    elif entry.flag_bits & 0x1:
        problem = "is encrypted"
    elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        problem = "is packed in an unusual way"
    elif entry.file_size > _MAX_RATIO * max(entry.compress_size, 1):
        problem = f"unpacks to more than {_MAX_RATIO} times its size"
    else:
        return
    raise ModelError(
        f"{where}: entry {shown(name)} {problem}. Only plain files are read, stored or deflated, "
        "without a password; zip the two files again."
    )


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    # Without a number, `read` would unpack whatever is there, however small it claims to be.
    with archive.open(entry) as stream:
        content = stream.read(entry.file_size)
    if len(content) != entry.file_size:
        raise EOFError
    return content


def _check_both_there(where: str, names: Sequence[str], *, folders: Sequence[str] = ()) -> None:
    """Refuse one of the two files missing or twice."""
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        if names.count(name) != 1:
            number = "no" if name not in names else "more than one"
            raise ModelError(
                f"{where}: holds {number} {name}. Exactly one {CONFIG_NAME} and one "
                f"{WEIGHTS_NAME} are needed, as PEFT's save_pretrained writes them."
                f"{_instead(names, folders)}"
            )


def _check_known(where: str, names: Sequence[str]) -> None:
    """Refuse what can run code, and what is not known."""
    unknown = [
        name
        for name in dict.fromkeys(names)
        if name not in (CONFIG_NAME, WEIGHTS_NAME)
        and not name.startswith(_FINDER_PREFIX)
        and not _PASSED_OVER.fullmatch(name)
    ]
    if unknown:
        can_run = any(Path(name).suffix.lower() in _CODE_SUFFIXES for name in unknown)
        reason = (
            "Only safetensors are read: weights in pickle formats can run code. " if can_run else ""
        )
        raise ModelError(
            f"{where}: holds {', '.join(map(shown, unknown))}, which no adapter needs. {reason}"
            f"Keep {CONFIG_NAME} and {WEIGHTS_NAME} (cards, tokenizers, logs and a trainer's state "
            "may stay) and leave the rest out."
        )


def _instead(names: Sequence[str], folders: Sequence[str]) -> str:
    """Return what to do where one of the two files is not there, as far as that can be seen."""
    if folders:
        return f" In it are the folders {', '.join(map(shown, folders))}: give the one you mean."
    if "adapter_model.bin" in names or any(n.startswith("adapter_model-") for n in names):
        return (
            " Weights in pickle formats can run code and parts are not put together here: load the "
            "adapter with PEFT and save it again with save_pretrained, which writes one file."
        )
    return ""


def _check_number(where: str, number: int) -> None:
    if number > _MAX_FILES:
        raise _too_many_files(where, f"more than {_MAX_FILES}")


def _too_many_files(where: str, number: str) -> ModelError:
    return ModelError(
        f"{where}: holds {number} files; at most {_MAX_FILES} are looked at. "
        f"Keep {CONFIG_NAME} and {WEIGHTS_NAME} only."
    )


def _check_size(where: str, what: str, size: int, limit: int) -> None:
    if size > limit:
        raise ModelError(
            f"{where}: {what} has {size} bytes; at most {limit} are read. Give an adapter alone, "
            "without the base or a training state."
        )


def _split(entry: zipfile.ZipInfo) -> tuple[str, str]:
    """Return the folder and the last part of an entry's name."""
    folder, _, name = entry.orig_filename.rpartition("/")
    return folder, name


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """Turn everything that can go wrong while a file or a zip is read into a message."""
    try:
        yield
    except OSError as error:
        raise ModelError(
            f"{where}: cannot be read: {error.strerror or error}. Check its permissions."
        ) from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        NotImplementedError,  # what `zipfile` raises for a feature it lacks
        RuntimeError,  # and for a password that only the entry itself mentions
        ValueError,  # and for names and fields it cannot decode
    ) as error:
        raise ModelError(
            f"{where}: is damaged ({type(error).__name__}). Zip or download it again."
        ) from error
