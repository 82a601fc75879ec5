"""Ways: every choice of the page becomes an experiment, and nothing else becomes one."""

import math
from functools import partial
from pathlib import Path

import pytest

from visitors import (
    ANNA,
    BEN,
    keep_rows,
    local_workspace,
    store_run,
    tiny_experiment,
    visitor,
)
from workbench.errors import ConfigError, StoreError, WorkbenchError
from workbench.methods.catalog import METHODS as CATALOG
from workbench.methods.catalog import method_class, method_name
from workbench.models.adapters.reading import import_adapter
from workbench.options import declared_options
from workbench.runs.runner import requests_of
from workbench.runs.session import open_task
from workbench.service import jobs, ways
from workbench.service.profile import CPU_SPACE, LOCAL
from workbench.service.uploads import task_choice
from workbench.service.ways import (
    EXAMPLES,
    Setting,
    checked_experiment,
    experiment_of,
    first_ways,
    imported_folders,
    is_quick,
    rows_of,
    run_title,
    trained_runs,
    way_choices,
    ways_of,
    words,
)
from workbench.service.wordings import keep_wording
from workbench.service.worker import work
from workbench.service.workspace import Workspace
from workbench.serving.desk import ModelDesk

METHODS = {
    "prompt_tuning": {"steps": 2, "eval_every": 2, "seeds": [3]},
    "small": {"method": "prompt_tuning", "steps": 2, "num_virtual_tokens": 4, "seeds": [0, 1]},
    "zero_shot": {},
}


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return local_workspace(tmp_path / "root")


# Settings


def test_a_setting_becomes_an_experiment(workspace):
    setting = Setting("sst2", "brief", "/models/mine", "fp32", chat=True)

    experiment = experiment_of(workspace, LOCAL, setting)

    assert (experiment.task.name, experiment.template) == ("sst2", "brief")
    assert (experiment.model, experiment.precision, experiment.chat) == (
        "/models/mine",
        "fp32",
        True,
    )


def test_only_the_test_split_is_limited(workspace):
    task = experiment_of(workspace, LOCAL, Setting(), limit_test=5).task

    assert (task.limit_train, task.limit_dev, task.limit_test) == (None, None, 5)


def test_an_upload_keeps_its_columns(workspace, tmp_path):
    key = keep_rows(workspace, tmp_path)

    experiment = experiment_of(workspace, LOCAL, Setting(task=key))

    assert experiment.task == task_choice(workspace, key)
    assert experiment.task.text_column == "message"


def test_zero_shot_is_the_reference_where_it_is_a_row(workspace):
    rows = {"lora": {}, "zero_shot": {}}

    assert experiment_of(workspace, LOCAL, Setting(), methods=rows).reference == "zero_shot"


def test_else_the_first_row_is_the_reference(workspace):
    rows = {"lora": {}, "few_shot": {}}

    assert experiment_of(workspace, LOCAL, Setting(), methods=rows).reference == "lora"


def test_a_public_page_refuses_another_base(tmp_path):
    with pytest.raises(ConfigError, match="this public page offers"):
        experiment_of(visitor(tmp_path, ANNA), CPU_SPACE, Setting(model="/etc"))


# Experiments from outside


def test_an_experiment_by_names_is_accepted(workspace):
    content = {"task": "sst2", "template": "brief", "methods": ["zero_shot", "lora"], "seeds": [1]}

    experiment = checked_experiment(workspace, LOCAL, content)

    assert (experiment.task.name, experiment.template) == ("sst2", "brief")
    assert (list(experiment.methods), experiment.seeds) == (["zero_shot", "lora"], (1,))


def test_an_upload_and_an_edited_wording_are_given_by_key(workspace, tmp_path):
    key = keep_rows(workspace, tmp_path)
    task = open_task(task_choice(workspace, key))
    wording = keep_wording(workspace, "version: 1\ninput: 'Q: {text}'\n", task)

    experiment = checked_experiment(workspace, LOCAL, {"task": {"name": key}, "template": wording})

    assert experiment.task.train == task_choice(workspace, key).train
    assert Path(experiment.template).parent == workspace.wordings


