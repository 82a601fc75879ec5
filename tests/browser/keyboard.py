"""A person without a mouse: Tab, arrow keys, Enter and letters, and nothing else."""

from playwright.sync_api import Page

_MOST_KEYS = 300
_FOCUSED = """([selector, text]) => {
  const part = document.activeElement;
  return part.matches(selector) && part.innerText.includes(text);
}"""
_NAME = """() => {
  const part = document.activeElement;
  const near = part.closest("[id^=wb-]")?.id || "";
  return `${near} ${part.tagName} ${(part.ariaLabel || part.innerText || "").slice(0, 30)}`;
}"""
_IS_SEEN = """() => {
  const box = document.activeElement.getBoundingClientRect();
  return box.width > 0 && box.top < innerHeight && box.bottom > 0;
}"""


class Keyboard:
    """Goes through a page by its keys.

    Args:
        page: Where somebody is.
    """

    def __init__(self, page: Page) -> None:
        self._page = page

    def to(self, selector: str, text: str = "", *, back: bool = False) -> None:
        """Press Tab until something that a selector finds, with a text in it, has the focus.

        Args:
            selector: Of what is looked for.
            text: What it says somewhere.
            back: Whether to go backwards.

        Raises:
            AssertionError: Tab does not come there, or the page does not show where it is.
        """
        passed = []
        for _ in range(_MOST_KEYS):
            if self._page.evaluate(_FOCUSED, [selector, text]):
                assert self._page.evaluate(_IS_SEEN), f"{selector} has the focus out of sight"
                return
            self.keys("Shift+Tab" if back else "Tab")
            passed.append(self._page.evaluate(_NAME))
        raise AssertionError(f"Tab never comes to {selector} {text!r}, only to {set(passed)}")

    def press(self, selector: str, text: str = "", *, back: bool = False) -> None:
        """Go to something and press Enter there."""
        self.to(selector, text, back=back)
        self.keys("Enter")

    def write(self, selector: str, text: str, *, back: bool = False) -> None:
        """Go to a box and write in it instead of what it says."""
        self.to(selector, back=back)
        self.keys("Control+A")
        self._page.keyboard.type(text)

    def choose(self, part: str, text: str, *, back: bool = False) -> None:
        """Go to a list, write a part of what is wanted and take what is left."""
        self.write(f"{part} input", text, back=back)
        self._page.wait_for_selector("[role=option] >> visible=true")
        self.keys("ArrowDown", "Enter")

    def tab(self, name: str) -> None:
        """Open a tab of the page."""
        self.press("#wb-tabs [role=tab]", name, back=True)
        self._page.wait_for_selector(f"#wb-tabs [role=tab][aria-selected=true] >> text={name}")

    def keys(self, *names: str) -> None:
        """Press keys one after the other."""
        for name in names:
            self._page.keyboard.press(name)
