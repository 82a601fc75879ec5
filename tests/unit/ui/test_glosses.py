"""For those who are new: a sentence for each field, method and option, and what to do next."""

import re

import pytest
from test_rendering import TEMPLATES, drawing, leaderboard_row, status

from pages import Seen
from workbench.methods.catalog import METHODS, method_class
from workbench.options import declared_options
from workbench.presentation.glossary import sections
from workbench.readings.catalog import READERS, reader_class
from workbench.ui.glosses import FIELDS, start, way_glosses
from workbench.ui.option_fields import _PLAIN, option_component, option_label
from workbench.ui.rendering import render

MOST_CHARS = 180
INSIDERS = re.compile(
    r"\b(nats|Holm|logits?|low-rank|LSTM|MLP|alpha|quanti[sz]\w*|gradients?|embeddings?|"
    r"hyperparameters?|epochs?|tensors?|softmax|KL|perplexity|calibrat\w*|dev|init|PEZ|APE|"
    r"reparametri[sz]\w*|demonstrations?)\b"
)  # what a sentence for a layman leaves out

OPTIONS = [
    (kind, name, option)
    for kind, names, found in (
        ("method", METHODS, method_class),
        ("reading", READERS, reader_class),
    )
    for name in names
    for option in declared_options(found(name)).values()
]


def is_sentence(text: str) -> bool:
    """Return whether a text begins and ends as one, and is long enough to say something."""
    begins = text[0].isupper()
    return begins and text.endswith(".") and len(text.split()) >= 3 and len(text) <= MOST_CHARS


@pytest.mark.parametrize("name", way_glosses())
def test_every_way_to_answer_is_said_in_a_sentence_for_a_layman(name):
    gloss = way_glosses()[name]

    assert is_sentence(gloss)
    assert INSIDERS.search(gloss) is None


def test_no_two_methods_are_said_in_the_same_words():
    assert len({method_class(name).gloss for name in METHODS}) == len(METHODS)


@pytest.mark.parametrize("field", FIELDS.values(), ids=FIELDS)
def test_every_field_of_the_first_row_is_said_in_a_sentence(field):
    assert is_sentence(field.gloss)
    assert INSIDERS.search(field.gloss) is None


@pytest.mark.parametrize(
    ("kind", "name", "option"),
    OPTIONS,
    ids=[f"{name}-{option.name}" for _, name, option in OPTIONS],
)
def test_every_option_has_help_that_reads_as_a_sentence_and_is_shown(kind, name, option):
    component = option_component(name, option)

    assert is_sentence(option.help)
    assert component.info.startswith(option.help.replace("null:", "empty:"))
    assert component.label == option_label(option.name)
    assert option.name.replace("_", " ") in component.label  # as commands take it


def test_plain_labels_are_of_options_that_exist_and_are_the_glossarys_where_it_has_one():
    known = {option.name for _, _, option in OPTIONS}
    plain = {word: term.plain for terms in sections().values() for term in terms
             for word in term.words}  # fmt: skip

    assert set(_PLAIN) <= known
    for name in ("rank", "alpha", "init", "dropout", "learning_rate"):
        assert _PLAIN[name] in plain[name.replace("_", " ")]


def test_who_is_new_finds_what_to_do_first_and_every_word():
    seen = Seen(render("header", **TEMPLATES["header"]("here")))

    assert "press Answer" in seen.text
    assert "CSV" in seen.text
    for field in start().fields:
        assert field.gloss in seen.text
    for name, gloss in way_glosses().items():
        assert name in seen.text
        assert gloss in seen.text
    for terms in sections().values():
        for term in terms:
            assert term.sentence in seen.text
    assert ("details", "open", "") not in seen.attributes


# Next


def next_tabs(html: str) -> list[str]:
    """Return the tabs that what is shown opens as the next step."""
    return [value for _, name, value in Seen(html).attributes if name == "data-tab"]


def job_html(**changes: object) -> str:
    values = TEMPLATES["job"]("a text")
    return render("job", **values | {"status": status("a text", **changes)})


def test_a_finished_training_says_what_to_do_next():
    html = job_html(state="finished")

    assert "Next:" in Seen(html).text
    assert next_tabs(html) == ["Ask", "Evaluate", "Inspect"]


@pytest.mark.parametrize("state", ["queued", "running", "failed", "stopped", "interrupted"])
def test_a_training_that_is_not_finished_says_nothing_of_it(state):
    assert next_tabs(job_html(state=state)) == []


def test_an_evaluation_says_it_below_its_table_and_not_in_its_panel():
    assert next_tabs(job_html(state="finished", kind="evaluate")) == []
    html = render("results", **TEMPLATES["results"]("a text"))
    assert next_tabs(html) == ["Items", "Files", "Ask"]
    assert html.index("wb-leaderboard") < html.index("wb-next")


def test_rows_that_are_kept_say_it():
    html = render("next", after="upload")

    assert next_tabs(html) == ["Ask", "Train", "Evaluate"]


# Words of the field


def glosses(html: str) -> dict[str, str]:
    """Return what is said on hover, by the words that say it."""
    return dict(re.findall(r'<abbr title="([^"]*)">([^<]*)</abbr>', html)[i][::-1]
                for i in range(html.count("<abbr title")))  # fmt: skip


def test_the_leaderboards_headings_carry_their_glosses():
    values = TEMPLATES["results"]("a text") | {"metric": "accuracy"}
    found = glosses(render("results", **values))

    headings = {"accuracy", "95 % interval", "points (paired)", "p (Holm)", "seeds"}
    assert headings | {"reference", "lower bound"} <= set(found)
    assert all(found.values())


def test_what_is_said_on_hover_can_be_opened_below_the_table_too():
    seen = Seen(render("results", **TEMPLATES["results"]("a text")))

    assert "What these words mean" in seen.text
    assert "Who looks at many rows finds something by luck" in seen.text


def test_a_row_within_noise_carries_its_gloss():
    row = leaderboard_row("row")
    row.is_best, row.is_within_noise_of_best = False, True
    html = render("results", **TEMPLATES["results"]("x") | {"rows": [row]})

    assert "within noise of the best" in glosses(html)


def test_a_readings_headings_carry_their_glosses():
    columns = [{"name": name, "look": ""} for name in ("rise of loss, nats", "norm", "p (Holm)")]
    table = {"title": "t", "note": "", "columns": columns,
             "rows": [{"cells": ["1", "2", "3"], "slot": None}]}  # fmt: skip
    for template in ("reading_details", "tour_stop"):
        values = TEMPLATES[template]("a text") | {"tables": [table]}
        html = render(template, **values)

        assert set(glosses(html)) == {"loss, nats", "norm", "p (Holm)"}
        assert "What these words mean" in html


def test_a_training_says_what_its_figures_are():
    assert {"loss", "dev", "seed"} <= set(glosses(job_html(state="finished")))


def test_a_run_says_what_its_figures_are():
    values = TEMPLATES["run"]("a text") | {"drawing": drawing("x")}
    fact = values["facts"][0]
    fact.name = "calibration error"

    assert "calibration error" in glosses(render("run", **values))
