"""Readings of vectors that stand elsewhere, or were made by something: what is read is what ran."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from visitors import keep_rows, local_workspace, tiny_experiment
from workbench.cli import app
from workbench.errors import ConfigError
from workbench.fitting.soft_prompts import POSITIONS
from workbench.readings.base import Subject
from workbench.readings.catalog import make_reader
from workbench.readings.inspector import Inspector, learned_adapters, learned_runs
from workbench.runs.execute import restore
from workbench.runs.store import StoredRun
from workbench.service import jobs
from workbench.service.profile import Profile
from workbench.service.worker import work
from workbench.service.workspace import Workspace
from workbench.serving.desk import ModelDesk

QUICK = {"steps": 4, "eval_every": 2, "num_virtual_tokens": 6}
VECTORS = {
    **{place: {"method": "prompt_tuning", "position": place, **QUICK} for place in POSITIONS},
    "residual": {"method": "prompt_tuning", "reparametrisation": "residual", **QUICK},
    "p_tuning": QUICK,
    "p_tuning_after": {"method": "p_tuning", "position": "after_instruction", **QUICK},
}
OTHERS = {"prefix_tuning": QUICK, "prompt_ensemble": {"members": 2, **QUICK}}


@dataclass(frozen=True)
class Place:
    """Finished runs by row, and an inspector on their base."""

    workspace: Workspace
    inspector: Inspector
    experiment: object
    runs: dict[str, StoredRun]

    def subject(self, row: str) -> Subject:
        run = self.runs[row]
        (chosen,) = learned_runs([run], run.spec.base)
        return self.inspector.subject(self.experiment, chosen)


@pytest.fixture(scope="module")
def place(tiny_folder, tmp_path_factory):
    workspace = local_workspace(tmp_path_factory.mktemp("positions") / "root")
    key = keep_rows(workspace, tmp_path_factory.mktemp("rows"))
    experiment = tiny_experiment(workspace, tiny_folder, key, VECTORS | OTHERS)
    job = jobs.submit(workspace, Profile("tests"), experiment, kind="evaluate", title="places")
    assert work(job.folder, workspace.store).state == "finished"
    desk = ModelDesk()
    runs = {run.record.row: run for run in workspace.runs()}
    yield Place(workspace, Inspector(desk, num_items=4), experiment, runs)
    desk.close()


@pytest.mark.parametrize("row", VECTORS)
def test_vectors_are_read_where_they_were_trained(row, place):
    subject = place.subject(row)
    prompt = subject.prompt
    fitted = restore(subject.session, place.runs[row])

    read = subject.scorer.outcome(subject.prefix(prompt.vectors))

    ran = subject.scorer.outcome(fitted.prefix)
    np.testing.assert_allclose(read.losses, ran.losses, atol=1e-5)
    assert subject.prefix(prompt.vectors).num_tokens == fitted.prefix.num_tokens
    assert prompt.vectors.shape == (6, 64)
    assert [step for step, _ in prompt.path] == [0, 2, 4]
    np.testing.assert_array_equal(prompt.start, prompt.path[0][1])
    assert any(np.array_equal(prompt.vectors, vectors) for _, vectors in prompt.path[1:])


@pytest.mark.parametrize("row", POSITIONS)
def test_their_place_in_the_prefix_is_known(row, place):
    subject = place.subject(row)
    prefix = subject.prefix(subject.prompt.vectors)

    whole = subject.session.engine.forward.embed_pieces(prefix.pieces)

    found = whole[subject.place_of(6)]
    assert torch.equal(found.cpu(), torch.from_numpy(subject.prompt.vectors))


@pytest.mark.parametrize("reading", ["attention", "lens"])
@pytest.mark.parametrize("row", ["before_instruction", "first", "p_tuning_after"])
def test_readings_of_places_can_be_made(reading, row, place):
    assert make_reader(reading, {}).read(place.subject(row)).verdict


def test_equal_vectors_in_other_places_are_other_prompts(place):
    prompt = place.subject("first").prompt

    assert replace(prompt, position="before_instruction").digest != prompt.digest


@pytest.mark.parametrize(
    ("row", "advice"),
    [
        ("prefix_tuning", "a prefix has keys and values of every layer instead"),
        ("prompt_ensemble", "give the folder of a member"),
    ],
)
def test_what_no_reading_opens_is_refused_with_what_to_do(row, advice, place):
    run = place.runs[row]
    assert learned_runs([run], run.spec.base) == []

    result = CliRunner().invoke(
        app, ["inspect", run.record.run_id, "--runs", str(place.workspace.folder)]
    )

    assert isinstance(result.exception, ConfigError)
    assert f"'{row}' learns nothing that could be opened. " in str(result.exception)
    assert advice in str(result.exception)


def test_a_member_of_an_ensemble_can_be_opened(place):
    folder = place.runs["prompt_ensemble"].adapter_folder / "member_1"

    found = learned_adapters({"member": ("member", folder)})

    assert [one.kind for one in found] == ["vectors"]
