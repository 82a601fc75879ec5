"""Pages over the tiny model without a server, and what is in the HTML they show."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from visitors import tiny_experiment
from workbench.service import jobs
from workbench.service.worker import work
from workbench.service.workspace import Workspace
from workbench.ui.context import AppContext

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"'><x-evil onclick=alert(1)>",
    "</textarea></pre></svg><iframe src=javascript:alert(1)>",
    "&lt;x-evil&gt; &amp; &#60;img&#62;",
    "turned \u202e around \u2066",
    "zero\0byte \x1b[31m",
    "two\nlines\ttab",
    "{{ 7 * 7 }} {% raw %} ${7} {labels}",
)
"""What must stay text wherever it is shown."""

_FORBIDDEN = {"script", "img", "iframe", "x-evil", "object", "embed", "form", "input"}


@dataclass(frozen=True)
class Page:
    """A page's context, the values of its first row, and what was made in it.

    Attributes:
        context: Of the app.
        setting: Values of the first row.
        job_id: A finished evaluation.
        rows: Its rows, by name the id of their run.
    """

    context: AppContext
    setting: Mapping[str, Any]
    job_id: str = ""
    rows: Mapping[str, str] = field(default_factory=dict)

    @property
    def workspace(self) -> Workspace:
        return self.context.workspace(self.setting["token"])

    def values(self, **changes: Any) -> dict[str, Any]:
        """Return the values of the first row, some of them changed."""
        return {**self.setting, **changes}

    def evaluated(self, model: Path, key: str, methods: dict[str, Any]) -> "Page":
        """Return the page after an evaluation was made as a worker makes it."""
        desk, workspace = self.context.desk, self.workspace
        wording = self.setting["wording"]
        experiment = tiny_experiment(workspace, model, key, methods, wording=wording)
        title = f"{len(methods)} rows"
        submitted = jobs.submit(
            workspace, self.context.profile, experiment, kind="evaluate", title=title
        )
        status = desk.call(
            lambda: work(submitted.folder, workspace.store, open_session=desk.session)
        )
        assert status.state == "finished", status.message
        rows = {row.row: row.run_id for row in status.rows}
        return Page(self.context, self.values(task=key), status.job_id, rows)


@dataclass
class Seen(HTMLParser):
    """What a browser makes of some HTML.

    Attributes:
        tags: Names of all elements.
        attributes: (element, name, value) of all attributes.
        text: What is read, everything put together.
        cells: What is read in each cell of a table.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.cells: list[str] = []
        self._is_cell = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

        if tag == "td":
            self.cells.append("")
        self._is_cell = tag == "td" or (self._is_cell and tag not in ("th", "tr"))

    def handle_endtag(self, tag: str) -> None:
        self._is_cell = self._is_cell and tag != "td"

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._is_cell:
            self.cells[-1] += data


def dangers(html: str) -> list[str]:
    """Return elements and attributes that only come from text that was not escaped."""
    seen = Seen(html)
    found = [f"<{tag}>" for tag in seen.tags if tag in _FORBIDDEN]
    found += [
        f"<{tag} {name}={value}>"
        for tag, name, value in seen.attributes
        if name.startswith("on")
        or (name in ("href", "src", "xlink:href", "action") and not value.startswith(("#", "?")))
    ]
    return found


def is_problem(html: object) -> bool:
    """Return whether a handler answered with a box that says what is wrong, and nothing more."""
    is_box = isinstance(html, str) and "wb-problem" in html and 'role="alert"' in html
    return is_box and "Traceback" not in str(html) and "Error(" not in str(html)


def said(html: str) -> str:
    """Return the text of a problem's box."""
    return " ".join(Seen(html).text.removeprefix("That did not work.").split())
