"""A file that a call names is an upload of whoever calls; page and clients do not notice."""

import hashlib
import socket
import socketserver
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file

from security.flows import ROWS
from security.raw import Visitor, file_data
from visitors import ANNA, BEN
from workbench.ui.upload_ledger import UploadLedger, caller_of

REFUSED = "files: one is no upload of yours, or is gone by now; upload it again."
BROWSER = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def come(public):
    """Return a function that lets a visitor come, from an address, with or without cookies."""
    came = []

    def make(token=BEN, *, address="127.0.0.1", keeps_cookies=True, **headers):
        visitor = Visitor(public.address, token)
        transport = httpx.HTTPTransport(local_address=address)
        visitor.http.close()
        visitor.http = httpx.Client(
            base_url=public.address, transport=transport, headers={"Connection": "close"} | headers
        )
        if not keeps_cookies:
            visitor.http.event_hooks["request"] = [lambda asked: asked.headers.pop("cookie", None)]
        came.append(visitor)
        return visitor

    yield make
    for visitor in came:
        visitor.close()


def read(visitor, path, **more):
    """Return what the page's look at rows answers."""
    return visitor.click("wb-file", "change", wb_file=file_data(path, **more))


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2"])
@pytest.mark.parametrize("is_used", [False, True])
def test_whoever_learns_a_path_cannot_read_it_through_a_handler(come, address, is_used):
    anna, ben = come(ANNA), come(BEN, address=address)
    path = anna.upload(f"{address}{is_used}.csv", ROWS.encode())
    if is_used:
        assert "lovely sun" in read(anna, path).html

    for handler in (
        ben.click("wb-file", "change", wb_file=file_data(path)),
        ben.click("wb-use-rows", wb_file=file_data(path), wb_text_column="message"),
        ben.click("wb-import-file", "upload", wb_import_file=file_data(path)),
        ben.click("wb-ticket", "change", wb_text=file_data(path)),
    ):
        assert handler.status == 400
        assert handler.error == REFUSED
    assert "lovely sun" in read(anna, path).html


def test_a_session_of_somebody_else_lends_no_files(come, public):
    anna = come(ANNA)
    path = anna.upload("mine.csv", ROWS.encode())
    assert "lovely sun" in read(anna, path).html
    ben = come(BEN)
    ben.session = anna.session

    assert read(ben, path).error == REFUSED


def test_who_uploads_the_same_file_has_it_too(come):
    anna, ben = come(ANNA), come(BEN)

    path = anna.upload("same.csv", ROWS.encode())

    assert ben.upload("same.csv", ROWS.encode()) == path
    assert "lovely sun" in read(anna, path).html
    assert "lovely sun" in read(ben, path).html


@pytest.mark.parametrize("other", ["127.0.0.1", "127.0.0.3"])
def test_a_frame_without_cookies_keeps_its_upload_by_session(come, other):
    framed = come(ANNA, address="127.0.0.3", keeps_cookies=False, **BROWSER)
    thief = come(BEN, address=other, keeps_cookies=False, **BROWSER)
    path = framed.upload(f"framed {other}.csv", ROWS.encode())
    if other != "127.0.0.3":
        assert read(thief, path).error == REFUSED

    assert "lovely sun" in read(framed, path).html

    assert read(thief, path).error == REFUSED
    assert "lovely sun" in read(framed, path).html


def test_a_class_in_frames_behind_one_address_uploads_the_file_it_was_given(come):
    pupils = [come(f"pupil-{n:030}", keeps_cookies=False, **BROWSER) for n in range(12)]

    paths = {pupil.upload("given.csv", ROWS.encode()) for pupil in pupils}

    assert len(paths) == 1
    for pupil in pupils:
        assert "lovely sun" in read(pupil, *paths).html


def test_a_visitor_who_moves_to_another_address_keeps_his_upload(come):
    anna = come(ANNA)
    path = anna.upload("moving.csv", ROWS.encode())
    moved = come(ANNA, address="127.0.0.4")
    moved.http.cookies = anna.http.cookies

    assert "lovely sun" in read(moved, path).html


@pytest.mark.parametrize("spelling", ["{}/../{}", "/proc/self/root{0}", "{0}/", "./{0}", "{0}\0"])
def test_an_upload_has_one_spelling(come, spelling):
    anna = come(ANNA)
    path = anna.upload("spelt.csv", ROWS.encode())

    assert read(anna, spelling.format(path, Path(path).name)).error == REFUSED


def test_a_file_that_the_app_made_for_somebody_is_no_upload_of_anybody(come, author, made):
    """Who has the path has the file, as with any link; it is named by a hash nobody can work out.

    It holds a seed beside the content, so that not even a known content gives its name away.
    """
    path = author.click("wb-download", wb_run=made.run).data[0]["value"]["path"]
    ben = come(BEN)

    assert read(ben, path).error == REFUSED
    assert ben.click("wb-import-file", "upload", wb_import_file=file_data(path)).error == REFUSED
    content = ben.http.get(f"/gradio_api/file={path}").content
    assert content[:2] == b"PK"
    assert Path(path).parent.name != hashlib.sha256(content).hexdigest()
    for place in (Path(path).parent, Path(path).parent.parent, Path(path).parent / "*"):
        assert ben.http.get(f"/gradio_api/file={place}").status_code == 403


