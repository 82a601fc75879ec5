"""What grows is shown at most ten times a second, and its end always."""

from collections.abc import Callable

import pytest

from workbench.ui.pacing import paced


def ticking(seconds: float) -> Callable[[], float]:
    """Return a clock that goes on by so much with every look."""
    ticks = iter(range(1_000_000))
    return lambda: next(ticks) * seconds


@pytest.mark.parametrize(("seconds", "most"), [(0.001, 12), (0.05, 502), (0.25, 1000)])
def test_a_thousand_steps_are_shown_ten_times_a_second(seconds, most):
    shown = list(paced(range(1000), clock=ticking(seconds)))

    assert len(shown) <= most
    assert (shown[0], shown[-1]) == (0, 999)
    assert shown == sorted(set(shown))


def test_what_is_slow_is_shown_in_full():
    assert list(paced(range(5), clock=ticking(0.2))) == [0, 1, 2, 3, 4]


def test_nothing_is_shown_of_nothing():
    assert list(paced([])) == []


def test_leaving_ends_what_is_shown():
    ended = []

    def steps():
        try:
            yield from range(9)
        finally:
            ended.append(True)

    shown = paced(steps())
    next(shown)
    shown.close()

    assert ended == [True]
