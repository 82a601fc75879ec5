"""Launch the workbench in the browser; this is also what a Hugging Face Space runs."""

from pathlib import Path

from workbench.ui.app import build_app

if __name__ == "__main__":
    runs = Path("runs")
    build_app(runs).queue(api_open=False).launch(
        server_name="127.0.0.1",
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        allowed_paths=[str(runs.resolve())],
    )
