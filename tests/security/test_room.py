"""No visitor's runs take more of the disk than a visitor may have, at no moment of a job."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from security.flows import finished, upload_rows
from security.raw import Visitor
from security.serving import running_app
from visitors import ANNA, BEN
from workbench.service.workspace import open_workspace

MEGABYTES = 1
CAP = 1_000_000 * MEGABYTES
SMALL_FILE = 8192
_POLL_SECONDS = 0.005


@dataclass
class Watch:
    """The most that a folder held while it was looked at."""

    folder: Path
    most: int = 0
    files: set[str] = field(default_factory=set)

    def look(self) -> None:
        sizes = dict(sizes_below(self.folder))
        if sum(sizes.values()) > self.most:
            self.most, self.files = sum(sizes.values()), {f"{n}: {s}" for n, s in sizes.items()}


def sizes_below(folder: Path) -> Iterator[tuple[str, int]]:
    for path in folder.rglob("*"):
        try:
            if path.is_file():
                yield path.name, path.stat().st_size
        except OSError:  # replaced meanwhile
            continue


@contextmanager
def watching(folder: Path) -> Iterator[Watch]:
    watch, done = Watch(folder), threading.Event()

    def look() -> None:
        while not done.wait(_POLL_SECONDS):
            watch.look()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        done.set()
        thread.join()


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("room") / "runs"


@pytest.fixture(scope="module")
def small(tiny_folder, root) -> Iterator[str]:
    """Return the address of a public app whose visitors have a megabyte each."""
    with running_app(
        root, "public", tiny_folder, scratch=root.parent, WORKBENCH_VISITOR_MB=str(MEGABYTES)
    ) as address:
        yield address


def evaluate(visitor: Visitor, task: str, methods: dict, **more) -> str:
    model = visitor.component("wb-model")["props"]["value"]
    answer = visitor.call(
        "start_evaluation",
        experiment={
            "model": model,
            "precision": "fp32",
            "task": {"name": task, "limit_test": 4},
            "methods": methods,
            **more,
        },
    )
    assert answer.data is not None, answer.error
    return answer.data[0]


def test_full_fine_tuning_takes_no_more_of_the_disk_than_a_visitor_may_have(small, root):
    anna, ben = Visitor(small, ANNA), Visitor(small, BEN)
    folder = open_workspace(root, ANNA, is_public=True).folder
    hers, his = upload_rows(anna), upload_rows(ben)
    full = {"steps": 4, "eval_every": 1, "batch_size": 2, "seeds": [0, 1, 2]}
    methods = {"zero_shot": {}, "full_fine_tuning": full, "few_shot": {"k": 2}}

    with watching(folder) as watch:
        job = evaluate(anna, hers, methods)
        other = evaluate(ben, his, {"zero_shot": {}, "lora": {"steps": 2, "batch_size": 2}})
        status = finished(anna, job)
    done = finished(ben, other)

    assert watch.most <= CAP + SMALL_FILE, sorted(watch.files)
    assert status["state"] == "failed"
    assert {row["row"] for row in status["rows"]} == {"zero_shot", "few_shot"}
    assert [failure["seed"] for failure in status["failures"]] == [0, 1, 2]
    for failure in status["failures"]:
        assert "of the 1 MB" in failure["reason"]
        assert "Delete" in failure["reason"]
    assert done["state"] == "finished"
    assert {row["row"] for row in done["rows"]} == {"zero_shot", "lora"}
    leftover = [path for path in folder.rglob("*") if path.suffix in (".safetensors", ".writing")]
    assert leftover == []


def test_runs_that_cannot_fit_are_refused_before_they_wait(small):
    anna = Visitor(small, ANNA)
    rows = {f"row_{n}": {"method": "full_fine_tuning", "seeds": [0, 1, 2]} for n in range(8)}

    answer = anna.call(
        "start_evaluation",
        experiment={
            "model": anna.component("wb-model")["props"]["value"],
            "precision": "fp32",
            "task": {"name": upload_rows(anna)},
            "methods": rows,
            "reference": "row_0",
        },
    )

    assert answer.data is None
    assert answer.error.startswith("space: the runs asked for store about 4 MB, row_0 ")


def test_uploads_that_nobody_keeps_do_not_fill_the_disk(small, root):
    """Gradio bounds the size of each, and keeps any number of them for a day."""
    anna, uploads = Visitor(small, ANNA), root.parent / "gradio"
    statuses = []

    for number in range(6):
        content = bytes([number]) * 4_000_000
        answer = anna.http.post(
            "/gradio_api/upload", files={"files": (f"{number}.csv", content, "text/csv")}
        )
        statuses.append(answer.status_code)

    assert statuses == [200] * 6  # her older ones make room
    assert sum(size for _, size in sizes_below(uploads)) <= 10 * CAP
    assert {path.name for path in uploads.rglob("*.csv")} == {"4.csv", "5.csv"}


def test_a_visitor_without_room_can_make_some(small, root):
    """By deleting files in the page; uploads were beyond reach once they lay there."""
    carl = Visitor(small, "carl-carl-carl-carl")
    folder = open_workspace(root, carl.token, is_public=True).folder
    rows = "message,intent\n" + "".join(
        f"{'lovely' if n % 2 else 'broken'} {'sun ' * 200} {n},{n % 2}\n" for n in range(300)
    )
    answers = [
        carl.call("upload_rows", name=f"rows{n}", content=rows, text_column="message",
                  label_column="intent")
        for n in range(6)
    ]  # fmt: skip
    assert answers[0].data
    assert "Delete runs or files" in answers[-1].error
    assert sum(size for _, size in sizes_below(folder)) <= CAP

    refused = carl.click("wb-clear", wb_clear_sure=False)
    done = carl.click("wb-clear", wb_clear_sure=True)

    assert "tick" in refused.html
    assert "Deleted 0.7 MB" in done.html
    assert upload_rows(carl)
    assert answers[-1].data is None
