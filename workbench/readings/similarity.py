"""Similarity: how alike prompts are as vectors and in what they answer, and whether tasks show.

Source: Vu et al. 2022 (SPoT), https://arxiv.org/abs/2110.07904; effect before
distance: Su et al. 2022, https://aclanthology.org/2022.naacl-main.290.
Differs from the source: effect is the agreement of answers, not of activated neurons.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import ClassVar, Literal

import numpy as np

from workbench.differences import holm
from workbench.fitting.learning import Outcome
from workbench.presentation.blocks import Cell, Heatmap, Table
from workbench.presentation.reading import LEVEL, NO_BETTER, Reading, Standing
from workbench.readings.base import NUM_RANDOM, Cost, Kind, Subject
from workbench.readings.vectors.chance import standing
from workbench.readings.vectors.prompt import SoftPrompt, random_prompts
from workbench.readings.vectors.similarity import (
    Grouping,
    Similarities,
    grouping,
    mean_likeness,
    similarities,
)

_Way = Literal["centred", "plain", "learned"]
_Pair = Callable[[SoftPrompt, SoftPrompt], Similarities | None]

_CONTROL = "random vectors of the same norms"
_NUM_COMPARED = 199  # of mean vectors, which cost nothing; what the verdict says is corrected for 3
_MEASURES = {"mean": "mean vectors", "matched": "matched vectors", "slots": "vectors in place"}
_WAYS: dict[_Way, str] = {
    "centred": "after subtracting the mean embedding",
    "plain": "as they are",
    "learned": "what training added to the start",
}
_NOTES = [
    "Prompts that started from the same tokens are alike without having learned anything: hold a "
    "pair against its starts, and look at what training added.",
    "All tokens of a vocabulary point in similar directions, so plain cosines look high; read the "
    "others, after subtracting the mean embedding.",
    "Answers are compared on this session's items. A prompt of another task is run on items it was "
    "not trained for, so its agreement means something for this task alone.",
    "What the verdict says of vectors, tasks in the vectors and tasks in the answers is corrected "
    "for being several statements (Holm); other p-values stand for themselves.",
    "Prompts far apart as vectors can do the same, and what a prompt does tells more of transfer "
    "than where it lies (Su et al. 2022).",
]


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """All prompts against each other: as vectors, as learned changes, and by their answers."""

    title: ClassVar[str] = "Similarity of prompts"
    summary: ClassVar[str] = "how alike prompts are, as vectors and in what they answer"
    kind: ClassVar[Kind] = "vectors"
    cost: ClassVar[Cost] = "seconds"
    needs_base: ClassVar[bool] = True

    def read(self, subject: Subject) -> Reading:
        """Return the similarities of all pairs beside those of random vectors."""
        prompts = [subject.soft_prompt, *subject.others]
        if not subject.others:
            return _alone(subject, title=self.title)
        names = _names(prompts)
        measures = {
            f"{_MEASURES[measure]}, {_WAYS[way]}": matrix
            for way in _WAYS
            for measure, matrix in _matrices(prompts, partial(_similarities, subject, way)).items()
        }
        outcomes = subject.scorer.outcomes(
            [subject.prefix(prompt.vectors) for prompt in prompts],
            partial(subject.step, "prompts"),
        )
        effects = {
            "agreement of answers": _matrix(outcomes, _agreement),
            "Cohen's kappa of answers": _matrix(outcomes, _kappa),
        }
        tasks = [prompt.task for prompt in prompts]
        groups = {
            name: grouping(name, matrix, tasks) for name, matrix in (measures | effects).items()
        }
        shown = {name: m for name, m in measures.items() if _WAYS["plain"] not in name}
        standings = [_vector_standing(subject), *_effect_standing(subject, outcomes)]
        tested = [groups[name].standing for name in (_main(), "agreement of answers")]
        return Reading(
            name="similarity",
            title=self.title,
            verdict=_verdict(
                standings[0],
                _begun_alike(subject),
                {"vectors": groups[_main()], "answers": groups["agreement of answers"]},
            ),
            standings=[*standings, *(place for place in tested if place is not None)],
            charts=[_chart(name, matrix, names) for name, matrix in (shown | effects).items()],
            tables=[_pair_table(subject, names, measures | effects), _group_table(groups)],
            notes=_NOTES,
            data={
                "prompts": names,
                "tasks": tasks,
                "num_items": subject.scorer.num_items,
                "matrices": {
                    name: [[_cell(v) for v in row] for row in matrix]
                    for name, matrix in (measures | effects).items()
                },
            },
        )


def _alone(subject: Subject, *, title: str) -> Reading:
    """Return what can be said of one prompt: what random vectors would show."""
    mine = subject.soft_prompt.vectors
    random = np.stack(subject.random_prompts())
    controls = mean_likeness(random, [mine], subject.vocabulary.mean).tolist()
    low, median, high = np.percentile(controls, [5, 50, 95])
    table = Table(
        title="Control",
        columns=["similarity of mean vectors with", "5 %", "median", "95 %"],
        rows=[[_CONTROL, *(round(float(v), 4) for v in (low, median, high))]],
        note=f"{_WAYS['centred'].capitalize()}; {NUM_RANDOM} draws.",
    )
    return Reading(
        name="similarity",
        title=title,
        verdict="Another soft prompt is needed: similarity is between prompts. Only what random "
        "vectors show is given.",
        tables=[table],
        notes=_NOTES,
        data={"prompts": [subject.soft_prompt.name], "controls": controls},
    )


def _main() -> str:
    """Return the name of the similarity that is judged: SPoT's, without the mean embedding."""
    return f"{_MEASURES['mean']}, {_WAYS['centred']}"


