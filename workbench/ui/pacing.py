"""How often the page is told of what grows: a browser that is sent every step falls behind."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

_YIELD_SECONDS = 0.1  # between two updates of the page

Item = TypeVar("Item")


def paced(items: Iterable[Item], *, clock: Callable[[], float] = time.monotonic) -> Iterator[Item]:
    """Yield the first item, then at most ten a second, and the last one whenever it comes.

    Args:
        items: How far something is; each makes those before it old.
        clock: Seconds; for tests.
    """
    held: list[Item] = []
    shown: float | None = None
    for item in items:
        now = clock()
        if shown is None or now - shown >= _YIELD_SECONDS:
            held.clear()
            shown = now
            yield item
        else:
            held[:] = [item]
    yield from held
