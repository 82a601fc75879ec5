"""The grid in a browser: it fills, is marked, and a wording is kept and gone back to."""

import pytest

from browser.axe import problems
from browser.driver import choose, open_tab

pytestmark = pytest.mark.browser


def test_a_grid_fills_and_its_answers_are_marked_and_its_wording_kept(page):
    open_tab(page, "Grid")
    page.wait_for_selector("#wb-grid-wordings .token", timeout=120_000)
    choose(page, "#wb-grid-wordings", "brief")
    page.fill("#wb-grid-texts textarea", "My parcel never came\nWho sees my data?")
    page.fill("#wb-grid-dev input", "3")
    page.click("#wb-grid-fill")
    page.wait_for_selector("#wb-grid section[aria-busy=false]", timeout=240_000)

    assert "10 of 10 cells answered" in page.inner_text("#wb-grid")
    assert "Words that differ: plain and brief" in page.inner_text("#wb-grid")
    assert page.locator("#wb-grid ins").count() > 0
    assert problems(page) == []

    page.get_by_text("Mark answers, and make rows of them").click()
    page.wait_for_function(
        "document.querySelector('#wb-mark-text input')?.value.startsWith('1. My parcel')"
    )
    page.fill("#wb-mark-comment textarea, #wb-mark-comment input", "as it should be")
    page.click("#wb-mark")
    page.wait_for_selector("#wb-mark-list >> text=as it should be", timeout=120_000)

    page.get_by_text("Versions of your wordings").click()
    page.fill("#wb-version-name textarea, #wb-version-name input", "topics")
    page.click("#wb-version-keep")
    page.wait_for_selector("#wb-version-view >> text=topics, version 1", timeout=120_000)
    page.click("#wb-version-back")
    page.wait_for_selector("#wb-version-view >> text=topics, version 2", timeout=120_000)
    assert problems(page) == []
    assert "back to version 1" in page.inner_text("#wb-version-view")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_stop_leaves_what_is_there_and_the_next_grid_fills(page):
    open_tab(page, "Grid")
    page.wait_for_selector("#wb-grid-wordings .token", timeout=120_000)
    choose(page, "#wb-grid-ways", "chain_of_thought")
    texts = [f"My parcel number {number} never came" for number in range(40)]
    page.fill("#wb-grid-texts textarea", "\n".join(texts))
    page.fill("#wb-grid-dev input", "0")
    page.click("#wb-grid-fill")
    page.wait_for_selector("#wb-grid section[aria-busy=true]", timeout=240_000)

    page.click("#wb-grid-stop")
    page.wait_for_selector("#wb-grid section[aria-busy=false]", timeout=60_000)
    left = page.inner_text("#wb-grid .wb-headline")
    page.wait_for_timeout(3000)

    assert "of 80 cells answered" in left
    assert not left.startswith("80 of 80")
    assert page.inner_text("#wb-grid .wb-headline") == left
    page.fill("#wb-grid-texts textarea", "Who sees my data?")
    page.click("#wb-grid-fill")
    page.wait_for_selector("#wb-grid >> text=2 of 2 cells answered", timeout=120_000)
