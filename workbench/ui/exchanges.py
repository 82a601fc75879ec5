"""One request and its answer, with limits on how long either side may keep the other waiting."""

import asyncio
from collections.abc import Awaitable, Callable
from tempfile import SpooledTemporaryFile
from typing import IO

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from workbench.service.profile import Crowd
from workbench.ui.refusals import Refusal

UPLOAD = "/upload"
BODILESS = ("GET", "HEAD", "OPTIONS")
_API = "/gradio_api"
_IN_MEMORY_BYTES = 65_536  # of a body; more goes to an unnamed file
_PIECE_BYTES = 65_536
_TOO_SLOW = Refusal(
    408, "body: it did not arrive in time. Check your connection, then send it again."
)


def route_of(scope: Scope) -> str:
    """Return the path that routes are looked up by: without the place that the app is put at."""
    path, place = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    rest = path.removeprefix(place)
    return rest if place and path.startswith(place) and rest[:1] in ("", "/") else path


class Exchange:
    """Collects a whole body before the app sees any of it, and gives up those who dawdle.

    What a visitor leaves in the middle was never begun: the app has made nothing of it.

    Args:
        scope: The request's, with the address that counts as its client.
        receive: Source of what the visitor sends.
        send: Takes what is sent to the visitor.
        crowd: How long things may take.
        most_bytes: A larger body is not collected further but handed on, to be refused.
    """

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, crowd: Crowd, most_bytes: int
    ) -> None:
        self.scope = scope
        self.address = str(scope["client"][0])
        self.path = route_of(scope).removeprefix(_API)
        self.status = 0
        self.is_collecting = scope["method"] not in BODILESS  # or about to
        self.answered: list[bytes] | None = None
        self._receive, self._send, self._crowd = receive, send, crowd
        self.most_bytes = most_bytes
        self._body: IO[bytes] | None = None
        self._num_bytes = self._num_given = 0
        self._is_whole = scope["method"] in BODILESS
        self._is_given = self._is_over = False
        self._clock: asyncio.Timeout | None = None
        self._ended_by: Refusal | None = None
        self._grown: Callable[[int], Refusal | None] | None = None
        self._check: Callable[[int], Awaitable[Refusal | None]] | None = None

    def when_grown(self, check: Callable[[int], Refusal | None]) -> None:
        """Set what is asked, given their number, about bytes of a body before they are kept."""
        self._grown = check

    def when_whole(self, check: Callable[[int], Awaitable[Refusal | None]]) -> None:
        """Set what is asked, given the number of bytes, once the body is there."""
        self._check = check

    def keep_answer(self) -> None:
        """Note in `answered` what is sent."""
        self.answered = []

    def content(self) -> bytes:
        """Return the body."""
        if self._body is None:
            return b""
        self._body.seek(0)
        content = self._body.read()
        self._body.seek(self._num_given)
        return content

    def end(self, refusal: Refusal) -> None:
        """End it while its body is being collected, or before that has begun."""
        self.is_collecting = False
        self._ended_by = refusal
        if self._clock is not None:
            self._clock.reschedule(0)

    def close(self) -> None:
        """Let go of the body."""
        if self._body is not None:
            self._body.close()

    async def refuse(self, refusal: Refusal) -> Message:
        """Send a refusal; the app is told that its visitor has left."""
        if not self._is_over and not self.status:
            self.status = refusal.status
            answer = refusal.answer(to_upload=self.path == UPLOAD)
            await answer(self.scope, self._receive, self._send)
        self._is_over = True
        return {"type": "http.disconnect"}

    async def read(self) -> Message:
        """Return the next message for the app."""
        if self._is_over:
            return {"type": "http.disconnect"}
        if not self._is_whole and self._body is None:
            ended = await self._collect()
            if ended is not None:
                return ended
        if self._body is not None and not self._is_given:
            return self._next_piece(self._body)
        return await self._receive()

    async def answer(self, message: Message) -> None:
        """Send a message of the app.

        Raises:
            ClientDisconnect: the visitor takes nothing.
        """
        if self._is_over:
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif self.answered is not None:
            self.answered.append(message.get("body", b""))
        try:
            async with asyncio.timeout(self._crowd.quiet_seconds):
                await self._send(message)
        except TimeoutError:
            self._is_over = True
            raise ClientDisconnect from None

    async def _collect(self) -> Message | None:
        """Collect the body; return a message for the app if there is none to be had."""
        if self._ended_by is not None:
            return await self.refuse(self._ended_by)
        loop = asyncio.get_running_loop()
        last = loop.time() + self._crowd.body_seconds
        self._body = SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115  `close`
        more = True
        while more and self._num_bytes <= self.most_bytes:
            quiet = loop.time() + self._crowd.quiet_seconds
            try:
                async with asyncio.timeout_at(min(quiet, last)) as self._clock:
                    message = await self._receive()
            except TimeoutError:
                self.is_collecting = False
                return await self.refuse(self._ended_by or _TOO_SLOW)
            finally:
                self._clock = None
            if message["type"] != "http.request":
                self.is_collecting, self._is_over = False, True
                return message
            piece = message.get("body", b"")
            refusal = self._ended_by or (self._grown(len(piece)) if self._grown else None)
            if refusal is not None:
                self.is_collecting = False
                return await self.refuse(refusal)
            self._num_bytes += self._body.write(piece)
            more = message.get("more_body", False)
        self.is_collecting, self._is_whole = False, not more
        self._body.seek(0)
        refusal = await self._check(self._num_bytes) if self._check and not more else None
        return None if refusal is None else await self.refuse(refusal)

    def _next_piece(self, body: IO[bytes]) -> Message:
        piece = body.read(_PIECE_BYTES)
        self._num_given += len(piece)
        self._is_given = self._num_given >= self._num_bytes
        more = not self._is_given or not self._is_whole
        return {"type": "http.request", "body": piece, "more_body": more}
