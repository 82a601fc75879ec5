"""Versions of wordings: every keep is one, each has a parent, and any can be gone back to."""

import datetime
import threading

import pytest

from visitors import ANNA, BEN, local_workspace, visitor
from workbench.errors import ConfigError, StoreError
from workbench.service.wording_versions import (
    MOST_NOTE,
    add_version,
    named_wordings,
    note_figures,
    version_of,
    versions_of,
)
from workbench.service.wordings import (
    keep_wording,
    note_wording_figures,
    restore_version,
    version_text,
    wording_choices,
    wording_text,
)
from workbench.service.workspace import Workspace
from workbench.tasks.base import Task
from workbench.tasks.catalog import load_task


def text(number: int) -> str:
    return f"version: 1\ninstruction: 'Way {number} of {{labels}}?'\ninput: 'Q: {{text}}'\n"


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return local_workspace(tmp_path / "root")


@pytest.fixture(scope="module")
def intents() -> Task:
    return load_task("support_intents")


def line(workspace: Workspace, name: str) -> list[tuple[int, int | None, str]]:
    return [(one.number, one.parent, one.note) for one in versions_of(workspace, name)]


def test_each_keep_is_a_version_whose_parent_is_the_one_before(workspace, intents):
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    for number, note in enumerate(("first", "", "shorter"), start=1):
        keep_wording(workspace, text(number), intents, name="topic", note=note)

    assert line(workspace, "topic") == [(1, None, "first"), (2, 1, ""), (3, 2, "shorter")]
    dates = [datetime.datetime.fromisoformat(one.date) for one in versions_of(workspace, "topic")]
    assert dates == sorted(dates)
    assert before <= dates[0] <= datetime.datetime.now(datetime.UTC)


def test_going_back_is_a_new_version_and_loses_none(workspace, intents):
    for number in (1, 2, 3):
        keep_wording(workspace, text(number), intents, name="topic")

    key = restore_version(workspace, "topic", 1, intents)

    assert wording_text(workspace, intents, key) == text(1)
    assert line(workspace, "topic")[-1] == (4, 1, "back to version 1")
    assert [version_text(workspace, "topic", n) for n in (1, 2, 3, 4)] == [
        text(1), text(2), text(3), text(1),
    ]  # fmt: skip


def test_the_same_text_kept_again_is_the_same_version_unless_something_is_noted(workspace, intents):
    for _ in range(2):
        keep_wording(workspace, text(1), intents, name="topic")
    keep_wording(workspace, text(1), intents, name="topic", note="looked at again")

    assert line(workspace, "topic") == [(1, None, ""), (2, 1, "looked at again")]


def test_without_a_name_versions_are_those_of_the_task(workspace, intents):
    keep_wording(workspace, text(1), intents)
    keep_wording(workspace, text(2), intents)

    assert named_wordings(workspace) == ["support_intents"]
    assert len(versions_of(workspace, "support_intents")) == 2


def test_wordings_kept_before_there_were_versions_are_still_read(workspace, intents):
    key = keep_wording(workspace, text(1), intents)
    for path in workspace.wordings.glob("*.versions.json"):
        path.unlink()  # as an earlier version left the folder

    assert wording_text(workspace, intents, key) == text(1)
    assert key in [known for _, known in wording_choices(workspace, intents)]
    assert named_wordings(workspace) == []
    keep_wording(workspace, text(2), intents)
    assert line(workspace, "support_intents") == [(1, None, "")]


def test_figures_stand_beside_the_latest_version_with_that_text(workspace, intents):
    key = keep_wording(workspace, text(1), intents, name="topic")
    keep_wording(workspace, text(2), intents, name="topic")
    keep_wording(workspace, text(1), intents, name="other")

    note_wording_figures(workspace, key, {"right with zero_shot": 0.5, "base": "tiny"})
    note_wording_figures(workspace, "plain", {"right": 1.0})  # no version of anybody's

    found = [dict(one.figures) for one in versions_of(workspace, "topic")]
    assert found == [{"right with zero_shot": 0.5, "base": "tiny"}, {}]
    assert dict(version_of(workspace, "other", 1).figures)["base"] == "tiny"


