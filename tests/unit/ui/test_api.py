"""The programming interface: what it returns is plain data, what it refuses is one message."""

import csv
import io
import json
import math
from collections.abc import Callable
from typing import Any

import gradio as gr
import pytest

from pages import HOSTILE, Page, dangers
from visitors import keep_rows, store_run
from workbench.runs.run_files import REPORT_FORMS
from workbench.service import jobs
from workbench.ui import api
from workbench.ui.api import Endpoints
from workbench.ui.context import SettingValues
from workbench.ui.endpoint_calls import told

OTHER = "another-another-another"


def endpoint(page: Page, name: str) -> Callable[..., Any]:
    """Return an endpoint as Gradio calls it: by position, its errors as messages."""
    return told(getattr(Endpoints(page.context), name))


def call(page: Page, endpoint_name: str, **arguments: Any) -> Any:
    function = getattr(Endpoints(page.context), endpoint_name)
    arguments.setdefault("visitor", page.setting["token"] or "")
    return function(**arguments)


def refusal(page: Page, name: str, *arguments: Any) -> str:
    """Return the message of a call that is refused."""
    read = list if name == "ask" else lambda found: found
    with pytest.raises(gr.Error) as caught:
        read(endpoint(page, name)(*arguments))
    assert caught.value.print_exception is False
    assert "Traceback" not in caught.value.message
    return caught.value.message


def made(page: Page) -> list[jobs.Job]:
    return jobs.list_jobs(page.workspace)


@pytest.fixture(scope="module")
def answered(page) -> list[dict[str, Any]]:
    asked = {"text": "lovely great sun", "task": page.setting["task"], "max_new_tokens": 5}
    return list(call(page, "ask", **asked))


# Ask and score


def test_columns_are_plain_data(answered):
    assert json.loads(json.dumps(answered, allow_nan=False)) == answered


def test_without_ways_three_kinds_of_words_answer(answered):
    assert [column["label"] for column in answered[-1]["columns"]] == [
        "zero_shot", "few_shot", "chain_of_thought",
    ]  # fmt: skip


def test_columns_grow_and_end_with_answers_and_costs(answered):
    assert all(column["answer"] is None for column in answered[0]["columns"])
    for column in answered[-1]["columns"]:
        assert column["answer"] in column["probabilities"]
        assert math.isclose(sum(column["probabilities"].values()), 1)
        assert 0 < column["generated_tokens"] <= 5
        assert column["prompt_tokens"] > 0


def test_chosen_ways_answer_in_their_order(page):
    ways = ["words:few_shot", "words:zero_shot"]
    *_, last = call(page, "ask", text="a", ways=ways, task=page.setting["task"])

    assert [column["label"] for column in last["columns"]] == ["few_shot", "zero_shot"]


def test_scores_are_the_probabilities_of_every_label(page, answered):
    texts = ["lovely great sun", "broken awful rain"]

    scores = call(page, "score", texts=texts, task=page.setting["task"])

    assert json.loads(json.dumps(scores)) == scores
    assert [set(score) for score in scores] == [{"praise", "complaint"}] * 2
    assert scores[0] == pytest.approx(answered[-1]["columns"][0]["probabilities"], abs=1e-5)


def test_scores_are_those_of_each_text_alone(page):
    texts = [f"text {'x' * number}" for number in range(5)]
    asked = {"way": "words:few_shot", "task": page.setting["task"]}

    together = call(page, "score", texts=texts, **asked)

    for text, scores in zip(texts, together, strict=True):
        assert scores == pytest.approx(call(page, "score", texts=[text], **asked)[0], abs=1e-5)


@pytest.mark.parametrize(("place", "sizes"), [("chunk_page", [16, 16, 8]), ("page", [40])])
def test_on_a_public_page_others_come_in_between_many_texts(place, sizes, request, monkeypatch):
    here = request.getfixturevalue(place)
    asked = {"way": "words:few_shot", "task": here.setting["task"]}
    (alone,) = call(here, "score", texts=["text 39"], **asked)
    pieces, desk = [], here.context.desk
    whole_call, whole_score = desk.call, api.score_labels

    def piece(work):
        pieces.append(0)
        return whole_call(work)

    def scored(engine, fitted, samples, rows):
        pieces[-1] += len(samples)
        return whole_score(engine, fitted, samples, rows)

    monkeypatch.setattr(desk, "call", piece)
    monkeypatch.setattr(api, "score_labels", scored)
    scores = call(here, "score", texts=[f"text {number}" for number in range(40)], **asked)

    assert pieces == sizes
    assert len(scores) == 40
    assert scores[39] == pytest.approx(alone, abs=1e-5)


