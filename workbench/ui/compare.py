"""The tab that answers one text in several ways side by side; for "what does each of them say?"."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from workbench.errors import ConfigError
from workbench.models.base import GenerationOptions
from workbench.presentation.display import duration, number, one_line
from workbench.service.accelerator import accelerated
from workbench.service.command_line import ask_command
from workbench.service.profile import Caps
from workbench.service.ways import experiment_of, first_ways, rows_of, way_choices, ways_of
from workbench.serving.asking import Column, PromptPiece, answer, fit_way, spec_of
from workbench.tasks.base import Sample
from workbench.ui.context import AppContext, SettingValues, or_skip, shows_problem
from workbench.ui.rendering import render
from workbench.ui.setup import Setup

_YIELD_SECONDS = 0.1  # between two updates of the page
_ANSWER_SECONDS = 20  # of a lent accelerator
_MOST_BARS = 6
_NUM_EXAMPLES = 4
_LABEL_CHARS = 70  # of an example to click
_DEFAULT_COLUMNS = 5
_EMPTY = "Write a text above, or click an example, and press Answer: all columns answer at once."


@dataclass(frozen=True)
class Card:
    """A column as the template wants it."""

    label: str
    text: str
    answer: str | None
    confidence: float | None
    bars: Sequence[Mapping[str, object]]
    cost: str
    pieces: Sequence[PromptPiece]
    num_tokens: int
    num_learned: int
    adapter: bool
    is_written: bool
    is_done: bool


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
) -> Iterator[list[Column]]:
    """Yield the columns as they grow; the last one has everything.

    Raises:
        WorkbenchError: something about the setting or the question is wrong.
    """
    workspace, experiment = context.experiment(values)
    ways = ways_of(workspace, question.ways, most=context.profile.caps.columns)
    options = _decoding(context, question)
    fields = _fields(context, question, context.desk.task(experiment.task).field_names)

    def work(has_left: Callable[[], bool]) -> Iterator[list[Column]]:
        session = context.desk.session(experiment)
        fitted = []
        for way in ways:
            fit = partial(fit_way, session, way, workspace.folder)
            fitted.append((way.label, context.desk.fitted(spec_of(session, way).digest, fit)))
        sample = Sample("question", fields, target="")
        yield from answer(session, fitted, sample, options, should_stop=has_left)

    yield from context.desk.stream(work)


def columns_html(columns: Sequence[Column], *, is_done: bool) -> str:
    """Return the columns as cards, with how far they agree."""
    cards = [_card(column, is_done=is_done) for column in columns]
    return render("columns", cards=cards, agreement=_agreement(cards), is_done=is_done)


@shows_problem
def on_answer(
    context: AppContext,
    *,
    text: object,
    text_b: object,
    ways: Sequence[str],
    max_new_tokens: object,
    temperature: object,
    seed: object,
    **setting: object,
) -> Iterator[str]:
    """Yield the cards as they grow, at most ten times a second."""
    question = Question((text, text_b), ways, max_new_tokens, temperature, seed)
    columns: list[Column] = []
    shown = 0.0
    yield render("hint", text="Waiting for the model …")
    for columns in stream_columns(context, SettingValues(**setting), question):
        if time.monotonic() - shown >= _YIELD_SECONDS:
            shown = time.monotonic()
            yield columns_html(columns, is_done=False)
    yield columns_html(columns, is_done=True)


@or_skip(4)
def on_setting(context: AppContext, chosen: Sequence[str], **setting: object) -> list[Any]:
    """Return text boxes, examples and ways that fit the setting: for the outputs of `build`."""
    workspace, experiment = context.experiment(SettingValues(**setting))
    task = context.desk.task(experiment.task)
    first, *second = task.field_names
    choices = way_choices(workspace, context.desk, experiment)
    samples = [[*sample.fields.values(), ""][:2] for sample in task.dev[:_NUM_EXAMPLES]]
    return [
        gr.Textbox(label=_title(first)),
        gr.Textbox(label=_title(second[0]) if second else "", visible=bool(second), value=""),
        gr.Dataset(samples=samples, sample_labels=[_sample_label(sample) for sample in samples]),
        gr.Dropdown(choices=choices, value=keep_or_default(chosen, choices), multiselect=True),
    ]


def keep_or_default(chosen: Sequence[str], choices: Sequence[tuple[str, str]]) -> list[str]:
    """Return the chosen keys that still exist, and the newest trained ones in free places."""
    keys = [key for _, key in choices]
    kept = [key for key in chosen if key in keys] or first_ways()
    others = [key for key in keys if not key.startswith("words:") and key not in kept]
    return kept + others[: max(0, _DEFAULT_COLUMNS - len(kept))]


@shows_problem
def on_command(
    context: AppContext, *, text: str, text_b: str, ways: Sequence[str], **setting: object
) -> str:
    """Return the command that asks the same in a terminal."""
    workspace, shared = context.setting(SettingValues(**setting))
    rows = rows_of(workspace, ways, seeds=[0])
    experiment = experiment_of(workspace, context.profile, shared, methods=rows)
    names = context.desk.task(experiment.task).field_names
    texts = [str(given or "…") for given in (text, text_b)][: len(names)]
    return render("command", command=ask_command(experiment, texts, workspace.folder))


def build(context: AppContext, setup: Setup, tab: gr.Tab) -> None:
    """Lay out the tab and wire it."""
    fields, go, stop = _build_inputs(context.profile.caps)
    text, text_b, ways = fields["text"], fields["text_b"], fields["ways"]
    examples = gr.Dataset(
        label="Examples to click",
        components=[text, text_b],
        samples=[["", ""]],
        sample_labels=[""],
        layout="gallery",
        elem_id="wb-examples",
    )
    cards = gr.HTML(render("hint", text=_EMPTY), elem_id="wb-columns")
    with gr.Accordion("The same in a terminal", open=False, elem_id="wb-ask-command") as drawer:
        command = gr.HTML()
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    asked = gr.on(
        [go.click, text.submit],
        accelerated(partial(on_answer, context), context.profile, seconds=_ANSWER_SECONDS),
        inputs_kwargs={**fields, **setup.values},
        outputs=cards,
        concurrency_id="model",
        concurrency_limit=1,
        trigger_mode="once",
        **quiet,
    )
    quiet["queue"] = False
    stop.click(None, cancels=[asked], **quiet)
    gr.on(
        [drawer.expand, go.click],
        partial(on_command, context),
        inputs_kwargs={"text": text, "text_b": text_b, "ways": ways, **setup.values},
        outputs=command,
        **quiet,
    )
    examples.click(
        lambda sample: (sample[0], sample[1] if len(sample) > 1 else ""),
        examples,
        [text, text_b],
        **quiet,
    )
    gr.on(
        [*setup.changes, tab.select, setup.loaded],
        partial(on_setting, context),
        inputs_kwargs={"chosen": ways, **setup.values},
        outputs=[text, text_b, examples, ways],
        **quiet,
    )


def _build_inputs(caps: Caps) -> tuple[dict[str, Any], gr.Button, gr.Button]:
    """Lay out what is asked; return the inputs of `on_answer`, and both buttons."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=3):
            text = gr.Textbox(
                label="Text",
                placeholder="Shift + Enter answers",
                lines=3,
                max_length=caps.text_chars,
                elem_id="wb-text",
                autofocus=True,
            )
            text_b = gr.Textbox(label="", lines=2, visible=False, max_length=caps.text_chars)
            with gr.Row():
                go = gr.Button("Answer", variant="primary", elem_id="wb-answer", min_width=110)
                stop = gr.Button("Stop", elem_id="wb-stop", min_width=80)
        with gr.Column(scale=2):
            ways = gr.Dropdown(
                label="Ways to answer",
                info="Words need no training; train vectors and weights in the next tab.",
                choices=[],
                multiselect=True,
                max_choices=caps.columns,
                elem_id="wb-ways",
            )
            with gr.Accordion("How to decode", open=False):
                tokens = gr.Slider(1, caps.new_tokens, 24, step=1, label="Most new tokens")
                temperature = gr.Slider(0, 2, 0, step=0.1, label="Temperature, 0 is greedy")
                seed = gr.Number(0, label="Seed", precision=0)
    fields = {
        "text": text,
        "text_b": text_b,
        "ways": ways,
        "max_new_tokens": tokens,
        "temperature": temperature,
        "seed": seed,
    }
    return fields, go, stop


