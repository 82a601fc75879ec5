"""Dear calls of a public page wait in lines of their own, and quick ones pass them by.

`python tests/security/test_long_work.py NUMBER` prints what a flood of so many plans does to
another visitor, on an app of its own over the tiny model.
"""

import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest

from security.raw import Answer, Visitor
from security.serving import running_app
from toys import write_tiny
from workbench.budget.known import KNOWN_SHAPES

WORDING = "version: 1\ninput: '{text}'"
SESSIONS, PATIENCE_SECONDS = 8, 120.0


@dataclass
class Flood:
    """What came of many plans asked for at once, and of another visitor's quick calls meanwhile.

    Attributes:
        answers: How many plans were answered, told that the server is busy, or left without answer.
        seconds: From the first call to the last answer.
        waits: Seconds of each quick call, by its name.
    """

    answers: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    waits: dict[str, list[float]] = field(default_factory=dict)


def flood(address: str, num: int, *, patience: float = PATIENCE_SECONDS) -> Flood:
    """Ask for plans from several sessions at once, each about something else."""
    visitors = [Visitor(address, f"planner-{n}-planner-planner") for n in range(SESSIONS)]
    handler = visitors[0].handler("wb-plan", "click")
    models, found = list(KNOWN_SHAPES), Flood()

    def plan(number: int) -> str:
        visitor = Visitor(address, visitors[number % SESSIONS].token)
        visitor.http.timeout = httpx.Timeout(patience)
        data = visitor.inputs(handler, wb_plan_model=models[number % len(models)])
        data[data.index(16)] = 17 + number  # so that no two questions are the same
        try:
            return sort_of(visitor.run(handler, data))
        except httpx.HTTPError:
            return "without answer"
        finally:
            visitor.close()

    is_over = threading.Event()
    waits: dict[str, list[float]] = {}
    watcher = threading.Thread(target=_watch, args=(address, is_over, waits))
    with ThreadPoolExecutor(num) as pool:
        began = time.monotonic()
        watcher.start()
        for answer in pool.map(plan, range(num)):
            found.answers[answer] += 1
        found.seconds = time.monotonic() - began
    is_over.set()
    watcher.join()
    found.waits = waits
    return found


def sort_of(answer: Answer) -> str:
    """Return "answered" for a plan, "busy" for a refusal that says so, or what else came."""
    if "Memory of each method" in answer.html:
        return "answered"
    is_busy = answer.status == 503 and "busy" in (answer.error or "")
    is_busy |= answer.status == 429 and "from your address" in (answer.error or "")
    return "busy" if is_busy else f"{answer.status} {answer.error or answer.html}"[:120]


def _watch(address: str, is_over: threading.Event, waits: dict[str, list[float]]) -> None:
    visitor = Visitor(address, "somebody-else-entirely")
    for name, call in quick_calls(visitor).items():
        waits[name] = []
        call()
    while not is_over.is_set():
        for name, call in quick_calls(visitor).items():
            began = time.monotonic()
            answer = call()
            waits[name].append(time.monotonic() - began)
            assert answer.status == 200, answer.text[:300]
    visitor.close()


def quick_calls(visitor: Visitor) -> dict[str, Callable[[], Answer]]:
    """Return what another visitor does meanwhile."""
    return {
        "wording preview": lambda: visitor.click(
            "wb-editor",
            "change",
            wb_is_yaml=True,
            wb_editor="version: 1\ninput: '{text}'",
            wb_task="support_intents",
        ),
        "job status": lambda: visitor.call("job_status", job_id="no-such-job"),
    }


def test_many_plans_are_answered_or_refused_and_others_go_on(public):
    found = flood(public.address, 50)  # an address may have 60 pages, and one watches

    assert found.answers["answered"] > 0
    assert set(found.answers) <= {"answered", "busy"}
    for name, waits in found.waits.items():
        assert waits, name
        assert statistics.median(waits) < found.seconds / 4, name


@pytest.mark.parametrize("road", ["run", "api"])
def test_no_road_leads_past_the_lines(public, road):
    """What waits in a line can be asked for by the queue alone."""
    stranger = Visitor(public.address, "stranger-stranger-stranger")
    waiting = [one for one in stranger.handlers() if one["queue"]]

    answers = {
        handler["id"]: stranger.http.post(
            f"/gradio_api/{road}/x",
            json={"data": [], "fn_index": handler["id"], "session_hash": stranger.session},
        ).status_code
        for handler in waiting
    }

    assert len(answers) > 30
    assert set(answers.values()) == {404}
    stranger.close()


