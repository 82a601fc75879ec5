"""How much memory is free: on the machine, and in the container where that has a limit of its own.

A container's limit is not what the system says is free: a process that goes beyond it is killed
while the machine has plenty. Linux states it for each control group of a process and the groups
around it, in the files of version 2 (`memory.max`, https://docs.kernel.org/admin-guide/cgroup-v2.html)
or of version 1 (`memory.limit_in_bytes`).
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import psutil


class _Files(NamedTuple):
    """Where one version of control groups says what; the last is what can be taken back."""

    root: str
    limit: str
    used: str
    reclaimable: str


_VERSION_2 = _Files("", "memory.max", "memory.current", "inactive_file")
_VERSION_1 = _Files(
    "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
)


def free_memory(
    groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> int:
    """Return the bytes that this process can still take.

    Args:
        groups: Where control groups are mounted.
        own: Names the groups of this process.
    """
    return min([psutil.virtual_memory().available, *_left_in_groups(groups, own)])


def _left_in_groups(groups: Path, own: Path) -> Iterator[int]:
    """Yield what the limit of each group of this process leaves; what is cached of files counts.

    In a container the groups may be mounted so that its own is the root, whatever it is called
    outside: hence the way up, past names that are not there.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        files = _VERSION_1 if controllers else _VERSION_2
        path = PurePosixPath(name.lstrip("/"))
        for group in (path, *path.parents):
            left = _left(groups / files.root / group, files)
            if left is not None:
                yield left


def _left(group: Path, files: _Files) -> int | None:
    """Return what a group's limit leaves; None where it has none, or says none."""
    try:
        limit = int((group / files.limit).read_text())
        used = int((group / files.used).read_text())
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(counts.get(files.reclaimable, 0)))
    except (OSError, ValueError):  # "max", or no such group
        return None
