"""Each notebook is its source, run: the same cells, no errors, no folder of whoever made it."""

import ast
import builtins
import json

import pytest

import make_notebook
import workbench


def made(name: str) -> dict:
    return json.loads(make_notebook.file_of(name).read_text(encoding="utf-8"))


def code_of(name: str) -> list[dict]:
    return [cell for cell in made(name)["cells"] if cell["cell_type"] == "code"]


def text_of(cell: dict) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def html_of(cell: dict) -> str:
    """Return what a cell shows as HTML; nothing if it shows none."""
    (shown,) = [one for one in cell["outputs"] if one["output_type"] == "execute_result"]
    return "".join(shown["data"].get("text/html", ""))


def test_every_source_is_a_notebook():
    sources = {path.stem for path in make_notebook.source_of("tour").parent.glob("*.md")}

    assert sources == set(make_notebook.NAMES)


@pytest.mark.parametrize("name", make_notebook.NAMES)
def test_its_cells_are_those_of_its_source(name):
    source = make_notebook.source_of(name).read_text(encoding="utf-8")

    found = [(cell["cell_type"], text_of(cell)) for cell in made(name)["cells"]]

    assert found == make_notebook.cells_of(source)


@pytest.mark.parametrize("name", make_notebook.NAMES)
def test_every_cell_of_code_was_run_in_order_without_an_error(name):
    code = code_of(name)

    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    kinds = {output["output_type"] for cell in code for output in cell["outputs"]}
    assert "error" not in kinds
    assert any("image/png" in out.get("data", {}) for cell in code for out in cell["outputs"])


@pytest.mark.parametrize("name", make_notebook.NAMES)
def test_it_uses_names_that_exist(name):
    known = set(dir(builtins))
    for cell in code_of(name):
        tree = ast.parse(text_of(cell))
        nodes = list(ast.walk(tree))
        known |= {
            alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names
        }
        names = [node for node in nodes if isinstance(node, ast.Name)]
        known |= {node.id for node in names if isinstance(node.ctx, ast.Store)}
        assert {node.id for node in names} <= known
        for node in nodes:
            is_ours = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            if is_ours and node.value.id == "workbench":
                assert node.attr in workbench.__all__


@pytest.mark.parametrize("name", make_notebook.NAMES)
def test_no_output_names_a_folder_of_whoever_ran_it(name):
    assert make_notebook.places_in(made(name)) == []


def test_a_folder_in_an_output_is_noticed():
    torn = {"cells": [{"outputs": [{"text": ["in /home/anna/runs/x\n"]}]}]}

    assert make_notebook.places_in(torn) == ["in /home/anna/runs/x"]


def test_the_code_of_the_tour_runs_and_shows_what_its_notebook_shows():
    """It needs no base: a figure or a word that changed since is noticed here."""
    names: dict = {}

    for cell in code_of("tour"):
        *before, last = ast.parse(text_of(cell)).body
        exec(compile(ast.Module(before, []), "cell", "exec"), names)
        shown = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        as_html = getattr(shown, "_repr_html_", lambda: "")
        if "DataFrame" not in type(shown).__name__:  # pandas may write its own otherwise
            assert as_html() == html_of(cell)
        as_picture = getattr(shown, "_repr_png_", None)
        is_picture = any("image/png" in one.get("data", {}) for one in cell["outputs"])
        assert (as_picture is not None) == is_picture


def test_the_tour_has_the_stops_of_the_page():
    tour = workbench.open_tour()
    headings = [
        line.removeprefix("## ")
        for kind, text in make_notebook.cells_of(
            make_notebook.source_of("tour").read_text(encoding="utf-8")
        )
        for line in text.splitlines()
        if kind == "markdown" and line.startswith("## ")
    ]

    assert headings == [stop.title for stop in tour.stops]
