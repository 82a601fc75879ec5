"""The page in use: five columns at once, twenty visitors while one trains, 500 calls."""

import itertools
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
from gradio_client import Client

from measuring import Figure

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browser.driver import running_app
from security.raw import Visitor

_TEXT = "My parcel never came and nobody answers the phone"
_WAYS = (
    "words:zero_shot",
    "words:few_shot",
    "words:chain_of_thought",
    "example:soft_prompt",
    "example:lora",
)
_TOKENS, _REPEATS = 24, 5
_VISITORS, _LOAD_SECONDS, _THINKING = 20, 60.0, (1.0, 3.0)
_CALLS, _WARM_UP = 500, 100


def measure(folder: Path) -> list[Figure]:
    """Return first token, slowest column, latency under load, and growth of memory."""
    with running_app(folder / "runs") as address:
        client = Client(address, verbose=False, analytics_enabled=False)
        client.predict(text=_TEXT, ways=list(_WAYS), api_name="/ask")  # loads the base
        compared = _evaluation(client)
        figures = [*_columns(client), _load(client, address, compared)]
        return [*figures, _soak(client, address, compared)]


def _columns(client: Client) -> list[Figure]:
    """Measure five columns in one batch against the slowest of them alone."""
    first, together, alone = [], [], []
    for _ in range(_REPEATS):
        shown, seconds = _answer(client, list(_WAYS))
        first.append(shown)
        slowest = max(range(len(_WAYS)), key=lambda number: seconds[number])
        together.append(seconds[slowest])
        alone.append(_answer(client, [_WAYS[slowest]])[1][0])
    ratios = [a / b for a, b in zip(together, alone, strict=True)]
    shown = statistics.median(first)
    return [
        Figure(
            "page: seconds to the first text of five columns, over HTTP",
            shown,
            target=1.5,
            lowest=min(first),
            highest=max(first),
            details=f"{_REPEATS} repeats, prefixes warm, {_TOKENS} greedy tokens each",
        ),
        Figure(
            "page: slowest of five columns / that column alone",
            statistics.median(together) / statistics.median(alone),
            target=1.5,
            lowest=min(ratios),
            highest=max(ratios),
            details=f"together {statistics.median(together):.2f} s, "
            f"alone {statistics.median(alone):.2f} s",
        ),
    ]


def _answer(client: Client, ways: list[str]) -> tuple[float, list[float]]:
    """Return seconds until text is seen by the caller, and of each column to its end."""
    began, shown = time.perf_counter(), 0.0
    job = client.submit(text=_TEXT, ways=ways, max_new_tokens=_TOKENS, api_name="/ask")
    last: Mapping[str, Any] = {}
    for answer in job:
        last = answer
        if not shown and any(column["text"] for column in answer["columns"]):
            shown = time.perf_counter() - began
    return shown, [column["seconds"] for column in last["columns"]]