def test_only_what_takes_milliseconds_goes_past_the_queue(public):
    """No file is parsed, drawn or packed, and no base waited for, past the lines."""
    stranger = Visitor(public.address, "stranger-stranger-stranger")
    dear = [
        ("wb-plan", "click"), ("wb-export", "click"), ("wb-download", "click"),
        ("wb-file", "change"), ("wb-use-rows", "click"), ("wb-import-file", "upload"),
        ("wb-run", "input"), ("wb-comparison", "change"), ("wb-row", "change"),
        ("wb-cost", "change"), ("wb-search", "change"), ("wb-reading-export", "click"),
        ("wb-task", "change"), ("wb-editor", "change"), ("wb-keep-wording", "click"),
    ]  # fmt: skip

    at_once = [name for name, event in dear if not stranger.handler(name, event)["queue"]]

    assert at_once == []
    stranger.close()


def test_a_new_session_costs_no_more_than_an_old_one(public):
    """Whoever invents sessions must not make the server describe its page for each of them."""
    visitor = Visitor(public.address, "inventor-inventor-inventor")
    handler = visitor.handler("wb-method", "input")

    def seconds(session: str) -> float:
        visitor.session = session
        began = time.monotonic()
        assert visitor.run(handler, ["quick", "lora"]).status == 200
        return time.monotonic() - began

    known = visitor.session
    pairs = [(seconds(known), seconds(f"{known}-{number}")) for number in range(24)]
    old, new = (min(times) for times in zip(*pairs, strict=True))  # what other work does not slow

    assert new < 2.5 * old
    visitor.close()


def test_who_leaves_frees_the_place_in_the_line(public):
    leaving = Visitor(public.address, "leaving-leaving-leaving")
    handler = next(h for h in leaving.config["dependencies"] if h["api_name"] == "ask")
    given = {
        "text": "a text", "ways": ["words:zero_shot", "words:few_shot"], "max_new_tokens": 96,
        "temperature": 1.5, "precision": "fp32", "visitor": leaving.token,
    }  # fmt: skip
    data = [
        given.get(one["parameter_name"], one["parameter_default"])
        for one in leaving.parameters("ask")
    ]
    body = {"data": data, "fn_index": handler["id"], "session_hash": leaving.session}
    for _ in range(30):
        assert leaving.http.post("/gradio_api/queue/join", json=body).status_code == 200

    query = {"session_hash": leaving.session}
    with leaving.http.stream("GET", "/gradio_api/queue/data", params=query) as stream:
        lines = stream.iter_lines()  # closes the stream when it is dropped
        next(lines)
        before = num_waiting(leaving)
    time.sleep(0.5)

    assert before > 15
    assert num_waiting(leaving) == 0
    leaving.close()


def test_answers_that_nobody_reads_are_not_piled_up(public):
    hoarder = Visitor(public.address, "hoarder-hoarder-hoarder")
    handler = hoarder.handler("wb-method", "input")
    body = {
        "data": ["quick", "lora"],
        "fn_index": handler["id"],
        "session_hash": hoarder.session,
    }

    answers = [hoarder.http.post("/gradio_api/queue/join", json=body) for _ in range(120)]

    assert answers[0].status_code == 200
    assert any(answer.status_code == 503 and "not read" in answer.text for answer in answers)
    hoarder.close()


def num_waiting(visitor: Visitor) -> int:
    """Return how many events wait in all lines together."""
    return int(visitor.http.get("/gradio_api/queue/status").json()["queue_size"])


def main(num: int) -> None:
    """Print the figures of a flood."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = write_tiny(folder / "tiny")
        with running_app(folder / "runs", "public", model, scratch=folder) as address:
            found = flood(address, num)
    sys.stdout.write(f"{num} plans in {found.seconds:.1f} s: {dict(found.answers)}\n")
    for name, waits in found.waits.items():
        sys.stdout.write(
            f"  {name}: {len(waits)} calls, median {statistics.median(waits):.2f} s, "
            f"longest {max(waits):.2f} s\n"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]))
