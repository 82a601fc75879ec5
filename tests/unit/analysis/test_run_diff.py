"""One run in facts, two specs and two records side by side."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs import spec_of
from workbench.analysis.run_diff import FigurePair, diff_records, diff_specs, run_summary
from workbench.estimates import Estimate
from workbench.runs.provenance import Provenance
from workbench.runs.store import RunRecord

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.sampled_from([0.5, 1.0, "1", "null", "x"])
)
OPTIONS = st.dictionaries(
    st.sampled_from(["rank", "a.b", "a"]),
    st.one_of(
        SCALARS,
        st.lists(SCALARS, max_size=2),
        st.dictionaries(st.sampled_from(["b", "c"]), SCALARS, max_size=2),
    ),
    max_size=3,
)


@given(first=OPTIONS, second=OPTIONS)
def test_specs_without_a_difference_have_one_digest(first, second):
    one, other = spec_of(options=first), spec_of(options=second)

    found = diff_specs(one, other)

    assert (found == []) == (one.digest == other.digest)
    assert all(difference.first != difference.second for difference in found)


@given(first=OPTIONS, second=OPTIONS)
def test_turning_the_specs_round_turns_the_values_round(first, second):
    one, other = spec_of(options=first), spec_of(options=second)

    there = {(d.key, d.first, d.second) for d in diff_specs(one, other)}
    back = {(d.key, d.second, d.first) for d in diff_specs(other, one)}

    assert there == back


def test_differences_stand_in_the_order_of_the_spec():
    first = spec_of(
        base={"name": "toy", "precision": "nf4"},
        options={"rank": 8, "inner": {"alpha": 16, "same": 1}, "text": "two\nlines"},
    )
    second = spec_of(
        base={"name": "toy", "precision": "fp32"},
        template={"name": "plain", "chat": True},
        options={"inner": {"alpha": 32, "same": 1}, "rank": 4, "new": None},
        seed=3,
    )

    found = [(d.key, d.first, d.second) for d in diff_specs(first, second)]

    assert found == [
        ("base.precision", "nf4", "fp32"),
        ("template.chat", "false", "true"),
        ("options.rank", "8", "4"),
        ("options.inner.alpha", "16", "32"),
        ("options.text", "two lines", "–"),
        ("options.new", "–", "null"),
        ("seed", "0", "3"),
    ]


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [("1", 1, ('"1"', "1")), (1, 1.0, ("1", "1.0")), ("–", None, ("–", "null"))],
)
def test_values_of_different_kinds_look_different(first, second, shown):
    (found,) = diff_specs(spec_of(options={"x": first}), spec_of(options={"x": second}))
    assert (found.first, found.second) == shown


def record_of(**changes):
    given_parts = {
        "run_id": "r",
        "row": "lora",
        "status": "finished",
        "source": "here",
        "started": "2026-01-01T00:00:00+00:00",
    }
    return RunRecord(**(given_parts | changes))


def test_records_show_every_figure_of_either():
    first = record_of(
        metrics={"accuracy": Estimate(0.5, 0.25, 0.75, 10, 0)},
        cost={"trained_parameters": 0, "learning_rate": None},
    )
    second = record_of(
        metrics={
            "accuracy": Estimate(0.75, 0.5, 1.0, 10, 0),
            "calibration_error": Estimate(0.1, None, None, 1, 0),
        },
        cost={"trained_parameters": 0, "learning_rate": 0.003, "train_seconds": 12.5},
    )

    found = diff_records(first, second)

    assert found == [
        FigurePair("accuracy", "50.0 % [25.0, 75.0]", "75.0 % [50.0, 100.0]"),
        FigurePair("calibration error", "–", "10.0 %"),
        FigurePair("trained parameters", "0", "0"),
        FigurePair("learning rate", "–", "0.003"),
        FigurePair("training time", "–", "12.5 s"),
    ]
    assert [pair.is_equal for pair in found] == [False, False, True, False, False]


def test_records_name_the_code_that_made_them():
    ours = Provenance(version="1.0", commit="0123456789abcdef", has_changes=True)
    theirs = Provenance(version="1.0")
    text = "version 1.0, commit 0123456789ab, with changes"

    def made_by(first, second):
        return diff_records(record_of(provenance=first), record_of(provenance=second))

    assert made_by(ours, None) == [FigurePair("workbench", text, "–")]
    assert made_by(theirs, ours) == [FigurePair("workbench", "version 1.0, commit unknown", text)]


def test_records_of_nothing_have_no_figures():
    assert diff_records(record_of(), record_of()) == []


def facts_of(run):
    facts = run_summary(run)
    assert len({fact.name for fact in facts}) == len(facts)
    return {fact.name: fact.value for fact in facts}


def test_a_finished_run_says_what_it_is(make_run, predict):
    run = make_run(
        "lora",
        predict(["a", "b"], ["a", "a"]),
        options={"rank": 8, "targets": "attention"},
        finished="2026-01-01T00:01:00+00:00",
        provenance=Provenance(version="1.0", commit="0123456789abcdef", has_changes=False),
    ).run
    facts = facts_of(run)
    assert facts["status"] == "finished"
    assert facts["method"] == "lora"
    assert facts["options"] == '"rank": 8, "targets": "attention"'
    assert facts["base"] == "toy-base, nf4, products in float32, on cpu"
    assert facts["weights from"] == "local folder"
    assert facts["items"] == "20 train / 10 dev / 2 test"
    assert facts["template"] == "name plain, version 1, digest t1, chat False"
    assert facts["accuracy"] == "50.0 % [9.5, 90.5]"
    assert facts["peak memory"] == "800.0 MB"
    assert facts["environment"] == "torch 2.9, threads 2"
    assert facts["workbench"] == "version 1.0, commit 0123456789ab"
    assert facts["finished"] == "2026-01-01T00:01:00+00:00"
    assert "error" not in facts


def test_an_unfinished_run_has_gaps(make_run, predict):
    run = make_run(
        "lora", predict([], []), status="running", metrics={}, cost={}, environment={}, dropped={}
    ).run
    facts = facts_of(run)
    assert (facts["status"], facts["finished"]) == ("running", "–")
    assert facts["rows dropped"] == "none"
    assert not {"accuracy", "trained parameters", "environment", "workbench"} & set(facts)


def test_a_failed_run_says_why_in_safe_lines(make_run, predict):
    run = make_run(
        "lora",
        predict([], []),
        status="failed",
        source="\u202ehere\nand there",
        error="Traceback:\n  line 1\x1b[31m\nValueError: x\n",
    ).run
    facts = facts_of(run)
    assert facts["error"] == "Traceback:\nline 1U+001B[31m\nValueError: x"
    assert facts["weights from"] == "U+202Ehere and there"
