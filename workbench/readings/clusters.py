"""Clusters: whether the vectors, and the tokens they point to, fall into groups of a meaning.

Source: Lester et al. 2021, https://arxiv.org/abs/2104.08691, section 7: the nearest tokens of
learned vectors form tight clusters of a meaning, those of random vectors do not.
Differs from the source: measured, and held against random vectors and real tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from workbench.models.sentence_encoder import SentenceEncoder, find_sentence_encoder
from workbench.options import FREE, option
from workbench.presentation.blocks import Cell, Line, Lines, Table
from workbench.presentation.reading import NO_BETTER, Reading, Standing
from workbench.readings.base import NUM_RANDOM, Cost, Kind, Subject
from workbench.readings.vectors.chance import control_draws, standing
from workbench.readings.vectors.clustering import (
    MIN_ROWS,
    Clustering,
    agreement,
    by_density,
    k_means,
    stability,
)
from workbench.readings.vectors.neighbours import Neighbours, Vocabulary, nearest
from workbench.readings.vectors.projection import directions
from workbench.readings.vectors.prompt import random_prompts

_CENTRAL = 5  # tokens that name a cluster
_WORDS = 300  # English words of which one is guessed as a meaning; the model reads 50 a second
_FREQUENT_TOKENS = 20_000  # byte-pair vocabularies list frequent tokens first
_SHORTEST_WORD = 4  # letters; shorter tokens are mostly parts of words
_MEANT = 20  # tokens of a cluster whose meaning is averaged, at most
_RANDOM, _REAL = "random vectors of the same norms", "real tokens"
_NOTES = [
    "k-means always finds clusters, in noise too: only a silhouette beyond that of random vectors "
    "and of as many real tokens says that the vectors form groups.",
    "Rows are compared by direction, after subtracting the mean embedding. The number of clusters, "
    "2 to 8, is the one with the largest silhouette, for controls as well.",
    "The tokens near a vector are alike because tokens are; so they cluster for real tokens too.",
]
_GUESS = "guessed meaning"
_GUESS_NOTE = (
    f"The guess is the word, among {_WORDS} drawn from frequent English tokens, that a sentence "
    "model puts nearest to the cluster's tokens; there is always one, right or not."
)


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """Clusters of the vectors and of their nearest tokens, beside those of chance."""

    title: ClassVar[str] = "Clusters"
    summary: ClassVar[str] = "whether vectors and their nearest tokens fall into groups"
    kind: ClassVar[Kind] = "vectors"
    cost: ClassVar[Cost] = "seconds"
    needs_base: ClassVar[bool] = False

    k: int = option(
        5, minimum=2, maximum=20, public=FREE, help="How many nearest tokens each vector brings."
    )
    meaning: bool = option(True, help="Guess a word for each cluster with a sentence model.")
    seed: int = option(
        0,
        minimum=0,
        public=FREE,
        help="The number that decides what is drawn: k-means, the controls and the words.",
    )

    def read(self, subject: Subject) -> Reading:
        """Return the clusters with their standing."""
        vectors, vocabulary = subject.soft_prompt.vectors, subject.vocabulary
        if len(vectors) < MIN_ROWS:
            return self._without(
                f"Too few vectors to cluster: {len(vectors)}; at least {MIN_ROWS} are needed."
            )
        groups = _Groups.of(vocabulary, vectors, k=self.k, seed=self.seed)
        found = groups.vectors.found
        if found is None:
            return self._without("No clusters: all the vectors point the same way.")
        controls = self._controls(subject)
        standings = _standings("vectors", groups.vectors, [c.vectors for c in controls])
        standings += _standings("nearest tokens", groups.tokens, [c.tokens for c in controls])
        naming = _Naming.of(vocabulary, seed=self.seed) if self.meaning else None
        return Reading(
            name="clusters",
            title=self.title,
            verdict=_verdict(found, standings),
            standings=standings,
            charts=[_chart(found, controls)],
            tables=[
                _vector_table(vocabulary, groups, found, naming),
                *_token_table(vocabulary, groups, naming),
                _certainty_table(groups, seed=self.seed),
            ],
            notes=_NOTES,
            data={
                "labels": found.labels.tolist(),
                "silhouette": found.silhouette,
                "stability": groups.vectors.stability(seed=self.seed),
            },
        )

    def _without(self, verdict: str) -> Reading:
        return Reading(name="clusters", title=self.title, verdict=verdict, notes=_NOTES)

    def _controls(self, subject: Subject) -> list["_Groups"]:
        """Return the groups of random vectors, and of as many real tokens, each drawn 19 times."""
        vectors, vocabulary = subject.soft_prompt.vectors, subject.vocabulary
        generator = control_draws(vectors, seed=self.seed)
        found = []
        for number, random in enumerate(random_prompts(vectors, NUM_RANDOM, seed=self.seed)):
            subject.step("clusters of random vectors and of tokens", number, NUM_RANDOM)
            size = len(vectors)
            # Only a vocabulary smaller than the prompt is drawn from with repetition.
            is_small = size > len(vocabulary.ordinary_ids)
            tokens = generator.choice(vocabulary.ordinary_ids, size, replace=is_small)
            found += [
                _Groups.of(vocabulary, v, k=self.k, seed=self.seed, control=control)
                for v, control in ((random, _RANDOM), (vocabulary.embeddings[tokens], _REAL))
            ]
        subject.step("clusters of random vectors and of tokens", NUM_RANDOM, NUM_RANDOM)
        return found


@dataclass(frozen=True, eq=False)
class _Group:
    """Directions (n, D) and their clusters, or None where there can be none."""

    rows: np.ndarray
    found: Clustering | None
    control: str

    @classmethod
    def of(cls, vocabulary: Vocabulary, rows: np.ndarray, *, seed: int, control: str) -> "_Group":
        rows = directions(rows, vocabulary.mean)
        return cls(rows, k_means(rows, seed=seed) if len(rows) >= MIN_ROWS else None, control)

    @property
    def silhouette(self) -> float | None:
        return None if self.found is None else self.found.silhouette

    def stability(self, *, seed: int) -> float | None:
        return (
            None if self.found is None else stability(self.rows, self.found.num_clusters, seed=seed)
        )

    def centre(self, members: np.ndarray) -> np.ndarray:
        """Return (D,) the mean direction of some of the rows."""
        centre: np.ndarray = self.rows[members].mean(axis=0)
        return centre


@dataclass(frozen=True, eq=False)
class _Groups:
    """Vectors and the tokens they point to: neighbours (P, k), and each token once."""

    vectors: _Group
    tokens: _Group
    near: Neighbours
    token_ids: np.ndarray

    @classmethod
    def of(
        cls,
        vocabulary: Vocabulary,
        vectors: np.ndarray,
        *,
        k: int,
        seed: int,
        control: str = "",
    ) -> "_Groups":
        near = nearest(vocabulary, vectors, k=k, measures=("centred",))["centred"]
        ids = np.unique(near.ids)
        return cls(
            _Group.of(vocabulary, vectors, seed=seed, control=control),
            _Group.of(vocabulary, vocabulary.embeddings[ids], seed=seed, control=control),
            near,
            ids,
        )


def _standings(what: str, group: _Group, controls: Sequence[_Group]) -> list[Standing]:
    """Return the silhouette beside that of random vectors, and of real tokens."""
    if group.silhouette is None:
        return []
    found = []
    for control in (_RANDOM, _REAL):
        others = [
            c.silhouette for c in controls if c.control == control and c.silhouette is not None
        ]
        if others:
            found.append(standing(f"silhouette of the {what}", group.silhouette, control, others))
    return found


@dataclass(frozen=True, eq=False)
class _Naming:
    """Guesses a word for what texts have in common; `places` (W, E) are the words' meanings."""

    encoder: SentenceEncoder
    words: list[str]
    places: np.ndarray

    @classmethod
    def of(cls, vocabulary: Vocabulary, *, seed: int) -> "_Naming | None":
        """Return None where there is no sentence model, or the tokens hold no words."""
        frequent = vocabulary.ordinary_ids[:_FREQUENT_TOKENS]
        texts = (vocabulary.tokens[i] for i in frequent)
        words = sorted({text[1:] for text in texts if _is_word(text)})
        encoder = find_sentence_encoder() if words else None
        if encoder is None:
            return None
        size = min(_WORDS, len(words))
        drawn = np.random.default_rng(seed).choice(len(words), size, replace=False)
        words = [words[i] for i in drawn]
        return cls(encoder, words, encoder.encode(words))

    def guess(self, tokens: Sequence[str]) -> str:
        """Return the word nearest to the mean meaning of tokens, both less the words' mean."""
        texts = [token.replace("\N{OPEN BOX}", " ").strip() for token in tokens[:_MEANT]]
        origin = self.places.mean(axis=0)
        meant = self.encoder.encode([text for text in texts if text] or [""]).mean(axis=0)
        scores = directions(self.places, origin) @ (meant - origin)
        return self.words[int(scores.argmax())]


