"""The page: shows the newest report, says what to do when there is none, and builds."""

import os
import subprocess
import sys

from workbench.ui.app import latest_report, show_latest


def test_without_a_report_the_page_says_what_to_do(tmp_path):
    text, file = show_latest(tmp_path)

    assert "workbench compare experiments/quick.yaml" in text
    assert file is None


def test_the_newest_report_is_shown(tmp_path):
    for number, name in enumerate(("old", "new")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "report.md").write_text(f"# {name}")
        (folder / "report.html").write_text("<p>")
        os.utime(folder / "report.html", (number, number))

    assert latest_report(tmp_path) == tmp_path / "new" / "report.html"
    assert show_latest(tmp_path) == ("# new", str(tmp_path / "new" / "report.html"))


def test_the_page_builds(tmp_path):
    code = (
        "from pathlib import Path; from workbench.ui.app import build_app; "
        f"build_app(Path({str(tmp_path)!r}))"
    )

    # Apart from this process, whose sockets are closed: an event loop opens one to itself.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
