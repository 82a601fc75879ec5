"""Lists in the terminal: every character of every cell, in columns that fit, and read quickly."""

import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from workbench.commands.shared.listings import listing

RECORDS = Path(__file__).parents[1] / "records"
STATISTICS = ("numpy", "pandas", "scipy", "statsmodels", "torch", "transformers", "gradio")


def test_a_table_that_fits_is_in_columns_as_wide_as_their_widest_cell():
    table = listing("name", "what")
    table.add_row("lora", "low-rank changes")
    table.add_row("ia3", "")

    assert table.lines(80) == ["name  what", "lora  low-rank changes", "ia3"]


@pytest.mark.parametrize("width", [20, 33, 50])
def test_a_narrow_terminal_wraps_cells_and_loses_nothing(width):
    table = listing("run", "status", "what")
    table.add_row("a_long_name_of_a_run_1bc17d5317aa", "finished", "words broken between them")

    lines = table.lines(width)

    assert max(map(len, lines)) <= width
    whole = ("run", "status", "what", *table.rows[0])
    assert sorted("".join("".join(lines).split())) == sorted("".join("".join(whole).split()))


def test_letters_of_two_places_keep_the_columns_straight():
    table = listing("name", "what")
    table.add_row("意图分类任务", "短い文")
    table.add_row("sst2", "movie reviews")

    lines = table.lines(18)

    assert max(map(cell_len, lines)) <= 18
    for character in "意图分类任务短い文":
        assert character in "".join(lines)


def test_a_cell_that_looks_like_markup_stays_as_it_is():
    table = listing("name")
    table.add_row("[bold]x[/bold]")

    assert table.lines(80)[1] == "[bold]x[/bold]"


def test_listing_runs_loads_no_statistics_and_no_deep_learning_stack():
    code = (
        "import sys; from typer.testing import CliRunner; from workbench.cli import app\n"
        f"done = CliRunner().invoke(app, ['runs', {str(RECORDS)!r}], env={{'COLUMNS': '300'}})\n"
        "assert done.exit_code == 0 and 'older version' in done.output, done.output\n"
        f"print([m for m in {STATISTICS!r} if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.stdout.strip(), done.stderr) == ("[]", "")
