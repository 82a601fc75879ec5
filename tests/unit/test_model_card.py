"""The card beside an adapter and the config: the Hub takes them, and no path of a machine is in."""

import dataclasses
import json
import re

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from workbench.methods.catalog import make_method
from workbench.models.catalog import BASE_MODELS, published_name
from workbench.runs.execute import RunRequest, execute
from workbench.runs.session import Session
from workbench.runs.store import RunStore

NAMES = (
    *("owner/model", "Owner-1/model_v0.1", "o/" + "m" * 96, "a.b/c-d", "0/0"),
    *("./folder", "../folder", "folder/", "/tmp/folder", "~/folder", "a/b/c", "o/m..v", "o/m--v"),
    *("o/m.git", "-o/m", "o/m-", ".o/m", "o/m.", "o/" + "m" * 97, "o/mé", "C:\\a/b", "o /m", "o/"),
)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_public_where_the_hub_would_take_it(name):
    try:
        validate_repo_id(name)
        is_id = True
    except HFValidationError:
        is_id = False

    assert published_name(name) == (name if is_id and name.count("/") == 1 else None)


def test_short_names_stand_for_ids_and_folders_for_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "model").mkdir(parents=True)

    assert published_name("owner/model") is None
    for entry in BASE_MODELS.values():
        assert published_name(entry.name) == published_name(entry.hub_id) == entry.hub_id


QUICK = {"steps": 2, "batch_size": 2}


@pytest.mark.parametrize("method", ["lora", "bitfit", "prompt_tuning", "ia3"])
def test_a_card_over_a_local_base_names_none_that_the_hub_would_look_for(
    method, tiny_engine, toy_encoder, tiny_folder, tmp_path
):
    session, store = Session(tiny_engine, toy_encoder), RunStore(tmp_path)

    run = execute(session, store, RunRequest("mine", make_method(method, QUICK), 0))

    data = ModelCard.load(run.adapter_folder / "README.md").data.to_dict()
    library = "prompt-workbench" if method == "bitfit" else "peft"
    assert data == {"library_name": library, "pipeline_tag": "text-generation"}
    config = json.loads((run.adapter_folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] is None
    for name in ("README.md", "adapter_config.json"):
        assert str(tiny_folder.parent) not in (run.adapter_folder / name).read_text()


def test_a_card_over_a_base_of_the_hub_names_it(tiny_engine, toy_encoder, tmp_path):
    tiny_engine.info = dataclasses.replace(tiny_engine.info, name="smollm2-135m-instruct")
    session, store = Session(tiny_engine, toy_encoder), RunStore(tmp_path)

    run = execute(session, store, RunRequest("mine", make_method("lora", QUICK), 0))

    hub_id = "HuggingFaceTB/SmolLM2-135M-Instruct"
    card = ModelCard.load(run.adapter_folder / "README.md")
    assert card.data.base_model == hub_id
    assert card.data.to_dict()["base_model_relation"] == "adapter"
    assert re.search(r'base = "(.*?)"', card.text)[1] == hub_id
    config = json.loads((run.adapter_folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == hub_id


def test_folders_among_the_options_are_told_by_their_last_parts(tiny_engine, toy_encoder, tmp_path):
    session, store = Session(tiny_engine, toy_encoder), RunStore(tmp_path)
    first = execute(session, store, RunRequest("a", make_method("prompt_tuning", QUICK), 0))
    start = {"init": "prompt", "init_prompt": str(first.adapter_folder)}

    run = execute(session, store, RunRequest("b", make_method("prompt_tuning", QUICK | start), 0))

    card = (run.adapter_folder / "README.md").read_text()
    assert f'"init_prompt": "{first.folder.name}/adapter"' in card
    assert str(tmp_path) not in card
