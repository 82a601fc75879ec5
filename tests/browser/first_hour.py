"""Do the five tasks of docs/first-hour.md, as they stand there.

`python tests/browser/first_hour.py` prints the clicks and the minutes of each, and what the page
came to. Its waits count, a person's reading does not.
"""

import csv
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page

sys.path.insert(0, str(Path(__file__).parents[1]))
from browser.driver import chromium, running_app, visitor, wait_for_job

_LONG = 300_000  # milliseconds
_ROWS = {"good": "lovely great sunny superb fine", "bad": "broken awful late rude dull"}


class Hand:
    """Clicks, and counts them."""

    def __init__(self, page: Page) -> None:
        self.page, self.num_clicks = page, 0

    def click(self, part: str) -> None:
        """Click what a selector finds and can be seen."""
        self.page.locator(f"{part} >> visible=true").first.click(timeout=120_000)
        self.num_clicks += 1

    def tab(self, name: str) -> None:
        """Open a tab."""
        self.page.get_by_role("tab", name=name, exact=True).click()
        self.num_clicks += 1

    def option(self, name: str) -> None:
        """Choose from the list that is open."""
        self.page.get_by_role("option", name=name).first.click()
        self.num_clicks += 1

    @contextmanager
    def task(self, title: str) -> Iterator[None]:
        """Count and time a task."""
        began, self.num_clicks = time.monotonic(), 0
        yield
        minutes = (time.monotonic() - began) / 60
        sys.stdout.write(f"{title}: {self.num_clicks} clicks, {minutes:.1f} minutes\n")

    def tell(self, part: str) -> None:
        """Print what a part of the page says."""
        said = self.page.locator(f"{part} >> visible=true").first.inner_text()
        sys.stdout.write(f"    {' '.join(said.split())}\n")


def main() -> None:
    """Do all five."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        chromium() as browser,
        running_app(Path(scratch) / "runs") as address,
        visitor(browser, address, width=1440, height=900) as page,
    ):
        hand = Hand(page)
        with hand.task("1. Get a first answer"):
            first_answer(hand)
        with hand.task("2. Bring a CSV and compare three ways"):
            bring_rows(hand, Path(scratch) / "reviews.csv")
        with hand.task("3. Train a soft prompt and see whether it was worth it"):
            train(hand)
        with hand.task("4. Open a soft prompt"):
            inspect(hand)
        with hand.task("5. Find out what fits a card of 8 GB"):
            plan(hand)


def first_answer(hand: Hand) -> None:
    """Click an example, and Answer."""
    hand.click("#wb-examples .gallery-item")
    hand.click("#wb-answer")
    hand.page.wait_for_selector(".wb-columns[aria-busy=false]", timeout=_LONG)
    hand.tell(".wb-agreement")


def bring_rows(hand: Hand, path: Path) -> None:
    """Bring rows, and compare three ways that need no training on them."""
    write_rows(path)
    hand.click("#wb-setting > button")
    hand.click("#wb-data > button")
    with hand.page.expect_file_chooser() as chooser:
        hand.click("#wb-file button")
    chooser.value.set_files(str(path))
    hand.click("#wb-use-rows")
    hand.page.wait_for_selector("#wb-task-facts >> text=reviews", timeout=_LONG)
    hand.tab("Evaluate")
    hand.page.wait_for_selector("#wb-rows .token >> text=chain_of_thought", timeout=_LONG)
    hand.click("#wb-rows .token:has-text('chain_of_thought') .token-remove")
    hand.click("#wb-evaluate")
    wait_for_job(hand.page, "evaluate", "finished", seconds=900)
    hand.page.wait_for_selector("#wb-results .wb-headline", timeout=_LONG)
    hand.tell("#wb-results .wb-headline")


def train(hand: Hand) -> None:
    """Train a soft prompt for 60 steps, and evaluate it with the others."""
    hand.tab("Train")
    hand.click("#wb-preset label:has-text('quick')")
    hand.click("#wb-train")
    wait_for_job(hand.page, "train", "finished", seconds=900)
    hand.tab("Evaluate")
    hand.page.wait_for_selector("#wb-rows .token >> text=prompt_tuning", timeout=_LONG)
    hand.click("#wb-evaluate")
    hand.page.wait_for_selector("#wb-leaderboard >> text=prompt_tuning", timeout=_LONG)
    hand.tell("#wb-results .wb-headline")


def inspect(hand: Hand) -> None:
    """Look at nearest tokens, round to them, and look at random vectors."""
    hand.tab("Inspect")
    hand.page.wait_for_selector(".wb-reading[data-reading=nearest]", timeout=_LONG)
    hand.tell("#wb-reading-view .wb-verdict")
    hand.click("#wb-reading label:has-text('Rounded to tokens')")
    hand.page.wait_for_selector("#wb-reading-view .wb-hint", timeout=_LONG)
    hand.click("#wb-read")
    hand.page.wait_for_selector(".wb-reading[data-reading=rounding]", timeout=_LONG)
    hand.tell("#wb-reading-view .wb-verdict")
    hand.click("#wb-open input")
    hand.option("control: random vectors")
    hand.page.wait_for_timeout(2000)
    hand.click("#wb-reading label:has-text('Nearest tokens')")
    hand.page.wait_for_selector(".wb-reading[data-reading=nearest]", timeout=_LONG)
    hand.tell("#wb-reading-view .wb-verdict")


def plan(hand: Hand) -> None:
    """Plan for mistral-7b on 8 GB."""
    hand.tab("Plan")
    hand.click("#wb-plan-model input")
    hand.option("mistral-7b")
    hand.click("#wb-plan-device input")
    hand.option("another GPU")
    hand.click("#wb-plan input[type=number], label:has-text('memory in GB') input")
    hand.page.keyboard.press("Control+A")
    hand.page.keyboard.type("8")
    hand.click("button#wb-plan")
    hand.page.wait_for_selector("#wb-plan-view table", timeout=_LONG)
    hand.tell("#wb-plan-view p")


def write_rows(path: Path) -> None:
    """Write 300 rows of two labels."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["message", "verdict"])
        for number in range(300):
            label = list(_ROWS)[number % 2]
            words = _ROWS[label].split()
            first, second = words[number % 5], words[(number // 5) % 5]
            writer.writerow([f"Order {number} was {first} and the shop {second}", label])


if __name__ == "__main__":
    main()
