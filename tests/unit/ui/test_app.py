"""The page as a whole: it builds without a warning, and stays what programs rely on."""

import json
import subprocess
import sys
import threading
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import get_type_hints

import gradio as gr
import pytest

from workbench.service.profile import CPU_SPACE, LOCAL, ZERO_GPU
from workbench.ui import app as app_module
from workbench.ui.app import TABS, launch_options, make_context
from workbench.ui.context import AppContext
from workbench.ui.setup import Setup

PYTHON = sys.executable  # the conftest puts another program there

# Apart from this process, whose sockets are closed: an event loop opens one to itself.
BUILD = """
import json, sys, warnings
from pathlib import Path
from workbench.service.profile import CPU_SPACE, LOCAL
from workbench.ui.app import build_app, make_context
warnings.simplefilter("error")
found = {}
for name, profile in (("local", LOCAL), ("public", CPU_SPACE)):
    app = build_app(make_context(Path(sys.argv[1]) / name, profile))
    config, endpoints = app.get_config_file(), app.get_api_info()["named_endpoints"]
    found[name] = {
        "tabs": {c["props"]["id"]: c["props"]["label"] for c in config["components"]
                 if c["type"] == "tabitem" and c["props"].get("id")},
        "ids": sorted(c["props"]["elem_id"] for c in config["components"]
                      if str(c["props"].get("elem_id") or "").startswith("wb-")),
        "labels": [c["props"].get("label") for c in config["components"]],
        "private": sum(d["api_visibility"] == "private" for d in config["dependencies"]),
        "public": sorted(str(d["api_name"]) for d in config["dependencies"]
                         if d["api_visibility"] != "private"),
        "arguments": {
            name: {p["parameter_name"]: p["parameter_has_default"] for p in info["parameters"]}
            for name, info in endpoints.items()
        },
        "descriptions": {name: info["description"] for name, info in endpoints.items()},
        "lines": {fn.concurrency_id: fn.concurrency_limit for fn in app.fns.values() if fn.fn},
        "threads": app._queue.max_thread_count,
        "queue": type(app._queue).__name__,
        "models": next(c["props"] for c in config["components"]
                       if c["props"].get("elem_id") == "wb-model"),
    }
print(json.dumps(found, default=str))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> dict[str, dict[str, object]]:
    """Return what is in the page of the own machine and in a public one."""
    root = tmp_path_factory.mktemp("built")
    done = subprocess.run(
        [PYTHON, "-c", BUILD, str(root)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


QUESTION = {
    "text": False, "ways": True, "task": True, "text_b": True, "wording": True,
    "max_new_tokens": True, "temperature": True, "seed": True, "precision": True, "visitor": True,
}  # fmt: skip

ENDPOINTS = {
    "/ask": QUESTION,
    "/compare": QUESTION,  # its former name
    "/score": {
        "texts": False, "way": True, "task": True, "wording": True, "precision": True,
        "visitor": True,
    },
    "/upload_rows": {
        "name": False, "content": False, "file_type": True, "text_column": True,
        "label_column": True, "text_b_column": True, "kind": True, "visitor": True,
    },
    "/start_training": {
        "method": False, "options": True, "task": True, "wording": True, "seed": True,
        "visitor": True, "name": True,
    },
    "/start_evaluation": {"experiment": False, "visitor": True, "name": True},
    "/job_status": {"job_id": False, "visitor": True},
    "/stop_job": {"job_id": False, "visitor": True},
    "/export_comparison": {"job_id": False, "visitor": True},
    "/list_runs": {"visitor": True},
}  # fmt: skip

IDS = {
    "wb-answer", "wb-browse-row", "wb-columns", "wb-comparison", "wb-cost", "wb-delete",
    "wb-download", "wb-editor", "wb-evaluate", "wb-evaluate-job", "wb-evaluate-resume",
    "wb-evaluate-stop", "wb-examples", "wb-export", "wb-file", "wb-import-file", "wb-items",
    "wb-keep-wording", "wb-lora-rank", "wb-method", "wb-mode", "wb-model", "wb-preset",
    "wb-preview", "wb-prompt_tuning-num_virtual_tokens", "wb-results", "wb-row", "wb-rows",
    "wb-run", "wb-run-view", "wb-runs", "wb-search", "wb-share", "wb-stop", "wb-sure", "wb-task",
    "wb-text", "wb-train", "wb-train-job", "wb-train-resume", "wb-train-stop", "wb-use-rows",
    "wb-ways", "wb-wording",
}  # fmt: skip


@pytest.mark.parametrize("name", ["local", "public"])
def test_all_lines_together_leave_threads_to_one_another(name, built):
    """An event without a line of a name has one of Gradio's, which nobody counted."""
    lines = built[name]["lines"]

    assert built[name]["queue"] == "Lines"
    assert [line for line in lines if line.isdecimal()] == []
    assert sum(lines.values()) < built[name]["threads"]


