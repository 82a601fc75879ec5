"""The items of a comparison, a page at a time: where two rows disagree, or one is wrong."""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import gradio as gr

from workbench.analysis.comparison import Comparison
from workbench.analysis.disagreement import BrowsedItem, BrowseMode, browse, mode_counts
from workbench.errors import WorkbenchError
from workbench.service.comparisons import open_comparison
from workbench.ui.choices import ChoiceList
from workbench.ui.context import KEEP, PROBLEM, AppContext, shows_problems
from workbench.ui.raw_values import choice_of
from workbench.ui.rendering import render
from workbench.ui.wiring import LOOK, QUIET

_PAGE = 20  # items of the browser at once


def mode_choices(comparison: Comparison, row: str, against: str) -> list[tuple[str, str]]:
    """Return the ways to browse items, each with how many it shows."""
    counts = mode_counts(comparison, row=row, against=against)
    total = comparison.task.num_test
    return [(f"{mode.label}: {count} of {total}", mode.value) for mode, count in counts.items()]


@shows_problems(PROBLEM, KEEP)
def on_browse(
    context: AppContext,
    *,
    token: object,
    key: str | None,
    mode: str,
    row: str | None,
    against: str | None,
    search: str,
    page: object,
) -> list[Any]:
    """Return a page of items, and the modes with their counts for the chosen rows."""
    if not key or not row or not against:
        return ["", gr.skip()]
    comparison, _, _ = open_comparison(context.workspace(token), key)
    items = items_of(context, token, key, mode=mode, row=row, against=against, search=search)
    number = int(page) if isinstance(page, int | float) and 1 <= page < 1e6 else 1
    last = max(1, -(-len(items) // _PAGE))
    number = min(number, last)
    view = render(
        "items",
        items=items[(number - 1) * _PAGE : number * _PAGE],
        names=list(items[0].answers) if items else [],
        total=len(items),
        page=number,
        last=last,
    )
    return [view, gr.Dropdown(choices=mode_choices(comparison, row, against), value=mode)]


def build(context: AppContext, token: gr.BrowserState, key: gr.Dropdown) -> dict[str, Any]:
    """Lay out the browser of items; return what says which items, as inputs of handlers."""
    with gr.Row():
        mode = ChoiceList(
            [(m.label, m.value) for m in BrowseMode],
            value=BrowseMode.DISAGREE.value,
            label="Items",
            elem_id="wb-mode",
        )
        row = ChoiceList([], label="Row", elem_id="wb-browse-row")
        against = ChoiceList([], label="Against", elem_id="wb-against")
        search = gr.Textbox(label="Search", elem_id="wb-search")
        page = gr.Number(1, label="Page", precision=0, min_width=80)
    items = gr.HTML(elem_id="wb-items")
    shown = {"token": token, "key": key, "mode": mode, "row": row, "against": against}
    gr.on(
        [mode.input, row.change, against.change, search.change, page.change],
        partial(on_browse, context),
        inputs_kwargs={**shown, "search": search, "page": page},
        outputs=[items, mode],
        trigger_mode="always_last",
        **QUIET,
        **LOOK,
    )
    return shown


def items_of(
    context: AppContext,
    token: object,
    key: str,
    *,
    mode: str,
    row: str | None,
    against: str | None,
    search: str,
) -> list[BrowsedItem]:
    """Return the items of a mode with their texts, where the task can still be had."""
    comparison, experiment, _ = open_comparison(context.workspace(token), key)
    chosen = choice_of(mode, list(BrowseMode), "items")
    names = {found.row for found in comparison.rows}
    for name in (row, against):
        if name is not None:
            choice_of(name, names, "row")
    texts: dict[str, Mapping[str, str]] = {}
    with suppress(WorkbenchError):
        task = None if experiment is None else context.desk.task(experiment.task)
        texts = {} if task is None else {sample.id: sample.fields for sample in task.test}
    return browse(
        comparison,
        BrowseMode(chosen),
        row=row,
        against=against,
        text_of=texts,
        search=str(search or "")[:200],
    )
