"""Readable for everybody: axe-core finds nothing of ours, nothing is wider than a phone."""

from importlib.resources import files

import pytest

from browser.axe import problems
from browser.driver import ask, open_drawer, open_setting, open_tab, ready, visitor
from workbench.ui.app import TABS

pytestmark = pytest.mark.browser

PHONE = {"width": 390, "height": 844}
_LEADERBOARD = """<meta name="viewport" content="width=device-width"><table class="wb-table"><tr>
<th scope="row"><bdi>nearest_neighbour_vote</bdi>
<span class="wb-tag">within noise of the best</span>
<span class="wb-tag">does not use the base</span></th>
<td>66.7 %</td><td>[30.0, 90.3]</td><td>+50.0 [+16.7, +83.3]</td></tr></table>"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_of_ours(browser, address, dark):
    with visitor(browser, address, dark=dark) as page:
        open_drawer(page, "Your own data, and what the task holds")
        open_drawer(page, "Wording: edit and preview")
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


def test_on_a_phone_a_row_of_the_leaderboard_leaves_room_for_its_figure(browser):
    style = (files("workbench.ui") / "style.css").read_text(encoding="utf-8")
    with browser.new_page(viewport=PHONE) as page:
        page.set_content(f"<style>{style}</style>{_LEADERBOARD}")
        figure = page.locator("td").first.bounding_box()
        name = page.locator("bdi").bounding_box()

    assert figure["x"] + figure["width"] <= PHONE["width"]
    assert name["height"] < 50  # two lines at most


def test_at_twice_the_size_nothing_is_cut_and_nobody_scrolls_sideways(browser, address):
    with visitor(browser, address, width=640, height=450) as page:  # 1280 x 900 at 200 %
        open_setting(page)
        page.wait_for_timeout(500)
        _, cut = page.evaluate(_CUT)
        ask(page, "My parcel never came")
        widths = {}
        for tab in TABS:
            open_tab(page, tab)
            page.wait_for_timeout(800)
            widths[tab] = page.evaluate("document.documentElement.scrollWidth")

    assert cut == []
    assert {tab: width for tab, width in widths.items() if width > 640} == {}


def test_the_console_says_no_error(browser, address):
    said = []
    with visitor(browser, address) as first:
        page = first.context.new_page()  # a reload would end what the page before still reads
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda one: said.append(one.text) if one.type == "error" else None)
        page.goto(address)
        ready(page)
        open_drawer(page, "Your own data, and what the task holds")
        ask(page, "My parcel never came")
        for tab in TABS:
            open_tab(page, tab)
            page.wait_for_timeout(1500)
        page.go_back()
        page.wait_for_timeout(1500)
        found = list(said)

    assert found == []


def test_the_keyboard_alone_gets_an_answer(browser, address):
    with visitor(browser, address) as page:
        page.focus("#wb-text textarea")
        page.keyboard.type("My parcel never came")
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.id")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        page.keyboard.press("Enter")

        page.wait_for_selector(".wb-columns[aria-busy=false]", timeout=240_000)
        assert focused == "wb-answer"
        assert outline != "none"


_CUT = """() => {
  const parts = [...document.querySelectorAll(
    "#wb-setup [data-testid=block-info], #wb-setup label > span, #wb-tabs [role=tab]")];
  const isCut = part => {
    const box = part.getBoundingClientRect(), around = part.closest("#wb-setup, #wb-tabs");
    const edge = around.getBoundingClientRect();
    return box.width < 1 || box.left < edge.left || box.right > edge.right
      || part.scrollWidth > Math.ceil(box.width) || box.height > 40;
  };
  return [parts.length, parts.filter(isCut).map(part => part.innerText)];
}"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_no_label_of_the_first_row_and_no_tab_is_cut_on_a_phone(browser, address, dark):
    with visitor(browser, address, **PHONE, dark=dark) as page:
        open_setting(page)
        page.wait_for_timeout(500)
        count, cut = page.evaluate(_CUT)

    assert count == 5 + len(TABS)
    assert cut == []


def test_tabs_that_do_not_fit_are_in_a_menu_with_a_name_which_the_keyboard_opens(browser, address):
    with visitor(browser, address, width=320, height=600) as page:
        menu = page.get_by_role("button", name="More tabs")
        menu.focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        name = page.evaluate("document.activeElement.innerText")
        page.keyboard.press("Enter")
        page.wait_for_timeout(300)
        shown = page.locator("#wb-tabs > .tab-wrapper [aria-selected=true]").first.inner_text()

        assert name in TABS
        assert shown == name


def test_the_first_answers_and_their_bars_are_seen_without_scrolling(browser, address):
    with visitor(browser, address, width=1440, height=900) as page:
        ask(page, "My parcel never came")
        bottom = page.locator(".wb-card .wb-bars").first.evaluate(
            "part => part.getBoundingClientRect().bottom + scrollY"
        )

        assert bottom < 900


_FIGURES = """() => [...document.querySelectorAll("svg[role=img]")]
  .filter(svg => svg.checkVisibility())
  .map(svg => {
    const panel = svg.parentElement, style = getComputedStyle(panel);
    const room = panel.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const width = svg.getBoundingClientRect().width;
    return {share: width / room, letters: 12 * width / svg.viewBox.baseVal.width};
  })"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 820, 1440])
def test_figures_fill_their_panel_with_letters_that_can_be_read(browser, address, width, dark):
    with visitor(browser, address, width=width, dark=dark) as page:
        open_tab(page, "Tour")
        for number in (0, 1, 4):
            page.locator("#wb-tour-stops label").nth(number).click()
            page.wait_for_selector(f"#wb-tour >> text=Stop {number + 1} of 7")
            (figure,) = page.evaluate(_FIGURES)
            assert figure["share"] == pytest.approx(1, abs=0.01)
            assert 8.5 < figure["letters"] < 20.5, figure
