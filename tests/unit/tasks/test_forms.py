"""Texts that look the same: found as one where rows are compared, named where labels are."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.scripts import composed
from workbench.tasks.forms import folded, label_warnings, visible

SAME = {
    "composed and decomposed": ("café", "cafe\u0301"),
    "a zero-width space": ("word\u200b", "word"),
    "a soft hyphen": ("run\u00adning", "running"),
    "a byte order mark inside": ("\ufeffword", "word"),
    "a direction mark": ("word\u200f", "word"),
    "no-break and ordinary spaces": ("two\u00a0words", "two \u2009words"),
    "case": ("Straße", "STRASSE"),
    "case and form together": ("E\u0301TE\u0301", "été"),
    "a mark before a mark": ("a\u0323\u0307", "a\u0307\u0323"),
}


@pytest.mark.parametrize("pair", SAME.values(), ids=SAME)
def test_texts_that_look_the_same_are_one(pair: tuple[str, str]) -> None:
    assert folded(pair[0]) == folded(pair[1])


@pytest.mark.parametrize(
    "pair", [("x²", "x2"), ("é", "e"), ("a b", "ab"), ("①", "1"), ("½", "1/2")]
)
def test_texts_that_look_different_are_two(pair: tuple[str, str]) -> None:
    assert folded(pair[0]) != folded(pair[1])


@given(st.text())
def test_folding_is_canonical_caseless_matching(text: str) -> None:
    """Against the definition in the Unicode Standard, written out."""
    plain = "".join(c for c in text if visible(c) or not c.strip())
    nfd = unicodedata.normalize("NFD", plain)
    expected = unicodedata.normalize("NFD", unicodedata.normalize("NFD", nfd.casefold()))

    found = unicodedata.normalize("NFD", folded(text))

    assert found.split() == unicodedata.normalize("NFD", expected.casefold()).split()


ADVICE = "If they are meant to be one, write them alike in the file."
ALIKE = {
    "case": ({"Pos": 3, "pos": 1, "neg": 2}, "'Pos' (3 rows) / 'pos' (1 row) differ in case"),
    "three of them": (
        {"POS": 1, "Pos": 1, "pos": 1},
        "'POS' (1 row) / 'Pos' (1 row) / 'pos' (1 row) differ in case",
    ),
    "true and True": ({"True": 2, "true": 2}, "'True' (2 rows) / 'true' (2 rows) differ in case"),
    "spaces inside": (
        {"very good": 2, "very  good": 2},
        "'very good' (2 rows) / 'very  good' (2 rows) differ in spaces",
    ),
    "an invisible character": (
        {"pos": 2, "pos\u200b": 2},
        "'pos' (2 rows) / 'pos\\u200b' (2 rows) differ in invisible characters",
    ),
    "Unicode form": (
        {"café": 2, "cafe\u0301": 2},
        "'caf\\xe9' (2 rows) / 'cafe\\u0301' (2 rows) differ in Unicode form",
    ),
    "1 and 1.0": ({"1": 2, "1.0": 2}, "'1' (2 rows) / '1.0' (2 rows) differ in how a number"),
    "long numbers alike": (
        {"12345678901234567": 2, "12345678901234567.0": 1, "12345678901234568": 2},
        "'12345678901234567' (2 rows) / '12345678901234567.0' (1 row) differ in how a number",
    ),
    "01 and 1": ({"1": 2, "01": 2}, "'1' (2 rows) / '01' (2 rows) differ in how a number"),
}


@pytest.mark.parametrize("case", ALIKE)
def test_labels_that_look_like_one_are_named_with_the_way_out(case: str) -> None:
    counts, expected = ALIKE[case]

    (warning,) = label_warnings(counts)

    assert expected in warning
    assert warning.endswith(ADVICE)


def test_several_groups_are_one_warning() -> None:
    (warning,) = label_warnings({f"{case}{n}": 1 for n in range(7) for case in "aA"})

    assert warning.count("differ in case") == 5
    assert "; and 2 more." in warning


LONG = ["12345678901234567", "12345678901234568", "0." + "1" * 40 + "2", "0." + "1" * 40 + "3"]


@pytest.mark.parametrize(
    "labels", [["pos", "neg"], ["1", "10", "1.5", "-1"], ["no", "no way"], ["c++", "c"], [], LONG]
)
def test_labels_that_differ_are_no_warning(labels: list[str]) -> None:
    assert label_warnings(dict.fromkeys(labels, 1)) == []


# Letters, syllables, and marks of every kind: of two classes, of none, that are two in one.
_PIECES = st.sampled_from(
    "a\u00e9\u1ed9\u0f73\u0344\u0301\u0315\u0323\u0338\u05b0\u1100\u1161\uac00\u0308 "
)


@given(st.text(_PIECES, min_size=257, max_size=600))
def test_a_long_text_is_composed_as_a_short_one_is(text: str) -> None:
    assert composed(text) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("marks", ["\u0315\u0323", "\u0f73", "\u0344\u0323"])
def test_marks_out_of_order_take_a_time_that_grows_with_their_number_alone(
    marks: str,
) -> None:
    text = "".join(mark * 50_000 for mark in marks)
    began = time.thread_time()

    assert len(folded(text)) >= len(text)
    assert visible(text)
    assert time.thread_time() - began < 5  # by exchanging neighbours it took minutes