@pytest.mark.parametrize("site", ["public", "local"])
def test_what_gradios_own_client_uploads_is_its_own(sites, site, tmp_path):
    rows = tmp_path / "client.csv"
    rows.write_text(ROWS)
    client = Client(sites[site].address, verbose=False)
    visitor = Visitor(sites[site].address, session=client.session_hash)
    handler = visitor.handler("wb-file", "change")

    file = client.endpoints[handler["id"]]._upload_file(handle_file(rows), 0)
    visitor.http.cookies.update(client.cookies)
    shown = visitor.run(handler, [file])

    assert "lovely sun" in shown.text
    client.close()
    visitor.close()


def test_at_home_every_browser_may_use_what_was_uploaded(owner, local):
    path = owner.upload("rows.csv", ROWS.encode())
    other = Visitor(local.address, "")

    assert "lovely sun" in read(other, path, url="http://192.0.2.1/x", size=3).html
    assert read(other, f"{path}x").error == REFUSED
    other.close()


def test_an_upload_that_was_removed_is_asked_for_again(come):
    anna = come(ANNA)
    path = anna.upload("gone.csv", ROWS.encode())
    Path(path).unlink()

    assert read(anna, path).error == REFUSED


def test_what_an_upload_leaves_behind_is_removed(public, anna):
    (uploads,) = (public.scratch / "gradio").glob("workbench-*")
    part = b'Content-Disposition: form-data; name="%s"; filename="a.csv"\r\n\r\n'
    forms = {
        "under another name": b"--b\r\n" + part % b"other" + b"x\r\n--b--\r\n",
        "beside one without a name": b"--b\r\n" + part % b"files" + b"x\r\n--b\r\n"
        b'Content-Disposition: form-data; name="files"\r\n\r\nx\r\n--b--\r\n',
        "never ended": b"--b\r\n" + part % b"files" + b"x" * 300_000,
    }
    form_type = {"Content-Type": "multipart/form-data; boundary=b"}
    for content in forms.values():
        anna.http.post("/gradio_api/upload", content=content, headers=form_type)

    def leaves():  # as somebody does whose connection breaks
        yield forms["never ended"]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        anna.http.post("/gradio_api/upload", content=leaves(), headers=form_type)

    ends = time.monotonic() + 10
    while (left := list(uploads.glob("tmp*"))) and time.monotonic() < ends:
        time.sleep(0.1)
    assert left == []


def test_strangers_push_out_no_upload_and_no_owner(tmp_path):
    ledger = UploadLedger(has_owners=True)
    mine = tmp_path / "mine.csv"
    mine.touch()
    first = caller_of("a", {})
    ledger.note(str(mine), first)
    stranger = caller_of("stranger", {})

    for number in range(10_001):
        ledger.note(f"/of/strangers/{number}", stranger)  # whose files are gone by now
    for _ in range(501):
        ledger.note(str(mine), caller_of("stranger", {}))

    known = caller_of("b", {"cookie": f"workbench-uploads={first.cookie}"})
    assert ledger.may_use(known, str(mine), "")
    assert len(ledger._uploads) <= 1001


def test_the_owners_of_an_upload_are_bounded_for_each_address(tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.ui.upload_ledger._MOST_OWNERS", 2)
    monkeypatch.setattr("workbench.ui.upload_ledger._MOST_ADDRESSES", 2)
    ledger = UploadLedger(has_owners=True)
    path = tmp_path / "same.csv"
    path.touch()
    callers = [caller_of(address, {}) for address in ("a", "a", "a", "b", "c")]
    for caller in callers:
        ledger.note(str(path), caller)

    brought = [{"cookie": f"workbench-uploads={caller.cookie}"} for caller in callers]
    may = [ledger.may_use(caller_of("x", headers), str(path), "") for headers in brought]
    assert may == [False, False, False, True, True]  # those of the address with most


@pytest.mark.parametrize(
    "cookie", ["", "workbench-uploads=", "workbench-uploads=x", "a=b; =; [", "\xff"]
)
def test_a_cookie_that_nobody_gave_out_is_none(cookie):
    caller = caller_of("a", {"cookie": cookie})

    assert not caller.is_known
    assert len(caller.cookie) == 32


@pytest.mark.browser
@pytest.mark.parametrize("keeps_cookies", [True, False])
def test_the_page_uploads_with_cookies_and_without(public, tmp_path, keeps_cookies):
    driver = pytest.importorskip("browser.driver", reason="no Playwright: make setup installs it")
    if driver.chromium_path() is None:
        pytest.skip("no Chromium: apt-get install chromium")
    rows = tmp_path / "rows.csv"
    rows.write_text(ROWS.replace("lovely", f"cookies {keeps_cookies}"))

    with cookieless(public.address) as other, driver.chromium() as browser:
        context = browser.new_context()
        page = context.new_page()
        page.goto(public.address if keeps_cookies else other)
        driver.ready(page)
        driver.open_drawer(page, "Your own data, and what the task holds")
        page.set_input_files("#wb-file input[type=file]", str(rows))
        page.wait_for_selector(f"text=cookies {keeps_cookies}")
        names = [cookie["name"] for cookie in context.cookies()]
        context.close()

    assert names == ["workbench-uploads"] * keeps_cookies


@contextmanager
def cookieless(address):
    """Yield an address before an app whose cookies no browser understands."""
    app = httpx.URL(address)

    class Between(socketserver.BaseRequestHandler):
        def handle(self):
            with socket.create_connection((app.host, app.port)) as behind:
                back = threading.Thread(target=self.pass_on, args=(behind, self.request))
                back.start()
                self.pass_on(self.request, behind)
                back.join()

        def pass_on(self, source, target):
            with suppress(OSError):
                while part := source.recv(65536):
                    target.sendall(part.replace(b"set-cookie:", b"not-cookie:"))
                target.shutdown(socket.SHUT_WR)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Between) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
