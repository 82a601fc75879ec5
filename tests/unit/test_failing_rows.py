"""A row that fails costs itself alone: the others are made, reported, and found again."""

import csv
import json
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from scipy.stats import binomtest
from typer.testing import CliRunner, Result

from pages import Seen, is_problem
from visitors import keep_rows, local_workspace, tiny_experiment, write_rows
from workbench.cli import app
from workbench.commands.shared import server
from workbench.comparing import run_comparison
from workbench.errors import ConfigError, RunError, StoreError
from workbench.methods.few_shot import FewShot
from workbench.methods.lora import Lora
from workbench.methods.zero_shot import ZeroShot
from workbench.progress import Interrupted
from workbench.runs.experiment import Experiment
from workbench.runs.failures import FailedRun
from workbench.runs.session import open_session
from workbench.runs.store import RunStore
from workbench.service import jobs
from workbench.service.comparisons import open_comparison
from workbench.service.job_status import JobStatus, RowFailure
from workbench.service.profile import LOCAL, Profile
from workbench.service.worker import work
from workbench.ui.app import make_context
from workbench.ui.ask import on_answer
from workbench.ui.comparison_view import results_html
from workbench.ui.job_panel import job_html

QUICK = ["methods.lora.steps=2", "methods.lora.eval_every=2", "methods.few_shot.k=2"]
ERRORS = {
    "ours": (RuntimeError("no such key"), "ended by an error of ours (RuntimeError: no such key)"),
    "of one row": (ConfigError("methods.few_shot.k: too many."), "methods.few_shot.k: too many."),
    "no memory": (torch.OutOfMemoryError("tried 2 GiB"), "out of memory (tried 2 GiB)"),
    "no memory of a processor": (
        RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes"),
        "out of memory (DefaultCPUAllocator: can't allocate memory: 8 bytes)",
    ),
}


def fails(monkeypatch, method: type, error: BaseException, *, seeds: set[int] | None = None):
    """Let a method fail where it is fitted, with some seeds or with all."""
    fit = method.fit

    def failing(self, context):
        if seeds is None or context.seed in seeds:
            raise error
        return fit(self, context)

    monkeypatch.setattr(method, "fit", failing)


def command(name: str, tiny_folder: Path, out: Path, *more: object) -> Result:
    rows = out.parent / "rows.csv"
    if not rows.is_file():
        write_rows(rows)
    settings = [*QUICK, f"model={tiny_folder}", "precision=fp32", f"task.train={rows}"]
    settings += ["task.text_column=message", "task.label_column=intent"]
    words = [name, *(w for s in settings for w in ("--set", s)), "--out", out, *more]
    return CliRunner().invoke(app, list(map(str, words)), env={"COLUMNS": "300", "TERM": "dumb"})


THREE = ("--methods", "zero_shot,few_shot,lora")


@pytest.mark.parametrize("kind", ERRORS)
def test_the_other_rows_are_reported_and_the_failed_one_with_its_reason(
    kind, tiny_folder, tmp_path, monkeypatch
):
    error, reason = ERRORS[kind]
    fails(monkeypatch, FewShot, error)
    out = tmp_path / "out"

    done = command("evaluate", tiny_folder, out, *THREE)

    assert isinstance(done.exception, RunError)
    assert str(done.exception).startswith("1 run failed; the report has the others.")
    assert reason in str(done.exception)
    assert f"few_shot seed 0: failed: {reason}" in done.output
    assert any(line.split()[:3] == ["few_shot,", "seed", "0"] for line in done.output.splitlines())
    report = json.loads((out / "report.json").read_text())
    assert {row["row"] for row in report["rows"]} >= {"zero_shot", "lora", "majority_class"}
    assert [(one["row"], one["seed"]) for one in report["failed"]] == [("few_shot", 0)]
    with (out / "report.csv").open(newline="") as stream:
        (failed,) = [row for row in csv.DictReader(stream) if row["row"] == "few_shot"]
    assert failed["failed"].startswith(reason)
    assert failed["accuracy"] == ""
    for name in ("report.md", "report.html"):
        text = (out / name).read_text()
        shown = Seen(text).text if name.endswith("html") else text.replace("\\", "")
        assert "few_shot, seed 0: failed, and is left out of every figure" in shown
        assert reason.split("(")[0] in shown


