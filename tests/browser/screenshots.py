"""Make the pictures of README and docs: `make screenshots`. The page is used, nothing is staged.

Trains a soft prompt and evaluates four rows on the default task, then writes docs/screenshots/.
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page

sys.path.insert(0, str(Path(__file__).parents[1]))
from browser.driver import ask, chromium, open_tab, running_app, visitor, wait_for_job

TARGET = Path(__file__).parents[2] / "docs" / "screenshots"
QUESTION = "I was charged twice and I want my money back"


def main() -> None:
    """Write all pictures."""
    TARGET.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as scratch,
        chromium() as browser,
        running_app(Path(scratch) / "runs") as address,
    ):
        with visitor(browser, address) as page:
            ask(page, QUESTION)
            picture(page, "ask-light")
            open_tab(page, "Tour")
            page.wait_for_selector("#wb-tour svg:visible")
            picture(page, "tour-light")
            grid(page)
            train(page)
            picture(page, "train-light")
            evaluate(page)
            picture(page, "evaluate-light")
            inspect(page)
            plan(page)
            open_tab(page, "Runs")
            page.wait_for_selector("#wb-runs >> text=prompt_tuning")
            page.wait_for_timeout(1500)
            picture(page, "runs-light")
        with visitor(browser, address, dark=True) as page:
            open_tab(page, "Evaluate")
            page.wait_for_selector("#wb-leaderboard")
            open_tab(page, "Items")
            page.wait_for_selector("#wb-items table")
            picture(page, "items-dark")
        with visitor(browser, address, dark=True, width=390, height=844) as page:
            ask(page, QUESTION)
            picture(page, "ask-phone-dark")


def grid(page: Page) -> None:
    """Ask three wordings about four texts."""
    open_tab(page, "Grid")
    texts = (
        QUESTION,
        "Where is my parcel?",
        "not using it, end it",
        "Two of four plates are chipped",
    )
    page.fill("#wb-grid-texts textarea", "\n".join(texts))
    for wording in ("brief", "question"):
        page.click("#wb-grid-wordings input")
        page.get_by_role("option", name=wording).click()
    page.keyboard.press("Escape")
    page.click("#wb-grid-fill")
    page.wait_for_selector("#wb-grid [aria-busy=false]", timeout=120_000)
    picture(page, "grid-light")


def train(page: Page) -> None:
    """Train a soft prompt for 60 steps."""
    open_tab(page, "Train")
    page.get_by_text("quick", exact=True).click()
    page.wait_for_selector("#wb-estimate >> text=trains", timeout=60_000)
    page.click("#wb-train")
    wait_for_job(page, "train", "finished")


def evaluate(page: Page) -> None:
    """Evaluate all rows the page offers."""
    open_tab(page, "Evaluate")
    page.wait_for_selector("#wb-rows .token >> text=prompt_tuning")
    page.click("#wb-evaluate")
    wait_for_job(page, "evaluate", "finished")
    page.wait_for_selector("#wb-cost-view svg:visible")


def inspect(page: Page) -> None:
    """Open the prompt that was trained: its nearest tokens, and its map."""
    open_tab(page, "Inspect")
    page.wait_for_selector(".wb-reading[data-reading=nearest]", timeout=60_000)
    picture(page, "inspect-light")
    page.locator("#wb-reading label", has_text="where the vectors lie").click()
    page.wait_for_selector("#wb-reading-view .wb-hint")
    page.click("#wb-read")
    page.wait_for_selector(".wb-reading[data-reading=map]", timeout=120_000)
    page.wait_for_selector("#wb-map .plot-container .legend", timeout=30_000)
    page.wait_for_timeout(1500)
    picture(page, "inspect-map-light")


def plan(page: Page) -> None:
    """Plan what each method would cost on a larger model and a card."""
    open_tab(page, "Plan")
    page.fill("#wb-plan-model input", "llama-2-13b")
    page.keyboard.press("Enter")
    page.click("#wb-plan")
    page.wait_for_selector("#wb-plan-view table")
    picture(page, "plan-light")


def picture(page: Page, name: str) -> None:
    """Write the whole page as it is."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(600)
    page.screenshot(path=str(TARGET / f"{name}.png"), full_page=True)


if __name__ == "__main__":
    main()
