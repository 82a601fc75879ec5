"""Launch the workbench in the browser; this is also what a Hugging Face Space runs."""

from pathlib import Path

from workbench.ui.app import build_app, launch_options, make_context

if __name__ == "__main__":
    context = make_context(Path("runs"))
    build_app(context).launch(server_name="127.0.0.1", **launch_options(context))