def test_on_a_public_page_texts_are_bounded_altogether(chunk_page):
    texts, token = ["x" * 2000] * 21, chunk_page.setting["token"]
    setting = ("words:zero_shot", chunk_page.setting["task"], "plain", "nf4")

    message = refusal(chunk_page, "score", texts, *setting, token)

    assert message == "texts: 42000 characters altogether; at most 40000 here. Send several calls."


BAD_QUESTIONS = {
    "empty": (("",), "Text: empty."),
    "no text": ((None,), "ask, text: got None"),
    "a list": ((["a"],), "ask, text"),
    "too long": (("x" * 20_001,), "Text: 20001 characters; at most 20000 here."),
    "unknown way": (("a", ["words:zero"]), "unknown way 'zero'"),
    "a path": (("a", ["run:../x"]), "not a name of a run"),
    "ways as text": (("a", "words:zero_shot"), "ask, ways"),
    "unknown task": (("a", None, "sst3"), "unknown task 'sst3'"),
    "a file as wording": (("a", None, "sst2", "", "plain.yaml"), "files are not read from here"),
    "no tokens": (("a", None, "support_intents", "", "plain", 0), "most new tokens: 0"),
    "not a number": (("a", None, "support_intents", "", "plain", 5, math.nan), "temperature"),
    "endless": (("a", None, "support_intents", "", "plain", 5, math.inf), "temperature"),
    "negative seed": (("a", None, "support_intents", "", "plain", 5, 0.0, -1), "seed: -1"),
}


@pytest.mark.parametrize("case", BAD_QUESTIONS)
def test_what_is_no_question_is_one_message(case, page):
    arguments, expected = BAD_QUESTIONS[case]

    assert expected in refusal(page, "ask", *arguments)


BAD_TEXTS = {
    "none": ([], "texts: a list of 1 to 256 texts is needed, none of them empty."),
    "an empty one": (["a", " "], "texts: a list of 1 to 256 texts is needed"),
    "too many": (["a"] * 257, "texts: a list of 1 to 256 texts is needed"),
    "a long one": (["a", "x" * 20_001], "texts: at most 20000 characters each."),
    "more than the context": (["x" * 2000], "exceed the context of 1024 tokens"),
    "a text": ("abc", "score, texts"),
    "a number": ([1], "score, texts"),
    "nothing": (None, "score, texts"),
}


@pytest.mark.parametrize("case", BAD_TEXTS)
def test_what_are_no_texts_is_one_message(case, page):
    texts, expected = BAD_TEXTS[case]

    message = refusal(page, "score", texts, "words:zero_shot", page.setting["task"])

    assert expected in message


def test_a_task_without_labels_has_no_scores(page):
    assert refusal(page, "score", ["a"], "words:zero_shot", "arithmetic") == (
        "task 'arithmetic': score needs labels and one text per item."
    )


@pytest.mark.parametrize("way", ["words:zero", "run:missing_run", "import:x", "", "../x"])
def test_an_unknown_way_has_no_scores(way, page):
    assert "on our side" not in refusal(page, "score", ["a"], way, page.setting["task"])


# Uploads


def rows_as_text(num: int = 40) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(["text", "label"])
    writer.writerows([f"text {number}", "ab"[number % 2]] for number in range(num))
    return stream.getvalue()


def test_rows_sent_as_text_become_a_task(empty_page):
    key = call(empty_page, "upload_rows", name="mine", content=rows_as_text())

    (scores,) = call(empty_page, "score", texts=["text"], task=key)
    assert set(scores) == {"a", "b"}


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json"])
def test_every_kind_of_text_file_can_be_sent(suffix, empty_page):
    lines = [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(40)]
    content = {
        ".csv": rows_as_text(),
        ".jsonl": "\n".join(map(json.dumps, lines)),
        ".json": json.dumps(lines),
    }[suffix]

    key = call(empty_page, "upload_rows", name="mine", content=content, file_type=suffix)

    assert key.startswith("upload:")


BAD_UPLOADS = {
    "another kind": (("mine", "x", ".xlsx"), "file_type '.xlsx': .csv, .tsv, .jsonl or .json"),
    "a binary kind": (("mine", "x", ".parquet"), "file_type '.parquet': .csv, .tsv, .jsonl"),
    "a path as kind": (("mine", "x", "/../../x.csv"), "file_type 'x.csv': .csv, .tsv"),
    "empty": (("mine", ""), "rows.csv: the file is empty."),
    "another column": (("mine", "a,b\n1,2\n"), "unknown column 'text'"),
    "few rows": (("mine", rows_as_text(4)), "too few rows"),
    "unknown answers": (("mine", rows_as_text(), ".csv", "text", "label", "", "dance"), "kind"),
    "no name": ((None, rows_as_text()), "upload_rows, name"),
    "bytes": (("mine", b"text,label"), "upload_rows, content"),
}


