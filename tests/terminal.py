"""The command line called in the tests' own process, and rows of one's own for it."""

import csv
import sys
from pathlib import Path

import pytest

from visitors import LABELS
from workbench.cli import main


def call(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    """Run the command line; return exit code, output and errors."""
    monkeypatch.setattr(sys, "argv", ["workbench", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "400")
    try:
        main()
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    out, errors = capfd.readouterr()
    return code, out, errors


def write_experiment(folder: Path, methods: str, *more: str) -> Path:
    """Write an experiment over a CSV of 60 separable rows into a folder; return its file.

    Args:
        folder: Where both files go.
        methods: The rows, as YAML that is indented.
        more: Further lines, such as that of the base.
    """
    names = list(LABELS)
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        for number in range(60):
            label = names[number % 2]
            writer.writerow([f"{LABELS[label]} number {number}", label])
    lines = ["precision: fp32", f"task: {{name: mine, train: {folder / 'rows.csv'}}}", *more]
    path = folder / "experiment.yaml"
    path.write_text("\n".join([*lines, "methods:", methods.strip("\n")]) + "\n")
    return path
