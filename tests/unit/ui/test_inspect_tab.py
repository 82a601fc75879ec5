"""The tab that opens what was learned: readings, cards, files, and keys that are nobody's."""

import json
import shlex
from dataclasses import replace
from functools import partial
from typing import Any

import gradio as gr
import pytest

from pages import HOSTILE, Page, Seen, dangers, is_problem, said
from visitors import ANNA, BEN, keep_rows
from workbench.models.adapters.reading import import_adapter
from workbench.presentation.blocks import Bar, Bars, Layer, Map, Point, Table
from workbench.presentation.reading import Reading
from workbench.presentation.reading_files import write_reading
from workbench.progress import ProgressEvent
from workbench.readings.catalog import READERS, reader_class, readers_of
from workbench.readings.inspector import INSTRUCTION, RANDOM
from workbench.readings.opening import opened
from workbench.readings.vectors.chance import standing
from workbench.service import jobs
from workbench.service.profile import CPU_SPACE
from workbench.ui.app import launch_options, make_context
from workbench.ui.context import SettingValues
from workbench.ui.inspect import on_choice, on_command, on_read, on_reading, on_setting
from workbench.ui.reading_panel import on_card, on_export
from workbench.ui.reading_view import (
    card_html,
    details_html,
    progress_html,
    slots_of,
    verdict_html,
)
from workbench.ui.readings import reading_steps, things_to_open
from workbench.ui.vector_map import SCRIPT_PATH, map_value, vector_map
from workbench.ui.wayward import on_wayward

SHARED = {"model", "precision", "task", "template", "chat"}
MADE = Reading(
    name="nearest",
    title="Nearest tokens",
    verdict="1 of 2 vectors lie close.",
    standings=[standing("closeness", 0.9, "random vectors", [0.1, 0.2, 0.3])],
    tables=[
        Table(
            title="Vectors",
            columns=["vector", "tokens", "norm"],
            rows=[[0, "␣sun  ␣rain", 1.5], [1, "=1+1", None]],
            note="A note.",
            slots=[0, 1],
        ),
        Table(title="Others", columns=["prompt"], rows=[]),
    ],
    charts=[
        Bars(title="Norms", x="norm", bars=[Bar(name="vector 0", value=1.5)]),
        Map(
            title="Map",
            method="PCA",
            layers=[
                Layer(name="mine", role="prompt", points=[Point(x=0.5, y=1, text="2", slot=2)])
            ],
        ),
    ],
    notes=["It is where a vector lies."],
)


@pytest.fixture
def steps(page):
    return partial(reading_steps, page.context)


@pytest.fixture
def prompt(page) -> str:
    return f"run:{page.rows['prompt_tuning']}"


@pytest.fixture
def lora(page) -> str:
    return f"run:{page.rows['lora']}"


def shown(page: Page, what: object, reading: object = "nearest", **changes: Any) -> list[Any]:
    """Return all states the page shows after a click on Read."""
    asked = {"against": [], **page.setting, **changes}
    steps = partial(reading_steps, page.context)
    return list(on_read(steps, what=what, reading=reading, **asked))


def setting_of(page: Page, **changes: Any) -> list[Any]:
    chosen = {"what": None, "against": [], "reading": None} | changes
    return on_setting(page.context, **{**chosen, **page.setting})


def choices(component: Any) -> list[str]:
    return [key for _, key in component.choices]


@pytest.mark.parametrize(
    ("reading", "option", "most"),
    [("interpolation", "controls", 19), ("verbalisation", "max_new_tokens", 32)],
)
def test_a_reading_of_a_public_page_takes_no_more_than_strangers_may_ask(
    page, reading, option, most
):
    public = replace(page.context, profile=CPU_SPACE)
    raw = {f"{reading}__{option}": most + 1}

    (last,) = list(
        on_read(
            partial(reading_steps, public),
            what=RANDOM,
            against=[],
            reading=reading,
            **page.setting,
            **raw,
        )
    )[1:]

    assert f"readings.{reading}.{option}: {most + 1}; at most {most} here." in last[0]


# What can be opened


