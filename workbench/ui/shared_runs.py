"""What a `?run=` link shows, above everything else of the page."""

from typing import Any

import gradio as gr

from workbench.service.workspace import open_workspace, shared_run
from workbench.ui.context import AppContext, guarded, problem
from workbench.ui.runs import run_html
from workbench.ui.wiring import AT_ONCE


@guarded(lambda error: gr.HTML(value=problem(error), visible=True))
def on_link(context: AppContext, request: gr.Request) -> Any:
    """Return the run that the address names, if it names one.

    On a public page the link needs the key that its owner's page put into it.
    """
    run_id, key = request.query_params.get("run"), request.query_params.get("key")
    if not run_id:
        return gr.HTML(visible=False)
    if context.profile.is_public:
        run = shared_run(context.root, run_id, key)
    else:
        run = open_workspace(context.root, None, is_public=False).run(run_id)
    return gr.HTML(value=run_html(run, is_public=context.profile.is_public), visible=True)


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
