"""Adapters from elsewhere and what they are called."""

import re
import shutil
from pathlib import Path

import pytest

from toys import export_prompt
from visitors import ANNA, BEN, local_workspace, visitor
from workbench.errors import ConfigError, StoreError
from workbench.service.imports import keep_import
from workbench.service.ways import imported_folders, imported_names, rows_of, ways_of
from workbench.service.workspace import Workspace


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return local_workspace(tmp_path / "root")


@pytest.fixture(scope="module")
def exports(tiny_folder, lora_export, tmp_path_factory) -> tuple[Path, Path]:
    """Return folders of two adapters."""
    return lora_export, export_prompt(tiny_folder, tmp_path_factory.mktemp("made") / "prompt")


def zipped(folder: Path, path: Path) -> Path:
    """Return the two files of an adapter as a zip of this name."""
    kept = path.parent / f"{path.name}-files"
    kept.mkdir(parents=True)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(folder / name, kept / name)
    return Path(shutil.make_archive(str(path), "zip", kept))


def test_an_import_is_called_after_its_file(workspace, exports, tmp_path):
    folder, name, _ = keep_import(workspace, zipped(exports[0], tmp_path / "Tone <b> of voice"))

    assert name == "Tone b of voice"
    assert imported_names(workspace) == {folder.name: name}
    (way,) = ways_of(workspace, [f"import:{folder.name}"], most=1)
    assert way.label == "imported Tone b of voice"
    assert ways_of(workspace, [f"import:{name}"], most=1) == [way]  # as a program may say it


def test_two_imports_of_one_file_name_are_told_apart(workspace, exports, tmp_path):
    files = [zipped(one, tmp_path / str(n) / "adapter") for n, one in enumerate(exports)]

    names = [keep_import(workspace, file)[1] for file in files]

    assert names == ["adapter", "adapter (2)"]
    keys = [f"import:{folder}" for folder in imported_folders(workspace)]
    assert set(rows_of(workspace, keys, seeds=[0])) == {"imported_adapter", "imported_adapter__2_"}


def test_names_that_would_be_one_row_are_two(workspace, exports, tmp_path):
    for number, name in enumerate(("a b", "a-b")):
        keep_import(workspace, zipped(exports[number], tmp_path / str(number)), name)

    keys = [f"import:{folder}" for folder in imported_folders(workspace)]

    assert len(rows_of(workspace, keys, seeds=[0])) == 2


@pytest.mark.parametrize("name", ["x" * 60, "Gr\u00fc\u00dfe \u4f60\u597d"])
def test_any_name_makes_a_row_that_a_server_takes(name, workspace, exports, tmp_path):
    for number, called in enumerate((name, f"{name[:-1]}.")):
        keep_import(workspace, zipped(exports[number], tmp_path / str(number)), called)

    rows = rows_of(workspace, [f"import:{one}" for one in imported_folders(workspace)], seeds=[0])

    assert len(rows) == 2
    assert all(re.fullmatch(r"[A-Za-z0-9_]{1,60}", row) for row in rows)


def test_a_name_given_on_import_counts_and_stays(workspace, exports, tmp_path):
    file = zipped(exports[0], tmp_path / "adapter")

    folder, name, _ = keep_import(workspace, file, " tone ")
    again = keep_import(workspace, file)
    renamed = keep_import(workspace, file, "voice")

    assert (name, again[1], renamed[1]) == ("tone", "tone", "voice")
    assert imported_names(workspace) == {folder.name: "voice"}


@pytest.mark.parametrize("name", ["<b>", "a/b", "x" * 61, None, 3, ["x"]])
def test_what_is_no_name_is_refused_and_nothing_kept(name, workspace, exports, tmp_path):
    with pytest.raises(ConfigError):
        keep_import(workspace, zipped(exports[0], tmp_path / "adapter"), name)

    assert imported_folders(workspace) == []


def test_an_adapter_kept_before_names_were_is_called_by_its_folder(workspace, exports, tmp_path):
    folder, _, _ = keep_import(workspace, zipped(exports[0], tmp_path / "adapter"))
    (folder / "label.json").unlink()

    assert imported_names(workspace) == {folder.name: folder.name}


def test_a_name_opens_nobody_elses_adapter(tmp_path, exports):
    anna, ben = visitor(tmp_path, ANNA), visitor(tmp_path, BEN)
    keep_import(anna, zipped(exports[0], tmp_path / "adapter"))

    with pytest.raises(StoreError, match="not found among yours"):
        ways_of(ben, ["import:adapter"], most=1)
