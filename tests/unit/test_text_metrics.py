"""ROUGE, BLEU and chrF against direct calls of the libraries, and their intervals by simulation."""

import random

import numpy as np
import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from workbench import metrics, text_metrics
from workbench.differences import paired_score_difference

TEXTS = [
    "The Mill is a pub near the river .",
    "a cheap cafe",
    "",
    "Fish is served at the Inn , which is expensive",
    "children are welcome in the Golden Palace",
]
REFERENCES = [
    ("The Mill is a pub by the river .", "By the river there is a pub called The Mill ."),
    ("It is a cheap cafe .",),
    ("The Inn serves fish .", "Fish at the Inn .", "Have fish at the Inn ."),
    ("The Inn is expensive and serves fish .", "At the Inn , fish is expensive ."),
    ("The Golden Palace welcomes children .",),
]
WORDS = [
    *("the", "inn", "serves", "fish", "and", "is", "cheap"),
    *("near", "river", "palace", "welcomes", "children"),
]


def streams(references):
    """Return the references as sacrebleu wants them: the first of all items, then the second …"""
    most = max(map(len, references))
    return [[r[i] if i < len(r) else None for r in references] for i in range(most)]


def random_items(num: int, seed: int) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return texts that share many words with their references, some more than others."""
    draw = random.Random(seed)
    texts, references = [], []
    for _ in range(num):
        reference = draw.choices(WORDS, k=12)
        noise = draw.random()
        text = [draw.choice(WORDS) if draw.random() < noise else word for word in reference]
        texts.append(" ".join(text))
        references.append((" ".join(reference), " ".join(draw.choices(WORDS, k=9))))
    return texts, references


def test_rouge_is_the_librarys_with_the_best_reference_of_each_item():
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)

    found = text_metrics.rouge_scores(TEXTS, REFERENCES)

    for ours, theirs in text_metrics.ROUGE_TYPES.items():
        expected = [
            max(scorer.score(reference, text)[theirs].fmeasure for reference in references)
            for text, references in zip(TEXTS, REFERENCES, strict=True)
        ]
        np.testing.assert_allclose(found[ours], expected)


@pytest.mark.parametrize("items", [(TEXTS, REFERENCES), random_items(40, seed=3)], ids=str)
def test_bleu_and_chrf_are_those_of_the_corpus_by_sacrebleu(items):
    texts, references = items

    bleu, chrf = text_metrics.bleu(texts, references), text_metrics.chrf(texts, references)

    expected = sacrebleu.corpus_bleu(texts, streams(references))
    assert bleu.value == pytest.approx(expected.score / 100)
    assert chrf.value == pytest.approx(
        sacrebleu.corpus_chrf(texts, streams(references)).score / 100
    )
    ratio = text_metrics.length_ratio(texts, references)
    assert ratio.value == pytest.approx(expected.sys_len / expected.ref_len)


def test_a_further_reference_helps_a_text_that_is_like_it():
    one = text_metrics.bleu(["fish at the inn is cheap"], [("the inn sells cheap fish",)])
    two = text_metrics.bleu(
        ["fish at the inn is cheap"], [("the inn sells cheap fish", "fish at the inn is cheap")]
    )

    assert two.value == pytest.approx(1.0)
    assert one.value < 0.5


def test_perfect_texts_get_everything_and_empty_ones_nothing():
    texts = [references[-1] for references in REFERENCES]
    perfect = {
        "bleu": text_metrics.bleu(texts, REFERENCES),
        "chrf": text_metrics.chrf(texts, REFERENCES),
        **{
            name: text_metrics.mean_score(scores.tolist())
            for name, scores in text_metrics.rouge_scores(texts, REFERENCES).items()
        },
    }
    for estimate in perfect.values():
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx((1.0, 1.0, 1.0))
        assert (estimate.num_scored, estimate.num_unscored) == (5, 0)

    nothing = text_metrics.bleu([""] * 5, REFERENCES)
    assert (nothing.value, nothing.num_scored, nothing.num_unscored) == (0.0, 0, 5)
    assert text_metrics.length_ratio(["", " "], REFERENCES[:2]).value == 0.0


def test_nothing_to_score_is_none_and_a_missing_reference_is_refused():
    assert text_metrics.bleu([], []) == metrics.NOTHING_SCORED
    assert text_metrics.mean_score([]) == metrics.NOTHING_SCORED
    with pytest.raises(ValueError, match="at least one reference"):
        text_metrics.chrf(["a"], [()])
    with pytest.raises(ValueError, match="got 1 for 2"):
        text_metrics.rouge_scores(["a", "b"], [("a",)])


def test_the_order_of_the_items_changes_no_figure():
    texts, references = random_items(30, seed=1)
    order = np.random.default_rng(0).permutation(30)
    shuffled = [texts[i] for i in order], [references[i] for i in order]

    for metric in (text_metrics.bleu, text_metrics.chrf, text_metrics.length_ratio):
        assert metric(texts, references) == metric(*shuffled)


def test_the_interval_of_bleu_covers_that_of_the_whole_set():
    """The items' corpus is drawn from 3000; its 95 % interval holds the whole set's BLEU."""
    texts, references = random_items(3000, seed=5)
    truth = text_metrics.bleu(texts, references).value
    covered = 0
    for begin in range(0, 3000, 60):
        part = slice(begin, begin + 60)
        estimate = text_metrics.bleu(texts[part], references[part])
        covered += estimate.low <= truth <= estimate.high
    assert covered >= 43  # of 50; a 95 % interval has fewer in less than 1 of 100 cases


def test_a_difference_of_scores_is_paired_and_its_p_value_that_of_all_flips():
    ours, theirs = [0.9, 0.5, 0.7, 0.2, 0.6, 0.8], [0.4, 0.5, 0.6, 0.3, 0.1, 0.2]
    gaps = np.subtract(ours, theirs)
    flips = np.array(np.meshgrid(*[[-1, 1]] * 6)).reshape(6, -1).T  # (64, 6): all of them
    exact = np.mean(np.abs(flips @ gaps) >= abs(gaps.sum()) - 1e-9)

    found = paired_score_difference(ours, theirs)

    assert found.value == pytest.approx(gaps.mean())
    assert found.p_value == pytest.approx(exact, abs=0.015)
    assert (found.wins, found.losses, found.num_items) == (4, 1, 6)
    back = paired_score_difference(theirs, ours)
    assert back.value == pytest.approx(-found.value)
    assert back.p_value == pytest.approx(found.p_value, abs=0.015)


def test_a_difference_of_scores_covers_the_true_one():
    generator = np.random.default_rng(2)
    covered = small = 0
    for seed in range(200):
        ours = generator.beta(3, 2, size=50)
        theirs = np.clip(ours - 0.05 + 0.2 * generator.standard_normal(50), -9, 9)
        found = paired_score_difference(ours, theirs, seed=seed, num_flips=1000)
        covered += found.low <= 0.05 <= found.high
        equal = paired_score_difference(theirs + 0.05, ours, seed=seed, num_flips=1000)
        small += equal.p_value < 0.05
    assert covered >= 178
    assert small <= 21  # 5 % of 200 is 10


def test_equal_scores_differ_by_nothing_and_one_item_has_no_interval():
    same = paired_score_difference([0.3, 0.7], [0.3, 0.7])
    assert (same.value, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)
    one = paired_score_difference([0.3], [0.1])
    assert (one.low, one.high, one.p_value) == (None, None, 1.0)
    assert paired_score_difference([], []).value is None


SCRIPTS = {
    "Russian": "\u0434\u043e\u043c, \u043c\u0438\u0440 \u0438 \u0434\u0440\u0443\u0433",
    "Greek": "\u03a4\u03bf \u03c3\u03c0\u03af\u03c4\u03b9 \u03bc\u03b1\u03c2",
    "Arabic": "\u0627\u0644\u0628\u064a\u062a \u0643\u0628\u064a\u0631 \u062c\u062f\u0627",
    "Hindi": "\u0918\u0930 \u092c\u0939\u0941\u0924 \u092c\u0921\u093c\u093e \u0939\u0948",
    "Chinese": "\u8fd9\u4e2a\u623f\u5b50\u5f88\u5927\u3002",
    "Japanese": "\u3053\u306e\u5bb6\u306f\u5927\u304d\u3044\u3067\u3059\u3002",
    "Thai": "\u0e1a\u0e49\u0e32\u0e19\u0e2b\u0e25\u0e31\u0e07\u0e43\u0e2b\u0e0d\u0e48",
    "Korean": "\uadf8 \uc9d1\uc740 \uc815\ub9d0 \ud06c\ub2e4",
    "French": "\u00c9t\u00e9 na\u00eff \u00e0 No\u00ebl d\u00e9j\u00e0",
    "emoji": "\U0001f44d\U0001f44e\U0001f680\U0001f308",
}
CYRILLIC = {letter: chr(0x430 + place) for place, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}


@pytest.mark.parametrize("text", SCRIPTS.values(), ids=SCRIPTS)
def test_an_equal_text_scores_1_in_any_script(text):
    found = text_metrics.rouge_scores([text], [(text,)])

    assert [values.tolist() for values in found.values()] == [[1.0]] * 3


@pytest.mark.parametrize("name", ["Russian", "Chinese", "Thai", "Japanese"])
def test_bleu_and_length_of_an_equal_text_are_1(name):
    items = [SCRIPTS[name]], [(SCRIPTS[name],)]

    assert text_metrics.bleu(*items).value == pytest.approx(1.0)
    assert text_metrics.length_ratio(*items).value == pytest.approx(1.0)


def test_another_alphabet_scores_as_its_transliteration():
    texts, references = random_items(20, seed=5)
    scorer = RougeScorer(["rougeL"], use_stemmer=False)

    def cyrillic(text: str) -> str:
        return "".join(CYRILLIC.get(letter, letter) for letter in text)

    found = text_metrics.rouge_scores(
        [cyrillic(text) for text in texts], [tuple(map(cyrillic, known)) for known in references]
    )

    expected = [
        max(scorer.score(one, text)["rougeL"].fmeasure for one in known)
        for text, known in zip(texts, references, strict=True)
    ]
    np.testing.assert_allclose(found["rouge_l"], expected)


def longest_common(first: str, second: str) -> int:
    """Return the length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for one in first:
        last = 0
        for place, other in enumerate(second, start=1):
            last, row[place] = (
                row[place],
                last + 1 if one == other else max(row[place], row[place - 1]),
            )
    return row[-1]


def test_a_script_without_spaces_is_compared_letter_by_letter():
    draw = random.Random(1)
    letters = "\u8fd9\u4e2a\u623f\u5b50\u5f88\u5927\u4e5f\u65b0"
    texts, references = (["".join(draw.choices(letters, k=9)) for _ in range(30)] for _ in range(2))

    found = text_metrics.rouge_scores(texts, [(reference,) for reference in references])

    expected = [longest_common(*pair) / 9 for pair in zip(texts, references, strict=True)]
    np.testing.assert_allclose(found["rouge_l"], expected)


def test_ascii_text_scores_as_the_library_scores_it():
    draw = random.Random(2)
    marks = "abcdeisng  _-.,'!09AZ"
    texts, references = (["".join(draw.choices(marks, k=60)) for _ in range(60)] for _ in range(2))
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)

    found = text_metrics.rouge_scores(texts, [(reference,) for reference in references])

    for ours, theirs in text_metrics.ROUGE_TYPES.items():
        expected = [
            scorer.score(reference, text)[theirs].fmeasure
            for reference, text in zip(references, texts, strict=True)
        ]
        np.testing.assert_array_equal(found[ours], expected)
