"""What stands in front of Gradio: bounded bodies, closed addresses, headers, other sites."""

import asyncio
import json
import socket

import pytest

from security.raw import Visitor
from workbench.ui.guards import MOST_BODY_BYTES, Guard, is_loopback, page_headers

EVIL = "https://evil.example"
CAP = 5_000_000  # bytes of an upload to the public page
CLOSED = (
    "component_server",
    "deep_link?session_hash=abc",
    "file=http://93.184.216.34/x",
    "file=https%3A%2F%2F93.184.216.34%2Fx",
    "file/http://93.184.216.34/x",
    "process_recording",
    "proxy=http://93.184.216.34/x",
    "undo-vibe-edit",
    "vibe-code",
)


@pytest.mark.parametrize("site", ["public", "local"])
@pytest.mark.parametrize(
    "path", ["/", "/config", "/gradio_api/file=/etc/passwd", "/gradio_api/vibe-code", "/nowhere"]
)
def test_every_answer_tells_browsers_what_a_page_may_do(sites, site, path):
    visitor = Visitor(sites[site].address)

    headers = visitor.http.get(path).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    policy = headers["content-security-policy"]
    assert "frame-ancestors 'self' https://huggingface.co https://*.hf.space" in policy
    assert "default-src 'self';" in policy
    assert "connect-src 'self' data: blob:;" in policy
    visitor.close()


@pytest.mark.parametrize("path", ["/gradio_api/run/x", "/gradio_api/queue/join", "/", "/nowhere"])
def test_a_large_body_is_refused_before_it_is_sent(public, path):
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    with connected(public.address) as raw:
        raw.sendall(f"{head}Content-Length: 40000000\r\n\r\n".encode())

        status, text = received(raw)

    assert status == 413
    assert json.loads(text)["detail"] == (
        "body: larger than 2 MB, the most this address takes. Send less at once."
    )


@pytest.mark.parametrize("path", ["/gradio_api/run/x", "/gradio_api/call/list_runs", "/"])
def test_a_large_body_without_a_length_is_cut_off_early(public, path):
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    num_sent = 0
    with connected(public.address) as raw:
        raw.settimeout(1)
        raw.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        try:
            while num_sent < 40_000_000:
                raw.sendall(chunk)
                num_sent += 65536
        except OSError:  # the server has hung up, or reads no further
            pass

    assert num_sent < 30_000_000  # what fits into the buffers between the two
    assert Visitor(public.address).http.get("/").status_code == 200


def test_a_body_just_below_the_bound_arrives(anna):
    text = "x" * (MOST_BODY_BYTES - 1000)

    answer = anna.call("job_status", job_id=text)

    assert answer.error is not None
    assert answer.error.startswith("job 'xxx")


@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/upload"])
def test_no_more_is_read_than_the_bound(path):
    num_read = 0

    async def endless():
        nonlocal num_read
        num_read += 65536
        assert num_read < 2 * CAP
        return {"type": "http.request", "body": b" " * 65536, "more_body": True}

    sent = handled(reading_app, receive=endless, path=path)

    assert sent[0]["status"] == 413
    most = CAP + 100_000 if path.endswith("upload") else MOST_BODY_BYTES
    assert num_read <= most + 65536


def test_an_upload_may_be_as_large_as_the_page_says_and_no_larger(anna):
    assert anna.upload("rows.csv", b"x" * (CAP - 1)).endswith("rows.csv")

    refused = anna.http.post(
        "/gradio_api/upload", files={"files": ("a.csv", b"x" * (CAP + 200_000))}
    )
    just_over = anna.http.post("/gradio_api/upload", files={"files": ("a.csv", b"x" * (CAP + 1))})

    assert refused.status_code == 413
    assert refused.json()["detail"].startswith("body: larger than 5.1 MB")
    assert just_over.status_code == 413


def test_many_files_of_an_upload_count_together(anna):
    files = [("files", (f"{n}.csv", b"x" * 2_000_000)) for n in range(5)]

    assert anna.http.post("/gradio_api/upload", files=files).status_code == 413


