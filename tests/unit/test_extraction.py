"""Reading an answer from generated text: tables of what the strict and the lenient rule find."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from workbench.answer_forms import bare, is_match
from workbench.extraction import ExtractedAnswer, extract_answer

PHRASE = "The answer is"
SENTIMENT = {"negative": "negative", "positive": "positive"}
ENTAILMENT = {"entailment": "entailment", "not entailment": "not entailment"}
REVIEW = {"bad": "terrible", "good": "great"}

PRICES = {"s": "positive", "p": "positive price"}
MOODS = {"good": "\u79ef\u6781", "bad": "\u6d88\u6781"}  # Chinese: positive, negative

NUMBERS = [  # text, strict, lenient
    ("The answer is 18.", "18", "18"),
    ("the ANSWER is 18", "18", "18"),
    ("The answer is: 18", "18", "18"),
    ("The answer is\n18", "18", "18"),
    ("The answer is **18**.", "18", "18"),
    ("The answer is $18.", "18", "18"),
    ("The answer is (€18).", "18", "18"),
    ("The answer is 1,234,567.", "1234567", "1234567"),
    ("The answer is $1,234.50.", "1234.5", "1234.5"),
    ("The answer is 18.00", "18", "18"),
    ("The answer is 100", "100", "100"),
    ("The answer is .5", "0.5", "0.5"),
    ("The answer is -7.", "-7", "-7"),
    ("The answer is -$7.", "-7", "-7"),
    ("The answer is $-7.", "-7", "-7"),
    ("The answer is -.5", "-0.5", "-0.5"),
    ("The answer is 5, 6 or 7.", "5", "5"),
    ("The answer is 1,2,3", "1", "1"),
    ("The answer is 12,", "12", "12"),
    ("The answer is 10-2", "10", "10"),
    ("The answer is 18 apples, not 20.", "18", "18"),
    ("3 + 4 = 7. The answer is 8. No, 9.", "8", "8"),
    ("The answer is 8. The answer is 9.", "8", "8"),
    ("The answer is clear: it is 12, not 13.", None, "12"),
    ("I have 2. The answer is unknown.", None, "2"),
    ("She has 3 + 4 = 7 apples.", None, "7"),
    ("So it makes 10-2", None, "2"),
    ("So (1+2)-4", None, "4"),
    ("It fell to -4 degrees.", None, "-4"),
    ("4 times 2.50 makes 10.0", None, "10"),
    ("Version 1.2.3", None, "3"),
    ("No numbers here.", None, None),
    ("The answer is", None, None),
    ("The answer is ²", None, None),
    ("", None, None),
    ("\u0130\u0130\u0130 The answer is 123", "123", "123"),  # longer in lower case
    ("The answer is 2,4.", "2.4", "2.4"),
    ("The answer is 0,234", "0.234", "0.234"),
    ("The answer is 1.234,56 €", "1234.56", "1234.56"),
    ("The answer is 1.234.567", "1234567", "1234567"),
    ("The answer is 1.234", "1.234", "1.234"),
    ("The answer is 12,5 or 13", "12.5", "12.5"),
    ("The answer is 1.2E+06", "1200000", "1200000"),
    ("The answer is 3e-2.", "0.03", "0.03"),
    ("The answer is \u22127", "-7", "-7"),
    ("It fell by 4,5 to \u22124 degrees.", None, "-4"),
    ("The answer is 4 + 8 = 12.", "12", "12"),
    ("The answer is 4 apples + 8 apples = 12 apples.", "12", "12"),
    ("The answer is $4 x (3 - 1) = $8, so 9 is wrong.", "8", "8"),
    ("The answer is clear: 4 + 8 = 12, not 13.", None, "12"),
    ("The answer is 4 + 8 =", "4", "4"),
    ("\u7b54\u6848\u662f-7\u5ea6", None, "-7"),  # Chinese around a sign
    ("\u7b54\u6848\u662f1.2E+06\u7c92", None, "1200000"),
    ("The answer is \uff11\uff12\u3002", "12", "12"),  # full-width digits
    ("The answer is \u0662\u066b\u0664", "2.4", "2.4"),  # Arabic digits and decimal mark
]


@pytest.mark.parametrize(("text", "strict", "lenient"), NUMBERS, ids=[row[0] for row in NUMBERS])
def test_a_number_is_read_by_both_rules(text, strict, lenient) -> None:
    assert extract_answer(text, PHRASE, {}) == ExtractedAnswer(strict, lenient)


WITHOUT_PHRASE = [
    (" 18", "18", "18"),
    (" $1,200 in all", "1200", "1200"),
    (" It is 12, and 12 - 2 = 10", None, "10"),
    (" 12 and then 13", "12", "12"),
    (" 4 + 8 = 12", "12", "12"),
    (" 2,4", "2.4", "2.4"),
    (" 1.2E+06 grains", "1200000", "1200000"),
    ("", None, None),
]


@pytest.mark.parametrize(("text", "strict", "lenient"), WITHOUT_PHRASE)
def test_without_a_phrase_the_start_of_the_text_counts(text, strict, lenient) -> None:
    assert extract_answer(text, "", {}) == ExtractedAnswer(strict, lenient)


LABELS = [  # text, words, strict, lenient
    ("The answer is positive.", SENTIMENT, "positive", "positive"),
    ("The answer is POSITIVE", SENTIMENT, "positive", "positive"),
    ('The answer is "positive".', SENTIMENT, "positive", "positive"),
    ("The answer is not positive but negative.", SENTIMENT, None, "positive"),
    ("Some negative words. The answer is positive.", SENTIMENT, "positive", "positive"),
    ("First negative, then positive.", SENTIMENT, None, "positive"),
    ("First positive. The answer is unclear.", SENTIMENT, None, "positive"),
    ("The answer is positively", SENTIMENT, None, None),
    ("The answer is great.", REVIEW, "good", "good"),
    ("The answer is good.", REVIEW, None, None),
    ("", SENTIMENT, None, None),
    ("The answer is not entailment.", ENTAILMENT, "not entailment", "not entailment"),
    ("The answer is entailment.", ENTAILMENT, "entailment", "entailment"),
    ("So it is not entailment", ENTAILMENT, None, "not entailment"),
    ("Not entailment? No: entailment", ENTAILMENT, None, "entailment"),
    ("The answer is top up limits", {"a": "top up", "b": "top up limits"}, "b", "b"),
    ("The answer is C++.", {"a": "C", "b": "C++"}, "b", "b"),
    ("new york city", {"a": "new york", "b": "york city"}, None, "b"),
    ("The answer is positive  price.", PRICES, "p", "p"),
    ("The answer is Positive\nprice.", PRICES, "p", "p"),
    ("The answer is positive, price aside.", PRICES, "s", "s"),
    ("The answer is 10.", {"1": "1", "10": "10"}, "10", "10"),
    ("\u7b54\u6848\u662f\u79ef\u6781\u7684\u3002", MOODS, None, "good"),
    ("\u5f88\u6d88\u6781\uff0c\u4e0d\u662f\u79ef\u6781", MOODS, None, "good"),
    ("\u7b54\u6848\u662fpositive\u7684", SENTIMENT, None, "positive"),
    (
        "\u0e04\u0e37\u0e2d\u0e14\u0e35\u0e21\u0e32\u0e01",
        {"good": "\u0e14\u0e35"},
        None,
        "good",
    ),  # Thai
]


@pytest.mark.parametrize(
    ("text", "words", "strict", "lenient"), LABELS, ids=[row[0] for row in LABELS]
)
def test_a_label_is_read_by_its_word(text, words, strict, lenient) -> None:
    assert extract_answer(text, PHRASE, words) == ExtractedAnswer(strict, lenient)


def test_the_phrase_is_plain_text_and_no_expression() -> None:
    found = extract_answer("A (final): 5", "(final)", {})

    assert found == ExtractedAnswer("5", "5")


FREE_TEXT = [
    ("The answer is Paris.", PHRASE, "Paris", "Paris"),
    ("The answer is: 'Paris'\nQuestion: next", PHRASE, "Paris", "Paris"),
    ("The answer is\nthe river Po", PHRASE, "the river Po", "the river Po"),
    ("The answer is", PHRASE, None, None),
    ("First thoughts.\nParis.", PHRASE, None, "Paris"),
    ("\u0130\u0130\u0130 The answer is Rome", PHRASE, "Rome", "Rome"),
    (" Paris\nmore", "", "Paris", "Paris"),
    (" **Paris**", "", "Paris", "Paris"),
    ("The answer is: _Paris_!", PHRASE, "Paris", "Paris"),
    (" `C++`", "", "C++", "C++"),
    ("", PHRASE, None, None),
    ("", "", None, None),
]


@pytest.mark.parametrize(("text", "phrase", "strict", "lenient"), FREE_TEXT)
def test_free_text_is_the_rest_of_the_line(text, phrase, strict, lenient) -> None:
    assert extract_answer(text, phrase, {}, numeric=False) == ExtractedAnswer(strict, lenient)


EXACT = (
    *("6'2\"", "5'", "'90s", ".NET", '"Hello" she said', "rock 'n'", "a:", ":)", "'Tis", "'n'"),
    *('"A" and "B"', "don't'", "\u0130!", "(a) b", "\u00abx", "__init__", "U.S.", "1.", "- 5"),
)
ONE_LINE = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=9)
MARKED = st.text("ab1 .:,'\"!*()\u0130\u00df\u0301-", max_size=9)


@pytest.mark.parametrize("answer", EXACT)
@pytest.mark.parametrize("phrase", ["", PHRASE])
def test_an_answer_written_exactly_is_right(answer, phrase) -> None:
    found = extract_answer(f"{phrase} {answer}", phrase, {}, numeric=False)

    assert found.strict == found.lenient
    assert is_match(found.strict, (answer,))


@settings(max_examples=300, deadline=None)
@given(st.one_of(ONE_LINE, MARKED), st.sampled_from(["", PHRASE]))
@example("\u0130!", "")
def test_any_line_but_one_of_marks_alone_is_right_where_it_is_written_exactly(
    answer, phrase
) -> None:
    found = extract_answer(f"{phrase} {answer}", phrase, {}, numeric=False)

    assert is_match(found.strict, (answer,)) == bool(bare(answer))


@pytest.mark.parametrize(
    ("written", "right"),
    [
        (" 'Paris", "Paris"),
        (" : Paris", "Paris"),
        (' Paris"', "Paris"),
        (" ...Paris", "Paris"),
        (" 5'", "5"),
    ],
)
def test_marks_without_a_partner_count_for_nothing_where_the_answer_has_none(
    written, right
) -> None:
    found = extract_answer(written, "", {}, numeric=False)

    assert is_match(found.strict, (right,))
    assert not is_match(found.strict, (f"{right}\"'",))


def test_a_long_calculation_is_read_in_no_time() -> None:
    text = "1 apple + " * 2000

    assert extract_answer(text, "", {}).strict == "1"
