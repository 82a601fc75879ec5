"""What stands in front of Gradio: bounds on bodies, closed doors, and headers for browsers.

Gradio bounds uploaded files but no JSON, takes files by address and by any path below its upload
folder, builds the page's address from whatever a header says, stumbles over requests of no known
form, and sends no headers against sniffing and framing.
"""

import errno
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workbench.ui.call_bodies import BodyFault, checked_body, is_name, replayed, whole_body
from workbench.ui.exchanges import route_of
from workbench.ui.own_folders import remove_strays
from workbench.ui.upload_ledger import Caller, UploadLedger, caller_of

MOST_BODY_BYTES = 2_000_000  # the largest honest one is `upload_rows` with a file as text
_UPLOAD_MARGIN = 100_000  # bytes of a form around its file
_MOST_SEGMENT = 255  # bytes between two slashes of an address: the longest name of a file
_API = "/gradio_api/"
_UPLOAD = f"{_API}upload"
_CALLS = re.compile(rf"{_API}((run|api|call|call/v2)/[^/]+/?|queue/join|cancel|reset/?)")
_DIRECT = re.compile(rf"{_API}(run|api)/")  # answered at once, with 500 for values refused
_CLOSED = (
    "component_server",
    "custom_component",
    "deep_link",
    "dev/",
    "process_recording",
    "proxy=",
    "stream/",
    "undo-vibe",
    "vibe-",
)
_FILES = ("file=", "file/")
_HUB = "https://huggingface.co"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_HOSTS = ("host", "x-forwarded-host")  # headers that say by which name a visitor came
_HOST = re.compile(r"([A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
# Gradio believes some of these about its own address; what asks for a part of a file it misreads.
_DROPPED = {
    b"forwarded",
    b"if-range",
    b"range",
    b"x-forwarded-host",
    b"x-forwarded-prefix",
    b"x-gradio-server",
}
_NAMES = ("session_hash", "upload_id")  # parts of a query that Gradio keeps things under
_COOKIE_ANSWERS = ("/", "/config", _UPLOAD)
_OUT_OF_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)
_NO_FORM = "request: of no form that the page sends."


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
        space_host: Names of the Space this is, separated by commas, if it is one.
        has_owners: Visitors are strangers to each other: nobody uses another's upload.
        uploads: Gradio's folder of uploads.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        upload_bytes: int,
        only_local: bool,
        space_host: str = "",
        has_owners: bool = True,
        uploads: Path | None = None,
    ) -> None:
        self._app = app
        self._most_upload = upload_bytes + _UPLOAD_MARGIN
        self._only_local = only_local
        self._space_hosts = [name.strip() for name in space_host.split(",") if name.strip()]
        self._headers = page_headers(on_hub=bool(space_host))
        self._has_owners = has_owners
        self._ledger = UploadLedger(has_owners=has_owners)
        self._uploads = uploads
        self._num_uploading = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "websocket":  # the page opens none
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, path = Headers(scope=scope), route_of(scope)
        caller = caller_of((scope.get("client") or ("",))[0], headers)
        answer = self._answering(path, caller, headers, send)
        most = self._most_upload if path == _UPLOAD else MOST_BODY_BYTES
        announced = headers.get("content-length", "0")
        refusal = self._refusal(headers) or _odd(scope, path)
        if announced.isdecimal() and int(announced) > most:
            refusal = _too_large(most)
        if refusal is not None:
            await refusal(scope, receive, answer)
            return
        is_foreign = "session" in scope and self._is_from_elsewhere(headers)
        scope = {**scope, "headers": self._plain_headers(scope, headers)}
        if is_foreign:
            # Gradio lets every site call a Space, cookies included: never in a visitor's name.
            scope["session"] = {}
        read, reply = _bounded(most, scope, receive, answer)
        if scope["method"] == "POST" and path != _UPLOAD:
            body = await whole_body(read)
            if body is None:  # refused, or left
                return
            try:
                body = checked_body(body, partial(self._ledger.may_use, caller))
            except BodyFault as fault:
                await _refused(400, str(fault))(scope, receive, answer)
                return
            read = replayed(body, read)
        await self._forward(path, scope, read, reply)

    async def _forward(self, path: str, scope: Scope, read: Receive, reply: Send) -> None:
        self._num_uploading += path == _UPLOAD
        try:
            with suppress(ClientDisconnect):  # how an app leaves whose reader was refused
                await self._app(scope, read, reply)
        finally:
            if path == _UPLOAD:
                self._num_uploading -= 1
                if self._uploads is not None:
                    remove_strays(self._uploads, is_quiet=self._num_uploading == 0)

    def _answering(self, path: str, caller: Caller, headers: Headers, send: Send) -> Send:
        """Return `send` with the page's headers; what an upload is answered with is noted."""
        status = 0
        is_secure = bool(self._space_hosts) or headers.get("x-forwarded-proto", "") == "https"

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                sent = MutableHeaders(scope=message)
                sent.update(self._headers)
                if self._has_owners and not caller.is_known and path in _COOKIE_ANSWERS:
                    sent.append("Set-Cookie", caller.set_cookie(is_secure=is_secure))
            elif path == _UPLOAD and status == 200:
                for stored in json.loads(message["body"]):
                    self._ledger.note(stored, caller)
            await send(message)

        return _without_500(answer) if _DIRECT.match(path) else answer

    def _is_from_elsewhere(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        own = {*self._space_hosts, *(headers.get(name, "") for name in _HOSTS)} - {""}
        return origin is not None and origin.partition("://")[2] not in own

    def _plain_headers(self, scope: Scope, headers: Headers) -> list[tuple[bytes, bytes]]:
        """Return a request's headers with the app's own name, and no other, as its address."""
        named = [headers.get(name, "").partition(",")[0].strip() for name in _HOSTS]
        host = named[0]
        if self._space_hosts:
            host = next((name for name in named if name in self._space_hosts), self._space_hosts[0])
        if not host:  # HTTP/1.0 may leave it out
            place, port = scope.get("server") or ("localhost", None)
            host = place if port is None else f"{place}:{port}"
        proto = headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
        dropped = _DROPPED | {b"host", b"x-forwarded-proto"}
        kept = [(name, value) for name, value in scope["headers"] if name.lower() not in dropped]
        if proto in ("http", "https"):
            kept.append((b"x-forwarded-proto", proto.encode()))
        return [(b"host", host.encode("latin-1")), *kept]

    def _refusal(self, headers: Headers) -> JSONResponse | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._only_local:
            is_name = self._space_hosts or not host or _HOST.fullmatch(host)
            return None if is_name else _refused(400, "host: no name of a machine.")
        if not is_loopback(_name_of(host)):
            return _refused(
                403,
                f"host {host[:80]!r}: this app answers on this machine only. Open it as "
                "http://127.0.0.1, or start it with --host to let others in.",
            )
        if origin is not None and not is_loopback(_name_of(origin.partition("://")[2])):
            return _refused(403, f"origin {origin[:80]!r}: another site may not call this app.")
        return None


def _odd(scope: Scope, path: str) -> JSONResponse | None:
    """Return the refusal of an address that the page does not ask for, or None."""
    rest = path.removeprefix(_API) if path.startswith(_API) else ""
    is_file = rest.startswith(_FILES)
    is_call = path == _UPLOAD or _CALLS.fullmatch(path) is not None
    is_closed = rest.startswith(_CLOSED) or (is_file and "://" in rest)
    if is_closed or (scope["method"] == "POST" and not is_call):
        return _refused(403, "this address is closed: the page does not use it.")
    longest = max(len(part) for part in path.encode("utf-8", "replace").split(b"/"))
    if longest > _MOST_SEGMENT and not is_file:
        return _refused(404, "this address is longer than any of the page.")
    query = parse_qsl(scope.get("query_string", b"").decode("latin-1"))
    named = [value for key, value in query if key in _NAMES]
    if rest.startswith("heartbeat/"):
        named.append(rest.removeprefix("heartbeat/"))
    if not all(map(is_name, named)):
        return _refused(400, f"{' or '.join(_NAMES)}: at most 64 letters and digits are taken.")
    return None


async def stumbled(request: Request, error: Exception) -> JSONResponse:
    """Return the answer to a request that Gradio has no answer to, in place of status 500.

    The log has what it stumbled over.
    """
    headers = page_headers(on_hub="SPACE_HOST" in os.environ)
    if isinstance(error, OSError) and error.errno in _OUT_OF_ROOM:
        sentence = "the server has no room for this now. Nothing is lost; try again later."
        return JSONResponse({"detail": sentence}, 503, headers=headers)
    path = route_of(request.scope)
    known = {_UPLOAD: "upload: a form with files is needed, each under 'files' with its name."}
    if path.startswith("/login"):
        known[path] = "login: it was not completed. Go back to the page and log in again."
    return JSONResponse({"detail": known.get(path, _NO_FORM)}, 400, headers=headers)


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


def _without_500(send: Send) -> Send:
    """Return `send` for calls that are answered at once: values refused are the caller's fault."""
    held: list[Message] = []

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 500:
            held.append(message)
        elif held:
            content = json.loads(message["body"])
            content["error"] = content.get("error") or _NO_FORM
            body = json.dumps(content).encode()
            start = {**held.pop(), "status": 422}
            MutableHeaders(scope=start)["Content-Length"] = str(len(body))
            await send(start)
            await send({**message, "body": body})
        else:
            await send(message)

    return answer


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