@pytest.mark.parametrize("path", CLOSED)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_addresses_that_the_page_does_not_use_are_closed(anna, path, method):
    answer = anna.http.request(method, f"/gradio_api/{path}")

    assert answer.status_code == 403
    if method != "HEAD":
        assert answer.json() == {"detail": "this address is closed: the page does not use it."}


@pytest.mark.parametrize("site", ["public", "local"])
def test_another_site_is_not_told_that_it_may_read(sites, site):
    visitor = Visitor(sites[site].address)
    asked = {"Access-Control-Request-Method": "POST"}

    plain = visitor.http.get("/config", headers={"Origin": EVIL})
    before = visitor.http.options("/gradio_api/queue/join", headers={"Origin": EVIL} | asked)

    assert "access-control-allow-origin" not in plain.headers
    assert "access-control-allow-origin" not in before.headers
    visitor.close()


@pytest.mark.parametrize("origin", [EVIL, "null", "http://127.0.0.1.evil.example", "http://[::2]"])
def test_another_site_cannot_call_an_app_on_ones_own_machine(owner, origin):
    files = {"files": ("a.csv", b"a")}

    answer = owner.http.post("/gradio_api/upload", files=files, headers={"Origin": origin})

    assert answer.status_code == 403
    assert "another site may not call this app" in answer.text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_a_name_that_was_pointed_at_this_machine_gets_no_page(owner, host):
    answer = owner.http.get("/", headers={"Host": host})

    assert answer.status_code == 403
    assert "gradio_config" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:7860", "[::1]:7860", "LocalHost:1"])
def test_this_machine_is_let_in_by_all_its_names(owner, host):
    own = {"Host": host, "Origin": f"http://{host}"}

    assert owner.http.get("/config", headers=own).status_code == 200


def test_visitors_of_a_public_page_come_by_any_name(anna):
    headers = {
        "Host": "somebody-workbench.hf.space",
        "Origin": "https://somebody-workbench.hf.space",
    }

    assert anna.http.get("/config", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("origin", "is_kept"),
    [
        (None, True),
        ("https://me-workbench.hf.space", True),
        ("http://inside:7860", True),
        (EVIL, False),
        ("null", False),
    ],
)
def test_another_site_never_calls_in_the_name_of_somebody_logged_in(origin, is_kept):
    seen = {}

    async def app(scope, receive, send):
        seen.update(scope["session"])

    headers = [(b"host", b"inside:7860")]
    headers += [(b"origin", origin.encode())] if origin else []
    outer = {"oauth_info": "of the visitor"}

    handled(app, "GET", headers=headers, session=outer, space_host="me-workbench.hf.space")

    assert bool(seen) is is_kept
    assert outer == {"oauth_info": "of the visitor"}  # nobody is logged out by it either


ADDRESSES = (
    "http://93.184.216.34/x.csv",
    "HTTP://93.184.216.34/x",
    "file:///etc/passwd",
    "//93.184.216.34/x",
    "\\\\93.184.216.34\\x",
)
TYPES = (
    "application/json",
    "application/JSON",
    "Application/Json; charset=utf-16",
    "application/ld+json",
    "application/x+JSON",
    "text/plain",
    "multipart/form-data; boundary=x",
    None,
)
CALLS = ("run/x", "api/x", "queue/join", "call/ask", "call/v2/ask", "cancel", "reset")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("content_type", TYPES)
def test_files_given_by_address_are_not_fetched_whatever_the_body_is_called(
    anna, encoding, content_type
):
    handler = anna.handler("wb-file", "change")
    headers = {} if content_type is None else {"Content-Type": content_type}
    for number, path in enumerate(ADDRESSES):
        data = [{"path": path, "meta": {"_type": "gradio.FileData"}}]
        body = json.dumps({"data": data, "fn_index": handler["id"], "session_hash": "abc"})
        call = CALLS[number % len(CALLS)]

        answer = anna.http.post(
            f"/gradio_api/{call}", content=body.encode(encoding), headers=headers
        )

        assert answer.status_code == 400
        assert (
            answer.json()["detail"] == "files: upload them; they are not fetched from an address."
        )


