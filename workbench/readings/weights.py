"""What a low-rank change does: how much, where, in how many directions, and if others do the same.

Source: Hu et al. 2021 (LoRA), https://arxiv.org/abs/2106.09685, section 7.2; lengths and directions
of rows: Liu et al. 2024 (DoRA), https://arxiv.org/abs/2402.09353, section 3.2.
Differs from the source: overlaps are of the change B A and of its leading directions only, each
beside random matrices of the same shape.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from workbench.differences import holm
from workbench.errors import ModelError
from workbench.models.adapters.layer_changes import weight_of
from workbench.models.adapters.named_base import caution_of_base
from workbench.models.adapters.reading import CheckedAdapter, read_adapter
from workbench.options import FREE, option
from workbench.presentation.blocks import Chart, Heatmap
from workbench.presentation.reading import LEVEL, NO_BETTER, Reading, Standing
from workbench.readings.base import Cost, Kind, Subject, WeightChange
from workbench.readings.vectors.chance import control_draws, standing
from workbench.readings.vectors.low_rank import (
    LowRank,
    WeightDecomposition,
    decompose,
    effective_rank,
    random_similarity,
    random_values,
    subspace_similarity,
    weight_decomposition,
)
from workbench.readings.weight_pictures import (
    NO_LAYER,
    change_table,
    layer_and_name,
    module_chart,
    norm_chart,
    spectrum_chart,
)

_Side = Literal["left", "right"]

_SIDES: dict[_Side, str] = {"left": "directions written", "right": "directions read"}
_CONTROL = "random matrices of the same shape"
_SAME_LENGTHS = 1e-5  # by the length in the base; less is rounding
_NUM_DRAWN = 199  # random changes, of which only small triangles are drawn
_SAME_START = {
    "lora": "Runs that start alike overlap without learning: those of one seed in the directions "
    "read, as A starts alike, and not in those written where B starts at zero, as in DoRA and "
    "plain LoRA. PiSSA and LoftQ start both along directions of the base's own, so their runs "
    "overlap in both, whatever the seed; and what LoftQ's start adds to the base counts as change.",
    "adalora": "AdaLoRA draws the directions read and written from the seed and starts their sizes "
    "at zero, so runs of one seed overlap in both without learning. It gives up directions by "
    "design: that fewer are used than random matrices use says little.",
}
_ADVICE = "Open the adapter with the base it was trained on."
_NOTES = [
    "A change is measured against the base's weight as it is stored here, restored from its "
    "precision; a large change is not by itself an important one.",
    "What the verdict says of rank and of the directions written is corrected for being several "
    "statements (Holm); other p-values stand for themselves.",
    "Overlap is about max(i, j) / d for random directions, so it is only to be read beside them.",
]


@dataclass(frozen=True, kw_only=True)
class WeightChanges:
    """Norm, spectrum and rank of the change of each weight, and its overlap with others."""

    title: ClassVar[str] = "What the weights learned"
    summary: ClassVar[str] = "size, rank and overlap of low-rank changes, layer by layer"
    kind: ClassVar[Kind] = "weights"
    cost: ClassVar[Cost] = "seconds"
    needs_base: ClassVar[bool] = True

    directions: int = option(
        4, minimum=1, maximum=64, public=(16, 64), help="How many leading directions are compared."
    )
    seed: int = option(
        0, minimum=0, public=FREE, help="The number that decides the random matrices."
    )

    def read(self, subject: Subject) -> Reading:
        """Return size and rank per module, and overlaps beside random ones."""
        with threadpool_limits(1, user_api="blas"):  # hundreds of products too small to share
            return self._read(subject)

    def _read(self, subject: Subject) -> Reading:
        adapter = read_adapter(_weights_of(subject).folder)
        changes = _changes(adapter)
        others = {
            name: _changes(read_adapter(other.folder))
            for name, other in _named(subject.other_weights)
        }
        base = subject.session.engine.info.name
        cautions = [f"Caution: {c}" for c in caution_of_base(adapter.summary.base_name, base)]
        magnitudes = _magnitudes(adapter)
        shares, rows = _beside_the_base(subject, changes, magnitudes)
        lengths = _mean([row.magnitude for row in rows.values()]) if magnitudes else None
        rank = self._rank(subject, changes)
        overlaps = [
            self._overlap(changes, other, name=name, side=side)
            for name, other in others.items()
            for side in _SIDES
            if changes.keys() & other.keys()
        ]
        charts: list[Chart] = [norm_chart(shares), spectrum_chart(changes)]
        return Reading(
            name="weights",
            title=self.title,
            verdict=_verdict(changes, shares, rank, overlaps, lengths=lengths),
            standings=[rank, *(overlap.standing for overlap in overlaps)],
            charts=charts + [overlap.chart for overlap in overlaps],
            tables=[change_table(changes, shares, rows)],
            notes=[
                *cautions,
                *_NOTES,
                _SAME_START[adapter.summary.kind],
                *_length_note(rows),
                *_nothing_shared(changes, others),
            ],
            data={
                "relative_norm": shares,
                "effective_rank": {name: c.effective_rank for name, c in changes.items()},
                "singular_values": {name: c.values.tolist() for name, c in changes.items()},
                "length_change": {name: row.magnitude for name, row in rows.items()},
                "direction_change": {name: row.direction for name, row in rows.items()},
                "directions": self.directions,
            },
        )

    def _rank(self, subject: Subject, changes: Mapping[str, LowRank]) -> Standing:
        """Return the mean effective rank beside that of random B A of the same shapes."""
        generator, ranks = _draws(self.seed, changes), []
        for number, change in enumerate(changes.values()):
            subject.step("random matrices", number, len(changes))
            drawn = random_values(_shape(change), len(change.values), generator, _NUM_DRAWN)
            ranks.append([effective_rank(values) for values in drawn])
        subject.step("random matrices", len(changes), len(changes))
        return standing(
            "mean effective rank of the change",
            _mean([change.effective_rank for change in changes.values()]),
            _CONTROL,
            np.mean(ranks, axis=0),
            low_is_better=True,
        )

    def _overlap(
        self,
        changes: Mapping[str, LowRank],
        other: Mapping[str, LowRank],
        *,
        name: str,
        side: _Side,
    ) -> "_Overlap":
        """Return the overlap with another change, module by module, beside random ones."""
        pairs = {
            module: (self._leading(change, side), self._leading(other[module], side))
            for module, change in changes.items()
            if module in other
        }
        found = {module: subspace_similarity(*pair) for module, pair in pairs.items()}
        generator = _draws(self.seed, changes, other)
        drawn = [
            random_similarity(ours.shape[1], theirs.shape[1], len(ours), generator, _NUM_DRAWN)
            for ours, theirs in pairs.values()
        ]
        place = standing(
            f"overlap with {name}, {_SIDES[side]}",
            _mean(list(found.values())),
            _CONTROL,
            np.mean(drawn, axis=0),
        )
        chart = module_chart(
            f"Overlap with {name}: {_SIDES[side]}",
            found,
            high=1.0,
            note=f"phi of the first {self.directions} directions, 0 to 1; random matrices: "
            f"{place.low:.2g} to {place.high:.2g} on average.",
        )
        return _Overlap(name, side, place, chart)

    def _leading(self, change: LowRank, side: _Side) -> np.ndarray:
        """Return (d, k) the leading directions written (d = out) or read (d = in)."""
        directions = change.left if side == "left" else change.right
        return directions[:, : self.directions]


@dataclass(frozen=True)
class _Overlap:
    """How much of the leading directions two changes share, beside random ones."""

    name: str
    side: _Side
    standing: Standing
    chart: Heatmap


def _weights_of(subject: Subject) -> WeightChange:
    if subject.weights is None:
        raise ValueError("this reading needs a weight change")
    return subject.weights


def _named(changes: Sequence[WeightChange]) -> list[tuple[str, WeightChange]]:
    """Return changes by names made unique."""
    names = [change.name for change in changes]
    return [
        (name if names.count(name) == 1 else f"{name} ({i + 1})", change)
        for i, (name, change) in enumerate(zip(names, changes, strict=True))
    ]


def _changes(adapter: CheckedAdapter) -> dict[str, LowRank]:
    """Return the change of each module, in the order of the layers.

    Raises:
        ModelError: the adapter is no low-rank change.
    """
    if adapter.summary.kind not in ("adalora", "lora"):
        raise ModelError(
            f"{adapter.where}: holds a {adapter.config['peft_type']} adapter, not a LoRA, DoRA or "
            "AdaLoRA. Soft prompts have readings of their own; factors have none."
        )
    found = {}
    for module in sorted(adapter.parts, key=_order):
        parts = {name: t.double().numpy() for name, t in adapter.parts[module].items()}
        if not parts["lora_A"].size:  # an AdaLoRA may prune all that a module had
            continue
        a = parts["lora_A"] * parts.get("lora_E", 1.0)
        found[module] = decompose(parts["lora_B"], a, adapter.scaling_of(module))
    return found


def _magnitudes(adapter: CheckedAdapter) -> dict[str, np.ndarray]:
    """Return the lengths (out,) that DoRA learned, by module; none of others."""
    return {
        module: parts["lora_magnitude_vector"].double().numpy()
        for module, parts in adapter.parts.items()
        if "lora_magnitude_vector" in parts
    }


def _order(module: str) -> tuple[int, str]:
    layer, name = layer_and_name(module)
    return (int(layer) if layer != NO_LAYER else -1, name)


def _beside_the_base(
    subject: Subject, changes: Mapping[str, LowRank], magnitudes: Mapping[str, np.ndarray]
) -> tuple[dict[str, float], dict[str, WeightDecomposition]]:
    """Return each change's norm by that of the base's weight, and how far it moves its rows.

    Raises:
        ModelError: the base has no such module, or one of another shape.
    """
    modules = dict(subject.session.engine.forward.model.named_modules())
    name = subject.session.engine.info.name
    shares, rows = {}, {}
    for number, (module, change) in enumerate(changes.items()):
        subject.step("weights", number, len(changes))
        layer = modules.get(module)
        shape = _shape(change)
        if layer is None or getattr(layer, "weight", None) is None:
            raise ModelError(f"module '{module}' is no weight of base model '{name}'. {_ADVICE}")
        weight = weight_of(layer).cpu()
        if tuple(weight.shape) != shape:
            raise ModelError(
                f"module '{module}' has shape {tuple(weight.shape)} in base model '{name}'; the "
                f"change is for {shape}. {_ADVICE}"
            )
        shares[module] = change.norm / max(float(weight.norm()), 1e-12)
        rows[module] = weight_decomposition(
            weight.numpy(),
            change.left * change.values,
            change.right.T,
            magnitudes=magnitudes.get(module),
        )
    subject.step("weights", len(changes), len(changes))
    return shares, rows


def _length_note(rows: Mapping[str, WeightDecomposition]) -> list[str]:
    """Return how changes of length and of direction go together, where there are enough."""
    lengths = [row.magnitude for row in rows.values()]
    directions = [row.direction for row in rows.values()]
    if len(rows) < 3 or np.ptp(lengths) == 0 or np.ptp(directions) == 0:
        return []
    together = float(np.corrcoef(lengths, directions)[0, 1])
    return [
        f"Over the modules, change of length and change of direction correlate at {together:+.2f}. "
        "Liu et al. 2024 find the correlation positive for LoRA, and negative for DoRA and full "
        "fine-tuning."
    ]


def _shape(change: LowRank) -> tuple[int, int]:
    """Return (out, in) of the weight that is changed."""
    return len(change.left), len(change.right)


def _draws(seed: int, *changes: Mapping[str, LowRank]) -> np.random.Generator:
    """Return what the controls of these changes are drawn from."""
    content = np.concatenate([one.values for change in changes for one in change.values()])
    return control_draws(content, seed=seed)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _verdict(
    changes: Mapping[str, LowRank],
    shares: Mapping[str, float],
    rank: Standing,
    overlaps: Sequence[_Overlap],
    *,
    lengths: float | None,
) -> str:
    """Return what the changes come to; `lengths` is DoRA's mean change of the rows' lengths."""
    if not any(change.norm for change in changes.values()):
        if lengths is not None and lengths > _SAME_LENGTHS:
            return (
                f"Only the lengths of the weights' rows change, by {100 * lengths:.2g} % on "
                f"average; directions: {NO_BETTER}, as none was learned."
            )
        return f"The weights are unchanged: {NO_BETTER}, as nothing was learned."
    written = [overlap for overlap in overlaps if overlap.side == "left"]
    tested = [rank, *(overlap.standing for overlap in written)]
    corrected = holm([place.p_value for place in tested])
    is_few, *shares_some = (p is not None and p <= LEVEL for p in corrected)
    top = max(shares, key=lambda module: shares[module])
    count = max(len(change.values) for change in changes.values())
    what = "The weights change" if lengths is None else "Apart from lengths, the weights change"
    text = (
        f"{what} by {100 * _mean(list(shares.values())):.2g} % of their norm on "
        f"average, most in {top} ({100 * shares[top]:.2g} %). Of {count} directions about "
        f"{rank.value:.1f} are used"
    )
    text += (
        ", fewer than random matrices use."
        if is_few
        else f": {NO_BETTER}, random matrices of the same shape use {rank.median:.1f}."
    )
    words = map(_overlap_words, written, shares_some)
    return " ".join([text, *words])


def _overlap_words(overlap: _Overlap, shares_some: bool) -> str:
    place = overlap.standing
    figures = f"({place.value:.2g}; random {place.low:.2g} to {place.high:.2g})"
    if shares_some:
        return f"It writes into some of the same directions as {overlap.name} {figures}."
    return f"It shares directions with {overlap.name} {NO_BETTER} {figures}."


def _nothing_shared(
    changes: Mapping[str, LowRank], others: Mapping[str, Mapping[str, LowRank]]
) -> list[str]:
    return [
        f"{name} changes none of the same modules, so there is no overlap to show."
        for name, other in others.items()
        if not changes.keys() & other.keys()
    ]
