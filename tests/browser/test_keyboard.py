"""The engineer's and the researcher's ways from the first page to the result, without a mouse."""

import pytest

from browser.driver import shown_job, wait_for_another_job, wait_for_job
from browser.keyboard import Keyboard
from browser.test_whole_path import write_rows

pytestmark = pytest.mark.browser


@pytest.fixture
def keyboard(page):
    """Return the keys of the page."""
    return Keyboard(page)


def test_an_engineer_brings_rows_trains_compares_and_takes_files(page, keyboard, tmp_path):
    keyboard.press("#wb-setting > button", back=True)
    keyboard.press("#wb-data > button")
    with page.expect_file_chooser() as chooser:
        keyboard.press("#wb-file button")
    chooser.value.set_files(write_rows(tmp_path / "keys.csv", 60))
    page.wait_for_selector("#wb-use-rows")
    keyboard.press("#wb-use-rows")
    page.wait_for_selector("#wb-task-facts >> text=keys", timeout=120_000)

    keyboard.to("#wb-text textarea")
    keyboard.tab("Train")
    page.wait_for_selector("#wb-estimate >> text=trains", timeout=240_000)
    keyboard.write("#wb-prompt_tuning-steps input", "10")
    before = shown_job(page)
    keyboard.press("#wb-train")
    wait_for_another_job(page, before)
    wait_for_job(page, "train", "finished")

    keyboard.tab("Evaluate")
    page.wait_for_selector("#wb-rows .token >> text=prompt_tuning")
    before = shown_job(page)
    keyboard.press("#wb-evaluate")
    wait_for_another_job(page, before)
    wait_for_job(page, "evaluate", "finished")
    page.wait_for_selector("#wb-leaderboard >> text=prompt_tuning", timeout=60_000)
    keyboard.press("#wb-details [role=tab]", "Files")
    keyboard.press("#wb-export")
    page.wait_for_selector("#wb-files a", timeout=120_000)


def test_a_researcher_reads_a_soft_prompt_names_a_run_and_holds_two_side_by_side(page, keyboard):
    keyboard.tab("Evaluate")
    page.wait_for_selector("#wb-rows .token >> text=few_shot", timeout=120_000)
    keyboard.write("[placeholder=all]", "5")
    before = shown_job(page)
    keyboard.press("#wb-evaluate")
    wait_for_another_job(page, before)
    wait_for_job(page, "evaluate", "finished")

    keyboard.tab("Inspect")
    page.wait_for_selector("#wb-reading-view .wb-verdict", timeout=60_000)
    keyboard.choose("#wb-open", "random vectors")
    page.wait_for_selector("#wb-open-facts >> text=learned nothing", timeout=60_000)
    keyboard.to("#wb-reading input")
    keyboard.keys("ArrowDown")
    page.wait_for_function("location.search.includes('reading=')")

    keyboard.tab("Runs")
    page.wait_for_selector("#wb-runs >> text=few_shot >> visible=true")
    keyboard.choose("#wb-run", "few_shot")
    page.wait_for_selector("#wb-run-view .wb-job")
    keyboard.choose("#wb-beside-run", "zero_shot")
    page.wait_for_selector("#wb-run-view >> text=Side by side")
    keyboard.press("#wb-naming > button")
    keyboard.write("#wb-run-name input, #wb-run-name textarea", "by keys")
    keyboard.press("#wb-keep-name")
    page.wait_for_selector("#wb-runs >> text=by keys >> visible=true")
