"""Nothing leaves this machine: not from the page in a browser, not from an app or its jobs."""

import subprocess
import sys
from pathlib import Path

import pytest

from security.serving import audited

TABS = {"Train": "#wb-estimate .wb-facts", "Evaluate": "#wb-results", "Runs": "#wb-run"}
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
            page.get_by_text(summary).click()
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
