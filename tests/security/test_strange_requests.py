"""Requests of no known form get 4xx and one sentence: no stumbling, no path, no other's name."""

import asyncio
import json

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from security.raw import SECRETS, Visitor
from security.test_guards import connected, handled
from workbench.ui.guards import Guard, stumbled

OWN = "Host: 127.0.0.1\r\n"
JSON = "application/json"
EVIL = "evil.example"
PAGES = ("/", "/config", "/logout", "/gradio_api/info", "/gradio_api/openapi.json")


def answered(site, start, headers=OWN, body=b"", version="1.1"):
    """Return status and text of an answer to a request as it is written."""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    head = f"{start} HTTP/{version}\r\n{headers}{length}Connection: close\r\n\r\n"
    with connected(site.address) as raw:
        raw.sendall(head.encode("latin-1") + body)
        text = b""
        while part := raw.recv(65536):
            text += part
    start, _, rest = text.partition(b"\r\n\r\n")
    return int(start.split()[1]), rest.decode(errors="replace")


def check(status, text, what, *, least=200):
    """Fail unless an answer is of the caller's fault at worst, and tells nothing of the server."""
    assert least <= status < 500, (what, status, text[:200])
    assert SECRETS.search(text) is None, what


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
ROUTES = (
    *PAGES,
    *("/theme.css", "/manifest.json", "/robots.txt", "/favicon.ico", "/pwa_icon", "/pwa_icon/-1"),
    *("/login", "/login/", "/login/huggingface", "/login/callback?error=access_denied"),
    *("/login/callback?_nb_redirects=x", "/monitoring", "/monitoring/x", "/monitoring/summary"),
    *("/%00", "/%ff", "/?page=x", "/?deep_link=%00", "/config?page=%00", "/logout?all_session=x"),
    *("/gradio_api/token", "/gradio_api/user", "/gradio_api/app_id", "/gradio_api/runs"),
    *("/gradio_api/startup-events", "/gradio_api/queue/status", "/gradio_api/queue/data"),
    *("/gradio_api/queue/data?session_hash=%00", f"/gradio_api/heartbeat/{'x' * 65}"),
    *("/gradio_api/heartbeat/%00", "/gradio_api/upload_progress?upload_id=%00"),
    *(f"/gradio_api/upload_progress?upload_id={'x' * 65}", "/gradio_api/upload"),
    *("/gradio_api/dev/reload", "/gradio_api/stream/a/b/1/playlist-file"),
    *("/gradio_api/stream/a/b/9999999999999999999999/playlist.m3u8", "/gradio_api/stream/a"),
    *("/gradio_api/custom_component/%00/client/b/c", "/gradio_api/call/x/%00"),
    *(f"/svelte/{'a' * 300}", f"/assets/{'a' * 5000}", f"/gradio_api/file={'a' * 5000}"),
    *("/static/%00", "/assets/%ff", "/svelte/%ed%a0%80", "/gradio_api/file=%00", "/static/"),
    *("/gradio_api/file=%ed%a0%80", "/gradio_api/file=", "/gradio_api/proxy=", "/assets/..%2f"),
)


@pytest.mark.parametrize("method", METHODS)
def test_no_address_and_method_makes_it_stumble(public, method):
    for route in ROUTES:
        check(*answered(public, f"{method} {route}"), (method, route))


def test_the_sentence_of_a_request_that_gradio_has_no_answer_to(public):
    status, text = answered(public, "GET /?page=x")

    assert status == 400
    assert json.loads(text) == {"detail": "request: of no form that the page sends."}


HEADERS = (
    *("Host: \r\n", "Host: a:99999\r\n", "Host: [::1\r\n", "Host: a b\r\n", "Host: \xff\r\n"),
    *("Host: a/b?c#d\r\n", "Host: u@a\r\n", f"Host: {'a' * 3000}\r\n", "Host: a:-1\r\n"),
    *(f"{OWN}X-Forwarded-Host: {name}\r\n" for name in ("[", "a:99999", "\xff", "a b", "http://a")),
    *(f"{OWN}X-Gradio-Server: {name}\r\n" for name in ("x", "http://[", "http://a:99999")),
    *(f"{OWN}Origin: {name}\r\n" for name in ("http://[", "\xff", "http://a:b", "null")),
    *(f"{OWN}Range: {part}\r\n" for part in ("bytes=0-1-2", "bytes=9-1", "bytes=\xb2-\xb2", "x")),
    f"{OWN}If-Range: x\r\nRange: bytes=0-1\r\n",
    f"{OWN}If-None-Match: \xff\r\nIf-Modified-Since: x\r\n",
    f"{OWN}Cookie: session=x; workbench-uploads=\xff\r\n",
    f"{OWN}Accept-Encoding: \xff;q=x\r\nAccept-Language: \xff\r\n",
    f"{OWN}X-Forwarded-Proto: javascript\r\nX-Forwarded-For: x\r\n",
)


