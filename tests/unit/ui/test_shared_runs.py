"""Links to a run: the right one opens it, any other one says so."""

from types import SimpleNamespace
from typing import Any

import pytest

from pages import Page, Seen, dangers, is_problem, said
from visitors import store_run
from workbench.runs.store import BrokenRun, RunStore
from workbench.service.workspace import Workspace
from workbench.ui.api import Endpoints
from workbench.ui.runs import on_open, run_table
from workbench.ui.shared_runs import on_link

TRACE = (
    'Traceback (most recent call last):\n  File "/srv/app/workbench/x.py", line 1, in y\n'
    "OSError: no /srv/app/z\n"
)


def follow(page: Page, **query: Any) -> Any:
    return on_link(page.context, SimpleNamespace(query_params=query))  # type: ignore[arg-type]


def test_an_address_without_a_run_shows_nothing(page):
    assert follow(page).visible is False


def test_a_run_of_ones_own_is_shown_among_the_others(page):
    assert follow(page, run=page.rows["lora"]).visible is False


def test_on_a_public_page_a_link_with_its_key_opens_the_run(chunk_page):
    run_id = store_run(chunk_page.workspace.folder)

    view = follow(chunk_page, run=run_id, key=chunk_page.workspace.share(run_id))

    assert run_id in Seen(view.value).text


def test_on_a_public_page_a_run_of_ones_own_is_shown_among_the_others(chunk_page):
    run_id = store_run(chunk_page.workspace.folder)

    assert follow(chunk_page, run=run_id, tab="runs").visible is False


@pytest.mark.parametrize("key", [None, "", "0" * 24, "x" * 5000, "é", "<b>"])
def test_on_a_public_page_any_other_key_opens_nothing(key, chunk_page):
    run_id = store_run(chunk_page.workspace.folder)

    view = follow(chunk_page, run=run_id, key=key)

    assert is_problem(view.value)
    assert "opens no run" in said(view.value)


@pytest.mark.parametrize("run_id", ["missing", "../x", "<script>alert(1)</script>", "x" * 5000])
def test_a_link_to_nothing_is_one_message(run_id, chunk_page):
    view = follow(chunk_page, run=run_id, key="0" * 24)

    assert is_problem(view.value)
    assert "on our side" not in said(view.value)
    assert dangers(view.value) == []


def test_a_shared_run_shows_nothing_of_where_it_lies(chunk_page):
    run_id = store_run(chunk_page.workspace.folder)

    view = follow(chunk_page, run=run_id, key=chunk_page.workspace.share(run_id))

    assert str(chunk_page.context.root) not in view.value


def failed_run(page: Page, *, seed: int = 0, error: str = TRACE) -> str:
    """Return a run that failed, which used an adapter of the visitor's and an edited wording."""
    workspace = page.workspace
    run_id = store_run(
        workspace.folder,
        seed=seed,
        status="failed",
        method="combined",
        options={"adapters": f"{workspace.folder}/one_run/adapter,{workspace.imports}/12{seed}"},
        template={"name": str(workspace.wordings / f"3f{seed}.yaml")},
    )
    store = RunStore(workspace.folder)
    run = store.find(run_id)
    assert run is not None
    store.write_record(run.record.model_copy(update={"error": error}))
    return run_id


def views_of(page: Page) -> dict[str, str]:
    """Return every page that shows failed runs."""
    token, first, second = page.setting["token"], failed_run(page), failed_run(page, seed=1)
    key = page.workspace.share(first)
    return {
        "run": on_open(page.context, token, first, None),
        "two runs": on_open(page.context, token, first, second),
        "link": follow(page, run=first, key=key).value,
    }


def test_a_public_page_shows_neither_folders_nor_tracebacks(chunk_page):
    views = views_of(chunk_page)

    for name, html in views.items():
        text = Seen(html).text
        assert str(chunk_page.context.root) not in text, name
        assert "visitors/" not in text, name
        assert "Traceback" not in text, name
        assert "/srv" not in text, name
    for name in ("run", "link"):
        assert "OSError: no z" in Seen(views[name]).text
        assert '"adapters": "one_run,120"' in Seen(views[name]).text
    assert "one_run,121" in Seen(views["two runs"]).text


def test_ones_own_page_shows_them(empty_page):
    text = Seen(views_of(empty_page)["run"]).text

    for line in TRACE.strip().splitlines():
        assert line.strip() in text
    assert str(empty_page.workspace.imports / "120") in text


def test_every_line_of_a_message_is_shown_without_folders(chunk_page):
    run_id = failed_run(chunk_page, error="rows /srv/a/x.csv: none.\nsteps: none.")

    html = on_open(chunk_page.context, chunk_page.setting["token"], run_id, None)

    assert "rows x.csv: none.\nsteps: none." in Seen(html).text


def test_what_is_wrong_with_a_damaged_run_names_no_folder(chunk_page, monkeypatch):
    broken = BrokenRun(chunk_page.workspace.folder / "one", "cannot be read (no /srv/app/z)")
    monkeypatch.setattr(Workspace, "_everything", lambda _: iter([broken]))
    token = chunk_page.setting["token"]

    table = run_table(chunk_page.context, token)
    (listed,) = Endpoints(chunk_page.context).list_runs(token)

    assert "damaged: cannot be read (no z)" in table.iloc[0].tolist()
    assert "cannot be read (no z)" in listed["reason"]
