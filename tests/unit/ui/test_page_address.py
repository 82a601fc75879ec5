"""The page's address: what it asks for is shown, and what cannot be had is said."""

import asyncio
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from gradio.blocks import BlockFunction

from pages import Page, Seen, dangers, is_problem, said
from visitors import store_run
from workbench.ui.app import build_app
from workbench.ui.page_address import asked_of
from workbench.ui.setup import tasks_to_choose


@pytest.fixture(autouse=True)
def _no_network(socket_enabled) -> None:
    """Building a page opens a socket to this machine."""


def opening(page: Page, name: str = "begun") -> BlockFunction:
    """Return what the page does at an address; Gradio makes loops outside of one."""

    async def build() -> gr.Blocks:
        return build_app(page.context)

    loop = asyncio.new_event_loop()
    app = loop.run_until_complete(build())
    loop.close()
    (handler,) = [fn for fn in app.fns.values() if getattr(fn.fn, "__name__", "") == name]
    return handler


def opened(page: Page, search: str, token: object = None, turn: int = 0) -> dict[str, Any]:
    """Return what a page shows at an address, when it is opened or later: updates by elem_id."""
    handler = opening(page, "went" if turn else "begun")
    search = search.removeprefix("?")
    event = SimpleNamespace(query_params=search, search=search, turn=turn)
    values = handler.fn(token or page.setting["token"], event)
    names = [getattr(part, "elem_id", None) or type(part).__name__ for part in handler.outputs]
    return dict(zip(names, values, strict=True))


def value(update: Any) -> Any:
    """Return the value that an update gives its component; None if it leaves it as it is."""
    return update.get("value")


def usual_task(page: Page) -> str:
    """Return the task that the page begins with."""
    return tasks_to_choose(page.context, page.setting["token"])[0][1]


def test_an_address_without_anything_takes_nothing_back_that_was_chosen_meanwhile(page):
    shown = opened(page, "")

    assert shown["wb-tabs"] == gr.skip()
    assert "value" not in shown["wb-task"]
    assert usual_task(page) in [key for _, key in shown["wb-task"]["choices"]]
    assert shown["wb-precision"] == gr.skip()
    assert shown["wb-address-note"] == ""
    assert shown["wb-open"] == gr.skip()  # of another tab


def test_going_back_to_it_shows_what_is_usual(page):
    shown = opened(page, "", turn=1)

    assert shown["wb-tabs"].selected == "ask"
    assert value(shown["wb-task"]) == usual_task(page)
    assert value(shown["wb-precision"]) == "nf4"


def test_an_address_chooses_tab_setting_and_what_is_opened(page):
    run = page.rows["lora"]
    shown = opened(
        page,
        f"?tab=inspect&task=support_intents&wording=brief&precision=fp32&chat=true&what=run:{run}"
        "&against=control:random&against=control:instruction&reading=weights",
    )

    assert shown["wb-tabs"].selected == "inspect"
    assert value(shown["wb-task"]) == "support_intents"
    assert value(shown["wb-wording"]) == "brief"
    assert value(shown["wb-precision"]) == "fp32"
    assert value(shown["wb-open"]) == f"run:{run}"
    assert value(shown["wb-beside"]) == ["control:random", "control:instruction"]
    assert value(shown["wb-reading"]) == "weights"
    assert "weights" in [key for _, key in shown["wb-reading"]["choices"]]
    assert shown["wb-run"] == gr.skip()


@pytest.mark.parametrize(
    ("search", "part", "usual"),
    [
        ("?tab=nowhere", "wb-tabs", "ask"),
        ("?task=../../etc/passwd", "wb-task", usual_task),
        ("?task=support_intents&wording=gone", "wb-wording", "plain"),
        ("?wording=edited:0123456789ab", "wb-wording", "plain"),
        ("?precision=<b>", "wb-precision", "nf4"),
        ("?tab=train&method=zero_shot", "wb-method", "prompt_tuning"),
        ("?tab=inspect&reading=<script>", "wb-reading", "nearest"),
        ("?tab=tour&stop=99", "wb-tour-stops", 0),
        ("?run=<img src=x>", "wb-run", ""),
        ("?tab=runs&beside=../x", "wb-beside-run", ""),
        ("?tab=train&job=gone", "wb-train-job", None),
        ("?tab=evaluate&job=<b>", "wb-evaluate-job", None),
        ("?tab=evaluate&comparison=../x", "wb-comparison", None),
        ("?tab=inspect&what=run:gone", "wb-open", None),
        ("?tab=inspect&against=control:random&against=import:x", "wb-beside", []),
    ],
)
def test_what_cannot_be_had_is_said_and_the_usual_is_shown(search, part, usual, page):
    shown = opened(page, search)

    assert is_problem(shown["wb-address-note"])
    assert "address:" in said(shown["wb-address-note"])
    assert dangers(shown["wb-address-note"]) == []
    later = opened(page, search, turn=1)
    got = later[part].selected if part == "wb-tabs" else value(later[part])
    assert got == (usual(page) if callable(usual) else usual)


