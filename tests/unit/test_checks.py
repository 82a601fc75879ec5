"""Everything that can be known before a base is loaded is said before, all of it in one message."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from toys import export_lora
from visitors import keep_rows, local_workspace, tiny_experiment, write_rows
from workbench.cli import app
from workbench.errors import ConfigError, StoreError, TaskError, require_all
from workbench.models.loading import load_base
from workbench.models.weights import find_weights
from workbench.runs import session
from workbench.runs.checks import check_experiment
from workbench.runs.experiment import Experiment, TaskChoice
from workbench.runs.session import open_task
from workbench.service import jobs
from workbench.service.profile import LOCAL
from workbench.service.worker import work


@pytest.fixture(autouse=True)
def _no_base(monkeypatch):
    """No base is loaded by any of these tests."""

    def load_base(*_: object, **__: object) -> None:
        raise AssertionError("a base was loaded before everything was checked")

    monkeypatch.setattr(session, "load_base", load_base)


def command(*words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)), env={"COLUMNS": "300", "TERM": "dumb"})


def said(result: Result, *wanted: str) -> list[str]:
    """Return the lines of the one message; each of `wanted` has a line of its own."""
    lines = str(result.exception).splitlines()
    for text in wanted:
        assert sum(text in line for line in lines) == 1, (text, lines)
    return lines


def test_every_problem_of_a_command_is_one_line_of_one_message(tmp_path):
    rows = write_rows(tmp_path / "rows.csv")
    (tmp_path / "out").write_text("a file")
    wording = tmp_path / "words.yaml"
    wording.write_text("version: 1\ninput: 'M: {review} ->'\nseparator: '|'\n")
    experiment = tmp_path / "many.yaml"
    experiment.write_text(
        f"task: {{train: {rows}, text_column: message, label_column: intent}}\n"
        f"template: {wording}\n"
        "reference: zero\n"
        "methods:\n"
        "  zero_shot:\n"
        "  fewshot: {k: 2}\n"
        "  few_shot: {kk: 2, k: 1000}\n"
        "  lora: {rank: -1, alpha: many}\n"
        "  imported: {adapter: nowhere}\n"
        "  theirs: {method: combined, adapters: 'here, there'}\n"
        "  warm: {method: prompt_tuning, init: prompt, init_prompt: no/run}\n"
    )

    done = command("evaluate", experiment, "--out", tmp_path / "out" / "deeper")

    assert len(said(
        done,
        "unknown method 'fewshot'",
        "methods.few_shot: unknown option 'kk'",
        "methods.few_shot.k: 1000 is out of bounds",
        "methods.lora.rank: -1 is out of bounds",
        "methods.lora.alpha: 'many' is a str",
        "methods.imported.adapter: no adapter in 'nowhere'",
        "methods.theirs.adapters: no adapter in 'here'",
        "methods.theirs.adapters: no adapter in 'there'",
        "methods.warm.init_prompt: no adapter in 'no/run'",
        "reference: unknown row 'zero'",
        "input uses {review}",
        "input does not use {text}",
        "is a file. Name a folder",
    )) == 13  # fmt: skip


def test_a_row_that_is_named_by_mistake_is_said_with_the_rest(tmp_path):
    named = ("--methods", "zero_shoot,lora", "--set", "methods.lora.rank=x")

    done = command("evaluate", *named, "--train", tmp_path / "a.csv", "--out", tmp_path / "out")
    asked = command("ask", "a text", "--methods", "zero_shoot", "--set", "chat=false")

    assert len(said(done, "unknown method 'zero_shoot'", "methods.lora.rank", "a.csv")) == 3
    said(asked, "unknown method 'zero_shoot'")


def test_files_and_columns_are_said_with_the_rest(tmp_path):
    rows = write_rows(tmp_path / "rows.csv")
    gone = command(
        "evaluate", "--train", tmp_path / "a.csv", "--test", tmp_path / "b.csv",
        "--set", "methods.lora.rank=x", "--out", tmp_path / "out",
    )  # fmt: skip
    columns = command(
        "evaluate", "--train", rows, "--text-column", "body", "--label-column", "intent",
        "--set", "methods.lora.rank=x", "--out", tmp_path / "out",
    )  # fmt: skip

    (of_files,) = [line for line in said(gone, "methods.lora.rank") if "no such file" in line]
    assert "a.csv" in of_files
    assert "b.csv" in of_files
    assert any("'body'" in line for line in said(columns, "methods.lora.rank"))


def test_what_methods_cannot_do_with_a_task_is_said_for_all_of_them(tmp_path):
    rows = tmp_path / "texts.jsonl"
    rows.write_text("".join(f'{{"text": "ask {n}", "label": "say {n}"}}\n' for n in range(30)))
    experiment = Experiment(
        task=TaskChoice(train=rows, kind="generation"),
        reference="plain",
        methods={
            "plain": {"method": "zero_shot"},
            "corrected": {"method": "zero_shot", "calibrate": True},
            "many": {"method": "few_shot", "k": 200, "demonstration_labels": "flipped",
                     "order": "label_by_label"},
            "thinking": {"method": "chain_of_thought"},
            "voting": {"method": "prompt_ensemble"},
            "pruned": {"method": "adalora", "init_rank": 4, "target_rank": 4, "steps": 1},
            "half": {"method": "prefix_tuning", "init": "text"},
            "lone": {"method": "prompt_tuning", "init_text": "a start"},
        },
    )  # fmt: skip

    with pytest.raises(ConfigError) as told:
        check_experiment(experiment)

    lines = str(told.value).splitlines()
    for row, text in {
        "corrected": "only label probabilities can be calibrated",
        "many": "200 demonstrations wanted",
        "thinking": "asks for a text",
        "voting": "asks for a text",
        "adalora.target_rank": "is not below init_rank",
        "adalora.steps": "no step for pruning",
        "prefix_tuning": "belong together",
        "prompt_tuning": "belong together",
    }.items():
        assert [line for line in lines if line.startswith(f"methods.{row}") and text in line], row
    assert sum(line.startswith("methods.many") for line in lines) == 3
    assert sum(line.startswith("methods.thinking") for line in lines) == 1
    assert not [line for line in lines if "reasoning:" in line or "few_shot.order" in line]


def test_what_can_be_run_is_returned_with_its_task():
    checked = check_experiment(Experiment())

    assert checked.task.name == "support_intents"
    assert [request.row for request in checked.requests] == list(Experiment().methods)


def test_adapters_of_runs_on_another_base_are_refused(tiny_folder, tmp_path):
    folder = export_lora(tiny_folder, tmp_path / "run" / "adapter")
    rows = {"a": {"method": "imported", "adapter": str(folder)}}
    experiment = Experiment(methods=rows, reference="a")
    assert check_experiment(experiment)
    (tmp_path / "run" / "spec.json").write_text('{"base": {"name": "gemma-3-270m"}}')

    with pytest.raises(ConfigError, match=r"methods\.a\.adapter: run 'run' was made on base 'gem"):
        check_experiment(experiment)
    assert check_experiment(experiment.model_copy(update={"model": "gemma-3-270m"}))
    assert check_experiment(experiment.model_copy(update={"model": "google/gemma-3-270m"}))


def test_an_adapter_is_known_on_its_base_by_every_spelling_of_its_folder(
    tiny_folder, tmp_path, monkeypatch
):
    rows = {
        "a": {
            "method": "imported",
            "adapter": str(export_lora(tiny_folder, tmp_path / "run" / "a")),
        }
    }
    base = tmp_path / "bases" / "tiny"
    shutil.copytree(tiny_folder, base)
    identity = find_weights(str(base)).identity
    spec = {"base": {"name": "../bases/tiny", "identity": identity}}
    (tmp_path / "run" / "spec.json").write_text(json.dumps(spec))
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other" / "tiny"
    shutil.copytree(tiny_folder, other, copy_function=shutil.copyfile)

    def asked(name: object) -> Experiment:
        return Experiment(methods=rows, reference="a", model=str(name))

    assert all(check_experiment(asked(name)) for name in (base, "bases/tiny", "run/../bases/tiny"))
    with pytest.raises(ConfigError, match=r"made on base '\.\./bases/tiny', not on 'other/tiny'"):
        check_experiment(asked("other/tiny"))


def test_sizes_of_a_curve_and_values_of_a_sweep_are_held_against_the_task(tmp_path):
    rows = write_rows(tmp_path / "rows.csv")
    data = ["--train", rows, "--set", "task.text_column=message"]
    data += ["--set", "task.label_column=intent", "--out", tmp_path / "out"]

    curve = command("curve", *data, "--sizes", "4,5000", "--set", "methods.lora.rank=x")
    sweep = command("sweep", *data, "--row", "few_shot", "--option", "k", "--values", "2,64,99")
    words = command("wordings", *data, "--wordings", f"plain,{tmp_path / 'none.yaml'}")

    said(curve, "sizes 5000", "methods.lora.rank")
    assert len(said(sweep, "at k 64: k: 64 demonstrations", "at k 99: k: 99 demonstrations")) == 2
    said(words, "none.yaml: no such file")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "locked"
    folder.mkdir()
    monkeypatch.setattr("workbench.runs.checks.os.access", lambda path, _: Path(path) != folder)

    with pytest.raises(StoreError, match="locked cannot be written"):
        check_experiment(Experiment(), folder / "deep" / "er")
    assert check_experiment(Experiment(), tmp_path / "deep" / "er")
    assert not (tmp_path / "deep").exists()


def test_one_problem_keeps_its_kind():
    missing = Experiment(task=TaskChoice(train=Path("nowhere.csv")))

    with pytest.raises(TaskError, match=r"nowhere\.csv: no such file"):
        check_experiment(missing)


def test_a_line_that_two_checks_say_is_said_once():
    def one() -> None:
        raise ConfigError("a\nb")

    with pytest.raises(ConfigError) as told:
        require_all(one, one, lambda: None)
    assert str(told.value) == "a\nb"


def test_a_job_says_everything_before_it_loads_a_base(tiny_folder, tmp_path):
    workspace = local_workspace(tmp_path)
    key = keep_rows(workspace, tmp_path / "given")
    rows = {"zero_shot": {}, "few_shot": {"k": 60}, "lora": {"rank": 0}}
    experiment = tiny_experiment(workspace, tiny_folder, key, rows)
    job = jobs.submit(workspace, LOCAL, experiment, kind="evaluate", title="three rows")
    opened: list[object] = []

    status = work(job.folder, workspace.store, open_session=opened.append)

    assert (status.state, opened) == ("failed", [])
    assert "methods.few_shot: k: 60 demonstrations" in status.message
    assert "methods.lora.rank: 0 is out of bounds" in status.message


def test_a_job_reads_its_task_once(tiny_folder, tmp_path, monkeypatch):
    workspace = local_workspace(tmp_path)
    key = keep_rows(workspace, tmp_path / "given")
    experiment = tiny_experiment(workspace, tiny_folder, key, {"zero_shot": {}})
    job = jobs.submit(workspace, LOCAL, experiment, kind="evaluate", title="a row")
    read = []
    for module in ("session", "checks"):
        monkeypatch.setattr(
            f"workbench.runs.{module}.open_task", lambda c: read.append(c) or open_task(c)
        )
    monkeypatch.setattr(session, "load_base", load_base)

    status = work(job.folder, workspace.store)

    assert status.state == "finished", status.message
    assert len(read) == 1


def test_what_a_search_for_instructions_cannot_do_is_said_before_a_base_is_loaded():
    def asked(**options: object) -> Experiment:
        row = {"method": "instruction_search", **options}
        return Experiment(methods={"zero_shot": {}, "found": row})

    with pytest.raises(ConfigError) as told:
        check_experiment(asked(budget=2, paraphrases="Say it.\nTell {it}.\nName it.\nA\x07b"))

    lines = str(told.value).splitlines()
    assert any("methods.found.budget: 2 candidates cannot hold" in line for line in lines), lines
    assert any("methods.found.paraphrases" in line and "{it}" in line for line in lines), lines
    assert any("cannot be printed" in line for line in lines), lines
    assert check_experiment(asked(budget=4, paraphrases="Say it.\nName {labels}."))


def test_what_a_base_cannot_be_is_said_with_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    rows = ("--methods", "lora", "--set", "methods.lora.rank=0", "--out", tmp_path / "out")

    unknown = command("evaluate", *rows, "--precision", "fp5", "--set", "device=cuda")
    name = command("evaluate", *rows, "--model", "smollm2-135m")
    empty = command("evaluate", *rows, "--model", tmp_path)

    assert len(said(unknown, "methods.lora.rank", "precision 'fp5'", "no usable GPU")) == 3
    assert len(said(name, "methods.lora.rank", "unknown base model 'smollm2-135m'")) == 2
    assert len(said(empty, "methods.lora.rank", "no config.json in it")) == 2


def test_a_rounding_that_is_not_there_is_said_before_a_base_is_loaded():
    rows = {"lora": {}, "mine": {"method": "lora", "init": "loftq"}}
    experiment = Experiment(methods=rows, reference="lora", precision="fp32")

    with pytest.raises(ConfigError, match=r"methods\.mine\.init: 'loftq' corrects .* 'fp32' has"):
        check_experiment(experiment)
    assert check_experiment(experiment.model_copy(update={"precision": "nf4"}))
