"""What one visitor of a public page made stays closed to all others, by every way in."""

import json
from contextlib import suppress
from types import SimpleNamespace

import gradio as gr
import httpx
import pytest

from security.flows import WORDING, adapter_zip, import_zip, know_runs
from security.raw import Visitor
from visitors import ANNA, BEN
from workbench.service.profile import CPU_SPACE
from workbench.service.workspace import open_workspace
from workbench.ui import comparison_view, item_browser, job_panel, runs

STRANGERS = {
    "another visitor": BEN,
    "no token": "",
    "a guessed token": f"{ANNA[:-1]}b",
    "a path as a token": "../../visitors/anna",
    "a list as a token": [ANNA],
    "nothing": None,
}


@pytest.fixture
def context(public, app_context):
    """Return what the handlers of the public app are given."""
    return app_context(public.root, CPU_SPACE)


def looks(made):
    """Return (endpoint, arguments) that look at something of Anna's."""
    zero_shot = {"text": "x", "ways": ["words:zero_shot"]}
    return {
        "how far a job is": ("job_status", {"job_id": made.job}),
        "stopping a job": ("stop_job", {"job_id": made.job}),
        "a comparison": ("export_comparison", {"job_id": made.job}),
        "an answer of a run": ("ask", {"text": "x", "ways": [f"run:{made.run}"]}),
        "an answer under a former name": ("compare", {"text": "x", "ways": [f"run:{made.run}"]}),
        "an answer of an import": ("ask", {"text": "x", "ways": [f"import:{made.adapter}"]}),
        "scores of a run": ("score", {"texts": ["x"], "way": f"run:{made.run}"}),
        "an upload": ("ask", zero_shot | {"task": made.task}),
        "a wording": ("ask", zero_shot | {"wording": made.wording}),
    }


def starts(made, model):
    """Return (endpoint, arguments) that start something on what is Anna's."""
    methods = {"zero_shot": {}}
    experiment = {"model": model, "precision": "fp32", "methods": methods}
    adapter = {"imported": {"adapter": made.adapter}}
    changes = {
        "a job on an upload": {"task": {"name": made.task}},
        "a job with a wording": {"template": made.wording},
        "a job with an adapter": {"methods": methods | adapter},
    }
    jobs = {
        call: ("start_evaluation", {"experiment": experiment | change})
        for call, change in changes.items()
    }
    return jobs | {"a training": ("start_training", {"method": "lora", "task": made.task})}


NOTHING = SimpleNamespace(job="", run="", adapter="", task="", wording="")
LOOKS, STARTS = list(looks(NOTHING)), list(starts(NOTHING, ""))


@pytest.mark.parametrize("call", LOOKS + STARTS)
@pytest.mark.parametrize("who", STRANGERS)
def test_no_endpoint_opens_what_somebody_else_made(public, who, call, made):
    stranger = Visitor(public.address, STRANGERS[who])
    model = stranger.component("wb-model")["props"]["value"]
    name, arguments = (looks(made) | starts(made, model))[call]

    answer = stranger.call(name, **arguments)

    assert answer.data is None
    assert answer.error is not None
    assert "on our side" not in answer.error
    stranger.close()


