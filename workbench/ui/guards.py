"""What stands in front of Gradio: bounds on bodies, closed doors, and headers for browsers.

Gradio bounds uploaded files but no JSON, downloads from any public address for whoever asks, and
sends no headers against sniffing and framing.
"""

import json
from collections.abc import Mapping
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BODY_BYTES = 2_000_000  # the largest honest one is `upload_rows` with a file as text
_UPLOAD_MARGIN = 100_000  # bytes of a form around its file
_API = "/gradio_api/"
_UPLOAD = f"{_API}upload"
_CLOSED = ("component_server", "deep_link", "process_recording", "proxy=", "undo-vibe", "vibe-")
_FILES = ("file=", "file/")
_HUB = "https://huggingface.co"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_HOSTS = ("host", "x-forwarded-host")  # headers that say by which name a visitor came


def is_loopback(host: str) -> bool:
    """Return whether an address to listen on is reached from this machine alone."""
    return host.lower().strip("[]") in _LOOPBACK


def page_headers(*, on_hub: bool) -> Mapping[str, str]:
    """Return the headers of every answer.

    Args:
        on_hub: The page is a Space, whose frame asks the Hub about it.
    """
    others = f" {_HUB}" if on_hub else ""
    policy = {
        "default-src": "'self'",
        # Gradio's page starts with inline scripts and compiles its HTML templates.
        "script-src": "'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": f"'self' data: blob:{others}",
        "font-src": "'self' data:",
        "media-src": "'self' data: blob:",
        "worker-src": "'self' blob:",
        "connect-src": f"'self' data: blob:{others}",
        "object-src": "'none'",
        "base-uri": "'self'",
        "frame-ancestors": f"'self' {_HUB} https://*.hf.space",
    }
    return {
        "Content-Security-Policy": "; ".join(" ".join(rule) for rule in policy.items()),
        "Referrer-Policy": "no-referrer",  # links to shared runs carry their key
        "X-Content-Type-Options": "nosniff",
    }


class Guard:
    """Refuses what the page never sends; everything else passes through, with headers added.

    Args:
        app: What is guarded.
        upload_bytes: Size of the largest file that may be uploaded.
        only_local: Answer only requests that are addressed to this machine by a page of this
            machine: another site cannot use a visitor's browser to get in.
        space_host: Name of the Space this is, if it is one.
    """

    def __init__(
        self, app: ASGIApp, *, upload_bytes: int, only_local: bool, space_host: str = ""
    ) -> None:
        self._app = app
        self._most_upload = upload_bytes + _UPLOAD_MARGIN
        self._only_local = only_local
        self._space_host = space_host
        self._headers = page_headers(on_hub=bool(space_host))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        headers = Headers(scope=scope)
        most = self._most_upload if scope["path"] == _UPLOAD else MOST_BODY_BYTES
        announced = headers.get("content-length", "0")
        refusal = self._refusal(scope["path"], headers)
        if refusal is None and announced.isdecimal() and int(announced) > most:
            refusal = _too_large(most)
        if refusal is not None:
            await refusal(scope, receive, answer)
            return
        if "session" in scope and self._is_from_elsewhere(headers):
            # Gradio lets every site call a Space, cookies included: never in a visitor's name.
            scope = {**scope, "session": {}}
        read, reply = _bounded(most, scope, receive, answer)
        if "json" in headers.get("content-type", ""):
            body = await _whole(read)
            if body is None:  # refused, or left
                return
            fault = _fault(body)
            if fault is not None:
                await _refused(400, fault)(scope, receive, answer)
                return
            read = _replayed(body, read)
        with suppress(ClientDisconnect):  # how an app leaves whose reader was refused
            await self._app(scope, read, reply)

    def _is_from_elsewhere(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        own = {self._space_host, *(headers.get(name, "") for name in _HOSTS)} - {""}
        return origin is not None and origin.partition("://")[2] not in own

    def _refusal(self, path: str, headers: Headers) -> JSONResponse | None:
        if self._only_local:
            host, origin = headers.get("host", ""), headers.get("origin")
            if not is_loopback(_name_of(host)):
                return _refused(
                    403,
                    f"host {host[:80]!r}: this app answers on this machine only. Open it as "
                    "http://127.0.0.1, or start it with --host to let others in.",
                )
            if origin is not None and not is_loopback(_name_of(origin.partition("://")[2])):
                return _refused(403, f"origin {origin[:80]!r}: another site may not call this app.")
        if path.startswith(_API):
            rest = path.removeprefix(_API)
            if rest.startswith(_CLOSED) or (rest.startswith(_FILES) and "://" in rest):
                return _refused(403, "this address is closed: the page does not use it.")
        return None


def _bounded(most: int, scope: Scope, receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Return `receive` and `send` for the app: a body that grows too large ends in a refusal.

    The refusal is sent while the body is read, and the app is told that its reader has left.
    """
    num_read, is_refused = 0, False

    async def read() -> Message:
        nonlocal num_read, is_refused
        if is_refused:
            return {"type": "http.disconnect"}
        message = await receive()
        num_read += len(message.get("body", b""))
        if num_read > most:
            await _too_large(most)(scope, receive, send)
            is_refused = True
            return {"type": "http.disconnect"}
        return message

    async def answer(message: Message) -> None:
        if not is_refused:
            await send(message)

    return read, answer


async def _whole(read: Receive) -> bytes | None:
    """Return a body, or None if it is not to be had."""
    parts = []
    while True:
        message = await read()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _replayed(body: bytes, read: Receive) -> Receive:
    """Return `receive` for a body that was read already."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await read()

    return again


def _fault(body: bytes) -> str | None:
    """Return what Gradio would stumble over in a call, or do for anybody who asks."""
    try:
        pending = [json.loads(body)]
    except (ValueError, RecursionError):  # Gradio refuses it for the same reason
        return None
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            path = value.get("path")
            if "meta" in value and isinstance(path, str) and "://" in path:
                return "files: upload them; they are not fetched from an address."
            pending += [*value, *value.values()]
        elif isinstance(value, list):
            pending += value
        elif isinstance(value, str) and _has_half_character(value):
            return "text: half a character in it (a lone surrogate); write it again."
    return None


def _has_half_character(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _too_large(most: int) -> JSONResponse:
    return _refused(
        413, f"body: larger than {most / 1e6:g} MB, the most this address takes. Send less at once."
    )


def _refused(status: int, sentence: str) -> JSONResponse:
    # Closing spares the server the rest of a body that nobody will read.
    return JSONResponse({"detail": sentence}, status, headers={"Connection": "close"})


def _name_of(netloc: str) -> str:
    """Return the host of "host:port"."""
    host, _, port = netloc.rpartition(":")
    return host if host and port.isdecimal() else netloc
