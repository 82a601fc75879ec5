"""The bodies of calls, checked before Gradio sees them.

What counts is what the framework will read, not what a header says about it: every body is parsed
here as Starlette parses it.
"""

import json
import re
from collections.abc import Callable
from itertools import islice
from typing import Any

from starlette.types import Message, Receive

_FILE_TYPE = "gradio.FileData"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # clients send a dozen characters, or a UUID
_MOST_NUMBER = 10**6  # of a handler or a component
MOST_VALUES = 20_000
"""Values in a call of a stranger; the page's tables and settings have some thousands."""
_MARKS = (b"[", b"{", b",", b":")
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{,:]', re.DOTALL)


class BodyFault(Exception):
    """A body that no page sends; the text says why."""


def checked_body(body: bytes, may_use: Callable[[str, str], bool]) -> bytes:
    """Return a call's body as Gradio may have it: of a file only where it lies and its name.

    Args:
        body: As it was sent, in any encoding of JSON.
        may_use: Whether a file may be named, given its path and the call's session.

    Raises:
        BodyFault: It is no JSON mapping, names a session or a handler in no known form, holds half
            a character, or a file that the caller did not upload.
    """
    content = _mapping(body)
    session = str(content.get("session_hash") or "")
    has_files, pending = False, list[object]([content])
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if _is_file(value):
                _reduce_file(value, lambda path: may_use(path, session))
                has_files = True
            pending += [*value, *value.values()]
        elif isinstance(value, list):
            pending += value
        elif isinstance(value, str) and _has_half_character(value):
            raise BodyFault("text: half a character in it (a lone surrogate); write it again.")
    _check_names(content)
    return json.dumps(content).encode() if has_files else body


def num_values(body: bytes) -> int:
    """Return about how many values a body has, up to one above `MOST_VALUES`, making none of them.

    To read two million bytes of empty lists takes a second in which nobody is served. What is no
    text in any encoding of JSON has none.
    """
    most = sum(body.count(mark) for mark in _MARKS)  # those inside of texts too
    if most <= MOST_VALUES:
        return most
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
    except ValueError:
        return 0
    marks = (found for found in _TOKEN.finditer(text) if not found[0].startswith('"'))
    return sum(1 for _ in islice(marks, MOST_VALUES + 1))


def is_name(text: str) -> bool:
    """Return whether a text has the form of a session's or an upload's name."""
    return _NAME.fullmatch(text) is not None


async def whole_body(read: Receive) -> bytes | None:
    """Return a body, or None if it is not to be had."""
    parts = []
    while True:
        message = await read()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def replayed(body: bytes, read: Receive) -> Receive:
    """Return `receive` for a body that was read already."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await read()

    return again


def _mapping(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise BodyFault("body: no JSON. Send a call as JSON.") from None
    if not isinstance(content, dict):
        raise BodyFault('body: a JSON mapping is needed, as in {"data": []}.')
    return content


def _check_names(content: dict[str, Any]) -> None:
    for key in ("session_hash", "event_id"):
        value = content.get(key)
        if value is not None and not (isinstance(value, str) and is_name(value)):
            raise BodyFault(f"{key}: at most 64 letters, digits, '-' and '_' are taken.")
    for key in ("fn_index", "trigger_id"):
        value = content.get(key)
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 <= value < _MOST_NUMBER):
            raise BodyFault(f"{key}: a number is needed, as the page's /config lists it.")
    if content.get("batched"):
        raise BodyFault("batched: one call at a time is taken.")


def _is_file(value: dict[str, Any]) -> bool:
    meta = value.get("meta")
    is_marked = isinstance(meta, dict) and meta.get("_type") == _FILE_TYPE
    return is_marked or ("path" in value and "meta" in value)


def _reduce_file(value: dict[str, Any], may_use: Callable[[str], bool]) -> None:
    path, name = value.get("path"), value.get("orig_name")
    if not isinstance(path, str) or "://" in path or path.startswith(("//", "\\\\")):
        raise BodyFault("files: upload them; they are not fetched from an address.")
    if not may_use(path):
        raise BodyFault("files: one is no upload of yours, or is gone by now; upload it again.")
    value.clear()
    value |= {"path": path, "meta": {"_type": _FILE_TYPE}}
    if isinstance(name, str):
        value["orig_name"] = name


def _has_half_character(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
