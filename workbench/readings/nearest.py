"""Nearest tokens: which words each vector lies closest to, and how much that says.

Source: Lester et al. 2021, https://arxiv.org/abs/2104.08691, section 7, who read prompts so; the
cautions: Khashabi et al. 2022, https://arxiv.org/abs/2112.08348; Bailey et al. 2023, "Soft
prompting might be a bug, not a feature", https://openreview.net/forum?id=MHWDdMEJ5s.
"""

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from workbench.options import FREE, option
from workbench.presentation.blocks import Cell, Table
from workbench.presentation.reading import LEVEL, Reading, Standing
from workbench.readings.base import NUM_RANDOM, Cost, Kind, Subject, evenly_spaced
from workbench.readings.vectors.chance import control_draws, percentiles, standing
from workbench.readings.vectors.neighbours import Measure, Neighbours, Vocabulary, near_any, nearest
from workbench.readings.vectors.prompt import SoftPrompt, random_prompts

_REAL = 100  # held-out tokens that single vectors are compared with
_JUDGED = 5  # vectors of a prompt whose mean is judged: those of 19 controls are a look
_FIRST_LOOK = 6000  # tokens that rule out that another is among the nearest
_NOTES = [
    "The nearest token is where a vector lies, not what it means: a prompt can be trained to lie "
    "next to any sentence and still do its task (Khashabi et al. 2022).",
    "Cosines are taken after subtracting the mean embedding, because all tokens of a vocabulary "
    "point in similar directions.",
    f"The mean closeness is that of up to {_JUDGED} vectors, evenly spaced over the prompt, and "
    f"over each of {NUM_RANDOM} random prompts.",
    "A vector that still reads as the token it started from shows its start, not learning.",
]


@dataclass(frozen=True, kw_only=True)
class NearestTokens:
    """The k nearest tokens of each vector by three measures, beside random and real vectors."""

    title: ClassVar[str] = "Nearest tokens"
    summary: ClassVar[str] = "which tokens each vector lies closest to, and how much that says"
    kind: ClassVar[Kind] = "vectors"
    cost: ClassVar[Cost] = "instant"
    needs_base: ClassVar[bool] = False

    k: int = option(
        5, minimum=2, maximum=50, public=FREE, help="How many tokens are listed for each vector."
    )
    seed: int = option(
        0, minimum=0, public=FREE, help="The number that decides the random vectors."
    )

    def read(self, subject: Subject) -> Reading:
        """Return the nearest tokens with their standing."""
        prompt, vocabulary = subject.soft_prompt, subject.vocabulary
        found = nearest(vocabulary, prompt.vectors, k=self.k)
        centred = found["centred"]
        judged = evenly_spaced(len(prompt), _JUDGED)
        random = self._random(vocabulary, prompt, judged)
        generator = control_draws(prompt.vectors, seed=self.seed)
        real = _real(vocabulary, generator.choice(vocabulary.ordinary_ids, _REAL))
        closeness = centred.values[:, 0]
        facts = _SlotFacts.of(vocabulary, prompt, centred)
        standings = [
            standing(
                f"mean closeness of {len(judged)} vectors to a token",
                float(closeness[judged].mean()),
                "random vectors of the same norms",
                random.mean(axis=1),
            )
        ]
        words = self._word_standing(subject, centred.ids, generator)
        if words is not None:
            standings.append(words)
        percentile = {
            "random": percentiles(closeness, random),
            "real": percentiles(closeness, real),
        }
        return Reading(
            name="nearest",
            title=self.title,
            verdict=_verdict(standings[0], facts, percentile["random"]),
            standings=standings,
            tables=[
                _slot_table(vocabulary, prompt, centred, facts, percentile),
                _measure_table(vocabulary, found),
                *_duplicates(vocabulary, centred),
                *_shared_with_others(vocabulary, subject, centred, k=self.k),
            ],
            notes=_NOTES,
            data={
                "nearest": [[int(i) for i in row] for row in centred.ids],
                "centred_cosine": closeness.tolist(),
                "percentile_of_random": percentile["random"].tolist(),
                "percentile_of_real": percentile["real"].tolist(),
            },
        )

    def _random(self, vocabulary: Vocabulary, prompt: SoftPrompt, judged: list[int]) -> np.ndarray:
        """Return (19, n) the closeness of the n judged vectors of random prompts."""
        drawn = random_prompts(prompt.vectors, NUM_RANDOM, seed=self.seed)
        vectors = np.concatenate([one[judged] for one in drawn])
        near = nearest(vocabulary, vectors, k=2, measures=("centred",))["centred"]
        return near.values[:, 0].reshape(NUM_RANDOM, len(judged))

    def _word_standing(
        self, subject: Subject, ids: np.ndarray, generator: np.random.Generator
    ) -> Standing | None:
        """Return how many vectors are near a word of the task, beside as many real tokens.

        Args:
            subject: What is read.
            ids: (P, k) nearest tokens.
            generator: What the tokens are drawn from.
        """
        vocabulary, words = subject.vocabulary, set(subject.task_words)
        if not words:
            return None
        ordinary = vocabulary.ordinary_ids
        wanted = np.array([i for i in ordinary if vocabulary.words[i] in words], dtype=int)
        drawn = generator.choice(ordinary, (NUM_RANDOM, len(ids)))
        near = near_any(vocabulary, drawn.ravel(), wanted, k=self.k, first_look=_FIRST_LOOK)
        return standing(
            "share of vectors near a word of the task",
            float(np.isin(ids, wanted).any(axis=1).mean()),
            "real tokens",
            near.reshape(drawn.shape).mean(axis=1),
        )


