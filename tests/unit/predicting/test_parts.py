"""Answers on the way: sealed chunk by chunk, gone on from, never mixed with others."""

import json

import pytest

from damages import DAMAGES
from workbench.errors import StoreError
from workbench.predicting.chunks import RowAnswer
from workbench.predicting.parts import are_begun, begin_parts, parts_folder

HEADER = {"run": "r1", "rows file": "aa", "columns": {"text": "text"}, "number of rows": 3}
ANSWERS = [
    RowAnswer("good", None, (0.1 + 0.2, 0.7)),
    RowAnswer(None, "no text in column 'text'"),
    RowAnswer("line\u2028separator\n", None, None, is_truncated=True),
]


def test_what_is_written_comes_back_to_the_last_bit(tmp_path):
    out = tmp_path / "new" / "answers.csv"
    assert not are_begun(out)
    begin_parts(out, HEADER).write(12, ANSWERS)

    parts = begin_parts(out, dict(HEADER))

    assert are_begun(out)
    assert parts.read(12) == ANSWERS
    assert parts.read(13) is None
    assert (parts_folder(out) / "0000012.jsonl").is_file()


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_torn_part_counts_as_none_and_is_made_again(damage, tmp_path):
    parts = begin_parts(tmp_path / "a.csv", HEADER)
    parts.write(0, ANSWERS)

    damage(parts.folder / "0000000.jsonl")

    assert parts.read(0) is None
    parts.write(0, ANSWERS)
    assert parts.read(0) == ANSWERS


def test_a_part_of_another_chunk_or_run_is_not_taken(tmp_path):
    parts = begin_parts(tmp_path / "a.csv", HEADER)
    other = begin_parts(tmp_path / "b.csv", HEADER | {"run": "r2"})
    other.write(0, ANSWERS)
    parts.write(1, ANSWERS)

    for found in (other.folder / "0000000.jsonl", parts.folder / "0000001.jsonl"):
        (parts.folder / "0000000.jsonl").write_bytes(found.read_bytes())
        assert parts.read(0) is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"run": "r2"}, "another run (r1, now r2)"),
        ({"columns": {"text": "b"}}, 'another columns ({"text": "text"}, now {"text": "b"})'),
        (
            {"number of rows": 4, "run": "x"},
            "another run (r1, now x); another number of rows (3, n",
        ),
    ],
)
def test_parts_of_another_ask_are_kept_and_refused(changed, said, tmp_path):
    out = tmp_path / "a.csv"
    begin_parts(out, HEADER).write(0, ANSWERS)

    with pytest.raises(StoreError) as error:
        begin_parts(out, HEADER | changed)

    assert said in str(error.value)
    assert "Ask the same to go on, delete it to begin anew" in str(error.value)
    assert begin_parts(out, HEADER).read(0) == ANSWERS


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name != "missing"])
def test_a_torn_header_is_named_with_the_way_out(damage, tmp_path):
    out = tmp_path / "a.csv"
    begin_parts(out, HEADER)

    DAMAGES[damage](parts_folder(out) / "header.json")

    with pytest.raises(StoreError, match=r"a\.csv\.parts: cannot be gone on from .*Delete it"):
        begin_parts(out, HEADER)


def test_parts_of_another_version_are_refused(tmp_path):
    out = tmp_path / "a.csv"
    begin_parts(out, HEADER | {"new": 1})

    with pytest.raises(StoreError, match="another version of the workbench"):
        begin_parts(out, HEADER)


def test_removed_parts_are_gone(tmp_path):
    parts = begin_parts(tmp_path / "a.csv", HEADER)
    parts.write(0, ANSWERS)

    parts.remove()

    assert list(tmp_path.iterdir()) == []


def test_a_part_is_a_line_for_each_row_after_its_digest(tmp_path):
    parts = begin_parts(tmp_path / "a.csv", HEADER)

    parts.write(0, ANSWERS[:2])

    first, *lines = (parts.folder / "0000000.jsonl").read_text().splitlines()
    assert list(json.loads(first)) == ["digest"]
    assert [json.loads(line) for line in lines] == [
        {"answer": "good", "probabilities": [0.1 + 0.2, 0.7]},
        {"error": "no text in column 'text'"},
    ]