def test_the_traceback_of_an_error_of_ours_is_kept_until_the_run_is_made(
    tiny_folder, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        fails(patch, FewShot, RuntimeError("no such key"))
        first = command("evaluate", tiny_folder, out, *THREE)
    (log,) = out.glob("*_few_shot_*/error.log")
    text = log.read_text()
    assert "Traceback" in text
    assert "in failing" in text
    assert f"{log.parent.name}/error.log" in str(first.exception)

    second = command("evaluate", tiny_folder, out, *THREE)

    assert second.exit_code == 0, second.output
    assert second.output.count("found, nothing to do") == 2  # zero_shot and lora
    assert not log.exists()
    assert json.loads((out / "report.json").read_text())["failed"] == []


def test_what_is_trained_stays_trained_when_its_test_fails(tiny_folder, tmp_path, monkeypatch):
    out, more = tmp_path / "out", ("--methods", "lora", "--set", "search.learning_rates=3")
    with monkeypatch.context() as patch:
        patch.setattr(Lora, "restore", lambda *_: 1 / 0)
        failed = command("evaluate", tiny_folder, out, *more)
    assert isinstance(failed.exception, RunError)
    assert "ZeroDivisionError" in str(failed.exception)
    names = [path.parent.name for path in out.glob("*_lora_*/spec.json")]
    assert {RunStore(out).find(name).record.status for name in names} == {"trained"}

    assert command("evaluate", tiny_folder, out, *more).exit_code == 0


def test_a_search_that_fails_is_made_once_for_all_seeds(tiny_folder, tmp_path, monkeypatch):
    made = []

    def failing(self, context):
        made.append(context.seed)
        raise RuntimeError("no such key")

    monkeypatch.setattr(Lora, "fit", failing)
    more = ("--methods", "zero_shot,lora", "--seeds", "0,1", "--set", "search.learning_rates=3")

    done = command("evaluate", tiny_folder, tmp_path / "out", *more)

    assert str(done.exception).startswith("2 runs failed")
    assert made == [0, 0, 0]  # each rate of its grid, for the first seed alone


def test_stop_still_stops_everything(tiny_folder, tmp_path, monkeypatch):
    fails(monkeypatch, FewShot, Interrupted("asked to stop"))

    done = command("evaluate", tiny_folder, tmp_path / "out", *THREE)

    assert isinstance(done.exception, Interrupted)
    assert not (tmp_path / "out" / "report.json").exists()


def test_a_look_that_fails_does_not_lose_the_report(tiny_folder, tmp_path, monkeypatch):
    def unreadable(*_: object) -> None:
        raise ConfigError("it cannot be looked at.")

    monkeypatch.setattr("workbench.comparing.load_prompt", unreadable)
    steps = ("--set", "methods.prompt_tuning.steps=2")

    done = command("evaluate", tiny_folder, tmp_path / "out", "--methods", "prompt_tuning", *steps)

    assert done.exit_code == 0, done.exception
    assert "it cannot be looked at." in (tmp_path / "out" / "report.md").read_text()


def test_nothing_but_failures_is_no_report(tiny_folder, tmp_path):
    workspace = local_workspace(tmp_path)
    key = keep_rows(workspace, tmp_path / "given")
    experiment = tiny_experiment(workspace, tiny_folder, key, {"few_shot": {"k": 2}})
    session = open_session(experiment)
    watcher = SimpleNamespace(began=_nothing, progressed=_nothing, ended=_nothing, failed=_nothing)
    with pytest.MonkeyPatch.context() as patch:
        fails(patch, FewShot, ConfigError("it cannot."))
        patch.setattr("workbench.runs.runner._baselines", lambda *_: [])
        with pytest.raises(RunError, match="few_shot, seed 0: it cannot"):
            run_comparison(
                session, experiment, store=RunStore(tmp_path / "out"), folder=tmp_path / "out",
                watcher=watcher,
            )  # fmt: skip


def _nothing(*_: object, **__: object) -> None:
    return None


# What is compared without the failed runs


def test_a_failed_reference_gives_its_place_to_the_first_row(tiny_folder, tmp_path, monkeypatch):
    fails(monkeypatch, ZeroShot, RuntimeError("no such key"))
    out = tmp_path / "out"

    command("evaluate", tiny_folder, out, *THREE)

    report = json.loads((out / "report.json").read_text())
    assert report["reference"] == "few_shot"
    assert (
        "the reference zero_shot failed, so differences are against few_shot instead."
        in (report["warnings"])
    )
    (lora,) = [row for row in report["rows"] if row["row"] == "lora"]
    assert lora["difference"]["against"] == "few_shot"


def test_a_seed_without_its_reference_is_paired_with_no_other(tiny_folder, tmp_path, monkeypatch):
    fails(monkeypatch, FewShot, RuntimeError("no such key"), seeds={1})
    out = tmp_path / "out"
    more = ("--seeds", "0,1", "--set", "reference=few_shot")

    command("evaluate", tiny_folder, out, *THREE, *more)

    report = json.loads((out / "report.json").read_text())
    found = {(row["row"], row["seed"]): row for row in report["rows"]}
    assert found["lora", 0]["difference"] is not None
    assert found["lora", 1]["difference"] is None
    assert ("few_shot", 1) not in found


def test_differences_and_their_adjustment_are_those_of_the_rows_that_are_there(
    tiny_folder, tmp_path, monkeypatch
):
    fails(monkeypatch, FewShot, RuntimeError("no such key"))
    out = tmp_path / "out"

    command("evaluate", tiny_folder, out, *THREE)

    report = json.loads((out / "report.json").read_text())
    rights = {
        row["row"]: [
            answer["answer"] == answer["target"]
            for answer in RunStore(out).find(row["run_id"]).predictions()
        ]
        for row in report["rows"]
    }
    p_values = {}
    for row in report["rows"]:
        if row["row"] != "zero_shot":
            pairs = list(zip(rights[row["row"]], rights["zero_shot"], strict=True))
            wins, losses = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
            p_values[row["row"]] = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    ranked, highest = sorted(p_values, key=lambda name: p_values[name]), 0.0
    for place, name in enumerate(ranked):  # Holm 1979, step by step
        highest = max(highest, min(1.0, p_values[name] * (len(ranked) - place)))
        (row,) = [row for row in report["rows"] if row["row"] == name]
        assert row["difference"]["p_value"] == pytest.approx(p_values[name])
        assert row["difference"]["p_value_holm"] == pytest.approx(highest)


# Asked afterwards


def test_ask_answers_with_the_ways_that_can_and_names_the_others(
    tiny_folder, tmp_path, monkeypatch
):
    fails(monkeypatch, FewShot, ConfigError("methods.few_shot.k: too many."))
    out = tmp_path / "out"
    two = ("--methods", "zero_shot,few_shot")
    command("evaluate", tiny_folder, out, *two)
    asking = ["ask", "lovely sun", "--out", str(out), "--max-new-tokens", "2", "--methods"]
    wide = {"COLUMNS": "300", "TERM": "dumb"}

    done = CliRunner().invoke(app, [*asking, "zero_shot,few_shot"], env=wide)
    alone = CliRunner().invoke(app, [*asking, "few_shot"], env=wide)
    monkeypatch.setattr(ZeroShot, "fit", FewShot.fit)
    none = CliRunner().invoke(app, [*asking, "zero_shot,few_shot"], env=wide)

    assert done.exit_code == 0, done.exception
    assert "few_shot: left out: methods.few_shot.k: too many." in done.output
    assert "prompt tokens" in done.output
    assert str(alone.exception) == "methods.few_shot.k: too many."
    assert str(none.exception).splitlines() == [
        "zero_shot: methods.few_shot.k: too many.",
        "few_shot: methods.few_shot.k: too many.",
    ]


def test_the_page_answers_with_the_ways_that_can_and_names_the_others(
    tiny_folder, tmp_path, monkeypatch
):
    context = make_context(tmp_path / "page", Profile("tests", models=(str(tiny_folder),)))
    key = keep_rows(context.workspace(None), tmp_path / "given")
    values = {"task": key, "model": str(tiny_folder), "precision": "fp32"}
    given = {"text": "lovely sun", "text_b": "", "max_new_tokens": 2, "temperature": 0, "seed": 0}
    fails(monkeypatch, FewShot, ConfigError("methods.few_shot.k: <b>too</b> many."))
    ways = ["words:zero_shot", "words:few_shot"]

    shown = list(on_answer(context, ways=ways, **given, **values))[-1]

    assert not is_problem(shown)
    assert "left out: methods.few_shot.k: <b>too</b> many." in Seen(shown).text
    assert "prompt tokens" in Seen(shown).text
    assert is_problem(list(on_answer(context, ways=ways[1:], **given, **values))[-1])


# Along an axis, and in a job


@pytest.mark.parametrize(
    ("name", "more"),
    {
        "curve": ("--sizes", "4,8", "--methods", "zero_shot,few_shot,lora"),
        "sweep": ("--row", "few_shot", "--option", "k", "--values", "2,4", "--seeds", "0,1"),
        "wordings": ("--methods", "few_shot,zero_shot"),
    }.items(),
)
def test_points_that_fail_are_left_out_and_named(name, more, tiny_folder, tmp_path, monkeypatch):
    if name == "wordings":
        wording = tmp_path / "other.yaml"
        wording.write_text(
            "version: 1\ninstruction: Say it.\ninput: 'M: {text} ->'\nseparator: '|'\n"
        )
        more = (*more, "--wordings", f"plain,{wording}")
    if name == "sweep":
        fails(monkeypatch, FewShot, RuntimeError("no such key"), seeds={1})
    else:
        fails(monkeypatch, FewShot, RuntimeError("no such key"))
    out = tmp_path / "out"

    done = command(name, tiny_folder, out, *more)

    assert isinstance(done.exception, RunError), done.exception
    assert "2 runs failed" in str(done.exception)
    (data,) = out.glob(f"{name}*.json")
    found = json.loads(data.read_text())
    assert [one["row"] for one in found["failed"]] == ["few_shot", "few_shot"]
    assert all(one["place"] for one in found["failed"])
    (page,) = out.glob(f"{name}*.html")
    assert "left out of every figure" in Seen(page.read_text()).text


def test_a_job_says_which_rows_failed_shows_the_others_and_can_go_on(
    tiny_folder, tmp_path, monkeypatch
):
    workspace = local_workspace(tmp_path)
    key = keep_rows(workspace, tmp_path / "given")
    rows = {"zero_shot": {}, "few_shot": {"k": 2}}
    experiment = tiny_experiment(workspace, tiny_folder, key, rows)
    job = jobs.submit(workspace, LOCAL, experiment, kind="evaluate", title="two rows")
    with monkeypatch.context() as patch:
        fails(patch, FewShot, RuntimeError("no <b>such</b> key"))
        status = work(job.folder, workspace.store)

    assert status.state == "failed"
    assert [(f.row, f.seed) for f in status.failures] == [("few_shot", 0)]
    assert [row.row for row in status.rows] == ["zero_shot"]
    shown = job_html(workspace, jobs.read_job(workspace, job.status.job_id))
    assert "no <b>such</b> key" in Seen(shown).text
    comparison, *_ = open_comparison(workspace, job.status.job_id)
    assert "few_shot, seed 0: failed" in Seen(results_html(comparison)).text

    jobs.resume(workspace, LOCAL, job.status.job_id)
    status = work(job.folder, workspace.store)

    assert (status.state, status.failures) == ("finished", [])
    assert [(row.row, row.found) for row in status.rows] == [
        ("zero_shot", True),
        ("few_shot", False),
    ]


def test_a_failed_run_names_itself():
    assert FailedRun("lora", 3, "it cannot.", "8 examples").name == "lora, seed 3 at 8 examples"


def test_a_server_whose_job_lost_rows_still_gives_its_report(tmp_path, monkeypatch):
    failure = {"row": "lora", "seed": 1, "reason": "out of memory"}
    done = {"row": "zero_shot", "seed": 0, "accuracy": 0.5, "metric": "accuracy", "value": 0.5}
    status = {"state": "failed", "message": "1 failed", "rows": [done], "failures": [failure]}
    report = {"html": "<p>", "markdown": "#", "csv": "row", "json": {"rows": []}}
    report |= {"latex": "a table"}
    given = {"/start_evaluation": "a-job", "/job_status": status, "/export_comparison": report}

    @contextmanager
    def connected(_address):
        yield SimpleNamespace(predict=lambda *_, api_name, **__: given[api_name])

    monkeypatch.setattr(server, "_server", connected)

    with pytest.raises(RunError, match="lora, seed 1: out of memory"):
        server.evaluate_there("there", Experiment(), out=tmp_path, visitor="")
    assert (tmp_path / "report.csv").read_text() == "row"
    assert (tmp_path / "report.tex").read_text() == "a table"

    status["rows"] = []
    with pytest.raises(StoreError, match="failed on the server: 1 failed"):
        server.evaluate_there("there", Experiment(), out=tmp_path, visitor="")


@pytest.mark.parametrize(("name", "sent"), [("", ()), ("monday", ("monday",))])
def test_a_server_is_told_a_name_and_an_older_one_hands_over_fewer_forms(
    name, sent, tmp_path, monkeypatch, capsys
):
    status = {"state": "finished", "message": "", "rows": [], "failures": []}
    report = {"html": "<p>", "markdown": "#", "csv": "row", "json": {"rows": []}}
    given = {"/start_evaluation": "a-job", "/job_status": status, "/export_comparison": report}
    calls = []

    def predict(*arguments, api_name):
        calls.append((api_name, arguments))
        return given[api_name]

    @contextmanager
    def connected(_address):
        yield SimpleNamespace(predict=predict)

    monkeypatch.setattr(server, "_server", connected)

    server.evaluate_there("there", Experiment(), out=tmp_path, visitor="me", name=name)

    assert calls[0][1][1:] == ("me", *sent)
    assert " ".join(capsys.readouterr().out.split()).endswith("(also .md .csv .json)")
    assert not (tmp_path / "report.tex").exists()


@pytest.mark.parametrize("state", ["stopped", "interrupted"])
def test_a_servers_job_that_was_ended_early_says_why_and_is_asked_for_no_report(
    state, tmp_path, monkeypatch
):
    failure = {"row": "lora", "seed": 1, "reason": "out of memory"}
    done = {"row": "zero_shot", "seed": 0, "accuracy": 0.5, "metric": "accuracy", "value": 0.5}
    status = {"state": state, "message": "time is up", "rows": [done], "failures": [failure]}
    given = {"/start_evaluation": "a-job", "/job_status": status}

    @contextmanager
    def connected(_address):
        yield SimpleNamespace(predict=lambda *_, api_name, **__: given[api_name])

    monkeypatch.setattr(server, "_server", connected)

    with pytest.raises(StoreError, match=f"{state} on the server: time is up"):
        server.evaluate_there("there", Experiment(), out=tmp_path, visitor="")


def test_where_things_lie_is_left_out_of_what_others_read():
    failure = RowFailure(row="lora", seed=0, reason="/home/anna/runs/a: cannot be read.")
    status = JobStatus(
        job_id="a-job", kind="evaluate", title="rows", state="failed", created="2026-01-01",
        message="/home/anna/runs/b: gone.", failures=[failure],
    )  # fmt: skip

    shown = status.without_folders()

    assert (shown.message, shown.failures[0].reason) == ("b: gone.", "a: cannot be read.")
