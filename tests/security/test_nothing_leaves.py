"""Nothing leaves this machine: not from the page in a browser, not from an app or its jobs."""

import json
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from itertools import cycle
from pathlib import Path

import httpx
import pytest
import pytest_socket

from security.raw import Visitor, file_data
from security.serving import audited, running_app
from visitors import ANNA

TABS = {"Train": "#wb-estimate .wb-facts", "Evaluate": "#wb-results", "Runs": "#wb-run"}
HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.9", "::1")
DRAWERS = ("Your own data, and what the task holds", "Wording: edit and preview")


def test_an_app_and_its_jobs_talk_to_nobody(public, local, author, made):
    for handler in author.handlers():
        if not handler["queue"]:
            author.run(handler, author.inputs(handler))
    ways = ["words:zero_shot", f"run:{made.run}", f"import:{made.adapter}"]
    answer = author.call("ask", text="lovely", ways=ways, task=made.task)
    report = author.call("export_comparison", job_id=made.job)

    assert answer.error is None
    assert report.error is None
    processes = Path(f"{public.notes}.processes").read_text()
    assert "security/serving.py" in processes
    assert "workbench.service.job_process" in processes
    assert public.notes.read_text() + local.notes.read_text() == ""


class Ears:
    """Listeners of this machine that hang up at once; nobody has reason to talk to them.

    Attributes:
        places: Their addresses and ports.
    """

    def __init__(self) -> None:
        self._heard: list[tuple[str, int, bytes]] = []
        self._sockets = [ear for host in HOSTS if (ear := _ear(host)) is not None]
        self.places = [
            (f"[{host}]" if ":" in host else host, port)
            for host, port, *_ in (ear.getsockname() for ear in self._sockets)
        ]
        for ear, place in zip(self._sockets, self.places, strict=True):
            threading.Thread(target=self._listen, args=(ear, place), daemon=True).start()

    def heard(self):
        """Return what was heard until now, and forget it."""
        heard, self._heard = self._heard, []
        return heard

    def close(self):
        """Listen no more."""
        for ear in self._sockets:
            ear.close()

    def _listen(self, ear, place):
        with suppress(OSError):
            while True:
                caller, _ = ear.accept()
                with caller:
                    caller.settimeout(0.5)
                    with suppress(OSError):
                        self._heard.append((*place, caller.recv(200)))


def _ear(host):
    ear = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        ear.bind((host, 0))
    except OSError:  # no IPv6 here
        ear.close()
        return None
    ear.listen(16)
    return ear


@pytest.fixture(scope="module")
def ears():
    """Return the listeners."""
    made = Ears()
    yield made
    made.close()


def spellings(ears, path):
    """Return addresses of the listeners, in all spellings that some reader of addresses knows."""
    plain = [f"{host}:{port}" for host, port in ears.places]
    (_, here), (_, there), *_ = ears.places
    hosts = [
        *plain,
        f"2130706433:{here}",  # decimal
        f"0177.0.0.1:{here}",  # octal
        f"0x7f000002:{there}",
        f"127.1:{here}",
        f"[::ffff:127.0.0.1]:{here}",
        f"localhost:{here}",
        f"someone@127.0.0.2:{there}",
    ]
    schemes = ("http", "HTTP", "https", "ftp", "ws", "git+http", "zip://a::http")
    made = [f"{scheme}://{host}/x.csv" for host in hosts for scheme in schemes[:2]]
    made += [f"{scheme}://{plain[1]}/x.csv" for scheme in schemes]
    made += [f"//{plain[1]}/x.csv", f"\\\\127.0.0.2@{there}\\x.csv", f"file://{plain[1]}/x.csv"]
    made += [f"http+unix://{path.as_posix().replace('/', '%2F')}/x.csv", f"unix://{path}"]
    return [*made, "hf://datasets/someone/else", "someone/else", "hf.co/someone/else", plain[1]]


