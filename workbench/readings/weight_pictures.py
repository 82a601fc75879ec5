"""How weight changes are shown: figures on a grid of layers and modules, spectra, and a table."""

import re
from collections.abc import Callable, Mapping

import numpy as np

from workbench.presentation.blocks import Cell, Heatmap, Line, Lines, Table
from workbench.readings.vectors.low_rank import LowRank, WeightDecomposition

_LAYER = re.compile(r"(?:.*?\.)?(\d+)\.(.+)", flags=re.ASCII)
NO_LAYER = "-"  # of modules outside the layers, such as the output head


def layer_and_name(module: str) -> tuple[str, str]:
    """Return the layer's number and the name within the layer."""
    match = _LAYER.fullmatch(module)
    return (match[1], match[2]) if match else (NO_LAYER, module)


def norm_chart(shares: Mapping[str, float]) -> Heatmap:
    """Return the size of each module's change, by the norm of the base's weight, as a grid."""
    return module_chart(
        "Size of the change",
        shares,
        high=None,
        note="Norm of the change by the norm of the base's weight (Frobenius).",
    )


def module_chart(
    title: str, values: Mapping[str, float], *, high: float | None, note: str
) -> Heatmap:
    """Return figures of modules on a grid of layers and names within a layer."""
    layers = list(dict.fromkeys(layer_and_name(module)[0] for module in values))
    names = list(dict.fromkeys(layer_and_name(module)[1] for module in values))
    cells = {layer_and_name(module): value for module, value in values.items()}
    return Heatmap(
        title=title,
        x="module",
        y="layer",
        columns=names,
        rows=layers,
        values=[[cells.get((layer, name)) for name in names] for layer in layers],
        low=0.0,
        high=high,
        note=note,
    )


def spectrum_chart(changes: Mapping[str, LowRank]) -> Lines:
    """Return singular values by the largest, per name within a layer, over the layers."""
    names = list(dict.fromkeys(layer_and_name(module)[1] for module in changes))
    lines = []
    for name in names:
        rows = [
            change.values / change.values[0]
            for module, change in changes.items()
            if layer_and_name(module)[1] == name and change.values[0] > 0
        ]
        if rows:
            shortest = min(len(row) for row in rows)
            lines.append(_spectrum(name, np.stack([row[:shortest] for row in rows])))
    return Lines(
        title="Spectrum of the change",
        x="direction",
        y="singular value by the largest",
        lines=lines,
        note="Mean over the layers, with the smallest and the largest of any layer.",
    )


def _spectrum(name: str, rows: np.ndarray) -> Line:
    def over_layers(reduce: Callable[..., np.ndarray]) -> list[float]:
        return [float(value) for value in reduce(rows, axis=0)]

    return Line(
        name=name,
        x=[float(i + 1) for i in range(rows.shape[1])],
        y=over_layers(np.mean),
        low=over_layers(np.min),
        high=over_layers(np.max),
    )


def change_table(
    changes: Mapping[str, LowRank],
    shares: Mapping[str, float],
    moved: Mapping[str, WeightDecomposition],
) -> Table:
    """Return a row for each module: how large its change is, and in how many directions.

    Args:
        changes: By module.
        shares: Norm of each change by that of the base's weight.
        moved: How far each change moves the rows of the base's weight.
    """
    rows: list[list[Cell]] = [
        [
            *layer_and_name(module),
            round(change.norm, 4),
            round(100 * shares[module], 3),
            len(change.values),
            round(change.effective_rank, 2),
            round(change.stable_rank, 2),
            round(100 * float(change.shares[0]), 1),
            round(100 * moved[module].magnitude, 3),
            round(moved[module].direction, 5),
        ]
        for module, change in changes.items()
    ]
    return Table(
        title="Changes",
        columns=[
            "layer",
            "module",
            "norm",
            "% of the base's norm",
            "rank",
            "effective rank",
            "stable rank",
            "first direction, %",
            "rows' length, %",
            "rows' direction",
        ],
        rows=rows,
        note="Effective rank: exponential of the entropy of the singular values; stable rank: sum "
        "of their squares by the largest square. Rows: mean change of length, and 1 - cosine with "
        "the base's rows.",
    )