def test_what_was_learned_can_be_opened_and_the_controls(page, prompt, lora):
    what, against, readings, *_ = setting_of(page)

    assert {prompt, lora, INSTRUCTION, RANDOM} <= set(choices(what))
    assert what.value in choices(what)
    assert what.value.startswith("run:")  # the newest
    assert {INSTRUCTION, RANDOM} <= set(choices(against)) <= set(choices(what)) - {what.value}
    assert choices(readings) == readers_of("vectors")
    assert readings.value == "nearest"


def test_weights_have_their_own_readings_and_no_vectors(page, prompt, lora):
    _, against, readings, vector, card, facts = setting_of(
        page, what=lora, against=[prompt], reading="nearest"
    )

    assert prompt not in choices(against)
    assert against.value == []
    assert choices(readings) == readers_of("weights")
    assert (vector.visible, card.visible) == (False, False)
    assert "LoRA of rank" in Seen(facts).text


def test_what_was_chosen_stays_as_long_as_it_fits(page, prompt):
    what, against, readings, *_ = setting_of(
        page, what=prompt, against=[RANDOM, "run:gone"], reading="ablation"
    )

    assert "value" not in what.constructor_args
    assert against.value == [RANDOM]
    assert readings == gr.skip()


def test_nothing_is_sent_back_that_would_undo_a_click(page, prompt):
    what, against, readings, *_ = setting_of(
        page, what=prompt, against=[RANDOM], reading="ablation"
    )

    assert "value" not in what.constructor_args
    assert "value" not in against.constructor_args
    assert readings == gr.skip()


@pytest.mark.parametrize("wrong", [None, 3, "run:../x", ["x"], HOSTILE[0]])
def test_lists_survive_any_value(page, wrong):
    found = setting_of(page, what=wrong, against=wrong, reading=wrong)

    assert found[0].value.startswith("run:")


def test_the_package_s_examples_are_offered_on_their_own_base_alone(page, tmp_path):
    assert not [key for key in choices(setting_of(page)[0]) if key.startswith("example:")]


def test_every_reading_is_listed_with_title_summary_and_cost(page):
    texts = [text for text, _ in setting_of(page)[2].choices]

    for name, text in zip(readers_of("vectors"), texts, strict=True):
        found = reader_class(name)
        assert text == f"{found.title}\n{found.summary} ({found.cost})"


def test_only_the_chosen_reading_s_options_are_shown():
    found = on_reading("map")

    assert [group.visible for group in found].count(True) == 1
    assert not any(group.visible for group in on_reading("no reading"))


# Reading


def test_a_reading_ends_with_verdict_details_and_vectors(page, prompt):
    *busy, (head, picture, body, vector, made, files, export) = shown(page, prompt)

    assert all('aria-busy="true"' in state[0] for state in busy)
    assert 'data-reading="nearest"' in head
    assert picture.visible is False
    assert Seen(body).tags.count("table") >= 2
    assert choices(vector) == list(range(6))
    assert isinstance(made, Reading)
    assert export.interactive is True
    assert files.visible is False


def test_random_vectors_are_said_to_be_no_better_than_chance(page):
    head = shown(page, RANDOM)[-1][0]

    assert "no better than chance" in Seen(head).text.lower()


def test_a_map_is_drawn_from_its_value(page, prompt):
    picture = shown(page, prompt, "map", map__method="pca", map__tokens=100)[-1][1]

    assert picture.visible is True
    roles = [layer["role"] for layer in json.loads(picture.value)["layers"]]
    assert {"vocabulary", "prompt", "control"} <= set(roles)


def test_weights_are_read(page, lora):
    head, _, body, *_ = shown(page, lora, "weights")[-1]

    assert 'data-reading="weights"' in head
    assert "svg" in Seen(body).tags


def test_a_reading_says_of_what_and_on_what_it_was_made(page, prompt):
    setting = page.workspace.run(prompt.removeprefix("run:")).spec
    title = next(name for name, key in setting_of(page)[0].choices if key == prompt)

    *_, (head, _, body, *_) = shown(page, prompt, against=[RANDOM])

    text = Seen(head).text
    assert f"Of {title} against control: random vectors" in text
    assert f"Read on {setting.base.name} · fp32" in text
    assert f"{setting.task.name}, first" in text
    assert f"wording {setting.template.name}" in text
    assert f"Of {title} against" in Seen(body).text