@dataclass(frozen=True, eq=False)
class _SlotFacts:
    """What is known of each slot besides its neighbours; None where the start is not known."""

    norms: np.ndarray
    norm_percentiles: np.ndarray
    moved: np.ndarray | None
    started_as: np.ndarray | None
    reads_as_start: np.ndarray | None

    @classmethod
    def of(cls, vocabulary: Vocabulary, prompt: SoftPrompt, centred: Neighbours) -> "_SlotFacts":
        norms = np.linalg.norm(prompt.vectors, axis=1)
        places = vocabulary.norm_percentiles(prompt.vectors)
        if prompt.start is None or prompt.start.shape != prompt.vectors.shape:
            return cls(norms, places, None, None, None)
        moved = np.linalg.norm(prompt.vectors - prompt.start, axis=1)
        moved = moved / np.maximum(np.linalg.norm(prompt.start, axis=1), 1e-12)
        started = nearest(vocabulary, prompt.start, k=2, measures=("distance",))["distance"]
        is_token = started.values[:, 0] < 1e-3 * np.maximum(norms, 1e-12)
        started_as = np.where(is_token, started.ids[:, 0], -1)
        return cls(norms, places, moved, started_as, started_as == centred.ids[:, 0])


def _real(vocabulary: Vocabulary, ids: np.ndarray) -> np.ndarray:
    """Return (n,) how close each of the tokens is to the nearest other one."""
    found = nearest(vocabulary, vocabulary.embeddings[ids], k=2, measures=("centred",), without=ids)
    values: np.ndarray = found["centred"].values[:, 0]
    return values


def _verdict(closeness: Standing, facts: _SlotFacts, percentile: np.ndarray) -> str:
    size = len(percentile)
    if not closeness.is_better:
        return (
            "No better than chance: the vectors lie no closer to any token than random vectors of "
            "the same norms do, so their nearest tokens say nothing."
        )
    share = 100 * (1 - LEVEL)
    beyond = int((percentile > share).sum())
    text = (
        f"{beyond} of {size} vectors lie closer to a token than {share:g} % of random vectors "
        f"(about {LEVEL * size:.1f} would by chance; mean closeness: p = {closeness.p_value:.2g})."
    )
    if facts.reads_as_start is not None:
        kept = int(facts.reads_as_start.sum())
        text += (
            f" {kept} of them still read as the token they started from, which is the start and "
            "not learning."
        )
    return text


