"""The parts that bound a crowd, each alone: what is over is forgotten, and nothing else is."""

import asyncio
import json
import os
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.context import LocalContext
from gradio.data_classes import PredictBodyInternal
from starlette.exceptions import HTTPException

from workbench.room import bound_room
from workbench.service.profile import CPU_SPACE, Bound, Crowd
from workbench.service.space import bound_visitors
from workbench.ui import held_files
from workbench.ui.call_bodies import num_values
from workbench.ui.crowds import Crowds
from workbench.ui.exchanges import Exchange
from workbench.ui.guards import Guard
from workbench.ui.held_files import STORED, GradioMemory, HeldFiles
from workbench.ui.lines import Lines
from workbench.ui.newcomers import Newcomers
from workbench.ui.places import Arrivals
from workbench.ui.refusals import Refusal
from workbench.ui.sessions import LOAD, GradioTables, Load, Sessions

MANY = Bound(100, 100)
SMALL = Crowd(requests=Bound(2, 3), sessions=Bound(2, 3), quiet_seconds=0.05, session_seconds=900.0)
PARTS = {"crowd": SMALL, "upload_bytes": 5_000_000, "proxies": 0}
QUEUE = SimpleNamespace(event_ids_to_events={}, event_queue_per_concurrency_id={})
APP = SimpleNamespace(state_holder=None, get_blocks=lambda: SimpleNamespace(_queue=QUEUE))


class Tables:
    """What Gradio would keep."""

    def __init__(self):
        self.at_work, self.forgotten = set(), []

    def busy(self):
        return self.at_work

    def forget(self, session):
        self.forgotten.append(session)


@pytest.fixture
def tables():
    """Return Gradio's tables, where nothing is at work."""
    return Tables()


def test_an_address_gives_up_its_own_session_that_it_used_longest_ago(tables):
    sessions = Sessions(SMALL)
    admitted = [sessions.admit(name, "a", tables) for name in ("one", "two", "one", "three")]

    assert admitted == [None] * 4
    assert tables.forgotten == ["two"]


def test_a_session_that_is_open_or_at_work_is_not_given_up(tables):
    sessions = Sessions(SMALL)
    for name in ("one", "two"):
        sessions.admit(name, "a", tables)
    tables.at_work = {"two"}

    with sessions.open("one"):
        refused = sessions.admit("three", "a", tables)

    assert refused is not None
    assert refused.status == 429
    assert sessions.admit("three", "a", tables) is None
    assert tables.forgotten == ["one"]


def test_no_session_of_others_makes_room(tables):
    sessions = Sessions(SMALL)
    for name, address in (("one", "a"), ("two", "a"), ("three", "b")):
        assert sessions.admit(name, address, tables) is None

    refused = sessions.admit("four", "c", tables)

    assert refused is not None
    assert (refused.status, refused.sentence) == (
        503,
        "pages: all 3 of this server are taken. Try again in a minute.",
    )
    assert tables.forgotten == []


def test_a_closed_session_is_over_after_a_while(tables):
    sessions = Sessions(replace(SMALL, session_seconds=0.0))
    for name, address in (("one", "a"), ("two", "a"), ("three", "b")):
        sessions.admit(name, address, tables)
    assert tables.forgotten == ["one", "two"]

    with sessions.open("three"):
        assert sessions.admit("four", "c", tables) is None

    assert tables.forgotten == ["one", "two"]


def test_new_sessions_of_an_address_come_at_a_pace():
    sessions = Sessions(Crowd(sessions=Bound(3, 10), new_sessions=2.0))

    delays = [sessions.delay("a") for _ in range(5)]

    assert delays == pytest.approx([0, 0, 0, 0.5, 1.0], abs=0.05)
    assert sessions.delay("b") == 0


