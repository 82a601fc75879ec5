"""A running app and a real browser for tests: Debian's Chromium, driven by Playwright."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

START_SECONDS = 90
PATIENCE = 120_000  # milliseconds that a browser waits for something, beside other work
_JOB = "new URLSearchParams(location.search).get('job')"
_QUIET_CHROMIUM = (  # nothing of its own over the network, and no sandbox for root
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium_path() -> str | None:
    """Return where Chromium is, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def running_app(root: Path, **environment: str) -> Iterator[str]:
    """Run `workbench app` over a folder of runs; yield its address."""
    root.mkdir(parents=True, exist_ok=True)
    port = free_port()
    log = (root.parent / f"{root.name}-app.log").open("a")
    app = subprocess.Popen(
        [sys.executable, "-m", "workbench", "app", "--runs", str(root), "--port", str(port)],
        stdout=log,
        stderr=log,
        env=os.environ | {"HF_HUB_OFFLINE": "1"} | environment,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address, app)
        yield address
    finally:
        app.terminate()
        app.wait(30)
        log.close()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run one browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium_path(), args=list(_QUIET_CHROMIUM)
        )
        yield browser
        browser.close()


@contextmanager
def visitor(
    browser: Browser, address: str, *, width: int = 1280, height: int = 900, dark: bool = False
) -> Iterator[Page]:
    """Open the page as somebody with storage of their own; wait until it knows its task."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        accept_downloads=True,
    )
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(f"{address}/?__theme={'dark' if dark else 'light'}")
    ready(page)
    yield page
    context.close()


def ready(page: Page) -> None:
    """Wait until the page has loaded its tasks and ways to answer."""
    page.wait_for_selector("#wb-text textarea", timeout=120_000)
    page.wait_for_selector("#wb-ways .token", timeout=240_000)


def open_tab(page: Page, name: str) -> None:
    """Show a tab."""
    page.get_by_role("tab", name=name, exact=True).click()


def open_setting(page: Page) -> None:
    """Open the line above the tabs, if it is closed: task, wording, base, and both drawers."""
    if not page.locator("#wb-task input").is_visible():
        page.locator("#wb-setting > button").click()
        page.wait_for_selector("#wb-task input", state="visible")


def open_drawer(page: Page, title: str) -> None:
    """Open a drawer of the setting by its title."""
    open_setting(page)
    page.get_by_text(title).click()


def choose(page: Page, part: str, text: str) -> None:
    """Choose the first entry of a list that has a text in it."""
    page.click(f"{part} input")
    page.locator("ul[role=listbox] li", has_text=text).first.click()
    page.keyboard.press("Escape")  # a list of several stays open


def ask(page: Page, text: str, *, seconds: float = 90) -> None:
    """Ask in the Ask tab and wait for all columns."""
    page.fill("#wb-text textarea", text)
    page.click("#wb-answer")
    page.wait_for_selector(".wb-columns[aria-busy=true], .wb-hint", timeout=1000 * seconds)
    page.wait_for_selector(".wb-columns[aria-busy=false]", timeout=1000 * seconds)


def wait_for_job(page: Page, kind: str, state: str, *, seconds: float = 300) -> None:
    """Wait until the panel of a tab shows its job in a state."""
    page.wait_for_selector(f"#wb-{kind}-view .wb-job[data-state={state}]", timeout=1000 * seconds)


def shown_job(page: Page) -> str | None:
    """Return the job that the address names, which is the one that a panel shows."""
    job: str | None = page.evaluate(_JOB)
    return job


def wait_for_another_job(page: Page, before: str | None) -> None:
    """Wait until a job is shown that was just begun: an older one may be finished."""
    page.wait_for_function(f"before => {_JOB} !== before", arg=before, timeout=60_000)


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(address: str, app: "subprocess.Popen[bytes]") -> None:
    began = time.monotonic()
    while time.monotonic() - began < START_SECONDS:
        if app.poll() is not None:
            raise RuntimeError(f"the app ended with {app.returncode}")
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise RuntimeError(f"no page within {START_SECONDS} s")
