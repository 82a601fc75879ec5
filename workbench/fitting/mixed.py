"""Samples asked of any mixture of fitted methods and wordings, answered batch by batch.

What `predict` is for one method on many samples, this is for a table of methods and samples: rows
that are scored share their batches whatever method and wording they belong to, and so do rows that
are written, so that a table costs what its rows cost in one batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from workbench.errors import PromptError
from workbench.fitting.base import FittedMethod
from workbench.fitting.prediction import Prediction, check_answerable, predict, read_written
from workbench.fitting.short_answers import writing_options
from workbench.models.base import ChoiceScores, Conditioning, GenerationOptions
from workbench.models.engine import Engine
from workbench.tasks.base import Sample

_WRITTEN_ROWS = 64  # written side by side; more are another batch of the engine too
_SLOW_ROWS = 16  # of a method that reasons or votes, between two looks at the table


@dataclass(frozen=True)
class Asked:
    """A sample and the fitted method that it is asked of."""

    fitted: FittedMethod
    sample: Sample


@dataclass(frozen=True)
class Answered:
    """What became of a sample that was asked.

    Attributes:
        place: Of the sample among those asked, from 0.
        prediction: None where the sample cannot be answered.
        error: Why it cannot.
        seconds: Its share of the time that its batch took until it was answered; keys and values
            that rows share are computed before.
    """

    place: int
    prediction: Prediction | None = None
    error: str = ""
    seconds: float | None = None


@dataclass
class _Row:
    """A sample that is answered by one row of the base."""

    place: int
    asked: Asked
    conditioning: Conditioning


@dataclass
class _Sorted:
    """What was asked, by how it is answered."""

    scored: list[_Row] = field(default_factory=list)
    written: dict[GenerationOptions, list[_Row]] = field(default_factory=dict)
    slow: dict[int, list[tuple[int, Asked]]] = field(default_factory=dict)  # by identity of fitted
    refused: list[Answered] = field(default_factory=list)


def predict_mixed(engine: Engine, asked: Sequence[Asked]) -> Iterator[list[Answered]]:
    """Yield answers batch by batch, in the order in which they come; every sample gets one.

    Labels come first, then written answers, then methods that reason or vote. Each answer is the
    one that `predict` gives. A sample that cannot be answered (longer than the context, a text that
    the tokenizer cannot write) says why and costs itself alone.

    Raises:
        Interrupted: asked to stop, see `workbench.progress.stopped_by`.
    """
    choices = _Choices()
    work = _sorted(engine, asked, choices)
    if work.refused:
        yield work.refused
    yield from _score(engine, work.scored, choices)
    for options, rows in work.written.items():
        longest_first = sorted(rows, key=lambda row: -row.conditioning.num_tokens)
        for begin in range(0, len(rows), _WRITTEN_ROWS):
            yield from _write(engine, longest_first[begin : begin + _WRITTEN_ROWS], options)
    for same in work.slow.values():
        for begin in range(0, len(same), _SLOW_ROWS):
            yield _predict_slowly(engine, same[begin : begin + _SLOW_ROWS])


class _Choices:
    """The tokens of each method's labels; made once for all its rows."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[tuple[int, ...], ...]] = {}

    def of(self, fitted: FittedMethod) -> tuple[tuple[int, ...], ...]:
        """Return one tuple of token ids per label."""
        key = id(fitted)
        if key not in self._found:
            self._found[key] = fitted.encoder.choice_ids()
        return self._found[key]


def _sorted(engine: Engine, asked: Sequence[Asked], choices: _Choices) -> _Sorted:
    found = _Sorted()
    for place, one in enumerate(asked):
        fitted = one.fitted
        try:
            if fitted.voters or fitted.reasoning is not None:
                check_answerable(engine, fitted, one.sample.fields)
                found.slow.setdefault(id(fitted), []).append((place, one))
                continue
            row = _Row(place, one, fitted.condition(one.sample.fields))
            engine.forward.check_tokens(row.conditioning.token_ids)
            if fitted.encoder.task.labels:
                engine.check_length(row.conditioning, max(map(len, choices.of(fitted))))
                found.scored.append(row)
            else:
                options = writing_options(fitted.encoder)
                engine.check_length(row.conditioning, options.max_new_tokens)
                found.written.setdefault(options, []).append(row)
        except PromptError as error:
            found.refused.append(Answered(place, error=str(error)))
    return found


def _score(engine: Engine, rows: Sequence[_Row], choices: _Choices) -> Iterator[list[Answered]]:
    conditionings = [row.conditioning for row in rows]
    batches = engine.score_batches(conditionings, [choices.of(row.asked.fitted) for row in rows])
    began = perf_counter()
    for batch in batches:
        share = (perf_counter() - began) / len(batch)
        yield [
            Answered(rows[index].place, _labelled(rows[index], scores), seconds=share)
            for index, scores in batch.items()
        ]
        began = perf_counter()


def _labelled(row: _Row, scores: ChoiceScores) -> Prediction:
    fitted, sample = row.asked.fitted, row.asked.sample
    labels = fitted.encoder.task.labels
    probabilities = scores.probabilities_given(fitted.log_prior)
    return Prediction(
        sample_id=sample.id,
        target=sample.target,
        answer=labels[int(np.argmax(probabilities))],
        probabilities=dict(zip(labels, probabilities.tolist(), strict=True)),
        label_mass=scores.label_mass,
        prompt_tokens=row.conditioning.num_tokens,
    )


def _write(
    engine: Engine, rows: Sequence[_Row], options: GenerationOptions
) -> Iterator[list[Answered]]:
    began = perf_counter()
    for delta in engine.stream([row.conditioning for row in rows], options):
        if delta.generation is not None:
            row = rows[delta.row]
            prediction = read_written(row.asked.fitted, row.asked.sample, delta.generation)
            share = (perf_counter() - began) / len(rows)
            yield [Answered(row.place, prediction, seconds=share)]


def _predict_slowly(engine: Engine, part: Sequence[tuple[int, Asked]]) -> list[Answered]:
    """Return what one method that reasons or votes says; a row that grows too long costs itself."""
    fitted = part[0][1].fitted
    began = perf_counter()
    try:
        predictions = predict(engine, fitted, [asked.sample for _, asked in part])
    except PromptError as error:
        if len(part) == 1:
            return [Answered(part[0][0], error=str(error))]
        return [answer for one in part for answer in _predict_slowly(engine, [one])]
    share = (perf_counter() - began) / len(part)
    return [
        Answered(place, prediction, seconds=share)
        for (place, _), prediction in zip(part, predictions, strict=True)
    ]
