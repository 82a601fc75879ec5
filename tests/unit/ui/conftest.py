"""A page over the tiny model without a server: its handlers are plain functions."""

import csv
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pages import HOSTILE, Page
from visitors import keep_rows
from workbench.service.profile import ZERO_GPU, Caps, Profile
from workbench.service.uploads import ColumnChoice, keep_upload
from workbench.ui.app import make_context

METHODS = {
    "zero_shot": {},
    "few_shot": {"k": 2},
    "prompt_tuning": {"steps": 4, "eval_every": 2, "num_virtual_tokens": 6, "init": "random"},
    "lora": {"steps": 4, "eval_every": 2},
}


@pytest.fixture(scope="session")
def page(tiny_folder, tmp_path_factory) -> Page:
    """Return a local page with an upload and a finished evaluation; tests leave both alone."""
    root = tmp_path_factory.mktemp("page")
    context = make_context(root, Profile("tests", models=(str(tiny_folder),)))
    key = keep_rows(context.workspace(None), root / "given")
    setting = {
        "token": None, "task": key, "wording": "plain", "model": str(tiny_folder),
        "precision": "fp32", "chat": False,
    }  # fmt: skip
    return Page(context, setting).evaluated(tiny_folder, key, METHODS)


@pytest.fixture(scope="session")
def hostile_page(page, tiny_folder) -> Page:
    """Return the same page with a task and an evaluation whose every text is hostile."""
    path = page.context.root / "given" / "hostile.csv"
    texts = [text for text in HOSTILE if "\0" not in text]  # no file may have one
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([HOSTILE[0], HOSTILE[2]])
        for number in range(40):
            label = HOSTILE[1] if number % 2 else HOSTILE[3]
            writer.writerow([f"{texts[number % len(texts)]} {number}", label])
    columns = ColumnChoice(HOSTILE[0], HOSTILE[2])
    key, _ = keep_upload(page.workspace, Caps(), path, HOSTILE[0], columns)
    rows = {
        HOSTILE[0]: {"method": "zero_shot"},
        HOSTILE[2]: {"method": "prompt_tuning", "steps": 2, "eval_every": 2},
    }
    return page.evaluated(tiny_folder, key, rows)


@pytest.fixture
def chunk_page(page, tmp_path) -> Page:
    """Return a public page that trains inside its handlers, with an upload and nothing else."""
    model = page.setting["model"]
    context = make_context(tmp_path / "root", replace(ZERO_GPU, models=(model,)))
    token = "somebody-somebody-somebody"
    key = keep_rows(context.workspace(token), tmp_path / "given")
    return Page(context, page.values(token=token, task=key))


@pytest.fixture
def empty_page(page, tmp_path) -> Page:
    """Return a local page where nothing was made yet but an upload."""
    context = make_context(tmp_path / "root", page.context.profile)
    key = keep_rows(context.workspace(None), tmp_path / "given")
    return Page(context, page.values(task=key))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:
    """Let files that the page hands out go to a folder of the test."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))


@pytest.fixture(autouse=True)
def _no_worker(tmp_path, monkeypatch) -> None:
    """Let the process of a started job end at once: what it would do is tested elsewhere."""
    program: Path = tmp_path / "no-worker"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
