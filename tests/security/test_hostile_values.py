"""Values that no page would send: refused in words or taken as text, never a bug, never a hang."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from security.flows import upload_rows
from security.raw import SECRETS, Visitor
from visitors import ANNA

LITERALS = {
    "NaN": "NaN",
    "infinity": "Infinity",
    "beyond floats": "1e999",
    "a huge float": "1e308",
    "negative": "-1",
    "a half": "0.5",
    "a long integer": "9" * 400,
    "too long an integer": "9" * 5000,
    "true": "true",
    "null": "null",
    "a long text": json.dumps("A" * 300_000),
    "a path": json.dumps("../../../etc/passwd"),
    "a lone surrogate": '"\\ud800"',
    "a zero byte": '"\\u0000"',
    "markup": json.dumps("<script>alert(1)</script>"),
    "a template": json.dumps("{labels.__class__} ${1+1} {{7*7}} {% raw %}"),
    "a list": '["a",["b"]]',
    "an empty list": "[]",
    "a mapping": '{"a":{"b":[1]}}',
    "a file": '{"path":"/etc/passwd","meta":{"_type":"gradio.FileData"}}',
    "an update": '{"__type__":"update","choices":["a"],"value":"a"}',
    "deep lists": "[" * 400 + "]" * 400,
}
WORDLESS = ("a file",)  # Gradio refuses paths that were not uploaded before anybody is asked
ENDPOINTS = (
    "ask",
    "compare",
    "export_comparison",
    "job_status",
    "list_runs",
    "score",
    "start_evaluation",
    "start_training",
    "stop_job",
    "upload_rows",
)


LAST = {"start_evaluation": ('""',), "start_training": ('""',)}  # a name, behind the token


@pytest.mark.parametrize("value", LITERALS)
@pytest.mark.parametrize("name", ENDPOINTS)
def test_an_endpoint_refuses_in_words_or_takes_it_as_text(anna, name, value):
    handler = next(h for h in anna.config["dependencies"] if h["api_name"] == name)
    usual = [*map(json.dumps, usual_arguments(name)), json.dumps(ANNA), *LAST.get(name, ())]
    place = place_of(value, len(usual))

    answer = anna.send(handler, body(anna, handler, changed(usual, place, LITERALS[value])))

    assert SECRETS.search(answer.text) is None, (place, answer.text)
    assert "on our side" not in answer.text, (place, answer.error)
    if answer.data is None and answer.status == 200 and value not in WORDLESS:
        assert answer.error, (place, answer.text)


@pytest.mark.parametrize("value", LITERALS)
def test_a_handler_of_the_page_survives_it(anna, value):
    buttons = ("wb-train", "wb-evaluate", "wb-wayward-train")
    starts = [anna.handler(elem_id, "click")["id"] for elem_id in buttons]
    for handler in anna.handlers():
        # No job begins on a task that needs the network.
        changes = {"wb_task": "sst2"} if handler["id"] in starts else {}
        usual = [json.dumps(given) for given in anna.inputs(handler, **changes)]
        place = place_of(value, len(usual))

        answer = anna.send(handler, body(anna, handler, changed(usual, place, LITERALS[value])))

        assert SECRETS.search(answer.text) is None, (handler["targets"], place, answer.text)
        assert "on our side" not in answer.text, (handler["targets"], place)
        assert answer.status in (200, 400, 403, 404, 422)


BODIES = {
    "nothing": "",
    "no JSON": "{",
    "a list": "[]",
    "a text": '"x"',
    "deeply nested": '{"data":' + "[" * 100_000 + "]" * 100_000 + "}",
    "deeply nested mappings": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "no such handler": '{"data":[],"fn_index":100000,"session_hash":"x"}',
    "a negative handler": '{"data":[],"fn_index":-1,"session_hash":"x"}',
    "a handler by text": '{"data":[],"fn_index":"../x","session_hash":"x"}',
    "a session that is a list": '{"data":[],"fn_index":5,"session_hash":["x"]}',
    "too few values": '{"data":[],"fn_index":6,"session_hash":"x"}',
    "too many values": '{"data":[' + ",".join("0" * 5000) + '],"fn_index":6,"session_hash":"x"}',
    "a very long session": '{"data":[null],"fn_index":5,"session_hash":"' + "x" * 100_000 + '"}',
    "an unknown event": '{"data":[null],"fn_index":5,"session_hash":"x","event_id":"../x"}',
}


@pytest.mark.parametrize("path", ["run/x", "run/../x", "queue/join", "call/ask", "call/v2/ask"])
@pytest.mark.parametrize("sent", BODIES)
def test_a_body_of_no_known_form_is_refused(anna, path, sent):
    json_type = {"Content-Type": "application/json"}

    got = anna.http.post(f"/gradio_api/{path}", content=BODIES[sent], headers=json_type)

    assert got.status_code in (200, 400, 403, 404, 405, 413, 422)
    assert SECRETS.search(got.text) is None
    assert anna.call("list_runs").error is None  # it still answers


def test_a_full_queue_says_so_at_once(local):
    visitor = Visitor(local.address, "")
    handler = next(h for h in visitor.config["dependencies"] if h["api_name"] == "score")
    texts = [[f"text {number} {'x' * 200}" for number in range(200)]]
    body_of_one = {"data": [*texts, "words:zero_shot", "support_intents", "plain", ""]}

    def join(number):
        content = body_of_one | {"fn_index": handler["id"], "session_hash": f"full{number}"}
        return visitor.http.post("/gradio_api/queue/join", json=content)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(join, range(80)))

    refused = [answer for answer in answers if answer.status_code == 503]
    assert {answer.status_code for answer in answers} == {200, 503}
    assert "full" in refused[0].json()["detail"]
    assert visitor.http.get("/config").status_code == 200
    for number in range(80):
        visitor.http.post(
            "/gradio_api/cancel",
            json={
                "session_hash": f"full{number}",
                "fn_index": handler["id"],
                "event_id": event(answers[number]),
            },
        )
    visitor.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stepz": 5}, "methods.lora: unknown option 'stepz'. Did you mean 'steps'?"),
        ({"steps": 100_000}, "lora.steps: 100000; at most 400 here."),
        ({"steps": "many"}, "methods.lora.steps: 'many' is a str, int is needed"),
        ({"rank": -1}, "methods.lora.rank: -1 is out of bounds"),
    ],
)
def test_an_option_that_is_wrong_is_named(anna, options, message):
    key = upload_rows(anna)

    answer = anna.call("start_training", method="lora", options=options, task=key)

    assert answer.error is not None
    assert answer.error.startswith(message)


def test_arguments_of_a_wrong_type_are_named_all_at_once(anna):
    answer = anna.call("ask", text=["x"], temperature="hot", seed=1.5)

    assert answer.error == (
        "ask, text: got ['x']; should be a valid string.\n"
        "ask, temperature: got 'hot'; should be a valid number.\n"
        "ask, seed: got 1.5; should be a valid integer."
    )


def place_of(value, num_places):
    """Return which argument a value takes the place of; together they reach nearly all."""
    return list(LITERALS).index(value) % num_places


def changed(literals, place, literal):
    """Return JSON values with one of them replaced."""
    return [*literals[:place], literal, *literals[place + 1 :]]


def usual_arguments(name):
    """Return arguments that an endpoint takes, without the visitor's token."""
    rows = ["mine", "text,label\na,b\n", ".csv", "text", "label", "", "classification"]
    question = ["x", ["words:zero_shot"], "support_intents", "", "plain", 2, 0.0, 0, "nf4"]
    return {
        "ask": question,
        "compare": question,
        "export_comparison": ["some-job"],
        "job_status": ["some-job"],
        "list_runs": [],
        "score": [["x"], "words:zero_shot", "support_intents", "plain", "nf4"],
        "start_evaluation": [{"model": "someone/else"}],
        "start_training": ["none", {}, "support_intents", "plain", 0],
        "stop_job": ["some-job"],
        "upload_rows": rows,
    }[name]


def body(visitor, handler, literals):
    """Return the body of a call whose values are JSON already."""
    return (
        f'{{"data":[{",".join(literals)}],"fn_index":{handler["id"]},'
        f'"session_hash":"{visitor.session}"}}'
    )


def event(answer):
    """Return the id of an event, if it was let into the queue."""
    return answer.json().get("event_id", "")
