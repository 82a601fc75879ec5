"""Claims on something shared: small files, numbered in the order in which it was taken.

A lease (`workbench/runs/lease.py`) needs no more of a store than these five things, so that it is
the same on a shared folder and at an address.
"""

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from workbench.atomic import explained

_CLAIM = re.compile(r"\d{7}")


def claim_name(number: int) -> str:
    """Return the name of a claim by its number."""
    return f"{number:07d}"


def is_claim(name: str) -> bool:
    """Return whether a file has the name of a claim."""
    return _CLAIM.fullmatch(name) is not None


class Claims(Protocol):
    """Where the claims on one thing are; every method raises `StoreError` where that fails."""

    def names(self) -> list[str]:
        """Return the names of all claims, in order, as the store has them now."""

    def read(self, name: str) -> bytes | None:
        """Return what a claim says; None if there is none of that name."""

    def create(self, name: str, content: bytes) -> bool:
        """Make a claim, unless there is one of that name; return whether it was made."""

    def write(self, name: str, content: bytes) -> None:
        """Let a claim say something else, in one step."""

    def remove(self, name: str) -> None:
        """Remove a claim, if it is there."""

    def settle(self, name: str, content: bytes, seconds: float) -> bool:
        """Return whether a claim just made is surely the only one of its name.

        Args:
            name: Of the claim.
            content: What it says.
            seconds: How long to wait where the store itself does not refuse a second one.
        """


class FolderClaims:
    """Claims in a folder of their own, which several machines may see.

    Exclusive creation, renaming and reading what another machine has closed are atomic on every
    shared file system worth the name, NFS from version 3 on included. A claim is renewed by
    renaming a file onto it: readers never see half of it, and because the folder is changed by it,
    this machine does not answer the listing that follows from what it remembers.

    Args:
        folder: The folder; made with the first claim and removed with the last.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def is_there(self) -> bool:
        """Return whether anybody has a claim, or left one behind."""
        return self._folder.is_dir()

    def names(self) -> list[str]:
        """Return the names of all claims, in order."""
        with explained(self._folder):
            try:
                return sorted(name for name in os.listdir(self._folder) if is_claim(name))
            except (FileNotFoundError, NotADirectoryError):
                return []

    def read(self, name: str) -> bytes | None:
        """Return what a claim says; None if there is none of that name."""
        with explained(self._folder / name):
            try:
                return (self._folder / name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def create(self, name: str, content: bytes) -> bool:
        """Make a claim, unless there is one of that name."""
        with explained(self._folder / name):
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                with (self._folder / name).open("xb") as stream:
                    stream.write(content)
            except (FileExistsError, FileNotFoundError):  # or the folder went with its last claim
                return False
        return True

    def write(self, name: str, content: bytes) -> None:
        """Let a claim say something else, in one step."""
        scratch = self._folder / f".{name}.{secrets.token_hex(4)}"
        with explained(self._folder / name):
            try:
                scratch.write_bytes(content)
                scratch.replace(self._folder / name)
            finally:
                scratch.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove a claim, and with the last one the folder."""
        with explained(self._folder / name):
            (self._folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # other claims are there
            self._folder.rmdir()

    def settle(self, name: str, content: bytes, seconds: float) -> bool:
        """Return True: the file system makes no file twice."""
        return True
