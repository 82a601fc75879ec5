"""Who uploaded what: a file that a call names has to be an upload of the visitor who calls.

Gradio takes any path below its upload folder from anybody, and an upload carries no token.
Visitors are told apart by a cookie. A browser that keeps none, as in the frame of a Space, is known
by its address until its first call; from then on the upload belongs to the session of that call.
"""

import re
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

COOKIE = "workbench-uploads"

_MOST_UPLOADS = 10_000  # remembered; a forgotten one has to be uploaded again
_MOST_OWNERS = 500  # of one upload: whoever uploads the same file under the same name
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
    """Of one upload: cookies, sessions, and how many uploads wait for a call from an address."""

    known: OrderedDict[str, None] = field(default_factory=OrderedDict)
    waiting: dict[str, int] = field(default_factory=dict)

    def add(self, name: str) -> None:
        self.known[name] = None
        if len(self.known) > _MOST_OWNERS:
            self.known.popitem(last=False)


class UploadLedger:
    """The paths that uploads were answered with, and whose they are.

    Args:
        has_owners: Visitors are strangers to each other; otherwise every upload is everybody's.
    """

    def __init__(self, *, has_owners: bool) -> None:
        self._has_owners = has_owners
        self._uploads: OrderedDict[str, _Owners] = OrderedDict()

    def note(self, path: str, caller: Caller) -> None:
        """Remember what an upload was answered with."""
        owners = self._uploads.setdefault(path, _Owners())
        self._uploads.move_to_end(path)
        if len(self._uploads) > _MOST_UPLOADS:
            self._uploads.popitem(last=False)
        owners.add(f"cookie {caller.cookie}")
        is_listed = caller.address in owners.waiting or len(owners.waiting) < _MOST_OWNERS
        if not caller.is_known and caller.is_browser and is_listed:
            owners.waiting[caller.address] = owners.waiting.get(caller.address, 0) + 1

    def may_use(self, caller: Caller, path: str, session: str) -> bool:
        """Return whether a call may name a file.

        Args:
            caller: Who calls.
            path: As the upload was answered, to the letter.
            session: The call's session hash; the first call from the address of an upload without
                a cookie makes the upload its session's.
        """
        owners = self._uploads.get(path)
        if owners is None or not Path(path).is_file():
            return False
        mine = {f"session {session}"} if session else set()
        if caller.is_known:
            mine.add(f"cookie {caller.cookie}")
        if not self._has_owners or not mine.isdisjoint(owners.known):
            return True
        num_waiting = owners.waiting.get(caller.address, 0)
        if not session or caller.is_known or not caller.is_browser or num_waiting == 0:
            return False
        owners.waiting[caller.address] = num_waiting - 1
        owners.add(f"session {session}")
        return True