def _names(prompts: Sequence[SoftPrompt]) -> list[str]:
    """Return names to show, made unique: an axis cannot have one name twice."""
    names: list[str] = []
    for prompt in prompts:
        name, number = prompt.name, 2
        while name in names:
            name, number = f"{prompt.name} ({number})", number + 1
        names.append(name)
    return names


def _similarities(
    subject: Subject, way: _Way, first: SoftPrompt, second: SoftPrompt
) -> Similarities | None:
    """Return how alike two prompts are in one way; None where a start is not known."""
    if way == "learned":
        added = [_learned(prompt) for prompt in (first, second)]
        return None if added[0] is None or added[1] is None else similarities(added[0], added[1])
    origin = subject.vocabulary.mean if way == "centred" else None
    return similarities(first.vectors, second.vectors, origin=origin)


def _learned(prompt: SoftPrompt) -> np.ndarray | None:
    """Return the task vectors (P, D): what training added to the start."""
    if prompt.start is None or prompt.start.shape != prompt.vectors.shape:
        return None
    learned: np.ndarray = prompt.vectors - prompt.start
    return learned


def _matrices(prompts: Sequence[SoftPrompt], pair: _Pair) -> dict[str, np.ndarray]:
    """Return (N, N) for each measure that has a figure for some pair; NaN is no figure."""
    size = len(prompts)
    found = {measure: np.full((size, size), np.nan) for measure in _MEASURES}
    for i in range(size):
        for j in range(i, size):
            values = pair(prompts[i], prompts[j])
            for measure, matrix in found.items():
                value = None if values is None else getattr(values, measure)
                matrix[i, j] = matrix[j, i] = np.nan if value is None else value
    off = ~np.eye(size, dtype=bool)
    return {name: matrix for name, matrix in found.items() if not np.isnan(matrix[off]).all()}


def _answers(outcome: Outcome) -> np.ndarray:
    """Return (N,) the labels chosen, or for tasks without labels whether the answer is right."""
    return outcome.right.astype(int) if (outcome.answers < 0).all() else outcome.answers


def _agreement(first: Outcome, second: Outcome) -> float:
    return float((_answers(first) == _answers(second)).mean())


def _kappa(first: Outcome, second: Outcome) -> float:
    """Return Cohen's kappa; NaN where both give one and the same answer to every item."""
    from sklearn.metrics import cohen_kappa_score

    ours, theirs = _answers(first), _answers(second)
    if len(np.unique(np.concatenate([ours, theirs]))) < 2:
        return float("nan")
    return float(cohen_kappa_score(ours, theirs))


def _matrix(
    outcomes: Sequence[Outcome], compare: Callable[[Outcome, Outcome], float]
) -> np.ndarray:
    return np.array([[compare(first, second) for second in outcomes] for first in outcomes])


def _vector_standing(subject: Subject) -> Standing:
    """Return the mean similarity to the others beside that of random vectors to them."""
    mine = subject.soft_prompt.vectors
    prompts = np.stack([mine, *random_prompts(mine, _NUM_COMPARED)])
    others = [other.vectors for other in subject.others]
    found = mean_likeness(prompts, others, subject.vocabulary.mean)
    what = "similarity of mean vectors to other prompts"
    return standing(what, float(found[0]), _CONTROL, found[1:])


