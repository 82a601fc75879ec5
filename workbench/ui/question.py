"""What is asked in the Ask tab and by its endpoint, checked, and the columns that answer it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from workbench.errors import ConfigError, without_folders
from workbench.fitting.base import FittedMethod
from workbench.models.base import GenerationOptions
from workbench.service.ways import ways_of
from workbench.serving.asking import Column, LeftOut, Way, answer, fit_way, fit_ways, spec_of
from workbench.tasks.base import Sample
from workbench.ui.context import AppContext, SettingValues
from workbench.ui.raw_values import number_between


@dataclass(frozen=True)
class Question:
    """What is asked: the texts, the chosen ways, and how to decode; raw values of the page."""

    texts: tuple[object, object]
    ways: Sequence[str]
    max_new_tokens: object = 24
    temperature: object = 0.0
    seed: object = 0


def stream_columns(
    context: AppContext, values: SettingValues, question: Question
) -> Iterator[tuple[list[Column], list[LeftOut]]]:
    """Yield the columns as they grow, the last one has everything; and what cannot answer.

    Raises:
        WorkbenchError: something about the setting or the question is wrong, or nothing can
            answer.
    """
    workspace, experiment = context.experiment(values)
    ways = ways_of(workspace, question.ways, most=context.profile.caps.columns)
    options = _decoding(context, question)
    fields = _fields(context, question, context.desk.task(experiment.task).field_names)

    def work(should_stop: Callable[[], bool]) -> Iterator[tuple[list[Column], list[LeftOut]]]:
        session = context.desk.session(experiment)

        def fit(way: Way) -> FittedMethod:
            anew = partial(fit_way, session, way, workspace.folder)
            return context.desk.fitted(spec_of(session, way).digest, anew)

        sample = Sample("question", fields, target="")
        fitted, left_out = fit_ways(session, ways, fit, sample, options.max_new_tokens)
        left_out = [LeftOut(one.label, without_folders(one.reason)) for one in left_out]
        for columns in answer(session, fitted, sample, options, should_stop=should_stop):
            yield columns, left_out

    yield from context.desk.stream(work)


def field_title(field_name: str) -> str:
    """Return the name of a sample's field as the page shows it."""
    return field_name.replace("_", " ").capitalize()


def _fields(context: AppContext, question: Question, names: Sequence[str]) -> dict[str, str]:
    """Return the sample's fields.

    Raises:
        ConfigError: a text is missing or too long.
    """
    most = context.profile.caps.text_chars
    fields = {}
    for name, text in zip(names, question.texts, strict=False):
        if not isinstance(text, str) or not text.strip():
            raise ConfigError(f"{field_title(name)}: empty. Write a text, or click an example.")
        if len(text) > most:
            raise ConfigError(f"{field_title(name)}: {len(text)} characters; at most {most} here.")
        fields[name] = text.strip()
    return fields


def _decoding(context: AppContext, question: Question) -> GenerationOptions:
    """Return decoding options from raw numbers.

    Raises:
        ConfigError: not a number, or out of bounds.
    """
    most = context.profile.caps.new_tokens
    return GenerationOptions(
        max_new_tokens=int(number_between(question.max_new_tokens, "most new tokens", 1, most)),
        temperature=number_between(question.temperature, "temperature", 0, 2),
        seed=int(number_between(question.seed, "seed", 0, 2**31 - 1)),
    )
