"""Where a run comes from is found again: in its own folder first, and from whatever folder."""

from pathlib import Path

import pytest

from specs import spec_of
from visitors import write_rows
from workbench.errors import StoreError
from workbench.runs.experiment import Experiment, TaskChoice, store_experiment
from workbench.runs.origin import keep_origin, own_experiment
from workbench.runs.session import open_task, open_template
from workbench.runs.store import RunRecord, RunStore, StoredRun
from workbench.tasks.base import Task

WORDING = "version: 1\ninstruction: Say it.\ninput: 'M: {text} ->'\nseparator: '|'\n"


@pytest.fixture
def asked(tmp_path, monkeypatch) -> Experiment:
    """Return an experiment on rows, wording and base named from the folder a command runs in."""
    here = tmp_path / "here"
    write_rows(here / "rows.csv")
    (here / "words.yaml").write_text(WORDING)
    (here / "base").mkdir()
    monkeypatch.chdir(here)
    rows = {"text_column": "message", "label_column": "intent"}
    return Experiment(
        model="./base", task=TaskChoice(train=Path("rows.csv"), **rows), template="words.yaml"
    )


def made(
    experiment: Experiment, root: Path, *, task: Task | None = None, version: int | None = None
) -> StoredRun:
    """Return a run of an experiment that nobody executed, on its data unless others are given."""
    task = task or open_task(experiment.task)
    template = open_template(experiment.template, task)
    spec = spec_of(
        base={"name": experiment.model, "precision": "fp32"},
        task={
            "name": task.name,
            "digest": task.digest,
            "num_train": len(task.train),
            "num_dev": len(task.dev),
        },
        template={"name": template.name, "digest": template.digest},
    )
    if version is not None:
        spec = spec.model_copy(update={"schema_version": version})
    store = RunStore(root)
    record = RunRecord(
        run_id=spec.run_id, row="zero_shot", status="finished", source="made for tests",
        started="2026-01-01T00:00:00",
    )  # fmt: skip
    with store.working_on(spec):
        keep_origin(store, spec.run_id, experiment)
        store.write_record(record)
    found = store.find(spec.run_id)
    assert found is not None
    return found


def test_nothing_beside_a_run_is_read_where_its_own_data_is_at_hand(asked, tmp_path):
    run = made(asked, tmp_path / "runs")
    for number in range(5):
        rows = write_rows(tmp_path / f"other_{number}.csv", 20 + 2 * number)
        task = asked.task.model_copy(update={"train": rows, "name": "rows"})
        beside = asked.model_copy(update={"task": task})
        store_experiment(tmp_path / "runs" / "jobs" / str(number), beside)
    read: list[TaskChoice] = []

    def reading(choice: TaskChoice) -> Task:
        read.append(choice)
        return open_task(choice)

    own = own_experiment(run, open_task=reading)

    assert [choice.train.name for choice in read] == ["rows.csv"]
    assert (own.template.endswith("words.yaml"), own.precision) == (True, "fp32")


def test_data_is_digested_once_for_every_place_that_names_it(asked, tmp_path):
    run = made(asked, tmp_path / "runs")
    Path("rows.csv").write_text(Path("rows.csv").read_text().replace("lovely", "boring"))
    for number in range(5):
        store_experiment(tmp_path / "runs" / "jobs" / str(number), asked)
    read: list[TaskChoice] = []

    def reading(choice: TaskChoice) -> Task:
        read.append(choice)
        return open_task(choice)

    with pytest.raises(StoreError, match="not at hand"):
        own_experiment(run, open_task=reading)

    assert len(read) == len(set(read))


def test_a_run_is_found_again_from_another_folder(asked, tmp_path, monkeypatch):
    run = made(asked, tmp_path / "runs")
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")

    own = own_experiment(run)

    assert own.task.train == tmp_path / "here" / "rows.csv"
    assert own.template == str(tmp_path / "here" / "words.yaml")
    assert Path(own.model) == tmp_path / "here" / "base"


@pytest.mark.parametrize("name", ["rows.csv", "words.yaml"])
def test_what_is_gone_is_named_by_the_path_looked_for(name, asked, tmp_path):
    run = made(asked, tmp_path / "runs")
    Path(name).unlink()

    with pytest.raises(StoreError) as told:
        own_experiment(run)

    assert f"{tmp_path / 'here' / name}: no such file" in str(told.value)


@pytest.mark.parametrize("name", ["rows.csv", "words.yaml"])
def test_what_is_another_now_is_named_too(name, asked, tmp_path):
    run = made(asked, tmp_path / "runs")
    file = Path(name)
    file.write_text(file.read_text().replace("lovely", "boring").replace("Say it", "Tell it"))

    with pytest.raises(StoreError) as told:
        own_experiment(run)

    assert f"{tmp_path / 'here' / name}: gives something else" in str(told.value)


def test_rows_of_an_older_limit_are_found_where_dev_was_no_part_of_it(asked, tmp_path):
    limited = asked.model_copy(update={"task": asked.task.model_copy(update={"limit_train": 6})})
    # Six to learn from and, in proportion, two to choose on: the rule until version 3.
    sizes = {"limit_train": 6, "limit_dev": 2}
    older = open_task(asked.task.model_copy(update=sizes))
    run = made(limited, tmp_path / "older", task=older, version=3)

    found = open_task(own_experiment(run).task)

    assert (len(found.train), len(found.dev), found.digest) == (6, 2, older.digest)
    with pytest.raises(StoreError, match="are not at hand"):
        own_experiment(made(limited, tmp_path / "newer", task=older, version=4))
