"""What can be fuzzed: a function of bytes, what it is fed first, and how its inputs are changed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from random import Random

from fuzz.mutation import Mutation, changed_parts, mutated

CORPUS = Path(__file__).with_name("corpus")
_MARK = b"\n#### "  # begins the line that names the next file of several in one


@dataclass(frozen=True)
class Target:
    """A reader of foreign bytes.

    Attributes:
        name: Also the folder of the inputs that were once too much for it.
        read: Reads an input; the folder is empty and its own.
        seeds: Inputs it takes, made anew each time.
        own: Changes that keep to the form of its inputs.
        share: Of the time, beside the others.
    """

    name: str
    read: Callable[[bytes, Path], None]
    seeds: Callable[[], Sequence[bytes]]
    own: Sequence[Mutation] = ()
    share: float = 1.0

    @cached_property
    def kept(self) -> dict[str, bytes]:
        """Inputs that were once too much, by the names of their files."""
        return {p.name: p.read_bytes() for p in sorted((CORPUS / self.name).glob("*"))}

    @cached_property
    def known(self) -> Sequence[bytes]:
        """All inputs to begin with."""
        return [*self.seeds(), *self.kept.values()]

    def drawn(self, draw: Random, start: bytes | None = None) -> bytes:
        """Return a new input, made of a known one unless another is given."""
        begin = draw.choice(self.known) if start is None else start
        return mutated(begin, draw, own=self.own, seeds=self.known)


def joined(parts: Mapping[str, bytes]) -> bytes:
    """Return several files as one input."""
    return b"".join(_MARK[1:] + n.encode() + b"\n" + c + b"\n" for n, c in parts.items())


def split(content: bytes) -> dict[str, bytes]:
    """Return the files of an input, by name."""
    parts = {}
    for part in (b"\n" + content.removesuffix(b"\n")).split(_MARK)[1:]:
        name, _, body = part.partition(b"\n")
        parts[name.decode("ascii", "replace")] = body
    return parts


def written(content: bytes, folder: Path, names: Sequence[str]) -> None:
    """Write the files of an input that have one of these names."""
    for name, body in split(content).items():
        if name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)


several: Mutation = partial(changed_parts, split=split, join=joined)
"""Changes one file of several in one input."""