@pytest.fixture(scope="module")
def online(tiny_folder, tmp_path_factory, ears):
    """Return the address and the notes of a public app that may ask a hub: one of the listeners."""
    scratch = tmp_path_factory.mktemp("online")
    hub = "http://{}:{}".format(*ears.places[0])
    outside = {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0"}
    notes = scratch / "notes.log"
    environment = audited(notes) | outside
    app = running_app(scratch / "runs", "public", tiny_folder, scratch=scratch, **environment)
    with app as address:
        yield address, notes


FORMS = (
    lambda text, own: file_data(text),
    lambda text, own: file_data(own, url=text, orig_name=text),
    lambda text, own: {"path": text, "url": text},
    lambda text, own: json.dumps(file_data(text)),
    lambda text, own: [[text], {"a": file_data(text)}],
)
JOBS = ("wb-train", "wb-evaluate", "wb-wayward-train")


def test_no_argument_of_any_handler_makes_it_talk_to_anybody(online, ears, tmp_path):
    """Every argument of every handler and endpoint takes a text, and something like a file."""
    address, notes = online
    visitor = Visitor(address, ANNA)
    own = visitor.upload("rows.csv", b"text,label\na,b\n")
    texts, forms = cycle(spellings(ears, tmp_path / "socket")), cycle(FORMS)
    starts = [visitor.handler(elem_id, "click")["id"] for elem_id in JOBS]
    num_calls = 0
    for handler in visitor.handlers():
        # No job begins, on whatever is left of its setting.
        changes = {"wb_task": "nothing"} if handler["id"] in starts else {}
        usual = visitor.inputs(handler, **changes)
        for place in range(len(usual)):
            for value in (next(texts), next(forms)(next(texts), own)):
                answer = visitor.run(handler, [*usual[:place], value, *usual[place + 1 :]])
                assert answer.status < 500
                num_calls += 1

    assert num_calls > 300
    assert ears.heard() == []
    assert notes.read_text() == ""
    visitor.close()


def test_no_address_of_the_app_talks_to_anybody(online, ears, tmp_path):
    address, notes = online
    routes = cycle(("gradio_api/file=", "gradio_api/file/", "gradio_api/proxy=", "static/"))
    headers = cycle(("Referer", "X-Gradio-Server", "X-Forwarded-Host", "X-Forwarded-Proto"))
    with httpx.Client(base_url=address, timeout=30) as client:
        for text in spellings(ears, tmp_path / "socket"):
            asked = {next(headers): text}
            for path in (
                f"{next(routes)}{text}",
                f"{next(routes)}{text}",
                "robots.txt",
                "theme.css",
            ):
                assert client.get(f"/{path}", headers=asked).status_code < 500

    assert ears.heard() == []
    assert notes.read_text() == ""


def test_a_listener_hears_whoever_talks_to_it(ears):
    pytest_socket.socket_allow_hosts([host.strip("[]") for host, _ in ears.places])
    for host, port in ears.places:
        with socket.create_connection((host.strip("[]"), port)) as caller:
            caller.sendall(b"x")
            assert caller.recv(1) == b""
        assert ears.heard() == [(host, port, b"x")]


@pytest.mark.browser
def test_the_page_asks_only_its_own_app(local):
    driver = pytest.importorskip("browser.driver", reason="no Playwright: make setup installs it")
    if driver.chromium_path() is None:
        pytest.skip("no Chromium: apt-get install chromium")
    asked = []
    with driver.chromium() as browser:
        context = browser.new_context()
        context.route("**/*", lambda route: (asked.append(route.request.url), route.continue_()))
        page = context.new_page()
        page.on("websocket", lambda socket: asked.append(socket.url))
        page.goto(local.address)
        driver.ready(page)
        page.fill("#wb-text textarea", "lovely sun")
        page.click("#wb-answer")
        page.wait_for_selector(".wb-columns[aria-busy=false], #wb-columns .wb-problem")
        for summary in DRAWERS:
            driver.open_drawer(page, summary)
        page.wait_for_selector("#wb-preview .wb-prompt")
        for tab, shown in TABS.items():
            driver.open_tab(page, tab)
            page.wait_for_selector(shown)
        page.get_by_role("button", name="Use via API").click()
        page.wait_for_selector("text=/API|endpoints/i")
        context.close()

    strangers = [url for url in asked if not url.startswith((local.address, "data:", "blob:"))]
    assert len(asked) > 20
    assert strangers == []
    assert local.notes.read_text() == ""


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.create_connection(('192.0.2.1', 80), timeout=0.01)",
        "import socket; socket.getaddrinfo('example.com', 80)",
        "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
        "import urllib.request; urllib.request.urlopen('http://192.0.2.1', timeout=0.01)",
    ],
)
def test_the_notes_would_hold_whoever_is_talked_to(tmp_path, code):
    notes = tmp_path / "notes.log"

    subprocess.run(
        [sys.executable, "-c", code], env=audited(notes), capture_output=True, check=False
    )

    assert "192.0.2.1" in notes.read_text() or "example.com" in notes.read_text()
