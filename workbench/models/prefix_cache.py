"""Keys and values of shared prefixes, kept between calls within a memory budget."""

from collections import OrderedDict
from collections.abc import Callable

from workbench.models.base import PrefixStates

PrefixKey = tuple[str, str | None, int]  # prefix digest, adapter, adapter revision


class PrefixCache:
    """Least-recently-used store of `PrefixStates` that never holds more than `budget_bytes`."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.num_computed = 0
        self._states: OrderedDict[PrefixKey, PrefixStates] = OrderedDict()

    @property
    def num_bytes(self) -> int:
        """Memory held now."""
        return sum(states.num_bytes for states in self._states.values())

    def get(self, key: PrefixKey, compute: Callable[[], PrefixStates]) -> PrefixStates:
        """Return the states of `key`, computed if they are not held.

        States larger than the whole budget are returned but not held.
        """
        if key in self._states:
            self._states.move_to_end(key)
            return self._states[key]
        states = compute()
        self.num_computed += 1
        self._states[key] = states
        # The oldest first; what alone exceeds the budget goes last, and is still returned.
        while self._states and self.num_bytes > self.budget_bytes:
            self._states.popitem(last=False)
        return states

    def clear(self) -> None:
        """Forget everything."""
        self._states.clear()