@pytest.mark.parametrize("path", [*PAGES, "/theme.css", "/assets/plotly.min.js"])
def test_no_header_makes_it_stumble(public, path):
    for headers in HEADERS:
        check(*answered(public, f"GET {path}", headers), (path, headers))
    for method in ("GET", "OPTIONS"):
        asks = "Origin: http://a\r\nAccess-Control-Request-Method: POST\r\n"
        check(*answered(public, f"{method} {path}", asks, version="1.0"), (path, "no host"))


def test_a_part_of_a_file_is_not_asked_for_by_number(anna):
    """Gradio repeats all headers of such a request in its answer, and misreads the numbers."""
    stored = anna.upload("parts.csv", b"0123456789")
    for part in ("bytes=0-1-2", "bytes=1-2", "bytes=\u00b2-\u00b2".encode(), "bytes=9-1"):
        got = anna.http.get(f"/gradio_api/file={stored}", headers={"Range": part, "X-Mark": "a"})

        assert (got.status_code, got.content) == (200, b"0123456789")
        assert "x-mark" not in got.headers


def part(text, content=b"x"):
    """Return a part of a form."""
    return b"--b\r\n" + text.encode("latin-1") + b"\r\n\r\n" + content + b"\r\n"


def named(name):
    """Return a part of a form with a file."""
    return part(f'Content-Disposition: form-data; name="files"; filename="{name}"')


FILE_NAMES = ("", ".", "..", "/", "a\0", "???", "\xed\xa0\x80", "a" * 3000)
FIELD = 'Content-Disposition: form-data; name="%s"'
FORMS = {
    "nothing": b"",
    "only an end": b"--b--\r\n",
    "no form": b"hello",
    "no name of a file": part(FIELD % "files") + b"--b--\r\n",
    "no name of a field": part('Content-Disposition: form-data; filename="a"') + b"--b--\r\n",
    "no header": part("") + b"--b--\r\n",
    "names of files": b"".join(
        map(named, ["", ".", "..", "/", "a\0", "???", "\xed\xa0\x80", "a" * 3000])
    )
    + b"--b--\r\n",
    "another field": part(FIELD % "other") + b"--b--\r\n",
    "many fields": b"".join(part(FIELD % n) for n in range(1100)) + b"--b--\r\n",
    "many files": named("a") * 1100 + b"--b--\r\n",
    "no end": named("a.csv"),
    "half a header": b"--b\r\nContent-Dis",
}
FORM_TYPES = (
    "multipart/form-data",
    "multipart/form-data; boundary=",
    f"multipart/form-data; boundary={'b' * 2000}",
    "multipart/form-data; boundary=\xff",
    "multipart/form-data; boundary*=utf-8''b",
    "multipart/form-data; boundary=b; charset=x",
    "MULTIPART/form-data; boundary=b",
    "text/plain",
    JSON,
)


def test_no_form_makes_an_upload_stumble(public):
    for query in ("", "?upload_id=x", "?upload_id=%00"):
        for what, form in FORMS.items():
            kind = f"{OWN}Content-Type: multipart/form-data; boundary=b\r\n"
            check(*answered(public, f"POST /gradio_api/upload{query}", kind, form), what)
    for kind in FORM_TYPES:
        for path in ("/gradio_api/upload", "/login", "/gradio_api/queue/join"):
            headers = f"{OWN}Content-Type: {kind}\r\n"
            check(*answered(public, f"POST {path}", headers, FORMS["no end"] + b"--b--\r\n"), kind)

    kind = f"{OWN}Content-Type: multipart/form-data; boundary=b\r\n"
    status, text = answered(public, "POST /gradio_api/upload", kind, FORMS["no name of a file"])
    assert status == 400
    assert json.loads(text)["detail"].startswith("upload: a form with files is needed")


BODIES = (
    *("", "{", "[]", "null", "1", '"x"', '{"data":null}', '{"data":[]}', '{"data":{}}', '{"a":1}'),
    *(f'{{"data":[],"fn_index":{n}}}' for n in ("-1", "1e400", "5", "99999", "5.5", "true", '"x"')),
    *(f'{{"data":[],"fn_index":0,"trigger_id":{n}}}' for n in ("99999", '"x"', "-1", "1e400")),
    *(
        f'{{"data":[],"fn_index":0,"session_hash":{n}}}'
        for n in ('""', "5", "[]", '"a b"', '"\\u0000"')
    ),
    '{"data":[],"fn_index":0,"session_hash":"a","batched":true}',
    '{"data":[1,2],"fn_index":0,"session_hash":"a","simple_format":true,"oauth_token":"x"}',
    '{"data":[],"fn_index":0,"session_hash":"a","event_data":[1],"event_id":"x"}',
    '{"session_hash":"a","fn_index":0,"event_id":"x"}',
    '{"component_id":5,"data":null,"session_hash":"a","fn_name":"x"}',
    '{"data":[' + "[" * 900 + "]" * 900 + '],"fn_index":0,"session_hash":"a"}',
)
CALLS = (
    *("run/x", "run/ask", "api/x", "call/ask", "call/nothing", "call/v2/ask", "call/v2/nothing"),
    *("queue/join", "cancel", "reset", "stream/x", "stream/x/close", "startup-events", "run/%00"),
)