def _card(column: Column, *, is_done: bool) -> Card:
    prediction = column.prediction
    probabilities = prediction.probabilities if prediction else None
    ranked = sorted((probabilities or {}).items(), key=lambda item: -item[1])
    bars = [{"label": one_line(label), "probability": value} for label, value in ranked]
    learned = sum(piece.num_tokens for piece in column.pieces if piece.is_learned)
    found = prediction.answer if prediction else None
    return Card(
        label=one_line(column.label),
        text=column.text.strip(),
        answer=None if found is None else one_line(found),
        confidence=ranked[0][1] if ranked else None,
        bars=bars[:_MOST_BARS],
        cost=_cost(column),
        pieces=column.pieces,
        num_tokens=column.conditioning.num_tokens,
        num_learned=learned,
        adapter=column.conditioning.adapter is not None,
        is_written=column.generation is not None,
        is_done=is_done,
    )


def _cost(column: Column) -> str:
    found = column.prediction
    prompt_tokens = (found.prompt_tokens if found else 0) or column.conditioning.num_tokens
    parts = [f"{number(prompt_tokens)} prompt tokens"]
    if found is not None and found.sampled_answers is not None:
        voices = found.sampled_answers
        parts.append(f"{voices.count(found.answer)} of {len(voices)} votes")
    if column.generation is not None:
        parts.append(f"{len(column.generation.token_ids)} written")
    if column.first_token_seconds is not None:
        parts.append(f"first after {duration(column.first_token_seconds)}")
    if column.seconds is not None:
        parts.append(f"all after {duration(column.seconds)}")
    if column.generation is not None and column.generation.finish_reason == "length":
        parts.append("cut at the limit")
    return " · ".join(parts)


