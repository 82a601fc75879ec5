"""Templates: whatever comes from data, from a model or from a name stays text."""

from dataclasses import replace
from functools import cache
from importlib.resources import files
from types import SimpleNamespace
from typing import Any

import pytest
from jinja2 import UndefinedError

from pages import HOSTILE, Seen, dangers
from visitors import local_workspace, store_run
from workbench.analysis.run_diff import FigurePair, SpecDifference, run_summary
from workbench.analysis.training_figure import history_plot
from workbench.budget.advice import Advice
from workbench.budget.known import KNOWN_SHAPES
from workbench.estimates import Estimate
from workbench.models.adapters.reading import AdapterSummary
from workbench.presentation.display import duration
from workbench.presentation.reading import Reading
from workbench.progress import ProgressEvent
from workbench.readings.vectors.chance import standing
from workbench.service.estimate import CostEstimate
from workbench.service.job_status import JobStatus, RowResult
from workbench.service.profile import CPU_SPACE, LOCAL
from workbench.service.uploads import TableView, TaskView
from workbench.serving.asking import LeftOut, PromptPiece
from workbench.ui.answer_cards import Card
from workbench.ui.glosses import start
from workbench.ui.plan import Row
from workbench.ui.rendering import render


def card(text: str) -> Card:
    bars = [{"label": text, "probability": 0.75}]
    pieces = [PromptPiece(text, 3, False, False), PromptPiece("", 5, True, False),
              PromptPiece(text, 3, False, True)]  # fmt: skip
    return Card(
        label=text, text=text, answer=text, confidence=0.75, bars=bars, cost=text, pieces=pieces,
        cautions=[text],
        num_tokens=11, num_learned=5, adapter=True, is_written=True,
        is_folded=True, is_done=True,
    )  # fmt: skip


def status(text: str, **changes: Any) -> JobStatus:
    row = RowResult(row=text, seed=0, run_id="run", accuracy=0.5, found=True)
    content = {
        "job_id": "job", "kind": "train", "title": text, "state": "failed", "created": "then",
        "row": text, "stage": text, "message": text, "rows": [row], "steps": 4, "done": 2,
        "figures": {"loss": 1.0, "dev_accuracy": 0.5}, "seconds_left": 3.0, "memory_bytes": 5,
    }  # fmt: skip
    return JobStatus(**content | changes)


def reading(text: str) -> Reading:
    place = standing(text, 0.5, text, [0.1, 0.2])
    made = {"of": text, "setting": text}
    return Reading(name="nearest", title=text, verdict=text, standings=[place], **made)


@cache
def drawing(text: str) -> Any:
    history = [{"step": 1.0, "loss": 1.0}, {"step": 2.0, "loss": 0.5}]
    return history_plot([(text, history), (f"{text}2", history)])


def leaderboard_row(text: str) -> Any:
    value = Estimate(value=0.5, low=0.4, high=0.6, num_scored=9, num_unscored=0)
    return SimpleNamespace(
        name=text, quality=value, difference=value, p_value_holm=0.04, num_seeds=1,
        is_best=True, is_within_noise_of_best=False, is_reference=True, is_baseline=True,
        is_lower_bound=True,
    )  # fmt: skip


def item(text: str) -> Any:
    shared = {"answer": text, "is_correct": True, "is_truncated": True}
    judged = SimpleNamespace(**shared, confidence=0.5, score=None)
    scored = SimpleNamespace(**shared, confidence=None, score=0.4)
    return SimpleNamespace(
        sample_id=text, fields={"text": text}, target=text, references=(text, text),
        answers={text: judged, f"{text}2": scored},
    )  # fmt: skip


def run(text: str) -> Any:
    facts = [SimpleNamespace(name=text, value=text)]
    record = SimpleNamespace(row=text, run_id=text, status=text)
    spec = SimpleNamespace(task={"name": text}, seed=text)
    return {"run": SimpleNamespace(record=record, spec=spec), "facts": facts}


def confusion(text: str) -> Any:
    cell = SimpleNamespace(is_correct=True, share=0.5, count=3)
    table = SimpleNamespace(columns=[text], rows=[(text, [cell])])
    return SimpleNamespace(table=table, reason=text)


def plan_row(text: str) -> Row:
    return Row(
        name=text, is_advised=True, formula=text, fits=True, memory=text, micro_batch_size=8,
        trained=5, stored_bytes=6, extra_tokens=7, seconds=8.0, measured_memory=text,
        measured_seconds=None,
    )  # fmt: skip


def bases_view(text: str) -> Any:
    value = Estimate(value=0.5, low=0.4, high=0.6, num_scored=9, num_unscored=0)
    row = SimpleNamespace(name=text, num_seeds=1, quality=value, gap=value, step=value)
    return SimpleNamespace(
        curves=SimpleNamespace(metric="accuracy", gap_to=text),
        bases=[SimpleNamespace(base=text, rows=[row])],
        left_out=[text],
    )


