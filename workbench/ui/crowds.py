"""What stands before everything else of a public page: bounds on what an address may hold open.

A token costs a stranger nothing, so nothing here looks at tokens. Each bound counts per address and
in total; who meets it is told so in a sentence, and what others have stays theirs.
"""

import asyncio
import itertools
import json
import os
from collections import Counter
from contextlib import ExitStack, suppress
from functools import partial
from importlib import import_module
from pathlib import Path

from gradio.routes import file_upload_statuses
from gradio.utils import get_upload_folder
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from workbench.errors import RoomError
from workbench.room import check_room, count_anew
from workbench.service.profile import Crowd
from workbench.service.space import UPLOADED
from workbench.ui.call_bodies import MOST_VALUES, num_values
from workbench.ui.exchanges import BODILESS, UPLOAD, Exchange
from workbench.ui.guards import MOST_BODY_BYTES
from workbench.ui.held_files import STORED, GradioMemory, HeldFiles, land_uploads_apart
from workbench.ui.peers import client_address
from workbench.ui.places import Arrivals, Places
from workbench.ui.refusals import Refusal, for_one
from workbench.ui.sessions import LOAD, MOST_NAME_CHARS, GradioTables, Load, Sessions

_STREAMS = ("/heartbeat/", "/queue/data", "/upload_progress", "/call/")
_CALLS = ("/run/", "/api/", "/queue/join", "/call/")
_QUEUED = ("/queue/join", "/call/")
_MOST_WAIT = 30.0  # seconds that a call waits for its turn before it is refused
_MARGIN = 200_000  # bytes by which a body may be too large until the guard behind has said so
_VALUE_BYTES = 64  # that a value takes besides its text
_FORGET_PROGRESS = 60.0  # seconds after an upload until nobody asks how far it is
_OPEN_FILES = 65_536
_LONG_NAME = Refusal(400, f"session_hash, upload_id: at most {MOST_NAME_CHARS} characters.")
_MANY_VALUES = Refusal(413, f"body: more than {MOST_VALUES:,} values, the most that is taken.")
_NO_ROOM = 507  # "insufficient storage", RFC 4918, section 11.5
_WAIT = "Wait until they are done, then try again."


