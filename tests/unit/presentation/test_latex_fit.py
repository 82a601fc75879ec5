"""How wide tables fit a page; where TeX is installed, TeX itself says whether they do."""

import re
import shutil
import subprocess

import pytest

from workbench.presentation.latex import LatexTable, latex_table, latex_tables
from workbench.presentation.latex_fit import TEXT_WIDTH, fitted

NAMES = ["majority_class", "nearest_neighbour_vote (no base)", "prompt_tuning", "lora (best)"]
LEADERBOARD = LatexTable(
    "Accuracy",
    ["row", "seeds", "accuracy [95 %]", "vs zero_shot, points [95 %]", "p (Holm)"],
    [[name, 1, "73.7 % [67.2, 79.4]", "+40.4 [+31.8, +49.0]", "<0.001"] for name in NAMES],
    "leaderboard",
)
WIDE = LatexTable(
    "Costs",
    ["row", *(f"a figure of kind {number}" for number in range(14))],
    [[name, *(1234.5 * number for number in range(14))] for name in NAMES],
    "costs",
)
LONG = LatexTable(
    "Tokens",
    ["vector", "nearest tokens", "norm", "started as"],
    [[slot, "␣customer ⏎ Customer W&M_x " * 4, 5.1, "the tokens of a sentence, " * 5]
     for slot in range(3)],
    "tokens",
)  # fmt: skip
SMALL = LatexTable("Two", ["row", "accuracy"], [["lora", 0.5], ["zero_shot", 0.25]], "two")


def parts_of(table):
    texts = [[str(cell) for cell in row] for row in table.rows]
    is_text = [not number or not re.search("[0-9]", cell) for number, cell in enumerate(texts[0])]
    return fitted(table.columns, texts, is_text)


def test_a_narrow_table_is_set_as_ever():
    (part,) = parts_of(SMALL)

    assert part.is_plain
    assert part.headings == (("row",), ("accuracy",))
    assert r"\tabcolsep" not in latex_table(SMALL)


def test_a_wider_one_has_broken_headings_and_smaller_letters():
    (part,) = parts_of(LEADERBOARD)

    assert part.size in ("small", "footnotesize", "scriptsize")
    assert part.headings[4] == ("p", "(Holm)")
    assert rf"\{part.size}" in latex_table(LEADERBOARD)
    assert r"\shortstack[r]{p\\(Holm)}" in latex_table(LEADERBOARD)


def test_one_that_fits_in_no_letters_becomes_several_with_all_columns():
    parts = parts_of(WIDE)

    assert len(parts) > 1
    assert all(part.places[0] == 0 for part in parts)
    assert [place for part in parts for place in part.places[1:]] == list(range(1, 15))
    written = latex_table(WIDE)
    assert re.findall(r"\\label\{(.*?)\}", written)[:2] == ["tab:costs", "tab:costs-2"]
    assert f"Costs, part 2 of {len(parts)}." in written


def test_columns_of_text_are_broken_into_lines_within_the_page():
    parts = parts_of(LONG)
    given = [width for part in parts for width in part.widths if width is not None]

    assert given
    assert sum(given) < TEXT_WIDTH * len(parts)
    assert written_p(latex_table(LONG)) == len(given)


def written_p(text):
    return len(re.findall(r"p\{[\d.]+pt\}", text))


def test_a_line_of_a_heading_that_begins_with_a_bracket_is_no_option_of_the_one_before():
    assert r"points\\{}[95 \%]}" in latex_table(LEADERBOARD)


@pytest.mark.parametrize("number", ["1, 7, 9", "0, 2, 3, 4, 5, 6, 8, 10, 11, 12, 13, 14, 16"])
def test_a_list_of_numbers_is_text(number):
    table = LatexTable("x", ["cluster", "which"], [["a", number], ["b", number]], "x")

    assert r"\begin{tabular}{ll}" in latex_table(table)


def test_tex_finds_no_line_wider_than_the_page(tmp_path):
    """The oracle: what pdfTeX says of boxes that are too wide, and of letters it does not know."""
    if shutil.which("pdflatex") is None:
        pytest.skip("no TeX")
    tables = latex_tables([LEADERBOARD, WIDE, LONG, SMALL])
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}" + "\n"
    (tmp_path / "d.tex").write_text(document + tables + r"\end{document}", encoding="utf-8")

    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "d.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=120,
    )

    assert done.returncode == 0, done.stdout[-2000:]
    assert re.findall(r"Overfull.*|Missing character.*", done.stdout) == []