@pytest.mark.parametrize("call", CALLS)
def test_no_body_makes_a_call_stumble(public, call):
    for kind in (JSON, "text/plain", "application/x-www-form-urlencoded"):
        for body in BODIES:
            headers = f"{OWN}Content-Type: {kind}\r\n"
            check(
                *answered(public, f"POST /gradio_api/{call}", headers, body.encode()), (call, body)
            )


def test_values_that_a_handler_refuses_are_the_callers_fault(anna):
    handler = anna.handler("wb-share", "click")

    few = anna.send(handler, json.dumps({"data": [], "fn_index": handler["id"]}))
    unknown = anna.click("wb-method", "input", wb_method="x")

    assert (few.status, few.error) == (422, "request: of no form that the page sends.")
    assert unknown.status == 422
    assert unknown.error.startswith("Value: x is not in the list of choices: [")


@pytest.mark.parametrize("site", ["public", "local"])
@pytest.mark.parametrize(
    "header",
    [
        f"X-Forwarded-Host: {EVIL}",
        f"X-Forwarded-Host: 127.0.0.1, {EVIL}",
        f"X-Gradio-Server: http://{EVIL}",
        f"X-Forwarded-Prefix: /{EVIL}",
        f"Forwarded: host={EVIL};proto=https",
        f"X-Forwarded-Proto: {EVIL}",
        f"X-Forwarded-Host: {EVIL}\r\nX-Forwarded-Proto: https",
    ],
)
def test_no_header_gives_the_page_another_address(sites, site, header):
    for path in PAGES:
        status, text = answered(sites[site], f"GET {path}", f"{OWN}{header}\r\n")

        assert status in (200, 302), path
        assert EVIL not in text, path


def test_a_space_has_its_own_names_alone(public):
    seen = []

    async def app(scope, receive, send):
        seen.append(dict(scope["headers"]))

    hosts = {
        b"me-workbench.hf.space": b"me-workbench.hf.space",
        b"workbench.example": b"workbench.example",
        b"evil.example": b"me-workbench.hf.space",
        b"a b": b"me-workbench.hf.space",
        b"": b"me-workbench.hf.space",
    }
    names = "me-workbench.hf.space,workbench.example"
    for host in hosts:
        for name in (b"host", b"x-forwarded-host"):
            sent = [(name, host), (b"x-forwarded-proto", b"https"), (b"x-other", b"a")]
            handled(app, "GET", headers=sent, space_host=names)

    assert [one[b"host"] for one in seen] == [host for host in hosts.values() for _ in range(2)]
    assert all(one[b"x-forwarded-proto"] == b"https" for one in seen)
    assert all(one[b"x-other"] == b"a" for one in seen)
    assert all(b"x-forwarded-host" not in one for one in seen)


def test_a_proxy_that_speaks_https_is_believed(public):
    headers = "Host: workbench.example\r\nX-Forwarded-Proto: https\r\n"

    status, text = answered(public, "GET /config", headers)

    assert status == 200
    assert json.loads(text)["root"] == "https://workbench.example"


@pytest.mark.parametrize(
    ("path", "error", "status", "sentence"),
    [
        ("/login/callback", ValueError("x"), 400, "login: it was not completed."),
        ("/gradio_api/upload", TypeError("x"), 400, "upload: a form with files is needed"),
        ("/config", KeyError("x"), 400, "request: of no form"),
        ("/config", OSError(28, "No space left", "/secret/path"), 503, "the server has no room"),
        ("/config", OSError(36, "File name too long", "/secret/path"), 400, "request: of no form"),
    ],
)
def test_whatever_gradio_stumbles_over_has_a_sentence(path, error, status, sentence):
    """The Hub's answers to a login are among it, and the routes for them are there on a Space."""

    async def route(request):
        raise error

    app = Starlette(
        routes=[Route(path, route)],
        middleware=[Middleware(Guard, upload_bytes=1, only_local=False)],
        exception_handlers={Exception: stumbled},
    )
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
    with pytest.raises(type(error)):  # for the log
        asyncio.run(app(scope, receive, send))

    headers = dict(sent[0]["headers"])
    assert sent[0]["status"] == status
    assert json.loads(sent[1]["body"])["detail"].startswith(sentence)
    assert b"secret" not in sent[1]["body"]
    assert headers[b"x-content-type-options"] == b"nosniff"


def test_a_socket_of_the_web_is_not_opened(public):
    key = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    with connected(public.address) as raw:
        raw.settimeout(10)
        request = f"GET /gradio_api/queue/join HTTP/1.1\r\n{OWN}{key}"
        raw.sendall(f"{request}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
        try:
            status = int(raw.recv(65536).split()[1])
        except TimeoutError:
            status = 0

    assert 400 <= status < 500
    assert Visitor(public.address).http.get("/").status_code == 200
