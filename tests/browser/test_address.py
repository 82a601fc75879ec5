"""The page's address says what is shown: reload, Back, another tab of the browser and a link."""

from urllib.parse import parse_qs, urlsplit

import pytest

from browser.driver import choose, open_setting, open_tab
from workbench.ui.page_address import PageAddress, Part

pytestmark = pytest.mark.browser


def asked(page):
    """Return what the address of a page asks for."""
    found = parse_qs(urlsplit(page.url).query)
    return {name: values for name, values in found.items() if name != "__theme"}


def value(page, part):
    """Return what a list says."""
    return page.input_value(f"{part} input")


def wait_for_value(page, part, text):
    """Wait until a list says something."""
    page.wait_for_function(
        "([part, text]) => document.querySelector(part + ' input')?.value === text",
        arg=[part, text],
    )


def open_nearest(page):
    """Open the example soft prompt in Inspect and return what it is called there."""
    open_tab(page, "Inspect")
    page.wait_for_selector("#wb-reading-view .wb-verdict", timeout=60_000)
    choose(page, "#wb-open", "example_prompt_tuning")
    page.wait_for_selector("#wb-reading-view .wb-verdict >> text=21 of 21", timeout=60_000)
    return value(page, "#wb-open")


def test_the_first_page_has_a_clean_address(page):
    assert asked(page) == {}


def test_a_reload_and_another_tab_show_the_same(page):
    open_setting(page)
    choose(page, "#wb-wording", "brief")
    page.wait_for_function("location.search.includes('wording=')")
    opened = open_nearest(page)
    shown = page.inner_text("#wb-reading-view .wb-verdict")
    other = page.context.new_page()
    for one in (page, other):
        one.goto(page.url)
        one.wait_for_selector("#wb-reading-view .wb-verdict", timeout=60_000)
        wait_for_value(one, "#wb-open", opened)

        assert one.locator("[role=tab][aria-selected=true]").first.inner_text() == "Inspect"
        assert one.inner_text("#wb-reading-view .wb-verdict") == shown
        one.wait_for_selector("#wb-setting > button >> text=· brief ·", timeout=120_000)


def test_back_and_forward_go_through_what_was_shown(page):
    open_tab(page, "Tour")
    page.get_by_role("button", name="Next").click()
    page.wait_for_function("location.search.includes('stop=1')")
    open_tab(page, "Runs")
    page.wait_for_function("location.search.includes('tab=runs')")

    page.go_back()
    page.wait_for_selector("#wb-tour >> text=Stop 2 of")
    assert asked(page) == {"tab": ["tour"], "stop": ["1"]}
    page.go_back()
    page.wait_for_selector("#wb-text textarea", state="visible")
    assert asked(page) == {}
    page.go_forward()
    page.wait_for_selector("#wb-tour-stops", state="visible")
    assert asked(page) == {"tab": ["tour"], "stop": ["1"]}


def test_two_steps_back_at_once_show_what_the_second_asks_for(page):
    for tab in ("Tour", "Plan", "Runs"):
        open_tab(page, tab)
        page.wait_for_function(f"location.search.includes('tab={tab.lower()}')")

    page.evaluate("history.back(); setTimeout(() => history.back(), 30)")
    page.wait_for_function("location.search.includes('tab=tour')")
    page.wait_for_selector("#wb-tour-stops", state="visible")
    page.wait_for_timeout(1000)

    assert asked(page) == {"tab": ["tour"]}


def test_back_takes_a_choice_of_the_first_row_back(page):
    open_setting(page)
    choose(page, "#wb-precision", "fp32")
    page.wait_for_function("location.search.includes('precision=fp32')")

    page.go_back()

    wait_for_value(page, "#wb-precision", "nf4")
    assert asked(page) == {}


def test_an_address_that_asks_for_what_is_not_there_says_so(page, address):
    page.goto(f"{address}/?task=nobodys&tab=nowhere&wording=gone")
    page.wait_for_selector("#wb-address-note .wb-problem")

    said = page.inner_text("#wb-address-note")
    assert "task: 'nobodys' is not here" in said
    assert "no tab 'nowhere'" in said
    assert "wording: 'gone' is none" in said
    page.wait_for_function("location.search === ''")
    page.wait_for_timeout(3000)
    assert page.locator(".toast-wrap").inner_text() == ""


def test_a_run_of_ones_own_takes_the_place_of_a_linked_one_in_the_address(browser):
    parts = [Part(name, None, "", "runs", None) for name in ("run", "beside")]
    script = PageAddress(None, None, None, parts)._script(["ask", "runs"], "replace")
    page = browser.new_page()
    page.route("**/*", lambda route: route.fulfill(body="<html></html>", content_type="text/html"))
    page.goto("http://127.0.0.1/?tab=runs&run=theirs&key=k")
    page.evaluate("window.workbenchAddress = {tab: 'runs', isRead: true, turn: 0}")
    seen = []
    for chosen in (None, "mine"):
        page.evaluate(f"values => ({script})(...values)", ["", chosen, ""])
        seen.append(asked(page))
    page.close()

    assert seen == [
        {"tab": ["runs"], "run": ["theirs"], "key": ["k"]},
        {"tab": ["runs"], "run": ["mine"]},
    ]
