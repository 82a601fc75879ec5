"""LaTeX held against pylatexenc: what is read back is what was written, and nothing else."""

import re

import pytest
from pylatexenc.latex2text import LatexNodes2Text
from pylatexenc.latexwalker import LatexEnvironmentNode, LatexWalker

from workbench.presentation.caption import Caption
from workbench.presentation.latex import LatexTable, escape_latex, latex_table, latex_tables

SPECIAL = r"\ { } $ & # % _ ~ ^ < > | ` [ ] * @ ! ? ' = + -"
HOSTILE = [
    SPECIAL,
    r"\input{/etc/passwd} \write18{ls}",
    r"\\[1cm] \end{tabular}",
    "100 % & more \\",
    "$x^2$_{y}~#1",
    "{" * 5,
    "a\nb\r\nc",
    "x--y---z",
]
PACKAGE_COMMANDS = {"toprule", "midrule", "bottomrule"}
CAPTION = Caption(
    task="toy_task",
    num_items=1198,
    seeds=(1, 0, 1),
    base="a_base",
    precision="nf4",
    made_by=("version 0.1.0, commit abc",),
    command="workbench curve --sizes 0,8",
)


def table_of(rows, columns=None):
    names = columns or [f"c{place}" for place in range(len(rows[0]))]
    return LatexTable("What_it shows", names, rows, "toy-table")


def nodes_of(text):
    nodes, _, _ = LatexWalker(text, tolerant_parsing=False).get_latex_nodes()
    return nodes


def body_of(text):
    """Return the cells between the rules, as they are written."""
    inner = text[text.index(r"\midrule") + len(r"\midrule") : text.index(r"\bottomrule")]
    lines = [line for line in inner.strip().split("\n") if line]
    assert all(line.endswith(r" \\") for line in lines)
    return [re.split(r"(?<!\\) & ", line[: -len(r" \\")]) for line in lines]


@pytest.mark.parametrize("text", HOSTILE)
def test_escaped_text_reads_back_as_itself(text):
    escaped = escape_latex(text)

    plain = LatexNodes2Text(math_mode="text", strict_latex_spaces=True).nodelist_to_text(
        nodes_of(escaped)
    )
    # It reads the command for "^" as the accent alone.
    assert plain.replace("\N{MODIFIER LETTER CIRCUMFLEX ACCENT}", "^") == " ".join(text.split())


@pytest.mark.parametrize("character", SPECIAL.split())
def test_no_special_character_stands_alone(character):
    assert escape_latex(f"a{character}b") == {
        "\\": r"a\textbackslash{}b", "{": r"a\{b", "}": r"a\}b", "$": r"a\$b", "&": r"a\&b",
        "#": r"a\#b", "%": r"a\%b", "_": r"a\_b", "~": r"a\textasciitilde{}b",
        "^": r"a\textasciicircum{}b", "<": "a$<$b", ">": "a$>$b", "|": "a$|$b",
        "`": r"a\textasciigrave{}b",
    }.get(character, f"a{character}b")  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_stays_in_its_cell(text):
    written = latex_table(table_of([[text, text], ["x", "1.0"]], [text, "figure"]))

    (float_,) = nodes_of(written)
    assert isinstance(float_, LatexEnvironmentNode)
    assert float_.environmentname == "table"
    (tabular,) = [n for n in float_.nodelist if isinstance(n, LatexEnvironmentNode)]
    assert tabular.environmentname == "tabular"
    assert len(body_of(written)) == 2
    assert all(len(cells) == 2 for cells in body_of(written))


def test_a_row_that_begins_with_a_bracket_is_no_option_of_the_row_before():
    rows = body_of(latex_table(table_of([["x", "1"], ["[y]", "2"], ["*", "3"]])))

    assert [cells[0] for cells in rows] == ["x", "{}[y]", "{}*"]


def test_figures_of_a_column_have_their_points_below_each_other():
    cells = ["73.5 % [67.0, 79.1]", "9.0 % [4.1, 100.0]", "–", None, "failed"]
    rows = [[f"row {number}", cell] for number, cell in enumerate(cells)]

    shown = [row[1] for row in body_of(latex_table(table_of(rows)))]

    assert shown == [
        r"73.5 \% [67.0, \phantom{1}79.1]",
        r"\phantom{7}9.0 \% [\phantom{6}4.1, 100.0]",
        "--",
        "--",
        "failed",
    ]


def test_signs_thousands_and_missing_decimals_keep_their_room():
    rows = [["a", "+4.5", "1,234,567"], ["b", "-12", "89"], ["c", "0.0", "5"]]

    shown = body_of(latex_table(table_of(rows)))

    assert [row[1] for row in shown] == [
        r"\phantom{1}$+$4.5",
        r"$-$12\phantom{.5}",
        r"\phantom{1}\phantom{$-$}0.0",
    ]
    assert shown[1][2] == r"\phantom{1,234,5}89"


def test_columns_of_figures_stand_at_the_right_and_those_of_text_at_the_left():
    written = latex_table(
        table_of([["a", 1.5, "positive", "<0.001"], ["b", None, "negative", "–"]])
    )

    assert r"\begin{tabular}{lrlr}" in written


def test_the_caption_says_what_the_table_is_of_and_what_makes_it():
    written = latex_tables([table_of([["a", 1]]), table_of([["b", 2]])], CAPTION)

    facts = (
        r"What\_it shows. n = 1,198 test items of toy\_task; seeds 0, 1; a\_base in nf4; workbench "
        r"version 0.1.0, commit abc. Made by: \texttt{workbench curve -{}-sizes 0,8}."
    )
    assert written.count(rf"\caption{{{facts}}}") == 2
    assert written.startswith(r"% Needs \usepackage{booktabs}.")
    assert set(re.findall(r"\\(\w+rule)", written)) == PACKAGE_COMMANDS


@pytest.mark.parametrize("cells", [("#", "5"), ("x # y", "x 12 y"), ("1 # 2", "1 3 2")])
def test_a_hash_sign_is_no_figure(cells):
    rows = body_of(latex_table(table_of([["a", cells[0]], ["b", cells[1]]]), CAPTION))

    assert [escape_latex(cells[0]), escape_latex(cells[1])] == [row[1] for row in rows]
