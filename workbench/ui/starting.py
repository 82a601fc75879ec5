"""Start the page: the base is loaded beside the import of everything that only the page needs.

On two cores that takes as long as the longer of the two. So nothing here imports Gradio, and what
the base needs is imported first.
"""

import logging
import os
from importlib import import_module
from pathlib import Path

from transformers.utils import logging as transformers_logging

from workbench.runs.experiment import Experiment
from workbench.service.profile import detect_profile
from workbench.serving.desk import ModelDesk
from workbench.startup import say


def launch(root: Path, *, host: str | None = None, port: int | None = None) -> None:
    """Serve the page until it is stopped; the terminal is told what is happening.

    Args:
        root: Folder of all runs.
        host: Address to listen on; this machine alone unless given (a Space says it in
            `GRADIO_SERVER_NAME`).
        port: None takes `GRADIO_SERVER_PORT`, or the first free one from 7860.
    """
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # names a package not to install
    transformers_logging.disable_progress_bar()
    profile = detect_profile()
    desk = ModelDesk(is_direct=profile.executor == "chunks")
    base = profile.models[0]
    say(f"Loading the base {base} while the page is built …")
    loading = desk.warm(Experiment(model=base))
    page = import_module("workbench.ui.app")
    page.keep_uploads_apart()
    context = page.make_context(root, profile, desk)
    try:
        page.serve(context, host or os.environ.get("GRADIO_SERVER_NAME"), port, loading)
    finally:
        context.inspector.close()