def _is_word(token: str) -> bool:
    """Return whether a token is a whole lower-case word as it stands after a space."""
    word = token[1:]
    is_plain = word.isascii() and word.isalpha() and word.islower()
    return token[:1] == "\N{OPEN BOX}" and len(word) >= _SHORTEST_WORD and is_plain


def _verdict(found: Clustering, standings: Sequence[Standing]) -> str:
    vectors = [s for s in standings if s.what == "silhouette of the vectors"]
    is_better = {s.control: s.is_better for s in vectors}
    value = found.silhouette or 0.0
    if not is_better.get(_RANDOM, False):
        # Nor are the tokens judged: two questions in turn are asked at 5 % together, not each.
        return (
            f"{NO_BETTER.capitalize()}: random vectors of the same norms fall into clusters as "
            f"clear as these (silhouette {value:.2f})."
        )
    clusters = f"{found.num_clusters} clusters of vectors (silhouette {value:.2f})"
    if not is_better.get(_REAL, False):
        text = (
            f"{clusters}: clearer than those of random vectors, but {NO_BETTER} beside as many "
            "real tokens drawn at random."
        )
    else:
        text = f"{clusters}: better than chance, beside random vectors and real tokens alike."
    tokens = [s for s in standings if s.what == "silhouette of the nearest tokens"]
    if not tokens:
        return f"{text} The nearest tokens are too few to cluster."
    judged = "better than chance" if all(s.is_better for s in tokens) else NO_BETTER
    return f"{text} Clusters of the nearest tokens: {judged}."