def test_jobs_and_comparisons_of_ones_own_are_opened(page):
    shown = opened(page, f"?tab=evaluate&job={page.job_id}&comparison={page.job_id}")

    assert shown["wb-address-note"] == ""
    assert value(shown["wb-evaluate-job"]) == page.job_id
    assert value(shown["wb-comparison"]) == page.job_id


def test_what_another_visitor_has_is_not_there(chunk_page):
    run = store_run(chunk_page.workspace.folder)
    search = f"?tab=inspect&what=run:{run}"
    own = opened(chunk_page, search)
    theirs = opened(chunk_page, search, "another-another-another")

    assert own["wb-address-note"] == ""
    assert "is not among yours" in Seen(theirs["wb-address-note"]).text


def test_a_task_of_the_hub_is_not_fetched_to_look_at_a_wording(page):
    shown = opened(page, "?task=sst2&wording=x")

    assert shown["wb-address-note"] == ""
    assert value(shown["wb-wording"]) == "x"  # until the task is there


def test_a_base_that_a_public_page_does_not_offer_is_refused(chunk_page):
    shown = opened(chunk_page, "?model=somebody/huge")

    assert "none that an address may load" in Seen(shown["wb-address-note"]).text
    assert value(shown["wb-model"]) == chunk_page.context.profile.models[0]


def test_a_link_loads_no_base_that_the_visitor_has_not_used(page):
    assert (
        value(opened(page, f"?model={page.setting['model']}")["wb-model"])
        == (page.setting["model"])
    )
    shown = opened(page, "?model=somebody/huge")

    assert "none that an address may load" in Seen(shown["wb-address-note"]).text
    assert value(shown["wb-model"]) == page.context.profile.models[0]


def test_beside_a_run_is_nothing_unless_an_address_says_so(page):
    assert opened(page, "?tab=runs", turn=1)["wb-beside-run"]["value"] == ""


def test_a_run_of_ones_own_opens_among_the_others(page):
    shown = opened(page, f"?run={page.rows['lora']}")

    assert shown["wb-tabs"].selected == "runs"
    assert value(shown["wb-run"]) == page.rows["lora"]


def test_a_run_of_somebody_else_is_not_looked_for_among_ones_own(chunk_page):
    shown = opened(chunk_page, "?tab=runs&run=theirs&key=" + "0" * 24)

    assert value(shown["wb-run"]) is None


@pytest.mark.parametrize("token", [None, "", "short", 3, ["a"], {"a": 1}, "../../etc/passwd/x"])
def test_a_visitor_without_a_token_gets_one(token, chunk_page):
    handler = opening(chunk_page)

    known, again = (handler.fn(token, SimpleNamespace(query_params=""))[0] for _ in range(2))

    assert chunk_page.context.workspace(known)
    assert known != again


def test_a_visitor_keeps_a_token(chunk_page):
    token = chunk_page.setting["token"]

    assert opened(chunk_page, "", token)["BrowserState"] == token


@pytest.mark.parametrize(
    "search", [None, 3, ["a"], "?" + "a" * 5000, "?a=" + "b" * 300, "&".join(["a=1"] * 99)]
)
def test_what_an_address_asks_for_is_bounded(search):
    asked = asked_of(search)

    assert sum(map(len, asked.values())) <= 6
    assert all(len(value) <= 200 for values in asked.values() for value in values)


def test_too_many_parameters_ask_for_nothing():
    assert asked_of("&".join(f"a{number}=1" for number in range(300))) == {}


def test_what_follows_several_parts_of_an_address_looks_once_more_when_all_are_shown(page):
    handler = opening(page)
    parts = [part._id for part in handler.outputs]
    app = handler.outputs[0].parent
    while app.parent is not None:
        app = app.parent
    (shown,) = [fn for fn in app.fns.values() if fn.trigger_after == handler._id]
    (sign,) = [part._id for part in shown.outputs]
    missing = []
    for other in app.fns.values():
        changed = {part for part, event in other.targets if event == "change" and part in parts}
        if other.fn is not None and len(changed) > 1 and (sign, "change") not in other.targets:
            missing += [part.elem_id for part in other.outputs]

    # The one tries each base that was asked for, the other is followed by what looks again.
    assert missing == ["wb-base-trouble", "wb-estimate"]
