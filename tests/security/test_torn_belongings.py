"""Files that are damaged under a running public app: named, never a traceback, nobody blocked."""

import hashlib
from pathlib import Path

import pytest

from security.flows import ROWS, WORDING, adapter_zip, import_zip, upload_rows
from security.raw import SECRETS, Visitor
from torn import DAMAGES

CARLA = "carla-carla-carla-carla"
SOME = ("empty", "a folder in its place", "a link to nowhere", "a bit in the middle")


@pytest.fixture(scope="module")
def carla(public):
    visitor = Visitor(public.address, CARLA)
    yield visitor
    visitor.close()


@pytest.fixture(scope="module")
def folder(public) -> Path:
    """Return where Carla's things lie."""
    return public.root / "visitors" / hashlib.sha256(CARLA.encode()).hexdigest()[:32]


@pytest.fixture(scope="module")
def other(carla) -> str:
    """Return the key of an upload that stays whole."""
    return upload_rows(carla, ROWS.replace("number", "no"))


def damage(path: Path, name: str) -> None:
    DAMAGES[name](path)


def loaded(visitor: Visitor) -> str:
    """Load the page as a browser does; return everything that was answered."""
    answers = []
    for handler in visitor.handlers():
        if [0, "load"] in handler["targets"]:
            answer = visitor.run(handler, visitor.inputs(handler))
            assert answer.data is not None, answer.error
            answers.append(answer.text)
    text = "\n".join(answers)
    assert not SECRETS.search(text)
    return text


@pytest.mark.parametrize("name", SOME)
def test_a_damaged_upload_says_so_and_the_page_loads(carla, folder, other, name):
    key = upload_rows(carla)
    (file,) = (folder / "uploads" / key.removeprefix("upload:")).glob("*.csv")
    damage(file, name)

    assert other in loaded(carla)
    shown = carla.click("wb-task", "change", wb_task=key)
    asked = carla.call("ask", text="x", ways=["words:zero_shot"], task=key)

    for text in (shown.text, str(asked.error)):
        assert "damaged. Upload the file again." in text
        assert not SECRETS.search(text)
    assert carla.call("ask", text="x", ways=["words:zero_shot"], task=other).data is not None
    assert upload_rows(carla) == key
    assert carla.call("ask", text="x", ways=["words:zero_shot"], task=key).data is not None


@pytest.mark.parametrize("name", SOME)
def test_a_damaged_wording_says_so_and_the_page_loads(carla, folder, other, name):
    kept = carla.click("wb-keep-wording", wb_task=other, wb_is_yaml=True, wb_editor=WORDING).data[
        0
    ]["value"]
    damage(folder / "wordings" / f"{kept.removeprefix('edited:')}.yaml", name)

    loaded(carla)
    asked = carla.call("ask", text="x", ways=["words:zero_shot"], task=other, wording=kept)

    assert "damaged. Choose another one" in str(asked.error)
    assert not SECRETS.search(asked.text)
    again = carla.click("wb-keep-wording", wb_task=other, wb_is_yaml=True, wb_editor=WORDING)
    assert again.data[0]["value"] == kept


@pytest.mark.parametrize("name", SOME)
def test_a_damaged_import_says_so_and_the_page_loads(carla, folder, other, lora_export, name):
    content = adapter_zip(lora_export)
    adapter = import_zip(carla, content).html.split("import:")[1].split("<")[0]
    damage(folder / "imports" / adapter / "adapter_model.safetensors", name)

    loaded(carla)
    asked = carla.call("ask", text="x", ways=[f"import:{adapter}"], task=other)

    assert "Import it again." in str(asked.error)
    assert not SECRETS.search(asked.text)
    assert adapter in import_zip(carla, content).html
    assert carla.call("ask", text="x", ways=[f"import:{adapter}"], task=other).data is not None
