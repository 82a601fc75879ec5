"""Templates: what a file may say, what is rendered from it, and all files that are shipped."""

from pathlib import Path

import pytest

from workbench.errors import ConfigError, PromptError
from workbench.tasks.catalog import list_tasks, prompts_folder
from workbench.templates import (
    ChainOfThought,
    Demonstration,
    PromptTemplate,
    WorkedDemonstration,
    continue_text,
    default_template,
    read_template,
)

FIELDS = ("text",)
LABELS = ("negative", "positive")
VALID = """\
version: 1
instruction: "Choose: {labels}."
input: "Review: {text}\\nSentiment:"
label_words: {negative: bad, positive: good}
chain_of_thought:
  input: "Review: {text}\\nReasoning:"
  trigger: "Think."
  answer_phrase: "So it is"
  demonstrations:
    - fields: {text: "Dull."}
      rationale: "Dull is no praise."
      answer: negative
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A relative file name, so that whole messages can be written out."""
    monkeypatch.chdir(tmp_path)
    return Path("x.yaml")


@pytest.fixture
def template(path: Path) -> PromptTemplate:
    """The template in `VALID`."""
    path.write_text(VALID, encoding="utf-8")
    return read_template(path)


def mark_chat(messages: list[dict[str, str]]) -> str:
    """Return the messages in a small chat format that has a system message of its own."""
    turns = "".join(f"<{m['role']}>{m['content']}</>" for m in messages)
    return f"<system>Be kind.</>{turns}<assistant>"


def test_a_template_is_named_after_its_file_and_passes_its_check(template: PromptTemplate) -> None:
    assert template.name == "x"
    assert template.check(FIELDS, LABELS, where="x.yaml") is template


UNREADABLE = {  # text of VALID, what it becomes, message
    "unknown key": (
        "instruction:",
        "instructions:",
        "x.yaml, instructions: unknown key. Did you mean 'instruction'? Known: answer_tokens, "
        "chain_of_thought, "
        "description, input, instruction, label_words, name, separator, version.",
    ),
    "unknown key within": (
        "  trigger:",
        "  triger:",
        "x.yaml, chain_of_thought.triger: unknown key. Did you mean 'trigger'? "
        "Known: answer_phrase, demonstrations, input, trigger.",
    ),
    "unknown key of a demonstration": (
        "      answer: negative",
        "      answer: negative\n      label: negative",
        "x.yaml, chain_of_thought.demonstrations[0].label: unknown key. "
        "Known: answer, fields, rationale.",
    ),
    "missing key": ("version: 1\n", "", "x.yaml, version: missing key. Add it."),
    "version as text": (
        "version: 1",
        "version: '1'",
        "x.yaml, version: got '1'; should be a valid integer.",
    ),
    "version 0": (
        "version: 1",
        "version: 0",
        "x.yaml, version: got 0; should be greater than or equal to 1.",
    ),
    "list for a text": (
        '"Choose: {labels}."',
        "[Choose]",
        "x.yaml, instruction: got ['Choose']; should be a valid string.",
    ),
    "empty input": (
        '"Review: {text}\\nSentiment:"',
        "''",
        "x.yaml, input: got ''; should have at least 1 character.",
    ),
    "word that YAML reads as a bool": (
        "negative: bad",
        "negative: no",
        "x.yaml, label_words.negative: got False; YAML reads no, off and false without "
        "quotes so. Text is wanted: put it in quotes.",
    ),
    "number as an answer": (
        "answer: negative",
        "answer: 3",
        "x.yaml, chain_of_thought.demonstrations[0].answer: got 3; YAML reads a number "
        "without quotes so. Text is wanted: put it in quotes.",
    ),
    "reserved character": (
        "Choose:",
        "Choose\ue000:",
        "x.yaml, instruction: characters U+E000 and U+E001 are reserved.",
    ),
    "reserved character in a demonstration": (
        "Dull is",
        "Dull\ue001 is",
        "x.yaml, chain_of_thought.demonstrations[0].rationale: "
        "characters U+E000 and U+E001 are reserved.",
    ),
}