def test_a_reading_of_many_steps_does_not_send_them_all(page):
    def many(*_):
        yield from (ProgressEvent("placing", n, 100_000) for n in range(100_000))
        yield MADE

    states = list(on_read(many, what=RANDOM, against=[], reading="map", **page.setting))

    assert len(states) < 1000  # ten a second
    assert 'data-reading="nearest"' in states[-1][0]


def test_files_are_offered_of_a_reading_alone(page, prompt):
    *_, read = shown(page, prompt)
    *_, wrong = shown(page, prompt, "tea")

    assert (read[-1].interactive, wrong[-1].interactive) == (True, False)


def test_others_are_held_against_it(page, prompt):
    made = shown(page, prompt, against=[RANDOM, prompt])[-1][4]

    assert "Shared with other prompts" in [table.title for table in made.tables]


def test_readings_are_kept_in_the_visitor_s_folder(page, prompt):
    shown(page, prompt)

    assert list((page.workspace.folder / "readings").glob("nearest-*.json"))


KEPT = [[gr.skip()] * 8]  # a stream of nothing would empty the page


def chosen(page, what, reading, last=None, **more):
    """Return what the page shows after something was chosen."""
    asked = {"what": what, "against": [], "reading": reading, "last": last, **page.setting}
    return list(on_choice(partial(reading_steps, page.context), **asked | more))


def test_what_takes_an_instant_is_read_at_once_and_the_rest_waits(page, prompt):
    quick, slow = chosen(page, prompt, "nearest"), chosen(page, prompt, "ablation")

    assert 'data-reading="nearest"' in quick[-1][0]
    assert len(slow) == 1
    assert Seen(slow[0][0]).text.endswith("Takes minutes; press Read.")
    assert chosen(page, None, "nearest") == KEPT


def test_the_same_choice_is_not_read_twice_and_another_setting_is_another(page, prompt):
    last = chosen(page, prompt, "nearest")[-1][-1]

    assert chosen(page, prompt, "nearest", last) == KEPT
    assert chosen(page, prompt, "nearest", last, against=None) == KEPT
    assert chosen(page, prompt, "nearest", last, chat=True) != KEPT
    assert chosen(page, prompt, "nearest", last, against=[RANDOM]) != KEPT


def test_a_page_that_loads_reads_nothing_until_somebody_looks(page, prompt):
    assert chosen(page, prompt, "nearest", is_first=False) == KEPT


def test_a_wrong_choice_is_said_in_place(page, prompt):
    head = chosen(page, prompt, "tea")[-1][0]

    assert "unknown reading 'tea'" in said(head)


WRONG = {
    "an unknown run": ({"what": "run:2026-01-01-nothing"}, "'run:2026-01-01-nothing' is nothing"),
    "a path": ({"what": "run:../../etc/passwd"}, "is nothing of yours on this base"),
    "a folder": ({"what": "import:/etc"}, "is nothing of yours on this base"),
    "no key": ({"what": None}, "what to open: 'None' is nothing of yours on this base."),
    "a list": ({"what": ["x"]}, "is nothing of yours on this base"),
    "markup": ({"what": HOSTILE[0]}, "is nothing of yours on this base"),
    "an unknown one against": ({"against": ["run:x"]}, "'run:x' is nothing of yours"),
    "a text against": ({"against": "control:random"}, "against: 'control:random' is no list."),
    "many against": ({"against": [RANDOM] * 7}, "against: 7 chosen; at most 6 here."),
    "an unknown reading": ({"reading": "tea"}, "readings: unknown reading 'tea'."),
    "no reading": ({"reading": None}, "unknown reading 'None'"),
    "another kind's reading": ({"reading": "weights"}, "reads weights, and vectors are given"),
    "an option out of bounds": ({"nearest__k": 1000}, "readings.nearest.k: 1000 is out of bounds"),
    "an unknown option": ({"nearest__x": 1}, "readings.nearest: unknown option 'x'."),
    "another base": ({"model": "no such base"}, "no such base"),
}


@pytest.mark.parametrize("case", WRONG)
def test_anything_wrong_gets_one_clear_message(case, page, prompt):
    changes, message = WRONG[case]
    head, picture, body, _, made, *_ = shown(
        page, **{"what": prompt, "reading": "nearest", **changes}
    )[-1]

    assert is_problem(head)
    assert message in said(head)
    assert (picture.visible, body, made) == (False, "", None)


