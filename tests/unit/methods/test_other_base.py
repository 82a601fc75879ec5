"""An adapter whose file names another base: users are told wherever it answers, and it answers."""

import json
import shutil

import pytest
from rich.console import Console

from toys import export_prompt
from workbench.analysis.comparison import ComparedRun, compare_runs
from workbench.commands.ask import _panel
from workbench.commands.inspect import _print_subject
from workbench.methods.catalog import make_method
from workbench.models.adapters.named_base import caution_of_base
from workbench.models.adapters.reading import check_adapter, import_adapter
from workbench.models.base import GenerationOptions
from workbench.readings.base import Subject
from workbench.readings.inspector import Learned
from workbench.readings.scoring import Scorer
from workbench.runs.execute import RunRequest, execute
from workbench.runs.session import Session
from workbench.runs.store import RunStore
from workbench.serving.asking import Way, answer, fit_way
from workbench.ui.answer_cards import columns_html

ALIKE = [
    ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2-135m-instruct"),
    ("huggingfacetb/smollm2-135m-instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"),
    ("meta-llama/Llama-3.2-1B", "./models/Llama-3.2-1B"),
    ("meta-llama/Llama-3.2-1B", "/data/llama-3.2-1b/"),
    ("/content/Llama-3.2-1B", "meta-llama/Llama-3.2-1B"),
    ("/c/hub/models--meta-llama--Llama-3.2-1B/snapshots/4e20de36", "meta-llama/Llama-3.2-1B"),
    ("unsloth/Llama-3.2-1B-Instruct", "meta-llama/Llama-3.2-1B-Instruct"),
    ("unsloth/llama-3.2-1b-instruct-bnb-4bit", "meta-llama/Llama-3.2-1B-Instruct"),
    ("unsloth/Llama-3.2-1B-Instruct-unsloth-bnb-4bit", "meta-llama/Llama-3.2-1B-Instruct"),
    ("unsloth/Meta-Llama-3.1-8B-bnb-4bit", "meta-llama/Llama-3.1-8B"),
    ("/c/hub/models--unsloth--llama-3.2-1b-bnb-4bit/snapshots/4e20de36", "./Llama-3.2-1B"),
    ("unsloth/SmolLM2-135M-Instruct-bnb-4bit", "smollm2-135m-instruct"),
    ("meta-llama/Llama-3.2-1B", "unsloth/Llama-3.2-1B"),
    ("C:\\models\\Llama-3.2-1B", "meta-llama/Llama-3.2-1B"),
    ("", "meta-llama/Llama-3.2-1B"),
]
OTHER = [
    ("meta-llama/Llama-3.2-1B", "meta-llama/Llama-3.2-1B-Instruct"),
    ("meta-llama/Llama-3.2-1B", "smollm2-135m-instruct"),
    ("unsloth/Llama-3.2-1B-bnb-4bit", "meta-llama/Llama-3.2-1B-Instruct"),
    ("unsloth/gemma-2-2b-it-bnb-4bit", "google/gemma-2-2b"),
    ("someone/Meta-Model-1B", "someone/Model-1B"),
    ("/home/ann/sft/checkpoint-500", "meta-llama/Llama-3.2-1B"),
]


@pytest.mark.parametrize(("named", "base"), ALIKE)
def test_the_same_base_by_another_spelling_is_no_reason_for_caution(named, base):
    assert caution_of_base(named, base) == ()


@pytest.mark.parametrize(("named", "base"), OTHER)
def test_another_base_is_named_beside_the_one_in_use(named, base):
    (caution,) = caution_of_base(named, base)

    assert caution == (
        f"the adapter's file says that it was trained on {named}, and here it changes {base}. The "
        "sizes fit, but an adapter says little on another base than its own."
    )


@pytest.fixture(params=["lora", "prompt"])
def of_another_base(request, lora_export, tiny_folder, tmp_path):
    """Return the folder of an adapter of equal shapes whose file names another base."""
    folder = tmp_path / "theirs"
    if request.param == "prompt":
        export_prompt(tiny_folder, folder)
    else:
        shutil.copytree(lora_export, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "someone/other-model"
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_the_report_warns_of_another_base(of_another_base, tiny_engine, toy_encoder, tmp_path):
    session, store = Session(tiny_engine, toy_encoder), RunStore(tmp_path / "runs")
    given = str(of_another_base)
    methods = {
        "plain": make_method("zero_shot", {}),
        "theirs": make_method("imported", {"adapter": given}),
    }

    runs = [
        ComparedRun(name, execute(session, store, RunRequest(name, method, 0)))
        for name, method in methods.items()
    ]

    warnings = compare_runs(runs, reference="plain").warnings
    assert [w for w in warnings if w.startswith("theirs: the adapter's file says that it was ")]
    assert not any(w.startswith("plain: the adapter's file") for w in warnings)


def test_a_combination_warns_once_for_each_other_base(of_another_base, toy_context):
    way = "linear" if check_adapter(of_another_base).kind == "lora" else "concatenation"
    given = {"adapters": f"{of_another_base},{of_another_base}", "way": way}

    (caution,) = make_method("combined", given).fit(toy_context).cautions

    assert "trained on someone/other-model" in caution


def test_columns_warn_of_another_base_on_the_page_and_in_the_terminal(
    of_another_base, tiny_engine, toy_encoder, tmp_path
):
    session = Session(tiny_engine, toy_encoder)
    stored, _ = import_adapter(of_another_base, tmp_path / "imports")
    way = Way("theirs", "imported", {"adapter": str(stored)})
    fitted = fit_way(session, way, tmp_path)

    *_, columns = answer(
        session, [("theirs", fitted)], session.task.test[0], GenerationOptions(max_new_tokens=2)
    )

    console = Console(record=True, width=60)
    console.print(_panel(columns[0]))
    for shown in (columns_html(columns, is_done=True), console.export_text()):
        assert "someone/other-model" in shown


def test_inspecting_in_the_terminal_warns_of_another_base(
    of_another_base, tiny_engine, toy_encoder
):
    session = Session(tiny_engine, toy_encoder)
    subject = Subject(session, vocabulary=None, scorer=Scorer(session, 2))
    chosen = Learned("theirs", "theirs", "weights", folder=of_another_base)
    console = Console(record=True, width=300)

    _print_subject(console, subject, chosen)

    assert "caution: the adapter's file says that it was trained on" in console.export_text()
