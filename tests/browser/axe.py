"""axe-core on a page, without what it finds in Gradio's own parts."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

# Rule, and a part of the element or its place; not ours to mend.
GRADIO = (
    ("color-contrast", "footer"),
    ("color-contrast", "built-with"),
    ("color-contrast", ".cm-"),  # the code editor's colours
    ("color-contrast", "ͼ"),
    ("scrollable-region-focusable", "cm-scroller"),
)
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}

_END_TRANSITIONS = """() => document.getAnimations().forEach(
  one => one.effect.getComputedTiming().endTime !== Infinity && one.finish())"""


def problems(page: Page) -> list[str]:
    """Return axe's findings, one line per element."""
    page.evaluate(_END_TRANSITIONS)  # a colour on its way is none that anybody reads
    results = Axe().run(page, options=RULES)
    return sorted(
        {
            f"{violation['id']}: {node['html'][:300]}"
            for violation in results.response["violations"]
            for node in violation["nodes"]
            if not any(
                violation["id"] == rule
                and part in node["html"] + " ".join(map(str, node["target"]))
                for rule, part in GRADIO
            )
        }
    )
