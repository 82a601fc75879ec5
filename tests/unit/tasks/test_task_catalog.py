"""Every task of the catalog loads from data of its real shape, and so do a user's files."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import datasets
import pytest
from datasets import ClassLabel, Dataset, Features, Value

import workbench
from workbench.errors import ConfigError, TaskError
from workbench.tasks import catalog
from workbench.tasks.base import Task
from workbench.tasks.catalog import (
    TaskFile,
    build_task,
    list_tasks,
    load_task,
    prompts_folder,
    task_from_files,
    wordings_of,
)
from workbench.tasks.rows import ColumnMapping
from workbench.tasks.task_file import SplitNames

TASK_FILES = {task_file.name: task_file for task_file in list_tasks()}

Column = Callable[[int], object]


def _text(word: str) -> Column:
    return lambda n: f"{word} number {n}"


def _cycle(*values: object) -> Column:
    return lambda n: values[n % len(values)]


def _classes(*names: str) -> ClassLabel:
    return ClassLabel(names=list(names))


INT, TEXT, BOOL = Value("int64"), Value("string"), Value("bool")
TREC = ("ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM")
BANKING = [values[0] for values in TASK_FILES["banking77"].labels.values()]
GSM8K = "She has 600+{n}=<<600+{n}=1{n:03d}>>1,{n:03d} clips.\n#### 1,{n:03d}"

# Task: file layout, splits with their sizes, columns as published.
HUB_SETS: dict[str, tuple[str, dict[str, int], dict[str, tuple[object, Column]]]] = {
    "ag_news": (
        "data/{split}-00000-of-00001.parquet",
        {"train": 40, "test": 8},
        {
            "text": (TEXT, _text("news")),
            "label": (_classes("World", "Sports", "Business", "Sci/Tech"), _cycle(0, 1, 2, 3)),
        },
    ),
    "banking77": (
        "{split}.jsonl",
        {"train": 77 * 3, "test": 77},
        {
            "text": (TEXT, _text("message")),
            "label": (INT, lambda n: n % 77),
            "label_text": (TEXT, _cycle(*BANKING)),
        },
    ),
    "boolq": (
        "data/{split}-00000-of-00001.parquet",
        {"train": 20, "validation": 6},
        {
            "question": (TEXT, _text("question")),
            "answer": (BOOL, _cycle(True, False)),
            "passage": (TEXT, _text("passage")),
        },
    ),
    "dialogsum": (
        "{split}.csv",
        {"train": 20, "validation": 6, "test": 4},
        {
            "id": (TEXT, lambda n: f"train_{n}"),
            "dialogue": (TEXT, lambda n: f"#Person1#: Hello {n}.\n#Person2#: Bye {n}."),
            "summary": (TEXT, _text("They say")),
            "topic": (TEXT, _cycle("greeting")),
        },
    ),
    "e2e_nlg": (
        "default/{split}/0000.parquet",
        {"train": 20, "validation": 6, "test": 4},
        {
            "meaning_representation": (TEXT, lambda n: f"name[Inn {n}], food[fish]"),
            "human_reference": (TEXT, _text("Fish at")),
        },
    ),
    "gsm8k": (
        "main/{split}-00000-of-00001.parquet",
        {"train": 20, "test": 6},
        {"question": (TEXT, _text("q")), "answer": (TEXT, lambda n: GSM8K.format(n=n))},
    ),
    "rte": (
        "rte/{split}-00000-of-00001.parquet",
        {"train": 20, "validation": 6, "test": 4},
        {
            "sentence1": (TEXT, _text("premise")),
            "sentence2": (TEXT, _text("hypothesis")),
            "label": (_classes("entailment", "not_entailment"), _cycle(0, 1)),
            "idx": (INT, lambda n: n),
        },
    ),
    "sst2": (
        "data/{split}-00000-of-00001.parquet",
        {"train": 20, "validation": 6, "test": 4},
        {
            "idx": (INT, lambda n: n),
            "sentence": (TEXT, _text("film")),
            "label": (_classes("negative", "positive"), _cycle(0, 1)),
        },
    ),
    "svamp": (
        "data/{split}-00000-of-00001.parquet",
        {"train": 20, "test": 6},
        {
            "ID": (TEXT, lambda n: f"chal-{n}"),
            "Body": (TEXT, _text("There are apples ")),
            "Question": (TEXT, lambda n: f" How many are {n}?"),
            "Equation": (TEXT, lambda n: f"( {n}.0 + 1.0 )"),
            "Answer": (TEXT, _cycle("140", "7.0", "2.5")),
            "Type": (TEXT, _cycle("Addition")),
            "question_concat": (TEXT, _text("joined")),
        },
    ),
    "trec": (
        "{split}.jsonl",
        {"train": 36, "test": 12},
        {
            "text": (TEXT, _text("question")),
            "label": (INT, lambda n: n % 50),
            "label_text": (TEXT, _cycle("an individual")),
            "label_original": (TEXT, _cycle("HUM:ind")),
            "label_coarse": (INT, lambda n: n % 6),
            "label_coarse_text": (TEXT, _cycle("human beings")),
            "label_coarse_original": (TEXT, _cycle(*TREC)),
        },
    ),
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)


def _write_hub_set(name: str) -> TaskFile:
    """Write a folder like the published dataset; return the task file, pointed at it."""
    layout, sizes, columns = HUB_SETS[name]
    first = 0
    for split, size in sizes.items():
        numbers = range(first, first + size)
        first += size
        data = {column: [value(n) for n in numbers] for column, (_, value) in columns.items()}
        if split == "test" and "validation" in sizes and "label" in columns:
            data["label"] = [-1] * size  # hidden, as in GLUE
        path = Path("set", layout.format(split=split))
        path.parent.mkdir(parents=True, exist_ok=True)
        features = Features({column: kind for column, (kind, _) in columns.items()})
        rows = Dataset.from_dict(data, features=features)
        write = {".jsonl": rows.to_json, ".csv": rows.to_csv, ".parquet": rows.to_parquet}
        write[path.suffix](path)
    source = TASK_FILES[name].source
    if source.config is not None:
        files = "\n".join(
            f"  - {{split: {split}, path: {layout.format(split=split)}}}" for split in sizes
        )
        Path("set/README.md").write_text(
            f"---\nconfigs:\n- config_name: {source.config}\n  data_files:\n{files}\n---\n"
        )
    local = source.model_copy(update={"hub_id": "set"})
    return TASK_FILES[name].model_copy(update={"source": local})


def _all_samples(task: Task) -> list[tuple[str, dict[str, str]]]:
    return [(s.id, dict(s.fields)) for s in (*task.train, *task.dev, *task.test)]


def test_the_catalog_has_the_thirteen_tasks() -> None:
    own = ["arithmetic", "formal_replies", "support_intents"]
    assert list(TASK_FILES) == sorted([*HUB_SETS, *own])


@pytest.mark.parametrize("name", TASK_FILES)
def test_every_task_file_says_what_it_is_and_under_which_licence(name: str) -> None:
    task_file = TASK_FILES[name]

    assert task_file.description
    assert task_file.licence
    assert task_file.citation
    assert all(label == label.lower().strip() for label in task_file.labels)
    assert not any("_" in label for label in task_file.labels)


@pytest.mark.parametrize("name", HUB_SETS)
def test_every_hub_task_loads_from_rows_of_its_real_shape(name: str) -> None:
    task_file = _write_hub_set(name)
    names = task_file.splits or SplitNames(train="")
    sizes = HUB_SETS[name][1]

    task = build_task(task_file)

    assert (task.name, task.kind) == (name, task_file.kind)
    assert task.field_names == tuple(task_file.fields)
    given = [names.train] if names.dev is None else [names.train, names.dev]
    assert len(task.train) + len(task.dev) == sum(sizes[split] for split in given)
    assert len(task.test) == sizes[names.test or ""]
    assert len({sample_id for sample_id, _ in _all_samples(task)}) == len(_all_samples(task))
    assert task.dropped.total == 0
    if task.kind == "classification":
        assert {sample.target for sample in task.train} == set(task.labels)
        assert {sample.target for sample in task.dev} == set(task.labels)


def test_banking77_has_77_different_labels() -> None:
    assert len(set(BANKING)) == len(TASK_FILES["banking77"].labels) == 77


def test_rte_reports_validation_under_its_own_field_names() -> None:
    task = build_task(_write_hub_set("rte"))

    assert task.test[1].id == "rte-test-00002"
    assert task.test[1].fields == {
        "premise": "premise number 21",
        "hypothesis": "hypothesis number 21",
    }
    assert task.test[1].target == "not entailment"
    assert task.labels == ("entailment", "not entailment")
    assert (task.source.kind, task.source.location) == ("hub", "set, rte")


def test_boolq_answers_become_yes_and_no() -> None:
    task = build_task(_write_hub_set("boolq"))

    assert [sample.target for sample in task.test] == ["yes", "no", "yes", "no", "yes", "no"]


def test_gsm8k_splits_the_solution_into_steps_and_answer() -> None:
    task = build_task(_write_hub_set("gsm8k"))

    assert task.test[0].target == "1020"
    assert task.test[0].rationale == "She has 600+20=1,020 clips."
    assert task.test[0].fields == {"text": "q number 20"}


def test_svamp_joins_body_and_question() -> None:
    task = build_task(_write_hub_set("svamp"))

    assert task.test[0].fields == {"text": "There are apples  number 20 How many are 20?"}
    assert [sample.target for sample in task.test[:3]] == ["2.5", "140", "7"]


@pytest.mark.parametrize("name", ["sst2", "ag_news", "rte"])
def test_class_numbers_are_understood_where_the_names_are_lost(name: str) -> None:
    task_file = _write_hub_set(name)
    splits = task_file.splits or SplitNames(train="")
    expected = build_task(task_file)
    for split in {splits.train, splits.test}:
        path = next(Path("set").rglob(f"{split}-*.parquet"))
        rows = Dataset.from_parquet(str(path)).cast_column("label", INT)
        rows.to_json(Path("plain", f"{split}.jsonl"))
    local = task_file.source.model_copy(update={"hub_id": "plain", "config": None})

    task = build_task(task_file.model_copy(update={"source": local}))

    assert task.test == expected.test


def test_a_label_that_the_task_file_does_not_list_is_refused() -> None:
    task_file = _write_hub_set("ag_news").model_copy(update={"labels": {"world": ("World",)}})

    with pytest.raises(TaskError) as error:
        build_task(task_file)

    assert str(error.value) == (
        "task 'ag_news', train: labels 'Sports' (10 of 40 rows), 'Business' (10 of 40 rows), "
        "'Sci/Tech' (10 of 40 rows) not listed in the task file. Listed: World. "
        "Add them under 'labels'."
    )


def test_support_intents_loads_from_the_package() -> None:
    task = load_task("support_intents")

    assert [len(part) for part in (task.train, task.dev, task.test)] == [420, 102, 198]
    assert task.labels == (
        "billing",
        "delivery",
        "return",
        "account",
        "technical",
        "cancellation",
    )
    assert set(Counter(sample.target for sample in task.train).values()) == {70}
    assert task.dropped.total == 0
    assert task.source.location == "workbench/tasks/data/support_intents.jsonl"


def test_embedded_rows_of_no_split_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"text": "a", "label": "b", "split": split} for split in ("train", "valid", None)]
    Path("mine.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    monkeypatch.setattr(catalog, "_DATA_FOLDER", tmp_path)
    source = TASK_FILES["support_intents"].source.model_copy(update={"file": "mine.jsonl"})

    with pytest.raises(TaskError) as error:
        build_task(TASK_FILES["support_intents"].model_copy(update={"source": source}))

    assert str(error.value) == (
        f"{tmp_path / 'mine.jsonl'}: 'split' is none of train, dev, test in lines 2, 3. "
        "Correct the rows, or the splits in the task file."
    )


def test_arithmetic_is_the_same_for_every_seed_until_a_limit_is_set() -> None:
    task = load_task("arithmetic", seed=1)

    assert [len(part) for part in (task.train, task.dev, task.test)] == [400, 100, 200]
    assert task.digest == load_task("arithmetic", seed=2).digest
    assert task.labels == ()
    assert all(sample.rationale for sample in task.train)
    assert task.source.location == "workbench/tasks/arithmetic.py, seed 0"


def test_limits_shorten_each_split_and_follow_the_seed() -> None:
    limits = {"limit_train": 12, "limit_dev": 6, "limit_test": 9}

    task = load_task("arithmetic", seed=1, limit_train=12, limit_dev=6, limit_test=9)

    assert [len(part) for part in (task.train, task.dev, task.test)] == list(limits.values())
    assert task.digest == load_task("arithmetic", seed=1, **limits).digest
    assert task.digest != load_task("arithmetic", seed=2, **limits).digest


@pytest.mark.parametrize("name", ["sst", "../sst2", "sst2/", ""])
def test_an_unknown_task_is_refused_with_the_closest(name: str) -> None:
    hint = " Did you mean 'sst2'?" if "sst" in name else ""

    with pytest.raises(ConfigError) as error:
        load_task(name)

    assert str(error.value) == (
        f"unknown task '{name}'.{hint} Known: ag_news, arithmetic, banking77, boolq, dialogsum, "
        "e2e_nlg, formal_replies, gsm8k, rte, sst2, support_intents, svamp, trec."
    )


def test_prompts_of_an_installed_package_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = ModuleType("workbench")
    package.__file__ = str(tmp_path / "site" / "workbench" / "__init__.py")
    monkeypatch.setattr(catalog, "workbench", package)

    with pytest.raises(ConfigError) as error:
        prompts_folder()
    (tmp_path / "site" / "prompts").mkdir(parents=True)
    beside = prompts_folder()
    (tmp_path / "site" / "workbench" / "prompts").mkdir(parents=True)
    inside = prompts_folder()

    assert str(error.value) == (
        f"no folder of prompts: looked at {inside} and {beside}. Install the package again."
    )
    assert beside == tmp_path / "site" / "prompts"
    assert inside == tmp_path / "site" / "workbench" / "prompts"


def test_a_task_file_in_a_folder_of_another_name_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = (prompts_folder() / "sst2" / "task.yaml").read_text()
    Path("prompts/sst").mkdir(parents=True)
    Path("prompts/sst/task.yaml").write_text(text)
    monkeypatch.setattr(catalog, "prompts_folder", lambda: Path("prompts"))

    with pytest.raises(ConfigError) as error:
        list_tasks()

    assert str(error.value) == (
        "prompts/sst/task.yaml, name: 'sst2' stands in the folder 'sst'. "
        "Templates are found by the name; make the two equal."
    )


def _write_csv(name: str, num_rows: int, *, first: int = 0) -> Path:
    lines = [f"message {first + n},{'no' if n % 2 else 'yes'}" for n in range(num_rows)]
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["text,label", *lines]))
    return path


def _task_from(
    train: Path, *, dev: Path | None = None, test: Path | None = None, **limits: int
) -> Task:
    return task_from_files(
        train, dev=dev, test=test, mapping=ColumnMapping(), kind="classification", **limits
    )


def test_one_file_is_cut_into_three_splits() -> None:
    task = _task_from(_write_csv("My Data.csv", 20))

    assert [len(part) for part in (task.train, task.dev, task.test)] == [12, 4, 4]
    assert (task.name, task.labels, task.field_names) == ("my_data", ("no", "yes"), ("text",))
    assert task.train[0].id.startswith("My Data-000")
    assert task.source.location == "train My Data.csv"
    assert task.digest == _task_from(Path("My Data.csv")).digest


def test_three_files_stay_three_splits_with_ids_of_their_own() -> None:
    task = _task_from(
        _write_csv("a/rows.csv", 4),
        dev=_write_csv("b/rows.csv", 2, first=10),
        test=_write_csv("c/test.csv", 2, first=20),
    )

    assert [sample.id for sample in (task.train[0], task.dev[0], task.test[0])] == [
        "train-rows-00001",
        "dev-rows-00001",
        "test-00001",
    ]
    assert task.source.location == "train a/rows.csv, dev b/rows.csv, test c/test.csv"


def test_a_file_given_twice_leaves_nothing_to_train_on() -> None:
    path = _write_csv("rows.csv", 4)

    with pytest.raises(TaskError) as error:
        _task_from(path, test=path)

    assert str(error.value) == (
        "task 'rows': train has no rows. Dropped: 4 train: same text as a test row. "
        "Add rows to train.\n"
        "task 'rows': dev has no rows. Dropped: 4 train: same text as a test row. "
        "Add rows to dev."
    )


def test_leaks_between_files_are_dropped_and_counted() -> None:
    train, test = _write_csv("train.csv", 20), _write_csv("test.csv", 6, first=16)

    task = _task_from(train, test=test)

    assert task.dropped.counts == {"train: same text as a test row": 4}
    texts = [fields["text"] for _, fields in _all_samples(task)]
    assert len(texts) == len(set(texts)) == 22


def test_short_answers_from_a_file_have_no_labels() -> None:
    path = Path("sums.jsonl")
    path.write_text("\n".join(json.dumps({"text": f"{n}+1", "label": n + 1}) for n in range(5)))

    task = task_from_files(path, mapping=ColumnMapping(), kind="short_answer", limit_train=2)

    assert (task.labels, len(task.train), len(task.dev), len(task.test)) == ((), 1, 1, 1)


def test_a_limit_of_train_counts_what_is_cut_off_for_choices() -> None:
    path, own = _write_csv("rows.csv", 100), _write_csv("own.csv", 20, first=100)

    task = _task_from(path, limit_train=12)

    assert (len(task.train), len(task.dev), len(task.test)) == (9, 3, 20)
    both = _task_from(path, limit_train=12, limit_dev=9)
    assert (len(both.train), len(both.dev)) == (12, 9)
    assert len(_task_from(path, limit_train=1000).dev) == 20
    given = _task_from(path, dev=own, limit_train=12)
    assert (len(given.train), len(given.dev)) == (12, 20)


@pytest.mark.parametrize(
    ("file_name", "task_name"),
    [("a-b c.csv", "a_b_c"), ("2026.csv", "task_2026"), ("日本.csv", "task"), ("_x.csv", "x")],
)
def test_the_name_of_a_task_comes_from_its_file(file_name: str, task_name: str) -> None:
    assert _task_from(_write_csv(file_name, 10)).name == task_name


def test_a_given_name_is_kept() -> None:
    path = _write_csv("rows.csv", 10)

    task = task_from_files(path, mapping=ColumnMapping(), kind="classification", name="mine_2")

    assert task.name == "mine_2"


@pytest.mark.parametrize("name", ["../up", "My task", "", "2x"])
def test_a_name_that_is_no_folder_name_is_refused(name: str) -> None:
    path = _write_csv("rows.csv", 10)

    with pytest.raises(ConfigError) as error:
        task_from_files(path, mapping=ColumnMapping(), kind="classification", name=name)

    assert str(error.value) == (
        f"task name '{name}': only lower-case letters, digits and '_', and a letter first. "
        "Choose another name."
    )


def test_the_catalog_needs_neither_datasets_nor_torch() -> None:
    program = (
        "import sys; from workbench.tasks.catalog import load_task; load_task('arithmetic'); "
        "print([name for name in ('datasets', 'torch', 'transformers') if name in sys.modules])"
    )

    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(workbench.__file__).parent.parent,
    )

    assert result.stdout.strip() == "[]"


def test_labels_that_look_like_one_are_a_warning_of_the_task() -> None:
    labels = ["Pos", "pos", "neg"]
    lines = [f"message {n},{labels[n % 3]}" for n in range(18)]
    Path("rows.csv").write_text("\n".join(["text,label", *lines]))

    task = _task_from(Path("rows.csv"))

    assert task.labels == ("Pos", "neg", "pos")
    assert task.warnings == (
        "Labels that look like one count as classes of their own: 'Pos' (6 rows) / 'pos' (6 rows) "
        "differ in case. If they are meant to be one, write them alike in the file.",
    )


@pytest.mark.parametrize(("limit_train", "lost"), [(5, True), (6, True), (7, False), (8, False)])
def test_a_limit_that_leaves_a_label_out_of_train_is_a_warning(
    limit_train: int, lost: bool
) -> None:
    lines = [f"message {n},label {n % 6}" for n in range(120)]
    Path("rows.csv").write_text("\n".join(["text,label", *lines]))

    task = _task_from(Path("rows.csv"), limit_train=limit_train)

    missing = set(task.labels) - {sample.target for sample in task.train}
    assert bool(missing) == lost
    assert len(task.train) + len(task.dev) == limit_train
    assert len(task.warnings) == lost
    if limit_train == 6:
        assert task.warnings == (
            f"limit_train: train has no row of label '{missing.pop()}' any more, so nothing that "
            "learns can learn it. Give a limit above 6.",
        )


def test_what_was_guessed_of_a_file_is_a_warning_of_the_task() -> None:
    rows = [f"warm, but dear {n};{'ab'[n % 2]}" for n in range(12)]
    Path("rows.csv").write_text("\n".join(["text;label", *rows]))

    assert _task_from(Path("rows.csv")).warnings == ("rows.csv: read with ';' between the cells.",)


def test_an_ordinary_task_has_no_warning() -> None:
    assert _task_from(_write_csv("rows.csv", 12)).warnings == ()
    assert load_task("support_intents").warnings == ()


def test_warnings_are_no_part_of_the_data() -> None:
    """A file read with or without a guess gives the same runs."""
    text = _write_csv("rows.csv", 12).read_text()
    plain = _task_from(Path("rows.csv"))
    Path("rows.csv").write_text(text.replace(",", ";"))

    assert _task_from(Path("rows.csv")).digest == plain.digest


def test_a_given_separator_reads_a_file_that_fits_two() -> None:
    lines = [f"message {n};{'ab'[n % 2]},1" for n in range(12)]
    Path("rows.csv").write_text("\n".join(["text;label,score", *lines]))
    mapping = ColumnMapping(label="label,score")

    task = task_from_files(
        Path("rows.csv"), mapping=mapping, kind="classification", separator="semicolon"
    )

    assert task.labels == ("a,1", "b,1")


def test_a_task_whose_name_no_folder_can_have_has_no_wordings() -> None:
    assert wordings_of("a" * 3000) == wordings_of("a\0") == []
    assert "plain" in wordings_of("support_intents")
