"""A visitor who speaks HTTP without the page: any value to any handler, whatever it asks for."""

import http.client
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx

SECRETS = re.compile(
    r"Traceback \(most recent|File \"/|site-packages|root:x:0|/visitors/|/workspace/"
)
"""What no answer may hold: tracebacks, and where things lie on the server."""


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: Of HTTP; of a queued call, of joining the queue.
        text: Everything that was sent, as it was sent.
        data: Return values of a call that succeeded.
        error: Message of a call that failed, if it has one.
    """

    status: int
    text: str
    data: list[Any] | None = None
    error: str | None = None

    @property
    def html(self) -> str:
        """All texts among the return values."""
        return "\n".join(value for value in self.data or [] if isinstance(value, str))


class Visitor:
    """One session with one token.

    Args:
        address: Of the app.
        token: Of the visitor; None sends none.
        session: Session hash; another visitor's can be given.
    """

    def __init__(self, address: str, token: str | None = None, session: str | None = None) -> None:
        self.address, self.token = address, token
        self.session = session or uuid.uuid4().hex[:11]
        # A client that keeps a connection may be told of its end only after the next request.
        # Certificates, which plain HTTP does not need, take most of the time to make one.
        self.http = httpx.Client(
            base_url=address, timeout=60, headers={"Connection": "close"}, verify=False
        )

    @property
    def config(self) -> dict[str, Any]:
        """What the page is told about itself."""
        return _content(f"{self.address}/config")

    def component(self, elem_id: str) -> dict[str, Any]:
        """Return a component by the id it has in the page."""
        found = [c for c in self.config["components"] if c["props"].get("elem_id") == elem_id]
        assert len(found) == 1, elem_id
        return found[0]

    def handler(self, elem_id: str, event: str) -> dict[str, Any]:
        """Return the handler of an event of a component."""
        target = [self.component(elem_id)["id"], event]
        found = [one for one in self.config["dependencies"] if target in one["targets"]]
        assert found, target
        return found[0]

    def handlers(self) -> list[dict[str, Any]]:
        """Return every handler of the server that takes values; some are the browser's alone."""
        return [one for one in self.config["dependencies"] if one["inputs"] and one["backend_fn"]]

    def inputs(self, handler: Mapping[str, Any], **changes: object) -> list[Any]:
        """Return what the page would send at its start: first values, and the visitor's token.

        Args:
            handler: Whose inputs.
            changes: Values by the component's element id, "-" written as "_".
        """
        components = {c["id"]: c for c in self.config["components"]}
        values = []
        for number in handler["inputs"]:
            props, kind = components[number]["props"], components[number]["type"]
            name = str(props.get("elem_id") or "").replace("-", "_")
            own = self.token if kind == "browserstate" else props.get("value")
            values.append(changes.get(name, own))
        return values

    def run(self, handler: Mapping[str, Any], data: Sequence[Any]) -> Answer:
        """Call a handler by its number, past the page; data may hold what JSON cannot."""
        body = json.dumps({"data": data, "fn_index": handler["id"], "session_hash": self.session})
        return self.send(handler, body)

    def click(self, elem_id: str, event: str = "click", **changes: object) -> Answer:
        """Call the handler of an event with the values of the page, some of them changed."""
        handler = self.handler(elem_id, event)
        return self.run(handler, self.inputs(handler, **changes))

    def send(self, handler: Mapping[str, Any], body: str) -> Answer:
        """Send a body to a handler, by the way that the page takes."""
        json_type = {"Content-Type": "application/json"}
        content = body.encode("utf-8", "surrogatepass")
        if not handler["queue"]:
            got = self.http.post("/gradio_api/run/x", content=content, headers=json_type)
            return _answer(got.status_code, got.text)
        got = self.http.post("/gradio_api/queue/join", content=content, headers=json_type)
        if got.status_code != 200:
            return _answer(got.status_code, got.text)
        return self._streamed(got.json()["event_id"])

    def call(self, name: str, /, **given: object) -> Answer:
        """Call a named endpoint; what is not given has its default, `visitor` the own token."""
        handler = next(h for h in self.config["dependencies"] if h["api_name"] == name)
        values = {"visitor": self.token} | given
        data = [
            values.get(parameter["parameter_name"], parameter["parameter_default"])
            for parameter in self.parameters(name)
        ]
        return self.run(handler, data)

    def parameters(self, name: str) -> list[dict[str, Any]]:
        """Return what is said about the parameters of a named endpoint."""
        endpoints = _content(f"{self.address}/gradio_api/info")["named_endpoints"]
        found: list[dict[str, Any]] = endpoints[f"/{name}"]["parameters"]
        return found

    def get(self, path: str) -> Answer:
        """Return what is at a path, sent as it is written: a usual client would tidy it first."""
        place = httpx.URL(self.address)
        connection = http.client.HTTPConnection(place.host, place.port, timeout=60)
        connection.request("GET", path)
        got = connection.getresponse()
        text = got.read().decode(errors="replace")
        connection.close()
        return Answer(got.status, text)

    def upload(self, name: str, content: bytes) -> str:
        """Upload a file; return the path that the server gives it."""
        got = self.http.post("/gradio_api/upload", files={"files": (name, content)})
        assert got.status_code == 200, got.text
        return str(got.json()[0])

    def close(self) -> None:
        """End the connections."""
        self.http.close()

    def _streamed(self, event_id: str) -> Answer:
        text, last = "", {}
        query = {"session_hash": self.session}
        with self.http.stream("GET", "/gradio_api/queue/data", params=query) as stream:
            for line in stream.iter_lines():
                text += line
                if event_id in line and "process_completed" in line:
                    last = json.loads(line.removeprefix("data: "))
                    break
        output = last.get("output") or {}
        return Answer(200, text, output.get("data"), output.get("error"))


def file_data(path: str | Path, **more: object) -> dict[str, Any]:
    """Return a file as the page hands it over."""
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}, **more}


@cache
def _content(address: str) -> dict[str, Any]:
    """Return what stands at an address; it is the same for all visitors."""
    content: dict[str, Any] = httpx.get(address, timeout=60, verify=False).json()
    return content


def _answer(status: int, text: str) -> Answer:
    try:
        content = json.loads(text)
    except ValueError:
        return Answer(status, text)
    if not isinstance(content, dict):
        return Answer(status, text)
    error = content.get("error") or content.get("detail")
    return Answer(status, text, content.get("data"), None if error is None else str(error))
