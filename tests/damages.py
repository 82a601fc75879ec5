"""What can happen to a file that nobody looks after."""

from collections.abc import Callable
from pathlib import Path


def flip(share: float) -> Callable[[Path], None]:
    """Return what flips one bit at a share of a file's length."""

    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        if content:
            content[int(share * (len(content) - 1))] ^= 1
        path.write_bytes(content)

    return damage


def into_folder(path: Path) -> None:
    """Put a folder in a file's place."""
    path.unlink(missing_ok=True)
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "bit in the header": flip(0.02),
    "bit in the middle": flip(0.5),
    "bit at the end": flip(1.0),
    "missing": lambda path: path.unlink(),
    "a folder": into_folder,
}
