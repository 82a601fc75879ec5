"""The page: one row of settings, one tab per question, and the programming interface."""

import os
import tempfile
from collections.abc import Mapping
from concurrent.futures import Future
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder
from starlette.middleware import Middleware

from workbench.analysis.training_figure import history_plot
from workbench.service.accelerator import chunk_runner
from workbench.service.profile import Profile, detect_profile
from workbench.service.space import DOWNLOADS, bound_visitors, forget_absent
from workbench.serving.desk import ModelDesk
from workbench.startup import page_is_there, say
from workbench.ui import api, glosses, setup, shared_runs
from workbench.ui.context import AppContext
from workbench.ui.crowds import Crowds, allow_open_files
from workbench.ui.guards import Guard, is_loopback, stumbled
from workbench.ui.lines import AT_HOME, MOST_THREADS, Lines
from workbench.ui.own_folders import own_folder, remove_when_stopped
from workbench.ui.peers import believe_sockets_alone, num_proxies
from workbench.ui.rendering import render
from workbench.ui.theme import make_theme
from workbench.ui.vector_map import script_route

TABS: Mapping[str, str] = {
    "Ask": "workbench.ui.ask",
    "Grid": "workbench.ui.grid",
    "Train": "workbench.ui.train",
    "Evaluate": "workbench.ui.evaluate",
    "Inspect": "workbench.ui.inspect",
    "Runs": "workbench.ui.runs",
    "Plan": "workbench.ui.plan",
    "Tour": "workbench.ui.tour",
}
"""Titles of the tabs in their order, and the modules whose `build` lays them out and wires them."""

_SESSIONS = 200  # that Gradio remembers of a page of one's own


def make_context(
    root: Path, profile: Profile | None = None, desk: ModelDesk | None = None
) -> AppContext:
    """Return what the tabs share, for runs below `root`.

    Args:
        root: Folder of all runs; made when needed.
        profile: Where the workbench runs; None: found out.
        desk: Owner of the base; None: a new one.
    """
    root.mkdir(parents=True, exist_ok=True)
    profile = profile or detect_profile()
    desk = desk or ModelDesk(is_direct=profile.executor == "chunks")
    uploads = Path(get_upload_folder()).resolve()
    exports = uploads / DOWNLOADS if profile.is_public else own_folder(Path(tempfile.gettempdir()))
    forget_absent(root, profile)
    bound_visitors(root, profile, exports=exports, uploads=uploads)
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
        gr.HTML(render("header", profile=context.profile, start=glosses.start()))
        glosses.build(app)
        shared_runs.build(context, app)
        shared = setup.build(context)
        each: dict[str, gr.Tab] = {}
        with gr.Tabs(elem_id="wb-tabs") as tabs:
            for title, module in TABS.items():
                with gr.Tab(title, id=title.lower()) as tab:
                    import_module(module).build(context, shared, tab)
                each[title.lower()] = tab
        shared.address.wire(context, app, tabs, each)
        api.build(context)
    app.queue(api_open=False)
    crowd = context.profile.crowd
    app._queue = Lines(app, AT_HOME if crowd is None else crowd.waiting)
    return app


def serve(
    context: AppContext,
    host: str | None,
    port: int | None,
    loading: Future[bool],
) -> None:
    """Serve the page until it is stopped.

    Args:
        context: What the tabs share.
        host: Address to listen on; None: this machine alone.
        port: None takes `GRADIO_SERVER_PORT`, or the first free one from 7860.
        loading: Says at its end whether the first base is in memory.
    """
    app, host = build_app(context), host or "127.0.0.1"
    options = launch_options(context, host)
    app.launch(server_name=host, server_port=port, prevent_thread_lock=True, quiet=True, **options)
    page_is_there()
    say(f"Open {app.local_url} in a browser. Ctrl-C stops the page.")
    loading.add_done_callback(lambda done: say("The base is ready.") if _has_loaded(done) else None)
    history_plot([("warm", [{"step": 1.0, "loss": 1.0}])])  # loads fonts, which takes a while
    app.block_thread()


def _has_loaded(loading: Future[bool]) -> bool:
    """Return whether a load that has ended brought the base."""
    return not loading.cancelled() and loading.exception() is None and loading.result()


def keep_uploads_apart() -> None:
    """Give this process a folder of its own for uploads, below `GRADIO_TEMP_DIR` if that is set.

    Gradio removes what was uploaded after a day, of a process that is still there by then. To be
    called before the page is built, from the main thread.
    """
    parent = os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()
    os.environ["GRADIO_TEMP_DIR"] = str(own_folder(Path(parent)))
    remove_when_stopped()


def launch_options(context: AppContext, host: str = "127.0.0.1") -> dict[str, Any]:
    """Return the arguments of `launch` that look and safety need, for an address to listen on."""
    style = files("workbench.ui").joinpath("style.css").read_text(encoding="utf-8")
    guard = Middleware(
        Guard,
        upload_bytes=context.profile.caps.upload_bytes,
        only_local=is_loopback(host) and not context.profile.is_public,
        space_host=os.environ.get("SPACE_HOST", ""),
        has_owners=context.profile.is_public,
        uploads=Path(get_upload_folder()),
    )
    crowd, crowds = context.profile.crowd, []
    if crowd is not None:
        believe_sockets_alone()
        allow_open_files()
        most = context.profile.caps.upload_bytes
        crowds = [Middleware(Crowds, crowd=crowd, upload_bytes=most, proxies=num_proxies())]
    return {
        "app_kwargs": {
            "middleware": [*crowds, guard],
            "routes": [script_route()],
            "exception_handlers": {Exception: stumbled},
        },
        "theme": make_theme(),
        "css": style,
        "show_error": False,
        "ssr_mode": False,
        "enable_monitoring": False,
        "run_history": False,
        "strict_cors": True,
        "share": False,
        "max_threads": MOST_THREADS,
        "max_file_size": context.profile.caps.upload_bytes,
        "allowed_paths": [],
        "blocked_paths": [str(context.root)],
        # Twice what `Sessions` lets in, so that Gradio itself forgets none.
        "state_session_capacity": _SESSIONS if crowd is None else 2 * crowd.sessions.total,
        "footer_links": ["api", "settings"],
    }
