"""The Pareto front: the points that no other point beats in cost and quality together."""

import math
from collections.abc import Sequence


def pareto_front(
    points: Sequence[tuple[float, float]], *, lower_is_better: bool = False
) -> list[int]:
    """Return the positions of the points that no other dominates, cheapest first.

    A point dominates another if it costs no more, is no worse, and differs in one of the two.
    Equal points do not dominate each other: all of them are on the front, in the given order.

    Args:
        points: Cost and quality of each; less cost is better.
        lower_is_better: Whether less quality figure is better too, as for a loss.

    Raises:
        ValueError: a figure is not a number.
    """
    if any(math.isnan(figure) for point in points for figure in point):
        raise ValueError(f"points must be numbers, got {list(points)}")
    badness = 1.0 if lower_is_better else -1.0
    ordered = sorted(
        range(len(points)), key=lambda place: (points[place][0], badness * points[place][1])
    )
    front: list[int] = []
    for place in ordered:
        best = points[front[-1]] if front else None
        if best is None or badness * points[place][1] < badness * best[1] or points[place] == best:
            front.append(place)
    return front
