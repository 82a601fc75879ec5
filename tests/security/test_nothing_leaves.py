"""Nothing leaves this machine: not from the page in a browser, not from the app or its jobs."""

import subprocess
import sys
from pathlib import Path

import pytest

from security.flows import belongings
from security.raw import Visitor
from security.serving import running_app

TABS = {"Train": "#wb-estimate .wb-facts", "Evaluate": "#wb-leaderboard", "Runs": "#wb-runs"}
AUDITED = Path(__file__).with_name("audited")


def audited(log: Path) -> dict[str, str]:
    """Return an environment in which a Python process notes whom it talks to."""
    return {"PYTHONPATH": str(AUDITED), "WORKBENCH_AUDIT": str(log)}


@pytest.fixture(scope="module")
def watched(tiny_folder, tmp_path_factory):
    """Return the address of an app that notes whom it talks to, and its notes."""
    scratch = tmp_path_factory.mktemp("audited")
    log = scratch / "audit.log"
    log.touch()
    with running_app(
        scratch / "runs", "local", tiny_folder, scratch=scratch, **audited(log)
    ) as address:
        yield address, log


def test_app_and_jobs_talk_to_nobody(watched, lora_export):
    address, log = watched
    owner = Visitor(address, "")

    made = belongings(owner, lora_export)  # rows, a wording, an import, a job with a training
    for handler in owner.handlers():
        if not handler["queue"]:
            owner.run(handler, owner.inputs(handler))
    ways = ["words:zero_shot", f"run:{made.run}", f"import:{made.adapter}"]
    answer = owner.call("compare", text="lovely", ways=ways, task=made.task)
    report = owner.call("export_comparison", job_id=made.job)
    owner.close()

    assert answer.error is None
    assert report.error is None
    assert "workbench.service.worker" in Path(f"{log}.processes").read_text()
    assert log.read_text() == ""


@pytest.mark.browser
def test_the_page_asks_only_its_own_app(watched):
    driver = pytest.importorskip("browser.driver", reason="no Playwright: make setup installs it")
    if driver.chromium_path() is None:
        pytest.skip("no Chromium: apt-get install chromium")
    address, log = watched
    asked = []
    with driver.chromium() as browser:
        context = browser.new_context()
        context.route("**/*", lambda route: (asked.append(route.request.url), route.continue_()))
        page = context.new_page()
        page.on("websocket", lambda socket: asked.append(socket.url))
        page.goto(address)
        driver.ready(page)
        driver.ask(page, "lovely sun")
        for summary in ("Your own data, and what the task holds", "Wording: edit and preview"):
            page.get_by_text(summary).click()
        page.wait_for_selector("#wb-preview .wb-prompt")
        for tab, shown in TABS.items():
            driver.open_tab(page, tab)
            page.wait_for_selector(shown)
        page.get_by_role("button", name="Use via API").click()
        page.wait_for_selector("text=/API|endpoints/i")
        context.close()

    strangers = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert len(asked) > 20
    assert strangers == []
    assert log.read_text() == ""


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
    log = tmp_path / "audit.log"
    log.touch()

    subprocess.run([sys.executable, "-c", code], env=audited(log), capture_output=True, check=False)

    assert "192.0.2.1" in log.read_text() or "example.com" in log.read_text()
