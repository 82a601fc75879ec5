"""Metrics of generated texts against references: ROUGE, BLEU and chrF by the field's libraries.

Texts and references in, an `Estimate` with its 95 % interval out; never a model. Every item has at
least one reference, and items may have different numbers of them. An empty text scores 0 and is
counted in `num_unscored`, so writing nothing never raises a figure. All figures are fractions from
0 to 1 (the libraries give BLEU and chrF from 0 to 100). N items; `seed` is that of the resampling.

Intervals are percentile bootstraps over items: Koehn 2004, https://aclanthology.org/W04-3250,
section 3. Words of any script are compared: of scripts that write none apart (Chinese, Japanese,
Thai and their like) each letter is one, and words of the Latin alphabet without accents are what
ROUGE's and BLEU's own tokenisers make of them.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer, Tokenizer
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from workbench.estimates import NOTHING_SCORED, Estimate
from workbench.metrics import NUM_RESAMPLES, percentile_interval
from workbench.scripts import spaced, words_of

ROUGE_TYPES = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}
"""Our names of the three variants to those of the library."""


class _AnyScript(Tokenizer):  # type: ignore[misc]  # rouge_score is not typed
    """ROUGE's own words of ASCII text, and the words of any other script."""

    def __init__(self) -> None:
        self._own = DefaultTokenizer(use_stemmer=True)

    def tokenize(self, text: str) -> list[str]:
        """Return the words of a text, those of plain Latin letters stemmed."""
        if text.isascii():
            return list(self._own.tokenize(text))
        found: list[str] = []
        for word in words_of(text):
            found += self._own.tokenize(word) if word.isascii() else [word]
        return found


def rouge_scores(
    texts: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, NDArray[np.float64]]:
    """Return F1 per item (N,) by name of the variant; of several references the best counts.

    With Porter stemming, as summarisation papers report it. ASCII text scores as the library
    scores it; its own tokenizer drops every other letter.

    Source: Lin 2004, https://aclanthology.org/W04-1013, sections 2 and 3; the library is Google's
    `rouge_score`.
    """
    _require_references(texts, references)
    scorer = RougeScorer(list(ROUGE_TYPES.values()), tokenizer=_AnyScript())
    found = [
        scorer.score_multi(list(known), text) for text, known in zip(texts, references, strict=True)
    ]
    return {
        name: np.array([scores[theirs].fmeasure for scores in found], dtype=np.float64)
        for name, theirs in ROUGE_TYPES.items()
    }


def mean_score(scores: Sequence[float], *, num_unscored: int = 0, seed: int = 0) -> Estimate:
    """Return the mean of scores per item from 0 to 1, with its interval.

    Args:
        scores: One per item, 0 for an item without an answer.
        num_unscored: Items without an answer.
        seed: What the resamples are drawn from.
    """
    rows = np.asarray(scores, dtype=np.float64)[:, np.newaxis]  # (N, 1)
    return _resampled(
        rows, lambda sums: float(sums[0]) / len(rows), num_unscored=num_unscored, seed=seed
    )


def bleu(texts: Sequence[str], references: Sequence[Sequence[str]], *, seed: int = 0) -> Estimate:
    """Return corpus BLEU with sacrebleu's default settings (13a tokens, exponential smoothing).

    Letters of scripts without spaces between words are tokens of their own, as in sacrebleu's
    settings for Chinese; its default takes a whole sentence for one.

    A resample adds up the items' counts of n-grams, so it is the corpus BLEU of the drawn items.

    Source: Papineni et al. 2002, https://aclanthology.org/P02-1040; settings: Post 2018,
    https://aclanthology.org/W18-6319.
    """
    return _corpus_score(BLEU(), *_spaced(texts, references), seed=seed)


def chrf(texts: Sequence[str], references: Sequence[Sequence[str]], *, seed: int = 0) -> Estimate:
    """Return corpus chrF2 with sacrebleu's default settings (characters 1 to 6, no words).

    Source: Popović 2015, https://aclanthology.org/W15-3049.
    """
    return _corpus_score(CHRF(), texts, references, seed=seed)


def length_ratio(
    texts: Sequence[str], references: Sequence[Sequence[str]], *, seed: int = 0
) -> Estimate:
    """Return the texts' length over that of their references, in BLEU's tokens; 1 is as long.

    Among several references the one closest in length counts, as in BLEU's brevity penalty. Not a
    fraction: it may pass 1.
    """
    rows = _statistics(BLEU(), *_spaced(texts, references))

    def ratio(sums: NDArray[np.float64]) -> float:
        return float(sums[0] / max(sums[1], 1.0))

    return _resampled(rows, ratio, num_unscored=_num_empty(texts), seed=seed)


def _corpus_score(
    metric: Metric, texts: Sequence[str], references: Sequence[Sequence[str]], *, seed: int
) -> Estimate:
    rows = _statistics(metric, texts, references)

    def score(sums: NDArray[np.float64]) -> float:
        found = metric._compute_score_from_stats(sums.astype(np.int64).tolist())
        return float(found.score) / 100

    return _resampled(rows, score, num_unscored=_num_empty(texts), seed=seed)


def _statistics(
    metric: Metric, texts: Sequence[str], references: Sequence[Sequence[str]]
) -> NDArray[np.float64]:
    """Return the counts of each item, (N, K), whose sums give the figure of a corpus.

    sacrebleu's own bootstrap uses the same two inner functions; a test holds the outcome against
    its public `corpus_score`.
    """
    _require_references(texts, references)
    if not texts:
        return np.zeros((0, 1))
    most = max(map(len, references))
    streams = [
        [known[place] if place < len(known) else None for known in references]
        for place in range(most)
    ]
    return np.array(metric._extract_corpus_statistics(list(texts), streams), dtype=np.float64)


def _resampled(
    rows: NDArray[np.float64],
    figure: Callable[[NDArray[np.float64]], float],
    *,
    num_unscored: int,
    seed: int,
) -> Estimate:
    """Return a figure of sums over items (N, K), and its interval from resampled items.

    The rows are sorted first, so that the order of the items changes nothing.
    """
    num_items = len(rows)
    if num_items == 0:
        return NOTHING_SCORED
    value = figure(rows.sum(axis=0))
    rows = rows[np.lexsort(rows.T)]
    drawn = np.random.default_rng(seed).multinomial(
        num_items, np.full(num_items, 1 / num_items), size=NUM_RESAMPLES
    )  # (resamples, N): how often each item was drawn
    figures = np.array([figure(sums) for sums in drawn @ rows])
    low, high = percentile_interval(figures, value, num_items=num_items)
    return Estimate(value, low, high, num_items - num_unscored, num_unscored)


def _spaced(
    texts: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[list[str], list[list[str]]]:
    """Return texts and references with what is written without spaces set apart."""
    return list(map(spaced, texts)), [list(map(spaced, known)) for known in references]


def _num_empty(texts: Sequence[str]) -> int:
    return sum(not text.strip() for text in texts)


def _require_references(texts: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Raise `ValueError` unless every text has references to be held against."""
    if len(texts) != len(references):
        raise ValueError(f"one list per text is needed, got {len(references)} for {len(texts)}")
    if not all(references):
        raise ValueError("every text needs at least one reference")