@pytest.mark.parametrize("name", ["local", "public"])
def test_the_page_builds_without_a_warning_and_has_its_parts(name, built):
    assert set(built[name]["ids"]) >= IDS


@pytest.mark.parametrize("name", ["local", "public"])
def test_programs_find_the_endpoints_with_their_arguments(name, built):
    assert built[name]["arguments"] == ENDPOINTS


def test_a_former_name_says_the_new_one(built):
    assert built["local"]["descriptions"]["/compare"] == (
        "The former name of `/ask`: same arguments, same answers. Call `/ask` instead."
    )


@pytest.mark.parametrize("name", ["local", "public"])
def test_no_other_function_of_the_page_can_be_called_by_name(name, built):
    assert built[name]["public"] == sorted(path.removeprefix("/") for path in ENDPOINTS)
    assert built[name]["private"] > 20


@pytest.mark.parametrize("name", ["local", "public"])
def test_the_tabs_are_those_of_the_table(name, built):
    assert built[name]["tabs"] == {title.lower(): title for title in TABS}


def test_every_file_that_builds_a_tab_is_in_the_table():
    files = Path(app_module.__file__).parent.glob("*.py")
    modules = [import_module(f"workbench.ui.{file.stem}") for file in files]
    builds = {
        module.__name__: list(get_type_hints(module.build).values())
        for module in modules
        if hasattr(module, "build")
    }

    a_tab = [AppContext, Setup, gr.Tab, NoneType]
    assert {name for name, types in builds.items() if types == a_tab} == set(TABS.values())


def test_no_name_of_a_part_is_given_twice(built):
    assert len(built["local"]["ids"]) == len(set(built["local"]["ids"]))


def test_only_the_own_machine_takes_any_base(built):
    assert built["local"]["models"]["allow_custom_value"] is True
    assert built["public"]["models"]["allow_custom_value"] is False
    offered = [key for _, key in built["public"]["models"]["choices"]]
    assert offered == list(CPU_SPACE.models)


@pytest.mark.parametrize("profile", [LOCAL, CPU_SPACE, ZERO_GPU], ids=lambda p: p.name)
def test_a_context_makes_its_folder_and_serves_no_run(profile, tmp_path):
    context = make_context(tmp_path / "a" / "root", profile)

    assert context.root.is_dir()
    assert not context.exports.is_relative_to(context.root)


def test_only_where_the_accelerator_is_lent_work_runs_on_the_calling_thread(tmp_path):
    for profile, is_direct in ((LOCAL, False), (ZERO_GPU, True)):
        desk = make_context(tmp_path, profile).desk
        assert (desk.call(threading.get_ident) == threading.get_ident()) == is_direct
        desk.close()


def test_runs_are_blocked_and_nothing_is_shared(tmp_path):
    context = make_context(tmp_path, LOCAL)

    options = launch_options(context)

    assert options["blocked_paths"] == [str(context.root)]
    assert options["allowed_paths"] == []
    assert options["share"] is False
    assert options["show_error"] is False
    assert options["max_file_size"] == LOCAL.caps.upload_bytes


@pytest.mark.parametrize(
    ("profile", "host", "only_local"),
    [(LOCAL, "127.0.0.1", True), (LOCAL, "0.0.0.0", False), (CPU_SPACE, "127.0.0.1", False)],
)
def test_only_the_own_page_on_this_machine_answers_this_machine_alone(
    profile, host, only_local, tmp_path
):
    options = launch_options(make_context(tmp_path, profile), host)

    *_, guard = options["app_kwargs"]["middleware"]
    assert guard.kwargs["only_local"] == only_local


def test_a_login_is_offered_on_a_space_that_asked_for_it_alone(tmp_path, monkeypatch):
    context = make_context(tmp_path, LOCAL)
    for variable in ("SPACE_ID", "OAUTH_CLIENT_ID"):
        monkeypatch.delenv(variable, raising=False)
    assert not context.has_login

    monkeypatch.setenv("SPACE_ID", "me/app")
    assert not context.has_login

    monkeypatch.setenv("OAUTH_CLIENT_ID", "id")
    assert context.has_login


def test_the_profile_is_that_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    monkeypatch.setenv("WORKBENCH_PUBLIC", "1")

    assert make_context(Path(tmp_path)).profile == replace(CPU_SPACE)
