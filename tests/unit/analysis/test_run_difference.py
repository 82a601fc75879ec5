"""Two runs down to the items: figures of statsmodels, the 2x2 table, and who answered what."""

import csv
import json

import pytest
from statsmodels.stats.contingency_tables import mcnemar
from typer.testing import CliRunner

from workbench.analysis.run_difference import difference_sheet, headline_of, hold_together
from workbench.cli import app
from workbench.errors import StoreError
from workbench.runs.labels import Label, write_label

TARGETS = ["a", "b"] * 20


def answers(wrong):
    return [("b" if t == "a" else "a") if i in wrong else t for i, t in enumerate(TARGETS)]


@pytest.fixture
def pair(make_run, predict):
    """Return two runs: 4 items only the first has right, 10 only the second, 2 neither."""
    sure = {"probabilities": {"a": 0.75, "b": 0.25}}
    first = make_run("zero_shot", predict(answers({*range(12)}), TARGETS, **sure)).run
    second = make_run("lora", predict(answers({10, 11, *range(20, 24)}), TARGETS)).run
    return first, second


def tables_of(sheet):
    return {table.title.partition(" (")[0]: table for table in sheet.tables}


def test_difference_and_fourfold_table_are_those_of_the_items(pair):
    found = hold_together(*pair)

    difference = found.difference
    assert (found.both_right, difference.wins, difference.losses, found.both_wrong) == (
        24,
        4,
        10,
        2,
    )
    assert difference.value == pytest.approx(-6 / 40)
    oracle = mcnemar([[24, 4], [10, 2]], exact=True).pvalue
    assert difference.p_value == pytest.approx(oracle)
    table = tables_of(difference_sheet(found, most_items=5))["Right and wrong"]
    assert [row[1:] for row in table.rows] == [[24, 4], [10, 2]]


def test_turned_round_it_is_the_same_difference_with_the_other_sign(pair):
    one, other = hold_together(*pair), hold_together(*pair[::-1])

    assert one.difference.value == -other.difference.value
    assert one.difference.p_value == other.difference.p_value
    assert {i.first.sample_id for i in one.items} == {i.first.sample_id for i in other.items}


def test_items_say_both_answers_the_right_one_and_probabilities(pair):
    sheet = difference_sheet(hold_together(*pair), most_items=3)

    table = tables_of(sheet)["Items answered differently"]
    assert len(table.rows) == 3
    assert table.note == "11 more are in the CSV and JSON files."
    assert table.rows[0] == ["item-20", "a", "a", "75.0 %", "b", "–", "won"]
    assert len(sheet.rows) == len(sheet.data["items"]) == 14
    won = dict(zip(sheet.columns, sheet.rows[0], strict=True))
    assert won["first_probability_of_target"] == 0.75
    assert won["second_probability"] is None


def test_what_would_settle_it_is_said_where_it_is_noise(pair):
    text = headline_of(hold_together(*pair))

    assert "-15.0 points [" in text
    assert "within noise (p 0.180). To tell 15.0 points apart at 80 % power, about" in text
    assert text.endswith("items are needed, and there were 40.")


def test_a_clear_difference_is_called_one(make_run, predict):
    bad = make_run("zero_shot", predict(answers({*range(30)}), TARGETS)).run
    good = make_run("lora", predict(TARGETS, TARGETS)).run

    assert "+75.0 points" in headline_of(hold_together(good, bad))
    assert "beyond noise (p below 0.001)." in headline_of(hold_together(good, bad))


def test_texts_are_held_together_by_their_scores(make_run, predict):
    task = {"kind": "generation"}
    texts = [f"text {number}" for number in range(6)]
    ours = predict(texts, texts, score=0.5)
    theirs = predict(texts[::-1], texts, score=0.25)
    first = make_run("zero_shot", ours, task=task).run
    second = make_run("lora", theirs, task=task).run

    sheet = difference_sheet(hold_together(first, second), most_items=9)

    assert "Right and wrong" not in tables_of(sheet)
    assert tables_of(sheet)["Items answered differently"].rows[0][2] == "text 0 (50)"


def test_runs_on_other_data_are_refused_in_one_message(pair, make_run, predict):
    other = make_run("lora", predict(TARGETS, TARGETS), task={"digest": "d2"}).run

    with pytest.raises(StoreError, match=r"are of different data \(task 'toy_task', d1, against"):
        hold_together(pair[0], other)
    with pytest.raises(StoreError, match="both are run"):
        hold_together(pair[0], pair[0])


def test_an_unfinished_run_is_refused(pair, make_run, predict):
    half = make_run("few_shot", predict(TARGETS, TARGETS), status="interrupted").run

    with pytest.raises(StoreError, match="not finished"):
        hold_together(pair[0], half)


def test_the_command_takes_names_and_writes_five_forms(pair, make_run, tmp_path):
    first, second = pair
    write_label(first.folder, Label("plain words"))
    out = tmp_path / "out"
    asked = ["difference", "plain words", second.spec.digest, "--items", "2"]
    asked += ["--runs", str(make_run.store.root), "--out", str(out)]

    done = CliRunner().invoke(app, asked, env={"COLUMNS": "200"})

    assert done.exit_code == 0, done.output
    assert "plain words against lora" in done.output
    files = {path.suffix: path for path in out.iterdir()}
    assert set(files) == {".html", ".md", ".tex", ".csv", ".json"}
    assert len(list(csv.reader(files[".csv"].read_text().splitlines()))) == 15
    assert json.loads(files[".json"].read_text())["both_wrong"] == 2
    assert r"\begin{tabular}" in files[".tex"].read_text()


def test_an_unknown_run_is_named(make_run, tmp_path):
    done = CliRunner().invoke(app, ["difference", "nobody", "x", "--runs", str(tmp_path)])

    assert isinstance(done.exception, StoreError)
    assert "difference: no run 'nobody' (looked below" in str(done.exception)
