"""A page that shows the comparison made last; the tabs of the workbench come here."""

from pathlib import Path

import gradio as gr

_EMPTY = (
    "No comparison has been made here yet. Make one in a terminal with "
    "`workbench compare experiments/quick.yaml`, then reload this page."
)


def latest_report(root: Path) -> Path | None:
    """Return the newest `report.html` below a folder, or None."""
    found = sorted(root.glob("**/report.html"), key=lambda path: path.stat().st_mtime)
    return found[-1] if found else None


def show_latest(root: Path) -> tuple[str, str | None]:
    """Return the newest report as Markdown, and the path of its HTML to download."""
    report = latest_report(root)
    if report is None:
        return _EMPTY, None
    return report.with_suffix(".md").read_text(encoding="utf-8"), str(report.resolve())


def build_app(root: Path) -> gr.Blocks:
    """Return the page over the runs below `root`."""
    app = gr.Blocks(title="Prompt Workbench", analytics_enabled=False)
    with app:
        gr.Markdown("# Prompt Workbench")
        text = gr.Markdown()
        download = gr.File(label="The whole report, one file that opens offline")
        app.load(lambda: show_latest(root), outputs=[text, download], api_visibility="private")
    return app