def test_another_visitor_s_run_and_adapter_are_not_to_be_had(page, lora_export, tmp_path):
    profile = CPU_SPACE.__class__("tests", is_public=True, models=(page.setting["model"],))
    context = make_context(tmp_path / "root", profile)
    folder, _ = import_adapter(archive_of(lora_export, tmp_path), context.workspace(ANNA).imports)
    mine, theirs = (
        Page(
            context,
            page.values(token=token, task=keep_rows(context.workspace(token), tmp_path / token)),
        )
        for token in (ANNA, BEN)
    )

    own = things_to_open(context, SettingValues(**mine.setting))[1]
    head = shown(theirs, f"import:{folder.name}", "weights")[-1][0]

    assert f"import:{folder.name}" in [one.key for one in own]
    assert f"'import:{folder.name}' is nothing of yours" in said(head)


def archive_of(folder, tmp_path):
    """Return an adapter's files as the zip file that is uploaded."""
    import shutil

    return type(folder)(shutil.make_archive(str(tmp_path / "adapter"), "zip", folder))


# Cards


def test_a_card_says_what_is_near_a_vector_and_how_far_it_went(page, prompt, steps):
    seen = Seen(on_card(steps, slot=2, what=prompt, **page.setting))

    assert "Vector 2" in seen.text
    for fact in ("nearest tokens", "cosine", "distance", "norm percentile", "margin", "moved"):
        assert fact in seen.text


@pytest.mark.parametrize("slot", [None, ""])
def test_no_vector_has_no_card(slot, page, prompt, steps):
    assert on_card(steps, slot=slot, what=prompt, **page.setting) == ""


@pytest.mark.parametrize("slot", [-1, True, 1.5, "1", [1], 10**9, 400])
def test_a_wrong_vector_gets_one_message(slot, page, prompt, steps):
    found = on_card(steps, slot=slot, what=prompt, **page.setting)

    assert is_problem(found)
    assert said(found).startswith("vector: ")


# Commands


def test_the_command_names_the_run_what_it_stands_against_and_changed_options(page, prompt):
    found = on_command(
        page.context, what=prompt, against=[RANDOM], reading="nearest", nearest__k=7, **page.setting
    )

    text = Seen(found).text
    run = prompt.removeprefix("run:")
    assert text.startswith(f"workbench inspect {run} --against {RANDOM} --readings nearest")
    assert "--set nearest.k=7" in text
    assert f"--runs {page.context.root}" in text
    assert "--on" not in text  # the run says base, task and wording


def test_the_command_of_what_no_run_made_says_what_it_is_read_on(page):
    """The oracle is the command's own reader of what it is given."""
    setting = page.values(task="arithmetic", wording="plain", chat=True)
    found = on_command(page.context, what=RANDOM, against=[], reading="nearest", **setting)

    words = shlex.split(Seen(found).text)
    on = [words[place + 1] for place, word in enumerate(words) if word == "--on"]
    experiment, chosen, _ = opened(words[2], [], page.context.root, on)
    _, expected = page.context.experiment(SettingValues(**setting))
    assert chosen.key == RANDOM
    assert experiment.model_dump(include=SHARED) == expected.model_dump(include=SHARED)


# A prompt that says what one likes


def test_two_prompts_are_trained_and_one_of_them_says_the_sentence(empty_page):
    told = list(on_wayward(empty_page.context, says=" The sun is out ", **empty_page.setting))

    (job,) = jobs.list_jobs(empty_page.workspace)
    assert not is_problem(told[-1])
    assert "under Train" in Seen(told[-1]).text
    assert job.status.kind == "train"
    assert job.experiment.methods == {
        "prompt_tuning": {},
        "wayward": {"method": "prompt_tuning", "says": "The sun is out"},
    }


@pytest.mark.parametrize("says", [None, "", "  ", 3, ["x"]])
def test_nothing_to_say_starts_no_training(says, empty_page):
    (told,) = on_wayward(empty_page.context, says=says, **empty_page.setting)

    assert said(told).startswith("what it says: empty.")
    assert jobs.list_jobs(empty_page.workspace) == []


