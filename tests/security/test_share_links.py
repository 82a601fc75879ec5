"""A link opens the one run of the one visitor who made it, for as long as both want it to."""

import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from security.flows import know_runs
from security.raw import SECRETS, Visitor
from visitors import store_run, visitor
from workbench.runs.store import RunStore

REFUSED = "That did not work."


@dataclass(frozen=True)
class Sharer:
    """A visitor with one run.

    Attributes:
        http: The session.
        folder: Of the visitor's runs.
        run: The run's id.
    """

    http: Visitor
    folder: Path
    run: str

    def press(self, elem_id: str, **changes: object) -> str:
        """Return what the page says after a button of the tab of runs was pressed."""
        know_runs(self.http)
        return self.http.click(elem_id, wb_run=self.run, **changes).html

    def share(self) -> dict[str, str]:
        """Return the query of the link the page gives out."""
        link = self.press("wb-share").split('href="?')[1].split('"')[0]
        return dict(part.split("=", 1) for part in link.replace("&amp;", "&").split("&"))

    def delete(self) -> None:
        """Delete the run by the page's button."""
        assert "Deleted" in self.press("wb-delete", wb_sure=True)
        assert not (self.folder / self.run).exists()

    def run_again(self) -> None:
        """Make the run of the same spec once more."""
        assert store_run(self.folder) == self.run


@pytest.fixture
def sharers(public):
    """Return two visitors, new ones for each test, who each made a run of one and the same spec."""
    made = []
    for name in ("anna", "ben"):
        token = f"{name}-{uuid.uuid4().hex}"
        folder = visitor(public.root, token).folder
        made.append(Sharer(Visitor(public.address, token), folder, store_run(folder)))
    anna, ben = made
    assert anna.run == ben.run
    yield anna, ben
    for sharer in made:
        sharer.http.close()
        shutil.rmtree(sharer.folder)


def followed(public, query):
    """Return what the page shows a stranger at an address with a query."""
    stranger = Visitor(public.address, f"stranger-{uuid.uuid4().hex}")
    handler = next(h for h in stranger.config["dependencies"] if h["api_name"] == "show")
    body = {"data": [], "fn_index": handler["id"], "session_hash": stranger.session}
    if handler["queue"]:
        got = stranger.http.post("/gradio_api/queue/join", params=query, json=body)
        text = stranger._streamed(got.json()["event_id"]).text
    else:
        text = stranger.http.post("/gradio_api/run/show", params=query, json=body).text
    stranger.close()
    return text


def test_a_link_dies_with_the_run_of_the_visitor_who_made_it(public, sharers):
    anna, ben = sharers
    link = anna.share()
    assert anna.run in followed(public, link)
    assert REFUSED not in followed(public, link)

    anna.delete()

    assert (ben.folder / ben.run).is_dir()
    assert REFUSED in followed(public, link)
    anna.run_again()
    assert REFUSED in followed(public, link)


def test_visitors_with_equal_specs_have_different_links(public, sharers):
    anna, ben = sharers

    assert anna.share()["key"] != ben.share()["key"]


def test_a_link_shows_the_sharers_copy_and_no_other(public, sharers):
    anna, ben = sharers
    for sharer, title in ((anna, "made by Anna"), (ben, "made by Ben")):
        store = RunStore(sharer.folder)
        run = store.find(sharer.run)
        store.write_record(run.record.model_copy(update={"source": title}))
    link = ben.share()

    shown = followed(public, link)

    assert "made by Ben" in shown
    assert "made by Anna" not in shown


def test_a_link_to_a_failed_run_says_nothing_of_the_server(public, sharers):
    anna, _ = sharers
    trace = f'Traceback (most recent call last):\n  File "{anna.folder}/x.py", line 1\nKeyError: 1'
    store = RunStore(anna.folder)
    run = store.find(anna.run)
    changes = {"status": "failed", "error": trace, "source": f"folder {anna.folder}/base"}
    store.write_record(run.record.model_copy(update=changes))

    shown = followed(public, anna.share())

    assert "KeyError: 1" in shown
    assert "folder base" in shown
    assert anna.folder.name not in shown
    assert SECRETS.search(shown) is None


def test_what_was_made_alike_but_never_shared_is_not_opened(public, sharers):
    anna, _ = sharers
    link = anna.share()
    shutil.rmtree(anna.folder / anna.run)

    assert REFUSED in followed(public, link)


def test_a_link_can_be_taken_back_and_a_new_one_given(public, sharers):
    anna, _ = sharers
    link = anna.share()

    said = anna.press("wb-unshare")

    assert "no longer" in said
    assert REFUSED in followed(public, link)
    renewed = anna.share()
    assert renewed["key"] != link["key"]
    assert REFUSED not in followed(public, renewed)
    assert REFUSED in followed(public, link)


def test_a_link_is_the_same_until_it_is_taken_back(public, sharers):
    anna, _ = sharers

    assert anna.share() == anna.share()


def test_no_answer_tells_what_others_made(public, sharers):
    """Wrong key, unknown run, deleted run, a run that was never shared: one answer."""
    anna, ben = sharers
    link = anna.share()
    deleted = ben.share()
    ben.delete()
    key = link["key"]
    wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
    queries = [
        link | {"key": wrong},
        {"run": link["run"]},
        link | {"run": "another_run"},
        deleted,
        {"run": "no_such_run", "key": wrong},
        {"run": f"../{anna.folder.name}/{anna.run}", "key": key},
        link | {"key": "../" + key[3:]},
        link | {"key": "0" * 24},
    ]

    answers = {
        re.sub(r'"(average_)?duration": ?[0-9.e-]+', "", followed(public, query))
        for query in queries
    }

    assert len(answers) == 1
    assert REFUSED in answers.pop()


def test_a_link_is_a_key_to_nothing_else(public, sharers):
    anna, _ = sharers
    link = anna.share()
    thief = Visitor(public.address, link["key"], session=anna.http.session)

    assert thief.call("list_runs").data == [[]]
    for button in ("wb-download", "wb-share", "wb-unshare"):
        assert "not found among your runs" in thief.click(button, wb_run=anna.run).html, button
    assert "not found among your runs" in thief.click("wb-run", "input", wb_run=anna.run).html
    asked = thief.call("ask", text="x", ways=[f"run:{anna.run}"])
    assert asked.data is None
    thief.close()


def test_a_link_does_not_tell_its_makers_token_or_folder(public, sharers):
    anna, _ = sharers
    link = str(anna.share())

    assert anna.folder.name not in link
    assert str(anna.http.token) not in link


def test_a_torn_file_of_a_link_costs_the_link_alone(public, sharers):
    anna, _ = sharers
    link = anna.share()
    for path in [*(public.root / "links").iterdir(), *(anna.folder / anna.run).glob("link*")]:
        path.write_bytes(path.read_bytes()[:5])

    assert REFUSED in followed(public, link)
    assert REFUSED not in followed(public, anna.share())
