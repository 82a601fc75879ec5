"""Damaged files outside runs: made again where that can be, else named with their one way out."""

import json
import os
import tempfile
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from torn import DAMAGES
from visitors import keep_rows, local_workspace
from workbench.errors import ModelError, StoreError
from workbench.models.adapters.reading import import_adapter
from workbench.presentation.blocks import Table
from workbench.presentation.sheet import Sheet, write_sheet
from workbench.readings.vectors.projection_process import project_apart
from workbench.runs.measurements.records import MeasurementStore, TextLoss
from workbench.runs.session import open_task, open_template
from workbench.service.profile import Caps
from workbench.service.uploads import ColumnChoice, keep_upload, task_choice, task_choices
from workbench.service.ways import imported_folders, rows_of
from workbench.service.wordings import keep_wording, template_name, wording_choices, wording_text
from workbench.service.workspace import Workspace
from workbench.tasks.base import Task
from workbench.tasks.catalog import load_task

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


# What a visitor gave: rows, wordings, adapters


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return local_workspace(tmp_path / "root")


@pytest.fixture
def whole_and_torn(workspace, tmp_path) -> tuple[str, str, Path]:
    """Return the keys of two uploads, and the folder of the second."""
    keys = [keep_rows(workspace, tmp_path, name=name) for name in ("whole", "torn")]
    return keys[0], keys[1], workspace.uploads / keys[1].removeprefix("upload:")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["torn.csv", "upload.json"])
def test_a_damaged_upload_is_named_and_hides_no_other(
    workspace, whole_and_torn, tmp_path, name, damage
):
    whole, torn, folder = whole_and_torn
    DAMAGES[damage](folder / name)

    with pytest.raises(StoreError, match=r"^upload '\w{12}': .*\. Upload the file again\.$"):
        task_choice(workspace, torn)
    assert whole in [key for _, key in task_choices(workspace, ())]
    assert open_task(task_choice(workspace, whole)).name == "whole"

    assert keep_rows(workspace, tmp_path, name="torn") == torn  # the way out
    assert open_task(task_choice(workspace, torn)).name == "torn"


@pytest.mark.parametrize("text_b", [None, "", "place"])
def test_a_whole_upload_is_whole_with_any_columns(workspace, tmp_path, text_b):
    file = tmp_path / "rows.csv"
    lines = [f"sun {n},praise,north" if n % 2 else f"rain {n},complaint,south" for n in range(24)]
    file.write_text("\n".join(["message,intent,place", *lines]))
    columns = ColumnChoice("message", "intent", text_b)
    key, _ = keep_upload(workspace, Caps(), file, "rows", columns)

    assert task_choice(workspace, key).text_b_column == (text_b or None)


def test_an_upload_of_an_older_version_is_still_opened(workspace, whole_and_torn):
    _, key, folder = whole_and_torn
    content = json.loads((folder / "upload.json").read_text())
    del content["digest"]
    (folder / "upload.json").write_text(json.dumps(content))

    assert open_task(task_choice(workspace, key)).name == "torn"


def test_an_upload_is_found_where_its_folder_was_moved_to(whole_and_torn, tmp_path):
    _, key, _ = whole_and_torn
    (tmp_path / "root").rename(tmp_path / "moved")

    choice = task_choice(local_workspace(tmp_path / "moved"), key)

    assert open_task(choice).name == "torn"


def test_an_upload_whose_record_is_another_one_s_is_damaged(workspace, whole_and_torn):
    whole, torn, folder = whole_and_torn
    other = workspace.uploads / whole.removeprefix("upload:")
    (folder / "upload.json").write_bytes((other / "upload.json").read_bytes())

    with pytest.raises(StoreError, match="Upload the file again"):
        task_choice(workspace, torn)


def test_what_a_killed_upload_left_is_never_listed_and_is_cleared(workspace, tmp_path):
    old, new = workspace.uploads / "0123456789ab", workspace.uploads / "0123456789cd"
    for left in (old, new):
        left.mkdir(parents=True)
        (left / "rows.csv").write_text("message,intent\n")
    os.utime(old, (0, 0))

    keep_rows(workspace, tmp_path)

    assert len(task_choices(workspace, ())) == 1
    assert (old.exists(), new.exists()) == (False, True)


