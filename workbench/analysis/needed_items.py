"""How many items would settle a difference, in words, from how often two rows differed so far."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.analysis.headline import SIGNIFICANCE
from workbench.analysis.leaderboard import leaderboard
from workbench.analysis.results import Comparison, ComparisonRow, RowDifference
from workbench.power import LEVEL, POWER, paired_items, scored_items, smallest_difference
from workbench.presentation.display import number, one_line, percent

_MOST_SENTENCES = 5  # in the notes of a report
_SIZES = (0.01, 0.02, 0.03, 0.05, 0.1)  # differences people plan for
_SMALLEST = 0.0005  # half of the last digit that is shown
_INTERVAL_WIDTH = 2 * 1.959964  # of a 95 % interval, in standard errors
PLAN = (
    f"Items needed are planned for {100 * POWER:.0f} % power (so often a difference that is there "
    f"is found) at p below {LEVEL:g}, two-sided and not adjusted, for rows that answer the same "
    "items and differ on as many of them as these did."
)
"""What figures of needed items mean; a report and a sheet say it once."""


@dataclass(frozen=True)
class NeededItems:
    """How many items tell a difference of this size apart; None where they cannot differ by it."""

    difference: float
    num_items: int | None


def needed_items(found: RowDifference, sizes: Sequence[float] = _SIZES) -> list[NeededItems]:
    """Return the items needed for differences of several sizes and of the size that was seen.

    Args:
        found: What was seen: how often both differed, or how far their scores lay apart.
        sizes: Differences as fractions.
    """
    seen = abs(found.value or 0.0)
    wanted = sorted({*sizes, *([seen] if seen >= _SMALLEST else [])})
    return [NeededItems(size, _items_for(size, found)) for size in wanted]


def needed_text(found: RowDifference) -> str:
    """Return "to tell 3.0 points apart … about 1,630 items are needed"; "" where nothing is said.

    Nothing is said of a difference of 0.0 points, and where the two never differed.
    """
    seen = abs(found.value or 0.0)
    if seen < _SMALLEST:
        return ""
    needed = _items_for(seen, found)
    if needed is None:
        return ""
    return (
        f"to tell {100 * seen:.1f} points apart at {100 * POWER:.0f} % power, about "
        f"{number(rounded_up(needed))} items are needed, and there were {number(found.num_items)}"
    )


def reach_text(found: RowDifference) -> str:
    """Return the smallest difference that so many items tell apart, as a sentence; "" if none."""
    if not _is_of_answers(found):
        return ""
    discordance = (found.wins + found.losses) / found.num_items
    smallest = smallest_difference(found.num_items, discordance)
    items = f"{number(found.num_items)} items"
    if smallest is None:
        return (
            f"Where the two differ in right and wrong on {percent(discordance)} of the items, "
            f"{items} may tell no difference apart at {100 * POWER:.0f} % power."
        )
    return (
        f"Where the two differ in right and wrong on {percent(discordance)} of the items, {items} "
        f"tell differences from {100 * smallest:.1f} points up apart at {100 * POWER:.0f} % power."
    )


def noise_notes(comparison: Comparison) -> list[str]:
    """Return a sentence for each row whose difference is within noise, and what they mean."""
    sentences = []
    over_seeds = {row.name: row for row in leaderboard(comparison)}
    for row, _ in comparison.judged_rows():
        found, board = row.difference, over_seeds[row.row]
        if found is None or board.p_value_holm is None or board.p_value_holm < SIGNIFICANCE:
            continue
        if _is_within_noise(found):
            text = needed_text(found)
            which = "" if board.num_seeds == 1 else f", seed {row.seed},"
            sentences += [_noise_sentence(row, found, which, text)] if text else []
    more = len(sentences) - _MOST_SENTENCES
    shown = sentences[:_MOST_SENTENCES]
    shown += [f"{more} more rows are within noise of the reference."] if more > 0 else []
    return [*shown, PLAN] if shown else []


def _noise_sentence(row: ComparisonRow, found: RowDifference, which: str, text: str) -> str:
    return f"{one_line(row.row)}{which} is within noise of {one_line(found.against)}: {text}."


def _is_within_noise(found: RowDifference) -> bool:
    p_value = found.p_value if found.p_value_holm is None else found.p_value_holm
    return p_value is not None and p_value >= SIGNIFICANCE


def _items_for(size: float, found: RowDifference) -> int | None:
    if _is_of_answers(found):
        discordance = (found.wins + found.losses) / found.num_items
        if size > discordance + _SMALLEST:
            return None
        return paired_items(min(size, discordance), discordance)
    spread = _spread(found)
    return None if spread is None else scored_items(size, spread)


def _is_of_answers(found: RowDifference) -> bool:
    """Return whether it is of answers that are right or wrong, and some differ in that."""
    if not found.num_items or found.value is None or not found.wins + found.losses:
        return False
    return math.isclose(found.value, (found.wins - found.losses) / found.num_items, abs_tol=1e-9)


def _spread(found: RowDifference) -> float | None:
    """Return the standard deviation of differences of scores, read off the interval's width."""
    if found.low is None or found.high is None or found.high <= found.low:
        return None
    return (found.high - found.low) / _INTERVAL_WIDTH * math.sqrt(found.num_items)


def rounded_up(items: int) -> int:
    """Return two digits of a planned number, rounded up: more would be no more true."""
    step = int("1" + "0" * max(len(str(items)) - 2, 0))
    return -(-items // step) * step