@pytest.mark.parametrize("case", BAD_UPLOADS)
def test_what_are_no_rows_is_one_message(case, empty_page):
    arguments, expected = BAD_UPLOADS[case]

    message = refusal(empty_page, "upload_rows", *arguments)

    assert expected in message
    assert "/tmp" not in message


# Jobs


def test_a_training_becomes_a_job(empty_page):
    key, options = empty_page.setting["task"], {"steps": 5, "rank": 2}

    job_id = call(empty_page, "start_training", method="lora", options=options, task=key, seed=3)

    (job,) = made(empty_page)
    assert job.status.job_id == job_id
    assert job.experiment.methods == {"lora": options}
    assert job.experiment.seeds == (3,)


def test_an_evaluation_becomes_a_job(empty_page):
    experiment = {"task": empty_page.setting["task"], "methods": ["zero_shot", "few_shot"]}

    job_id = call(empty_page, "start_evaluation", experiment=experiment)

    (job,) = made(empty_page)
    assert (job.status.job_id, job.status.title) == (job_id, "2 rows on messages")


def test_a_job_is_called_by_the_name_that_was_sent(empty_page):
    key = empty_page.setting["task"]
    experiment = {"task": key, "methods": ["zero_shot"]}
    call(empty_page, "start_evaluation", experiment=experiment, name=" monday ")
    call(empty_page, "start_training", method="lora", task=key, name="tuesday")

    titles = [job.title for job in made(empty_page)]

    assert titles == ["tuesday · lora on messages", "monday · 1 rows on messages"]
    message = refusal(empty_page, "start_evaluation", experiment, "", "a/b")
    assert "A name begins with a letter" in message


BAD_TRAININGS = {
    "an unknown method": (("magic",), "method: 'magic' trains nothing"),
    "one that trains nothing": (("zero_shot",), "method: 'zero_shot' trains nothing"),
    "an unknown option": (("lora", {"rnak": 4}), "unknown option 'rnak'. Did you mean 'rank'?"),
    "an option out of bounds": (("lora", {"rank": 0}), "methods.lora.rank: 0 is out of bounds"),
    "an option of another type": (("lora", {"rank": [4]}), "[4] is a list, int is needed"),
    "options as list": (("lora", [4]), "start_training, options"),
    "an unknown task": (("lora", None, "sst3"), "unknown task 'sst3'"),
    "a path as wording": (("lora", None, "sst2", "../x"), "not a name of a wording"),
    "half a seed": (("lora", None, "sst2", "plain", 1.5), "start_training, seed"),
    "a negative seed": (("lora", None, "sst2", "plain", -1), "seed: -1; a number from 0 up"),
}


@pytest.mark.parametrize("case", BAD_TRAININGS)
def test_what_cannot_be_trained_is_one_message_and_no_job(case, empty_page):
    arguments, expected = BAD_TRAININGS[case]

    assert expected in refusal(empty_page, "start_training", *arguments)
    assert made(empty_page) == []


BAD_EXPERIMENTS = {
    "nothing": (None, "start_evaluation, experiment"),
    "a list": (["zero_shot"], "start_evaluation, experiment"),
    "a file": ({"task": {"train": "/etc/passwd"}}, "files are not read from here"),
    "a path as wording": ({"template": "/etc/passwd"}, "not a name of a wording"),
    "an unknown key": ({"taks": "sst2"}, "unknown key. Did you mean 'task'?"),
    "an unknown method": ({"methods": ["magic"]}, "unknown method 'magic'"),
    "an unknown option": ({"methods": {"lora": {"rnak": 4}}}, "unknown option 'rnak'"),
    "not a number": ({"methods": {"lora": {"dropout": math.nan}}}, "no finite number"),
}


@pytest.mark.parametrize("case", BAD_EXPERIMENTS)
def test_what_cannot_be_evaluated_is_one_message_and_no_job(case, empty_page):
    content, expected = BAD_EXPERIMENTS[case]

    assert expected in refusal(empty_page, "start_evaluation", content)
    assert made(empty_page) == []


def test_the_status_of_a_job_is_plain_data(page):
    status = call(page, "job_status", job_id=page.job_id)

    assert json.loads(json.dumps(status)) == status
    assert status["state"] == "finished"
    assert [row["row"] for row in status["rows"]] == list(page.rows)


def test_asking_for_a_status_starts_the_next_job(empty_page):
    experiment = {"task": empty_page.setting["task"], "methods": ["zero_shot"]}
    job_id = call(empty_page, "start_evaluation", experiment=experiment)

    assert call(empty_page, "job_status", job_id=job_id)["state"] != "queued"


def test_a_finished_job_is_not_stopped(page):
    assert call(page, "stop_job", job_id=page.job_id) == "finished"


