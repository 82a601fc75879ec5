"""Every handler as it is wired: it takes what its inputs hold, and its outputs take what it gives.

A handler alone may be right and its wiring wrong: a list for one output is an error of the server.
"""

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
import pytest_socket
from gradio.blocks import BlockFunction
from gradio.state_holder import SessionState

from pages import Page
from workbench.errors import WorkbenchError
from workbench.models.adapters.reading import import_adapter
from workbench.runs.session import open_template
from workbench.service.publishing import adapter_archive
from workbench.service.wordings import keep_wording, parse_wording, template_name
from workbench.ui.app import build_app, make_context
from workbench.ui.context import AppContext, SettingValues

EDITED = "version: 1\ninstruction: 'Which of {labels} is it?'\ninput: 'Q: {text}'\n"
BY_THE_BROWSER = {"on_select", "_clicked_slot", "went"}  # what was clicked comes with the event
ENDS = ("ran", "told")
TOLD = {"on_export"}  # no place for a box, and nothing was chosen
_REQUEST: Any = SimpleNamespace(query_params={}, headers={}, client=None, username=None)
LISTS = ("on_setting", "on_rows", "on_refresh", "updates", "on_list", "on_open", "on_bases")
WALKED = (
    "wb-wording", "wb-method", "wb-preset", "wb-open", "wb-reading", "wb-run", "wb-comparison",
    "wb-row", "wb-cost", "wb-mode", "wb-browse-row", "wb-train-job", "wb-evaluate-job",
    "wb-plan-device",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _no_network(socket_enabled) -> None:
    """An event loop opens a socket to itself; nothing else is opened."""


@dataclass
class Tab:
    """A page in a browser, as far as its server can tell.

    Attributes:
        app: The page.
        loop: Runs its handlers.
        state: What the server keeps of it.
        values: What its components hold, by number.
        choices: What its lists offer, by number.
    """

    app: gr.Blocks
    loop: asyncio.AbstractEventLoop
    state: SessionState
    values: dict[int, Any] = field(default_factory=dict)
    choices: dict[int, list[Any]] = field(default_factory=dict)

    def part(self, elem_id: str) -> int:
        (found,) = [n for n, block in self.app.blocks.items() if block.elem_id == elem_id]
        return found

    def handlers(self, elem_id: str) -> list[BlockFunction]:
        """Return what a part's events start in the server."""
        number = self.part(elem_id)
        return [
            handler
            for handler in self.app.fns.values()
            if handler.fn is not None and any(number == target for target, _ in handler.targets)
        ]

    def fire(self, handler: BlockFunction) -> list[Any]:
        """Run a handler to its end, take its last outputs into the page, and return them."""
        given = [self.values.get(part._id) for part in handler.inputs]
        return self.loop.run_until_complete(self._run(handler, given))

    async def _run(self, handler: BlockFunction, given: list[Any]) -> list[Any]:
        iterator, shown = None, []
        while True:
            made = await self.app.process_api(
                handler, given, state=self.state, iterator=iterator, request=_REQUEST
            )
            iterator = made["iterator"]
            shown = shown if made["data"] == [gr.skip()] * len(made["data"]) else made["data"]
            if not made["is_generating"]:
                break
        for part, value in zip(handler.outputs, shown, strict=False):
            self._take(part._id, value)
        return shown

    def _take(self, number: int, value: Any) -> None:
        if not (isinstance(value, dict) and value.get("__type__") == "update"):
            self.values[number] = value
            return
        if "choices" in value:
            self.choices[number] = [key for _, key in value["choices"]]
        if "value" in value:
            self.values[number] = value["value"]


@pytest.fixture(scope="module")
def context(page: Page, tmp_path_factory) -> AppContext:
    """Return a page of its own with everything a list may offer: runs, wordings, an import."""
    folder = tmp_path_factory.mktemp("wired")
    shutil.copytree(page.context.root, folder / "root")
    made = make_context(folder / "root", page.context.profile, page.context.desk)
    workspace = made.workspace(None)
    for values in (page.setting, page.values(task="support_intents")):
        _, experiment = made.experiment(SettingValues(**values))
        keep_wording(workspace, EDITED, made.desk.task(experiment.task))
    run = workspace.run(page.rows["prompt_tuning"])
    import_adapter(adapter_archive(run, folder / "archive"), workspace.imports)
    return made


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Return the event loop of the page; outside one Gradio makes several and closes none."""
    pytest_socket.enable_socket()
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture(scope="module")
def app(context: AppContext, loop: asyncio.AbstractEventLoop) -> gr.Blocks:
    """Return the page; what a visitor makes of it is in the tabs."""

    async def build() -> gr.Blocks:
        return build_app(context)

    return loop.run_until_complete(build())


@pytest.fixture
def tab(app: gr.Blocks, loop: asyncio.AbstractEventLoop, page: Page) -> Tab:
    """Return the page after it was loaded, on the uploaded task."""
    found = Tab(app, loop, SessionState(app))
    for component in app.get_config_file()["components"]:
        props = component["props"]
        is_clicked = component["type"] == "dataset"  # the number of a sample comes from it
        found.values[component["id"]] = 0 if is_clicked else props.get("value")
        found.choices[component["id"]] = [one[1] for one in props.get("choices") or [] if one]
    for name, elem_id in (("model", "wb-model"), ("precision", "wb-precision")):
        found.values[found.part(elem_id)] = page.setting[name]
    found.values[found.part("wb-text")] = "a text"
    loads = [one for one in app.fns.values() if any(event == "load" for _, event in one.targets)]
    for handler in loads:
        if handler.fn is not None:  # else the browser does it alone
            found.fire(handler)
    choose(found, "wb-task", page.setting["task"])
    for handler in app.fns.values():
        if handler.fn is not None and named(handler) in LISTS:
            found.fire(handler)
    return found


def choose(tab: Tab, elem_id: str, value: Any) -> None:
    """Choose from a list, and let everything follow that listens to it."""
    tab.values[tab.part(elem_id)] = value
    for handler in tab.handlers(elem_id):
        tab.fire(handler)


def named(handler: BlockFunction) -> str:
    function = handler.fn
    while hasattr(function, "func"):
        function = function.func
    return str(getattr(function, "__name__", function))


def ended(tab: Tab, handler: BlockFunction) -> str:
    """Fire a handler; return that it ran, that it told in words of ours why not, or a fault."""
    try:
        shown = tab.fire(handler)
    except Exception as error:
        is_ours = isinstance(error, gr.Error) and isinstance(error.__cause__, WorkbenchError)
        return "told" if is_ours else repr(error)  # of Gradio too: an input is no choice of its
    return next((str(one) for one in shown if "on our side" in str(one)), "ran")


@pytest.mark.parametrize("elem_id", WALKED)
def test_everything_a_list_offers_can_be_chosen(elem_id, tab):
    offered = tab.choices[tab.part(elem_id)]

    for value in offered:
        choose(tab, elem_id, value)
        assert not any("on our side" in str(value) for value in tab.values.values())

    assert offered or elem_id in ("wb-train-job",)


@pytest.mark.parametrize("task", ["own", "support_intents"])
def test_a_chosen_wording_is_the_one_that_is_edited_and_kept(task, tab, context, page):
    key = page.setting["task"] if task == "own" else task
    choose(tab, "wb-task", key)
    _, experiment = context.experiment(SettingValues(**page.values(task=key)))
    opened, workspace = context.desk.task(experiment.task), context.workspace(None)

    for wording in list(tab.choices[tab.part("wb-wording")]):
        choose(tab, "wb-wording", wording)
        expected = open_template(template_name(workspace, wording), opened)
        shown = parse_wording(tab.values[tab.part("wb-editor")], opened)
        assert shown.digest == expected.digest, wording
        tab.fire(tab.handlers("wb-keep-wording")[0])
        kept = template_name(workspace, tab.values[tab.part("wb-wording")])
        assert open_template(kept, opened).digest == expected.digest
    assert [one for one in tab.choices[tab.part("wb-wording")] if one.startswith("edited:")]


def test_a_damaged_wording_says_so_where_it_is_chosen(tab, context, page):
    workspace = context.workspace(None)
    key = tab.choices[tab.part("wb-wording")][-1]
    path = Path(template_name(workspace, key))
    content = path.read_text()
    path.write_text("changed")

    choose(tab, "wb-wording", key)
    shown = str(tab.values[tab.part("wb-trouble")])
    path.write_text(content)
    choose(tab, "wb-wording", "plain")

    assert "has changed on disk or is damaged" in shown
    assert tab.values[tab.part("wb-trouble")] == ""


def test_a_handler_that_never_took_its_inputs_has_not_run(tab):
    tab.values[tab.part("wb-precision")] = "none of the choices"

    assert "is not in the list of choices" in ended(tab, tab.handlers("wb-precision")[0])


def test_a_wording_of_the_task_before_is_handed_on_and_said_in_its_place(tab):
    tab.values[tab.part("wb-wording")] = "none of the choices"

    assert {ended(tab, one) for one in tab.handlers("wb-task")} <= set(ENDS)


def test_every_handler_gives_what_its_outputs_take(tab):
    """The last one here: it starts jobs and deletes what the others open."""
    page_s_own = [
        handler
        for handler in tab.app.fns.values()
        if handler.fn is not None
        and handler.api_visibility == "private"
        and named(handler) not in BY_THE_BROWSER
    ]

    ends = {handler: ended(tab, handler) for handler in page_s_own}
    told = {named(handler) for handler, end in ends.items() if end == "told"}

    assert [f"{named(one)}: {end}" for one, end in ends.items() if end not in ENDS] == []
    assert told == TOLD
    assert sum(end == "ran" for end in ends.values()) > 40
