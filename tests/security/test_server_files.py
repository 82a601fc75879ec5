"""No file of the server leaves it, by no address and no pretended upload; none is written to."""

import io
import pickle
import zipfile
from pathlib import Path

import pytest

from security.flows import ROWS, adapter_zip, import_zip
from security.raw import SECRETS, Visitor, file_data

INSIDE = "169.254.169.254"  # where clouds tell a machine its keys
TRAVERSALS = (
    "/etc/passwd",
    "//etc/passwd",
    "/etc//passwd",
    "/proc/self/environ",
    "/proc/self/cwd/pyproject.toml",
    "../../../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "..%252f..%252fetc%252fpasswd",
    "..\\..\\etc\\passwd",
    "/etc/passwd%00.csv",
    "file:///etc/passwd",
    f"http://{INSIDE}/latest/meta-data/",
    f"https://{INSIDE}/",
    "http://127.0.0.1/",
    "http://[::1]/",
    "http://0x7f000001/",
    "hf://datasets/stanfordnlp/sst2",
    "pyproject.toml",
    "workbench/ui/app.py",
)
ROUTES = ("gradio_api/file=", "gradio_api/file/", "static/", "assets/", "svelte/")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_address_serves_a_file_of_the_server(anna, route, path):
    got = anna.get(f"/{route}{path}")

    assert got.status in (403, 404), got.text[:200]
    assert SECRETS.search(got.text) is None
    assert "[project]" not in got.text


def test_nothing_below_the_folder_of_runs_is_served(public, anna, made):
    stored = made_files(anna, public)
    assert {"link-key", "record.json", "adapter_model.safetensors", "status.json"} <= {
        path.name for path in stored
    }

    for path in stored:
        for form in (str(path), f"/proc/self/root{path}", f"{path.parent}/./{path.name}"):
            got = anna.get(f"/gradio_api/file={form}")
            assert got.status == 403, form
            assert path.read_text(errors="replace")[:40] not in got.text


def test_nothing_below_the_folder_of_runs_is_served_to_the_owner_either(local, owner):
    assert [
        path
        for path in made_files(owner, local)
        if owner.http.get(f"/gradio_api/file={path}").status_code != 403
    ] == []


FILE_HANDLERS = {
    "a look at rows": ("wb-file", "change", "wb_file"),
    "rows to keep": ("wb-use-rows", "click", "wb_file"),
    "an import": ("wb-import-file", "upload", "wb_import_file"),
}


@pytest.mark.parametrize("handler", FILE_HANDLERS)
@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../../etc/passwd", "pyproject.toml", "/proc/self/environ", "", ".", "\0", "/"],
)
def test_a_file_of_the_server_cannot_be_passed_off_as_an_upload(anna, handler, path):
    elem_id, event, field = FILE_HANDLERS[handler]
    for data in (
        file_data(path),
        file_data(path, orig_name="rows.csv", url="/gradio_api/file=x"),
        [file_data(path)],
        path,
        {"path": path},
    ):
        answer = anna.click(elem_id, event, **{field: data})

        assert answer.data is None or "That did not work." in answer.html, data
        assert SECRETS.search(answer.text) is None
        assert "[project]" not in answer.text


def test_a_run_cannot_be_passed_off_as_an_upload(public, anna):
    for path in made_files(anna, public):
        for elem_id, event, field in FILE_HANDLERS.values():
            answer = anna.click(elem_id, event, **{field: file_data(path)})
            assert answer.data is None, path
            assert SECRETS.search(answer.text) is None


@pytest.mark.parametrize("address", [f"http://{INSIDE}/x.csv", "http://127.0.0.1:1/x.csv"])
def test_the_server_fetches_no_address(anna, address):
    for elem_id, event, field in FILE_HANDLERS.values():
        answer = anna.click(elem_id, event, **{field: file_data(address)})
        assert (answer.status, answer.data) == (400, None)

    text = anna.click("wb-ticket", "change", wb_text=file_data(address))
    assert (text.status, text.data) == (400, None)