def _effect_standing(subject: Subject, outcomes: Sequence[Outcome]) -> list[Standing]:
    """Return the agreement with the others' answers beside that of random vectors."""
    random = subject.scorer.outcomes(
        [subject.prefix(vectors) for vectors in subject.random_prompts()],
        partial(subject.step, "random vectors"),
    )
    mine, *controls = (
        float(np.mean([_agreement(one, other) for other in outcomes[1:]]))
        for one in (outcomes[0], *random)
    )
    return [standing("agreement of answers with other prompts", mine, _CONTROL, controls)]


def _starts_alike(subject: Subject, first: SoftPrompt, second: SoftPrompt) -> float | None:
    """Return the similarity of the mean vectors that training began with."""
    if first.start is None or second.start is None:
        return None
    return similarities(first.start, second.start, origin=subject.vocabulary.mean).mean


def _begun_alike(subject: Subject) -> float | None:
    """Return how alike the prompt's start and the others' were on average, where all are known."""
    found = [_starts_alike(subject, subject.soft_prompt, other) for other in subject.others]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if len(known) == len(found) else None


def _verdict(alike: Standing, begun: float | None, groups: Mapping[str, Grouping]) -> str:
    tested = [alike, *(group.standing for group in groups.values())]
    corrected = holm([None if place is None else place.p_value for place in tested])
    is_alike, *shows = (p is not None and p <= LEVEL for p in corrected)
    text = (
        "The prompt is more like the others than random vectors of the same norms are."
        if is_alike
        else f"The prompt is like the others {NO_BETTER} (random vectors of the same norms)."
    )
    if is_alike and begun is not None and begun >= alike.value:
        text += (
            f" Their starts were at least as alike ({begun:.2f}; now {alike.value:.2f}): that is "
            "the start and not learning."
        )
    said = [_grouping_words(*one, shows=s) for one, s in zip(groups.items(), shows, strict=True)]
    return " ".join([text, *said])


def _grouping_words(what: str, group: Grouping, *, shows: bool) -> str:
    if group.same is None or group.different is None:
        return (
            f"Whether tasks show in the {what} cannot be told: two prompts of one task and one of "
            "another are needed."
        )
    figures = f"{group.same:.2f} within tasks, {group.different:.2f} between"
    if group.same <= group.different or (group.standing is not None and not shows):
        return (
            f"By their {what}, prompts of one task are {NO_BETTER} at being alike ({figures}): as "
            "a map of tasks this is noise."
        )
    if group.standing is None:
        return f"By their {what}, {figures}: too few prompts to tell from chance."
    return f"By their {what}, prompts of one task are more alike than chance ({figures})."


def _chart(name: str, matrix: np.ndarray, names: list[str]) -> Heatmap:
    is_agreement = name.startswith("agreement")
    return Heatmap(
        title=f"{name[0].upper()}{name[1:]}",
        x="prompt",
        y="prompt",
        columns=names,
        rows=names,
        values=[[_cell(value) for value in row] for row in matrix],
        low=0.0 if is_agreement else -1.0,
        high=1.0,
        note="Share of this task's items with the same answer." if is_agreement else "",
    )


def _pair_table(subject: Subject, names: list[str], figures: Mapping[str, np.ndarray]) -> Table:
    """Return every figure of every pair, and how alike the starts were."""
    prompts = [subject.soft_prompt, *subject.others]
    rows: list[list[Cell]] = []
    for i, j in combinations(range(len(prompts)), 2):
        begun = _starts_alike(subject, prompts[i], prompts[j])
        is_same = (
            prompts[i].task == prompts[j].task if prompts[i].task and prompts[j].task else None
        )
        rows.append(
            [
                names[i],
                names[j],
                "not known" if is_same is None else "yes" if is_same else "no",
                None if begun is None else round(begun, 4),
                *(_cell(matrix[i, j]) for matrix in figures.values()),
            ]
        )
    return Table(
        title="Pairs",
        columns=["prompt", "other", "same task", "mean vectors, starts", *figures],
        rows=rows,
        note="Starts: similarity of the mean vectors that training began with, without the mean "
        "embedding.",
    )


def _group_table(groups: Mapping[str, Grouping]) -> Table:
    rows: list[list[Cell]] = [
        [
            name,
            None if group.same is None else round(group.same, 4),
            None if group.different is None else round(group.different, 4),
            None if group.standing is None else round(group.standing.p_value, 4),
        ]
        for name, group in groups.items()
    ]
    return Table(
        title="Pairs of one task and of different tasks",
        columns=["similarity", "same task", "different tasks", "p"],
        rows=rows,
        note="p: tasks dealt out to the prompts at random, each row for itself; none where there "
        "are too few prompts.",
    )


def _cell(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
