"""Three people from the first page to what they came for; the engineer's is test_whole_path."""

import pytest

from browser.axe import problems
from browser.driver import (
    choose,
    open_setting,
    open_tab,
    running_app,
    shown_job,
    visitor,
    wait_for_another_job,
    wait_for_job,
)

pytestmark = pytest.mark.browser

_SLOW_ANSWERS = """() => {
  const real = window.fetch;
  window.fetch = async (...asked) => {
    const answer = await real(...asked);
    await new Promise(go => setTimeout(go, 700));
    return answer;
  };
}"""


def said(page, part):
    """Return what a list says."""
    return page.input_value(f"{part} input")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_class_follows_its_teachers_link_by_keyboard_alone(browser, address, dark):
    with visitor(browser, address, width=390, height=844, dark=dark) as page:
        page.goto(f"{address}/?tab=tour&stop=2&__theme={'dark' if dark else 'light'}")
        page.wait_for_selector("#wb-tour >> text=Stop 3 of 7")
        assert "chance" in page.inner_text("#wb-tour")
        for number in range(4, 8):
            page.focus("#wb-tour-next")
            page.keyboard.press("Enter")
            page.wait_for_selector(f"#wb-tour >> text=Stop {number} of 7")
            page.wait_for_timeout(300)
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert problems(page) == []
        assert "stop=6" in page.url

        page.focus("#wb-tour-back")
        page.keyboard.press("Enter")
        page.wait_for_selector("#wb-tour >> text=Stop 6 of 7")


def test_a_researcher_measures_names_compares_and_takes_tables_home(page):
    open_tab(page, "Evaluate")
    page.wait_for_selector("#wb-rows .token >> text=zero_shot", timeout=120_000)
    for token in page.locator("#wb-rows .token").all_inner_texts():
        name = token.split("\n")[0].strip()
        if name not in ("zero_shot", "few_shot"):
            page.locator(f"#wb-rows .token:has-text('{name}') .token-remove").last.click()
    page.get_by_label("Most test items").fill("10")
    before = shown_job(page)
    page.click("#wb-evaluate")
    wait_for_another_job(page, before)
    wait_for_job(page, "evaluate", "finished")
    page.wait_for_selector("#wb-leaderboard", timeout=60_000)
    page.get_by_role("tab", name="Files").click()
    page.click("#wb-export")
    page.wait_for_selector("#wb-files a", timeout=120_000)
    page.get_by_role("tab", name="Quality against cost").click()

    open_tab(page, "Runs")
    page.wait_for_selector("#wb-runs >> text=few_shot >> visible=true")
    page.click("#wb-naming > button")
    page.evaluate(_SLOW_ANSWERS)  # the run's own name comes while another is about to be written
    choose(page, "#wb-run", "few_shot")
    page.fill("#wb-run-name textarea, #wb-run-name input", "ten items")
    page.click("#wb-keep-name")
    page.wait_for_selector("#wb-runs >> text=ten items >> visible=true")
    page.wait_for_selector("#wb-run-view .wb-job")
    choose(page, "#wb-beside-run", "zero_shot")
    page.wait_for_selector("#wb-run-view >> text=Side by side")
    shown = page.inner_text("#wb-run-view")
    page.wait_for_function("location.search.includes('beside=')")

    page.reload()
    page.wait_for_selector("#wb-run-view >> text=Side by side", timeout=60_000)
    assert page.inner_text("#wb-run-view") == shown
    assert "ten items" in said(page, "#wb-run")
    assert problems(page) == []


def test_an_edit_of_a_wording_outlives_another_tab_and_back(page):
    open_setting(page)
    page.get_by_text("Wording: edit and preview").click()
    instruction = page.locator("#wb-box-instruction textarea")
    page.wait_for_function("document.querySelector('#wb-box-instruction textarea')?.value")
    instruction.fill("What is it about: {labels}?")
    open_tab(page, "Plan")
    page.wait_for_function("location.search.includes('tab=plan')")

    page.go_back()
    page.wait_for_selector("#wb-text textarea", state="visible")
    page.wait_for_timeout(3000)

    assert instruction.input_value() == "What is it about: {labels}?"


def test_the_page_can_be_used_while_a_map_is_made(page):
    open_tab(page, "Inspect")
    page.wait_for_selector(".wb-reading[data-reading=nearest]", timeout=60_000)
    page.locator("#wb-reading label", has_text="Map").first.click()
    page.wait_for_selector("#wb-reading-view .wb-hint")
    page.click("#wb-read")

    open_tab(page, "Ask")
    page.fill("#wb-text textarea", "meanwhile")
    open_tab(page, "Inspect")

    assert page.locator(".wb-reading[data-reading=map]").count() == 0  # it is on its way
    page.wait_for_selector(".wb-reading[data-reading=map]", timeout=240_000)


def test_what_another_tab_of_the_browser_resumes_is_seen_here(browser, tmp_path):
    with running_app(tmp_path / "runs") as address, visitor(browser, address) as page:
        open_tab(page, "Train")
        page.fill("#wb-prompt_tuning-steps input", "400")
        page.wait_for_selector("#wb-estimate >> text=trains", timeout=240_000)
        page.click("#wb-train")
        wait_for_job(page, "train", "running", seconds=60)
        page.click("#wb-train-stop")
        wait_for_job(page, "train", "stopped", seconds=90)

        other = page.context.new_page()
        other.goto(f"{address}/?tab=train")
        wait_for_job(other, "train", "stopped", seconds=60)
        other.click("#wb-train-resume")
        wait_for_job(page, "train", "running", seconds=60)
        other.click("#wb-train-stop")
        wait_for_job(page, "train", "stopped", seconds=90)
