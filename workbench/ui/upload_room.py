"""Room for uploaded files: Gradio bounds the size of each, and keeps any number for a day."""

from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from workbench.errors import RoomError
from workbench.service.space import make_room

_UPLOAD = "/gradio_api/upload"
_NO_ROOM = 507  # "insufficient storage", RFC 4918, section 11.5


class UploadRoom:
    """Refuses an upload that there is no room for; everything else passes through.

    Args:
        app: What is guarded.
        folder: Where Gradio keeps what was uploaded.
        upload_bytes: Size of the largest file, for whoever does not say how much is coming.
    """

    def __init__(self, app: ASGIApp, *, folder: Path, upload_bytes: int) -> None:
        self._app, self._file, self._most = app, folder / "upload", upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and scope["path"] == _UPLOAD:
            announced = Headers(scope=scope).get("content-length", "")
            coming = int(announced) if announced.isdecimal() else self._most
            try:
                await run_in_threadpool(make_room, self._file, coming)
            except RoomError as error:
                closing = {"Connection": "close"}  # the rest of the body is read by nobody
                refusal = JSONResponse({"detail": str(error)}, _NO_ROOM, headers=closing)
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)
