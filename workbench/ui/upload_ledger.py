"""Who uploaded what: a file that a call names has to be an upload of the visitor who calls.

Gradio takes any path below its upload folder from anybody, and an upload carries no token.
Visitors are told apart by a cookie. A browser that keeps none, as in the frame of a Space, is known
by its address until its first call; from then on the upload belongs to the session of that call.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

COOKIE = "workbench-uploads"

_SWEPT_FROM = 1000  # uploads; when there are twice as many as files, the others are forgotten
_MOST_OWNERS = 500  # of one upload and address: whoever uploads the same file with the same name
_MOST_ADDRESSES = 5000  # of one upload
_TOKEN = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Caller:
    """Whom a request comes from, as far as it can be told.

    Attributes:
        address: Where it comes from.
        cookie: Content of the cookie, given out now if the request brought none.
        is_known: The request brought the cookie.
        is_browser: A browser says of itself that its own page asks.
    """

    address: str
    cookie: str
    is_known: bool
    is_browser: bool

    def set_cookie(self, *, is_secure: bool) -> str:
        """Return the header that gives the cookie out.

        Args:
            is_secure: The page is reached by HTTPS; only then may the cookie live in a frame.
        """
        kind = "SameSite=None; Secure; Partitioned" if is_secure else "SameSite=Lax"
        return f"{COOKIE}={self.cookie}; Path=/; HttpOnly; {kind}"


def caller_of(address: str, headers: Mapping[str, str]) -> Caller:
    """Return whom a request comes from."""
    try:
        brought = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        brought = None
    is_known = brought is not None and _TOKEN.fullmatch(brought.value) is not None
    cookie = brought.value if brought is not None and is_known else secrets.token_hex(16)
    return Caller(address, cookie, is_known, headers.get("sec-fetch-site") == "same-origin")


@dataclass
class _Owners:
    """Of one upload and address: cookies and sessions, and how many uploads wait for a call."""

    known: dict[str, None] = field(default_factory=dict)
    num_waiting: int = 0

    def add(self, name: str) -> None:
        self.known[name] = None
        if len(self.known) > _MOST_OWNERS:
            del self.known[next(iter(self.known))]


class UploadLedger:
    """The paths that uploads were answered with, and whose they are.

    An upload is remembered for as long as its file is there, so strangers push nothing out: how
    many files there may be is bounded elsewhere, for each address.

    Args:
        has_owners: Visitors are strangers to each other; otherwise every upload is everybody's.
    """

    def __init__(self, *, has_owners: bool) -> None:
        self._has_owners = has_owners
        self._uploads: dict[str, dict[str, _Owners]] = {}  # by path and address
        self._sweep_at = _SWEPT_FROM

    def note(self, path: str, caller: Caller) -> None:
        """Remember what an upload was answered with."""
        if len(self._uploads) >= self._sweep_at:
            self._uploads = {
                path: owners for path, owners in self._uploads.items() if Path(path).is_file()
            }
            self._sweep_at = max(_SWEPT_FROM, 2 * len(self._uploads))
        by_address = self._uploads.setdefault(path, {})
        owners = by_address.setdefault(caller.address, _Owners())
        if len(by_address) > _MOST_ADDRESSES:
            del by_address[max(by_address, key=lambda address: len(by_address[address].known))]
        owners.add(f"cookie {caller.cookie}")
        if not caller.is_known and caller.is_browser:
            owners.num_waiting += 1

    def may_use(self, caller: Caller, path: str, session: str) -> bool:
        """Return whether a call may name a file.

        Args:
            caller: Who calls.
            path: As the upload was answered, to the letter.
            session: The call's session hash; the first call from the address of an upload without
                a cookie makes the upload its session's.
        """
        by_address = self._uploads.get(path)
        if by_address is None or not Path(path).is_file():
            return False
        mine = {f"session {session}"} if session else set()
        if caller.is_known:
            mine.add(f"cookie {caller.cookie}")
        is_mine = any(not mine.isdisjoint(owners.known) for owners in by_address.values())
        if not self._has_owners or is_mine:
            return True
        here = by_address.get(caller.address)
        if not session or caller.is_known or not caller.is_browser:
            return False
        if here is None or here.num_waiting == 0:
            return False
        here.num_waiting -= 1
        here.add(f"session {session}")
        return True