@pytest.mark.parametrize(("old", "new", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_with_a_wrong_key_or_value_is_refused(path, old, new, message) -> None:
    path.write_text(VALID.replace(old, new), encoding="utf-8")

    with pytest.raises(ConfigError) as error:
        read_template(path)

    assert str(error.value) == message


UNFIT = {  # text of VALID, what it becomes, message
    "unknown field": (
        "Review: {text}\\nSentiment:",
        "Review: {text} {title}\\nSentiment:",
        "x.yaml: input uses {title}, which is not available there. Available: text. "
        "Rename the placeholder, or write {{title}} for the word in braces.",
    ),
    "labels in the input": (
        "Review: {text}\\nSentiment:",
        "Review: {text}\\nOne of {labels}:",
        "x.yaml: input uses {labels}, which is not available there. Available: text. "
        "Rename the placeholder, or write {{labels}} for the word in braces.",
    ),
    "field in the instruction": (
        "Choose:",
        "Choose for {text}:",
        "x.yaml: instruction uses {text}, which is not available there. Available: labels. "
        "Rename the placeholder, or write {{text}} for the word in braces.",
    ),
    "unused field": (
        "Review: {text}\\nReasoning:",
        "Reasoning:",
        "x.yaml: chain_of_thought.input does not use {text}, so the model would not see it. "
        "Fields of the task: text. Add the placeholder.",
    ),
    "trailing space": (
        "Sentiment:",
        "Sentiment: ",
        "x.yaml: input ends in a space; most tokenizers put it into the answer's first token. "
        "Remove it.",
    ),
    "trailing tab in the reasoning": (
        "Reasoning:",
        "Reasoning:\\t",
        "x.yaml: chain_of_thought.input ends in a space; most tokenizers put it into the answer's "
        "first token. Remove it.",
    ),
    "two labels with one word": (
        "positive: good",
        "positive: bad",
        "x.yaml: labels 'negative' and 'positive' share the word 'bad', so they cannot be told "
        "apart. Give each its own word.",
    ),
    "word that is another label's name": (
        "{negative: bad, positive: good}",
        "{negative: positive}",
        "x.yaml: labels 'negative' and 'positive' share the word 'positive', so they cannot be "
        "told apart. Give each its own word.",
    ),
    "empty word": (
        "positive: good",
        "positive: ''",
        "x.yaml: label_words gives 'positive' an empty word. Write one.",
    ),
    "word with a space before it": (
        "positive: good",
        "positive: ' good'",
        "x.yaml: label_words gives 'positive' the word ' good'; the space before an answer is put "
        "there for it. Write 'good'.",
    ),
    "unknown label": (
        "positive: good}",
        "positive: good, neutral: so-so}",
        "x.yaml: label_words has 'neutral', which is no label of the task. "
        "Labels: negative, positive. Remove it.",
    ),
    "demonstration with another field": (
        "{text: ",
        "{review: ",
        "x.yaml: chain_of_thought.demonstrations[0] has fields review; the task has text. "
        "Give exactly those.",
    ),
    "demonstration without fields": (
        '{text: "Dull."}',
        "{}",
        "x.yaml: chain_of_thought.demonstrations[0] has fields none; the task has text. "
        "Give exactly those.",
    ),
    "demonstration that answers with a word": (
        "answer: negative",
        "answer: bad",
        "x.yaml: chain_of_thought.demonstrations[0] answers 'bad', which is no label of the task. "
        "Labels: negative, positive.",
    ),
    "all at once": (
        "{text}",
        "{txt} ",
        "x.yaml: chain_of_thought.input does not use {text}, so the model would not see it. "
        "Fields of the task: text. Add the placeholder.\n"
        "x.yaml: chain_of_thought.input uses {txt}, which is not available there. "
        "Available: text. Rename the placeholder, or write {{txt}} for the word in braces.\n"
        "x.yaml: input does not use {text}, so the model would not see it. "
        "Fields of the task: text. Add the placeholder.\n"
        "x.yaml: input uses {txt}, which is not available there. Available: text. "
        "Rename the placeholder, or write {{txt}} for the word in braces.",
    ),
}


@pytest.mark.parametrize(("old", "new", "message"), UNFIT.values(), ids=UNFIT)
def test_a_template_that_does_not_fit_its_task_is_refused(path, old, new, message) -> None:
    path.write_text(VALID.replace(old, new), encoding="utf-8")
    template = read_template(path)

    with pytest.raises(PromptError) as error:
        template.check(FIELDS, LABELS, where="x.yaml")

    assert str(error.value) == message


def test_label_words_and_labels_are_refused_where_answers_are_short() -> None:
    template = PromptTemplate(
        version=1, instruction="One of {labels}.", input="{text}", label_words={"a": "b"}
    )

    with pytest.raises(PromptError) as error:
        template.check(FIELDS, (), where="x.yaml")

    assert str(error.value) == (
        "x.yaml: label_words has 'a', which is no label of the task. "
        "Labels: none, it asks for short answers. Remove it.\n"
        "x.yaml: instruction uses {labels}, and the task has none: it asks for short answers. "
        "Remove the placeholder."
    )


def test_a_short_answer_may_be_any_text() -> None:
    demonstration = WorkedDemonstration(fields={"text": "1 + 1"}, rationale="It is.", answer="2")
    section = ChainOfThought(input="{text}\nR:", demonstrations=[demonstration])
    template = PromptTemplate(version=1, input="{text}\nA:", chain_of_thought=section)

    assert template.check(FIELDS, (), where="x.yaml") is template


def test_zero_shot_is_instruction_and_input(template: PromptTemplate) -> None:
    prompt = template.render({"text": "Fine."}, labels=LABELS)

    assert (prompt.head, prompt.start, prompt.tail) == (
        "",
        "Choose: bad, good.\n\n",
        "Review: Fine.\nSentiment:",
    )
    assert prompt.text == "Choose: bad, good.\n\nReview: Fine.\nSentiment:"


def test_demonstrations_stand_between_instruction_and_input(template: PromptTemplate) -> None:
    shown = [
        Demonstration({"text": "Dull."}, "negative"),
        Demonstration({"text": "Wow"}, "positive"),
    ]

    prompt = template.render({"text": "Fine."}, labels=LABELS, demonstrations=shown)

    assert prompt.start == (
        "Choose: bad, good.\n\nReview: Dull.\nSentiment: bad\n\nReview: Wow\nSentiment: good\n\n"
    )
    assert prompt.tail == "Review: Fine.\nSentiment:"


@pytest.mark.parametrize("chat", [None, mark_chat])
def test_few_shot_without_demonstrations_is_zero_shot(template: PromptTemplate, chat) -> None:
    zero_shot = template.render({"text": "Fine."}, labels=LABELS, chat=chat)
    few_shot = template.render({"text": "Fine."}, labels=LABELS, demonstrations=[], chat=chat)

    assert few_shot.text.encode() == zero_shot.text.encode()
    assert few_shot == zero_shot


def test_without_an_instruction_the_prompt_is_the_input_alone() -> None:
    prompt = PromptTemplate(version=1, input="{text}\nA:").render({"text": "Fine."}, labels=LABELS)

    assert (prompt.start, prompt.tail) == ("", "Fine.\nA:")


def test_reasoning_without_demonstrations_ends_in_the_trigger(template: PromptTemplate) -> None:
    prompt = template.render({"text": "Fine."}, labels=LABELS, reasoning=True)

    assert prompt.text == "Choose: bad, good.\n\nReview: Fine.\nReasoning: Think."


def test_reasoning_with_demonstrations_shows_how_they_answer(template: PromptTemplate) -> None:
    shown = [Demonstration({"text": "Dull."}, "negative", "Dull is no praise.")]

    prompt = template.render({"text": "Fine."}, labels=LABELS, demonstrations=shown, reasoning=True)

    assert prompt.text == (
        "Choose: bad, good.\n\n"
        "Review: Dull.\nReasoning: Dull is no praise. So it is bad.\n\n"
        "Review: Fine.\nReasoning:"
    )


def test_reasoning_needs_demonstrations_with_a_rationale(template: PromptTemplate) -> None:
    shown = [Demonstration({"text": "Dull."}, "negative")]

    with pytest.raises(PromptError) as error:
        template.render({"text": "Fine."}, labels=LABELS, demonstrations=shown, reasoning=True)

    assert str(error.value) == (
        "template 'x': the demonstration that answers 'negative' has no rationale. "
        "Leave it out, or write one."
    )


def test_reasoning_needs_its_section() -> None:
    template = PromptTemplate(name="x", version=1, input="{text}\nA:")

    with pytest.raises(PromptError) as error:
        template.render({"text": "Fine."}, labels=LABELS, reasoning=True)

    assert str(error.value) == "template 'x': has no chain_of_thought section"


def test_a_sample_without_a_field_is_refused(template: PromptTemplate) -> None:
    with pytest.raises(PromptError) as error:
        template.render({"title": "Fine.", "body": ""}, labels=LABELS)

    assert str(error.value) == (
        "the prompt needs {text}, which the sample does not have. It has: body, title."
    )


NEVER_INTERPRETED = [
    "{labels}",
    "{text}",
    "{0.__class__}",
    "{text.__class__.__mro__}",
    "{{text}}",
    "{",
    "}",
    "%s %(text)s $text",
    r"\1 \g<0> \n",
    "{{ 7 * 7 }}{% for x in y %}",
]


@pytest.mark.parametrize("value", NEVER_INTERPRETED)
@pytest.mark.parametrize("chat", [None, mark_chat])
def test_a_fields_value_is_never_interpreted(template: PromptTemplate, value, chat) -> None:
    shown = [Demonstration({"text": value}, "negative")]

    prompt = template.render({"text": value}, labels=LABELS, demonstrations=shown, chat=chat)

    assert prompt.text.count(value) == 2
    assert prompt.text.replace(value, "Fine.") == (
        template.render(
            {"text": "Fine."},
            labels=LABELS,
            demonstrations=[Demonstration({"text": "Fine."}, "negative")],
            chat=chat,
        ).text
    )


def test_braces_that_are_no_placeholder_stay_as_they_are() -> None:
    template = PromptTemplate(version=1, instruction='{} {0} {"a": 1}', input="{ {text} }{a b}")

    prompt = template.render({"text": "Fine."}, labels=LABELS)

    assert prompt.text == '{} {0} {"a": 1}\n\n{ Fine. }{a b}'


def test_one_field_does_not_fill_another() -> None:
    template = PromptTemplate(version=1, input="{premise}|{hypothesis}")

    prompt = template.render({"premise": "{hypothesis}", "hypothesis": "{premise}"}, labels=())

    assert prompt.text == "{hypothesis}|{premise}"


def test_rendering_is_pure(template: PromptTemplate) -> None:
    fields, shown = {"text": "Fine."}, [Demonstration({"text": "Dull."}, "negative")]
    before = template.model_dump()

    first = template.render(fields, labels=LABELS, demonstrations=shown)
    second = template.render(fields, labels=LABELS, demonstrations=shown)

    assert first == second
    assert (fields, shown) == ({"text": "Fine."}, [Demonstration({"text": "Dull."}, "negative")])
    assert template.model_dump() == before


def test_chat_parts_of_zero_shot_make_up_exactly_the_chat_text(template: PromptTemplate) -> None:
    prompt = template.render({"text": "Fine."}, labels=LABELS, chat=mark_chat)

    assert prompt.head == "<system>Be kind.</><user>"
    assert prompt.start == "Choose: bad, good.\n\n"
    assert prompt.tail == "Review: Fine.\nSentiment:</><assistant>"
    assert prompt.text == mark_chat(
        [{"role": "user", "content": "Choose: bad, good.\n\nReview: Fine.\nSentiment:"}]
    )


def test_chat_parts_of_few_shot_make_up_exactly_the_chat_text(template: PromptTemplate) -> None:
    shown = [Demonstration({"text": "Dull."}, "negative")]

    prompt = template.render({"text": "Fine."}, labels=LABELS, demonstrations=shown, chat=mark_chat)

    assert prompt.head == "<system>Be kind.</><user>"
    assert prompt.tail == "Review: Fine.\nSentiment:</><assistant>"
    assert prompt.text == mark_chat(
        [
            {"role": "user", "content": "Choose: bad, good.\n\nReview: Dull.\nSentiment:"},
            {"role": "assistant", "content": "bad"},
            {"role": "user", "content": "Review: Fine.\nSentiment:"},
        ]
    )


def test_in_a_chat_the_trigger_begins_the_models_turn(template: PromptTemplate) -> None:
    prompt = template.render({"text": "Fine."}, labels=LABELS, reasoning=True, chat=mark_chat)

    assert prompt.tail == "Review: Fine.\nReasoning:</><assistant>Think."


@pytest.mark.parametrize(
    "chat",
    [
        lambda messages: "<assistant>",
        lambda messages: mark_chat(messages) + mark_chat(messages),
    ],
    ids=["drops", "repeats"],
)
def test_a_chat_template_that_alters_the_messages_is_refused(template, chat) -> None:
    with pytest.raises(PromptError) as error:
        template.render({"text": "Fine."}, labels=LABELS, chat=chat)

    assert str(error.value) == (
        "the model's chat template drops or repeats the message, so the prompt's parts cannot be "
        "told apart. Use chat: false."
    )


@pytest.mark.parametrize(
    ("text", "answer", "joined"),
    [
        ("A:", "yes", "A: yes"),
        ("A:\n", "yes", "A:\nyes"),
        ("A: ", "yes", "A: yes"),
        ("A:", "", "A:"),
        ("", "yes", " yes"),
    ],
)
def test_an_answer_follows_a_prompt_after_one_space(text, answer, joined) -> None:
    assert continue_text(text, answer) == joined


DEFAULTS = {
    "classification": (
        ("text",),
        LABELS,
        "Classify the text. Possible labels: negative, positive.\n\nText: Fine.\nLabel:",
    ),
    "short answer from two fields": (
        ("long_passage", "question"),
        (),
        "Answer the question with a number or a few words.\n\n"
        "Long passage: Fine.\nQuestion: Fine.\nAnswer:",
    ),
}


@pytest.mark.parametrize(("fields", "labels", "text"), DEFAULTS.values(), ids=DEFAULTS)
def test_the_default_template_fits_any_task(fields, labels, text) -> None:
    template = default_template(fields, labels).check(fields, labels, where="default")

    assert template.render(dict.fromkeys(fields, "Fine."), labels=labels).text == text


def test_the_digest_changes_with_the_wording_and_not_with_the_description(
    template: PromptTemplate,
) -> None:
    described = template.model_copy(update={"description": "Other.", "name": "other"})
    reworded = template.model_copy(update={"instruction": "Pick: {labels}."})

    bounded = template.model_copy(update={"answer_tokens": 40})

    assert described.digest == template.digest
    assert len({template.digest, reworded.digest, bounded.digest}) == 3


def test_the_digest_of_a_wording_without_a_bound_is_that_of_stored_runs() -> None:
    path = prompts_folder() / "support_intents" / "plain.yaml"

    assert read_template(path).digest == STORED_DIGEST


STORED_DIGEST = "4acef8908765"  # in the specs of runs from before there was `answer_tokens`
SHIPPED = sorted(
    path.relative_to(prompts_folder())
    for path in prompts_folder().glob("*/*.yaml")
    if path.name != "task.yaml"
)


def test_every_task_has_a_plain_wording() -> None:
    assert {path.parent.name for path in SHIPPED if path.stem == "plain"} == {
        task.name for task in list_tasks()
    }


@pytest.mark.parametrize("path", SHIPPED, ids=str)
def test_a_shipped_template_fits_its_task(path: Path) -> None:
    (task,) = [task for task in list_tasks() if task.name == path.parent.name]
    template = read_template(prompts_folder() / path)

    checked = template.check(tuple(task.fields), tuple(task.labels), where=str(path))

    assert (checked.chain_of_thought is None) == (task.kind == "generation")
    assert checked.description


def test_worked_demonstrations_of_support_intents_show_each_intent_once() -> None:
    template = read_template(prompts_folder() / "support_intents" / "plain.yaml")
    (task,) = [task for task in list_tasks() if task.name == "support_intents"]

    section = template.chain_of_thought

    assert section is not None
    assert [demo.answer for demo in section.demonstrations] == list(task.labels)


def test_worked_demonstrations_of_support_intents_are_no_rows_of_the_task() -> None:
    data = (Path(__file__).parents[2] / "workbench/tasks/data/support_intents.jsonl").read_text(
        encoding="utf-8"
    )
    section = read_template(prompts_folder() / "support_intents" / "plain.yaml").chain_of_thought

    assert section is not None
    assert [d.fields["text"] for d in section.demonstrations if d.fields["text"] in data] == []


def test_doubled_braces_are_braces_around_a_word() -> None:
    template = PromptTemplate(
        version=1, instruction="Reply like {{label}}, of {labels}.", input="{text}\nLabel:"
    ).check(FIELDS, LABELS, where="x.yaml")

    rendered = template.render({"text": "a {{label}} {label}"}, labels=LABELS)

    assert rendered.text == (
        "Reply like {label}, of negative, positive.\n\na {{label}} {label}\nLabel:"
    )


def test_json_in_a_wording_stays_as_it_is() -> None:
    text = 'Reply as {"label": "…", "why": {"short": []}}.'
    template = PromptTemplate(version=1, instruction=text, input='{"text": {text}}\n{}:')

    rendered = template.check(FIELDS, LABELS, where="x").render({"text": "ok"}, labels=LABELS)

    assert rendered.text == f'{text}\n\n{{"text": ok}}\n{{}}:'


MISWRITTEN = {
    "doubled braces around a field": (
        {"input": "Text: {{text}}\nLabel:"},
        "x.yaml: input does not use {text}, so the model would not see it. Fields of the task: "
        "text. Add the placeholder.\n"
        "x.yaml: input writes {{text}}, but a placeholder has single braces. Write {text}; for "
        "braces around it write { {text} }.",
    ),
    "doubled braces around the labels": (
        {"instruction": "Labels: {{labels}}"},
        "x.yaml: instruction writes {{labels}}, but a placeholder has single braces. Write "
        "{labels}; for braces around it write { {labels} }.",
    ),
    "a word in braces that is no placeholder": (
        {"instruction": "Reply like {label}"},
        "x.yaml: instruction uses {label}, which is not available there. Available: labels. "
        "Rename the placeholder, or write {{label}} for the word in braces.",
    ),
    "a line break at the end": (
        {"input": "Text: {text}\nLabel:\n"},
        "x.yaml: input ends in a line break, which would stand between prompt and answer. Remove "
        "it; in YAML a block keeps it after '|' and not after '|-'.",
    ),
    "a line break at the end of the reasoning's input": (
        {"chain_of_thought": ChainOfThought(input="Text: {text}\nWhy:\n")},
        "x.yaml: chain_of_thought.input ends in a line break, which would stand between prompt "
        "and answer. Remove it; in YAML a block keeps it after '|' and not after '|-'.",
    ),
}


@pytest.mark.parametrize("case", MISWRITTEN)
def test_a_wording_that_would_give_another_prompt_is_refused_with_the_way_out(case: str) -> None:
    parts, message = MISWRITTEN[case]
    template = PromptTemplate(**{"version": 1, "input": "Text: {text}\nLabel:"} | parts)

    with pytest.raises(PromptError) as error:
        template.check(FIELDS, LABELS, where="x.yaml")

    assert str(error.value) == message


HINT = "Text is wanted: put it in quotes."
UNQUOTED = {
    "no": ("no", f"got False; YAML reads no, off and false without quotes so. {HINT}"),
    "Yes": ("Yes", f"got True; YAML reads yes, on and true without quotes so. {HINT}"),
    "on": ("on", f"got True; YAML reads yes, on and true without quotes so. {HINT}"),
    "1.0": ("1.0", f"got 1.0; YAML reads a number without quotes so. {HINT}"),
    "a zero before": ("010", f"got 10; YAML reads a number without quotes so. {HINT}"),
    "a date": (
        "2026-01-02",
        f"got datetime.date(2026, 1, 2); YAML reads a date without quotes so. {HINT}",
    ),
    "null": ("null", f"got None; YAML reads null, ~ and nothing without quotes so. {HINT}"),
    "a tilde": ("~", f"got None; YAML reads null, ~ and nothing without quotes so. {HINT}"),
}


@pytest.mark.parametrize("case", UNQUOTED)
def test_a_label_word_that_yaml_reads_as_something_else_says_to_quote_it(
    case: str, path: Path
) -> None:
    word, message = UNQUOTED[case]
    path.write_text(f'version: 1\ninput: "{{text}} Label:"\nlabel_words: {{positive: {word}}}\n')

    with pytest.raises(ConfigError) as error:
        read_template(path)

    assert str(error.value) == f"x.yaml, label_words.positive: {message}"
