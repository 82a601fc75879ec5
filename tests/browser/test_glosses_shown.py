"""What fields and words are for is there on hover, by keyboard and for screen readers."""

import pytest
from playwright.sync_api import expect

from browser.axe import problems
from browser.driver import open_drawer, open_setting, open_tab, visitor
from visitors import write_rows
from workbench.methods.catalog import method_class
from workbench.ui.glosses import FIELDS, way_glosses

pytestmark = pytest.mark.browser

_TOKEN = """titles => {
  const block = document.createElement("div");
  Object.assign(block, {id: "wb-named", className: "block"});
  for (const textContent of titles) {
    block.append(Object.assign(document.createElement("span"), {className: "token", textContent}));
  }
  document.querySelector(".gradio-container").append(block);
}"""


def test_the_fields_of_the_setting_say_what_they_are_for(page):
    open_setting(page)
    for key, field in FIELDS.items():
        expect(page.locator(f"#{key} input")).to_have_accessible_description(field.gloss)
        expect(page.locator(f"#{key}")).to_have_attribute("title", field.gloss)


def test_the_help_of_an_option_is_its_fields_description(page):
    open_tab(page, "Train")
    for name in ("steps", "init", "num_virtual_tokens"):
        block = page.locator(f"#wb-prompt_tuning-{name}")
        part = block.locator("input, textarea").first
        expect(part).to_have_accessible_description(block.locator(".info-text").inner_text())
    preset = page.locator("#wb-preset")
    expect(preset).to_have_accessible_name("Preset")
    expect(preset).to_have_accessible_description(preset.locator(".info-text").inner_text())


def test_ways_say_what_they_do_on_hover_and_to_screen_readers(page):
    token = page.locator("#wb-ways .token", has_text="zero_shot")
    expect(token).to_have_attribute("title", way_glosses()["zero_shot"])
    described = page.locator("#wb-ways input").get_attribute("aria-describedby")
    said = page.locator(f"#{described.split()[-1]}").text_content()
    assert f"few_shot: {way_glosses()['few_shot']}" in said

    open_tab(page, "Train")
    page.click("#wb-method input")
    entry = page.get_by_role("option", name="lora: a low-rank")
    expect(entry).to_have_attribute("title", method_class("lora").gloss)
    page.keyboard.press("Escape")
    line = page.locator(".wb-gloss", has_text=method_class("prompt_tuning").gloss)
    expect(line).to_be_visible()


@pytest.mark.parametrize(
    ("title", "way"),
    [
        ("few_shot, a lora · lora · seed 0", "lora"),
        ("prompt_tuning · seed 3", "prompt_tuning"),
        ("monday", None),
    ],
)
def test_a_name_that_somebody_gave_is_not_taken_for_the_way(title, way, page):
    page.evaluate(_TOKEN, ["lora", title])
    known, token = page.locator("#wb-named .token").all()

    expect(known).to_have_attribute("title", method_class("lora").gloss)  # they were looked at
    expected = way_glosses().get(way) or (way and method_class(way).gloss)
    assert token.get_attribute("title") == expected


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_who_is_new_opens_the_words_by_keyboard(browser, address, dark):
    with visitor(browser, address, dark=dark) as page:
        first = page.get_by_text("First type a text under Ask")
        expect(first).to_be_hidden()
        assert page.locator(".wb-header").bounding_box()["height"] < 60
        page.locator(".wb-start > summary").focus()
        page.keyboard.press("Enter")
        expect(first).to_be_visible()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.get_by_text(FIELDS["wb-task"].gloss).first).to_be_visible()

        assert problems(page) == []


@pytest.mark.parametrize("width", [1280, 320])  # where tabs that do not fit are in a menu
def test_rows_that_are_kept_lead_to_the_next_tab(browser, address, tmp_path, width):
    path = write_rows(tmp_path / "rows.csv")
    with visitor(browser, address, width=width) as page:
        open_drawer(page, "Your own data, and what the task holds")
        page.set_input_files("#wb-file input[type=file]", str(path))
        page.wait_for_selector("#wb-use-rows")
        page.click("#wb-use-rows")
        page.locator(".wb-next [data-tab=Evaluate]").first.click()

        expect(page.locator("#wb-evaluate")).to_be_visible()
