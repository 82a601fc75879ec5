"""The page: one row of settings, one tab per question, and the programming interface."""

import atexit
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from transformers.utils import logging as transformers_logging

from workbench.analysis.training_figure import history_plot
from workbench.runs.experiment import Experiment
from workbench.service.accelerator import chunk_runner
from workbench.service.profile import Profile, detect_profile
from workbench.serving.desk import ModelDesk
from workbench.ui import api, setup, shared_runs
from workbench.ui.context import AppContext
from workbench.ui.crowds import Crowds, allow_open_files
from workbench.ui.guards import Guard, is_loopback
from workbench.ui.peers import believe_sockets_alone, num_proxies
from workbench.ui.rendering import render
from workbench.ui.theme import make_theme
from workbench.ui.vector_map import script_route

TABS: Mapping[str, str] = {
    "Ask": "workbench.ui.ask",
    "Train": "workbench.ui.train",
    "Evaluate": "workbench.ui.evaluate",
    "Inspect": "workbench.ui.inspect",
    "Runs": "workbench.ui.runs",
    "Plan": "workbench.ui.plan",
}
"""Titles of the tabs in their order, and the modules whose `build` lays them out and wires them."""

_QUEUE_SIZE = 32  # events that may wait; one more is told at once that the queue is full
_SESSIONS = 200  # that Gradio remembers of a page of one's own


def make_context(root: Path, profile: Profile | None = None) -> AppContext:
    """Return what the tabs share, for runs below `root`."""
    root.mkdir(parents=True, exist_ok=True)
    profile = profile or detect_profile()
    desk = ModelDesk(is_direct=profile.executor == "chunks")
    exports = Path(tempfile.mkdtemp(prefix="workbench-"))
    atexit.register(shutil.rmtree, exports, ignore_errors=True)
    return AppContext(root.resolve(), profile, desk, exports, chunk_runner(desk, profile))


def build_app(context: AppContext) -> gr.Blocks:
    """Return the page."""
    app = gr.Blocks(
        title="Prompt Workbench",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(3600, 86400),
    )
    with app:
        gr.HTML(render("header", profile=context.profile))
        shared_runs.build(context, app)
        shared = setup.build(context, app)
        with gr.Tabs(elem_id="wb-tabs"):
            for title, module in TABS.items():
                with gr.Tab(title, id=title.lower()) as tab:
                    import_module(module).build(context, shared, tab)
        api.build(context)
    crowd = context.profile.crowd
    most = _QUEUE_SIZE if crowd is None else crowd.waiting.total
    app.queue(api_open=False, max_size=most, default_concurrency_limit=4)
    return app


def launch(root: Path, *, host: str | None = None, port: int | None = None) -> None:
    """Serve the page until it is stopped.

    Args:
        root: Folder of all runs.
        host: Address to listen on; this machine alone unless given (a Space says it in
            `GRADIO_SERVER_NAME`).
        port: None takes `GRADIO_SERVER_PORT`, or the first free one from 7860.
    """
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # names a package not to install
    transformers_logging.disable_progress_bar()
    context = make_context(root)
    app = build_app(context)
    context.desk.warm(Experiment(model=context.profile.models[0]))
    history_plot([("warm", [{"step": 1.0, "loss": 1.0}])])  # loads fonts, which takes a while
    host = host or os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    try:
        app.launch(server_name=host, server_port=port, **launch_options(context, host))
    finally:
        context.inspector.close()


def launch_options(context: AppContext, host: str = "127.0.0.1") -> dict[str, Any]:
    """Return the arguments of `launch` that look and safety need, for an address to listen on."""
    style = files("workbench.ui").joinpath("style.css").read_text(encoding="utf-8")
    guard = Middleware(
        Guard,
        upload_bytes=context.profile.caps.upload_bytes,
        only_local=is_loopback(host) and not context.profile.is_public,
        space_host=os.environ.get("SPACE_HOST", ""),
    )
    crowd, crowds = context.profile.crowd, []
    if crowd is not None:
        believe_sockets_alone()
        allow_open_files()
        most = context.profile.caps.upload_bytes
        crowds = [Middleware(Crowds, crowd=crowd, upload_bytes=most, proxies=num_proxies())]
    return {
        "app_kwargs": {"middleware": [*crowds, guard], "routes": [script_route()]},
        "theme": make_theme(),
        "css": style,
        "show_error": False,
        "ssr_mode": False,
        "enable_monitoring": False,
        "run_history": False,
        "strict_cors": True,
        "share": False,
        "max_file_size": context.profile.caps.upload_bytes,
        "allowed_paths": [],
        "blocked_paths": [str(context.root)],
        # Twice what `Sessions` lets in, so that Gradio itself forgets none.
        "state_session_capacity": _SESSIONS if crowd is None else 2 * crowd.sessions.total,
        "footer_links": ["api", "settings"],
    }
