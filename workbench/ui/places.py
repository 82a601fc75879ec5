"""Who holds how many of what there is a bounded number of, and who gives one up for others."""

from collections import Counter

from workbench.service.profile import Bound
from workbench.ui.exchanges import Exchange
from workbench.ui.refusals import Refusal, for_all, for_one

_WAIT = "Wait until they are done, then try again."
_GIVEN_UP = Refusal(429, "request: others came, and this one took longest. Try again.")


class Places:
    """Who holds how many of something that there is a bounded number of.

    Args:
        bound: How many there are.
        what: What they are, for a sentence.
    """

    def __init__(self, bound: Bound, what: str) -> None:
        self.bound, self.what = bound, what
        self.held: Counter[str] = Counter()

    def has_own(self, address: str, number: int = 1) -> bool:
        """Return whether an address holds few enough to get some more, if there are any."""
        return self.held[address] + number <= self.bound.own

    def refusal(self, address: str, number: int = 1) -> Refusal | None:
        """Say why an address gets no further ones, if it does not."""
        if not self.has_own(address, number):
            return for_one(self.what, self.bound.own, _WAIT)
        if self.held.total() + number > self.bound.total:
            return for_all(self.what, self.bound.total)
        return None

    def take(self, address: str, number: int = 1) -> None:
        """Note that an address holds some more."""
        self.held[address] += number

    def give_back(self, address: str, number: int = 1) -> None:
        """Note that an address holds some less."""
        self.held[address] -= number
        if not self.held[address]:
            del self.held[address]


class Arrivals:
    """Bodies of requests: so many may be on their way, and so many bytes of them be held.

    When there are too many in total, the oldest on its way of the address with the most is ended.

    Args:
        number: How many may be on their way.
        num_bytes: Bytes that may be held, from when they arrive until a request is answered.
    """

    def __init__(self, number: Bound, num_bytes: Bound) -> None:
        self._on_way = Places(number, "unfinished requests")
        self._bytes = Places(num_bytes, "bytes of requests")
        self._coming: dict[Exchange, None] = {}  # oldest first
        self._held: dict[Exchange, int] = {}  # bytes

    def begin(self, exchange: Exchange) -> Refusal | None:
        """Note a body that is on its way, or say why it may not be."""
        refusal = self._room(self._on_way, exchange, 1, dict.fromkeys(self._coming, 1))
        if refusal is None:
            self._on_way.take(exchange.address)
            self._coming[exchange] = None
        return refusal

    def grow(self, exchange: Exchange, num_bytes: int) -> Refusal | None:
        """Note bytes that came of a body, or say why they may not be held."""
        refusal = self._room(self._bytes, exchange, num_bytes, self._held)
        if refusal is None:
            self._bytes.take(exchange.address, num_bytes)
            self._held[exchange] = self._held.get(exchange, 0) + num_bytes
        return refusal

    def arrived(self, exchange: Exchange) -> None:
        """Note that a body is there."""
        if exchange in self._coming:
            del self._coming[exchange]
            self._on_way.give_back(exchange.address)

    def leave(self, exchange: Exchange) -> None:
        """Forget a body."""
        self.arrived(exchange)
        self._bytes.give_back(exchange.address, self._held.pop(exchange, 0))

    def _room(
        self, places: Places, exchange: Exchange, number: int, held: dict[Exchange, int]
    ) -> Refusal | None:
        """End bodies of others that hold more until there is room, or say why there is none."""
        refusal = places.refusal(exchange.address, number)
        while refusal is not None and places.has_own(exchange.address, number):
            of_each: Counter[str] = Counter()
            for one in self._coming:
                of_each[one.address] += held.get(one, 0) if one.is_collecting else 0
            most = max(of_each, key=of_each.__getitem__, default="")
            if of_each[most] <= of_each[exchange.address]:
                break
            oldest = next(
                one
                for one in self._coming
                if one.address == most and one.is_collecting and held.get(one)
            )
            self.leave(oldest)
            oldest.end(_GIVEN_UP)
            refusal = places.refusal(exchange.address, number)
        return refusal