TEMPLATES: dict[str, Any] = {
    "across_bases": lambda text: {
        "view": bases_view(text), "title": text, "sentences": [text], "drawing": drawing(text),
        "is_between": True, "notes": [text],
    },
    "asked": lambda text: {"asked": [text, text]},
    "columns": lambda text: {
        "asked": [text],
        "cards": [card(text)],
        "agreement": {"headline": text, "parts": [{"answer": text, "count": 2}]},
        "left_out": [LeftOut(text, text)],
        "is_done": True,
    },
    "command": lambda text: {"command": text},
    "diff": lambda text: {
        "first": text, "second": text, "names": [text, ""],
        "specs": [SpecDifference(text, text, f"{text}!")],
        "figures": [FigurePair(text, text, f"{text}!")],
    },
    "drawing": lambda text: {"drawing": drawing(text)},
    "estimate": lambda text: {
        "method": text, "cost": CostEstimate(1234, 5.0, 6_000_000, 7_000_000, 1.5),
    },
    "gloss": lambda text: {"text": text},
    "glosses": lambda text: {"headings": [text, "p (Holm)"]},
    "header": lambda text: {"profile": replace(CPU_SPACE, name=text), "start": start()},
    "hint": lambda text: {"text": text},
    "imported": lambda text: {
        "name": text, "key": text,
        "summary": AdapterSummary("lora", 5, 4, (text,), 3, 2, text, text),
    },
    "items": lambda text: {
        "items": [item(text)], "names": [text, f"{text}2"], "total": 1, "page": 1, "last": 1,
    },
    "job": lambda text: {
        "status": status(text), "fraction": 0.5, "ahead": 1, "minutes": 20,
        "drawing": drawing(text), "message": text, "command": text, "log": text, "can_resume": True,
    },
    "learned": lambda text: {
        "summary": AdapterSummary("prompt_tuning", 5, 0, (), 3, 2, text, text),
        "run": run(text)["run"],
    },
    "link": lambda text: {"query": f"?run={text}", "is_public": True},
    "next": lambda text: {"after": "train"},
    "plan": lambda text: {
        "advice": Advice("lora", "nf4", text, (text,)),
        "shape": replace(KNOWN_SHAPES["llama-2-7b"], name=text, source=text),
        "device": text, "rows": [plan_row(text)], "has_measured": True, "drawing": drawing(text),
        "speed": text, "notes": (text,),
    },
    "preview": lambda text: {
        "shared": text, "own": text, "target": text, "num_shared": 3, "num_own": 4, "share": 0.1,
        "context_length": 1024, "words": [(text, 2)],
    },
    "problem": lambda text: {"text": text},
    "reading": lambda text: {"reading": reading(text)},
    "reading_details": lambda text: {
        "of": text, "drawings": [drawing(text)], "notes": [text],
        "tables": [{
            "title": text, "note": text, "columns": [{"name": text, "look": "wb-left"}],
            "rows": [{"cells": [text], "slot": 0}, {"cells": [text], "slot": None}],
        }],
    },
    "reading_progress": lambda text: {"event": ProgressEvent(text, 1, 3, {"seconds": 2.0})},
    "results": lambda text: {
        "headline": text, "subtitle": [text], "rows": [leaderboard_row(text)], "reference": text,
        "metric": "rouge_l",
        "drawing": drawing(text), "warnings": [text],
    },
    "start": lambda text: {"start": start()},
    "row_detail": lambda text: {"drawing": drawing(text), "confusion": confusion(text)},
    "run": lambda text: {**run(text), "name": text, "drawing": drawing(text)},
    "table_view": lambda text: {"view": TableView((text,), ((text,),), 1, text, text, (text,))},
    "task": lambda text: {
        "view": TaskView(text, {text: 3}, {"train": 1, "dev": 1, "test": 1}, {text: 2},
                         ({text: text}, text), warnings=(text,)),
        "licence": text,
    },
    "waiting": lambda text: {"text": text, "asked": [text]},
    "vector_card": lambda text: {"slot": 3, "parts": [(text, [(text, text)])]},
    "grid": lambda text: {
        "is_done": True, "headline": text, "left_out": [LeftOut(text, text)],
        "cautions": [(text, text)], "headings": [text],
        "lines": [
            (SimpleNamespace(fields={text: text}, target=text), [
                None,
                SimpleNamespace(answer=None, reason=text),
                SimpleNamespace(answer=text, is_right=True, confidence=0.5, score=0.5),
            ]),
        ],
        "figures": SimpleNamespace(columns=[text], rows=[[text, None, text]]),
        "words": [
            SimpleNamespace(before=text, after=text, stretches=[
                SimpleNamespace(kind=kind, text=text) for kind in ("removed", "added", "same")
            ]),
        ],
        "answers": [
            SimpleNamespace(before=text, after=text, summary=text, changes=[
                SimpleNamespace(row=0, before=text, after=None, turn="wrong to right"),
            ]),
        ],
        "samples": [SimpleNamespace(fields={text: text})],
    },
    "marks": lambda text: {
        "rows": [{"text": text, "verdict": "right", "answer": text, "label": text,
                  "comment": text, "wording": text, "way": text}],
        "total": 3, "fields": ["text"],
    },
    "versions": lambda text: {
        "name": text, "text": text,
        "version": SimpleNamespace(number=2, parent=1),
        "versions": [
            SimpleNamespace(number=2, parent=1, date="then", note=text, figures={text: text}),
        ],
        "changed": [SimpleNamespace(kind="added", text=text), SimpleNamespace(kind="", text=text)],
    },
    "tour_stop": lambda text: {
        "stop": SimpleNamespace(title=text, text=[text], look=text),
        "number": 1, "num_stops": 7, "verdicts": [(text, text)], "readings": [reading(text)],
        "drawings": [drawing(text)],
        "tables": [
            SimpleNamespace(title=text, note=text, columns=[SimpleNamespace(name=text, look="")],
                            rows=[SimpleNamespace(cells=[text], slot=None)]),
        ],
        "facts": SimpleNamespace(base=text, precision="nf4", task=text, commit="abc"),
        "command": "make tour",
    },
}  # fmt: skip

