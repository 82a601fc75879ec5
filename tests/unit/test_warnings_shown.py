"""What may not be as meant in the data is said where a run starts, here and on a server."""

import io
from pathlib import Path
from types import SimpleNamespace

from rich.console import Console

from workbench.commands.shared.running import print_setting
from workbench.commands.shared.server import _portable
from workbench.runs.experiment import Experiment, TaskChoice
from workbench.runs.session import open_task
from workbench.tasks.files import read_table

INFO = SimpleNamespace(
    name="toy",
    precision="nf4",
    compute_dtype="float32",
    device="cpu",
    source="a folder",
    footprint_bytes=168_400_000,
    restored_bytes=424_700_000,
    restored_reason="asked for",
)


def test_the_terminal_says_what_may_not_be_as_meant(tmp_path: Path) -> None:
    labels = ["[b]Yes", "[b]yes", "no"]
    lines = [f"text {n};{labels[n % 3]}" for n in range(18)]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["text;label", *lines]))
    experiment = Experiment(task=TaskChoice(train=path))
    session = SimpleNamespace(info=INFO, task=open_task(experiment.task))
    out = io.StringIO()

    print_setting(Console(file=out, width=1000), session, experiment)

    said = out.getvalue().splitlines()
    assert "rows.csv: read with ';' between the cells." in said
    assert "weights: 168.4 MB in 4 bits, 424.7 MB beside them for speed (asked for)" in said
    assert any("'[b]Yes' (6 rows) / '[b]yes' (6 rows) differ in case" in line for line in said)


def test_a_server_reads_rows_with_the_separator_that_was_given(tmp_path: Path) -> None:
    sent = {}
    client = SimpleNamespace(predict=lambda **what: sent.update(what) or "upload:x")
    path = tmp_path / "rows.csv"
    path.write_text("text;label,score\na;b,1\nc;d,2\n")
    experiment = Experiment(task=TaskChoice(train=path, separator="semicolon"))

    _portable(experiment, client, "visitor")

    there = tmp_path / "there.csv"
    there.write_text(sent["content"])
    assert read_table(there).rows == read_table(path, separator=";").rows
