"""What this process can still take, where a container has less than the machine."""

from types import SimpleNamespace

import pytest

from workbench import free_memory as module
from workbench.free_memory import free_memory

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _machine(monkeypatch):
    """A machine with 1000 MiB free."""
    monkeypatch.setattr(
        module.psutil, "virtual_memory", lambda: SimpleNamespace(available=1000 * MIB)
    )


def group(folder, limit, used, cached, *, is_old=False):
    """Write what Linux says of a control group."""
    names = ("memory.max", "memory.current", "inactive_file")
    if is_old:
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit if isinstance(limit, str) else limit * MIB}\n")
    (folder / names[1]).write_text(f"{used * MIB}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cached * MIB}\nfile 7\n")


def free(tmp_path, own):
    (tmp_path / "own").write_text(own)
    return free_memory(tmp_path / "groups", tmp_path / "own") // MIB


def test_without_a_limit_it_is_what_the_machine_has(tmp_path):
    group(tmp_path / "groups" / "user" / "it", "max", 300, 0)

    assert free(tmp_path, "0::/user/it\n") == 1000


def test_a_limit_leaves_what_is_not_used_or_can_be_taken_back(tmp_path):
    group(tmp_path / "groups" / "user" / "it", 500, 300, 50)

    assert free(tmp_path, "0::/user/it\n") == 250


def test_a_limit_above_holds_too(tmp_path):
    group(tmp_path / "groups" / "user" / "it", "max", 10, 0)
    group(tmp_path / "groups" / "user", 100, 40, 0)

    assert free(tmp_path, "0::/user/it\n") == 60


def test_in_a_container_its_own_group_is_the_root(tmp_path):
    group(tmp_path / "groups", 200, 150, 0)

    assert free(tmp_path, "0::/docker/0a1b2c\n") == 50


def test_groups_of_version_1_count(tmp_path):
    group(tmp_path / "groups" / "memory" / "docker" / "0a", 400, 390, 20, is_old=True)
    group(tmp_path / "groups" / "cpu" / "docker" / "0a", 1, 0, 0, is_old=True)

    assert free(tmp_path, "7:cpu,cpuacct:/docker/0a\n4:memory:/docker/0a\n0::/\n") == 30


def test_a_group_that_is_over_its_limit_leaves_nothing(tmp_path):
    group(tmp_path / "groups", 100, 150, 0)

    assert free(tmp_path, "0::/\n") == 0


def test_other_systems_say_nothing_of_groups(tmp_path):
    assert free_memory(tmp_path / "groups", tmp_path / "nowhere") // MIB == 1000
