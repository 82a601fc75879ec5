"""What a `?run=` link shows, above everything else of the page."""

from typing import Any

import gradio as gr

from workbench.service.workspace import shared_run
from workbench.ui.context import AppContext, guarded, problem
from workbench.ui.runs import run_html
from workbench.ui.wiring import AT_ONCE


@guarded(lambda error: gr.HTML(value=problem(error), visible=True))
def on_link(context: AppContext, request: gr.Request) -> Any:
    """Return the run of somebody else that the address names, if it names one.

    The link needs the key that its owner's page put into it. A run of one's own is shown among the
    others, see `page_address`: on a page of one's own always, on a public one where a tab is named.
    """
    asked = request.query_params
    run_id, key = asked.get("run"), asked.get("key")
    if not run_id or not context.profile.is_public or (not key and asked.get("tab")):
        return gr.HTML(visible=False)
    run = shared_run(context.root, run_id, key)
    return gr.HTML(value=run_html(run, is_public=True), visible=True)


def build(context: AppContext, app: gr.Blocks) -> None:
    """Lay out the place of a linked run, and fill it when the page loads."""
    view = gr.HTML(visible=False, elem_id="wb-linked-run")

    def show(request: gr.Request) -> Any:  # Gradio finds the request by this annotation
        return on_link(context, request)

    app.load(
        show,
        None,
        view,
        **AT_ONCE,
    )
