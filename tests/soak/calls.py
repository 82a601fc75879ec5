"""What two visitors ask in turns, and whether each answer is the one they get when alone."""

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from security.flows import adapter_zip, finished, import_zip, upload_rows
from security.raw import Visitor

LONG = 96  # tokens, the most a public page writes
_TEXTS = ("lovely sun again", "broken rain, again", "my parcel never came", "números: ñ ¼ 🙂")
PRECISION, OTHER = "fp32", "nf4"
_OFTEN = {
    "words": 3.0,
    "own runs": 4.0,
    "imported": 2.0,
    "long": 2.0,
    "sampled": 3.0,
    "score": 3.0,
    "list of runs": 2.0,
    "other precision": 0.5,  # the base is loaded anew, and again for whoever asks next
}
_CANCELLED_SHARE = 0.06
_TRAINED: dict[str, dict[str, int]] = {
    "zero_shot": {},  # what a comparison is held against
    "lora": {"steps": 3, "batch_size": 2, "rank": 2},
    "prompt_tuning": {"steps": 3, "batch_size": 2, "num_virtual_tokens": 4},
    "prefix_tuning": {"steps": 3, "batch_size": 2, "num_virtual_tokens": 4},
}
_TIMINGS = ("seconds", "first_token_seconds")


@dataclass(frozen=True)
class Person:
    """A visitor with rows, three trained runs and an imported adapter.

    Attributes:
        http: The session.
        task: Key of the rows.
        runs: Ways of the trained runs.
        adapter: Way of the import.
    """

    http: Visitor
    task: str
    runs: tuple[str, ...]
    adapter: str


@dataclass(frozen=True)
class Call:
    """A call of an endpoint: the same call has the same answer.

    Attributes:
        kind: What it is counted as.
        name: Of the endpoint.
        arguments: As JSON, so that calls can be compared.
    """

    kind: str
    name: str
    arguments: str


@dataclass
class Outcome:
    """What came of all calls.

    Attributes:
        equal: Answers that are those obtained alone, by kind.
        different: Calls whose answers are not, with both answers.
        cancelled: Calls that were left half-way.
        memory: Bytes of the app by the number of calls made before.
        seconds: Of all calls.
    """

    equal: Counter[str] = field(default_factory=Counter)
    different: list[tuple[Call, str, str]] = field(default_factory=list)
    cancelled: int = 0
    memory: list[tuple[int, int]] = field(default_factory=list)
    seconds: float = 0.0


def settle(address: str, token: str, lora: Path, seed: int) -> Person:
    """Let a visitor upload rows, train three adapters on them and import a fourth."""
    visitor = Visitor(address, token)
    task = upload_rows(visitor)
    imported = import_zip(visitor, adapter_zip(lora)).html
    assert "Imported as " in imported, imported
    job = visitor.call(
        "start_evaluation",
        experiment={
            "model": visitor.component("wb-model")["props"]["value"],
            "precision": PRECISION,
            "task": {"name": task},
            "methods": _TRAINED,
            "seeds": [seed],
        },
    )
    assert job.data is not None, job.error
    done = finished(visitor, job.data[0])
    assert done["state"] == "finished", done
    runs = tuple(f"run:{row['run_id']}" for row in done["rows"] if row["row"] != "zero_shot")
    key = imported.split("import:")[1].split("<")[0]
    return Person(visitor, task, runs, f"import:{key}")


def questions(person: Person) -> dict[str, list[Call]]:
    """Return what a visitor may ask, by kind."""
    words = ["words:zero_shot", "words:few_shot"]
    asked: dict[str, list[tuple[str, Mapping[str, object]]]] = {kind: [] for kind in _OFTEN}
    for text in _TEXTS:
        asked["words"].append(("ask", {"text": text, "ways": words}))
        other = {"text": text, "ways": words, "precision": OTHER}
        asked["other precision"].append(("ask", other))
        asked["imported"].append(("ask", {"text": text, "ways": [person.adapter, words[0]]}))
        asked["own runs"].append(("ask", {"text": text, "ways": [*person.runs, words[0]]}))
        asked["own runs"] += [("ask", {"text": text, "ways": [run]}) for run in person.runs]
        more = {"ways": [words[0], *person.runs, person.adapter], "max_new_tokens": LONG}
        asked["long"].append(("ask", {"text": text, **more}))
        for seed in (1, 2):
            drawn = {"ways": [*person.runs, words[0]], "temperature": 0.9, "seed": seed}
            asked["sampled"].append(("ask", {"text": text, **drawn}))
    for way in (*words, *person.runs, person.adapter):
        asked["score"].append(("score", {"texts": list(_TEXTS), "way": way}))
    asked["list of runs"].append(("list_runs", {}))
    setting = {"task": person.task, "precision": PRECISION}
    return {
        kind: [
            Call(kind, name, json.dumps({**({} if name == "list_runs" else setting), **given}))
            for name, given in calls
        ]
        for kind, calls in asked.items()
    }


