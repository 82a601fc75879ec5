"""Opening what was learned: nearest tokens, a map to click, files, and controls that are chance."""

import csv
import io
import json
import re

import pytest

from browser.axe import problems
from browser.driver import choose, open_tab, visitor
from workbench.ui.app import TABS

pytestmark = pytest.mark.browser

SHOWN = ".wb-reading[data-reading={}]"


def opened(page, title="example_prompt_tuning"):
    """Open something in the Inspect tab; its nearest tokens are read at once."""
    open_tab(page, "Inspect")
    page.wait_for_selector(SHOWN.format("nearest"), timeout=240_000)
    if not page.input_value("#wb-open input").startswith(title):
        choose(page, "#wb-open", title)
        page.wait_for_timeout(300)
        page.wait_for_selector(SHOWN.format("nearest"), timeout=240_000)
    page.wait_for_selector("#wb-reading-details table")


def draw_map(page):
    """Read the quick kind of map and wait until it is drawn."""
    page.locator("#wb-reading label", has_text="where the vectors lie").click()
    page.wait_for_selector("#wb-reading-view .wb-hint")
    if not page.locator("#wb-map-method input").is_visible():
        page.get_by_text("Options of the reading").click()
    choose(page, "#wb-map-method", "pca")
    page.click("#wb-read")
    page.wait_for_selector(SHOWN.format("map"), timeout=240_000)
    page.wait_for_selector("#wb-map .plot-container .legend", timeout=120_000)
    page.wait_for_timeout(500)


def marker(page, number):
    """Return the middle of a vector's marker, in pixels."""
    box = page.locator(f"#wb-map .textpoint text >> text=/^{number}$/").first.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def downloaded(page, name):
    """Return the content of one of the offered files."""
    with page.expect_download() as waiting:
        page.locator(f"#wb-reading-files a[download='{name}']").first.click()
    return waiting.value.path().read_bytes()


def test_nearest_tokens_are_read_at_once_and_each_vector_has_a_card(page):
    opened(page)

    assert "lie closer to a token than 95 % of random vectors" in page.inner_text(".wb-verdict")
    assert page.locator(".wb-standing .wb-band").count() == 2
    page.click(".wb-slot[data-slot='3']")
    page.wait_for_selector(".wb-vector[data-vector='3']")
    card = page.inner_text("#wb-card")
    assert all(part in card for part in ("centred cosine", "distance", "norm percentile", "margin"))
    choose(page, "#wb-vector", "vector 5")
    page.wait_for_selector(".wb-vector[data-vector='5']")


def test_the_map_shows_what_is_under_the_pointer_and_opens_what_is_clicked(page):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    opened(page)
    assert not [url for url in asked if "plotly" in url]

    draw_map(page)

    (script,) = [url for url in asked if "plotly" in url]
    assert re.fullmatch(r"http://127.0.0.1:\d+/assets/plotly.min.js\?v=[\d.]+", script)
    assert not [url for url in asked if "://127.0.0.1" not in url and url.startswith("http")]
    page.locator("#wb-map").scroll_into_view_if_needed()
    page.mouse.move(*marker(page, 1))
    page.wait_for_selector("#wb-map .hoverlayer text")
    found = re.search(r"vector (\d+): ", page.text_content("#wb-map .hoverlayer"))
    page.mouse.down()
    page.mouse.up()
    page.wait_for_selector(f".wb-vector[data-vector='{found[1]}']")
    titles = page.locator("#wb-map .modebar-btn").evaluate_all("all => all.map(e => e.ariaLabel)")
    assert titles == ["Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"]


def test_the_map_follows_the_theme_of_the_page(page):
    opened(page)
    draw_map(page)
    legend = "document.querySelector('#wb-map .legendtext').style.fill"
    light = page.evaluate(legend)

    page.evaluate("document.body.classList.add('dark')")
    page.wait_for_function(f"{legend} !== {json.dumps(light)}")

    assert page.evaluate(legend) != light


def test_tables_charts_and_data_are_taken_home(page):
    opened(page)
    draw_map(page)
    page.click("#wb-reading-export")
    page.wait_for_selector("#wb-reading-files a", timeout=120_000)

    reading = json.loads(downloaded(page, "map.json"))
    name = "map-table-1-distances-in-the-space.csv"
    rows = list(csv.reader(io.StringIO(downloaded(page, name).decode())))
    picture = downloaded(page, "map-chart-1-vectors-among-the-tokens.png")
    assert reading["verdict"] == page.inner_text(".wb-verdict")
    assert rows[0] == reading["tables"][0]["columns"]
    assert len(rows) == 1 + len(reading["tables"][0]["rows"])
    assert picture.startswith(b"\x89PNG")


def test_random_vectors_are_no_better_than_chance(page):
    opened(page)

    choose(page, "#wb-open", "control: random vectors")
    page.wait_for_selector(".wb-verdict >> text=No better than chance")

    assert "no better than chance" in page.inner_text(".wb-standing >> nth=0")


def test_a_weight_adapter_has_its_own_readings(page):
    opened(page)

    choose(page, "#wb-open", "example_lora")
    page.wait_for_selector("#wb-reading-view .wb-hint >> text=press Read")
    page.click("#wb-read")
    page.wait_for_selector(SHOWN.format("weights"), timeout=240_000)

    assert page.locator("#wb-reading-details figure svg").count() >= 1
    assert not page.locator("#wb-vector").is_visible()


def test_stop_ends_a_long_reading_and_frees_the_model(page):
    opened(page)
    page.locator("#wb-reading label", has_text="drop or replace one vector").click()
    page.wait_for_selector("#wb-reading-view .wb-hint")
    page.click("#wb-read")
    page.wait_for_selector("#wb-reading-view [role=progressbar]", timeout=240_000)
    page.click("#wb-read-stop")
    page.wait_for_selector("#wb-reading-view >> text=Stopped.")
    page.wait_for_timeout(1500)

    assert "Stopped." in page.inner_text("#wb-reading-view")
    page.locator("#wb-reading label", has_text="which tokens each vector").click()
    page.wait_for_selector(SHOWN.format("nearest"), timeout=240_000)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_of_ours(browser, address, dark):
    with visitor(browser, address, dark=dark) as page:
        opened(page)
        page.click(".wb-slot[data-slot='0']")
        page.wait_for_selector(".wb-vector")
        found = problems(page)
        draw_map(page)

        assert found + problems(page) == []


def test_a_phone_need_not_scroll_sideways(browser, address):
    with visitor(browser, address, width=390, height=844) as page:
        opened(page)
        nearest = page.evaluate("document.documentElement.scrollWidth")
        draw_map(page)

        assert (nearest, page.evaluate("document.documentElement.scrollWidth")) == (390, 390)
        for tab in TABS:
            assert page.get_by_role("tab", name=tab, exact=True).is_visible()
