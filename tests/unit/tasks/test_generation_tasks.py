"""Tasks that ask for a text: several references, equal inputs, digests, and the made-up replies."""

import json
from pathlib import Path

import pytest

from workbench.errors import TaskError
from workbench.tasks.base import DroppedRows, Sample, Task, TaskSource
from workbench.tasks.catalog import load_task, task_from_files
from workbench.tasks.formal_replies import MATTERS, generate_replies
from workbench.tasks.rows import ColumnMapping
from workbench.tasks.splits import make_splits

E2E = Path(__file__).parents[4] / "shared" / "data" / "e2e_nlg"
MAPPING = ColumnMapping(text="source", label="target", references="references")


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def rows_of(num: int, **more: object) -> list[dict[str, object]]:
    return [{"source": f"name {i}", "target": f"It is {i} .", **more} for i in range(num)]


def load(*paths: Path, **more: object) -> Task:
    train, *test = paths
    return task_from_files(
        train, test=test[0] if test else None, mapping=MAPPING, kind="generation", **more
    )


def test_a_file_with_references_has_them_and_one_without_has_the_target(tmp_path):
    train = write(tmp_path / "train.jsonl", rows_of(10))
    test = [
        {"source": "x", "target": "X .", "references": ["X .", "An x .", "X ."]},
        {"source": "y", "target": "Y .", "references": ["A y ."]},
        {"source": "z", "target": "Z .", "references": None},
    ]

    task = load(train, write(tmp_path / "test.jsonl", test))

    assert task.labels == ()
    assert [sample.all_references for sample in task.test] == [
        ("X .", "An x ."), ("Y .", "A y ."), ("Z .",)
    ]  # fmt: skip
    assert {sample.references for sample in task.train} == {()}


def test_references_in_csv_are_json(tmp_path):
    path = tmp_path / "rows.csv"
    lines = ["source,target,references"]
    lines += [f'name {i},It is {i},"[""It is {i}"", ""This is {i}""]"' for i in range(10)]
    path.write_text("\n".join(lines), encoding="utf-8")

    task = load(path)

    assert {len(sample.references) for sample in task.train} == {2}


@pytest.mark.parametrize("cell", [{"a": 1}, [["nested"]], "[not json"])
def test_a_cell_that_is_no_list_of_texts_is_named(tmp_path, cell):
    rows = [*rows_of(9, references=["a"]), {"source": "last", "target": "t", "references": cell}]

    with pytest.raises(TaskError, match=r"no list of texts in column 'references' \(line 10\)"):
        load(write(tmp_path / "rows.jsonl", rows))


def test_a_column_of_references_that_no_file_has_is_refused(tmp_path):
    with pytest.raises(TaskError, match="unknown column 'references'"):
        load(write(tmp_path / "rows.jsonl", rows_of(10)))


def test_rows_with_one_text_become_one_sample_with_several_references():
    given = [
        Sample("1", {"text": "A  b"}, "first"),
        Sample("2", {"text": "c"}, "only"),
        Sample("3", {"text": "a B"}, "second"),
        Sample("4", {"text": "a b"}, "first"),
    ]
    other = [Sample(f"t{i}", {"text": f"t{i}"}, "x") for i in range(2)]

    splits = make_splits(
        given, dev=other[:1], test=other[1:], seed=0, stratify=False, joins_texts=True
    )

    assert [(s.id, s.target, s.references) for s in splits.train] == [
        ("1", "first", ("first", "second")),
        ("2", "only", ()),
    ]
    assert splits.dropped.counts == {
        "train: joined to an earlier row with the same text": 1,
        "train: duplicate text": 1,
    }
    apart = make_splits(given, dev=other[:1], test=other[1:], seed=0, stratify=False)
    assert [sample.id for sample in apart.train] == ["2"]


def task_of(sample: Sample) -> Task:
    return Task(
        name="toy", kind="generation", labels=(), field_names=("text",), train=(sample,), dev=(),
        test=(), source=TaskSource("embedded", "here", "none"), dropped=DroppedRows({}),
    )  # fmt: skip


def test_references_change_the_digest_and_their_absence_does_not():
    plain = Sample("1", {"text": "a"}, "b")
    more = Sample("1", {"text": "a"}, "b", references=("b", "c"))

    assert task_of(plain).digest != task_of(more).digest
    assert load_task("arithmetic").digest == "e29e54ed2ad2b8d9"
    assert load_task("support_intents").digest == "ef872bb62d2315f7"


def test_the_replies_repeat_and_every_note_has_two_references_with_its_name_and_thing():
    samples = generate_replies(300, seed=0)

    assert generate_replies(50, seed=0) == samples[:50]
    assert generate_replies(50, seed=1) != samples[:50]
    assert len({sample.fields["text"] for sample in samples}) == 300
    for sample in samples:
        name = sample.target.removeprefix("Dear ").split(",")[0]
        assert name in sample.fields["text"]
        assert len(set(sample.references)) == 2
        assert sample.references[0] == sample.target
        assert all("{" not in text and text.startswith("Dear ") for text in sample.references)


def test_every_matter_says_the_same_things_in_all_its_wordings():
    for matter in MATTERS:
        for word in ("{good}", "{day}", "{number}"):
            found = [word in text for text in (*matter.notes, matter.formal, matter.other)]
            assert len(set(found)) == 1, (matter.formal, word)


def test_more_replies_than_there_are_are_refused(monkeypatch):
    monkeypatch.setattr("workbench.tasks.formal_replies.NAMES", ("Ada",))
    monkeypatch.setattr("workbench.tasks.formal_replies.GOODS", ("tent",))
    monkeypatch.setattr("workbench.tasks.formal_replies.DAYS", ("Monday",))
    with pytest.raises(ValueError, match="ask for fewer"):
        generate_replies(5000, seed=0)
    with pytest.raises(ValueError, match="0 or more"):
        generate_replies(-1, seed=0)


@pytest.mark.skipif(not E2E.is_dir(), reason="the shared real data is not here")
def test_e2e_has_one_sample_per_table_and_the_human_references_in_test():
    task = load(E2E / "train.jsonl", E2E / "dev.jsonl", limit_test=50)

    tables = [tuple(sample.fields.values()) for sample in (*task.train, *task.dev, *task.test)]
    assert len(set(tables)) == len(tables)
    lines = (E2E / "dev.jsonl").read_text(encoding="utf-8").split("\n")
    given = {row["source"]: row["references"] for row in map(json.loads, filter(None, lines))}
    for sample in task.test:
        assert list(sample.references or (sample.target,)) == list(
            dict.fromkeys(given[sample.fields["text"]])
        )
    assert sum(len(sample.references) > 1 for sample in task.train) > len(task.train) / 2