def answer_to(visitor: Visitor, call: Call) -> str:
    """Return an answer without what differs each time, as text to compare."""
    got = visitor.call(call.name, **json.loads(call.arguments))
    assert got.data is not None, f"{call}: {got.status} {got.error or got.text[:300]}"
    return json.dumps(_timeless(got.data), sort_keys=True)


def leave_half_way(visitor: Visitor, call: Call) -> None:
    """Ask, and go once the first words have come."""
    leaving = Visitor(visitor.address, visitor.token)
    handler = next(h for h in leaving.config["dependencies"] if h["api_name"] == call.name)
    given = {"visitor": leaving.token} | json.loads(call.arguments)
    data = [
        given.get(one["parameter_name"], one["parameter_default"])
        for one in leaving.parameters(call.name)
    ]
    body = {"data": data, "fn_index": handler["id"], "session_hash": leaving.session}
    assert leaving.http.post("/gradio_api/queue/join", json=body).status_code == 200
    query = {"session_hash": leaving.session}
    with leaving.http.stream("GET", "/gradio_api/queue/data", params=query) as stream:
        for line in stream.iter_lines():
            if "process_generating" in line or "process_completed" in line:
                break
    leaving.close()


def soak(
    people: Sequence[Person],
    num: int,
    memory: Callable[[], int],
    *,
    every: int,
    most: int | None = None,
) -> Outcome:
    """Let the visitors ask `num` times in all, side by side, and compare with asking alone.

    Args:
        people: The visitors; each asks on a thread of its own.
        num: Calls in all.
        memory: Returns the bytes of the app.
        every: Calls between two looks at the memory.
        most: Different questions of a kind; None takes all.
    """
    found = Outcome()
    asked = [{kind: calls[:most] for kind, calls in questions(person).items()} for person in people]
    alone = {
        (number, call): answer_to(person.http, call)
        for number, person in enumerate(people)
        for calls in asked[number].values()
        for call in calls
    }
    began = time.monotonic()
    with ThreadPoolExecutor(len(people)) as pool:
        for start in range(0, num, every):
            found.memory.append((start, memory()))
            share = [len(range(start + n, min(start + every, num), len(people))) for n in (0, 1)]
            made = pool.map(
                lambda number, most, start=start: list(
                    _asked(people[number].http, asked[number], seed=2 * start + number, num=most)
                ),
                range(len(people)),
                share,
            )
            for number, answers in enumerate(made):
                for call, answer in answers:
                    _count(found, call, answer, alone[number, call])
    found.memory.append((num, memory()))
    found.seconds = time.monotonic() - began
    return found


def _asked(
    visitor: Visitor, calls: Mapping[str, Sequence[Call]], *, seed: int, num: int
) -> Iterator[tuple[Call, str | None]]:
    """Yield calls drawn at random, with their answers; None for those left half-way."""
    draw = random.Random(seed)
    for _ in range(num):
        if draw.random() < _CANCELLED_SHARE:
            call = draw.choice(calls["long"])
            leave_half_way(visitor, call)
            yield call, None
        else:
            (kind,) = draw.choices(list(_OFTEN), list(_OFTEN.values()))
            call = draw.choice(calls[kind])
            yield call, answer_to(visitor, call)


def _count(found: Outcome, call: Call, answer: str | None, alone: str) -> None:
    if answer is None:
        found.cancelled += 1
    elif answer == alone:
        found.equal[call.kind] += 1
    else:
        found.different.append((call, answer, alone))


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(one) for key, one in value.items() if key not in _TIMINGS}
    return [_timeless(one) for one in value] if isinstance(value, list) else value
