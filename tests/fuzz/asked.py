"""What people write to be read: wordings, task files, experiments, options and names."""

import json
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from fuzz.mutation import changed_json, changed_lines
from fuzz.target import Target, joined, several, split
from toys import TOY_LABELS, toy_samples
from workbench.errors import WorkbenchError
from workbench.methods.catalog import METHODS, method_class
from workbench.models.weights import local_identity
from workbench.options import Option, check_value, declared_options, read_number, whole_number
from workbench.runs.experiment import read_experiment, store_experiment, stored_experiment
from workbench.runs.runner import requests_of
from workbench.runs.session import open_task, open_template
from workbench.service.profile import CPU_SPACE
from workbench.service.uploads import task_choice
from workbench.service.ways import checked_experiment, ways_of
from workbench.service.wordings import keep_wording, parse_wording, template_name, wording_choices
from workbench.service.workspace import Workspace, checked_name, open_workspace, shared_run
from workbench.tasks.base import DroppedRows, Task, TaskSource
from workbench.tasks.catalog import prompts_folder
from workbench.tasks.task_file import TaskFile, shape_rows
from workbench.ui.raw_values import item_limit, number_between, parse_seeds, seed_of
from workbench.yaml_files import parse_mapping, parse_value, read_yaml_model, yaml_text

_TOKEN = "fuzzing-fuzzing-1"


@cache
def toy() -> Task:
    """Return a task of two labels and one text."""
    splits = {name: toy_samples(name, 6) for name in ("train", "dev", "test")}
    return Task(
        name="toy",
        kind="classification",
        labels=TOY_LABELS,
        field_names=("text",),
        **splits,
        source=TaskSource("embedded", "tests", "none"),
        dropped=DroppedRows({}),
    )


def public(folder: Path) -> Workspace:
    """Return a visitor's workspace of a public page."""
    return open_workspace(folder, _TOKEN, is_public=True)


def texts_of(content: bytes) -> str:
    """Return bytes as a browser's text."""
    return content.decode("utf-8", "replace")


def _wording(content: bytes, folder: Path) -> None:
    text = texts_of(content)
    template = parse_wording(text, toy())
    workspace = public(folder)
    key = keep_wording(workspace, text, toy())
    assert template_name(workspace, key)
    json.dumps(wording_choices(workspace, toy())).encode()
    sample = toy().train[0]
    for reasoning in {False, template.chain_of_thought is not None}:
        rendered = template.render(sample.fields, labels=TOY_LABELS, reasoning=reasoning)
        rendered.text.encode()
    assert template.digest


def _task_file(content: bytes, folder: Path) -> None:
    path = folder / "task.yaml"
    path.write_bytes(content)
    found = read_yaml_model(path, TaskFile)
    patterns = (found.target_pattern, found.target_remove, found.rationale_pattern)
    if found.source.kind != "generated" and not any((*patterns, found.rationale_remove)):
        columns = [column for joined in found.fields.values() for column in joined]
        rows = [dict.fromkeys((*columns, found.target or "x"), value) for value in ("a", 1, None)]
        shape_rows(rows, found, where="rows")


def _experiment_file(content: bytes, folder: Path) -> None:
    parts = split(content)
    path = folder / "experiment.yaml"
    path.write_bytes(parts.get("experiment.yaml", content))
    settings = texts_of(parts.get("set.txt", b"")).split("\n")
    found = read_experiment(path, [one for one in settings if one])
    for read in (
        lambda: open_template(found.template, toy()),
        lambda: open_task(found.task) if found.task.train else None,
        lambda: local_identity(found.model),
    ):
        with suppress(WorkbenchError):
            read()
    requests_of(found)
    store_experiment(folder / "run", found)
    assert stored_experiment(folder / "run") == found


def _experiment_call(content: bytes, folder: Path) -> None:
    try:
        asked = json.loads(content)
    except (ValueError, RecursionError):
        return  # Gradio refuses it
    if isinstance(asked, dict):
        found = checked_experiment(public(folder), CPU_SPACE, asked)
        store_experiment(folder / "job", found)
        stored_experiment(folder / "job")


@cache
def _options() -> Sequence[Option]:
    """Return an option of each kind that some method has."""
    found = [o for name in METHODS for o in declared_options(method_class(name)).values()]
    bounds = ((o.kind, o.is_optional, o.minimum, o.maximum, o.choices) for o in found)
    return list(dict(zip(map(repr, bounds), found, strict=True)).values())


def _values(content: bytes, folder: Path) -> None:
    text = texts_of(content)
    given: list[object] = [text, read_number(text), whole_number(text)]
    with suppress(ValueError, RecursionError):
        given.append(json.loads(content))
    with suppress(WorkbenchError):
        given.append(parse_value(text, where="value"))
    for value in given:
        for option in _options():
            found, problem = check_value(value, option)
            if problem is None:
                json.dumps(found)
            else:
                problem.encode("utf-8", "surrogatepass")
        for read in (parse_seeds, item_limit, seed_of):
            with suppress(WorkbenchError):
                read(value)
        with suppress(WorkbenchError):
            number_between(value, "number", 0, 1)
    with suppress(WorkbenchError):
        again = {"value": parse_value(text, where="value")}
        if not isinstance(again["value"], dict | list):
            assert repr(parse_mapping(yaml_text(again), where="value")) == repr(again)


