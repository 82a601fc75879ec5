"""What strangers write stays text in the page: in a real browser, under the page's own rules."""

import csv
import io
import re
import threading
import zipfile
from contextlib import contextmanager

import pytest

pytest.importorskip("playwright", reason="no Playwright: make setup installs it")

from browser.driver import chromium, chromium_path, open_drawer, open_tab, ready, visitor
from security.flows import finished
from security.raw import Visitor, file_data
from workbench.ui.app import TABS

pytestmark = pytest.mark.browser

PAYLOADS = (
    "<script>window.__xss=1</script>",
    "<img src=x onerror=window.__xss=1>",
    "\"'><svg onload=window.__xss=1>",
    "${window.__xss=1}",
    "{{value}} {{constructor.constructor('window.__xss=1')()}}",
    "</pre></style></textarea><iframe srcdoc='<script>parent.__xss=1</script>'>",
    "[link](javascript:window.__xss=1) <a href=javascript:window.__xss=1>x</a>",
)
LABELS = ("<img src=x onerror=window.__xss=1>", "${window.__xss=1}</option>")
ELEMENTS = "img[src=x], svg[onload], iframe[srcdoc], a[href^=javascript], script:not([src])"


@pytest.fixture(scope="module")
def browser():
    if chromium_path() is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def hostile(local):
    """Evaluate two rows on a task made of hostile texts."""
    owner = Visitor(local.address, "")
    key = owner.call(
        "upload_rows",
        name="<b>mine</b>",
        content=hostile_rows(),
        text_column=LABELS[0],
        label_column=LABELS[1],
    ).data[0]
    asked = {
        "task": {"name": key, "limit_test": 8},
        "precision": "fp32",
        "model": local_model(owner),
        "methods": {"zero_shot": {}, "lora": {"steps": 2, "batch_size": 2, "rank": 2}},
    }
    job = owner.call("start_evaluation", experiment=asked).data[0]
    assert finished(owner, job)["state"] == "finished"
    owner.close()


