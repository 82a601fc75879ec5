"""CSV as spreadsheets and databases write it: read as meant, or refused in one sentence."""

import csv
import io
import random
from pathlib import Path

import pandas as pd
import pytest

from workbench.errors import TaskError
from workbench.tasks.files import read_rows, read_table


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative names, so that whole messages can be written out."""
    monkeypatch.chdir(tmp_path)


def written(content: str, name: str = "a.csv") -> Path:
    path = Path(name)
    path.write_bytes(content.encode())
    return path


TWO_ROWS = [{"text": "warm, but dear", "label": "pos"}, {"text": "cold", "label": "neg"}]

AS_MEANT = {
    "semicolons, commas in some texts": "text;label\nwarm, but dear;pos\ncold;neg\n",
    "semicolons and a decimal comma in every row": (
        "text;label;score\nwarm, but dear;pos;0,5\ncold;neg;1,25\n"
    ),
    "tabs in a .csv": "text\tlabel\nwarm, but dear\tpos\ncold\tneg\n",
    "bars": "text|label\nwarm, but dear|pos\ncold|neg\n",
    "unnamed empty columns": 'text,label,,\n"warm, but dear",pos,,\ncold,neg,,\n',
    "an unnamed empty column between": 'text,,label,\n"warm, but dear",,pos,\ncold, ,neg,\n',
    "a separator at the end of every row": 'text,label\n"warm, but dear",pos,\ncold,neg,\n',
    "separators at the end of some rows": 'text,label\n"warm, but dear",pos,,\ncold,neg\n',
    "a line that names the comma": 'sep=,\ntext,label\n"warm, but dear",pos\ncold,neg\n',
    "a line that names the semicolon": "sep=;\r\ntext;label\r\nwarm, but dear;pos\r\ncold;neg\r\n",
    "a line that names the tab": "sep=\t\ntext\tlabel\nwarm, but dear\tpos\ncold\tneg\n",
    "old Mac line ends": 'text,label\r"warm, but dear",pos\rcold,neg\r',
    "a space before the quote": 'text, label\n "warm, but dear", "pos"\n "cold", "neg"\n',
    "an invisible character in the header": (
        '"text\u200b",\u2060label\n"warm, but dear",pos\ncold,neg\n'
    ),
}


@pytest.mark.parametrize("case", AS_MEANT)
def test_a_table_is_read_as_it_was_meant(case: str) -> None:
    rows = read_rows(written(AS_MEANT[case]))

    assert [{name: row[name] for name in ("text", "label")} for row in rows] == TWO_ROWS


def test_a_tsv_with_commas_is_read_and_says_so() -> None:
    table = read_table(written('text,label\n"warm, but dear",pos\ncold,neg\n', "a.tsv"))

    assert table.rows == TWO_ROWS
    assert table.notes == ["a.tsv: read with ',' between the cells."]


def test_an_ordinary_file_has_nothing_to_say() -> None:
    assert read_table(written('text,label\n"warm; dear",pos\ncold,neg\n')).notes == []


def test_places_count_the_line_that_names_the_separator() -> None:
    assert read_table(written('sep=,\ntext,label\n"a\nb",pos\n\nc,neg\n')).places == [3, 6]


def test_lines_are_counted_with_old_line_ends() -> None:
    assert read_table(written("text,label\ra,pos\r\rb,neg\r")).places == [2, 4]


BACKSLASHES = {
    "before a word": r'"he said \"soup\" twice",pos',
    "before a comma": r'"he said \"soup\", twice",pos',
    "at the end": r'"he said \"soup\"",pos',
    "with doubled backslashes": r'"the path C:\\soup is \"his\"",pos',
    "beside doubled quotes": r'"he said \"soup\" and ""stew""",pos',
}


@pytest.mark.parametrize("case", BACKSLASHES)
def test_escaped_quotes_are_read_as_pandas_reads_them_when_told(case: str) -> None:
    content = f'text,label\n"plain ""one""",neg\n{BACKSLASHES[case]}\n"cold",neg\n'
    oracle = pd.read_csv(io.StringIO(content), escapechar="\\", dtype=str)

    table = read_table(written(content))

    assert table.rows == oracle.to_dict("records")
    assert len(table.notes) == 1
    assert r"\"" in table.notes[0]


