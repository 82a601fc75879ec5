"""What comes to the page over HTTP: requests as the guard sees them, and endpoints' arguments."""

import asyncio
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from starlette.types import Message, Scope

from fuzz.mutation import changed_json
from fuzz.target import Target
from workbench.errors import ConfigError
from workbench.runs.experiment import Experiment
from workbench.service.profile import ZERO_GPU
from workbench.serving.desk import ModelDesk
from workbench.ui.api import Endpoints
from workbench.ui.context import AppContext
from workbench.ui.endpoint_calls import told
from workbench.ui.guards import Guard

_VISITOR = "fuzzing-fuzzing-1"


async def _app(scope: Scope, receive: Callable[[], Any], send: Callable[[Message], Any]) -> None:
    """Read the body as Starlette does, then answer."""
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"[]"})


def _guard(content: bytes, folder: Path) -> None:
    """Send a request: its path, its headers, an empty line, its body in two parts."""
    head, _, body = content.partition(b"\n\n")
    path, *lines = head.split(b"\n")
    headers = [
        (n.strip().lower(), v.strip()) for n, _, v in (line.partition(b":") for line in lines)
    ]
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": path.decode("utf-8", "replace"),
        "session": {},
        "headers": headers,
        "query_string": b"",
    }
    half = len(body) // 2
    waiting = [
        {"type": "http.request", "body": body[half:], "more_body": False},
        {"type": "http.request", "body": body[:half], "more_body": True},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return waiting.pop() if waiting else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    guard = Guard(
        _app, upload_bytes=5000, only_local=len(content) % 2 == 0, space_host="x.hf.space"
    )
    asyncio.run(guard(scope, receive, send))
    assert sent[0]["status"] in {200, 400, 403, 404, 411, 413, 422, 429}, sent
    json.dumps([str(message) for message in sent])


class _Desk(ModelDesk):
    """A desk without a base: everything up to the model is done."""

    def session(self, experiment: Experiment) -> Any:
        raise ConfigError("base: none here.")

    def call(self, work: Callable[[], Any]) -> Any:
        return work()

    def stream(self, work: Callable[[Callable[[], bool]], Iterator[Any]]) -> Iterator[Any]:
        return work(lambda: True)


@cache
def _desk() -> _Desk:
    return _Desk()


_ENDPOINTS = (
    "ask",
    "score",
    "upload_rows",
    "start_training",
    "start_evaluation",
    "job_status",
    "stop_job",
    "export_comparison",
    "list_runs",
)


def _endpoint(content: bytes, folder: Path) -> None:
    """Call an endpoint as Gradio does, with a list of arguments of any kind."""
    try:
        asked = json.loads(content)
    except (ValueError, RecursionError):
        return  # Gradio refuses it
    name, data = (asked.get("name"), asked.get("data")) if isinstance(asked, dict) else ("", [])
    if name not in _ENDPOINTS or not isinstance(data, list):
        return
    context = AppContext(folder, ZERO_GPU, _desk(), folder / "exports", lambda job: job)
    called = told(getattr(Endpoints(context), name)).__wrapped__  # past what turns bugs to messages
    usual, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        answer = called(*data)
        for part in answer if isinstance(answer, Iterator) else [answer]:
            json.dumps(part, ensure_ascii=False).encode()
    finally:
        tempfile.tempdir = usual


def _guard_seeds() -> Sequence[bytes]:
    call = b"/gradio_api/call/ask\nhost: 127.0.0.1\ncontent-type: application/json\n"
    file = b'{"data": [{"path": "http://127.0.0.1/x", "meta": {"_type": "gradio.FileData"}}]}'
    return [
        call + b"content-length: 17\n\n" + b'{"data": ["sun"]}',
        call + b"\n" + file,
        b"/gradio_api/upload\nhost: x.hf.space\norigin: https://x.hf.space\n"
        b"content-length: 9999\n\nx",
        b"/gradio_api/file=http://127.0.0.1\nhost: [::1]:7860\n\n",
        b"/gradio_api/queue/join\nhost: localhost:7860\norigin: http://evil\n"
        b"content-type: application/JSON; charset=x\nx-forwarded-host: y\n\n{}",
    ]


def _endpoint_seeds() -> Sequence[bytes]:
    rows = "text,label\n" + "\n".join(f"day {n},{('sun', 'rain')[n % 2]}" for n in range(12))
    options = {"steps": 10, "learning_rate": "1e-2", "num_virtual_tokens": 4}
    experiment = {"task": "support_intents", "methods": {"lora": {"rank": 2}}, "seeds": [0]}
    ways = ["words:zero_shot", "run:x"]
    calls = {
        "ask": ["a sun", ways, "support_intents", "", "plain", 8, 0.0, 0, "nf4", _VISITOR],
        "score": [["a sun"], "words:zero_shot", "support_intents", "plain", "nf4", _VISITOR],
        "upload_rows": ["mine", rows, ".csv", "text", "label", "", "classification", _VISITOR],
        "start_training": ["prompt_tuning", options, "support_intents", "plain", 0, _VISITOR],
        "start_evaluation": [experiment, _VISITOR],
        **{
            name: ["20260101-x", _VISITOR]
            for name in ("job_status", "stop_job", "export_comparison")
        },
        "list_runs": [_VISITOR],
    }
    return [json.dumps({"name": name, "data": data}).encode() for name, data in calls.items()]


def _changed_call(content: bytes, draw: Random) -> bytes:
    head, sign, body = content.partition(b"\n\n")
    return head + sign + changed_json(body, draw)


TARGETS = (
    Target("guard", _guard, _guard_seeds, (_changed_call,)),
    Target("endpoint", _endpoint, _endpoint_seeds, (changed_json,), share=1.5),
)