def _agreement(cards: Sequence[Card]) -> dict[str, object] | None:
    """Return how many columns give each answer; None until all of several have answered."""
    answers = [card.answer for card in cards if card.answer is not None]
    if len(cards) < 2 or len(answers) < len(cards):
        return None
    counts = Counter(answers).most_common()
    most = counts[0][1]
    headline = (
        f"All {len(cards)} agree:"
        if most == len(cards)
        else f"{len(counts)} different answers, {most} of {len(cards)} agree at most:"
    )
    parts = [{"answer": found, "count": count} for found, count in counts]
    return {"headline": headline, "parts": parts}


def _fields(context: AppContext, question: Question, names: Sequence[str]) -> dict[str, str]:
    """Return the sample's fields.

    Raises:
        ConfigError: a text is missing or too long.
    """
    most = context.profile.caps.text_chars
    fields = {}
    for name, text in zip(names, question.texts, strict=False):
        if not isinstance(text, str) or not text.strip():
            raise ConfigError(f"{_title(name)}: empty. Write a text, or click an example.")
        if len(text) > most:
            raise ConfigError(f"{_title(name)}: {len(text)} characters; at most {most} here.")
        fields[name] = text.strip()
    return fields


def _decoding(context: AppContext, question: Question) -> GenerationOptions:
    """Return decoding options from raw numbers.

    Raises:
        ConfigError: not a number, or out of bounds.
    """
    most = context.profile.caps.new_tokens
    return GenerationOptions(
        max_new_tokens=int(_bounded(question.max_new_tokens, "most new tokens", 1, most)),
        temperature=_bounded(question.temperature, "temperature", 0, 2),
        seed=int(_bounded(question.seed, "seed", 0, 2**31 - 1)),
    )


def _bounded(value: object, name: str, low: float, high: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    number: Any = value if is_number else math.nan
    if not low <= number <= high:  # NaN is inside of no bounds
        raise ConfigError(
            f"{name}: {str(value)[:40]}; a number from {low:g} to {high:g} is needed."
        )
    return float(number)


def _title(field_name: str) -> str:
    return field_name.replace("_", " ").capitalize()


def _sample_label(texts: Sequence[str]) -> str:
    """Return an example as one short line."""
    label = one_line(" / ".join(text for text in texts if text))
    return label if len(label) <= _LABEL_CHARS else f"{label[: _LABEL_CHARS - 1]}…"
