"""Whether an adapter's file names the base it is used on; equal shapes do not make equal bases."""

import re

from workbench.models.catalog import hub_id_of

_SNAPSHOT = re.compile(r"models--[^/]+?--([^/]+)/snapshots/")  # a place in the Hub's cache
# Unsloth's copies packed for loading; Llamas were renamed by their owner.
_SAME_MODEL = re.compile(r"(-unsloth)?-bnb-4bit$|^meta-(?=llama-)")


def caution_of_base(named: str, base: str) -> tuple[str, ...]:
    """Return a caution, to follow a name, if an adapter was trained on another base; else nothing.

    Models are uploaded again by others under their own names, so owners are not compared.

    Args:
        named: What the adapter's file says it was trained on; may be empty.
        base: Name of the base it is used on.
    """
    theirs, ours = _model(named), _model(hub_id_of(base))
    if not theirs or not ours or theirs == ours:
        return ()
    return (
        f"the adapter's file says that it was trained on {named}, and here it changes {base}. The "
        "sizes fit, but an adapter says little on another base than its own.",
    )


def _model(name: str) -> str:
    """Return the last part of an id or a folder, as all copies of a model have it."""
    path = name.replace("\\", "/").casefold()
    found = _SNAPSHOT.search(path)
    return _SAME_MODEL.sub("", found[1] if found else path.rstrip("/").rpartition("/")[2])
