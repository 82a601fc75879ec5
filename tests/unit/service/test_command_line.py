"""The command that a page prints does in a terminal exactly what the page does."""

import shlex
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench import cli
from workbench.commands import ask
from workbench.commands.shared import running
from workbench.methods.catalog import method_class
from workbench.runs.experiment import Experiment, TaskChoice
from workbench.service.command_line import ask_command, evaluate_command
from workbench.workers.placing import HERE

OUT = Path("/srv/out")

numbers = st.floats(1e-12, 1e12) | st.sampled_from([1e-05, 1e-5, 2e16, 1e22, 0.1, 100.0])
values = (
    st.none() | st.booleans() | st.integers(-10, 10**12) | numbers | st.text(max_size=40)
    | st.sampled_from(["yes", "null", "1e-5", "0x10", "12:30", "~", "- a", "{a: b}", "# x", "a: b",
                       "😀", "\u2028", "\x85", "\x7f", "\ufeff", "'", '"', "\\", "$HOME", "`id`",
                       " lead", "trail ", "a\nb", "\t", "!x", "%", "@", "&a", "*a", "|", ">"])
)  # fmt: skip
names = st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True)
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
options = st.dictionaries(
    st.sampled_from(["k", "steps", "learning_rate", "init_text", "calibrate", "targets"]), values
)
seeds = st.lists(st.integers(0, 10**6), min_size=1, max_size=4, unique=True)


@st.composite
def rows(draw: st.DrawFn) -> dict[str, dict[str, object]]:
    """Draw rows as the page makes them: a method's own name, or one that says its method."""
    methods = ("zero_shot", "few_shot", "lora", "prompt_tuning", "chain_of_thought")
    found: dict[str, dict[str, object]] = {}
    for name in draw(st.lists(st.sampled_from(methods) | names, min_size=1, max_size=4)):
        found[name] = dict(draw(options))
        if name not in methods:
            found[name]["method"] = draw(st.sampled_from(methods))
        if draw(st.booleans()):
            found[name]["seeds"] = draw(seeds)
    return found


limits = st.none() | st.integers(1, 10**6)
catalog = st.builds(
    TaskChoice,
    name=st.sampled_from(["support_intents", "sst2", "trec"]),
    limit_train=limits, limit_dev=limits, limit_test=limits, split_seed=st.integers(0, 9),
)  # fmt: skip
uploads = st.builds(
    TaskChoice,
    name=names.map(str.lower),
    train=st.sampled_from([Path("/srv/x/rows.csv"), Path("/srv/a b/rows.csv"), Path("/-/'.csv")]),
    kind=st.sampled_from(["classification", "short_answer"]),
    text_column=words, label_column=words, text_b_column=st.none() | words,
    references_column=st.none() | words,
    separator=st.none() | st.sampled_from([";", "\t", "tab"]),
    limit_test=limits, split_seed=st.integers(0, 9),
)  # fmt: skip


@st.composite
def experiments(draw: st.DrawFn) -> Experiment:
    methods = draw(rows())
    return Experiment(
        model=draw(st.sampled_from(["smollm2-135m-instruct", "someone/model", "/srv/my model"])),
        revision=draw(st.none() | st.sampled_from(["main", "0123abc", "1e5", "007"])),
        precision=draw(st.sampled_from(["nf4", "fp32", "bf16"])),
        compute_dtype=draw(st.sampled_from(["auto", "float32"])),
        device=draw(st.sampled_from(["auto", "cpu"])),
        weights_in_memory=draw(st.sampled_from(["auto", "packed"])),
        task=draw(catalog | uploads),
        template=draw(st.sampled_from(["plain", "brief", "/srv/w x/a1.yaml"])),
        chat=draw(st.booleans()),
        seeds=tuple(draw(seeds)),
        reference=draw(st.sampled_from(list(methods))),
        methods=methods,
    )


def parsed(line: str, module: ModuleType, function: str) -> tuple[Any, ...]:
    """Return what the real command line gives to a function, by position, for a printed line."""
    program, *arguments = shlex.split(line)
    assert program == "workbench"
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, function, lambda *given, **named: calls.append(given))
        cli.app(arguments, standalone_mode=False)
    (call,) = calls
    return call


def compared(line: str) -> tuple[Experiment, Path]:
    assert shlex.split(line)[1] == "evaluate"
    experiment, out, placing = parsed(line, running, "run_and_report")
    assert placing == HERE
    return experiment, out


def asked(line: str) -> tuple[list[str], Experiment, Path]:
    assert shlex.split(line)[1] == "ask"
    experiment, texts, out = parsed(line, ask, "answer_here")
    return texts, experiment, out


def said(experiment: Experiment) -> dict[str, object]:
    """Return an experiment with each row's defaults left out: what the runs follow from."""
    rows = {}
    for row in experiment.methods:
        method, given = experiment.method_of(row)
        default = {field.name: field.default for field in fields(method_class(method))}
        changed = {key: value for key, value in given.items() if value != default.get(key, ...)}
        rows[row] = (method, changed, experiment.seeds_of(row))
    return experiment.model_dump() | {"methods": rows}


@given(experiments())
def test_the_printed_comparison_is_the_one_of_the_page(experiment):
    found, out = compared(evaluate_command(experiment, OUT))

    assert said(found) == said(experiment)
    assert out == OUT


@given(experiments(), st.lists(words.filter(bool), min_size=1, max_size=2))
def test_the_printed_question_is_the_one_of_the_page(experiment, texts):
    experiment = experiment.model_copy(update={"seeds": (0,)})

    found_texts, found, out = asked(ask_command(experiment, texts, OUT))

    assert found_texts == texts
    assert said(found) == said(experiment)
    assert out == OUT


@given(experiments())
def test_a_printed_line_is_one_line_of_a_shell(experiment):
    line = evaluate_command(experiment, OUT)

    assert shlex.join(shlex.split(line)) == line


def test_the_default_experiment_is_short():
    assert evaluate_command(Experiment(), Path("runs/x")) == (
        "workbench evaluate --methods zero_shot,few_shot,chain_of_thought,prompt_tuning,lora "
        "--out runs/x"
    )


def test_a_limited_default_task_is_named():
    task = TaskChoice(name="support_intents", limit_test=5)
    experiment = Experiment(task=task, methods={"lora": {}}, reference="lora")

    assert evaluate_command(experiment, Path("x")) == (
        "workbench evaluate --task support_intents --limit-test 5 --set 'reference=\"lora\"' "
        "--methods lora --out x"
    )


def test_options_at_their_default_are_not_printed():
    rows = {"lora": {"rank": 8, "steps": 7, "seeds": [0]}}
    experiment = Experiment(methods=rows, reference="lora")

    assert evaluate_command(experiment, Path("x")) == (
        "workbench evaluate --set 'reference=\"lora\"' --set methods.lora.steps=7 "
        "--methods lora --out x"
    )


def test_paths_below_the_working_directory_are_written_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = TaskChoice(name="mine", train=tmp_path / "runs" / "rows.csv")
    experiment = Experiment(task=task, template=str(tmp_path / "w.yaml"))

    words = shlex.split(evaluate_command(experiment, tmp_path / "runs" / "out"))

    assert words[words.index("--train") + 1] == "runs/rows.csv"
    assert words[words.index("--template") + 1] == "w.yaml"
    assert words[words.index("--out") + 1] == "runs/out"


def test_a_small_learning_rate_stays_a_number():
    rows = {"lora": {"learning_rate": 1e-05}}
    experiment = Experiment(methods=rows, reference="lora")

    assert compared(evaluate_command(experiment, OUT))[0].methods == rows