def test_no_path_leads_into_anothers_folder(public, made, ben):
    """The folders lie beside each other, and are named by a hash that is no secret for long."""
    his = open_workspace(public.root, BEN, is_public=True)
    for folder in (his.jobs, his.uploads, his.wordings, his.imports):
        folder.mkdir(parents=True, exist_ok=True)  # no way leads through a folder that is not there
    (hers,) = {path.parents[1] for path in public.root.glob(f"visitors/*/jobs/{made.job}")}
    way = f"../{hers.name}"
    asked = {
        "a run": ("ask", {"text": "x", "ways": [f"run:{way}/{made.run}"]}),
        "an import": (
            "ask",
            {"text": "x", "ways": [f"import:../{way}/imports/{made.adapter}"]},
        ),
        "an upload": ("ask", {"text": "x", "task": f"upload:../{way}/uploads/{made.task[7:]}"}),
        "a wording": (
            "ask",
            {"text": "x", "wording": f"edited:../{way}/wordings/{made.wording[7:]}"},
        ),
        "a job": ("job_status", {"job_id": f"../{way}/jobs/{made.job}"}),
        "a comparison": ("export_comparison", {"job_id": f"../{way}/jobs/{made.job}"}),
    }

    answers = {what: ben.call(name, **arguments) for what, (name, arguments) in asked.items()}

    assert {what for what, answer in answers.items() if answer.data is not None} == set()
    assert {what: answer.error for what, answer in answers.items() if not answer.error} == {}


@pytest.mark.parametrize("call", LOOKS)
def test_every_endpoint_opens_it_to_the_one_who_made_it(call, author, made):
    name, arguments = looks(made)[call]
    arguments |= {"task": made.task} if name in ("ask", "compare", "score") else {}

    assert author.call(name, **arguments).error is None


def test_lists_hold_only_ones_own(ben, author, made):
    assert made.run in [run["run_id"] for run in author.call("list_runs").data[0]]

    assert ben.call("list_runs").data == [[]]
    for handler in ben.handlers():
        if not handler["queue"]:
            text = ben.run(handler, ben.inputs(handler)).text
            names = (made.run, made.job, made.task, made.adapter)
            assert [name for name in names if name in text] == []


def handler_calls(context, made, token):
    """Return what the page's handlers do with a run, a job or a comparison."""
    shown = {"mode": "all", "row": "lora", "against": "zero_shot"}
    figures = {"cost": "trained_parameters", "quality": "accuracy"}
    return {
        "open a run": lambda: runs.on_open(context, token, made.run, None),
        "put it beside another": lambda: runs.on_open(context, token, made.run, made.run + "x"),
        "download": lambda: runs.on_download(context, token, made.run),
        "share": lambda: runs.on_share(context, token, made.run),
        "stop sharing": lambda: runs.on_unshare(context, token, made.run),
        "delete": lambda: runs.on_delete(context, token, made.run, True),
        "open a comparison": lambda: comparison_view.on_open(context, token, made.job),
        "costs": lambda: comparison_view.on_cost(context, token, made.job, *figures.values()),
        "a row": lambda: comparison_view.on_row(context, token, made.job, "lora"),
        "items": lambda: item_browser.on_browse(
            context, token=token, key=made.job, search="", page=1, **shown
        ),
        "stop": lambda: job_panel.on_stop(context, "evaluate", token, made.job),
        "resume": lambda: list(job_panel.on_resume(context, "evaluate", token, made.job)),
    }


HANDLERS = list(handler_calls(None, SimpleNamespace(run="", job=""), ""))


@pytest.mark.parametrize("call", HANDLERS)
@pytest.mark.parametrize("who", STRANGERS)
def test_no_handler_opens_what_somebody_else_made(context, public, who, call, made):
    before = files_below(public.root)

    result = handler_calls(context, made, STRANGERS[who])[call]()

    text = str(result)
    assert "That did not work." in text
    assert "not found among your" in text or "this public page needs the token" in text
    assert "lovely sun" not in text
    assert files_below(public.root) == before


def test_the_files_of_a_comparison_are_not_prepared_for_others(context, made):
    shown = {"mode": "all", "row": "lora", "against": "zero_shot"}
    with pytest.raises(gr.Error, match="not found among yours"):
        comparison_view.on_export(
            context, token=BEN, key=made.job, cost="params", quality="accuracy", **shown
        )