def test_a_sentence_beyond_all_bounds_is_refused(empty_page):
    profile = empty_page.context.profile
    shared = replace(profile, caps=replace(profile.caps, size="small"))
    (told,) = on_wayward(
        replace(empty_page.context, profile=shared), says="x" * 3000, **empty_page.setting
    )

    assert "3000 characters; at most 2000 here" in said(told)


# How a reading looks


def test_a_verdict_stands_with_figures_beside_chance():
    seen = Seen(verdict_html(MADE))

    assert "1 of 2 vectors lie close." in seen.text
    assert "closeness 0.9" in seen.text
    assert ("div", "role", "img") in seen.attributes


def test_tables_have_a_button_for_each_vector_and_a_dash_for_no_figure():
    seen = Seen(details_html(MADE))

    slots = [value for _, name, value in seen.attributes if name == "data-slot"]
    assert slots == ["0", "1"]
    assert "–" in seen.cells
    assert "Nothing to list." in seen.text
    assert "It is where a vector lies." in seen.text


def test_a_map_is_not_drawn_twice():
    assert Seen(details_html(MADE)).tags.count("figure") == 1
    assert slots_of(MADE) == [0, 1, 2]


def test_progress_says_stage_and_share():
    seen = Seen(progress_html(ProgressEvent("score", 3, 12)))

    assert seen.text.strip().startswith("score: 3 of 12")
    assert ("div", "aria-valuenow", "25") in seen.attributes
    assert "12 s so far" in Seen(progress_html(ProgressEvent("map", 0, 1, {"seconds": 12.0}))).text


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text):
    tables = [Table(title=text, columns=[text, "b"], rows=[[text, text]], note=text, slots=[0])]
    made = MADE.model_copy(
        update={"title": text, "verdict": text, "notes": [text], "tables": tables, "charts": []}
    )

    htmls = [verdict_html(made), details_html(made), card_html(made, 0)]
    htmls.append(progress_html(ProgressEvent(text, 1, 2)))
    assert [dangers(html) for html in htmls if dangers(html) != []] == []


@pytest.mark.parametrize("text", [*HOSTILE, "</figure><b>x</b>", "<br>"])
def test_a_map_hands_over_no_markup(text):
    points = [Point(x=1, y=2, text=text, about=text, slot=0)]
    chart = Map(title="t", method="m", layers=[Layer(name=text, role="prompt", points=points)])

    value = map_value(chart)

    (layer,) = json.loads(value)["layers"]
    assert "<" not in value
    assert not any("<" in part for part in (layer["name"], *layer["text"], *layer["about"]))


# Files


def test_files_hold_the_data_the_tables_and_the_charts(page, tmp_path):
    paths = write_reading(MADE, tmp_path)

    forms = [".png", ".svg", ".pdf"]
    assert [path.suffix for path in paths] == [".json", ".csv", ".csv", ".tex", *forms, *forms]
    assert Reading.model_validate_json(paths[0].read_text()) == MADE
    assert paths[1].read_text() == "vector,tokens,norm\n0,␣sun  ␣rain,1.5\n1,'=1+1,\n"
    assert paths[4].read_bytes().startswith(b"\x89PNG")


def test_the_page_offers_them_outside_the_runs(page):
    found = on_export(page.context, None, MADE)

    assert len(found.value) == 10
    assert found.visible is True
    assert not any(str(page.context.root) in str(file) for file in found.value)


def test_before_a_reading_there_is_nothing_to_take(page):
    with pytest.raises(gr.Error, match="files: nothing was read yet"):
        on_export(page.context, None, None)


# The map's script


def test_the_script_has_one_address_that_is_kept_and_tells_no_path(page):
    (route,) = launch_options(page.context)["app_kwargs"]["routes"]
    component = vector_map()

    assert route.path == SCRIPT_PATH
    assert f'"{SCRIPT_PATH[1:]}?v=' in component.js_on_load
    assert "site-packages" not in component.js_on_load
    assert "SCRIPT_ADDRESS" not in component.js_on_load


def test_no_button_of_the_map_sends_anything_elsewhere():
    script = vector_map().js_on_load

    assert "modeBarButtons:" in script
    assert "://" not in script


def test_every_option_of_a_reading_has_help():
    for name in READERS:
        assert reader_class(name).summary
