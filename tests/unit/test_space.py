"""What a Space needs stays true: its card, its requirements, its start."""

import tomllib
from pathlib import Path

import yaml

import workbench
from workbench.models.catalog import BASE_MODELS
from workbench.service.profile import CPU_SPACE, GPU_SPACE, ZERO_GPU

ROOT = Path(workbench.__file__).parents[1]
ZERO_GPU_TORCH = "torch>=2.9,<2.12"  # the newest that ZeroGPU supports is 2.11


def card():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return yaml.safe_load(text.split("---\n")[1])


def requirements():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_the_space_installs_what_the_project_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        ZERO_GPU_TORCH if name.startswith("torch>") else name for name in project["dependencies"]
    ]

    assert requirements() == wanted


def test_the_card_names_the_tested_gradio_and_a_python_that_is_new_enough():
    constraints = (ROOT / "constraints.txt").read_text().splitlines()

    assert f"gradio=={card()['sdk_version']}" in constraints
    assert tuple(map(int, card()["python_version"].split("."))) >= (3, 11)


def test_the_card_starts_the_app_and_preloads_its_base():
    assert (ROOT / card()["app_file"]).is_file()
    assert BASE_MODELS[CPU_SPACE.models[0]].hub_id in card()["preload_from_hub"]


def test_every_offered_base_is_in_the_catalog():
    for profile in (CPU_SPACE, GPU_SPACE, ZERO_GPU):
        assert set(profile.models) <= set(BASE_MODELS)


def test_visitors_log_in_with_the_least_a_push_needs():
    assert card()["hf_oauth"] is True
    assert card()["hf_oauth_scopes"] == ["contribute-repos"]
