"""What a precision costs and saves: the bases of `workbench precisions` side by side.

The claims quoted are those of Dettmers et al. 2023 (QLoRA), https://arxiv.org/abs/2305.14314.
"""

from collections.abc import Sequence

from workbench.analysis.measurements.loss_text import nats_text, perplexity_text, points_text
from workbench.analysis.measurements.precision_comparison import (
    HeldAnswers,
    PrecisionComparison,
    bits_saved,
    relative_error,
)
from workbench.analysis.measurements.precision_export import COLUMNS, comparison_as_dict, flat_rows
from workbench.presentation.blocks import Bar, Bars, Cell, Chart, Heatmap, Table
from workbench.presentation.caption import Caption, each_once
from workbench.presentation.display import (
    NOTHING,
    byte_size,
    estimate_text,
    number,
    one_line,
    p_value_text,
    percent,
)
from workbench.presentation.sheet import Sheet
from workbench.runs.measurements.records import PrecisionRecord

_SINGLES = {"nf4": "nf4-single", "fp4": "fp4-single"}
_CLAIMED_SAVING = 0.373  # bits per parameter, section 3
_NOTES = (
    "Text: nats per token after at most 128 tokens of the same text; perplexity is the "
    "exponential. Intervals take blocks of text (128 tokens) or items as what varies.",
    "Differences are paired: the same blocks, the same items. p is McNemar's, Holm-adjusted over "
    "all precisions and ways.",
    "Error: Frobenius norm of the restored minus the original weights by that of the original, "
    "as the weights' file has them. Weights that were rounded to 4 bits before, as those of a "
    "packaged GGUF file were, lie on a grid of their own.",
    "Bits per weight count the values, their scales and the tables of codes that each layer "
    "carries; embeddings, norms and the output head are not quantised and count in the memory "
    "of the base alone.",
    "Speeds are those of this machine and this program. Where 4-bit weights were kept unpacked "
    "beside themselves, 'beside it' is what that takes besides the memory, and all times but "
    "'tokens/s packed' are with it: the last is the speed in the memory of the 4 bits alone. The "
    "numbers are the same.",
    "bf16 computes everything in bfloat16, while a quantised base on a CPU keeps what is not "
    "quantised in float32: a gap of log-probabilities is not rounding of weights alone.",
)


def precision_sheet(comparison: PrecisionComparison, *, command: str = "") -> Sheet:
    """Return the tables, the charts and the notes of a comparison of precisions.

    Args:
        comparison: What was measured.
        command: The line that measures it again, for captions.
    """
    held = comparison.held()
    first = comparison.records[0]
    num_items = len(next(iter(first.answers.values())).targets)
    return Sheet(
        title=f"Precisions of {first.base['name']}",
        facts=(
            one_line(str(first.base["name"])),
            f"from {one_line(str(first.base['source']))}",
            str(first.base["device"]),
            f"{one_line(comparison.task)}: {number(num_items)} items",
            f"text: {one_line(first.text_name)}, {number(sum(first.text.num_tokens))} tokens",
            f"held against {comparison.reference.precision}",
        ),
        headline=_headline(comparison, held),
        tables=(
            _main_table(comparison, held),
            _answer_table(comparison, held),
            _weight_table(comparison.records),
            _claim_table(comparison, held),
        ),
        charts=_charts(comparison, held),
        notes=_NOTES,
        columns=COLUMNS,
        rows=tuple(flat_rows(comparison)),
        data=comparison_as_dict(comparison),
        caption=Caption(
            task=comparison.task,
            base=str(first.base["name"]),
            precision=", ".join(record.precision for record in comparison.records),
            made_by=each_once(one.provenance.text for one in comparison.records if one.provenance),
            command=command,
        ),
    )


