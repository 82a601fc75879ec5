"""No answer of a public page says where things lie on the server, or how it stumbled."""

from dataclasses import replace

import pytest

from security.flows import adapter_zip, import_zip
from security.raw import SECRETS
from toys import export_lora
from visitors import ANNA, local_workspace, visitor
from workbench.errors import ModelError, without_folders
from workbench.runs.experiment import Experiment
from workbench.service import jobs
from workbench.service.profile import CPU_SPACE, LOCAL
from workbench.ui.api import Endpoints
from workbench.ui.context import problem_text
from workbench.ui.job_panel import job_html

PLACES = {
    "/srv/runs/visitors/ab12/wordings/3f.yaml: no": "3f.yaml: no",
    "adapter folder /a/b-c/d.e/12ab: holds 'x'": "adapter folder 12ab: holds 'x'",
    "tried '/a/x', \"/b/y\" and (/c/d/z)": "tried 'x', \"y\" and (z)",
    "--train /a/b/rows.csv --out runs/x": "--train rows.csv --out runs/x",
    "see https://huggingface.co/a/b or docs/x.md": "see https://huggingface.co/a/b or docs/x.md",
    "and/or, 1/2, ~/x/y, ./a/b": "and/or, 1/2, ~/x/y, ./a/b",
}
TRACE = 'Traceback (most recent call last):\n  File "/srv/app/workbench/x.py", line 1\nKeyError'


@pytest.mark.parametrize("text", PLACES)
def test_of_a_path_only_its_last_part_is_told(text):
    assert without_folders(text) == PLACES[text]


def test_a_message_to_a_visitor_names_no_folder():
    error = ModelError("adapter folder /srv/runs/visitors/ab/imports/12: does not fit.")

    assert problem_text(error) == "adapter folder 12: does not fit."


def test_an_adapter_that_does_not_fit_is_refused_without_saying_where_it_lies(
    anna, tiny_folder, tmp_path
):
    config = tmp_path / "lora"
    export_lora(tiny_folder, config, target_modules=["q_proj"])
    text = (config / "adapter_config.json").read_text().replace('"q_proj"', '"z_proj"')
    (config / "adapter_config.json").write_text(text)
    rename(config / "adapter_model.safetensors", "q_proj", "z_proj")
    kept = import_zip(anna, adapter_zip(config))
    name = kept.html.split("import:")[1].split("<")[0]

    answer = anna.call("ask", text="x", ways=[f"import:{name}"])

    assert answer.error is not None
    assert "z_proj" in answer.error
    assert name in answer.error
    assert SECRETS.search(answer.text) is None


@pytest.fixture
def broken(tmp_path):
    """Return a function that makes a failed job in a workspace."""

    def make(workspace, profile):
        job = jobs.submit(workspace, profile, Experiment(), kind="train", title="broken")
        (job.folder / "worker.log").write_text(TRACE)
        message = f"model folder {workspace.root}/x: no config.json in it."
        jobs.write_status(
            job.folder, job.status.model_copy(update={"state": "failed", "message": message})
        )
        return jobs.read_job(workspace, job.status.job_id)

    return make


def test_a_failed_job_of_a_public_page_tells_nothing_about_the_machine(broken, tmp_path):
    workspace = visitor(tmp_path, ANNA)
    profile = replace(CPU_SPACE, models=(Experiment().model,))
    job = broken(workspace, profile)

    html = job_html(workspace, job)

    assert "Traceback" not in html
    assert "KeyError" not in html
    assert str(tmp_path) not in html
    assert "model folder x: no config.json in it." in html
    assert "workbench evaluate" in html


def test_a_failed_job_of_ones_own_shows_its_log(broken, tmp_path):
    workspace = local_workspace(tmp_path)

    html = job_html(workspace, broken(workspace, LOCAL))

    assert "KeyError" in html
    assert f"{tmp_path}/x" in html


def test_the_interface_of_a_public_page_names_no_folder_either(broken, tmp_path, app_context):
    profile = replace(CPU_SPACE, models=(Experiment().model,))
    job = broken(visitor(tmp_path, ANNA), profile)

    told = Endpoints(app_context(tmp_path, profile)).job_status(job.status.job_id, ANNA)

    assert told["message"] == "model folder x: no config.json in it."


def rename(path, old, new):
    """Rename tensors of a file."""
    from safetensors.torch import load_file, save_file

    tensors = {name.replace(old, new): tensor for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})