def _slot_table(
    vocabulary: Vocabulary,
    prompt: SoftPrompt,
    centred: Neighbours,
    facts: _SlotFacts,
    percentile: dict[str, np.ndarray],
) -> Table:
    num_random = NUM_RANDOM * min(len(prompt), _JUDGED)
    rows: list[list[Cell]] = []
    for slot in range(len(prompt)):
        started = None if facts.started_as is None else int(facts.started_as[slot])
        rows.append(
            [
                slot,
                "  ".join(vocabulary.tokens[i] for i in centred.ids[slot]),
                round(float(centred.values[slot, 0]), 3),
                round(float(percentile["random"][slot]), 1),
                round(float(percentile["real"][slot]), 1),
                round(float(centred.margins[slot]), 3),
                round(float(facts.norms[slot]), 3),
                round(float(facts.norm_percentiles[slot]), 1),
                vocabulary.tokens[started] if started is not None and started >= 0 else None,
                None if facts.moved is None else round(100 * float(facts.moved[slot]), 1),
            ]
        )
    return Table(
        title="Vectors",
        columns=[
            "vector",
            "nearest tokens",
            "centred cosine",
            "percentile of random",
            "percentile of real tokens",
            "margin to second",
            "norm",
            "norm percentile",
            "started as",
            "moved, % of start",
        ],
        rows=rows,
        note=f"Percentiles: the share of {num_random} random vectors, of {_REAL} held-out real "
        "tokens, and of the norms of the vocabulary, that lie below.",
        slots=list(range(len(prompt))),
    )


def _measure_table(vocabulary: Vocabulary, found: dict[Measure, Neighbours]) -> Table:
    names: dict[Measure, str] = {
        "centred": "centred cosine",
        "cosine": "cosine",
        "distance": "distance",
    }
    size = len(found["centred"].ids)
    rows: list[list[Cell]] = []
    for slot in range(size):
        row: list[Cell] = [slot]
        for measure in names:
            ids, values = found[measure].ids[slot], found[measure].values[slot]
            row += [
                "  ".join(
                    f"{vocabulary.tokens[i]} {value:.2f}"
                    for i, value in zip(ids, values, strict=True)
                )
            ]
        rows.append(row)
    return Table(
        title="By measure",
        columns=["vector", *names.values()],
        rows=rows,
        slots=list(range(size)),
    )


def _duplicates(vocabulary: Vocabulary, centred: Neighbours) -> list[Table]:
    counts = Counter(int(i) for i in centred.ids[:, 0])
    rows: list[list[Cell]] = [
        [
            vocabulary.tokens[token],
            count,
            ", ".join(map(str, np.flatnonzero(centred.ids[:, 0] == token))),
        ]
        for token, count in counts.most_common()
        if count > 1
    ]
    note = "Several vectors at one token: room the prompt did not need (Lester et al. 2021)."
    columns = ["token", "vectors", "which"]
    return (
        [Table(title="Shared nearest tokens", columns=columns, rows=rows, note=note)]
        if rows
        else []
    )


def _shared_with_others(
    vocabulary: Vocabulary, subject: Subject, centred: Neighbours, *, k: int
) -> list[Table]:
    """Return how many neighbours another prompt has too: another seed's is a control."""
    rows: list[list[Cell]] = []
    mine = set(centred.ids.ravel().tolist())
    for other in subject.others:
        theirs = nearest(vocabulary, other.vectors, k=k, measures=("centred",))["centred"]
        shared = mine & set(theirs.ids.ravel().tolist())
        union = len(mine | set(theirs.ids.ravel().tolist()))
        words = "  ".join(vocabulary.tokens[i] for i in sorted(shared)[:12])
        rows.append([other.name, other.task, len(shared), round(len(shared) / union, 3), words])
    columns = ["prompt", "task", "tokens shared", "Jaccard index", "which"]
    note = "Prompts that started from the same tokens share those without having learned anything."
    return (
        [Table(title="Shared with other prompts", columns=columns, rows=rows, note=note)]
        if rows
        else []
    )