def test_a_guessed_session_does_not_lend_its_owners_rights(public, author, made):
    """Her session's lists let the names through; the token decides all the same."""
    thief = Visitor(public.address, BEN, session=author.session)

    opened = thief.click("wb-run", "input", wb_run=made.run)
    loaded = thief.click("wb-download", wb_run=made.run)

    assert opened.status == 200
    assert "not found among your runs" in opened.html
    assert "not found among your runs" in loaded.html
    mine = author.click("wb-run", "input", wb_run=made.run)
    assert made.run in mine.html
    thief.close()


def test_a_session_that_is_not_open_has_nothing_to_tell(ben, author, made):
    guessed = f"{author.session[:-1]}{'0' if author.session[-1] != '0' else '1'}"

    messages = said(ben, f"queue/data?session_hash={guessed}")
    result = said(ben, f"call/ask/{guessed}")

    assert '"session_not_found":true' in messages
    assert made.run not in messages + result
    assert "event: complete" not in result


def test_no_link_stores_what_a_session_holds(public, ben, author):
    """Gradio would write all values of a session, tokens included, to a file it serves."""
    answer = ben.http.get("/gradio_api/deep_link", params={"session_hash": author.session})

    assert answer.status_code == 403
    assert not (public.scratch / "gradio" / "deep_links").exists()


@pytest.mark.parametrize("part", ["no key", "a wrong key", "the key of another run", "a path"])
def test_a_shared_link_opens_one_run_with_its_key_alone(public, part, made, author):
    know_runs(author)
    shared = author.click("wb-share", wb_run=made.run).html  # the first may have been taken back
    key = shared.split('href="')[1].split('"')[0].rpartition("key=")[2]
    queries = {
        "no key": {"run": made.run},
        "a wrong key": {"run": made.run, "key": key[:-1] + ("1" if key.endswith("0") else "0")},
        "the key of another run": {"run": made.run.replace("lora", "zero_shot"), "key": key},
        "a path": {"run": f"../{made.run}", "key": key},
    }

    opened = linked(public, {"run": made.run, "key": key})
    refused = linked(public, queries[part])

    assert "lora" in opened
    assert "That did not work." not in opened
    assert "That did not work." in refused
    assert "rank" not in refused


def test_what_was_uploaded_is_not_served_to_others(public):
    """Uploads lie below folders named by a hash of their content; nothing lists them."""
    stranger = Visitor(public.address, BEN)
    stored = public.scratch / "gradio"

    for folder in (stored, *(path for path in stored.iterdir() if path.is_dir())):
        got = stranger.http.get(f"/gradio_api/file={folder}")
        assert got.status_code == 403, folder
    stranger.close()


def test_others_find_nothing_under_the_name_of_an_import(ben, lora_export, made):
    assert "Imported as" in import_zip(ben, adapter_zip(lora_export)).html
    mine = ben.call("ask", text="x", ways=[f"import:{made.adapter}"])

    assert mine.error is None  # the same file has the same name, in a folder of his own
    assert ben.call("ask", text="x", ways=[f"run:{made.run}"]).data is None


def test_a_wording_is_kept_for_its_owner_alone(ben, made):
    shown = ben.click("wb-task", "change")

    assert WORDING.split("'")[1] not in shown.text
    assert made.wording not in shown.text


def linked(site, query):
    """Return what the page shows for an address with a query."""
    visitor = Visitor(site.address, BEN)
    handler = next(h for h in visitor.config["dependencies"] if h["api_name"] == "show")
    body = {"data": [], "fn_index": handler["id"], "session_hash": visitor.session}
    got = visitor.http.post("/gradio_api/run/show", params=query, json=body)
    visitor.close()
    assert got.status_code == 200
    return json.dumps(got.json(), ensure_ascii=False)


def said(visitor, path):
    """Return everything a stream says until it ends; Gradio ends refused ones in mid-sentence."""
    text = ""
    with (
        suppress(httpx.RemoteProtocolError),
        visitor.http.stream("GET", f"/gradio_api/{path}") as got,
    ):
        for part in got.iter_text():
            text += part
    return text


def files_below(folder):
    """Return every file below a folder with its content's size."""
    return {path: path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
