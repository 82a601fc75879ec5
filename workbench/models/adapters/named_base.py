"""Whether an adapter's file names the base it is used on; equal shapes do not make equal bases."""

import re

from workbench.models.catalog import hub_id_of

_SNAPSHOT = re.compile(r"models--([^/]+?)--([^/]+)/snapshots/")  # a place in the Hub's cache


def caution_of_base(named: str, base: str) -> tuple[str, ...]:
    """Return a caution, to follow a name, if an adapter was trained on another base; else nothing.

    Ids are compared whole; of folders only the last part says something.

    Args:
        named: What the adapter's file says it was trained on; may be empty.
        base: Name of the base it is used on.
    """
    theirs, ours = _parts(named), _parts(hub_id_of(base))
    both_ids = len(theirs) == len(ours) == 2
    if not theirs or not ours or theirs == ours or (not both_ids and theirs[-1] == ours[-1]):
        return ()
    return (
        f"the adapter's file says that it was trained on {named}, and here it changes {base}. The "
        "sizes fit, but an adapter says little on another base than its own.",
    )


def _parts(name: str) -> list[str]:
    """Return owner and name of an id, or of a folder its last part, in lower case."""
    path = name.replace("\\", "/").casefold()
    if found := _SNAPSHOT.search(path):
        return [*found.groups()]
    parts = [part for part in path.split("/") if part]
    is_id = len(parts) == 2 and path[0] not in "/~." and ":" not in path
    return parts if is_id else parts[-1:]