def hostile_rows():
    """Return rows whose header, texts and labels are all hostile."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(LABELS)
    for number in range(40):
        writer.writerow([f"{number} {PAYLOADS[number % len(PAYLOADS)]}", LABELS[number % 2]])
    return stream.getvalue()


def local_model(owner):
    """Return the base of the app."""
    return owner.component("wb-model")["props"]["value"]


def watched(page):
    """Return a list that grows with every complaint of the page."""
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    return said


def assert_harmless(page):
    """Fail if any hostile text became an element or ran."""
    assert page.evaluate("window.__xss") is None
    elements = page.locator(f"gradio-app :is({ELEMENTS})")
    assert [element.evaluate("e => e.outerHTML") for element in elements.all()] == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_works_under_its_own_rules(browser, local, dark):
    context = browser.new_context(color_scheme="dark" if dark else "light")
    page = context.new_page()
    said = watched(page)
    page.goto(f"{local.address}/?__theme={'dark' if dark else 'light'}")
    ready(page)
    for tab in (*TABS, "Ask"):
        open_tab(page, tab)
    page.fill("#wb-text textarea", "lovely sun")
    page.click("#wb-answer")
    page.wait_for_selector(".wb-columns[aria-busy=false], .wb-problem", timeout=30_000)
    open_drawer(page, "Wording: edit and preview")
    page.click("#wb-to-yaml")
    page.wait_for_selector("#wb-editor .cm-content")

    assert [text for text in said if re.search("Content.Security.Policy|Refused to", text)] == []
    context.close()


def test_hostile_rows_are_shown_as_they_are_written(browser, local, hostile):
    with visitor(browser, local.address) as page:
        open_drawer(page, "Your own data, and what the task holds")
        choose(page, "#wb-task", "(yours)")
        page.wait_for_selector("#wb-task-facts >> text=onerror")
        page.fill("#wb-text textarea", " ".join(PAYLOADS))
        page.click("#wb-answer")
        page.wait_for_selector(".wb-columns[aria-busy=false]", timeout=30_000)
        for summary in page.locator("#wb-columns summary").all():
            summary.click()
        assert_harmless(page)
        assert PAYLOADS[3] in page.inner_text("#wb-columns")
        assert "{{value}} {{constructor" in page.inner_text("#wb-columns")

        open_tab(page, "Train")
        page.wait_for_selector("#wb-estimate .wb-facts", timeout=30_000)
        open_tab(page, "Evaluate")
        page.wait_for_selector("#wb-leaderboard", timeout=30_000)
        open_tab(page, "Calibration and confusion")
        page.wait_for_selector("#wb-row-view .wb-confusion")
        assert_harmless(page)
        assert LABELS[0] in page.inner_text("#wb-row-view")
        open_tab(page, "Items")
        choose(page, "#wb-mode", "all")
        page.wait_for_selector("#wb-items .wb-items")
        assert_harmless(page)
        assert LABELS[1] in page.inner_text("#wb-items")

        open_tab(page, "Runs")
        page.wait_for_selector("#wb-runs")
        choose(page, "#wb-run", "lora")
        page.wait_for_selector("#wb-run-view .wb-job")
        assert_harmless(page)


def test_a_hostile_wording_is_shown_as_it_is_written(browser, local):
    with visitor(browser, local.address) as page:
        open_drawer(page, "Wording: edit and preview")
        page.wait_for_selector("#wb-preview .wb-prompt")
        page.click("#wb-to-yaml")
        for payload in PAYLOADS:
            text = f"version: 1\ninstruction: |-\n  {payload} {{labels}}\ninput: 'T {{text}}'"
            page.locator("#wb-editor .cm-content").fill(text)
            page.wait_for_function(
                "start => document.querySelector('#wb-preview').innerText.includes(start)",
                arg=payload.replace("{{value}}", "{value}")[:18],  # an escape of a wording
            )
            assert_harmless(page)


def test_a_hostile_file_is_looked_at_without_harm(browser, local, tmp_path):
    name = "<img src=x onerror=window.__xss=1>.csv"
    (tmp_path / name).write_text(hostile_rows())
    with visitor(browser, local.address) as page:
        open_drawer(page, "Your own data, and what the task holds")
        page.set_input_files("#wb-file input[type=file]", tmp_path / name)
        page.wait_for_selector("text=40 rows, 2 columns")
        page.wait_for_timeout(300)

        assert_harmless(page)


def test_hostile_links_are_shown_as_text(browser, local):
    for query in ("run=<img+src=x+onerror=window.__xss=1>", "run=${window.__xss=1}"):
        page = browser.new_page()
        page.goto(f"{local.address}/?{query}")
        page.wait_for_selector("#wb-address-note .wb-problem")

        assert_harmless(page)
        page.close()


def test_an_adapter_s_description_of_itself_stays_text(local, lora_export):
    owner = Visitor(local.address, "")
    content = io.BytesIO()
    config = (lora_export / "adapter_config.json").read_text()
    found = re.search(r'"base_model_name_or_path": "([^"]*)"', config)
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("adapter_config.json", config.replace(found[1], PAYLOADS[1]))
        archive.write(lora_export / "adapter_model.safetensors", "adapter_model.safetensors")
    path = owner.upload("<svg onload=window.__xss=1>.zip", content.getvalue())

    answer = owner.click("wb-import-file", "upload", wb_import_file=file_data(path))

    assert "&lt;img src=x onerror=window.__xss=1&gt;" in answer.html
    assert "<img" not in answer.html
    owner.close()


def test_a_full_queue_is_said_on_the_page(browser, local):
    with visitor(browser, local.address) as page, crowd(local.address):
        page.fill("#wb-text textarea", "lovely sun")
        page.click("#wb-answer")

        page.wait_for_selector("text=This application is currently busy.", timeout=20_000)


@contextmanager
def crowd(address):
    """Keep the queue full: as many calls as it takes, until the block ends."""
    caller = Visitor(address, "")
    handler = next(h for h in caller.config["dependencies"] if h["api_name"] == "score")
    texts = [f"text {number} {'x' * 200}" for number in range(200)]
    data = [texts, "words:zero_shot", "support_intents", "plain", "nf4", ""]
    is_over, is_full = threading.Event(), threading.Event()

    def push():
        while not is_over.is_set():
            body = {"data": data, "fn_index": handler["id"], "session_hash": "crowd"}
            got = caller.http.post("/gradio_api/queue/join", json=body)
            if got.status_code == 503:
                is_full.set()

    pushing = threading.Thread(target=push)
    pushing.start()
    try:
        assert is_full.wait(30)
        yield
    finally:
        is_over.set()
        pushing.join()
        caller.close()


def choose(page, selector, part):
    """Choose the first entry of a dropdown that has a text in it."""
    page.click(f"{selector} input")
    page.locator("ul[role=listbox] li", has_text=part).first.click()
