"""Visitors from several addresses of this machine: honest ones, and one who holds things open."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx

from security.raw import Visitor

ROBBER, HONEST, OTHER = "127.0.0.2", "127.0.0.3", "127.0.0.4"
_HEAD = "Host: 127.0.0.1\r\nConnection: close\r\n"


class Neighbour(Visitor):
    """A visitor from an address of their own.

    Args:
        app: Address of the app.
        token: Of the visitor.
        source: The visitor's address.
    """

    def __init__(self, app: str, token: str, source: str = HONEST) -> None:
        super().__init__(app, token)
        self.http.close()
        self.http = httpx.Client(
            base_url=app,
            timeout=60,
            headers={"Connection": "close"},
            transport=httpx.HTTPTransport(local_address=source, verify=False),
        )


def begun(app: str, source: str, request: bytes) -> socket.socket:
    """Return a connection from an address over which something was sent."""
    port = int(app.rpartition(":")[2])
    raw = socket.create_connection(("127.0.0.1", port), 20, source_address=(source, 0))
    raw.sendall(request)
    return raw


def half_an_upload(size: int = 1000, *, more: str = "", path: str = "upload") -> bytes:
    """Return an upload of which the end is missing."""
    head = (
        f"POST /gradio_api/{path} HTTP/1.1\r\n{_HEAD}{more}Content-Length: {size + 10_000}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="files"; filename="a.csv"\r\n\r\n'
    )
    return head.encode() + b"x" * size


def stream(session: str) -> bytes:
    """Return what asks for the stream that a page keeps open."""
    return f"GET /gradio_api/heartbeat/{session} HTTP/1.1\r\n{_HEAD}\r\n".encode()


def status_of(raw: socket.socket, seconds: float = 0.0) -> int | None:
    """Return the status of an answer that came within some time, if one came."""
    raw.settimeout(max(seconds, 1e-3))
    with suppress(TimeoutError, ConnectionError):
        answer = raw.recv(65536)
        return int(answer.split()[1]) if answer else 0
    return None


def said_to(raw: socket.socket) -> str:
    """Return what an answer says."""
    text = b""
    with suppress(ConnectionError):
        while part := raw.recv(65536):
            text += part
    return text.partition(b"\r\n\r\n")[2].decode()


@contextmanager
def held(app: str, sources: list[str], requests: list[bytes]) -> Iterator[list[socket.socket]]:
    """Hold connections open, one of each source and request; at last the server knows them gone."""
    with ExitStack() as stack:
        connections = [
            stack.enter_context(begun(app, source, request))
            for source, request in zip(sources, requests, strict=True)
        ]
        yield connections
        for raw in connections:
            with suppress(OSError):  # the server has left already
                raw.shutdown(socket.SHUT_WR)
        for raw in connections:
            _ended(raw)


def _ended(raw: socket.socket) -> None:
    """Wait until the server has closed its side of a connection, for as long as it may take."""
    raw.settimeout(10)
    with suppress(OSError):
        while raw.recv(65536):
            pass


def files_below(folder: Path) -> list[Path]:
    """Return the files below a folder."""
    return [Path(place) / name for place, _, names in os.walk(folder) for name in names]