def _load(client: Client, address: str, compared: str) -> Figure:
    """Measure actions that need no model, by many visitors at a time, while a job trains."""
    trained = client.predict("lora", {"steps": 2000}, api_name="/start_training")
    while client.predict(trained, api_name="/job_status")["stage"] != "train":
        time.sleep(0.5)
    latencies: dict[str, list[float]] = {}
    lock, end = threading.Lock(), time.monotonic() + _LOAD_SECONDS

    def visit(number: int) -> None:
        visitor, rng = Visitor(address), random.Random(number)
        actions = _actions(visitor, compared)
        while time.monotonic() < end:
            time.sleep(rng.uniform(*_THINKING))
            name = rng.choice(list(actions))
            began = time.perf_counter()
            actions[name]()
            with lock:
                latencies.setdefault(name, []).append(time.perf_counter() - began)
        visitor.close()

    threads = [threading.Thread(target=visit, args=(n,)) for n in range(_VISITORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.predict(trained, api_name="/stop_job")
    _wait(client, trained, "stopped")
    every = sorted(itertools.chain.from_iterable(latencies.values()))
    worst = max(latencies, key=lambda name: statistics.quantiles(latencies[name], n=20)[-1])
    p95 = statistics.quantiles(every, n=20)[-1]
    return Figure(
        "page: seconds of 95 % of actions, 20 visitors while one trains",
        p95,
        target=0.3,
        details=f"{len(every)} actions in {_LOAD_SECONDS:.0f} s, {_THINKING[0]:g} to "
        f"{_THINKING[1]:g} s of thought between them; median {statistics.median(every):.3f} s; "
        f"slowest kind: {worst}, {statistics.quantiles(latencies[worst], n=20)[-1]:.3f} s",
    )


def _actions(visitor: Visitor, compared: str) -> dict[str, Callable[[], object]]:
    """Return what a visitor may click that needs no model, by name."""

    def shows(elem_id: str) -> Mapping[str, Any]:
        number = visitor.component(elem_id)["id"]
        return next(
            one
            for one in visitor.config["dependencies"]
            if number in one["outputs"] and not one["queue"] and one["inputs"]
        )

    def run(elem_id: str, **changes: object) -> Callable[[], object]:
        handler = shows(elem_id)

        def act() -> None:
            answer = visitor.run(handler, visitor.inputs(handler, **changes))
            assert answer.status == 200, (elem_id, answer.text[:300])

        return act

    wording = 'version: 1\ninstruction: "Sort: {labels}."\ninput: "Text: {text}\\nTopic:"'
    chosen = {"wb_comparison": compared, "wb_browse_row": "few_shot", "wb_against": "zero_shot"}
    run("wb-comparison")()  # a session knows only the choices it was shown
    run("wb-results", **chosen)()
    return {
        "load the page": lambda: visitor.http.get("/").raise_for_status(),
        "look at the task": run("wb-task-facts"),
        "preview a wording": run("wb-preview", wb_editor=wording),
        "list ways": run("wb-ways", wb_ways=[]),
        "list rows": run("wb-rows", wb_rows=[]),
        "look at the training": run("wb-train-view"),
        "list runs": run("wb-runs"),
        "open a comparison": run("wb-results", **chosen),
        "quality against cost": run("wb-cost-view", wb_cost="milliseconds_per_item", **chosen),
        "look at a row": run("wb-row-view", wb_row="few_shot", **chosen),
        "browse items": run("wb-items", wb_mode="disagree", **chosen),
    }


def _soak(client: Client, address: str, compared: str) -> Figure:
    """Measure the app's memory over many calls of every kind."""
    process = _listening(int(address.rsplit(":", 1)[1]))
    visitor = Visitor(address)
    calls: list[Callable[[], object]] = [
        lambda: client.predict(text=_TEXT, ways=list(_WAYS), max_new_tokens=2, api_name="/ask"),
        lambda: client.predict(texts=[_TEXT, "Cancel it"], api_name="/score"),
        lambda: client.predict(api_name="/list_runs"),
        lambda: visitor.http.get("/").raise_for_status(),
        *_actions(visitor, compared).values(),
    ]
    sizes = []
    for number in range(_CALLS):
        calls[number % len(calls)]()
        if (number + 1) % 50 == 0:
            sizes.append(process.memory_info().rss / 2**20)
    warm, last = sizes[_WARM_UP // 50 - 1], sizes[-1]
    return Figure(
        f"page: memory after {_CALLS} calls / after {_WARM_UP}",
        last / warm,
        target=1.05,
        lowest=min(sizes) / warm,
        highest=max(sizes) / warm,
        details=", ".join(f"{size:.0f}" for size in sizes) + " MiB after every 50 calls",
    )


def _evaluation(client: Client) -> str:
    """Return the job of a small finished comparison."""
    rows: dict[str, dict[str, Any]] = {name: {} for name in ("zero_shot", "few_shot")}
    content = {"methods": rows, "task": {"name": "support_intents", "limit_test": 60}}
    job_id: str = client.predict(content, api_name="/start_evaluation")
    _wait(client, job_id, "finished")
    return job_id


def _wait(client: Client, job_id: str, state: str) -> None:
    while True:
        found = client.predict(job_id, api_name="/job_status")
        if found["state"] == state:
            return
        if found["state"] not in ("queued", "running"):
            raise RuntimeError(f"job {job_id}: {found['state']}, {found['message']}")
        time.sleep(1)


def _listening(port: int) -> psutil.Process:
    """Return the process that listens on a port."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
            return psutil.Process(connection.pid)
    raise RuntimeError(f"nothing listens on {port}")