def test_a_damaged_history_is_said_and_kept_beside_a_new_one(workspace, intents):
    keep_wording(workspace, text(1), intents, name="topic")
    path = workspace.wordings / "topic.versions.json"
    damaged = path.read_bytes().replace(b'"number": 1', b'"number": 7')
    path.write_bytes(damaged)

    with pytest.raises(StoreError, match="its history has changed on disk or is damaged"):
        versions_of(workspace, "topic")
    keep_wording(workspace, text(2), intents, name="topic")

    assert line(workspace, "topic") == [(1, None, "")]
    (aside,) = workspace.wordings.glob(".topic.versions.json.damaged-*")
    assert aside.read_bytes() == damaged


@pytest.mark.parametrize("name", ["../up", "a/b", "", None, 7, "x" * 61, ".hidden"])
def test_a_name_that_is_none_is_refused(workspace, name):
    with pytest.raises(StoreError, match="wording"):
        versions_of(workspace, name)


def test_a_version_that_is_not_there_is_named_with_how_many_there_are(workspace, intents):
    keep_wording(workspace, text(1), intents, name="topic")

    with pytest.raises(StoreError, match=r"no version 2; it has 1\. Choose one from the list\."):
        version_of(workspace, "topic", 2)


def test_a_note_has_a_bound(workspace):
    with pytest.raises(ConfigError, match=f"at most {MOST_NOTE}"):
        add_version(workspace, "topic", "0" * 12, note="x" * (MOST_NOTE + 1))


def test_a_public_page_bounds_versions_and_names(tmp_path):
    anna = visitor(tmp_path, ANNA)
    for number in range(100):
        add_version(anna, "topic", f"{number:012d}")
    with pytest.raises(ConfigError, match="has 100 versions; at most 100 here"):
        add_version(anna, "topic", "f" * 12)
    for number in range(49):
        add_version(anna, f"name{number}", "0" * 12)
    with pytest.raises(ConfigError, match="50 names are in use"):
        add_version(anna, "one-more", "0" * 12)


def test_what_has_no_room_leaves_no_text_and_the_latest_text_needs_none(tmp_path, intents):
    anna = visitor(tmp_path, ANNA)
    for number in range(99):
        add_version(anna, "topic", f"{number:012d}")
    latest = keep_wording(anna, text(1), intents, name="topic")

    for name, error in (("topic", ConfigError), ("x" * 61, StoreError)):
        with pytest.raises(error):
            keep_wording(anna, text(2), intents, name=name)

    assert keep_wording(anna, text(1), intents, name="topic") == latest
    assert [path.stem for path in anna.wordings.glob("*.yaml")] == [latest.removeprefix("edited:")]


def test_the_name_of_a_task_that_is_full_goes_on_with_a_number(tmp_path, intents):
    anna = visitor(tmp_path, ANNA)
    for number in range(100):
        add_version(anna, intents.name, f"{number:012d}")

    keep_wording(anna, text(1), intents)
    keep_wording(anna, text(2), intents)

    assert line(anna, "support_intents-2") == [(1, None, ""), (2, 1, "")]


def test_versions_are_their_visitors_alone(tmp_path, intents):
    anna, ben = visitor(tmp_path, ANNA), visitor(tmp_path, BEN)
    keep_wording(anna, text(1), intents, name="topic")

    assert versions_of(ben, "topic") == []
    assert note_figures(ben, "0" * 12, {"right": 1.0}) == []


def test_two_who_keep_at_once_both_have_their_version(workspace):
    def keep(part: int) -> None:
        for number in range(10):
            add_version(workspace, "topic", f"{part}{number:011d}")

    threads = [threading.Thread(target=keep, args=(part,)) for part in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = versions_of(workspace, "topic")
    assert [one.number for one in found] == list(range(1, 21))
    assert len({one.digest for one in found}) == 20
