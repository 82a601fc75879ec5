"""A process that imports quickly: no look for garbage meanwhile, and none of it later."""

import gc
import sys

import pytest

from workbench.startup import import_quickly

LAVISH = """import gc
looks = []
gc.callbacks.append(lambda phase, info: looks.append(phase))
kept = [[] for _ in range(200_000)]
gc.callbacks.pop()
"""


@pytest.fixture
def lavish(tmp_path, monkeypatch) -> str:
    """Return the name of a module that makes more than the collector lets pass."""
    (tmp_path / "lavish.py").write_text(LAVISH)
    monkeypatch.syspath_prepend(tmp_path)
    yield "lavish"
    sys.modules.pop("lavish", None)


def test_nothing_is_looked_at_while_a_module_comes_in(lavish):
    assert import_quickly(lavish).looks == []
    assert gc.isenabled()


def test_what_came_in_is_not_looked_at_later(lavish):
    before = gc.get_freeze_count()

    import_quickly(lavish)

    assert gc.get_freeze_count() >= before + 200_000


def test_a_module_that_is_there_changes_nothing(lavish):
    module = import_quickly(lavish)
    before = gc.get_freeze_count()

    assert import_quickly(lavish) is module
    assert gc.get_freeze_count() == before


def test_a_module_that_fails_leaves_the_collector_on(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ZeroDivisionError):
        import_quickly("broken")

    assert gc.isenabled()