MARK = '"meta":{"_type":"gradio.FileData"}'
ODD_FILES = {
    "a key twice": '{"path":"a","path":"http://192.0.2.1/x",MARK}',
    "an address beside": '{"path":"a","url":"http://192.0.2.1/x",MARK}',
    "an address alone": '{"url":"http://192.0.2.1/x",MARK}',
    "in a list": '[[{"path":"http://192.0.2.1/x",MARK}]]',
    "in a mapping": '{"a":{"b":[{"path":"http://192.0.2.1/x",MARK}]}}',
    "a stream": '{"path":"http://192.0.2.1/x","is_stream":true,MARK}',
    "more of a mark": '{"path":"http://192.0.2.1/x","meta":{"_type":"gradio.FileData","a":1}}',
    "another mark": '{"path":"http://192.0.2.1/x","meta":1}',
    "no text": '{"path":["http://192.0.2.1/x"],MARK}',
}


@pytest.mark.parametrize("what", ODD_FILES)
def test_no_spelling_of_a_file_passes(anna, what):
    file = ODD_FILES[what].replace("MARK", MARK)
    for elem_id in ("wb-file", "wb-ticket"):
        handler = anna.handler(elem_id, "change")
        values = [json.dumps(value) for value in anna.inputs(handler)]

        for body in (
            f'{{"data":[{",".join([file, *values[1:]])}],"fn_index":{handler["id"]},'
            f'"session_hash":"{anna.session}"}}',
            f'{{"data":[{",".join(values)}],"event_data":{file},'
            f'"fn_index":{handler["id"]},"session_hash":"{anna.session}"}}',
        ):
            answer = anna.send(handler, body)

            assert answer.status == 400
            assert answer.error.startswith("files: ")


def test_what_stands_at_a_place_of_its_own_is_guarded_alike():
    body = json.dumps({"data": [{"path": "http://192.0.2.1", "meta": {}}]}).encode()

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    for path, place in (("/here/gradio_api/run/x", "/here"), ("/gradio_api/run/x", "/here/")):
        sent = handled(reading_app, receive=receive, path=path, root_path=place)
        assert sent[0]["status"] == 400
    closed = handled(reading_app, path="/here/gradio_api/proxy=http://x", root_path="/here")
    assert closed[0]["status"] == 403


def test_half_a_character_is_refused_before_anything_stumbles_over_it(anna):
    for body in ('{"data":["\\ud800"]}', '{"data":[{"a\\udfff":1}]}', '{"event_id":"\\ud800"}'):
        got = anna.http.post(
            "/gradio_api/run/x", content=body, headers={"Content-Type": "application/json"}
        )
        assert got.status_code == 400
        assert got.json()["detail"].startswith("text: half a character in it")


def test_a_space_may_ask_the_hub_about_itself_and_nobody_else():
    on_hub = page_headers(on_hub=True)["Content-Security-Policy"]

    assert "connect-src 'self' data: blob: https://huggingface.co;" in on_hub
    assert "img-src 'self' data: blob: https://huggingface.co;" in on_hub


def test_only_addresses_of_this_machine_count_as_this_machine():
    names = ("127.0.0.1", "localhost", "::1", "[::1]", "0.0.0.0", "", "192.168.0.4")

    assert [name for name in names if is_loopback(name)] == list(names[:4])


async def reading_app(scope, receive, send):
    """Read the body as Starlette does, then answer."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect" or not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"read"})


def handled(app, method="POST", *, receive=None, path="/", headers=(), session=None, **more):
    """Return what a guarded app sends; `more` belongs to the scope, or names a Space."""
    sent = []

    async def nothing():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
    scope |= {} if session is None else {"session": session}
    space_host = more.pop("space_host", "")
    guard = Guard(app, upload_bytes=CAP, only_local=False, space_host=space_host)
    scope |= more
    asyncio.run(guard(scope, receive or nothing, send))
    return sent


def connected(address):
    """Return a plain connection."""
    return socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=20)


def received(raw):
    """Return status and body of an answer."""
    text = b""
    while part := raw.recv(65536):
        text += part
    head, _, body = text.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()
