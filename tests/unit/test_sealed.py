"""Folders that several writers give the same name at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from workbench.sealed import put_in_place


def written(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "file").write_text(text)
    return folder


def is_good(folder: Path) -> bool:
    return (folder / "file").is_file() and (folder / "file").read_text() != "damaged"


def test_writers_of_one_name_never_fail_and_leave_one_whole_folder(tmp_path):
    def write(number: int) -> None:
        put_in_place(written(tmp_path / f"new-{number}", str(number)), tmp_path / "target")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(400)))

    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert is_good(tmp_path / "target")


def test_what_is_good_already_keeps_its_name_at_every_moment(tmp_path):
    target = written(tmp_path / "target", "first")
    finished = written(tmp_path / "new", "second")
    before = target.stat().st_ino

    put_in_place(finished, target, is_good=is_good)

    assert target.stat().st_ino == before
    assert (finished / "file").read_text() == "second"


def test_what_is_damaged_gives_its_name_up(tmp_path):
    target = written(tmp_path / "target", "damaged")

    put_in_place(written(tmp_path / "new", "second"), target, is_good=is_good)

    assert (target / "file").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_a_file_with_the_name_gives_it_up(tmp_path):
    (tmp_path / "target").write_text("a file")

    put_in_place(written(tmp_path / "new", "a folder"), tmp_path / "target")

    assert (tmp_path / "target" / "file").read_text() == "a folder"