def test_something_in_the_place_of_an_upload_s_folder_makes_room(
    workspace, whole_and_torn, tmp_path
):
    _, torn, folder = whole_and_torn
    folder.rename(tmp_path / "elsewhere")
    for put in (lambda: folder.write_text("a file"), lambda: folder.symlink_to("nowhere")):
        put()

        assert keep_rows(workspace, tmp_path, name="torn") == torn
        assert open_task(task_choice(workspace, torn)).name == "torn"
        folder.rename(tmp_path / f"elsewhere-{put.__hash__()}")


EDITED = "version: 1\ninstruction: 'Which of {labels} is it?'\ninput: 'Q: {text}'\n"


@pytest.fixture(scope="module")
def intents() -> Task:
    return load_task("support_intents")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_wording_is_named_and_hides_no_other(workspace, intents, damage):
    other = keep_wording(workspace, EDITED.replace("Q", "Text"), intents)
    key = keep_wording(workspace, EDITED, intents)
    path = workspace.wordings / f"{key.removeprefix('edited:')}.yaml"
    DAMAGES[damage](path)

    for look in (
        lambda: template_name(workspace, key),
        lambda: wording_text(workspace, intents, key),
    ):
        with pytest.raises(StoreError, match=r"^wording '\w{12}': .*\.$"):
            look()
    listed = [known for _, known in wording_choices(workspace, intents)]
    assert other in listed
    assert key not in listed

    assert keep_wording(workspace, EDITED, intents) == key  # the way out
    assert open_template(template_name(workspace, key), intents).input == "Q: {text}"


def test_a_wording_with_any_line_ends_is_whole(workspace, intents):
    key = keep_wording(workspace, EDITED.replace("\n", "\r\n"), intents)

    assert template_name(workspace, key)
    assert wording_text(workspace, intents, key)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_damaged_import_is_named_and_hides_no_other(
    workspace, lora_export, tmp_path, name, damage
):
    other = tmp_path / "other"
    other.mkdir()
    for file in lora_export.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    config = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 3}))
    whole, _ = import_adapter(other, workspace.imports)
    torn, _ = import_adapter(lora_export, workspace.imports)
    DAMAGES[damage](torn / name)

    assert whole.name in imported_folders(workspace)
    with pytest.raises((ModelError, StoreError), match=rf"'{torn.name}'.*Import it again\."):
        rows_of(workspace, [f"import:{torn.name}"], seeds=[0])
    assert rows_of(workspace, [f"import:{whole.name}"], seeds=[0])

    assert import_adapter(lora_export, workspace.imports)[0] == torn  # the way out
    assert rows_of(workspace, [f"import:{torn.name}"], seeds=[0])


def test_what_a_killed_import_left_is_never_listed_and_is_cleared(workspace, lora_export):
    old, new = workspace.imports / ".0a1b2c3d4e5f.00", workspace.imports / ".0a1b2c3d4e5f.01"
    for left in (old, new):
        left.mkdir(parents=True)
        (left / "adapter_config.json").write_text("{}")
    os.utime(old, (0, 0))

    folder, _ = import_adapter(lora_export, workspace.imports)

    assert imported_folders(workspace) == [folder.name]
    assert (old.exists(), new.exists()) == (False, True)


# What commands write

TABLE = Table(title="t", columns=["a"], rows=[["1"]])
SHEET = Sheet("T", ("f",), "h", (TABLE,), (), ("n",), ("a",), ((1,),), {"a": 1})


@pytest.mark.parametrize("damage", ["cut to half", "a folder in its place", "a link to nowhere"])
def test_a_damaged_sheet_is_written_anew(tmp_path, damage):
    paths = [tmp_path / f"sheet.{suffix}" for suffix in ("json", "csv", "md", "tex", "html")]
    write_sheet(SHEET, tmp_path, "sheet")
    whole = [path.read_bytes() for path in paths]
    for path in paths:
        DAMAGES[damage](path)

    write_sheet(SHEET, tmp_path, "sheet")

    assert [path.read_bytes() for path in paths] == whole
    assert not any(path.is_symlink() for path in paths)