NAMES = (
    "../../evil.csv",
    "/etc/cron.d/evil.csv",
    "..\\..\\evil.csv",
    "%2e%2e%2fevil.csv",
    "a" * 400 + ".csv",
    "<img src=x onerror=alert(1)>.csv",
    "evil\r\nSet-Cookie: a=b.csv",
    "con.csv",
    "\u202evsc.evil.csv",
)


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_a_file_decides_nothing_about_its_place(public, anna, name):
    stored = Path(anna.upload(name, ROWS.encode()))

    assert stored.parents[3] == (public.scratch / "gradio").resolve()
    assert len(stored.parent.name) == 64  # a hash of the content
    before = outside(public)
    kept = anna.click("wb-use-rows", wb_file=file_data(stored), **columns(anna, stored))
    assert "wb-task" in kept.html, kept.text
    assert SECRETS.search(kept.text) is None
    assert outside(public) == before
    for record in public.root.glob("visitors/*/uploads/*/*"):
        assert record.parent.parent.name == "uploads"
        assert record.name.isascii()


@pytest.mark.parametrize("name", ["a.pkl", "a.bin", "a.pt", "a.py", "a.csv", "a", "a.zip.pkl"])
def test_only_a_zip_is_imported(anna, name):
    answer = import_zip(anna, pickle.dumps({"a": 1}), name)

    assert answer.data is None or "That did not work." in answer.html
    assert "Imported as" not in answer.text


PICKLES = {
    "weights as .bin": {"adapter_model__bin": b"PK"},
    "a .pt beside": {"training_args__pt": b"PK"},
    "a script": {"setup__py": b"import os"},
    "a shared library": {"a__so": b"\x7fELF"},
}


@pytest.mark.parametrize("what", PICKLES)
def test_an_adapter_with_code_in_it_is_refused(anna, lora_export, what):
    answer = import_zip(anna, adapter_zip(lora_export, **PICKLES[what]))

    assert "Only safetensors are read" in answer.html
    assert "Imported as" not in answer.text


def test_a_pickle_under_the_name_of_safe_weights_is_never_loaded(anna, lora_export, tmp_path):
    mark = tmp_path / "loaded"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.write(lora_export / "adapter_config.json", "adapter_config.json")
        archive.writestr("adapter_model.safetensors", pickle.dumps(Marker(str(mark))))

    answer = import_zip(anna, content.getvalue())

    assert "That did not work." in answer.html
    assert not mark.exists()


@pytest.mark.parametrize("name", ["../adapter_config.json", "/tmp/adapter_config.json", "a\\..\\b"])
def test_a_zip_writes_nowhere(anna, public, lora_export, name):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(name, "{}")
        archive.write(lora_export / "adapter_config.json", "adapter_config.json")
        archive.write(lora_export / "adapter_model.safetensors", "adapter_model.safetensors")
    before = outside(public)

    answer = import_zip(anna, content.getvalue())

    assert "That did not work." in answer.html
    assert SECRETS.search(answer.text) is None
    assert outside(public) == before


class Marker:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def made_files(visitor, site):
    """Return files that a visitor's own actions wrote below the folder of runs."""
    visitor.call(
        "upload_rows", name="mine", content=ROWS, text_column="message", label_column="intent"
    )
    visitor.click(
        "wb-keep-wording", wb_is_yaml=True, wb_editor="version: 1\ninput: 'T {text}\\nA:'"
    )
    files = [path for path in site.root.rglob("*") if path.is_file() and path.stat().st_size]
    assert len(files) >= 3
    return files


def columns(visitor: Visitor, path):
    """Look at a file as the page does, so that its columns can be chosen; return the choice."""
    visitor.click("wb-file", "change", wb_file=file_data(path))
    return {"wb_text_column": "message", "wb_label_column": "intent"}


def outside(site):
    """Return the files beside the folder of runs and of uploads."""
    inside = (site.root, site.scratch / "gradio")
    return sorted(
        path
        for path in site.scratch.rglob("*")
        if path.is_file() and not any(path.is_relative_to(folder) for folder in inside)
    )
