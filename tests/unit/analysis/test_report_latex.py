"""The report's tables as LaTeX, and a comparison's figures made again from its folder."""

import pytest
from typer.testing import CliRunner

from workbench.analysis.comparison import compare_runs
from workbench.analysis.leaderboard import leaderboard
from workbench.analysis.report import write_figures, write_report
from workbench.analysis.report_latex import difference_table, leaderboard_table, report_latex
from workbench.analysis.stored_comparison import comparison_in
from workbench.analysis.tables import cost_table
from workbench.cli import app
from workbench.errors import StoreError
from workbench.presentation.display import estimate_text
from workbench.runs.provenance import Provenance

TARGETS = ["a", "b"] * 10
MADE_BY = Provenance(version="9.9", commit="0123456789abcdef", has_changes=False)


def flipped(number):
    return [("b" if t == "a" else "a") if i < number else t for i, t in enumerate(TARGETS)]


@pytest.fixture
def comparison(make_run, predict):
    runs = [make_run("majority_class", predict(["a"] * 20, TARGETS))]
    for seed in (0, 1):
        for name, wrong in (("zero_shot", 8), ("lora", 2)):
            given = predict(flipped(wrong + seed), TARGETS)
            runs.append(make_run(name, given, seed=seed, provenance=MADE_BY))
    return compare_runs(runs, reference="zero_shot")


def test_the_leaderboard_has_a_row_per_name_with_its_interval(comparison):
    columns, rows = leaderboard_table(comparison)
    ranked = leaderboard(comparison)

    assert columns[2:] == ["accuracy [95 %]", "vs zero_shot, points [95 %]", "p (Holm)"]
    assert [row[0] for row in rows] == ["lora (best)", "zero_shot", "majority_class (no base)"]
    assert [row[2] for row in rows] == [estimate_text(row.quality) for row in ranked]


def test_every_run_but_the_reference_has_its_difference(comparison):
    _, rows = difference_table(comparison)

    # Two seeds of LoRA, each against the reference's own seed; the baseline has one run of seed 0.
    assert [row[0] for row in rows] == ["majority_class", "lora, seed 0", "lora, seed 1"]
    assert rows[1][1].startswith("+30.0 [")
    assert rows[1][4:] == ["6", "0", "20"]


def test_captions_say_n_seeds_base_precision_commit_and_command(comparison):
    text = report_latex(comparison)

    assert text.count(r"\begin{table}") == 5
    facts = (
        r"n = 20 test items of toy\_task; seeds 0, 1; toy-base in nf4 (products in float32); "
        r"workbench version 9.9, commit 0123456789ab. "
        r"Made by: \texttt{workbench evaluate experiment.json}."
    )
    assert text.count(facts) == 5


def test_a_comparison_is_made_again_from_its_folder(comparison, make_run):
    folder = make_run.store.root
    write_report(comparison, folder)

    again = comparison_in(folder)

    assert (again.rows, again.details) == (comparison.rows, comparison.details)


def test_the_command_writes_figures_and_tables_beside_the_report(comparison, make_run):
    folder = make_run.store.root
    write_report(comparison, folder)

    done = CliRunner().invoke(app, ["figures", str(folder)])

    assert done.exit_code == 0, done.output
    names = {path.name for path in (folder / "figures").iterdir()}
    assert {"forest.png", "forest.svg", "forest.pdf", "tables.tex"} <= names
    caption = "n = 20 test items of toy_task; seeds 0, 1;"
    assert caption in (folder / "figures" / "forest.svg").read_text()
    assert (folder / "figures" / "tables.tex").read_text() == report_latex(comparison)


def test_a_folder_without_a_report_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"has no report\.json\. Give the folder of a finished"):
        comparison_in(tmp_path)


def test_a_run_that_is_gone_is_named(comparison, make_run):
    folder = make_run.store.root
    write_report(comparison, folder)
    gone = comparison.rows[1].run_id
    make_run.store.delete(gone)

    with pytest.raises(StoreError, match=f"its run {gone} is not here. Bring it back"):
        comparison_in(folder)


def test_nothing_is_written_where_nothing_may_be(comparison, tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError):
        write_figures(comparison, tmp_path / "file")


def test_costs_that_nothing_has_are_left_out_and_units_stand_in_the_head(comparison):
    columns, rows = cost_table(comparison)

    # The runs of these tests store nothing and train for 0 seconds.
    assert columns == ["row", "peak memory", "prompt tokens", "time per item, ms"]
    assert rows[0] == ["majority_class", "800.0 MB", "30.5", "12.2"]
