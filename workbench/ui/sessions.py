"""The sessions that Gradio remembers, by the address that opened them.

Gradio forgets the session used longest ago once there are too many, whoever's it is, so that a
stranger who opens many pushes out everybody else's. Here a session has its place until it is over,
and a stranger is told that there is none left for another one.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from workbench.service.profile import Bound, Crowd
from workbench.ui.places import Places
from workbench.ui.refusals import Refusal, for_all, for_one

MOST_NAME_CHARS = 64  # Gradio's own names have 10 to 36
LOAD = "workbench.load"
"""Part of a request's scope: its `Load`."""


@dataclass
class Load:
    """What a request takes while it waits in the queue or runs.

    Attributes:
        num_bytes: Of its body and the values in it.
    """

    num_bytes: int = 0


class GradioTables:
    """What a running Gradio app keeps of its sessions and the events in its queue.

    Args:
        app: Gradio's.
    """

    def __init__(self, app: Any) -> None:
        self._states = app.state_holder
        self._queue = app.get_blocks()._queue

    def busy(self) -> set[str]:
        """Return the sessions with an event that waits or runs."""
        return {event.session_hash for event in self._queue.event_ids_to_events.values()}

    def forget(self, session: str) -> None:
        """Drop everything that is kept of a session."""
        self._states.delete_state(session)
        self._states.session_data.pop(session, None)
        self._states.time_last_used.pop(session, None)
        self._queue.pending_messages_per_session.pop(session, None)
        self._queue.pending_event_ids_session.pop(session, None)

    def queued_bytes(self, bound: Bound) -> Places:
        """Return who holds how many bytes of calls that wait or run."""
        places = Places(bound, "bytes of waiting calls")
        for event in self._queue.event_ids_to_events.values():
            places.take(address_of(event), event.request.scope.get(LOAD, Load()).num_bytes)
        return places

    def take_turns(self) -> None:
        """Let the addresses with waiting events take turns, each in its own order."""
        for line in self._queue.event_queue_per_concurrency_id.values():
            seen: Counter[str] = Counter()
            turns = {}
            for event in line.queue:
                turns[event._id] = seen[address_of(event)]
                seen[address_of(event)] += 1
            if len(seen) > 1:
                line.queue.sort(key=lambda event: turns[event._id])


def address_of(event: Any) -> str:
    """Return the address that an event in the queue came from."""
    client = event.request.client
    return "" if client is None else str(client.host)


@dataclass
class _Session:
    address: str
    used: float


class Sessions:
    """Who has which session.

    Args:
        crowd: How many an address, and all together, may have.
    """

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._known: dict[str, _Session] = {}  # the one used longest ago is first
        self._open: Counter[str] = Counter()
        self._spent: dict[str, tuple[float, float]] = {}  # new ones of late, and when counted

    def knows(self, name: str) -> bool:
        """Return whether a session has its place already."""
        return name in self._known

    @contextmanager
    def open(self, name: str) -> Iterator[None]:
        """Keep a session, there already or not, from being forgotten meanwhile."""
        self._open[name] += 1
        try:
            yield
        finally:
            self._open[name] -= 1
            if not self._open[name]:
                del self._open[name]
            self._use(name)

    def delay(self, address: str) -> float:
        """Return in how many seconds an address may open one more session."""
        rate, now = self._crowd.new_sessions, time.monotonic()
        spent, counted = self._spent.get(address, (0.0, now))
        spent = max(0.0, spent - (now - counted) * rate) + 1
        self._spent[address] = (spent, now)
        if len(self._spent) > self._crowd.sessions.total:
            span = self._crowd.sessions.own / rate  # after which nothing is left of a count
            self._spent = {one: at for one, at in self._spent.items() if now - at[1] < span}
        return max(0.0, spent - self._crowd.sessions.own) / rate

    def admit(self, name: str, address: str, tables: GradioTables) -> Refusal | None:
        """Give a session its place, or say why there is none."""
        if name in self._known:
            self._use(name)
            return None
        bound, busy = self._crowd.sessions, tables.busy()
        self._forget_old(busy, tables)
        own = [other for other, session in self._known.items() if session.address == address]
        if len(own) >= bound.own:
            closed = [other for other in own if not self._open[other] and other not in busy]
            if not closed:
                return for_one("pages", bound.own, "Close one of them, then try again.")
            self._forget(closed[0], tables)
        if len(self._known) >= bound.total:
            return for_all("pages", bound.total)
        self._known[name] = _Session(address, time.monotonic())
        return None

    def rename(self, name: str, new: str | None) -> None:
        """Give a session the name it got from Gradio; without one it is over."""
        session = self._known.pop(name, None)
        if session is not None and new is not None:
            self._known[new] = session

    def _use(self, name: str) -> None:
        session = self._known.pop(name, None)
        if session is not None:
            session.used = time.monotonic()
            self._known[name] = session

    def _forget_old(self, busy: set[str], tables: GradioTables) -> None:
        since = time.monotonic() - self._crowd.session_seconds
        for name in list(self._known):
            if self._known[name].used > since:
                break
            if not self._open[name] and name not in busy:
                self._forget(name, tables)

    def _forget(self, name: str, tables: GradioTables) -> None:
        del self._known[name]
        tables.forget(name)