def test_limits_and_the_split_are_kept(workspace):
    limits = {"limit_train": 8, "limit_dev": 4, "limit_test": 2, "split_seed": 7}

    task = checked_experiment(workspace, LOCAL, {"task": {"name": "sst2", **limits}}).task

    assert {name: getattr(task, name) for name in limits} == limits


REFUSED = {
    "a train file": ({"task": {"train": "/etc/passwd"}}, "files are not read from here"),
    "a train file and a name": (
        {"task": {"name": "sst2", "train": "rows.csv"}},
        "files are not read from here",
    ),
    "a path as task": ({"task": "../prompts/sst2"}, "not a name of a task"),
    "a path as wording": ({"template": "/etc/passwd"}, "not a name of a wording"),
    "a relative path as wording": ({"template": "prompts/sst2/plain.yaml"}, "not a name"),
    "a file as wording": ({"template": "plain.yaml"}, "files are not read from here"),
    "a path as adapter": (
        {"methods": {"imported": {"adapter": "/etc"}}, "reference": "imported"},
        "adapter '/etc': not found among yours",
    ),
    "a path as adapter in a named row": (
        {"methods": {"x": {"method": "imported", "adapter": "../y"}}, "reference": "x"},
        "adapter '../y': not found among yours",
    ),
    "no adapter": (
        {"methods": {"imported": {}}, "reference": "imported"},
        "adapter 'None': not found among yours",
    ),
    "an adapter that is no name": (
        {"methods": {"imported": {"adapter": ["x"]}}, "reference": "imported"},
        "not found among yours",
    ),
    "an unknown upload": ({"task": "upload:0123456789ab"}, "not found among your files"),
    "an unknown key": ({"taks": "sst2"}, "experiment, taks: unknown key. Did you mean 'task'?"),
    "an unknown method": ({"methods": ["zero_shoot"]}, "unknown method 'zero_shoot'"),
    "an unknown option": ({"methods": {"lora": {"rnak": 4}}}, "unknown option 'rnak'"),
    "an option out of bounds": ({"methods": {"lora": {"rank": 0}}}, "0 is out of bounds"),
    "options of another type": ({"methods": {"lora": [1]}}, "experiment, methods.lora"),
    "a reference that is no row": (
        {"methods": ["zero_shot"], "reference": "lora"},
        "reference: unknown row 'lora'",
    ),
    "no rows": ({"methods": {}}, "experiment, methods"),
    "a row with markup": ({"methods": {"<b>": {"method": "lora"}}}, "is no name for a row"),
    "a row with a line break": ({"methods": {"a\n": {"method": "lora"}}}, "is no name for a row"),
    "a row with a dot": ({"methods": {"a.b": {"method": "lora"}}}, "is no name for a row"),
    "a long row": ({"methods": {"x" * 61: {"method": "lora"}}}, "is no name for a row"),
    "negative seeds": ({"seeds": [-1], "methods": {"lora": {}}}, "numbers from 0 up"),
    "a number that is none": ({"methods": {"lora": {"learning_rate": math.nan}}}, "no finite"),
    "a number as task": ({"task": 3}, "experiment, task"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_experiment_of_the_visitor_is_refused(case, workspace):
    content, expected = REFUSED[case]

    with pytest.raises(WorkbenchError) as caught:
        checked_experiment(workspace, LOCAL, content)

    assert expected in str(caught.value)


@pytest.mark.parametrize("content", [None, 3, "task: sst2", [1], [["task", "sst2"]]])
def test_what_is_no_mapping_is_refused(content, workspace):
    with pytest.raises(ConfigError, match="experiment"):
        checked_experiment(workspace, LOCAL, content)


ROWS = {f"row_{number}": {"method": "few_shot"} for number in range(300)}
TOO_MUCH = {
    "rows and seeds": ({"methods": ROWS, "seeds": list(range(3000))}, "3000 seeds; at most 1,000"),
    "many runs": ({"methods": ROWS, "seeds": list(range(999))}, "299,700 runs; at most 10,000"),
    "rows within what works": ({"methods": ROWS, "seeds": [0]}, "300 rows; at most 8 here."),
    "seeds within what works": ({"seeds": list(range(9))}, "9 seeds; at most 3 here."),
    "names of runs": (
        {"methods": {"combined": {"adapters": ",".join(["run"] * 9999)}}},
        "combined.adapters: 39995 characters; at most 2000 here.",
    ),
}


@pytest.mark.parametrize("case", TOO_MUCH)
def test_too_much_is_refused_before_it_is_multiplied_out(case, workspace, monkeypatch):
    content, expected = TOO_MUCH[case]
    monkeypatch.setattr(ways, "requests_of", pytest.fail)
    monkeypatch.setattr(ways, "_own_adapters", pytest.fail)

    with pytest.raises(ConfigError) as caught:
        checked_experiment(workspace, CPU_SPACE, {"reference": "row_0", **content})

    assert expected in str(caught.value)


def test_an_imported_adapter_is_given_by_its_name(workspace, lora_export):
    folder, _ = import_adapter(lora_export, workspace.imports)
    rows = {"mine": {"method": "imported", "adapter": folder.name}}

    experiment = checked_experiment(workspace, LOCAL, {"methods": rows, "reference": "mine"})

    assert experiment.methods["mine"]["adapter"] == str(folder)


def test_an_adapter_of_another_visitor_is_not_found(tmp_path, lora_export):
    folder, _ = import_adapter(lora_export, visitor(tmp_path, ANNA).imports)
    rows = {"imported": {"adapter": folder.name}}

    with pytest.raises(StoreError, match="not found among yours"):
        checked_experiment(
            visitor(tmp_path, BEN), LOCAL, {"methods": rows, "reference": "imported"}
        )


# Keys


def test_more_ways_than_allowed_are_refused(workspace):
    with pytest.raises(ConfigError) as caught:
        ways_of(workspace, ["words:zero_shot"] * 9, most=8)

    assert str(caught.value) == "columns: 9 chosen; at most 8 here."


def test_a_way_chosen_twice_is_one_column(workspace):
    assert len(ways_of(workspace, ["words:zero_shot"] * 3, most=8)) == 1


def test_every_word_is_a_way(workspace):
    ways = ways_of(workspace, [f"words:{name}" for name in words()], most=8)

    assert {way.label: (way.method, way.options) for way in ways} == {
        name: (found.method, found.offer.options) for name, found in words().items()
    }


def test_the_fastest_ways_come_first():
    assert list(words()) == [
        "zero_shot", "few_shot", "few_shot_calibrated", "chain_of_thought", "few_shot_nearest",
        "self_consistency",
    ]  # fmt: skip
    assert [name for name in words() if not is_quick(f"words:{name}")] == [
        "few_shot_nearest", "self_consistency",
    ]  # fmt: skip
    assert first_ways() == ["words:zero_shot", "words:few_shot", "words:chain_of_thought"]


BAD_KEYS = {
    "unknown words": ("words:zero_shoot", "unknown way 'zero_shoot'. Did you mean 'zero_shot'?"),
    "no prefix": ("zero_shot", "'zero_shot' is no way to answer"),
    "empty": ("", "'' is no way to answer"),
    "an unknown run": ("run:missing_run", "not found among your runs"),
    "a path": ("run:../x", "not a name of a run"),
    "an unknown import": ("import:0123456789ab", "not found among yours"),
    "a path as import": ("import:../../etc", "not found among yours"),
    "an unknown example": ("example:none", "is no way to answer"),
    "a path as example": ("example:../service", "is no way to answer"),
    "none": (None, "is no list of ways"),
    "a number": (3, "is no list of ways"),
    "a list": (["words:zero_shot"], "is no list of ways"),
    "a mapping": ({"words": "zero_shot"}, "is no list of ways"),
    "long": ("x" * 5000, "is no way to answer"),
}


USES = {
    "columns": partial(ways_of, most=8),
    "rows": partial(rows_of, seeds=[0]),
}


@pytest.mark.parametrize("case", BAD_KEYS)
@pytest.mark.parametrize("use", USES)
def test_what_is_no_way_is_refused(case, use, workspace):
    key, expected = BAD_KEYS[case]

    with pytest.raises(WorkbenchError) as caught:
        USES[use](workspace, [key])

    assert expected in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("keys", ["words:zero_shot", {"words:zero_shot": 1}, 3, True])
@pytest.mark.parametrize("use", USES)
def test_what_is_no_list_of_ways_is_refused(keys, use, workspace):
    with pytest.raises(ConfigError, match=r"is no list of ways\. Choose from the list"):
        USES[use](workspace, keys)


@pytest.mark.parametrize("keys", [None, [], ()])
@pytest.mark.parametrize("use", USES)
def test_no_way_at_all_is_refused(keys, use, workspace):
    with pytest.raises(ConfigError) as caught:
        USES[use](workspace, keys)

    assert str(caught.value) == "columns: none chosen. Choose at least one way to answer."


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_a_run_that_is_not_finished_cannot_answer(status, workspace):
    run_id = store_run(workspace.folder, status=status)

    with pytest.raises(StoreError) as caught:
        ways_of(workspace, [f"run:{run_id}"], most=8)

    assert str(caught.value) == f"run '{run_id}': is {status}. Resume its job."


# Rows of an evaluation


def test_words_with_demonstrations_take_all_seeds_and_the_others_one(workspace):
    rows = rows_of(workspace, [f"words:{name}" for name in words()], seeds=[4, 5])

    assert {name: options["seeds"] for name, options in rows.items()} == {
        "zero_shot": [0], "few_shot": [4, 5], "few_shot_calibrated": [4, 5],
        "chain_of_thought": [0], "few_shot_nearest": [0], "self_consistency": [4, 5],
    }  # fmt: skip


def test_rows_can_be_asked_for_as_an_experiment(workspace):
    rows = rows_of(workspace, [f"words:{name}" for name in words()], seeds=[0, 1])

    requests = requests_of(experiment_of(workspace, LOCAL, Setting(), methods=rows))

    assert [(r.row, method_name(r.method), r.seed) for r in requests] == [
        ("zero_shot", "zero_shot", 0), ("few_shot", "few_shot", 0), ("few_shot", "few_shot", 1),
        ("few_shot_calibrated", "few_shot", 0), ("few_shot_calibrated", "few_shot", 1),
        ("chain_of_thought", "chain_of_thought", 0), ("few_shot_nearest", "few_shot", 0),
        ("self_consistency", "self_consistency", 0), ("self_consistency", "self_consistency", 1),
    ]  # fmt: skip


def test_a_run_whose_row_is_called_like_words_takes_no_place_from_them(workspace):
    run_id = store_run(workspace.folder, method="few_shot", options={"k": 2})

    for keys in (["words:few_shot", f"run:{run_id}"], [f"run:{run_id}", "words:few_shot"]):
        rows = rows_of(workspace, keys, seeds=[0])
        assert len(rows) == 2
        assert rows["few_shot"] == {"seeds": [0]}


def test_examples_of_the_package_are_rows_with_adapters(workspace):
    rows = rows_of(workspace, [f"example:{folder}" for folder in EXAMPLES], seeds=[5])

    for name in EXAMPLES.values():
        assert rows[name]["method"] == "imported"
        assert rows[name]["seeds"] == [0]
        assert (Path(rows[name]["adapter"]) / "adapter_model.safetensors").is_file()


# Trained runs


@pytest.fixture(scope="module")
def desk():
    return ModelDesk(is_direct=True)


@pytest.fixture(scope="module")
def trained(tiny_folder, tmp_path_factory, desk):
    """Return a workspace with finished runs, and the experiment they were made by."""
    root = tmp_path_factory.mktemp("ways")
    workspace = local_workspace(root)
    key = keep_rows(workspace, root / "given")
    experiment = tiny_experiment(workspace, tiny_folder, key, METHODS)
    job = jobs.submit(workspace, LOCAL, experiment, kind="evaluate", title="a job")
    status = work(job.folder, workspace.store, open_session=desk.session)
    assert status.state == "finished", status.message
    return workspace, experiment


def test_trained_runs_are_offered_and_others_not(trained, desk):
    workspace, experiment = trained

    found = [
        (run.record.row, run.spec.seed) for run, _ in trained_runs(workspace, desk, experiment)
    ]

    assert sorted(found) == [("prompt_tuning", 3), ("small", 0), ("small", 1)]


def test_titles_of_runs_tell_them_apart(trained, desk):
    workspace, experiment = trained
    titles = [title for _, title in trained_runs(workspace, desk, experiment)]

    assert len(set(titles)) == 3
    assert {title.split(" · ")[0] for title in titles} == {"prompt_tuning", "small"}


@pytest.mark.parametrize(
    "changes",
    [{"precision": "bf16"}, {"chat": True}, {"template": None}, {"task": {"split_seed": 9}}],
    ids=str,
)
def test_a_run_of_another_setting_is_not_offered(changes, trained, desk):
    workspace, experiment = trained
    if "task" in changes:
        changes = {"task": experiment.task.model_copy(update=changes["task"])}
    if "template" in changes:
        task = desk.task(experiment.task)
        path = keep_wording(workspace, "version: 1\ninput: 'Q: {text}'\n", task)
        changes = {"template": str(workspace.wordings / f"{path.removeprefix('edited:')}.yaml")}

    other = experiment.model_copy(update=changes)

    assert trained_runs(workspace, desk, other) == []


def test_words_come_first_then_runs_then_imports(trained, desk, lora_export):
    workspace, experiment = trained
    folder, _ = import_adapter(lora_export, workspace.imports)

    kinds = [key.split(":")[0] for _, key in way_choices(workspace, desk, experiment)]

    assert kinds == ["words"] * len(words()) + ["run"] * 3 + ["import"]
    assert imported_folders(workspace) == [folder.name]


def test_every_way_that_is_offered_can_be_chosen(trained, desk):
    workspace, experiment = trained
    keys = [key for _, key in way_choices(workspace, desk, experiment)]

    assert len(ways_of(workspace, keys, most=20)) == len(keys)


def test_a_trained_run_as_a_row_keeps_options_and_seed(trained, desk):
    workspace, experiment = trained
    runs = [run for run, _ in trained_runs(workspace, desk, experiment)]

    rows = rows_of(workspace, [f"run:{run.record.run_id}" for run in runs], seeds=[7, 8])
    requests = requests_of(experiment_of(workspace, LOCAL, Setting(), methods=rows))

    assert sorted((method_name(r.method), r.seed) for r in requests) == [
        ("prompt_tuning", 0), ("prompt_tuning", 1), ("prompt_tuning", 3),
    ]  # fmt: skip
    assert all(r.method.steps == 2 for r in requests)


def test_runs_of_one_row_get_names_of_their_own(trained, desk):
    workspace, experiment = trained
    runs = [run for run, _ in trained_runs(workspace, desk, experiment)]

    rows = rows_of(workspace, [f"run:{run.record.run_id}" for run in runs], seeds=[0])

    small = [run for run in runs if run.record.row == "small"]
    assert set(rows) == {"prompt_tuning", "small", f"small_{small[1].spec.digest[:4]}"}


def test_a_trained_run_as_a_row_is_found_and_not_trained_again(trained, desk, tiny_folder):
    workspace, experiment = trained
    runs = [run for run, _ in trained_runs(workspace, desk, experiment)]
    rows = rows_of(workspace, [f"run:{run.record.run_id}" for run in runs], seeds=[7, 8])
    changes = {"methods": rows, "reference": next(iter(rows)), "seeds": (7,)}
    again = experiment.model_copy(update=changes)
    job = jobs.submit(workspace, LOCAL, again, kind="evaluate", title="again")

    status = work(job.folder, workspace.store, open_session=desk.session)

    assert {row.run_id: row.found for row in status.rows} == {
        run.record.run_id: True for run in runs
    }


def test_a_run_is_called_by_row_seed_and_hash(workspace):
    run = workspace.run(store_run(workspace.folder, seed=5))

    assert run_title(run) == f"zero_shot · seed 5 · {run.spec.digest[:4]}"


# A warm start


def warm(start: object) -> dict[str, dict[str, object]]:
    return {"prompt_tuning": {"init": "prompt", "init_prompt": start}}


def test_a_warm_start_is_named_by_a_run_of_ones_own(workspace):
    run_id = store_run(workspace.folder)
    started = experiment_of(workspace, LOCAL, Setting(), methods=warm(run_id))
    folder = str(workspace.run(run_id).adapter_folder)

    assert started.methods["prompt_tuning"]["init_prompt"] == folder
    again = experiment_of(workspace, LOCAL, Setting(), methods=warm(folder))
    assert again.methods["prompt_tuning"]["init_prompt"] == folder


@pytest.mark.parametrize("start", ["/etc", "..", "no-such-run", "/etc/x/adapter", "adapter", 7])
def test_nothing_else_is_a_start(workspace, start):
    with pytest.raises(StoreError):
        experiment_of(workspace, LOCAL, Setting(), methods=warm(start))


def test_a_run_of_somebody_else_is_no_start(tmp_path):
    anna, ben = visitor(tmp_path, ANNA), visitor(tmp_path, BEN)
    run_id = store_run(anna.folder)
    small = Setting(model=CPU_SPACE.models[0])

    for start in (run_id, str(anna.run(run_id).adapter_folder)):
        with pytest.raises(StoreError, match="not found among your runs"):
            experiment_of(ben, LOCAL, small, methods=warm(start))


NAMING = [
    (method, option.name, option.holds)
    for method in CATALOG
    for option in declared_options(method_class(method)).values()
    if option.holds in ("adapter", "run", "runs")
]


@pytest.mark.parametrize(("method", "option", "holds"), NAMING)
@pytest.mark.parametrize("asked", ["/etc", "../../x", "/etc/x/adapter", "not-mine"])
def test_every_option_that_names_adapters_takes_only_ones_own(
    method, option, holds, asked, workspace
):
    rows = {"row": {"method": method, option: asked}}

    for make in (
        lambda: experiment_of(workspace, LOCAL, Setting(), methods=rows),
        lambda: checked_experiment(workspace, LOCAL, {"methods": rows, "reference": "row"}),
    ):
        with pytest.raises(StoreError, match=r"not found among|not a name"):
            make()


def test_a_folder_among_several_that_is_not_ones_own_is_refused(workspace):
    run_id = store_run(workspace.folder)
    rows = {"combined": {"adapters": f"{run_id}, {run_id}"}}
    folder = str(workspace.run(run_id).adapter_folder)

    made = experiment_of(workspace, LOCAL, Setting(), methods=rows)

    assert made.methods["combined"]["adapters"] == f"{folder},{folder}"
    rows = {"combined": {"adapters": f"{run_id},/etc"}}
    with pytest.raises(StoreError):
        experiment_of(workspace, LOCAL, Setting(), methods=rows)


def test_an_imported_adapter_may_be_asked_for_again_by_its_folder(workspace, tmp_path, lora_export):
    folder, _ = import_adapter(lora_export, workspace.imports)
    rows = {"imported": {"adapter": str(folder)}}

    made = experiment_of(workspace, LOCAL, Setting(), methods=rows)

    assert made.methods["imported"]["adapter"] == str(folder)
    with pytest.raises(StoreError, match="not found among yours"):
        experiment_of(visitor(tmp_path, BEN), LOCAL, Setting(), methods=rows)
