"""The pages make one site: every link leads somewhere, and nothing comes from another host."""

import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from make_site import ROOT, build, contents

# Where a page takes something that a browser fetches by itself; a link waits for a click.
FETCHED = {
    **dict.fromkeys(("script", "img", "iframe", "embed", "source", "video", "audio"), "src"),
    "link": "href",
    "object": "data",
}


class Page(HTMLParser):
    """The addresses and anchors of a page of HTML."""

    def __init__(self, path):
        super().__init__()
        self.links, self.fetched, self.anchors = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors |= {given.get("id"), given.get("name")}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in FETCHED and given.get(FETCHED[tag]):
            self.fetched.append(given[FETCHED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return the folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    build(ROOT, folder / "scratch", folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def html(site):
    """Return every page of the site, by its file."""
    return {path: Page(path) for path in site.rglob("*.html")}


def local_target(page, address):
    """Return file and anchor that an address on this site names; None for another host's."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return None
    path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    return (path / "index.html" if path.is_dir() else path), unquote(parts.fragment)


def test_every_page_of_the_repository_is_in_it_and_in_its_contents(site, html):
    named = [path for paths in contents(ROOT).values() for path in paths]
    start = html[site / "index.html"]
    reached = {local_target(site / "index.html", link) for link in start.links}

    for name in named:
        page = site / Path("index.md" if name == "README.md" else name).with_suffix(".html")
        assert page.is_file()
        assert (page, "") in reached or page == site / "index.html"
    assert len(named) == len(set(named))
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= set(named)


def test_nothing_is_fetched_from_another_host(site, html):
    fetched = [(page.name, address) for page, found in html.items() for address in found.fetched]
    styles = list(site.rglob("*.css"))

    assert [one for one in fetched if local_target(site, one[1]) is None] == []
    assert len({address for _, address in fetched}) > 5
    assert styles
    for style in styles:
        text = style.read_text(encoding="utf-8")
        assert "@import" not in text
        assert "url(http" not in text
        assert "url(//" not in text


def test_no_page_has_what_the_theme_would_fetch_a_script_for(html):
    """Material takes Mermaid from another host where a page has a diagram in it."""
    assert [page.name for page in html if "mermaid" in page.read_text(encoding="utf-8")] == []


def test_every_link_and_anchor_on_the_site_leads_somewhere(html):
    missing = []
    for page, found in html.items():
        for address in [*found.links, *found.fetched]:
            target = local_target(page, address)
            if target is None or address.startswith("/"):  # those of the page for what is not there
                continue
            path, anchor = target
            known = html[path].anchors if path in html else {""}
            if not path.is_file() or (anchor and anchor not in known):
                missing.append((page.name, address))

    assert missing == []


def small_repository(folder, text):
    """Write a repository of one page and return it."""
    (folder / "docs").mkdir()
    settings = (ROOT / "docs" / "mkdocs.yml").read_text(encoding="utf-8")
    (folder / "docs" / "mkdocs.yml").write_text(settings, encoding="utf-8")
    (folder / "README.md").write_text("# Here\n\n[there](docs/there.md)\n", encoding="utf-8")
    (folder / "docs" / "there.md").write_text(text, encoding="utf-8")
    return folder


def test_links_that_lead_nowhere_end_the_build_and_are_named(tmp_path, capfd):
    links = "[gone](gone.md) [here](../README.md#nowhere) ![gone](gone.png)"
    root = small_repository(tmp_path, f"# There\n\n{links}\n")

    with pytest.raises(subprocess.CalledProcessError):
        build(root, tmp_path / "scratch", tmp_path / "site")

    said = capfd.readouterr().err
    for target in ("gone.md", "#nowhere", "gone.png"):
        assert f"{target}'" in said


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="//example.com/x.js"></script>',
        '<link rel="stylesheet" href="https://example.com/x.css">',
        '<img alt="x" src="http://example.com/x.png">',
    ],
)
def test_what_is_fetched_from_another_host_is_noticed(tag, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(f'<a href="https://example.com">a link</a>{tag}', encoding="utf-8")

    (address,) = Page(path).fetched

    assert local_target(path, address) is None


def test_a_page_that_nobody_placed_stands_under_more(tmp_path):
    root = small_repository(tmp_path, "# There\n")

    assert contents(root) == {"Start": ["README.md"], "More": ["docs/there.md"]}