def _chart(found: Clustering, controls: Sequence[_Groups]) -> Lines:
    lines = [
        Line(name="the prompt", x=list(map(float, found.by_count)), y=[*found.by_count.values()])
    ]
    for control in (_RANDOM, _REAL):
        tried = [
            c.vectors.found.by_count
            for c in controls
            if c.vectors.control == control and c.vectors.found is not None
        ]
        counts = [n for n in found.by_count if tried and all(n in scores for scores in tried)]
        scores = np.array([[one[n] for n in counts] for one in tried])
        if counts:
            low, median, high = np.percentile(scores, [5, 50, 95], axis=0).tolist()
            x = list(map(float, counts))
            lines.append(Line(name=control, x=x, y=median, low=low, high=high))
    return Lines(
        title="How clear the clusters are",
        x="number of clusters",
        y="silhouette",
        lines=lines,
        note=f"Controls: median and 5 to 95 % of {NUM_RANDOM} draws.",
    )


def _rows(
    naming: _Naming | None,
    found: Clustering,
    shown: Callable[[int], list[Cell]],
    tokens_of: Callable[[int], list[str]],
) -> list[list[Cell]]:
    """Return a row for each cluster: size, what is shown of it, and the guess."""
    rows: list[list[Cell]] = []
    for cluster in range(found.num_clusters):
        row: list[Cell] = [cluster, len(found.members(cluster)), *shown(cluster)]
        guess: list[Cell] = [] if naming is None else [naming.guess(tokens_of(cluster))]
        rows.append(row + guess)
    return rows


def _vector_table(
    vocabulary: Vocabulary, groups: _Groups, found: Clustering, naming: _Naming | None
) -> Table:
    def central(cluster: int) -> list[str]:
        centre = (groups.vectors.centre(found.members(cluster)) + vocabulary.mean)[None]
        near = nearest(vocabulary, centre, k=_CENTRAL, measures=("centred",))["centred"]
        return [vocabulary.tokens[i] for i in near.ids[0]]

    def shown(cluster: int) -> list[Cell]:
        return [", ".join(map(str, found.members(cluster))), "  ".join(central(cluster))]

    def tokens_of(cluster: int) -> list[str]:
        ids = groups.near.ids[found.members(cluster)].T.ravel().tolist()
        return [vocabulary.tokens[i] for i in dict.fromkeys(ids)]

    guess = [] if naming is None else [_GUESS]
    return Table(
        title="Clusters of the vectors",
        columns=["cluster", "vectors", "which", "most central tokens", *guess],
        rows=_rows(naming, found, shown, tokens_of),
        note="" if naming is None else _GUESS_NOTE,
    )


def _token_table(vocabulary: Vocabulary, groups: _Groups, naming: _Naming | None) -> list[Table]:
    found = groups.tokens.found
    if found is None:
        return []

    def tokens_of(cluster: int) -> list[str]:
        members = found.members(cluster)
        order = np.argsort(-(groups.tokens.rows[members] @ groups.tokens.centre(members)))
        return [vocabulary.tokens[i] for i in groups.token_ids[members[order]]]

    def shown(cluster: int) -> list[Cell]:
        return ["  ".join(tokens_of(cluster)[:_CENTRAL])]

    guess = [] if naming is None else [_GUESS]
    table = Table(
        title="Clusters of the tokens they point to",
        columns=["cluster", "tokens", "most central tokens", *guess],
        rows=_rows(naming, found, shown, tokens_of),
        note="" if naming is None else _GUESS_NOTE,
    )
    return [table]


def _certainty_table(groups: _Groups, *, seed: int) -> Table:
    rows: list[list[Cell]] = []
    for name, group in (("vectors", groups.vectors), ("nearest tokens", groups.tokens)):
        if group.found is None or group.silhouette is None:
            continue
        stable = group.stability(seed=seed)
        dense = by_density(group.rows)
        rows.append(
            [
                name,
                group.found.num_clusters,
                round(group.silhouette, 3),
                None if stable is None else round(stable, 3),
                dense.num_clusters,
                round(100 * float((dense.labels < 0).mean()), 1),
                round(agreement(group.found.labels, dense.labels), 3),
            ]
        )
    return Table(
        title="How sure the clusters are",
        columns=[
            "of",
            "clusters (k-means)",
            "silhouette",
            "same over seeds",
            "clusters (HDBSCAN)",
            "left out, %",
            "both agree",
        ],
        rows=rows,
        note="Agreement is the adjusted Rand index: 1 if clusters are the same, about 0 by chance.",
    )
