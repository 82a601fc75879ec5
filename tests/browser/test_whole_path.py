"""A person's way through the page: own data, training, comparison, files to take home."""

import csv
import io
import json

import pytest

from browser.axe import problems
from browser.driver import (
    ask,
    choose,
    open_drawer,
    open_setting,
    open_tab,
    running_app,
    shown_job,
    visitor,
    wait_for_another_job,
    wait_for_job,
)

pytestmark = pytest.mark.browser

WORDS = {
    "praise": ("lovely", "great", "wonderful", "delightful", "superb"),
    "complaint": ("broken", "awful", "terrible", "late", "ruined"),
}


def write_rows(path, num):
    """Write separable rows with a duplicate that has to be dropped."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["message", "verdict"])
        for i in range(num):
            label = list(WORDS)[i % 2]
            words = WORDS[label]
            text = f"The {words[i % 5]} thing number {i} was {words[(i + 2) % 5]}"
            writer.writerow([text, label])
        writer.writerow([text, label])
    return path


def upload(page, path):
    """Upload rows and use them as a task."""
    open_drawer(page, "Your own data, and what the task holds")
    page.set_input_files("#wb-file input[type=file]", str(path))
    page.wait_for_selector("#wb-use-rows")
    assert page.input_value("#wb-text-column input") == "message"
    assert page.input_value("#wb-label-column input") == "verdict"
    page.click("#wb-use-rows")
    page.wait_for_selector("#wb-task-facts >> text=reviews", timeout=120_000)


def train(page, method, steps):
    """Start a training of a few steps in the Train tab."""
    open_tab(page, "Train")
    assert page.input_value("#wb-method input").startswith(f"{method}: ")
    page.fill(f"#wb-{method}-steps input", str(steps))
    page.wait_for_selector("#wb-estimate >> text=trains", timeout=240_000)
    before = shown_job(page)
    page.click("#wb-train")
    wait_for_another_job(page, before)


def test_own_rows_are_trained_on_compared_and_exported(page, tmp_path):
    upload(page, write_rows(tmp_path / "reviews.csv", 80))
    facts = page.inner_text("#wb-task-facts")
    assert "1 rows left out: train: " in facts
    assert "2 labels" in facts

    train(page, "prompt_tuning", 30)
    wait_for_job(page, "train", "finished")
    page.wait_for_selector("#wb-train-view svg:visible")

    page.click("#wb-train-view .wb-next [data-tab=Ask]")
    page.wait_for_selector("#wb-ways .token >> text=prompt_tuning")
    ask(page, "The superb thing was lovely")
    assert page.locator(".wb-card").count() >= 4
    assert page.locator(".wb-card .wb-learned").count() == 1

    open_tab(page, "Evaluate")
    page.wait_for_selector("#wb-rows .token >> text=prompt_tuning")
    before = shown_job(page)
    page.click("#wb-evaluate")
    wait_for_another_job(page, before)
    wait_for_job(page, "evaluate", "finished")
    for row in ("majority_class", "zero_shot", "prompt_tuning"):  # an older table may stand there
        page.wait_for_selector(f"#wb-leaderboard >> text={row}", timeout=60_000)
    page.wait_for_selector("#wb-cost-view svg:visible")
    open_tab(page, "Calibration and confusion")
    page.wait_for_selector("#wb-row-view table")
    page.click("#wb-results .wb-next [data-tab=Items]")
    page.wait_for_selector("#wb-items table, #wb-items .wb-hint")

    found = problems(page)
    open_tab(page, "Train")
    found += problems(page)
    open_tab(page, "Runs")
    page.wait_for_selector("#wb-runs >> text=prompt_tuning")
    page.wait_for_timeout(1000)
    found += problems(page)
    assert found == []
    open_tab(page, "Evaluate")
    open_tab(page, "Files")
    page.click("#wb-export")
    page.wait_for_selector("#wb-files a", timeout=120_000)
    report = downloaded(page, "report.json")
    rows = {row["row"]: row for row in json.loads(report)["rows"]}
    assert rows["prompt_tuning"]["metrics"]["accuracy"]["value"] > 0.5
    lines = list(csv.reader(io.StringIO(downloaded(page, "report.csv").decode())))
    assert len(lines) == 1 + len(rows)
    assert downloaded(page, "accuracy.png").startswith(b"\x89PNG")
    assert b"<html" in downloaded(page, "report.html")


def downloaded(page, name):
    """Return the content of one of the offered files."""
    with page.expect_download() as waiting:
        page.locator(f"#wb-files a[download='{name}']").first.click()
    return waiting.value.path().read_bytes()


def test_reloading_stopping_and_restarting_lose_nothing(browser, tmp_path):
    root = tmp_path / "runs"
    with running_app(root) as address, visitor(browser, address) as page:
        train(page, "prompt_tuning", 400)
        page.wait_for_selector("#wb-train-view svg:visible", timeout=240_000)

        page.reload()  # which shows the same tab again
        wait_for_job(page, "train", "running", seconds=60)

        page.click("#wb-train-stop")
        wait_for_job(page, "train", "stopped", seconds=60)
        page.click("#wb-train-resume")
        wait_for_job(page, "train", "running", seconds=30)
        page.wait_for_selector("#wb-train-view svg:visible", timeout=240_000)

    # The app is gone, the training is not.
    with running_app(root) as address, visitor(browser, address) as page:
        open_tab(page, "Train")
        wait_for_job(page, "train", "running", seconds=30)
        page.click("#wb-train-stop")
        wait_for_job(page, "train", "stopped", seconds=60)

    (status,) = root.glob("workspace/jobs/*/status.json")
    assert json.loads(status.read_text())["done"] > 0
    assert list(root.glob("workspace/*/checkpoint.safetensors"))


def test_two_visitors_at_once_get_what_they_get_alone(browser, address):
    texts = ("My parcel never came", "Please cancel my subscription today")
    with visitor(browser, address) as first, visitor(browser, address) as second:
        alone = []
        for page, text in zip((first, second), texts, strict=True):
            ask(page, text)
            alone.append(answers(page))

        for page, text in zip((first, second), texts, strict=True):
            page.fill("#wb-text textarea", text)
        first.click("#wb-answer")
        second.click("#wb-answer")
        for page in (first, second):
            page.wait_for_selector(".wb-columns[aria-busy=true], .wb-hint")
            page.wait_for_selector(".wb-columns[aria-busy=false]", timeout=240_000)

        assert [answers(first), answers(second)] == alone
        assert alone[0] != alone[1]


def answers(page):
    """Return what each column says, with its probabilities."""
    return [
        (
            card.locator("h3").inner_text(),
            card.locator(".wb-text").inner_text(),
            card.locator(".wb-bars").inner_text(),
        )
        for card in page.locator(".wb-card").all()
    ]


def test_a_preset_fills_its_own_fields_and_no_others(page):
    """Handlers return values by position, and some options stand in a drawer."""
    open_tab(page, "Train")
    before = option_values(page)

    page.get_by_text("quick", exact=True).click()
    page.wait_for_function("document.querySelector('#wb-prompt_tuning-steps input').value === '60'")

    after = option_values(page)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"wb-prompt_tuning-steps", "wb-prompt_tuning-eval_every"}
    assert after["wb-prompt_tuning-eval_every"] == "20"


def option_values(page):
    """Return what stands in the fields of prompt tuning, those of the drawer too."""
    drawer = page.get_by_role("button", name="More options").first
    if not page.locator("#wb-prompt_tuning-says").is_visible():
        drawer.click()
        page.wait_for_selector("#wb-prompt_tuning-says")
    return page.evaluate(
        """() => Object.fromEntries(
            [...document.querySelectorAll("[id^=wb-prompt_tuning-]")].map(element => {
                const field = element.querySelector("input, textarea");
                return [element.id, field ? field.value : null];
            }))"""
    )


def test_five_ways_answer_before_anything_is_trained(page):
    ask(page, "My parcel never came")

    names = page.locator(".wb-card h3").all_inner_texts()
    assert len(names) == 5
    assert {"example_prompt_tuning", "example_lora"} <= set(names)
    assert page.locator(".wb-agreement").count() == 1


def test_stop_ends_an_answer_between_two_tokens(page):
    page.get_by_text("How to decode").click()
    length = page.locator("input[aria-label='number input for Most new tokens']")
    length.fill("400")
    page.fill("#wb-text textarea", "Write a very long story about a parcel")
    page.click("#wb-answer")
    page.wait_for_selector(".wb-columns[aria-busy=true] .wb-card")
    page.click("#wb-stop")
    page.wait_for_timeout(1000)
    before = page.inner_text("#wb-columns")
    page.wait_for_timeout(1500)

    assert page.inner_text("#wb-columns") == before
    length.fill("4")
    ask(page, "My parcel never came", seconds=20)  # the model is free again


def test_a_new_text_is_asked_while_another_is_being_answered(page):
    page.get_by_text("How to decode").click()
    page.locator("input[aria-label='number input for Most new tokens']").fill("300")
    page.fill("#wb-text textarea", "Write a very long story about a parcel")
    page.click("#wb-answer")
    page.wait_for_selector(".wb-columns[aria-busy=true] .wb-card")

    page.fill("#wb-text textarea", "My parcel never came")
    page.click("#wb-answer")
    page.wait_for_selector(".wb-asked >> text=My parcel never came", timeout=60_000)
    page.wait_for_selector(".wb-columns[aria-busy=true] .wb-card", timeout=120_000)
    assert "very long story" not in page.inner_text("#wb-columns .wb-asked")
    assert "very long story" in page.inner_text("#wb-before")

    page.click("#wb-stop")
    page.wait_for_selector(".wb-columns[aria-busy=false]", timeout=120_000)
    assert page.locator("#wb-columns .wb-cursor").count() == 0


def test_another_task_takes_its_own_wording_without_a_word(page):
    open_setting(page)
    choose(page, "#wb-wording", "brief")
    page.wait_for_selector("#wb-setting > button >> text=· brief ·", timeout=60_000)

    choose(page, "#wb-task", "arithmetic")  # which has none of that name
    page.wait_for_selector("#wb-setting > button >> text=arithmetic · plain ·", timeout=60_000)
    page.wait_for_timeout(1500)

    assert page.locator(".toast-wrap").inner_text().strip() == ""


def test_an_error_goes_with_its_cause_and_with_nothing_else(page):
    page.fill("#wb-text textarea", "")
    page.click("#wb-answer")
    page.wait_for_selector("#wb-columns .wb-problem")

    open_tab(page, "Tour")
    open_tab(page, "Ask")  # its lists are filled again
    page.wait_for_timeout(2000)
    assert page.locator("#wb-columns .wb-problem").count() == 1

    page.fill("#wb-text textarea", "x")
    page.wait_for_selector("#wb-columns .wb-problem", state="detached", timeout=60_000)

    page.locator("#wb-ways .token-remove").last.click()  # all of them
    page.wait_for_selector("#wb-answer:disabled", timeout=60_000)


def test_a_wording_is_edited_with_its_errors_in_place(page):
    open_drawer(page, "Wording: edit and preview")
    page.wait_for_selector("#wb-preview .wb-prompt")
    instruction = page.locator("#wb-box-instruction textarea")

    instruction.fill("One line\nand another: {labels}")
    page.wait_for_selector("#wb-preview >> text=and another: billing")
    assert "One line\nand another" in page.inner_text("#wb-preview .wb-prompt")
    page.click("#wb-to-yaml")
    editor = page.locator("#wb-editor .cm-content")
    editor.wait_for()
    assert "input: |-" in editor.inner_text()  # of what the editor draws

    editor.fill("version: 1\ninstruction: 'Sort {nonsense}.'\ninput: 'Text: {text}\nTopic:'")
    page.wait_for_selector("#wb-preview .wb-problem")
    assert "uses {nonsense}, which is not available there" in page.inner_text("#wb-preview")

    editor.fill('version: 1\ninstruction: "Sort into {labels}."\ninput: "Text: {text}\\nTopic:"')
    page.wait_for_selector("#wb-preview >> text=Sort into billing")
    page.click("#wb-to-boxes")
    page.wait_for_function(
        "document.querySelector('#wb-box-instruction textarea')?.value === 'Sort into {labels}.'"
    )
    page.click("#wb-keep-wording")
    page.wait_for_function(
        "document.querySelector('#wb-wording input').value.startsWith('edited:')"
    )


def test_a_link_opens_its_run(browser, address, app_root):
    run = next(app_root.glob("workspace/*/record.json"), None)
    if run is None:
        pytest.fail("the whole path has to run first; it leaves runs behind")
    run_id = run.parent.name
    page = browser.new_page()
    page.goto(f"{address}/?run={run_id}")
    page.wait_for_selector("#wb-run-view .wb-job")

    assert run_id in page.inner_text("#wb-run-view")
    page.close()