SILENT = ("drawing", "glosses", "next", "start")  # into which no foreign text goes but a figure's


def test_every_template_is_tried():
    folder = files("workbench.ui").joinpath("templates")
    names = {path.name.removesuffix(".html.jinja") for path in folder.iterdir()}

    assert names == set(TEMPLATES)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("name", TEMPLATES)
def test_no_element_comes_from_a_text(name, text):
    html = render(name, **TEMPLATES[name](text))

    assert dangers(html) == []


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_text_adds_no_element_to_those_of_a_plain_one(name, text):
    plain = Seen(render(name, **TEMPLATES[name]("plain"))).tags

    found = Seen(render(name, **TEMPLATES[name](text))).tags

    lines = len(text.splitlines()) - 1 if name == "problem" else 0  # a paragraph for each
    assert sorted(found) == sorted([*plain, *["p"] * lines])


@pytest.mark.parametrize("name", sorted(TEMPLATES.keys() - set(SILENT)))
def test_a_text_is_shown_as_it_is(name):
    text = "<b class='x'>&amp; \"quoted\"</b>"

    assert text in Seen(render(name, **TEMPLATES[name](text))).text


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_text_is_a_template_of_its_own(name):
    html = render(name, **TEMPLATES[name]("{{ 7 * 7 }}{% raw %}"))

    assert "49" not in Seen(html).text.replace("1,492", "")


def test_a_value_that_is_missing_is_an_error_not_an_empty_place():
    with pytest.raises(UndefinedError):
        render("hint")


def test_a_run_that_is_stored_can_be_shown(tmp_path):
    workspace = local_workspace(tmp_path)
    stored = workspace.run(store_run(workspace.folder))

    html = render("run", run=stored, name="", facts=run_summary(stored), drawing=None)

    assert stored.record.run_id in Seen(html).text


@pytest.mark.parametrize("profile", [LOCAL, CPU_SPACE], ids=lambda p: p.name)
def test_the_header_says_on_a_public_page_that_nothing_lasts(profile):
    text = Seen(render("header", profile=profile, start=start())).text

    assert ("is lost when this page restarts" in text) == profile.is_public


@pytest.mark.parametrize("state", ["queued", "running", "finished", "stopped", "interrupted"])
@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_a_job_of_every_state_can_be_shown(state, ahead):
    values = TEMPLATES["job"]("a text") | {"status": status("a text", state=state), "ahead": ahead}

    text = Seen(render("job", **values)).text

    assert state in text
    waiting = f"{ahead} job{'' if ahead == 1 else 's'} before this one"
    assert (waiting in text) == (state == "queued")


def test_figures_that_are_not_known_are_dashes():
    unknown = Estimate(value=None, low=None, high=None, num_scored=0, num_unscored=9)
    row = leaderboard_row("row")
    row.quality = row.difference = unknown
    row.p_value_holm = None

    text = Seen(render("results", **TEMPLATES["results"]("x") | {"rows": [row]})).text

    assert text.count("–") >= 4
    assert "None" not in text
    assert "nan" not in text


DURATIONS = {
    None: "–", 0: "0 ms", 0.0004: "0 ms", 0.85: "850 ms", 0.9999: "1000 ms", 1: "1 s", 59.4: "59 s",
    59.6: "1 min 0 s", 200: "3 min 20 s", 3599.6: "1 h 0 min", 7500: "2 h 5 min",
}  # fmt: skip


@pytest.mark.parametrize("seconds", DURATIONS)
def test_a_duration_has_one_unit_or_two(seconds):
    assert duration(seconds) == DURATIONS[seconds]
