"""How many items it takes to tell two methods apart, and what a number of items can tell.

Planned, not proven: the figures hold if the methods differ on as many items as they did before.
Shares are fractions from 0 to 1, differences of them too; the sign of a difference is left out of
account. `level` is that of a two-sided test, `power` the chance to find a difference that is there.
Normal quantiles come from the standard library, so that no statistics library is loaded.
"""

import math
from statistics import NormalDist

POWER = 0.8
LEVEL = 0.05

_STEPS = 40  # of halving an interval of at most 1: then it is narrower than any table shows


def paired_items(
    difference: float, discordance: float, *, power: float = POWER, level: float = LEVEL
) -> int:
    """Return the items that McNemar's test needs where both methods answer the same ones.

    Args:
        difference: Of the two accuracies, to be told from 0.
        discordance: Share of items that one method has right and the other wrong; never less than
            the difference.
        power: As above.
        level: As above.

    Raises:
        ValueError: the difference is 0 or larger than the discordance, or a share is none.

    Source: Connor 1987, Biometrics 43, 207-211, who takes the variance under the alternative from
    the expected discordance; held against others by Lachenbruch 1992, Statistics in Medicine 11,
    1521-1525. Differs from the source: the continuity correction, because the exact test needs
    that much more.
    """
    gap = abs(difference)
    if not 0 < gap <= discordance <= 1:
        raise ValueError(f"0 < difference <= discordance <= 1 is needed: {gap}, {discordance}")
    ours, others = _quantiles(power, level)
    spread = ours * math.sqrt(discordance) + others * math.sqrt(max(discordance - gap**2, 0.0))
    # The root of gap * n - 1 = spread * sqrt(n): one item is what continuity takes.
    root = (spread + math.sqrt(spread**2 + 4 * gap)) / (2 * gap)
    return math.ceil(root**2)


def smallest_difference(
    num_items: int, discordance: float, *, power: float = POWER, level: float = LEVEL
) -> float | None:
    """Return the smallest difference that McNemar's test finds with so many items.

    None where even one in which every discordant item speaks for the same method is missed.
    """
    if num_items < 1 or not 0 < discordance <= 1:
        return None
    if paired_items(discordance, discordance, power=power, level=level) > num_items:
        return None
    missed, found = 0.0, discordance
    for _ in range(_STEPS):
        middle = (missed + found) / 2
        if paired_items(middle, discordance, power=power, level=level) > num_items:
            missed = middle
        else:
            found = middle
    return found


def unpaired_items(
    first: float, second: float, *, power: float = POWER, level: float = LEVEL
) -> int:
    """Return the items that each of two accuracies needs where they are of different items.

    Raises:
        ValueError: the two are equal, or one is no share.

    Source: Fleiss, Levin and Paik 2003, Statistical Methods for Rates and Proportions, section 4.2;
    without continuity correction, as the test of two proportions is run without it.
    """
    if not (0 <= first <= 1 and 0 <= second <= 1) or first == second:
        raise ValueError(f"two different shares from 0 to 1 are needed: {first}, {second}")
    ours, others = _quantiles(power, level)
    mean = (first + second) / 2
    spread = ours * math.sqrt(2 * mean * (1 - mean))
    spread += others * math.sqrt(first * (1 - first) + second * (1 - second))
    return math.ceil((spread / (first - second)) ** 2)


def scored_items(
    difference: float, spread: float, *, power: float = POWER, level: float = LEVEL
) -> int:
    """Return the items that a paired difference of scores needs.

    Args:
        difference: Of the two mean scores.
        spread: Standard deviation of the differences, item by item.
        power: As above.
        level: As above.

    Raises:
        ValueError: the difference is 0, or the spread negative.
    """
    if not difference or spread < 0:
        raise ValueError(f"a difference and a spread from 0 up are needed: {difference}, {spread}")
    return max(2, math.ceil((sum(_quantiles(power, level)) * spread / difference) ** 2))


def _quantiles(power: float, level: float) -> tuple[float, float]:
    """Return the normal quantiles of a two-sided level and of a power.

    Raises:
        ValueError: one is not between 0 and 1.
    """
    if not (0 < power < 1 and 0 < level < 1):
        raise ValueError(f"power and level are between 0 and 1: {power}, {level}")
    normal = NormalDist()
    return normal.inv_cdf(1 - level / 2), normal.inv_cdf(power)
