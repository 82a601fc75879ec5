"""What has to be equal of two folders of one comparison, and what is a matter of time."""

import json
from collections.abc import Iterator
from pathlib import Path

TIMES = {"created", "digest", "train_seconds", "milliseconds_per_item", "peak_memory_bytes"}


def without_times(value: object) -> object:
    """Return the content of a report, the times and what measures them left out."""
    if isinstance(value, dict):
        return {key: without_times(one) for key, one in value.items() if key not in TIMES}
    return [without_times(one) for one in value] if isinstance(value, list) else value


def differences(found: object, wanted: object, where: str = "") -> Iterator[str]:
    """Yield where two reports differ, and what they say there."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted({*found, *wanted}):
            yield from differences(found.get(key), wanted.get(key), f"{where}.{key}")
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
            yield from differences(one, other, f"{where}[{number}]")
    elif found != wanted:
        yield f"{where}: {found!r}, not {wanted!r}"


def learned(out: Path) -> dict[str, bytes]:
    """Return predictions and adapters of all runs below a folder."""
    names = ("predictions.jsonl", "adapter_model.safetensors")
    return {
        str(path.relative_to(out)): path.read_bytes() for name in names for path in out.rglob(name)
    }


def assert_equal(there: Path, here: Path) -> None:
    """Hold a comparison that a cluster made against that of one process."""
    assert learned(there) == learned(here) != {}
    found, wanted = (json.loads((out / "report.json").read_text()) for out in (there, here))
    differing = list(differences(without_times(found), without_times(wanted)))
    assert not differing, "\n".join(differing)
    assert names(there) == names(here)


def names(out: Path) -> list[str]:
    """Return what lies in a folder, the marks of killed drivers left out."""
    return sorted(path.name for path in out.iterdir() if not path.name.startswith(".shared-"))