def test_a_cell_that_ends_in_a_backslash_is_left_alone() -> None:
    content = 'text,label\n"C:\\",pos\n"a ""b"" \\",neg\n'

    assert read_rows(written(content)) == [
        {"text": "C:\\", "label": "pos"},
        {"text": 'a "b" \\', "label": "neg"},
    ]


REFUSED = {
    "a quote that is not doubled": (
        'text,label\nplain,neg\n"he said "soup" twice",pos\n',
        "a.csv, line 3: a quoted cell goes on after its closing quote. Inside a quoted cell write "
        'each quote twice ("").',
    ),
    "escaped quotes beside other backslashes": (
        'text,label\n"he said \\"soup\\" in C:\\new",pos\n',
        "a.csv, line 2: a quoted cell goes on after its closing quote. Inside a quoted cell write "
        'each quote twice ("").',
    ),
    "two separators fit": (
        "text;label,score\na;b,1\nc;d,2\n",
        "a.csv: ',' and ';' both split every line into as many cells as the header. Say which one "
        "it is: --separator, or a first line sep=, in the file.",
    ),
    "unnamed columns with content": (
        "text,label,,\na,pos,1,2\nb,neg,,\n",
        "a.csv: columns 3, 4 have content and no name in the header. Name them.",
    ),
    "more cells, one of them with content": (
        "text,label\na,pos,,x\n",
        "a.csv: line 2 has 4 cells, the header 2. "
        "Put cells that hold the separator in double quotes.",
    ),
    "semicolons and one line too long": (
        "text;label\na;b\na;b;c\n",
        "a.csv: line 3 has 3 cells, the header 2. "
        "Put cells that hold the separator in double quotes.",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_with_certainty_is_refused(case: str) -> None:
    content, message = REFUSED[case]

    with pytest.raises(TaskError) as error:
        read_rows(written(content))

    assert str(error.value) == message


def test_a_separator_that_is_given_decides() -> None:
    path = written("text;label,score\na;b,1\nc;d,2\n")

    assert read_table(path, separator=",").rows[0] == {"text;label": "a;b", "score": "1"}
    assert read_table(path, separator=";").rows[0] == {"text": "a", "label,score": "b,1"}


def test_one_unnamed_column_with_content_stays() -> None:
    """As `DataFrame.to_csv` writes an index."""
    assert read_rows(written(",text,label\n0,a,pos\n")) == [{"": "0", "text": "a", "label": "pos"}]


def test_a_cell_may_be_longer_than_the_readers_own_limit() -> None:
    long = "many words " * 100_000

    assert read_rows(written(f'text,label\n"{long}",pos\n')) == [{"text": long, "label": "pos"}]


PIECES = ["a", "b c", ",", ";", '"', "\n", "\r\n", " ", "\\", "\t", "é", "'", ""]


def test_what_the_csv_module_and_pandas_write_comes_back() -> None:
    """Random tables, written by two other programs' rules, come back cell by cell."""
    rng = random.Random(0)
    for number in range(300):
        cells = [
            ["".join(rng.choices(PIECES, k=rng.randint(1, 6))) for _ in range(3)] for _ in range(4)
        ]
        frame = pd.DataFrame([["x", *row] for row in cells], columns=["key", "text", "label", "n"])
        buffer = io.StringIO()
        if number % 2:
            frame.to_csv(buffer, index=False)
        else:
            quoting = csv.QUOTE_ALL if number % 4 else csv.QUOTE_MINIMAL
            writer = csv.writer(buffer, quoting=quoting)
            writer.writerows([list(frame.columns), *frame.to_numpy().tolist()])

        assert read_rows(written(buffer.getvalue())) == frame.to_dict("records"), buffer.getvalue()


def test_ordinary_files_are_read_as_pandas_reads_them() -> None:
    """The cells a file of before gave are the cells it gives."""
    rng = random.Random(1)
    for _ in range(200):
        lines = ["text,label,n"]
        for _ in range(4):
            raw = ["".join(rng.choices(["a", " b", "c;", "5'", "é"], k=3)) for _ in range(2)]
            quoted = '"' + "".join(rng.choices(["a", ",", '""', "\n", " "], k=4)) + '"'
            lines.append(",".join(rng.sample([*raw, quoted], 3)))
        content = "\n".join(lines) + "\n"
        oracle = pd.read_csv(
            io.StringIO(content), dtype=str, keep_default_na=False, skip_blank_lines=False
        )

        assert read_rows(written(content)) == oracle.to_dict("records")
