"""Shared fixtures: a tiny real model, a toy task, the real base once per session; no network."""

import gc
import os

gc.disable()  # until everything is imported; as in workbench/startup.py
os.environ["HF_HUB_OFFLINE"] = "1"
# There is a test process per core. Threads that wait for each other on a busy core are many times
# slower than one; the apps and jobs that tests start inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import logging
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from transformers.utils import logging as transformers_logging
from xdist.scheduler import LoadFileScheduling

from toys import (
    TEST_DEVICE,
    TOY_TEMPLATE,
    export_lora,
    make_toy_task,
    open_tiny,
    write_tiny,
)
from workbench.encoding import PromptEncoder
from workbench.errors import ModelError
from workbench.fitting.base import FitContext
from workbench.models.engine import Engine
from workbench.models.loading import LoadedBase, load_base
from workbench.models.weights_in_memory import SETTING
from workbench.tasks.base import Task

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
transformers_logging.disable_progress_bar()
TESTS = Path(__file__).parent

# How long an example takes says how busy the machine is.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

SHARED_APPS = ("browser", "security")  # folders whose tests share a running app
# Files there with apps and jobs of their own: they go where there is room.
OWN_APPS = tuple(
    f"security/test_{name}.py"
    for name in (
        *("crowds", "crowd_parts", "long_work", "own_folders", "queue_crowds", "queue_folders"),
        *("queue_processes", "read_only", "room"),
    )
)
# They begin first, so that no core waits for one of them at the end.
LONGEST = (
    *(*SHARED_APPS, "torture", "cluster", "stores", "end_to_end"),
    *("contracts", "numerics", "unit/readings"),
)

# What the inner loop leaves out: the default base and a whole page; whole jobs and readings, all
# architectures, and what starts processes or compiles UMAP.
SLOW_FIXTURES = {"real_base", "real_engine", "built"}
SLOW_PLACES = (
    "cluster/test_",
    "numerics/test_architectures.py",
    *(*SHARED_APPS, "torture", "cluster", "stores", "end_to_end"),
    *("contracts", "numerics", "unit/readings"),
    "unit/service/test_command_line.py",
    "unit/service/test_job_processes.py",
    "unit/service/test_worker.py",
    "unit/readings/test_",
    "unit/test_saved_bytes.py",
    "unit/readings/vectors/test_projection.py",
)


class OneProcessEach(LoadFileScheduling):
    """Tests of a file, or of a folder that shares an app, run in one process."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid).removeprefix("tests/")
        folder = file.split("/")[0]
        return folder if folder in SHARED_APPS and file not in OWN_APPS else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> OneProcessEach:
    """Return what hands out the tests. Groups by mark are ignored by xdist 3.8 under pytest 9.2."""
    return OneProcessEach(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say which tests need long preparations, and put the longest first."""
    for item in items:
        is_prepared = not SLOW_FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
        if is_prepared or item.path.relative_to(TESTS).as_posix().startswith(SLOW_PLACES):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: _rank(item.path.relative_to(TESTS).as_posix()))


def _rank(place: str) -> int:
    found = [rank for rank, folder in enumerate(LONGEST) if place.startswith(f"{folder}/")]
    return found[0] if found else len(LONGEST)


def pytest_collection_finish() -> None:
    """Look for garbage from here on, but not through what was imported."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _no_network(socket_disabled):
    """Every test runs with sockets closed."""


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """Return a folder with a two-layer Llama over bytes, made from a fixed seed."""
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(params=["packed", "restored"])
def kept_weights(request, monkeypatch) -> str:
    """Have 4-bit weights kept in one way, then in the other, wherever "auto" decides."""
    monkeypatch.setenv(SETTING, request.param)
    return request.param


@pytest.fixture(scope="session")
def lora_export(tiny_folder, tmp_path_factory) -> Path:
    """Return a folder with a LoRA for the tiny model, written by plain PEFT."""
    return export_lora(tiny_folder, tmp_path_factory.mktemp("export") / "lora")


@pytest.fixture
def tiny_base(tiny_folder) -> LoadedBase:
    """Return a fresh tiny base in fp32."""
    return open_tiny(tiny_folder)


@pytest.fixture
def tiny_engine(tiny_base) -> Engine:
    """Return an engine of its own over the tiny base."""
    return Engine(tiny_base)


@pytest.fixture(scope="session")
def real_base() -> LoadedBase:
    """Return SmolLM2-135M-Instruct in NF4 with exact products, once for all tests."""
    try:
        return load_base(
            "smollm2-135m-instruct",
            precision="nf4",
            compute_dtype="float32",
            device=TEST_DEVICE,
        )
    except ModelError as error:
        pytest.skip(f"the default base model is not installed: {error}")


@pytest.fixture(scope="session")
def real_engine(real_base) -> Engine:
    """Return the one engine over the real base."""
    return Engine(real_base)


@pytest.fixture
def toy_task() -> Task:
    """Return a separable two-label task."""
    return make_toy_task(24, 8, 10)


@pytest.fixture
def toy_encoder(tiny_base, toy_task) -> PromptEncoder:
    """Return the toy task's encoder for the tiny model."""
    return PromptEncoder(tiny_base.tokenizer, TOY_TEMPLATE, toy_task)


@pytest.fixture
def toy_context(tiny_engine, toy_encoder, tmp_path) -> FitContext:
    """Return what a method needs to fit on the toy task."""
    return FitContext(tiny_engine, toy_encoder, seed=0, folder=tmp_path / "run")