def allow_open_files() -> None:
    """Let the server have as many connections as the system lets it, not the usual 1,024."""
    if os.name == "posix":
        resource = import_module("resource")
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _OPEN_FILES if most == resource.RLIM_INFINITY else min(most, _OPEN_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


class Crowds:
    """Gives every visitor of a public page a place, and strangers no more than that.

    Args:
        app: What stands behind; it sees the visitor's own address as its client.
        crowd: What may be held.
        upload_bytes: Size of the largest file that may be uploaded.
        proxies: How many proxies are trusted, see `client_address`.
    """

    def __init__(
        self, app: ASGIApp, *, crowd: Crowd, upload_bytes: int, proxies: int | None
    ) -> None:
        land_uploads_apart()
        self._app, self._crowd, self._proxies = app, crowd, proxies
        self._most_upload = upload_bytes + _MARGIN
        self._requests = Places(crowd.requests, "requests in work")
        self._streams = Places(crowd.streams, "streams")
        self._uploads = Places(crowd.uploads, "unfinished uploads")
        self._bodies = Arrivals(crowd.bodies, crowd.body_bytes)
        self._arriving: dict[Exchange, str] = {}  # uploads and their addresses, oldest first
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._sessions = Sessions(crowd)
        self._files, self._memory = HeldFiles(crowd.held_bytes, crowd.held_files), GradioMemory()
        self._uploaded = Path(get_upload_folder()).resolve() / UPLOADED / "upload"  # any file there
        self._nameless = itertools.count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        address = client_address(scope, self._proxies)
        port = (scope.get("client") or ("", 0))[1]
        exchange = Exchange(
            {**scope, "client": (address, port), LOAD: Load()},
            receive,
            send,
            self._crowd,
            self._most_upload,
        )
        is_upload = scope["method"] == "POST" and exchange.path == UPLOAD
        try:
            with suppress(ClientDisconnect):  # how an app leaves whose visitor was refused
                if scope["method"] in BODILESS or is_upload:
                    await self._at_once(exchange, is_upload=is_upload)
                else:
                    exchange.most_bytes = MOST_BODY_BYTES + _MARGIN
                    await self._once_whole(exchange)
        finally:
            exchange.close()
            if address not in self._requests.held:
                self._turns.pop(address, None)

    async def _at_once(self, exchange: Exchange, *, is_upload: bool) -> None:
        """Serve what takes its place before anything of a body has come."""
        address, places, serve = exchange.address, self._requests, self._other
        if is_upload:
            places, serve = self._uploads, self._upload
        elif exchange.scope["method"] == "GET" and exchange.path.startswith(_STREAMS):
            places, serve = self._streams, self._stream
        refusal = places.refusal(address)
        if refusal is not None and not (is_upload and self._can_end_one(address)):
            await exchange.refuse(refusal)
            return
        places.take(address)
        try:
            await serve(exchange)
        finally:
            places.give_back(address)

    async def _once_whole(self, exchange: Exchange) -> None:
        """Serve what takes a place among requests in work once its body is there."""
        refusal = self._bodies.begin(exchange)
        if refusal is not None:
            await exchange.refuse(refusal)
            return
        is_queued = exchange.scope["method"] == "POST" and exchange.path.startswith(_QUEUED)
        with ExitStack() as stack:
            stack.callback(self._bodies.leave, exchange)
            exchange.when_grown(partial(self._bodies.grow, exchange))
            exchange.when_whole(partial(self._put_to_work, exchange, stack))
            await self._other(exchange)
        if is_queued:
            GradioTables(exchange.scope["app"]).take_turns()

    async def _put_to_work(
        self, exchange: Exchange, stack: ExitStack, num_bytes: int
    ) -> Refusal | None:
        self._bodies.arrived(exchange)
        refusal = self._requests.refusal(exchange.address)
        if refusal is not None:
            return refusal
        self._requests.take(exchange.address)
        stack.callback(self._requests.give_back, exchange.address)
        body = exchange.content()
        values = num_values(body)
        if values > MOST_VALUES:
            return _MANY_VALUES
        exchange.scope[LOAD].num_bytes = len(body) + _VALUE_BYTES * values
        is_call = exchange.scope["method"] == "POST" and exchange.path.startswith(_CALLS)
        return await self._admit(exchange, stack, body) if is_call else None

    async def _other(self, exchange: Exchange) -> None:
        await self._app(exchange.scope, exchange.read, exchange.answer)

    async def _stream(self, exchange: Exchange) -> None:
        query = QueryParams(exchange.scope["query_string"])
        upload = query.get("upload_id")
        if upload is not None and len(upload) > MOST_NAME_CHARS:
            await exchange.refuse(_LONG_NAME)
            return
        session = query.get("session_hash") or exchange.path.rpartition("/")[2]
        try:
            with self._sessions.open(session):
                await self._app(exchange.scope, exchange.read, exchange.answer)
        finally:
            if upload is not None:
                _forget_progress(upload)

    async def _upload(self, exchange: Exchange) -> None:
        upload = QueryParams(exchange.scope["query_string"]).get("upload_id")
        if upload is not None:
            if len(upload) > MOST_NAME_CHARS:
                await exchange.refuse(_LONG_NAME)
                return
            file_upload_statuses.track(upload)  # Gradio would once the body is there
        self._arriving[exchange] = exchange.address
        exchange.when_whole(partial(self._make_room, exchange.address))
        exchange.scope[STORED] = partial(self._files.note, exchange.address)
        try:
            await self._app(exchange.scope, exchange.read, exchange.answer)
        finally:
            del self._arriving[exchange]
            if upload is not None:
                loop = asyncio.get_running_loop()
                loop.call_later(_FORGET_PROGRESS, _forget_progress, upload)
        await run_in_threadpool(self._memory.sweep, exchange.scope["app"].get_blocks())

    async def _make_room(self, address: str, num_bytes: int) -> Refusal | None:
        refusal = self._files.make_room(address, num_bytes)
        if refusal is not None:
            return refusal
        try:
            await run_in_threadpool(check_room, self._uploaded, num_bytes)
        except RoomError:
            self._files.give_up(num_bytes)
            count_anew()
            try:
                await run_in_threadpool(check_room, self._uploaded, num_bytes)
            except RoomError as error:
                return Refusal(_NO_ROOM, str(error))
        return None

    def _can_end_one(self, address: str) -> bool:
        """End the oldest upload on its way of the address with most, to make room for another's."""
        on_its_way = {one: who for one, who in self._arriving.items() if one.is_collecting}
        if not on_its_way or self._uploads.held[address] >= self._uploads.bound.own:
            return False
        most = Counter(on_its_way.values()).most_common(1)[0][0]
        exchange = next(one for one, who in on_its_way.items() if who == most)
        exchange.end(Refusal(429, "upload: others came, and this one took longest. Try again."))
        return True

    async def _admit(self, exchange: Exchange, stack: ExitStack, body: bytes) -> Refusal | None:
        """Give a call its session and its turn, or say what is missing."""
        address, is_queued = exchange.address, exchange.path.startswith(_QUEUED)
        tables, name = GradioTables(exchange.scope["app"]), _session(body)
        if name is not None and len(name) > MOST_NAME_CHARS:
            return _LONG_NAME
        if name is None and is_queued:  # Gradio names it after the event
            name = str(next(self._nameless)).rjust(MOST_NAME_CHARS + 1)  # nobody can send it
            exchange.keep_answer()
            stack.callback(self._name, name, exchange)
        if name is not None:
            refusal = await self._have_session(name, address, tables)
            if refusal is not None:
                return refusal
            stack.enter_context(self._sessions.open(name))
        turn = self._turns.setdefault(address, asyncio.Semaphore(self._crowd.calls))
        try:
            async with asyncio.timeout(_MOST_WAIT):
                await turn.acquire()
        except TimeoutError:
            return for_one("calls in work", self._crowd.calls, _WAIT)
        stack.callback(turn.release)
        if is_queued:
            held = tables.queued_bytes(self._crowd.body_bytes)
            return held.refusal(address, exchange.scope[LOAD].num_bytes)
        return None

    async def _have_session(self, name: str, address: str, tables: GradioTables) -> Refusal | None:
        if not self._sessions.knows(name):
            seconds = self._sessions.delay(address)
            if seconds > _MOST_WAIT:
                return Refusal(429, "pages: too many new ones from your address. Wait a minute.")
            await asyncio.sleep(seconds)
        return self._sessions.admit(name, address, tables)

    def _name(self, name: str, exchange: Exchange) -> None:
        """Give a session the name that Gradio answered."""
        answer = json.loads(b"".join(exchange.answered or [])) if exchange.status == 200 else {}
        self._sessions.rename(name, answer.get("event_id"))


def _session(body: bytes) -> str | None:
    """Return the session that a call names."""
    with suppress(ValueError, RecursionError):  # Gradio refuses it for the same reason
        content = json.loads(body)
        if isinstance(content, dict) and isinstance(content.get("session_hash"), str):
            return str(content["session_hash"])
    return None


def _forget_progress(upload: str) -> None:
    """Drop what Gradio would keep for ever about an upload, and about asking for one."""
    file_upload_statuses.stop_tracking(upload)
    file_upload_statuses._signals.pop(upload, None)
