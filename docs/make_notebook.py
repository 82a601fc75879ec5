"""Write the notebooks of docs/notebooks: the cells of their sources, run, with what they show.

Run it as `make notebook`; `first_steps` takes minutes on the default base, `tour` seconds. Names
make only those: `python docs/make_notebook.py tour`. A test fails when a notebook has other cells
than its source, the file in Markdown beside it: text, and blocks of Python.
"""

import json
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.errors import without_folders

NAMES = ("first_steps", "tour")
_FOLDER = Path(__file__).with_name("notebooks")
_BLOCK = re.compile(r"^```python\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
_CELL_SECONDS = 1800


def source_of(name: str) -> Path:
    """Return the source of a notebook."""
    return _FOLDER / f"{name}.md"


def file_of(name: str) -> Path:
    """Return where a notebook lies with its outputs."""
    return source_of(name).with_suffix(".ipynb")


def cells_of(text: str) -> list[tuple[str, str]]:
    """Return the cells of a source in order: "markdown" or "code", and what is in each."""
    parts = [part.strip() for part in _BLOCK.split(text)]
    kinds = ("markdown", "code")  # what a pattern with one group splits into, in turn
    return [(kinds[number % 2], part) for number, part in enumerate(parts) if part]


def notebook_of(text: str) -> dict[str, Any]:
    """Return a source as a notebook in format 4.5, not run yet."""
    cells: list[dict[str, Any]] = []
    for number, (kind, source) in enumerate(cells_of(text)):
        cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": source}
        cells.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def run(notebook: dict[str, Any]) -> dict[str, Any]:
    """Return a notebook with the outputs of its cells, run in an empty folder.

    Raises:
        ValueError: an output names a folder of this machine.
    """
    import nbformat  # noqa: PLC0415  the test of the cells needs none of it
    from nbclient import NotebookClient  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            nbformat.from_dict(notebook),
            timeout=_CELL_SECONDS,
            record_timing=False,
            resources={"metadata": {"path": folder}},
        )
        done: dict[str, Any] = json.loads(nbformat.writes(client.execute()))
    done["metadata"].pop("language_info", None)  # the version of whoever ran it last
    for cell in done["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [one for one in cell["outputs"] if not is_progress(one)]
    if found := places_in(done):
        raise ValueError(f"outputs name folders of this machine: {found}")
    return done


def is_progress(output: dict[str, Any]) -> bool:
    """Return whether an output only told how far something was."""
    return bool(output["output_type"] == "stream" and output["name"] == "stderr")


def places_in(notebook: dict[str, Any]) -> list[str]:
    """Return the lines of outputs, pictures apart, that name an absolute path."""
    lines: list[str] = []
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            shown = {"text": output.get("text", ""), **output.get("data", {})}
            for kind, text in shown.items():
                if not kind.startswith("image/"):
                    lines += (text if isinstance(text, str) else "".join(text)).splitlines()
    return [line for line in lines if without_folders(line) != line]


def main(names: Sequence[str]) -> None:
    """Make notebooks by name; all of them unless some are named."""
    for name in names or NAMES:
        made = run(notebook_of(source_of(name).read_text(encoding="utf-8")))
        text = json.dumps(made, indent=1, ensure_ascii=False)
        file_of(name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