def _headline(comparison: PrecisionComparison, held: Sequence[HeldAnswers]) -> str:
    record, reference = comparison.record("nf4"), comparison.reference
    if record is None or record.precision == reference.precision:
        return f"{len(comparison.records)} precisions of one base, held against each other."
    share = int(record.base["footprint_bytes"]) / int(reference.base["footprint_bytes"])
    words = [
        f"NF4 with double quantisation takes {percent(share)} of the memory of "
        f"{reference.precision}",
        f"its loss per token changes by {_text_change(comparison, record)} nats",
    ]
    words += [
        f"its {_words(h.way)} accuracy by {points_text(h.difference)} points "
        f"({'beyond' if h.is_beyond_noise else 'within'} noise)"
        for h in held
        if h.precision == record.precision
    ]
    return f"{'; '.join(words)}."


def _main_table(comparison: PrecisionComparison, held: Sequence[HeldAnswers]) -> Table:
    first = next(iter(comparison.reference.answers))
    plain = {h.precision: h for h in held if h.way == first}
    reference = comparison.reference.precision
    rows: list[list[Cell]] = [
        [
            record.precision,
            byte_size(float(record.base["footprint_bytes"])),
            byte_size(record.restored_bytes) if record.restored_bytes else NOTHING,
            f"{record.bits_per_weight:.3f}",
            _error_text(relative_error(record.weights)),
            perplexity_text(record.text.per_token),
            _text_change(comparison, record),
            estimate_text(plain[record.precision].answers.metrics["accuracy"]),
            points_text(plain[record.precision].difference),
            number(plain[record.precision].answers.milliseconds_per_item, decimals=1),
            number(record.decoded_tokens_per_second, decimals=1),
            number(record.packed_tokens_per_second, decimals=1),
            nats_text(record.text.per_byte),
        ]
        for record in comparison.records
    ]
    return Table(
        title="Precisions",
        columns=[
            "precision",
            "memory",
            "beside it",
            "bits/weight",
            "error",
            "perplexity [95 %]",
            f"nats/token vs {reference}",
            "zero-shot accuracy",
            f"points vs {reference}",
            "ms/item",
            "tokens/s",
            "tokens/s packed",
            "nats/byte [95 %]",
        ],
        rows=rows,
    )


def _answer_table(comparison: PrecisionComparison, held: Sequence[HeldAnswers]) -> Table:
    reference = comparison.reference.precision
    return Table(
        title="Answers",
        columns=[
            "precision",
            "way",
            "accuracy [95 %]",
            f"points vs {reference} [95 %]",
            "p (Holm)",
            f"right here only / in {reference} only",
            f"same answers as {reference} [95 %]",
        ],
        rows=[
            [
                h.precision,
                _words(h.way),
                estimate_text(h.answers.metrics["accuracy"]),
                points_text(h.difference),
                p_value_text(h.p_value),
                f"{h.difference.wins} / {h.difference.losses}" if h.difference else NOTHING,
                estimate_text(h.agreement),
            ]
            for h in held
        ],
    )


def _weight_table(records: Sequence[PrecisionRecord]) -> Table:
    rows: list[list[Cell]] = []
    for record in records:
        parts = [
            8 * sum(getattr(w, f"{part}_bytes") for w in record.weights) / record.num_weights
            for part in ("value", "scale", "table")
        ]
        errors = [w.error for w in record.weights if w.error is not None]
        rows.append(
            [
                record.precision,
                number(record.num_weights),
                *(f"{part:.4f}" for part in parts),
                _error_text(min(errors, default=None)),
                _error_text(max(errors, default=None)),
                sum(w.error is None for w in record.weights),
            ]
        )
    return Table(
        title="Weights",
        columns=[
            "precision",
            "weights in matrices",
            "bits of values",
            "bits of scales",
            "bits of tables",
            "smallest error",
            "largest error",
            "matrices without an original",
        ],
        rows=rows,
    )


