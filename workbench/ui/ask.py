"""The tab that answers one text in several ways side by side; for "what does each of them say?"."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from workbench.errors import without_folders
from workbench.presentation.display import shortened
from workbench.service.accelerator import accelerated
from workbench.service.command_line import ask_command
from workbench.service.profile import Caps
from workbench.service.ways import experiment_of, first_ways, rows_of, way_choices
from workbench.serving.asking import Column, LeftOut
from workbench.ui.answer_cards import columns_html
from workbench.ui.choices import ChoiceList
from workbench.ui.context import AppContext, SettingValues, or_skip, shows_problem
from workbench.ui.pacing import paced
from workbench.ui.question import Question, field_title, stream_columns
from workbench.ui.rendering import render
from workbench.ui.setup import Setup
from workbench.ui.wiring import AT_ONCE, FOLLOW, MODEL, QUIET, WAITING, enables, forgets, stops

_ANSWER_SECONDS = 20  # of a lent accelerator
_NUM_EXAMPLES = 4
_NUM_BEFORE = 8  # texts asked before, to click
_LABEL_CHARS = 70  # of an example to click
_DEFAULT_COLUMNS = 5
_EMPTY = "Write a text above, or click an example, and press Answer: all columns answer at once."


@dataclass
class Turn:
    """The newest question of one open page; answers to older ones are left.

    Handlers share it: an event cannot end its own former run.

    Attributes:
        ticket: The newest that was handed out; "" before there is one. It is drawn, not counted:
            the page may outlive what the server keeps of it, and a ticket that the page still
            holds would be no change, which an answer waits for.
    """

    ticket: str = ""

    def begin(self) -> str:
        """Hand out a ticket that nobody has."""
        self.ticket = secrets.token_hex(8)
        return self.ticket

    def is_over(self, ticket: object) -> bool:
        """Return whether something else was asked since a ticket was handed out."""
        return (ticket or "") != self.ticket  # a page has none before it asks


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
    """Yield the cards of a text as they grow, at most ten times a second."""
    question = Question((text, text_b), ways, max_new_tokens, temperature, seed)
    asked = [one for one in (text, text_b) if isinstance(one, str) and one.strip()]
    columns: list[Column] = []
    left_out: list[LeftOut] = []
    yield render("waiting", text=WAITING, asked=asked)
    for columns, left_out in paced(stream_columns(context, SettingValues(**setting), question)):
        yield columns_html(columns, left_out, asked=asked, is_done=False)
    yield columns_html(columns, left_out, asked=asked, is_done=True)


def on_turn(context: AppContext, *, turn: Turn, ticket: object, **question: Any) -> Iterator[Any]:
    """Yield what `on_answer` yields until something else is asked, and end between two tokens."""
    if turn.is_over(ticket):
        yield gr.skip()  # an empty stream would empty the page
        return
    for shown in on_answer(context, **question):
        if turn.is_over(ticket):
            return
        yield shown


def on_begin(caps: Caps, turn: Turn, text: object, text_b: object, before: object) -> list[Any]:
    """Return a new ticket, which starts an answer, what is going to be answered, and the history.

    Whatever is being written for another text ends. The history keeps no text that is too long to
    be answered: nothing has checked the texts yet.
    """
    given = [one if isinstance(one, str) else "" for one in (text, text_b)]
    asked = [one for one in given if one.strip()]
    others = [one for one in before if one != given] if isinstance(before, list) else []
    is_kept = asked and all(len(one) <= caps.text_chars for one in given)
    history = [given, *others][:_NUM_BEFORE] if is_kept else others
    labels = [_sample_label(one) for one in history]
    return [
        turn.begin(),
        render("waiting", text=WAITING, asked=asked),
        history,
        gr.Dataset(samples=history, sample_labels=labels, visible=len(history) > 1),
    ]


@or_skip(5)
def on_setting(context: AppContext, chosen: Sequence[str], **setting: object) -> list[Any]:
    """Return text boxes, examples and ways that fit the setting, and whether Answer has any."""
    workspace, experiment = context.experiment(SettingValues(**setting))
    task = context.desk.task(experiment.task)
    first, *second = task.field_names
    choices = way_choices(workspace, context.desk, experiment)
    value = keep_or_default(chosen, choices)
    samples = [[*sample.fields.values(), ""][:2] for sample in task.dev[:_NUM_EXAMPLES]]
    no_second = gr.Textbox(label="", visible=False, value="")  # what was written is not asked
    return [
        gr.Textbox(label=field_title(first)),
        gr.Textbox(label=field_title(second[0]), visible=True) if second else no_second,
        gr.Dataset(samples=samples, sample_labels=[_sample_label(sample) for sample in samples]),
        gr.Dropdown(choices=choices, value=value, multiselect=True),
        gr.Button(interactive=bool(value)),
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
    command = ask_command(experiment, texts, workspace.folder)
    return render("command", command=without_folders(command) if workspace.is_public else command)


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
    before = gr.Dataset(
        label="Asked before",
        components=[text, text_b],
        samples=[["", ""]],
        sample_labels=[""],
        layout="gallery",
        elem_id="wb-before",
        visible=False,
    )
    cards = gr.HTML(render("hint", text=_EMPTY), elem_id="wb-columns")
    with gr.Accordion("The same in a terminal", open=False, elem_id="wb-ask-command") as drawer:
        command = gr.HTML()
    _wire_answer(context, setup, fields, [cards, gr.State([]), before], buttons=(go, stop))
    gr.on(
        [drawer.expand, go.click],
        partial(on_command, context),
        inputs_kwargs={"text": text, "text_b": text_b, "ways": ways, **setup.values},
        outputs=command,
        **QUIET,
        **FOLLOW,
    )
    for clicked in (examples, before):
        clicked.click(
            lambda sample: (sample[0], sample[1] if len(sample) > 1 else ""),
            clicked,
            [text, text_b],
            **AT_ONCE,
        )
    gr.on(
        [*setup.changes, tab.select, setup.loaded],
        partial(on_setting, context),
        inputs_kwargs={"chosen": ways, **setup.values},
        outputs=[text, text_b, examples, ways, go],
        **QUIET,
        **FOLLOW,
    )


def _wire_answer(
    context: AppContext,
    setup: Setup,
    fields: dict[str, Any],
    shown: Sequence[Any],
    *,
    buttons: tuple[gr.Button, gr.Button],
) -> None:
    """Answer what is asked; whoever asks anew leaves what is being written for the text before.

    A click ends that by the turn, and hands out a ticket whose change starts the next answer.

    Args:
        context: What the tabs share.
        setup: The setting.
        fields: What is asked.
        shown: Where the answers are shown, the texts asked before, and where those are shown.
        buttons: Answer and Stop.
    """
    (go, stop), (cards, history, before) = buttons, shown
    text, text_b, ways = fields["text"], fields["text_b"], fields["ways"]
    ticket = gr.Textbox("", visible=False, elem_id="wb-ticket")
    turn = gr.State(Turn())
    asked = ticket.change(
        accelerated(partial(on_turn, context), context.profile, seconds=_ANSWER_SECONDS),
        inputs_kwargs={**fields, "turn": turn, "ticket": ticket, **setup.values},
        outputs=cards,
        trigger_mode="multiple",
        **QUIET,
        **MODEL,
    )
    gr.on(
        [go.click, text.submit],
        partial(on_begin, context.profile.caps),
        [turn, text, text_b, history],
        [ticket, cards, history, before],
        **AT_ONCE,
    )
    stops(stop, asked, cards)
    enables(ways, go)
    changed = [text.change, text_b.change, ways.change, *setup.changes]
    forgets(changed, cards, instead=render("hint", text=_EMPTY))


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
                go = gr.Button(
                    "Answer",
                    variant="primary",
                    elem_id="wb-answer",
                    min_width=110,
                    interactive=False,  # until there are ways
                )
                stop = gr.Button("Stop", elem_id="wb-stop", min_width=80)
        with gr.Column(scale=2):
            ways = ChoiceList(
                label="Ways to answer",
                info="Words need no training; train vectors and weights in the next tab.",
                choices=[],
                multiselect=True,
                max_choices=caps.columns,
                elem_id="wb-ways",
            )
            with gr.Accordion("How to decode", open=False):
                tokens = gr.Slider(1, caps.new_tokens, 24, step=1, label="Most new tokens")
                temperature = gr.Slider(
                    0,
                    2,
                    0,
                    step=0.1,
                    label="How freely words are drawn (temperature), 0: the likeliest",
                )
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


def _sample_label(texts: Sequence[str]) -> str:
    """Return an example as one short line."""
    return shortened(" / ".join(text for text in texts if text), _LABEL_CHARS)
