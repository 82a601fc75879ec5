"""Readable for everybody: axe-core finds nothing of ours, nothing is wider than a phone."""

import pytest

from browser.axe import problems
from browser.driver import ask, open_tab, visitor
from workbench.ui.app import TABS

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_of_ours(browser, address, dark):
    with visitor(browser, address, dark=dark) as page:
        page.get_by_text("Your own data, and what the task holds").click()
        page.get_by_text("Wording: edit and preview").click()
        ask(page, "My parcel never came")
        found = []
        for tab in TABS:
            open_tab(page, tab)
            page.wait_for_timeout(1500)
            found += [f"{tab}: {problem}" for problem in problems(page)]

        assert found == []


def test_a_phone_need_not_scroll_sideways(browser, address):
    with visitor(browser, address, width=390, height=844) as page:
        ask(page, "My parcel never came")
        for tab in TABS:
            open_tab(page, tab)
            page.wait_for_timeout(800)
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= 390, tab


def test_the_keyboard_alone_gets_an_answer(browser, address):
    with visitor(browser, address) as page:
        page.focus("#wb-text textarea")
        page.keyboard.type("My parcel never came")
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.id")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        page.keyboard.press("Enter")

        page.wait_for_selector(".wb-columns[aria-busy=false]", timeout=90_000)
        assert focused == "wb-answer"
        assert outline != "none"