def _claim_table(comparison: PrecisionComparison, held: Sequence[HeldAnswers]) -> Table:
    """Return what the paper claims beside what was measured here."""
    rows: list[list[Cell]] = []
    for double, single in _SINGLES.items():
        ours, theirs = comparison.record(double), comparison.record(single)
        if ours is not None and theirs is not None:
            scales = theirs.scale_bits_per_weight - ours.scale_bits_per_weight
            rows.append(
                [
                    f"double quantisation saves {_CLAIMED_SAVING} bits per parameter",
                    f"{double}: {scales:.3f} bits per quantised weight in the scales, "
                    f"{bits_saved(ours, theirs):.3f} after the tables each layer carries",
                ]
            )
    nf4, fp4 = comparison.record("nf4"), comparison.record("fp4")
    if nf4 is not None and nf4.precision != comparison.reference.precision:
        gaps = [f"{_words(h.way)} {points_text(h.difference)} points"
                for h in held if h.precision == nf4.precision]  # fmt: skip
        rows.append(
            [
                "NF4 with double quantisation matches 16 bits (tuned with LoRA)",
                f"the base alone: {_text_change(comparison, nf4)} nats per token against "
                f"{comparison.reference.precision}; {'; '.join(gaps)}",
            ]
        )
    if nf4 is not None and fp4 is not None:
        rows.append(
            [
                "NF4 keeps more than FP4",
                f"error {_error_text(relative_error(nf4.weights))} against "
                f"{_error_text(relative_error(fp4.weights))}; FP4 loses "
                f"{nats_text(fp4.text.difference_to(nf4.text), sign=True)} nats per token more",
            ]
        )
    return Table(title="What QLoRA claims", columns=["claim", "measured here"], rows=rows)


def _charts(comparison: PrecisionComparison, held: Sequence[HeldAnswers]) -> tuple[Chart, ...]:
    reference, records = comparison.reference.precision, comparison.records
    bars = [
        Bars(
            title="What the text loses",
            x=f"nats per token above {reference}",
            bars=[_loss_bar(comparison, record) for record in comparison.others],
            reference=0.0,
            note="Paired over blocks of text; to the right is worse.",
        ),
        Bars(
            title="What accuracy changes",
            x=f"points against {reference}",
            bars=[
                Bar(
                    name=f"{h.precision}, {_words(h.way).removeprefix('zero-shot ')}",
                    value=h.difference.value or 0.0,
                    low=h.difference.low,
                    high=h.difference.high,
                    is_notable=h.is_beyond_noise,
                )
                for h in held
                if h.difference is not None
            ],
            reference=0.0,
            is_percent=True,
            note="Paired over items; to the left is worse.",
        ),
        Bars(
            title="Memory of the base",
            x="megabytes",
            bars=[
                Bar(name=r.precision, value=int(r.base["footprint_bytes"]) / 1e6) for r in records
            ],
        ),
        Bars(
            title="Bits per weight",
            x="with scales and tables",
            bars=[Bar(name=r.precision, value=r.bits_per_weight) for r in records],
        ),
    ]
    rounded = [record for record in records if any(w.error for w in record.weights)]
    highest = max((w.error or 0.0 for r in rounded for w in r.weights), default=0.0)
    maps = [_error_map(record, highest) for record in rounded]
    return (*(chart for chart in bars if chart.bars), *maps)


def _error_map(record: PrecisionRecord, highest: float) -> Heatmap:
    layers = list(dict.fromkeys(w.layer for w in record.weights))
    kinds = list(dict.fromkeys(w.kind for w in record.weights))
    cells = {(w.layer, w.kind): w.error for w in record.weights}
    return Heatmap(
        title=f"Error of the weights in {record.precision}",
        x="module",
        y="layer",
        columns=kinds,
        rows=layers,
        values=[[cells.get((layer, kind)) for kind in kinds] for layer in layers],
        low=0.0,
        high=highest,
        note="Frobenius norm of restored minus original by that of the original; one scale for "
        "all precisions.",
    )


def _loss_bar(comparison: PrecisionComparison, record: PrecisionRecord) -> Bar:
    found = record.text.difference_to(comparison.reference.text)
    return Bar(
        name=record.precision,
        value=found.value or 0.0,
        low=found.low,
        high=found.high,
        is_notable=found.low is not None and found.low > 0,
    )


def _text_change(comparison: PrecisionComparison, record: PrecisionRecord) -> str:
    return nats_text(comparison.text_difference(record), sign=True)


def _words(way: str) -> str:
    return way.replace("zero_shot", "zero-shot").replace("_", " ")


def _error_text(error: float | None) -> str:
    return NOTHING if error is None else f"{100 * error:.2f} %"
