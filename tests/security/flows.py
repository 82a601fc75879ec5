"""What takes several calls: waiting for a job, and everything a visitor can own."""

import io
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from security.raw import Visitor, file_data

JOB_SECONDS = 60
ROWS = "message,intent\n" + "".join(
    f"{('lovely sun', 'broken rain')[n % 2]} number {n},{('praise', 'complaint')[n % 2]}\n"
    for n in range(40)
)
WORDING = "version: 1\ninstruction: 'Hers: {labels}.'\ninput: 'T {text}\\nA:'"


@dataclass(frozen=True)
class Belongings:
    """The names of everything that one visitor made.

    Attributes:
        task: Key of an upload.
        wording: Key of an edited wording, for that task.
        adapter: Name of an import.
        job: Id of a finished evaluation.
        run: Id of a run with an adapter.
        link: What opens that run for others.
    """

    task: str
    wording: str
    adapter: str
    job: str
    run: str
    link: str


def belongings(visitor: Visitor, lora_export: Path) -> Belongings:
    """Let a visitor make one of everything, over HTTP; take the page's own way where it has one."""
    model = visitor.component("wb-model")["props"]["value"]
    task = upload_rows(visitor)
    visitor.click("wb-task", "change", wb_task="support_intents")
    know_tasks(visitor)
    kept = visitor.click("wb-keep-wording", wb_task=task, wb_is_yaml=True, wb_editor=WORDING)
    wording = kept.data[0]["value"]
    imported = import_zip(visitor, adapter_zip(lora_export))
    adapter = imported.html.split("import:")[1].split("<")[0]
    experiment = {
        "model": model,
        "task": {"name": task, "limit_test": 8},
        "methods": {"zero_shot": {}, "lora": {"steps": 2, "batch_size": 2, "rank": 2}},
    }
    job = visitor.call("start_evaluation", experiment=experiment).data[0]
    done = finished(visitor, job)
    assert done["state"] == "finished", done
    run = next(row["run_id"] for row in done["rows"] if row["row"] == "lora")
    know_runs(visitor)
    link = visitor.click("wb-share", wb_run=run).html.split('href="')[1].split('"')[0]
    return Belongings(task, wording, adapter, job, run, link.replace("&amp;", "&"))


def upload_rows(visitor: Visitor, rows: str = ROWS) -> str:
    """Return the key of uploaded rows."""
    answer = visitor.call(
        "upload_rows", name="mine", content=rows, text_column="message", label_column="intent"
    )
    assert answer.data is not None, answer.error
    return str(answer.data[0])


def adapter_zip(folder: Path, **more: bytes) -> bytes:
    """Return an adapter as a zip, with further files; "__" stands for a dot in their names."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            archive.write(folder / name, name)
        for name, data in more.items():
            archive.writestr(name.replace("__", "."), data)
    return content.getvalue()


def import_zip(visitor: Visitor, content: bytes, name: str = "adapter.zip") -> Any:
    """Import an adapter as the page does."""
    path = visitor.upload(name, content)
    return visitor.click("wb-import-file", "upload", wb_import_file=file_data(path))


def finished(visitor: Visitor, job_id: str) -> dict[str, Any]:
    """Return the status of a job once it waits and runs no more."""
    began = time.monotonic()
    while time.monotonic() - began < JOB_SECONDS:
        answer = visitor.call("job_status", job_id=job_id)
        assert answer.data is not None, answer.error
        status: dict[str, Any] = answer.data[0]
        if status["state"] not in ("queued", "running"):
            return status
        time.sleep(0.2)
    raise AssertionError(f"job {job_id}: unfinished after {JOB_SECONDS} s")


def know_tasks(visitor: Visitor) -> None:
    """Load the page: the session's list of tasks then has the visitor's own."""
    loads = [h for h in visitor.handlers() if [0, "load"] in h["targets"]]
    for handler in loads:
        visitor.run(handler, visitor.inputs(handler))


def know_runs(visitor: Visitor) -> None:
    """Open the tab of runs: the session's list of runs then has the visitor's own."""
    selects = [
        handler
        for handler in visitor.handlers()
        if len(handler["inputs"]) == 1 and any(event == "select" for _, event in handler["targets"])
    ]
    for handler in selects:
        visitor.run(handler, visitor.inputs(handler))
