"""`workbench forgetting` from the outside, on the tiny model: before, after, and exit codes."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from workbench.cli import app
from workbench.errors import WorkbenchError
from workbench.runs import session as session_module
from workbench.runs.store import RunStore


def workbench(*arguments: object) -> Result:
    """Run a command; an error of ours is kept in the result's `exception`."""
    wide = {"COLUMNS": "240", "TERM": "dumb"}
    return CliRunner().invoke(app, list(map(str, arguments)), env=wide)


def write_rows(path: Path, words: tuple[str, str], num: int) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        writer.writerows([f"{word} number {i}", word] for i in range(num) for word in words)
    return path


@pytest.fixture(scope="module")
def home(tiny_folder, tmp_path_factory) -> Path:
    """Return a folder with finished runs below `runs`, other rows, and a text."""
    home = tmp_path_factory.mktemp("home")
    rows = write_rows(home / "own.csv", ("good", "bad"), 16)
    write_rows(home / "other.csv", ("sun", "rain"), 10)
    (home / "text.txt").write_text("A river builds the land that it runs through. " * 20)
    for name, precision in (("mine", "fp32"), ("quantised", "nf4")):
        steps = [f"methods.{method}.steps=3" for method in ("prompt_tuning", "lora")]
        done = workbench(
            "evaluate", "--model", tiny_folder, "--precision", precision, "--train", rows,
            "--methods", "zero_shot,prompt_tuning,lora", "--out", home / "runs" / name,
            "--set", steps[0], "--set", steps[1], "--set", "compute_dtype=float32",
        )  # fmt: skip
        assert done.exit_code == 0, done.output
    return home


def run_id(home: Path, method: str, folder: str = "mine") -> str:
    (found,) = (home / "runs" / folder).glob(f"*_{method}_s0_*")
    return found.name


def forgetting(home: Path, out: Path, *arguments: object) -> Result:
    common = ["--runs", home / "runs", "--text", home / "text.txt", "--out", out]
    return workbench("forgetting", *arguments, *common)


def test_each_run_is_measured_before_and_after_and_found_again(home, tmp_path, monkeypatch):
    names = [run_id(home, "prompt_tuning"), run_id(home, "lora")]
    tasks = ["--task", home / "other.csv", "--task", "support_intents", "--limit-test", 4]

    first = forgetting(home, tmp_path, *names, *tasks)

    assert first.exit_code == 0, first.output
    changes = json.loads((tmp_path / "forgetting.json").read_text())["changes"]
    places = ["text.txt", "other", "support_intents"]
    assert [(c["run_id"], c["where"]) for c in changes] == [(n, p) for n in names for p in places]
    for own, other in zip(changes[:3], changes[3:], strict=True):
        assert own["before"] == other["before"]  # the base alone
        assert own["in_place"] == "learned vectors before the text"
        assert other["in_place"] == "learned weights active"
        assert own["change"] == pytest.approx(own["after"]["value"] - own["before"]["value"])
    assert changes[0]["change"] != changes[3]["change"]
    assert changes[0]["change_low"] <= changes[0]["change"] <= changes[0]["change_high"]
    assert "<svg" in (tmp_path / "forgetting.html").read_text()
    assert "perplexity" in first.output

    def load(*args: object, **options: object) -> None:
        raise AssertionError("a base was loaded")

    monkeypatch.setattr(session_module, "load_base", load)
    second = forgetting(home, tmp_path, *names, *tasks)

    assert second.exit_code == 0, second.output
    assert json.loads((tmp_path / "forgetting.json").read_text())["changes"] == changes


def test_a_task_can_come_from_an_experiment_file(home, tmp_path):
    asked = tmp_path / "asked.yaml"
    asked.write_text(f"task: {{name: weather, train: {home / 'other.csv'}, limit_test: 3}}\n")

    result = forgetting(home, tmp_path / "out", run_id(home, "lora"), "--task", asked)

    assert result.exit_code == 0, result.output
    changes = json.loads((tmp_path / "out" / "forgetting.json").read_text())["changes"]
    assert [(c["where"], c["num_items"]) for c in changes][1:] == [("weather", 3)]


def bad_arguments(case: str, home: Path) -> tuple[list[object], str]:
    lora = run_id(home, "lora")
    return {
        "no such run": (["nothing"], "no run 'nothing'"),
        "learned nothing": ([run_id(home, "zero_shot")], "'zero_shot' learns nothing"),
        "two bases": ([lora, run_id(home, "lora", "quantised")], "Give runs of one base"),
        "unknown task": ([lora, "--task", "sst3"], "unknown task 'sst3'"),
        "missing rows": ([lora, "--task", "nowhere.csv"], "nowhere.csv"),
        "missing text": ([lora, "--text", "nowhere.txt"], "text nowhere.txt: cannot be read"),
        "one name twice": (
            [lora, "--task", home / "other.csv", "--task", home / "runs" / ".." / "other.csv"],
            "two texts or tasks are named other",
        ),
    }[case]


@pytest.mark.parametrize(
    "case",
    ["no such run", "learned nothing", "two bases", "unknown task", "missing rows", "missing text",
     "one name twice"],
)  # fmt: skip
def test_bad_input_is_one_message(case, home, tmp_path):
    arguments, expected = bad_arguments(case, home)

    result = forgetting(home, tmp_path / "out", *arguments)

    assert isinstance(result.exception, WorkbenchError)
    assert expected in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_a_run_whose_wording_has_changed_is_refused(home, tmp_path):
    store = RunStore(home / "runs" / "mine")
    run = store.find(run_id(home, "lora"))
    changed = run.spec.model_copy(
        update={"template": run.spec.template.model_copy(update={"digest": "other"})}
    )
    shutil.copytree(run.folder, store.folder(changed))
    (store.folder(changed) / "spec.json").write_text(changed.model_dump_json())
    store.write_record(run.record.model_copy(update={"run_id": changed.run_id}))

    result = forgetting(home, tmp_path / "out", changed.run_id)
    store.delete(changed.run_id)

    assert "the wording it was made with" in str(result.exception)
    assert "not at hand" in str(result.exception)
