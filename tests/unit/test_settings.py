"""What is set in a file, by `--set` and by options: from the defaults, and numbers as numbers."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from readme import ROOT, programs, shown_commands
from workbench import cli
from workbench.commands.shared import along, running
from workbench.commands.shared.opening import reading_options
from workbench.errors import ConfigError
from workbench.runs.experiment import Experiment, read_experiment
from workbench.runs.runner import requests_of
from workbench.tasks.catalog import list_tasks
from workbench.yaml_files import parse_mapping, parse_value, yaml_text


def asked(monkeypatch, *words: str) -> Experiment:
    """Return the experiment a batch command comes to, nothing loaded."""
    found: list[Experiment] = []
    monkeypatch.setattr(running, "run_and_report", lambda one, *_, **__: found.append(one))
    cli.app(list(words), standalone_mode=False)
    return found[0]


# Settings without a file


def test_limits_alone_start_from_the_default_task(monkeypatch):
    experiment = asked(monkeypatch, "evaluate", "--methods", "zero_shot", "--limit-test", "20")

    assert experiment.task == Experiment().task.model_copy(update={"limit_test": 20})


def test_how_weights_are_kept_is_a_setting(monkeypatch):
    experiment = asked(monkeypatch, "evaluate", "--set", "weights_in_memory=packed")

    assert experiment == Experiment(weights_in_memory="packed")
    with pytest.raises(ConfigError) as caught:
        asked(monkeypatch, "evaluate", "--set", "weights_in_memory=unpacked")
    assert "weights_in_memory: " in str(caught.value)
    assert "'auto', 'packed' or 'restored'" in str(caught.value)


def test_an_option_of_one_row_leaves_the_other_default_rows(monkeypatch):
    experiment = asked(monkeypatch, "evaluate", "--set", "methods.lora.rank=16")

    assert experiment.methods == {**Experiment().methods, "lora": {"rank": 16}}
    assert requests_of(experiment)


def test_a_row_that_is_none_of_the_default_ones_comes_to_them():
    experiment = read_experiment(None, ["methods.dora.rank=4"])

    assert experiment.methods == {**Experiment().methods, "dora": {"rank": 4}}


def test_a_file_without_rows_has_the_default_ones_whatever_is_set(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text("task: {limit_test: 5}\n")

    experiment = read_experiment(path, ["methods.lora.rank=16"])

    assert experiment.task.name == Experiment().task.name
    assert experiment.methods == {**Experiment().methods, "lora": {"rank": 16}}


def test_files_of_rows_do_not_get_the_name_of_the_default_task():
    assert read_experiment(None, ["task.train=mine.csv"]).task.name is None
    with pytest.raises(ConfigError, match="need a train file beside them"):
        read_experiment(None, ["task.test=mine.csv"])


# Examples


def _shown_words() -> list[list[str]]:
    """Return every `workbench …` command of README and docs, and the examples of every help."""
    lines = [words for line in shown_commands() for words in programs(line)]
    return [words[1:] for words in lines if words[0] == "workbench" and len(words) > 2]


def _experiment_commands() -> dict[str, list[str]]:
    runners = ("evaluate", "train", "curve", "sweep", "wordings")
    return {" ".join(w): w for w in _shown_words() if w[0] in runners and "--server" not in w}


@pytest.mark.parametrize("words", _experiment_commands().values(), ids=_experiment_commands())
def test_a_shown_command_comes_as_far_as_the_loading_of_the_base(words, monkeypatch, tmp_path):
    reached: list[Experiment] = []

    def stop_here(experiment: Experiment, *_: object, **__: object) -> None:
        requests_of(experiment)
        reached.append(experiment)

    monkeypatch.setattr(running, "run_and_report", stop_here)
    monkeypatch.setattr(
        along, "run_along", lambda _, experiment, *more: (stop_here(experiment), [])
    )
    monkeypatch.setattr(along, "show", lambda *_, **__: None)
    monkeypatch.setattr("workbench.analysis.curves.lines.draw_lines", lambda *_, **__: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    for name in ("experiment.yaml", "experiment.json"):
        (tmp_path / name).symlink_to(ROOT / "experiments" / "quick.yaml")

    cli.app(words, standalone_mode=False)

    assert len(reached) == 1


def _help_settings() -> list[tuple[str, str]]:
    found = []
    for name, command in typer.main.get_group(cli.app).commands.items():
        for parameter in command.params:
            for setting in re.findall(
                r"--set (\S+=[^\s.,]\S*?)[.,]?(?=\s|$)", parameter.help or ""
            ):
                found.append((name, setting))
    return found


@pytest.mark.parametrize(("command", "setting"), _help_settings())
def test_the_settings_that_help_shows_can_be_set(command, setting):
    if command == "inspect":
        reading = setting.partition(".")[0]
        assert reading_options([setting], [reading])[reading]
    else:
        assert requests_of(read_experiment(None, [setting]))


def test_help_shows_settings():
    assert len(_help_settings()) >= 6


# Numbers


NUMBERS = {
    "1e-3": 0.001,
    "1E3": 1000.0,
    "1e+2": 100.0,
    "-2e-1": -0.2,
    ".5": 0.5,
    "1.": 1.0,
    "1_000": 1000,
    "0x10": 16,
    "0b11": 3,
    "010": 10,
    "+7": 7,
    "1.5e3": 1500.0,
    "2_000.5": 2000.5,
}


@pytest.mark.parametrize(("text", "number"), NUMBERS.items())
def test_a_number_is_a_number_in_every_spelling(text, number):
    assert parse_value(text, where="here") == number
    assert type(parse_value(text, where="here")) is type(number)
    assert parse_mapping(f"a: {text}", where="here") == {"a": number}


@pytest.mark.parametrize("text", ["12:30", "1:30:00", "12e", "e3", "_1", "1-2", "10:15.5"])
def test_what_is_no_number_stays_text(text):
    assert parse_mapping(f"a: {text}", where="here") == {"a": text}


@pytest.mark.parametrize("text", ["1e3", "1_000", "010", "12:30", "yes", ".5", "0o17", "plain"])
def test_what_is_written_reads_back_as_it_was(text):
    content = {"words": {text: text}, "numbers": [1e-05, 3, 1e30], "on": True}

    assert parse_mapping(yaml_text(content), where="here") == content


def test_the_files_that_come_along_have_the_values_they_have_by_the_plain_rules():
    import yaml

    for path in [*ROOT.glob("prompts/*/*.yaml"), *ROOT.glob("experiments/*.yaml")]:
        text = path.read_text(encoding="utf-8")
        assert parse_mapping(text, where=str(path)) == yaml.safe_load(text), path
    assert list_tasks()


@pytest.mark.parametrize("text", ["1e-3", "0.001", '"1e-3"', "'0.001'"])
def test_an_option_takes_a_number_however_it_is_written(text, tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text(f"methods:\n  zero_shot:\n  lora: {{learning_rate: {text}}}\n")

    in_file = requests_of(read_experiment(path))
    by_set = requests_of(read_experiment(None, [f"methods.lora.learning_rate={text}"]))

    assert in_file[-1].method == by_set[-1].method
    assert in_file[-1].method.learning_rate == 0.001


@pytest.mark.parametrize("text", ["1e2", "100", '"100"', "1_00", "100.0", "'1e2'"])
def test_a_whole_number_may_be_written_as_a_power_of_ten(text, tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text(
        f"task: {{name: sst2, limit_test: {text}}}\nseeds: [{text}]\n"
        f"methods:\n  lora: {{steps: {text}, seeds: [{text}]}}\nreference: lora\n"
    )

    experiment = read_experiment(path)
    (request,) = requests_of(experiment)

    assert experiment.task.limit_test == 100
    assert experiment.seeds == (100,)
    assert (request.seed, request.method.steps) == (100, 100)
    assert type(request.method.steps) is int
    assert json.loads(experiment.model_dump_json())["methods"]["lora"]["seeds"] == [100]


@pytest.mark.parametrize("text", ["on", "yes", "'true'", "true", '"Yes"', "'on'"])
def test_a_switch_takes_the_words_for_on(text):
    experiment = read_experiment(None, [f"methods.few_shot.calibrate={text}", f"chat={text}"])

    assert requests_of(experiment)[1].method.calibrate is True
    assert experiment.chat is True


@pytest.mark.parametrize("text", ["1", "1e0", "maybe"])
def test_a_switch_takes_nothing_else(text):
    with pytest.raises(ConfigError, match=r"methods\.few_shot\.calibrate: .* bool is needed"):
        requests_of(read_experiment(None, [f"methods.few_shot.calibrate={text}"]))


def test_the_rates_of_a_search_are_numbers(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text("methods:\n  lora: {learning_rates: [1e-3, '3e-3', 1e-2]}\nreference: lora\n")

    (request,) = requests_of(read_experiment(path))

    assert request.search.rates == (0.001, 0.003, 0.01)


@pytest.mark.parametrize("text", ["1.5", "ten", "1e400", "[3]", "12:30"])
def test_what_is_no_whole_number_is_one_message(text):
    with pytest.raises(ConfigError) as told:
        requests_of(read_experiment(None, [f"methods.lora.steps={text}"]))

    assert str(told.value).startswith("methods.lora.steps: ")
    assert len(str(told.value).splitlines()) == 1


def test_a_sweep_and_a_reading_take_such_numbers(tmp_path, monkeypatch):
    found: list[object] = []

    def points(_console, _experiment, _folder, points_of, _task, _placing):
        found.extend(points_of(None))
        return [], []

    monkeypatch.setattr(along, "run_along", points)
    monkeypatch.setattr(along, "show", lambda *_, **__: None)
    monkeypatch.setattr("workbench.analysis.curves.lines.draw_lines", lambda *_, **__: None)
    words = "sweep --row lora --option learning_rate --values 1e-3,1e-2 --seeds 1e0,2"
    cli.app([*shlex.split(words), "--out", str(tmp_path)], standalone_mode=False)

    assert [point.place for point in found] == [0.001, 0.001, 0.01, 0.01]
    assert [point.request.seed for point in found] == [1, 2, 1, 2]
    assert reading_options(["nearest.k=1e1"], ["nearest"]) == {"nearest": {"k": 10}}


def test_the_sizes_of_a_curve_and_the_limits_of_a_command_may_be_powers_of_ten():
    from workbench.commands.curve import _sizes

    assert _sizes("0,8,1e2") == [0, 8, 100]
    for refused in ("many", "0", "1.5", "-1e1"):
        done = CliRunner().invoke(cli.app, ["evaluate", "--limit-test", refused, "--out", "x"])
        assert done.exit_code == 2
        assert "--limit-test" in done.output
    assert not Path("x").exists()


def test_the_limits_of_a_command_may_be_powers_of_ten(monkeypatch):
    limits = ("--limit-train", "1e2", "--limit-test", "1_0", "--limit-dev", "7")

    task = asked(monkeypatch, "evaluate", "--methods", "zero_shot", *limits).task

    assert (task.limit_train, task.limit_test, task.limit_dev) == (100, 10, 7)


def test_a_setting_of_a_wrong_form_is_said_with_the_files_and_rows_that_are_not_there(tmp_path):
    gone = ["--train", str(tmp_path / "a.csv"), "--test", str(tmp_path / "b.csv")]
    words = ["evaluate", *gone, "--set", "seeds=[a]", "--methods", "zero_shot,lorra"]
    words += ["--set", "methods.lora.rank=0", "--out", str(tmp_path / "out")]

    done = CliRunner().invoke(cli.app, words)

    lines = str(done.exception).splitlines()
    assert [line for line in lines if "seeds[0]" in line]
    assert [line for line in lines if "a.csv" in line and "b.csv" in line]
    assert [line for line in lines if "unknown method 'lorra'" in line]
    assert not [line for line in lines if "at least 1 item" in line]
    assert not [line for line in lines if "reference" in line]
    assert len(lines) == 3


@pytest.mark.parametrize(
    "settings",
    [
        ["reference=[x]", "methods={lora: {}}"],
        ["reference=mine", "methods=5"],
        ["reference=mine", "methods={mine: 5, lora: {}}"],
        ["task.kind=verse", "reference=mine", "methods={mine: {method: lora}}"],
    ],
)
def test_nothing_is_said_of_what_a_fault_of_form_leaves_open(settings):
    words = [word for setting in settings for word in ("--set", setting)]

    done = CliRunner().invoke(cli.app, ["evaluate", *words, "--out", "x"])

    lines = str(done.exception).splitlines()
    assert len(lines) == 1, lines
    assert "unknown row" not in lines[0]


def test_an_empty_list_of_seeds_still_says_that_one_is_needed():
    with pytest.raises(ConfigError, match=r"seeds: .*at least 1 item"):
        read_experiment(None, ["seeds=[]"])


def rows_of(num: int, **options: object) -> dict[str, object]:
    return {f"row_{number}": {"method": "zero_shot", **options} for number in range(num)}


KEYS = {f"key_{number}": 1 for number in range(20_000)}
BEYOND = {
    "rows": ({"methods": rows_of(1001)}, "methods: 1001 rows; at most 1,000"),
    "rows in a list": ({"methods": ["lora"] * 1001}, "methods: 1001 rows; at most 1,000"),
    "seeds": ({"seeds": list(range(1001))}, "seeds: 1001 seeds; at most 1,000"),
    "seeds of a row": (
        {"methods": {"few_shot": {"seeds": list(range(1001))}}},
        "methods.few_shot.seeds: 1001 seeds; at most 1,000",
    ),
    "runs": ({"methods": rows_of(101), "seeds": list(range(100))}, "10,100 runs; at most 10,000"),
    "runs by rows' own seeds": (
        {"methods": rows_of(101, seeds=list(range(100)))},
        "10,100 runs; at most 10,000",
    ),
    "keys": (KEYS, "20000 keys; at most 100"),
    "keys of the task": ({"task": {**KEYS, "name": "sst2"}}, "task: 20001 keys; at most 100"),
    "options": ({"methods": {"lora": KEYS}}, "methods.lora: 20000 options; at most 100"),
    "learning rates": ({"methods": {"lora": {"learning_rates": [1.5] * 9999}}}, "list of 2 to 9"),
}


@pytest.mark.parametrize("case", BEYOND)
def test_what_no_machine_would_run_is_one_short_message(case):
    content, expected = BEYOND[case]

    with pytest.raises(ConfigError) as caught:
        read_experiment(None, (), content)

    assert expected in str(caught.value)
    assert len(str(caught.value)) < 400


def test_an_experiment_may_be_large():
    large = read_experiment(None, (), {"methods": rows_of(1000), "seeds": list(range(10))})

    assert sum(len(large.seeds_of(row)) for row in large.methods) == 10_000
