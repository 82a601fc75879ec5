"""The map: vectors, their path and the vocabulary in one plane, and how far off tokens they lie.

Source: soft prompts lie apart from the tokens: Bailey et al. 2023, "Soft prompting might be a bug,
not a feature", https://openreview.net/forum?id=MHWDdMEJ5s.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from workbench.options import FREE, option
from workbench.presentation.blocks import Layer, Map, Point, Table
from workbench.presentation.reading import NO_BETTER, Reading, Standing
from workbench.progress import ProgressEvent
from workbench.readings.base import NUM_RANDOM, Cost, Kind, Subject
from workbench.readings.vectors.chance import control_draws, percentiles, standing
from workbench.readings.vectors.neighbours import Neighbours, Vocabulary, nearest
from workbench.readings.vectors.projection import (
    MAX_TOKENS,
    METHODS,
    Method,
    Projection,
    project,
)
from workbench.readings.vectors.projection_process import project_apart
from workbench.readings.vectors.prompt import SoftPrompt, random_like, random_prompts

_FREQUENT_TOKENS = 5000  # byte-pair vocabularies list frequent tokens first
_LABELLED = 3  # nearest tokens of each vector that are always on the map
_STEPS = 20  # of a vector's path, at most
_PATH_POINTS = 1000  # of all paths together, at most
_NAMES: dict[Method, str] = {"pca": "PCA", "umap": "UMAP", "tsne": "t-SNE"}
_NOTES = [
    "Distances in the picture are not distances in the space: hundreds of dimensions do not fit "
    "into two. The table gives the distances in the space.",
    "UMAP and t-SNE compare directions only, and put every vector beside its nearest tokens "
    "however far off these are; principal components show lengths too.",
    "Random vectors of the same norms are drawn as a control: a pattern that they show too is not "
    "learned.",
]


@dataclass(frozen=True, kw_only=True)
class VocabularyMap:
    """Vectors and vocabulary projected together, beside random vectors and other prompts."""

    title: ClassVar[str] = "Map"
    summary: ClassVar[str] = "where the vectors lie among the tokens, and how they got there"
    kind: ClassVar[Kind] = "vectors"
    cost: ClassVar[Cost] = "seconds"
    needs_base: ClassVar[bool] = False

    method: str = option("umap", choices=METHODS, help="How many dimensions are flattened to two.")
    tokens: int = option(
        3000,
        minimum=100,
        maximum=MAX_TOKENS,
        public=(3000, 4000),
        help="How many tokens of the vocabulary are on the map.",
    )
    seed: int = option(
        0,
        minimum=0,
        public=FREE,
        help="The number that decides the tokens, the random vectors and the picture.",
    )
    path: bool = option(True, help="Draw how each vector moved from its start.")

    def read(self, subject: Subject) -> Reading:
        """Return the map, and the distances to the nearest tokens with their standing."""
        prompt, vocabulary = subject.soft_prompt, subject.vocabulary
        near = nearest(vocabulary, prompt.vectors, k=_LABELLED, measures=("centred", "distance"))
        distances = _Distances.of(vocabulary, prompt, near["distance"], seed=self.seed)
        picture = _Picture.of(
            subject,
            near["centred"],
            steps=_path(prompt) if self.path else [],
            num_tokens=self.tokens,
            seed=self.seed,
        )
        method = next(known for known in METHODS if known == self.method)
        projected = self._projected(subject, picture, method)
        return Reading(
            name="map",
            title=self.title,
            verdict=_verdict(distances),
            standings=[distances.standing],
            charts=[
                Map(
                    title="Vectors among the tokens",
                    method=_NAMES[method],
                    layers=picture.layers(projected),
                    note=_faithfulness(projected),
                )
            ],
            tables=[_table(vocabulary, near["distance"], distances)],
            notes=_NOTES,
            data={
                "trustworthiness": projected.fidelity,
                "trustworthiness_rows": projected.num_compared,
                "distance": distances.values.tolist(),
                "percentile_of_random": distances.of_random.tolist(),
                "percentile_of_real": distances.of_real.tolist(),
            },
        )

    def _projected(self, subject: Subject, picture: "_Picture", method: Method) -> Projection:
        """Return the places; all but the quick method in a process of its own."""
        tokens = subject.vocabulary.embeddings[picture.token_ids]
        vectors = np.concatenate([group.vectors for group in picture.groups])
        if method == "pca":
            return project(tokens, vectors, method=method, seed=self.seed)
        stage = f"map by {_NAMES[method]}"
        subject.step(stage, 0, 1)

        def waiting(seconds: float) -> None:
            subject.progress(ProgressEvent(stage, 0, 1, {"seconds": round(seconds)}))

        found = project_apart(
            tokens,
            vectors,
            method=method,
            seed=self.seed,
            should_stop=subject.should_stop,
            waiting=waiting,
        )
        subject.step(stage, 1, 1)
        return found


@dataclass(frozen=True, eq=False)
class _Distances:
    """Distances to the nearest token in the space, beside random vectors' and real tokens'.

    Attributes:
        values: (P,) of the prompt's vectors.
        of_random: (P,) share of random vectors (0 to 100) that are nearer to a token.
        of_real: (P,) share of real tokens that are nearer to another token.
        standing: Where the mean stands among means of random vectors.
        real_high: 95th percentile of the mean among as many real tokens, drawn 19 times.
    """

    values: np.ndarray
    of_random: np.ndarray
    of_real: np.ndarray
    standing: Standing
    real_high: float

    @classmethod
    def of(
        cls, vocabulary: Vocabulary, prompt: SoftPrompt, near: Neighbours, *, seed: int
    ) -> "_Distances":
        drawn = random_prompts(prompt.vectors, NUM_RANDOM, seed=seed)
        random = np.stack([_nearest_distance(vocabulary, vectors, None) for vectors in drawn])
        generator = control_draws(prompt.vectors, seed=seed)
        held_out = generator.choice(vocabulary.ordinary_ids, (NUM_RANDOM, len(prompt)))
        real = np.stack(
            [_nearest_distance(vocabulary, vocabulary.embeddings[ids], ids) for ids in held_out]
        )
        values = near.values[:, 0]
        return cls(
            values=values,
            of_random=percentiles(values, random),
            of_real=percentiles(values, real),
            standing=standing(
                "mean distance to the nearest token",
                float(values.mean()),
                "random vectors of the same norms",
                random.mean(axis=1),
                low_is_better=True,
            ),
            real_high=float(np.percentile(real.mean(axis=1), 95)),
        )


def _nearest_distance(
    vocabulary: Vocabulary, vectors: np.ndarray, without: np.ndarray | None
) -> np.ndarray:
    """Return (n,) distances to the nearest token, leaving one out for each where it is given."""
    found = nearest(vocabulary, vectors, k=2, measures=("distance",), without=without)
    values: np.ndarray = found["distance"].values[:, 0]
    return values


@dataclass(frozen=True, eq=False)
class _Group:
    """Vectors (n, D) that share a layer, with what is shown at each and about each."""

    layer: Layer
    vectors: np.ndarray

    @classmethod
    def of(
        cls,
        layer: Layer,
        vectors: np.ndarray,
        about: Callable[[int], str],
        *,
        slots: list[int] | None = None,
        has_text: bool = False,
    ) -> "_Group":
        """Make a group whose points have no place yet."""
        points = [
            Point(
                x=0.0,
                y=0.0,
                text=str(i) if has_text else "",
                about=about(i),
                slot=None if slots is None else slots[i],
            )
            for i in range(len(vectors))
        ]
        return cls(layer.model_copy(update={"points": points}), vectors)


@dataclass(frozen=True, eq=False)
class _Picture:
    """What is on the map: tokens, those to label, and groups of vectors from bottom to top."""

    vocabulary: Vocabulary
    token_ids: np.ndarray
    labelled: frozenset[int]
    groups: list[_Group]

    @classmethod
    def of(
        cls,
        subject: Subject,
        near: Neighbours,
        *,
        steps: list[tuple[str, np.ndarray]],
        num_tokens: int,
        seed: int,
    ) -> "_Picture":
        prompt, vocabulary = subject.soft_prompt, subject.vocabulary
        named = list(dict.fromkeys(near.ids.T.ravel().tolist()))[:MAX_TOKENS]
        tokens = _sample(vocabulary, named, num_tokens, seed=seed)
        control = Layer(name="random vectors of the same norms", role="control", points=[])
        groups = [
            _Group.of(
                control,
                random_like(prompt.vectors, seed=seed),
                lambda slot: f"random vector with the norm of vector {slot}",
            )
        ]
        for other in subject.others:
            layer = Layer(name=other.name, role="other", points=[])
            groups.append(_Group.of(layer, other.vectors, _numbered(f"{other.name}: vector")))
        groups += _path_groups(steps, len(prompt))

        def about(slot: int) -> str:
            return f"vector {slot}: {'  '.join(vocabulary.tokens[i] for i in near.ids[slot])}"

        layer = Layer(name=prompt.name, role="prompt", points=[])
        slots = list(range(len(prompt)))
        groups.append(_Group.of(layer, prompt.vectors, about, slots=slots, has_text=True))
        return cls(vocabulary, tokens, frozenset(named), groups)

    def layers(self, projected: Projection) -> list[Layer]:
        """Return the layers with every point at its place, from bottom to top."""
        background, labelled = [], []
        for token, (x, y) in zip(self.token_ids.tolist(), projected.tokens.tolist(), strict=True):
            text = self.vocabulary.tokens[token]
            if token in self.labelled:
                labelled.append(Point(x=x, y=y, text=text, about=text))
            else:
                background.append(Point(x=x, y=y, about=text))
        placed, first = [], 0
        for group in self.groups:
            places = projected.vectors[first : first + len(group.vectors)].tolist()
            points = [
                point.model_copy(update={"x": x, "y": y})
                for point, (x, y) in zip(group.layer.points, places, strict=True)
            ]
            placed.append(group.layer.model_copy(update={"points": points}))
            first += len(places)
        return [
            Layer(name="vocabulary", role="vocabulary", points=background),
            Layer(name="nearest tokens", role="vocabulary", points=labelled),
            *placed,
        ]


def _sample(vocabulary: Vocabulary, named: list[int], num_tokens: int, *, seed: int) -> np.ndarray:
    """Return the ids on the map: those named, and frequent tokens drawn at random."""
    frequent = vocabulary.ordinary_ids[: max(_FREQUENT_TOKENS, num_tokens)]
    rest = np.setdiff1d(frequent, named)
    room = min(max(num_tokens - len(named), 0), len(rest))
    drawn = np.random.default_rng(seed).choice(rest, room, replace=False)
    return np.concatenate([np.array(named, dtype=np.int64), np.sort(drawn)])


def _numbered(name: str) -> Callable[[int], str]:
    return lambda number: f"{name} {number}"


def _path(prompt: SoftPrompt) -> list[tuple[str, np.ndarray]]:
    """Return names and vectors (P, D) of the steps from the start, thinned; or nothing.

    The prompt is one of the steps, the best and perhaps not the last, or it ends the path.
    """
    shape = prompt.vectors.shape
    steps = [(f"step {step}" if step else "the start", v) for step, v in prompt.path]
    if prompt.start is not None and not (prompt.path and prompt.path[0][0] == 0):
        steps = [("the start", prompt.start), *steps]
    steps = [(name, vectors) for name, vectors in steps if vectors.shape == shape]
    if not steps:
        return []
    most = min(_STEPS, max(2, _PATH_POINTS // len(prompt))) - 1
    chosen = np.unique(np.linspace(0, len(steps) - 1, min(most, len(steps))).round().astype(int))
    is_passed = any(np.allclose(vectors, prompt.vectors) for _, vectors in steps)
    end = [] if is_passed else [("the end", prompt.vectors)]
    return [*(steps[i] for i in chosen), *end]


def _path_groups(steps: list[tuple[str, np.ndarray]], num_slots: int) -> list[_Group]:
    """Return one path for each vector."""

    def path(slot: int) -> _Group:
        return _Group.of(
            Layer(name=f"path of vector {slot}", role="path", points=[]),
            np.stack([vectors[slot] for _, vectors in steps]),
            lambda number: f"vector {slot} at {steps[number][0]}",
            slots=[slot] * len(steps),
        )

    return [path(slot) for slot in range(num_slots if steps else 0)]


def _verdict(distances: _Distances) -> str:
    found = distances.standing
    figures = (
        f"mean distance to the nearest token {found.value:.3g}; random vectors {found.low:.3g} to "
        f"{found.high:.3g}, 95 % of real tokens up to {distances.real_high:.3g}"
    )
    if not found.is_better:
        return (
            f"{NO_BETTER.capitalize()}: the vectors lie as far from every token as random vectors "
            f"of the same norms do ({figures})."
        )
    among = int((distances.of_real <= 95).sum())
    count = (
        f"{among} of {len(distances.values)} vectors are no farther from a token than 95 % of real "
        "tokens are from each other"
    )
    if found.value <= distances.real_high:
        return f"The vectors lie among the tokens ({figures}). {count}."
    return f"The vectors lie off the tokens, but nearer than random vectors ({figures}). {count}."


def _faithfulness(projected: Projection) -> str:
    shown = len(projected.tokens) + len(projected.vectors)
    rows = (
        f"all {shown}"
        if projected.num_compared == shown
        else f"{projected.num_compared} of {shown}"
    )
    return (
        f"Trustworthiness {projected.fidelity:.2f} over {rows} points: 1 if all neighbours in the "
        "picture are neighbours in the space, about 0.5 if they are mixed at random. Distances in "
        "the picture are not distances in the space."
    )


def _table(vocabulary: Vocabulary, near: Neighbours, distances: _Distances) -> Table:
    rows: list[list[str | int | float | None]] = [
        [
            slot,
            vocabulary.tokens[int(near.ids[slot, 0])],
            round(float(distances.values[slot]), 3),
            round(float(distances.of_real[slot]), 1),
            round(float(distances.of_random[slot]), 1),
        ]
        for slot in range(len(distances.values))
    ]
    return Table(
        title="Distances in the space",
        columns=[
            "vector",
            "nearest token",
            "distance",
            "percentile of real tokens",
            "percentile of random",
        ],
        rows=rows,
        note=f"Percentiles: the share of {NUM_RANDOM * len(rows)} held-out real tokens, and of as "
        "many random vectors of the same norms, that are nearer to a token.",
        slots=list(range(len(rows))),
    )