def test_addresses_take_turns_in_a_queue():
    line = SimpleNamespace(queue=[waiting(number, "a") for number in range(3)])
    line.queue += [waiting(3, "b"), waiting(4, "c"), waiting(5, "b")]
    queue = SimpleNamespace(event_queue_per_concurrency_id={"ask": line})
    app = SimpleNamespace(state_holder=None, get_blocks=lambda: SimpleNamespace(_queue=queue))

    GradioTables(app).take_turns()

    assert [event._id for event in line.queue] == [0, 3, 4, 1, 5, 2]


def test_a_full_disk_share_is_taken_from_who_holds_most(tmp_path):
    files = HeldFiles(Bound(50_000, 60_000), MANY)
    hers, his = ([stored(tmp_path / name) for _ in range(2)] for name in ("hers", "his"))
    files.note("a", [hers[0]])
    files.note("b", his)
    files.note("b", [hers[0]])  # the same content

    assert files.make_room("c", 40_000) is None

    left = [path for path in (*hers, *his) if path.exists()]
    assert left == [*hers, his[1]]
    assert files.make_room("c", 60_000).status == 413


def test_tiny_files_make_room_for_each_other_by_their_number(tmp_path):
    files = HeldFiles(Bound(10**6, 10**6), Bound(3, 4))
    hers, his = ([stored(tmp_path / name) for _ in range(4)] for name in ("hers", "his"))
    files.note("a", hers[:2])
    files.note("b", his)

    assert [path.exists() for path in hers] == [True] * 4
    assert [path.exists() for path in his] == [False, False, True, True]
    files.note("c", hers[2:])
    assert [path.exists() for path in hers] == [False, True, True, True]


def test_a_file_that_waited_for_a_day_is_dropped(tmp_path):
    now = [0.0]
    files = HeldFiles(Bound(50_000, 60_000), MANY, lambda: now[0])
    old, new = stored(tmp_path / "old"), stored(tmp_path / "new")
    files.note("a", [old])
    files.note("b", [old])
    now[0] = 86_401.0
    files.note("a", [new])

    assert (old.exists(), new.exists()) == (False, True)
    assert files.make_room("a", 40_000) is None  # only the new one counts
    assert new.exists()


def test_who_holds_most_gives_up_what_the_disk_needs(tmp_path):
    files = HeldFiles(Bound(50_000, 60_000), MANY)
    hers, his = stored(tmp_path / "hers"), [stored(tmp_path / "his") for _ in range(3)]
    files.note("a", [hers])
    files.note("b", his)

    files.give_up(4000)

    assert hers.exists()
    assert [path.exists() for path in his] == [False, False, True]
    files.give_up(10**9)
    assert not hers.exists()


