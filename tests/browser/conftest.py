"""The app over the default base, once for all browser tests, and one browser."""

import re

import pytest

from browser.driver import chromium, chromium_path, running_app, visitor


@pytest.fixture(autouse=True)
def _no_network(socket_enabled):
    """Sockets to this machine: a browser and an app have to talk to each other."""


@pytest.fixture(scope="session")
def app_root(tmp_path_factory):
    """Return the folder of runs of the app."""
    return tmp_path_factory.mktemp("app") / "runs"


@pytest.fixture(scope="session")
def address(app_root, pytestconfig):
    """Return the address of a running app."""
    if chromium_path() is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with running_app(app_root) as found:
        yield found
    log = app_root.with_name(f"{app_root.name}-app.log").read_text(encoding="utf-8")
    told = re.compile(r"gradio\.exceptions\.Error|error [0-9a-f]{6}")  # of a box without a place
    assert [line for line in log.splitlines() if told.match(line)] == []


@pytest.fixture(scope="module")
def browser(address):
    """Return one browser for a file of tests; its event loop must not outlive them."""
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser, address):
    """Return the page as a new visitor sees it."""
    with visitor(browser, address) as found:
        yield found
