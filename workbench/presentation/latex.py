r"""Tables as LaTeX: rules of booktabs, figures one below the other, foreign text as text.

A document needs `\usepackage{booktabs}` and nothing else. Letters beyond those of Western Europe
stay as they are: LuaLaTeX and XeLaTeX set them with a font that has them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from workbench.presentation.blocks import Cell
from workbench.presentation.caption import NO_CAPTION, Caption
from workbench.presentation.display import NOTHING, one_line
from workbench.presentation.latex_fit import Fitted, fitted

_COMMANDS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "`": r"\textasciigrave{}",
    '"': r"\char34{}",
    "\N{NO-BREAK SPACE}": "~",
    NOTHING: "--",
    "\N{EM DASH}": "---",
    "\N{MIDDLE DOT}": r"\textperiodcentered{}",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
    "\N{MINUS SIGN}": "$-$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{LESS-THAN OR EQUAL TO}": r"$\leq$",
    "\N{GREATER-THAN OR EQUAL TO}": r"$\geq$",
    "\N{CHECK MARK}": r"$\surd$",
    "\N{OPEN BOX}": r"\textvisiblespace{}",
    "\N{RETURN SYMBOL}": r"$\hookleftarrow$",
}
_SPECIAL = re.compile("|".join(map(re.escape, _COMMANDS)) + r"|(?<=-)(?=-)|(?<=')(?=')|(?<=,)(?=,)")
# A figure with its sign, its whole part and its decimals.
_NUMBER = re.compile(r"(?<![\w.])([+-]?)([0-9]+(?:,[0-9]{3})*)((?:\.[0-9]+)?)(?!\w)")
_FIGURE_FIRST = re.compile(r"[<+-]?[0-9]")
_LIST = re.compile(r"[0-9]+(?:, [0-9]+)+")  # of several, which may be broken as text is
_STARTS_AN_OPTION = ("[", "*")  # which the end of the row before would take for its own


@dataclass(frozen=True)
class LatexTable:
    """A table to be written.

    Attributes:
        title: What it shows, as the beginning of its caption.
        columns: Names of the columns.
        rows: One cell per column; those of figures stand at the right.
        label: What references call it, after "tab:"; letters, digits and dashes.
        note: What to know when reading it; follows the title.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    label: str
    note: str = ""


def escape_latex(text: str) -> str:
    """Return text as one line that LaTeX sets as it is: no command, no ligature of two signs."""
    return _escaped(one_line(text))


def latex_tables(tables: Sequence[LatexTable], caption: Caption = NO_CAPTION) -> str:
    """Return tables one after the other, each with the same facts in its caption."""
    head = r"% Needs \usepackage{booktabs}. Other scripts than Latin need LuaLaTeX or XeLaTeX."
    return "\n\n".join([head, *(latex_table(table, caption) for table in tables)]) + "\n"


def latex_table(table: LatexTable, caption: Caption = NO_CAPTION) -> str:
    """Return a table as a float: caption above, rules of booktabs, figures aligned.

    One that is too wide for a page is set smaller, or as several floats, see `fitted`.
    """
    sides = [_side(place, table.rows) for place in range(len(table.columns))]
    names = [one_line(name) for name in table.columns]
    parts = fitted(names, _texts(table.rows), [side == "l" for side in sides])
    cells, floats = _aligned(table.rows), []
    for number, part in enumerate(parts):
        own = table
        if len(parts) > 1:
            title = f"{table.title.rstrip('. ')}, part {number + 1} of {len(parts)}"
            label = f"{table.label}-{number + 1}" if number else table.label
            own = replace(table, title=title, label=label)
        floats.append(_float(own, part, sides, cells, caption))
    return "\n\n".join(floats)