def _names(content: bytes, folder: Path) -> None:
    """Give a link's run and key, a visitor's token and the keys of lists."""
    text, _, key = texts_of(content).partition("\n")
    with suppress(WorkbenchError):
        name = checked_name(text, "run")
        assert (folder / name).parent == folder
        assert (folder / name).resolve().is_relative_to(folder.resolve())
    with suppress(WorkbenchError):
        token = open_workspace(folder, text, is_public=True)
        assert token.folder.parent == folder.resolve() / "visitors"
    workspace = public(folder)
    reads = (
        lambda: shared_run(folder, text, key),
        lambda: workspace.run(text),
        lambda: task_choice(workspace, text),
        lambda: template_name(workspace, text),
        lambda: ways_of(workspace, [text, key], most=8),
        lambda: workspace.delete_run(key),
        lambda: open_workspace(folder, None, is_public=False).run(text),
    )
    for read in reads:
        with suppress(WorkbenchError):
            read()


def _wording_seeds() -> Sequence[bytes]:
    own = {
        "version": 1,
        "instruction": "Say {labels}.",
        "input": "Text: {text}\nLabel:",
        "label_words": {"good": "fine"},
        "answer_tokens": 4,
        "chain_of_thought": {
            "input": "Text: {text}\nThought:",
            "trigger": "Think.",
            "answer_phrase": "So",
            "demonstrations": [{"fields": {"text": "sun"}, "rationale": "Warm.", "answer": "good"}],
        },
    }
    texts = [path.read_bytes() for path in sorted(prompts_folder().glob("*/plain.yaml"))]
    return [yaml_text(own, sort_keys=False).encode(), json.dumps(own).encode(), *texts[:3]]


def _task_seeds() -> Sequence[bytes]:
    return [path.read_bytes() for path in sorted(prompts_folder().glob("*/task.yaml"))]


_ASKED = {
    "model": "smollm2-135m-instruct",
    "task": {"name": "support_intents", "limit_test": 20, "split_seed": 1},
    "template": "plain",
    "seeds": [0, 1],
    "search": {"learning_rates": 3, "extend": 1},
    "methods": {
        "zero_shot": {},
        "few": {"method": "few_shot", "k": 4, "seeds": [3]},
        "lora": {"rank": 4, "learning_rates": [0.001, 0.003], "targets": "attention"},
        "prompt_tuning": {
            "steps": "1e2",
            "num_virtual_tokens": 8,
            "init": "text",
            "init_text": "a",
        },
        "self_consistency": None,
    },
}


def _experiment_seeds() -> Sequence[bytes]:
    whole = yaml_text(_ASKED, sort_keys=False)
    rates = "methods.lora.learning_rate=1e-3\ntask.limit_test=5\nmethods.ia3={}"
    linked = "base: &b {steps: 9}\nmethods:\n  lora: {<<: *b, rank: 2}\n"
    files = "task: {train: rows.csv, text_column: text}\nmethods: [zero_shot, few_shot]\n"
    found = [
        {"experiment.yaml": whole, "set.txt": rates},
        {"experiment.yaml": json.dumps(_ASKED), "set.txt": "seeds=[1, 2]\nchat=yes"},
        {"experiment.yaml": linked},
        {"experiment.yaml": files, "set.txt": "task.dev=x"},
    ]
    return [joined({name: text.encode() for name, text in one.items()}) for one in found]


def _call_seeds() -> Sequence[bytes]:
    named = {**_ASKED, "task": "upload:0123456789ab", "template": "edited:0123456789ab"}
    adapters = {"methods": {"x": {"method": "imported", "adapter": "abc"}}}
    return [json.dumps(one).encode() for one in (_ASKED, named, adapters)]


def _value_seeds() -> Sequence[bytes]:
    texts = (
        "1e-3",
        "0x1F",
        "1_000",
        ".5",
        "true",
        "[0, 1]",
        "2026-01-02",
        "12:30",
        "~",
        "null",
        "a",
    )
    return [text.encode() for text in (*texts, "0, 1, 2", "-0.0", "1" * 40, "attention", "{a: 1}")]


def _name_seeds() -> Sequence[bytes]:
    pairs = (
        "toy_lora_s0_0123456789ab\n0123456789abcdef01234567",
        "upload:0123456789ab\nwords:few_shot",
        "edited:0123456789ab\nrun:x",
        "fuzzing-fuzzing-2\nimport:x",
        "support_intents\nexample:lora",
        "../x\n",
        "plain.yaml\nwords:zero_shot",
    )
    return [pair.encode() for pair in pairs]


TARGETS = (
    Target("wording", _wording, _wording_seeds, (changed_lines, changed_json)),
    Target("task_file", _task_file, _task_seeds, (changed_lines,)),
    Target("experiment_file", _experiment_file, _experiment_seeds, (several,), share=1.5),
    Target("experiment_call", _experiment_call, _call_seeds, (changed_json,)),
    Target("values", _values, _value_seeds, (changed_json,), share=0.7),
    Target("names", _names, _name_seeds, share=0.5),
)
