"""Links to a run: the right one opens it, any other one says so."""

from types import SimpleNamespace
from typing import Any

import pytest

from pages import Page, Seen, dangers, is_problem, said
from visitors import store_run
from workbench.ui.shared_runs import on_link


def follow(page: Page, **query: Any) -> Any:
    return on_link(page.context, SimpleNamespace(query_params=query))  # type: ignore[arg-type]


def test_an_address_without_a_run_shows_nothing(page):
    assert follow(page).visible is False


def test_locally_a_link_opens_its_run(page):
    view = follow(page, run=page.rows["lora"])

    assert view.visible
    assert page.rows["lora"] in Seen(view.value).text


def test_on_a_public_page_a_link_with_its_key_opens_the_run(chunk_page):
    run_id = store_run(chunk_page.workspace.folder)

    view = follow(chunk_page, run=run_id, key=chunk_page.workspace.share(run_id))

    assert run_id in Seen(view.value).text


@pytest.mark.parametrize("key", [None, "", "0" * 24, "x" * 5000, "é", "<b>"])
def test_on_a_public_page_any_other_key_opens_nothing(key, chunk_page):
    run_id = store_run(chunk_page.workspace.folder)

    view = follow(chunk_page, run=run_id, key=key)

    assert is_problem(view.value)
    assert "opens no run" in said(view.value)


@pytest.mark.parametrize("run_id", ["missing", "../x", "<script>alert(1)</script>", "x" * 5000])
def test_a_link_to_nothing_is_one_message(run_id, page):
    view = follow(page, run=run_id)

    assert is_problem(view.value)
    assert "on our side" not in said(view.value)
    assert dangers(view.value) == []


def test_a_shared_run_shows_nothing_of_where_it_lies(chunk_page):
    run_id = store_run(chunk_page.workspace.folder)

    view = follow(chunk_page, run=run_id, key=chunk_page.workspace.share(run_id))

    assert str(chunk_page.context.root) not in view.value
