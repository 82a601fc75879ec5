"""The readings by name, in the order they are shown. To add one: its file, and one line here."""

from collections.abc import Mapping

from workbench.options import check_options, named_class
from workbench.readings.base import Kind, Reader

READERS = {
    "nearest": "workbench.readings.nearest:NearestTokens",
    "map": "workbench.readings.map:VocabularyMap",
    "clusters": "workbench.readings.clusters:Clusters",
    "ablation": "workbench.readings.ablation:Ablation",
    "truncation": "workbench.readings.truncation:Truncation",
    "attention": "workbench.readings.attention:AttentionMass",
    "lens": "workbench.readings.lens:LogitLens",
    "rounding": "workbench.readings.rounding:Rounding",
    "verbalisation": "workbench.readings.verbalisation:Verbalisation",
    "similarity": "workbench.readings.similarity:Similarity",
    "interpolation": "workbench.readings.interpolation:Interpolation",
    "weights": "workbench.readings.weights:WeightChanges",
}


def reader_class(name: str) -> type[Reader]:
    """Return the class of a reading.

    Raises:
        ConfigError: unknown name.
    """
    found: type[Reader] = named_class(READERS, name, what="reading", where="readings")
    return found


def make_reader(name: str, options: Mapping[str, object] | None = None) -> Reader:
    """Return a reading with its options checked and the defaults filled in.

    Raises:
        ConfigError: unknown reading, unknown option, wrong type or value out of bounds.
    """
    found = reader_class(name)
    return found(**check_options(found, options or {}, where=f"readings.{name}"))


def readers_of(kind: Kind) -> list[str]:
    """Return the names of the readings of soft prompts, or of weight changes."""
    return [name for name in READERS if reader_class(name).kind == kind]
