"""Damaged files outside runs: made again where that can be, else named with their one way out."""

import json
import os
import tempfile
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from torn import DAMAGES
from workbench.readings.vectors.projection_process import project_apart
from workbench.runs.measurements.records import MeasurementStore, TextLoss

# Measurements beside runs

SPEC = {"base": "b", "text": "t"}
LOSS = TextLoss(losses=[1.25, 2.5], num_tokens=[3, 4], num_bytes=[10, 12])


@pytest.fixture
def part(tmp_path) -> Path:
    """Return the file of a kept part."""
    MeasurementStore(tmp_path).keep("text", SPEC, LOSS)
    (file,) = tmp_path.iterdir()
    return file


def test_a_whole_part_is_found(part):
    assert MeasurementStore(part.parent).find("text", SPEC, TextLoss) == LOSS


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_part_is_measured_again(part, damage, caplog):
    whole = part.read_bytes()
    store = MeasurementStore(part.parent)
    DAMAGES[damage](part)

    assert store.find("text", SPEC, TextLoss) is None
    assert len(caplog.messages) == (0 if damage == "missing" else 1)

    store.keep("text", SPEC, LOSS)
    assert part.read_bytes() == whole
    assert store.find("text", SPEC, TextLoss) == LOSS


def test_every_digit_of_a_part_counts(part):
    text = part.read_text()
    start = text.index('"result"')
    for place, letter in enumerate(text):
        if place > start and letter in "02468":
            part.write_text(f"{text[:place]}{int(letter) + 1}{text[place + 1 :]}")
            assert MeasurementStore(part.parent).find("text", SPEC, TextLoss) is None


def test_a_part_of_an_older_version_is_still_found(part):
    """It has no digest; measuring it again would take minutes."""
    content = json.loads(part.read_text())
    del content["digest"]
    part.write_text(json.dumps(content))

    assert MeasurementStore(part.parent).find("text", SPEC, TextLoss) == LOSS


# Projections: files between this process and the one that projects


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(24, 6)).astype(np.float32)


@pytest.mark.parametrize("damage", [d for d in DAMAGES if d.startswith(("a bit", "cut", "empty"))])
def test_a_damaged_answer_is_asked_for_again(damage, rows, monkeypatch):
    whole = project_apart(rows, rows[:2], method="pca")
    load, damaged = np.load, []

    def load_damaged(file: BinaryIO | Path, **options: object) -> object:
        if not damaged:
            damaged.append(Path(getattr(file, "name", file)))
            DAMAGES[damage](damaged[0])
        return load(file, **options)

    monkeypatch.setattr(np, "load", load_damaged)
    again = project_apart(rows, rows[:2], method="pca")

    assert [path.name for path in damaged] == ["answer.npz"]
    np.testing.assert_array_equal(again.tokens, whole.tokens)
    np.testing.assert_array_equal(again.vectors, whole.vectors)
    assert again.fidelity == whole.fidelity


def test_what_killed_programs_left_of_projections_is_cleared(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    old, new = tmp_path / "workbench-projection-old", tmp_path / "workbench-projection-new"
    for left in (old, new):
        left.mkdir()
        (left / "request.npz").write_bytes(b"half")
    os.utime(old, (0, 0))

    project_apart(rows, rows[:2], method="pca")

    assert (old.exists(), new.exists()) == (False, True)
