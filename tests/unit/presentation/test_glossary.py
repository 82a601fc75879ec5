"""Words of the field: one glossary for page, reports and docs, and each word carries its gloss."""

from pathlib import Path

import pytest

from pages import HOSTILE, Seen, dangers
from workbench.presentation.glossary import glossed, sections, terms_in

DOCS = Path(__file__).parents[3] / "docs" / "glossary.md"
INSIDERS = (
    "nats", "Holm", "p (Holm)", "label mass", "nf4", "init", "seeds", "warm start", "digest",
    "ECE", "calibration error", "Pareto", "perplexity", "rank", "alpha", "norm", "dev",
    "trained parameters", "95 % interval", "points (paired)", "lower bound", "loss, nats",
)  # fmt: skip


def documented():
    """Return (section, plain words, term, sentence) of every row of the documentation."""
    found, section = [], ""
    for line in DOCS.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        elif line.startswith("| ") and not line.startswith("| plain words |"):
            plain, term, sentence, _ = (cell.strip() for cell in line.split("|")[1:-1])
            found.append((section, plain, term, sentence.replace("`", "")))
    return found


def test_the_page_and_the_documentation_say_the_same():
    packaged = [
        (section, term.plain, term.name, term.sentence)
        for section, terms in sections().items()
        for term in terms
    ]

    assert packaged == documented()
    assert len(packaged) > 80


def test_every_term_is_said_in_a_sentence_of_bearable_length():
    for terms in sections().values():
        for term in terms:
            assert term.sentence[0].isupper()
            assert term.sentence[-1] in ".?"
            assert len(term.gloss) <= 260


def test_no_word_of_a_heading_stands_for_two_terms():
    words = [word for terms in sections().values() for term in terms for word in term.words]

    assert len(words) == len(set(words))


@pytest.mark.parametrize("word", INSIDERS)
def test_a_word_of_the_field_carries_plain_words(word):
    (term,) = terms_in([word])
    seen = Seen(str(glossed(f"its {word} here")))

    assert seen.text == f"its {word} here"
    assert ("abbr", "title", term.gloss) in seen.attributes


@pytest.mark.parametrize("heading", ["", "text", "normal", "preranked", "nothing known"])
def test_other_words_carry_nothing(heading):
    assert str(glossed(heading)) == heading
    assert terms_in([heading]) == []


def test_the_longest_word_at_the_first_place_is_taken():
    assert [term.plain for term in terms_in(["rise of loss, nats", "p (Holm)", "p (Holm)"])] == [
        "surprise",
        "corrected for many looks",
    ]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_heading_from_data_stays_text(text):
    html = str(glossed(f"{text} rank"))

    assert dangers(html) == []
    assert Seen(html).tags == ["abbr"]
