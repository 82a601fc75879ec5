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