def _float(
    table: LatexTable,
    part: Fitted,
    sides: Sequence[str],
    cells: Sequence[Sequence[str]],
    caption: Caption,
) -> str:
    places = "".join(
        sides[place] if width is None else f"p{{{width:g}pt}}"
        for place, width in zip(part.places, part.widths, strict=True)
    )
    headings = [
        _heading(lines, sides[place])
        for place, lines in zip(part.places, part.headings, strict=True)
    ]
    size = rf"\{part.size}" if part.size else ""
    # After \raggedright, "\\" in the last cell would end a line there.
    end = r"\\" if part.widths == (None,) * len(part.widths) else r"\tabularnewline"
    lines = [
        r"\begin{table}[htbp]",
        r"\centering",
        r"\setlength{\belowcaptionskip}{6pt}",
        rf"\caption{{{_caption(table, caption)}}}",
        rf"\label{{tab:{table.label}}}",
        *([] if part.is_plain else [rf"{size}\setlength{{\tabcolsep}}{{{part.gap:g}pt}}"]),
        rf"\begin{{tabular}}{{{places}}}",
        r"\toprule",
        _row(headings),
        r"\midrule",
        *(_row(_own_cells(row, part), end=end) for row in cells),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _own_cells(row: Sequence[str], part: Fitted) -> list[str]:
    return [
        row[place] if width is None else rf"\raggedright {row[place]}"
        for place, width in zip(part.places, part.widths, strict=True)
    ]


def _heading(lines: Sequence[str], side: str) -> str:
    """Return a heading, its lines one on top of the other."""
    shown = [escape_latex(line) for line in lines]
    if len(shown) == 1:
        return shown[0]
    guarded = ["{}" + line if line.startswith(_STARTS_AN_OPTION) else line for line in shown]
    stacked = r"\\".join(guarded)
    return rf"\shortstack[{side}]{{{stacked}}}"


def _escaped(line: str) -> str:
    """Return a line, or a part of one with the spaces at its ends, as LaTeX sets it."""
    return _SPECIAL.sub(lambda found: _COMMANDS.get(found[0], "{}"), line)


def _caption(table: LatexTable, caption: Caption) -> str:
    title = table.title.rstrip(". ")
    parts = [escape_latex(f"{title}."), escape_latex(table.note), escape_latex(caption.facts)]
    if caption.command:
        parts.append(rf"Made by: \texttt{{{escape_latex(caption.command)}}}.")
    return " ".join(part for part in parts if part)


def _side(place: int, rows: Sequence[Sequence[Cell]]) -> str:
    """Return "r" for a column of figures and "l" for one of text, as the first always is."""
    known = [str(row[place]) for row in rows if row[place] not in (None, "", NOTHING)]
    figures = [one for one in known if _FIGURE_FIRST.match(one) and not _LIST.fullmatch(one)]
    return "r" if place and len(figures) > len(known) / 2 else "l"


def _row(cells: Sequence[str], *, end: str = r"\\") -> str:
    line = " & ".join(cells)
    guard = "{}" if line.startswith(_STARTS_AN_OPTION) else ""
    return f"{guard}{line} {end}"


def _texts(rows: Sequence[Sequence[Cell]]) -> list[list[str]]:
    return [[NOTHING if cell is None else one_line(str(cell)) for cell in row] for row in rows]


def _aligned(rows: Sequence[Sequence[Cell]]) -> list[list[str]]:
    """Return the cells escaped; figures of a column have their points below each other."""
    columns = list(zip(*_texts(rows), strict=True))
    shown = [[_escaped(text) for text in column] for column in columns[:1]]
    shown += [_padded(column) for column in columns[1:]]
    return [list(row) for row in zip(*shown, strict=True)]


def _padded(column: Sequence[str]) -> list[str]:
    """Return a column's cells, those of one form with their figures padded to one width each.

    Cells are of one form if they differ in figures alone: "73.5 % [67.0, 79.1]".
    """
    forms: dict[tuple[str, ...], list[int]] = {}  # by what stands between the figures
    for place, text in enumerate(column):
        forms.setdefault(tuple(_NUMBER.split(text)[:: 1 + _NUMBER.groups]), []).append(place)
    found = [_escaped(text) for text in column]
    for places in forms.values():
        figures = [_NUMBER.findall(column[place]) for place in places]
        widest = [_widest(same) for same in zip(*figures, strict=True)]
        for place, own in zip(places, figures, strict=True):
            between = _NUMBER.split(column[place])[:: 1 + _NUMBER.groups]
            parts = [_escaped(between[0])]
            for figure, width, after in zip(own, widest, between[1:], strict=True):
                parts += [_figure(figure, width), _escaped(after)]
            found[place] = "".join(parts)
    return found


def _widest(figures: Sequence[tuple[str, str, str]]) -> tuple[str, str, str]:
    """Return the longest sign, whole part and decimals."""
    sign, whole, decimals = (max(part, key=len) for part in zip(*figures, strict=True))
    return sign, whole, decimals


def _figure(figure: tuple[str, str, str], widest: tuple[str, str, str]) -> str:
    """Return a figure with as much empty room around it as the widest of its place takes."""
    (sign, whole, decimals), (any_sign, longest, most) = figure, widest
    before = longest[: len(longest) - len(whole)]
    after = most[len(decimals) :]
    signs = f"${sign}$" if sign else r"\phantom{$-$}" if any_sign else ""
    left = rf"\phantom{{{before}}}" if before else ""
    right = rf"\phantom{{{after}}}" if after else ""
    return f"{left}{signs}{whole}{decimals}{right}"