def test_a_full_room_of_uploads_is_cleared_by_who_counts_them(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    caps = replace(CPU_SPACE.caps, stored_bytes=1900)  # and ten times that for uploads
    bound_visitors(tmp_path / "runs", replace(CPU_SPACE, caps=caps), uploads=tmp_path)
    lock = tmp_path / ".alive"
    lock.touch()
    crowds = Crowds(None, crowd=SMALL, upload_bytes=1, proxies=0)
    hers, his = stored(crowds._uploaded.parent), [stored(crowds._uploaded.parent) for _ in range(3)]
    crowds._files.note("a", [str(hers)])
    crowds._files.note("b", [str(path) for path in his])
    for path in (lock, hers, *his, hers.parent, *(path.parent for path in his)):
        os.utime(path, (0, 0))

    refusal = asyncio.run(crowds._make_room("c", 2000))
    bound_room(())

    assert refusal is None
    assert lock.exists()
    assert hers.exists()
    assert [path.exists() for path in his] == [False, False, True]
    assert crowds._files._own["b"].num_bytes == 10_000


def test_downloads_are_those_of_an_address_under_names_nobody_can_guess(tmp_path, app_context):
    context = app_context(tmp_path / "runs", CPU_SPACE)
    bound_visitors(tmp_path / "runs", CPU_SPACE, exports=context.exports)
    monday, tuesday = (context.workspace(f"visitor-number-{n:04}") for n in range(2))
    address = SimpleNamespace(client=SimpleNamespace(host="10.0.0.1"))
    used = LocalContext.request.set(address)

    folders = [context.exports_of(one) for one in (monday, monday, tuesday)]

    LocalContext.request.reset(used)
    elsewhere = context.exports_of(monday)
    bound_room(())
    assert len(set(folders)) == 3
    assert len({folder.parent for folder in folders}) == 1
    assert elsewhere.parent != folders[0].parent
    assert monday.folder.name not in str(folders[0])


def test_of_a_form_that_cannot_be_stored_whole_nothing_stays(tmp_path):
    landed = [stored(tmp_path / "landing") for _ in range(2)]
    others = tmp_path / "uploaded" / landed[0].parent.name / "a.csv"
    others.parent.mkdir(parents=True)
    others.write_bytes(b"of somebody else")

    with pytest.raises(FileNotFoundError):
        held_files._moved([*landed, landed[1]], tmp_path / "uploaded")

    assert [path for path in (tmp_path / "uploaded").rglob("*") if path.is_file()] == [others]


def test_gradio_forgets_files_that_are_gone(tmp_path):
    path = stored(tmp_path / "there")
    gone = {f"/gone/{number}" for number in range(2000)}
    blocks = SimpleNamespace(temp_file_sets=[{str(path), *gone}, {"/gone/too"}])

    GradioMemory().sweep(blocks)

    assert blocks.temp_file_sets == [{str(path)}, set()]


def test_an_upload_counts_though_nobody_takes_the_answer(tmp_path):
    paths = [stored(tmp_path / "his") for _ in range(2)]
    blocks = SimpleNamespace(temp_file_sets=[])
    app = SimpleNamespace(get_blocks=lambda: blocks)

    async def store(scope, receive, send):
        await receive()
        scope[STORED]([str(paths.pop())])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def stuck(message):
        await asyncio.sleep(60)

    async def body():
        return {"type": "http.request", "body": b"x"}

    crowd = replace(SMALL, held_files=Bound(1, 1), uploads=Bound(1, 1))
    crowds = Crowds(store, crowd=crowd, upload_bytes=1, proxies=0)
    asked_for = request_of("a") | {"method": "POST", "path": "/gradio_api/upload", "app": app}
    first = paths[1]
    for _ in range(2):
        asyncio.run(asyncio.wait_for(crowds(dict(asked_for), body, stuck), 5))

    assert not first.exists()


def test_folders_of_yesterday_do_not_count(tmp_path):
    now = [0.0]
    newcomers = Newcomers(Bound(1, 2), clock=lambda: now[0])
    answers = []
    for hour, name in ((0, "one"), (1, "two"), (25, "three")):
        now[0] = hour * 3600.0
        answers.append(newcomers.may_begin(tmp_path / name, "a"))
        if answers[-1]:
            (tmp_path / name).mkdir()

    assert answers == [True, False, True]
    assert newcomers.may_begin(tmp_path / "one", "a")  # an old one
    assert newcomers.may_begin(tmp_path / "four", "b")


def test_requests_in_work_are_bounded_for_one_and_for_all():
    async def crowd():
        done = asyncio.Event()

        async def app(scope, receive, send):
            await done.wait()

        guard = Crowds(app, crowd=SMALL, upload_bytes=1, proxies=0)
        statuses = []
        addresses = ["a", "a", "a", "b", "b"]
        tasks = [asyncio.create_task(asked(guard, one, statuses)) for one in addresses]
        await asyncio.sleep(0.01)
        done.set()
        await asyncio.gather(*tasks)
        await asked(guard, "a", statuses)
        return statuses

    assert Counter(asyncio.run(crowd())) == {429: 1, 503: 1}


def test_who_takes_nothing_of_an_answer_is_given_up():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def stuck(message):
        await asyncio.sleep(60)

    guard = Crowds(app, crowd=SMALL, upload_bytes=1, proxies=0)

    asyncio.run(asyncio.wait_for(guard(request_of("a"), None, stuck), 5))


LONG = "x" * 65  # characters of a name; one too many
BEHIND = {
    "upload": ("upload", f"upload_id={LONG}", b""),
    "queue/join": ("queue/join", "", json.dumps({"session_hash": LONG}).encode()),
    "run": ("run/x", "", json.dumps({"session_hash": LONG}).encode()),
}


@pytest.mark.parametrize("place", ["", "/app"])
@pytest.mark.parametrize("what", BEHIND)
def test_an_app_at_a_place_of_its_own_is_bounded_alike(place, what):
    path, query, body = BEHIND[what]
    scope = posted("a", f"{place}/gradio_api/{path}")
    scope |= {"root_path": place, "query_string": query.encode()}

    sent = answers_to(Crowds(reading_app, **PARTS), scope, [body])

    assert sent[0]["status"] == 400


def test_bodies_on_their_way_keep_nobody_from_the_page():
    async def crowd():
        guard, statuses = Crowds(reading_app, **PARTS), []
        hanging = [asyncio.create_task(asked(guard, one, [], hanging_post)) for one in "aabbc"]
        await asyncio.sleep(0.01)
        for address in "ad":
            await asked(guard, address, statuses)
        await asyncio.gather(*hanging)
        return statuses

    assert asyncio.run(crowd()) == [200, 200]


def test_of_bodies_on_their_way_the_greediest_address_gives_one_up():
    crowd = replace(SMALL, bodies=Bound(2, 3), quiet_seconds=1.0)

    async def crowded():
        guard = Crowds(reading_app, **PARTS | {"crowd": crowd})
        told = {}
        for name in ("a1", "a2", "a3", "b1", "c1"):
            told[name] = []
            asyncio.get_running_loop().create_task(asked(guard, name[0], told[name], hanging_post))
            await asyncio.sleep(0.01)
        return {name: statuses[:] for name, statuses in told.items()}

    assert asyncio.run(crowded()) == {"a1": [429], "a2": [], "a3": [429], "b1": [], "c1": []}


def test_bytes_of_bodies_are_bounded_for_one_and_for_all():
    arrivals = Arrivals(Bound(9, 9), Bound(40, 60))
    first, second, other, last = (coming(one) for one in "aabc")
    for exchange in (first, second, other, last):
        assert arrivals.begin(exchange) is None

    grown = [arrivals.grow(first, 25), arrivals.grow(second, 15), arrivals.grow(second, 1)]
    grown += [arrivals.grow(other, 20), arrivals.grow(last, 20)]

    assert [None if one is None else one.status for one in grown] == [None, None, 429, None, None]
    assert [one.is_collecting for one in (first, second, other, last)] == [False, True, True, True]
    arrivals.leave(second)
    arrivals.leave(second)
    assert arrivals.grow(last, 20) is None
    arrivals.arrived(last)
    assert arrivals.grow(other, 1).status == 503  # what is there is not given up


@pytest.mark.parametrize("path", ["/gradio_api/run/x", "/gradio_api/cancel"])
def test_of_a_call_no_more_is_collected_than_it_may_have(path):
    pieces = [b" " * 65_536] * 80
    guard = Guard(reading_app, upload_bytes=5_000_000, only_local=False)

    sent = answers_to(Crowds(guard, **PARTS), posted("a", path), pieces)

    assert 80 - len(pieces) <= 35  # 2.3 MB
    assert sent[0]["status"] == 413


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
@pytest.mark.parametrize("path", ["/gradio_api/run/x", "/gradio_api/reset"])
def test_a_body_of_very_many_values_is_refused_unread(path, encoding):
    body = ('{"data":[' + "[]," * 100_000 + "[]]}").encode(encoding)

    sent = answers_to(Crowds(reading_app, **PARTS), posted("a", path), [body])

    assert sent[0]["status"] == 413
    assert json.loads(sent[1]["body"])["detail"] == (
        "body: more than 20,000 values, the most that is taken."
    )


TEXTS = {
    "a table as text": '{"data":["' + 'a,b,\\"c:d\\"\\n' * 100_000 + '"]}',
    "a text without an end": '"' + '\\"' * 50_000 + "," * 50_000,
}


@pytest.mark.parametrize("what", TEXTS)
def test_marks_inside_of_a_text_are_no_values(what):
    assert num_values(TEXTS[what].encode()) <= 3


def test_an_address_has_its_share_of_each_line():
    async def pushed():
        with gr.Blocks() as page:
            for room in ("one", "two"):
                gr.Button().click(print, concurrency_id=room)
        lines, told = Lines(page, Bound(2, 3)), []
        for address, number in (*[("a", 0)] * 3, ("a", 1), *[("b", 0)] * 2):
            request = SimpleNamespace(client=SimpleNamespace(host=address))
            body = PredictBodyInternal(session_hash="s", fn_index=number, data=[])
            try:
                told.append((await lines.push(body, request, None))[2])
            except HTTPException as error:
                told.append(error.detail)
        return told

    assert asyncio.run(pushed()) == [
        "success",
        "success",
        "waiting calls: 2 are open from your address, the most for one. "
        "Wait until they are done, then try again.",
        "success",
        "success",
        "queue_full",
    ]


def test_bytes_of_calls_in_the_queue_are_bounded():
    events = {number: waiting(number, "a", 30) for number in range(2)}
    queue = SimpleNamespace(event_ids_to_events=events)
    app = SimpleNamespace(state_holder=None, get_blocks=lambda: SimpleNamespace(_queue=queue))

    held = GradioTables(app).queued_bytes(Bound(100, 120))

    assert held.refusal("a", 40) is None
    assert held.refusal("a", 41).status == 429
    assert held.refusal("b", 61).status == 503


def waiting(number, address, num_bytes=0):
    """Return an event in a queue."""
    client, scope = SimpleNamespace(host=address), {LOAD: Load(num_bytes)}
    return SimpleNamespace(_id=number, request=SimpleNamespace(client=client, scope=scope))


def stored(folder):
    """Return a file that takes 10,000 bytes with what a file takes besides."""
    path = folder / str(len(list(folder.parent.rglob("*")))) / "a.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * (10_000 - 8192))
    return path


def request_of(address):
    """Return a request."""
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    return scope | {"client": (address, 1)}


def posted(address, path):
    """Return a request that brings a body."""
    return request_of(address) | {"method": "POST", "path": path}


async def reading_app(scope, receive, send):
    """Read the body, if there is to be one, then answer."""
    while scope["method"] == "POST":
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def answers_to(guard, scope, pieces):
    """Return what is sent to a request; the pieces of its body are taken out as they are read."""
    sent = []

    async def receive():
        piece = pieces.pop()
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message):
        sent.append(message)

    asyncio.run(guard(scope | {"app": APP}, receive, send))
    return sent


def test_an_upload_can_be_ended_before_it_is_collected():
    """Of many that come at once, none has been read when the first of somebody else is there."""
    statuses = []

    async def receive():
        raise AssertionError("it is not read")

    async def send(message):
        statuses.append(message.get("status"))

    scope = posted("a", "/gradio_api/upload")
    exchange = Exchange(scope, receive, send, SMALL, 100)
    assert exchange.is_collecting
    exchange.end(Refusal(429, "others came"))

    told = asyncio.run(exchange.read())

    assert told == {"type": "http.disconnect"}
    assert statuses[0] == 429
    assert not exchange.is_collecting


def coming(address):
    """Return a body on its way."""
    exchange = Exchange(request_of(address), None, None, SMALL, 100)
    exchange.is_collecting = True
    return exchange


def hanging_post(address):
    """Return a request whose body does not come."""
    return posted(address, "/gradio_api/run/x")


async def asked(guard, address, statuses, request=request_of):
    """Ask for something; note the status of the answer, if there is one."""

    async def send(message):
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def receive():
        await asyncio.sleep(60)

    await guard(request(address), receive, send)
