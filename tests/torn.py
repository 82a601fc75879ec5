"""Ways a file can be damaged, for tests that damage files of every kind."""

import os
from collections.abc import Callable
from pathlib import Path


def flip(path: Path, place: float, bit: int = 0) -> None:
    """Flip one bit of a file, its size and time of change kept as on a disk that forgets.

    Args:
        path: The file.
        place: Which byte: 0 is the first, 1 the last.
        bit: Which of its eight; the lowest turns a digit into its neighbour.
    """
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[round(place * (len(content) - 1))] ^= 1 << bit
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "something").write_text("of somebody")


def _link_nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "nowhere")


def _link_elsewhere(path: Path) -> None:
    """Let another file of the same kind, damaged in its middle, take the place of a file."""
    other = path.with_name(f"other-{path.name}.kept")
    path.rename(other)
    flip(other, 0.5)
    path.symlink_to(other)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "cut to half": _cut,
    "empty": _empty,
    "missing": Path.unlink,
    "a folder in its place": _make_folder,
    "a link to nowhere": _link_nowhere,
    "a link to a damaged file": _link_elsewhere,
    "a bit at the start": lambda path: flip(path, 0.001),
    "a bit in the middle": lambda path: flip(path, 0.5),
    "a bit at the end": lambda path: flip(path, 0.97),
    "a high bit": lambda path: flip(path, 0.6, bit=7),
}
