"""Answers of several ways to one text, decoded side by side in one batch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from workbench.errors import ConfigError, WorkbenchError
from workbench.fitting.base import FittedMethod, needs_run
from workbench.fitting.prediction import (
    Prediction,
    conclude,
    predict,
    read_written,
    score_labels,
)
from workbench.methods.catalog import make_method
from workbench.models.base import Conditioning, Generation, GenerationOptions, TextDelta
from workbench.runs.execute import restore
from workbench.runs.session import Session
from workbench.runs.spec import RunSpec
from workbench.runs.store import StoredRun
from workbench.tasks.base import Sample


@dataclass(frozen=True)
class Way:
    """One way to answer: a method with its options, and the run that trained it, if any.

    Attributes:
        label: Heading of its column.
        method: Name of the method.
        options: As given; defaults are filled in.
        seed: What the method draws from.
        run: A finished run whose adapter is used.
    """

    label: str
    method: str
    options: dict[str, Any]
    seed: int = 0
    run: StoredRun | None = None


@dataclass(frozen=True)
class Column:
    """One way's answer as it grows.

    Attributes:
        label: Heading of the column.
        fitted: How it conditions the base.
        conditioning: How the base is conditioned for the text asked about.
        text: Written so far.
        first_token_seconds: Time from the start of all columns to its first text.
        seconds: Time from the start of all columns to its end.
        generation: Once it ended.
        prediction: Label probabilities, once scored.
        pieces: The prompt as it was sent, once everything is done.
        cautions: What to be careful about in this way's answers.
    """

    label: str
    fitted: FittedMethod
    conditioning: Conditioning
    text: str = ""
    first_token_seconds: float | None = None
    seconds: float | None = None
    generation: Generation | None = None
    prediction: Prediction | None = None
    pieces: "tuple[PromptPiece, ...]" = ()
    cautions: Sequence[str] = ()


@dataclass(frozen=True)
class LeftOut:
    """A way that cannot answer, and why; `is_untrained` where only its training is missing."""

    label: str
    reason: str
    is_untrained: bool = False


@dataclass(frozen=True)
class PromptPiece:
    """A stretch of the prompt as it is sent: tokens as text, or learned vectors or states.

    Attributes:
        text: What the tokens say; empty for vectors.
        num_tokens: Positions it takes.
        is_learned: Whether it is vectors that no text stands for.
        is_own: Whether it belongs to this text, not to the shared start.
    """

    text: str
    num_tokens: int
    is_learned: bool
    is_own: bool


def spec_of(session: Session, way: Way) -> RunSpec:
    """Return the resolved spec of a way; its digest names the way's adapter in the engine.

    Raises:
        ConfigError: a run that was made on another base, task or wording than the session's.
    """
    if way.run is not None:
        here, there = session.setting, way.run.spec.setting
        made = here.differences(there)
        if made:
            raise ConfigError(
                f"run {way.run.record.run_id}: was made {' and '.join(made)}, which is not what "
                f"is asked with here. {here.advice(there)}"
            )
        return way.run.spec
    return session.spec_of(make_method(way.method, way.options), way.seed)


def fit_way(session: Session, way: Way, folder: Path) -> FittedMethod:
    """Return a way's fitted method: restored from its run, or fitted without training.

    Args:
        session: Base, task and wording.
        way: What to fit.
        folder: Where fitting may write.

    Raises:
        ConfigError: the method has to be trained first, or its run has another setting.
    """
    if way.run is not None:
        spec_of(session, way)  # refuses a run of another setting
        return restore(session, way.run)
    method = make_method(way.method, way.options)
    if needs_run(type(method)):
        raise ConfigError(
            f"{way.label}: not trained yet. Train it first, or choose a run that is finished."
        )
    spec = session.spec_of(method, way.seed)
    return method.fit(session.context(way.seed, folder, adapter_name=spec.digest))


def fit_ways(
    session: Session,
    ways: Sequence[Way],
    fit: Callable[[Way], FittedMethod],
    sample: Sample,
    max_new_tokens: int,
) -> tuple[list[tuple[str, FittedMethod]], list[LeftOut]]:
    """Return heading and fitted method of each way that can answer a text, and the others.

    Args:
        session: Base, task and wording.
        ways: What is asked for.
        fit: Returns a way's fitted method, see `fit_way`.
        sample: The text asked about.
        max_new_tokens: The most tokens of an answer, which has to fit into the context.

    Raises:
        WorkbenchError: none can answer: what is wrong with the only one, or with each.
    """
    fitted, errors = [], []
    for way in ways:
        try:
            method = fit(way)
            session.engine.check_length(method.condition(sample.fields), max_new_tokens)
            fitted.append((way.label, method))
        except WorkbenchError as error:
            errors.append((way.label, error))
    if errors and not fitted:
        if len(errors) == 1:
            raise errors[0][1]
        raise ConfigError("\n".join(f"{label}: {error}" for label, error in errors))
    return fitted, [LeftOut(label, str(error)) for label, error in errors]


def answer(
    session: Session,
    fitted: Sequence[tuple[str, FittedMethod]],
    sample: Sample,
    options: GenerationOptions,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[list[Column]]:
    """Yield all columns after each piece of text, and once more with their label probabilities.

    All columns are rows of one batch. Methods that reason first conclude after their text.

    Args:
        session: Base, task and wording.
        fitted: Heading and fitted method of each column.
        sample: The text asked about.
        options: How to decode; it also stops at the wording's separator.
        should_stop: Asked between tokens.

    Raises:
        PromptError: a prompt with its answer exceeds the context.
    """
    columns = [
        Column(label, one, one.condition(sample.fields), cautions=one.cautions)
        for label, one in fitted
    ]
    encoder = session.encoder
    ends = (encoder.template.separator,) if session.task.labels else encoder.answer_ends
    stop = tuple(dict.fromkeys((*options.stop, *ends)))
    began = perf_counter()
    deltas = session.engine.stream(
        [column.conditioning for column in columns],
        replace(options, stop=stop),
        should_stop=should_stop,
    )
    for delta in deltas:
        columns[delta.row] = _grown(columns[delta.row], delta, perf_counter() - began)
        yield list(columns)
    for number, column in enumerate(columns):
        if should_stop():
            break
        columns[number] = replace(column, prediction=_prediction(session, column, sample))
    yield [replace(column, pieces=prompt_pieces(session, column)) for column in columns]


def _grown(column: Column, delta: TextDelta, seconds: float) -> Column:
    """Return a column with a piece of text more, `seconds` after the start of all columns."""
    first = column.first_token_seconds
    return replace(
        column,
        text=column.text + delta.text,
        first_token_seconds=seconds if first is None else first,
        generation=delta.generation,
        seconds=seconds if delta.generation is not None else None,
    )


def prompt_pieces(session: Session, column: Column) -> tuple[PromptPiece, ...]:
    """Return the prompt of a column as it is sent, in order; of several voters, the first's."""
    tokenizer, row = session.engine.tokenizer, column.conditioning
    pieces = []
    for piece in row.prefix.pieces:
        if isinstance(piece, torch.Tensor):
            pieces.append(PromptPiece("", len(piece), is_learned=True, is_own=False))
        elif piece:
            text = tokenizer.decode(list(piece))
            pieces.append(PromptPiece(text, len(piece), is_learned=False, is_own=False))
    if row.prefix.states is not None:
        learned = row.prefix.states.num_tokens
        pieces.append(PromptPiece("", learned, is_learned=True, is_own=False))
    own = tokenizer.decode(list(row.token_ids))
    return (*pieces, PromptPiece(own, len(row.token_ids), is_learned=False, is_own=True))


def _prediction(session: Session, column: Column, sample: Sample) -> Prediction | None:
    fitted, rows = column.fitted, [column.conditioning]
    draws_chains = fitted.reasoning is not None and fitted.reasoning.samples > 1
    if fitted.voters or draws_chains:  # what is shown is the text of one voice
        return predict(session.engine, fitted, [sample])[0]
    if fitted.reasoning is not None and column.generation is not None:
        generations = [column.generation]
        return conclude(session.engine, fitted, [sample], rows=rows, generations=generations)[0]
    if fitted.encoder.task.labels:
        return score_labels(session.engine, fitted, [sample], rows)[0]
    if column.generation is not None:
        return read_written(fitted, sample, column.generation)
    return None
