"""Cells survive a spreadsheet: no formula runs, numbers stay numbers, every text can be written."""

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from workbench.presentation.spreadsheet import csv_text, safe_cell

FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001 - wide forms count too
TEXTS = st.one_of(st.text(), st.text(alphabet="=+-@\t\r\n ,\"'a"))


@given(text=TEXTS)
def test_no_text_is_taken_for_a_formula(text):
    cell = safe_cell(text)

    assert not cell.startswith(FORMULA_STARTS)
    assert not cell.strip().startswith(tuple("=+-@"))
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    assert cell in (plain, f"'{plain}")


@given(rows=st.lists(st.lists(TEXTS, min_size=2, max_size=2), max_size=4))
def test_a_reader_gets_the_safe_cells_back(rows):
    text = csv_text(["a", "b"], rows)

    found = list(csv.reader(io.StringIO(text, newline="")))

    assert found == [["a", "b"], *[[safe_cell(cell) for cell in row] for row in rows]]


def test_numbers_and_gaps_stay_what_they_are():
    assert csv_text(["=x"], [[-1.5], [None], [3]]) == '\'=x\n-1.5\n""\n3\n'


def test_a_carriage_return_starts_no_line():
    assert csv_text(["a"], [["x\r=1+1"]]) == 'a\n"x\n=1+1"\n'


def test_lone_surrogates_can_be_written_to_a_file():
    assert safe_cell("a\ud800").encode() == b"a\\ud800"