@pytest.mark.parametrize("name", ["job_status", "stop_job", "export_comparison"])
@pytest.mark.parametrize("job_id", ["missing", "../x", "", "<b>", "x" * 5000])
def test_an_unknown_job_is_one_message(name, job_id, page):
    message = refusal(page, name, job_id)

    assert "not found among you" in message or "not a name of a job" in message
    assert len(message) < 300


@pytest.mark.parametrize("name", ["job_status", "stop_job", "export_comparison"])
@pytest.mark.parametrize("job_id", [None, 3, ["x"], {"a": 1}])
def test_what_is_no_name_of_a_job_is_one_message(name, job_id, page):
    assert f"{name}, job_id: got" in refusal(page, name, job_id)


# Results


def test_a_comparison_is_exported_in_every_form_of_a_report(page):
    found = call(page, "export_comparison", job_id=page.job_id)

    assert json.loads(json.dumps(found)) == found
    assert set(found) == set(REPORT_FORMS)
    assert r"\begin{tabular}" in found["latex"]
    rows = {row["row"] for row in found["json"]["rows"]}
    assert rows >= set(page.rows)
    assert len(list(csv.reader(io.StringIO(found["csv"])))) == len(found["json"]["rows"]) + 1
    assert found["markdown"].startswith("#")
    assert "<html" in found["html"]


def test_a_hostile_comparison_is_exported_as_text(hostile_page):
    found = call(hostile_page, "export_comparison", job_id=hostile_page.job_id)

    assert dangers(found["html"]) == []
    assert HOSTILE[0] in {row["row"] for row in found["json"]["rows"]}


def test_runs_are_listed_as_plain_data(page):
    runs = call(page, "list_runs")

    assert json.loads(json.dumps(runs)) == runs
    found = {run["run_id"]: run for run in runs}
    assert {run["name"] for run in runs} == {""}
    for row, run_id in page.rows.items():
        expected = page.workspace.run(run_id).record
        assert found[run_id]["row"] == row
        assert found[run_id]["metrics"]["accuracy"]["value"] == expected.metrics["accuracy"].value


# A public page


CALLS = {
    "ask": ("a",),
    "score": (["a"],),
    "upload_rows": ("mine", "text,label\n"),
    "start_training": ("lora",),
    "start_evaluation": ({},),
    "job_status": ("some-job",),
    "stop_job": ("some-job",),
    "export_comparison": ("some-job",),
    "list_runs": (),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_public_page_wants_to_know_who_calls(name, chunk_page):
    assert "this public page needs the token" in refusal(chunk_page, name, *CALLS[name])


@pytest.mark.parametrize("name", CALLS)
def test_every_endpoint_says_what_its_arguments_are(name):
    documentation = getattr(Endpoints, name).__doc__

    assert "Args:" in documentation
    assert "visitor: " in documentation


def waiting(page: Page) -> jobs.Job:
    """Return a job of the page that waits."""
    workspace, experiment = page.context.experiment(SettingValues(**page.setting))
    return jobs.submit(workspace, page.context.profile, experiment, kind="train", title="a job")


def test_another_visitor_does_not_see_jobs_and_runs(chunk_page):
    job = waiting(chunk_page)
    store_run(chunk_page.workspace.folder)

    assert call(chunk_page, "list_runs", visitor=OTHER) == []
    assert "not found among your jobs" in refusal(
        chunk_page, "job_status", job.status.job_id, OTHER
    )


def test_a_public_page_says_nothing_of_its_folders(chunk_page):
    job = waiting(chunk_page)
    message = f"{chunk_page.context.root}/visitors/0/rows.csv: cannot be read"
    jobs.write_status(
        job.folder, job.status.model_copy(update={"state": "failed", "message": message})
    )

    status = call(chunk_page, "job_status", job_id=job.status.job_id)

    assert status["message"] == "rows.csv: cannot be read"


@pytest.mark.parametrize("name", ["start_training", "start_evaluation"])
def test_where_only_the_page_may_compute_no_job_is_left_behind(name, chunk_page):
    key = keep_rows(chunk_page.workspace, chunk_page.context.root / "given")
    token = chunk_page.setting["token"]
    arguments = (
        ("lora", None, key, "plain", 0, token)
        if name == "start_training"
        else ({"task": key, "methods": ["zero_shot"], "model": chunk_page.setting["model"]}, token)
    )

    message = refusal(chunk_page, name, *arguments)

    assert message.startswith("jobs: this Space lends its accelerator to the page only.")
    assert made(chunk_page) == []


def test_where_only_the_page_may_compute_a_look_starts_no_process(chunk_page):
    job = waiting(chunk_page)

    assert call(chunk_page, "job_status", job_id=job.status.job_id)["state"] == "queued"
