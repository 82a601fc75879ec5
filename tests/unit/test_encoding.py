"""Tokens of prompts: shared start and own part are the whole prompt's tokens, for any text."""

import dataclasses
from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from workbench.encoding import PromptEncoder, PromptStart
from workbench.errors import ModelError, PromptError
from workbench.models.weights import find_weights
from workbench.tasks.base import DroppedRows, Sample, Task, TaskSource
from workbench.tasks.catalog import load_task, prompts_folder
from workbench.templates import (
    ChainOfThought,
    Demonstration,
    PromptTemplate,
    continue_text,
    read_template,
)

AWKWARD = {
    "leading spaces": "   late",
    "trailing spaces": "late   ",
    "leading newline": "\nlate",
    "leading newlines": "\n\n\nlate",
    "trailing newlines": "late\n\n",
    "only spaces": "   ",
    "only a newline": "\n",
    "tabs and returns": "\t\r\n\tlate",
    "empty": "",
    "emoji": "👩‍👩‍👧 where is it 📦",
    "accents in two forms": "café cafe\u0301",
    "other scripts": "Где мой заказ? 注文はどこ",
    "zero width and no-break": "\u200blate\u00a0now\ufeff",
    "digits": "1234567890 1,000.50",
    "code": "def f(x):\n    return {x: [1]}",
    "the prompt's own words": "Message: x\nTopic: billing\n\nMessage: y\nTopic:",
    "very long": "where is my parcel? " * 1500,
    "one long word": "a" * 5000,
}
TEMPLATES = {
    "instruction": PromptTemplate(version=1, instruction="Pick {labels}.", input="T: {text}\nA:"),
    "no instruction": PromptTemplate(version=1, input="{text}\nA:"),
    "input starts with the text": PromptTemplate(
        version=1, instruction="Pick {labels}.", input="{text}\nA:"
    ),
    "separator is a space": PromptTemplate(
        version=1, instruction="Pick {labels}:", input="{text} =>", separator=" "
    ),
    "separator is empty": PromptTemplate(
        version=1, instruction="Pick", input="{text} =>", separator=""
    ),
    "input is the text alone": PromptTemplate(
        version=1, instruction="Pick {labels}.", input="{text}"
    ),
}
SHOWN = {
    "zero-shot": (),
    "few-shot": (
        Demonstration({"text": "  Where is it?\n"}, "late"),
        Demonstration({"text": "📦"}, "lost"),
    ),
}
TASK = Task(
    name="parcels",
    kind="classification",
    labels=("late", "lost"),
    field_names=("text",),
    train=(Sample("1", {"text": "x"}, "late"),),
    dev=(),
    test=(),
    source=TaskSource("embedded", "tests", "none"),
    dropped=DroppedRows({}),
)


@pytest.fixture(scope="session")
def smollm() -> PreTrainedTokenizerBase:
    """The tokenizer of the default base model."""
    try:
        folder = find_weights("smollm2-135m-instruct").folder
    except ModelError as error:
        pytest.skip(f"the default base model is not installed: {error}")
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session")
def with_bos(tiny_folder: Path) -> PreTrainedTokenizerBase:
    """One token per byte, and a special token added before every text."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    tokenizer.add_special_tokens({"bos_token": "<begin>"})
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<begin> $A", special_tokens=[("<begin>", tokenizer.bos_token_id)]
    )
    return tokenizer


@pytest.fixture(scope="session")
def with_end(tiny_folder: Path) -> PreTrainedTokenizerBase:
    """One token per byte, and a special token added after every text."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A <end>", special_tokens=[("<end>", tokenizer.eos_token_id)]
    )
    return tokenizer


@pytest.fixture(scope="session")
def with_both(tiny_folder: Path) -> PreTrainedTokenizerBase:
    """One token per byte, and a special token before and after every text."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    tokenizer.add_special_tokens({"bos_token": "<begin>"})
    ends = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("<begin>", "<end>")]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<begin> $A <end>", special_tokens=ends
    )
    return tokenizer


@pytest.fixture(params=["smollm", "with_bos", "with_end", "with_both"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    """Each of the tokenizers."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def support_intents() -> Task:
    """The embedded task."""
    return load_task("support_intents")


def whole_ids(
    encoder: PromptEncoder, fields: dict[str, str], start: PromptStart
) -> tuple[int, ...]:
    """Return the tokens of the whole prompt, encoded as one text, and what is put before it."""
    text = encoder.render(fields, start.demonstrations, reasoning=start.reasoning).text
    plain = encoder.tokenizer(text, add_special_tokens=False).input_ids
    if encoder.chat:
        return tuple(plain)
    # What a tokenizer puts after a text would stand between the prompt and its answer.
    ids = encoder.tokenizer(text).input_ids
    start_of_text = next(at for at in (0, 1) if ids[at : at + len(plain)] == plain)
    return tuple(ids[: start_of_text + len(plain)])


def split_ids(
    encoder: PromptEncoder, fields: dict[str, str], start: PromptStart
) -> tuple[int, ...]:
    """Return the tokens that a row gets: those all share, then its own."""
    return start.head_ids + start.shared_ids + encoder.own_ids(fields, start)


@pytest.mark.parametrize(
    ("name", "chat", "number"),
    [
        ("with_bos", False, 0),
        ("with_end", False, 1),
        ("with_both", False, 1),
        ("with_end", True, 0),
    ],
)
def test_how_many_tokens_a_tokenizer_puts_after_a_text(request, name, chat, number):
    tokenizer = request.getfixturevalue(name)
    encoder = PromptEncoder(tokenizer, TEMPLATES["instruction"], TASK, chat=chat)
    assert encoder.num_appended == number
    assert len(encoder.tokenizer("ab").input_ids) == 2 + number + (name != "with_end") + chat


@pytest.mark.parametrize(
    ("wording", "k", "reasoning", "chat"),
    [
        ("plain", 0, False, False),
        ("plain", 6, False, False),
        ("plain", 6, False, True),
        ("plain", 0, True, False),
        ("brief", 6, False, False),
        ("question", 0, False, True),
    ],
)
def test_start_and_own_tokens_are_the_whole_prompts_tokens_for_every_message(
    smollm, support_intents, wording, k, reasoning, chat
) -> None:
    template = read_template(prompts_folder() / "support_intents" / f"{wording}.yaml")
    encoder = PromptEncoder(smollm, template, support_intents, chat)
    shown = [Demonstration(s.fields, s.target, "So it is.") for s in support_intents.train[:k]]
    start = encoder.start(shown, reasoning=reasoning)
    samples = support_intents.train + support_intents.dev + support_intents.test

    different = [
        sample.id
        for sample in samples
        if split_ids(encoder, sample.fields, start) != whole_ids(encoder, sample.fields, start)
    ]

    assert len(samples) == 720
    assert different == []


def test_the_start_is_head_instruction_and_demonstrations(smollm) -> None:
    encoder = PromptEncoder(smollm, TEMPLATES["instruction"], TASK)

    start = encoder.start(SHOWN["few-shot"])

    assert start.head_ids == ()
    assert smollm.decode(start.shared_ids) == (
        "Pick late, lost.\n\nT:   Where is it?\n\nA: late\n\nT: 📦\nA: lost\n\n"
    )
    assert start.demonstrations == SHOWN["few-shot"]
    assert start.prefix.pieces == (start.head_ids + start.shared_ids,)


def test_added_special_tokens_are_the_head(with_bos) -> None:
    encoder = PromptEncoder(with_bos, TEMPLATES["instruction"], TASK)

    start = encoder.start()

    assert start.head_ids == (with_bos.bos_token_id,)
    assert with_bos.decode(start.shared_ids) == "Pick late, lost.\n\n"


def test_added_special_tokens_are_all_that_is_shared_without_an_instruction(with_bos) -> None:
    encoder = PromptEncoder(with_bos, TEMPLATES["no instruction"], TASK)

    start = encoder.start()

    assert (start.head_ids, start.shared_ids) == ((with_bos.bos_token_id,), ())


def test_without_an_instruction_nothing_is_shared(smollm) -> None:
    encoder = PromptEncoder(smollm, TEMPLATES["no instruction"], TASK)

    start = encoder.start()

    assert (start.head_ids, start.shared_ids) == ((), ())
    assert encoder.own_ids({"text": "Hi"}, start) == encoder.encode("Hi\nA:")


def test_in_a_chat_the_head_is_what_stands_before_the_instruction(smollm) -> None:
    encoder = PromptEncoder(smollm, TEMPLATES["instruction"], TASK, chat=True)

    start = encoder.start()
    own = encoder.own_ids({"text": "Hi"}, start)

    assert smollm.decode(start.head_ids) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\n"
    )
    assert smollm.decode(start.shared_ids) == "Pick late, lost.\n\n"
    assert smollm.decode(own) == "T: Hi\nA:<|im_end|>\n<|im_start|>assistant\n"


def test_chat_tokens_are_those_of_the_tokenizers_own_chat_template(smollm) -> None:
    encoder = PromptEncoder(smollm, TEMPLATES["instruction"], TASK, chat=True)
    start = encoder.start([Demonstration({"text": "Hm"}, "lost")])

    ids = split_ids(encoder, {"text": "Hi"}, start)

    messages = [
        {"role": "user", "content": "Pick late, lost.\n\nT: Hm\nA:"},
        {"role": "assistant", "content": "lost"},
        {"role": "user", "content": "T: Hi\nA:"},
    ]
    own = smollm.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert list(ids) == own


def test_a_chat_needs_a_chat_template(with_bos) -> None:
    with_bos = AutoTokenizer.from_pretrained(with_bos.name_or_path)
    with_bos.chat_template = None

    with pytest.raises(PromptError) as error:
        PromptEncoder(with_bos, TEMPLATES["instruction"], TASK, chat=True)

    assert str(error.value) == (
        "chat: the model's tokenizer has no chat template. Use chat: false, or an "
        "instruction-tuned model."
    )


@pytest.mark.parametrize("chat", [False, True], ids=["plain", "chat"])
@pytest.mark.parametrize("shown", SHOWN.values(), ids=SHOWN)
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_no_text_is_lost_or_doubled_by_the_split(smollm, template, shown, chat) -> None:
    encoder = PromptEncoder(smollm, template, TASK, chat)
    start = encoder.start(shown)

    decoded = {
        name: smollm.decode(split_ids(encoder, {"text": text}, start))
        for name, text in AWKWARD.items()
    }

    assert decoded == {
        name: encoder.render({"text": text}, shown).text for name, text in AWKWARD.items()
    }


@pytest.mark.parametrize("shown", SHOWN.values(), ids=SHOWN)
@pytest.mark.parametrize("text", AWKWARD.values(), ids=AWKWARD)
def test_where_a_word_stands_before_the_text_no_text_changes_a_shared_token(
    tokenizer, text, shown
) -> None:
    encoder = PromptEncoder(tokenizer, TEMPLATES["instruction"], TASK)
    start = encoder.start(shown)

    assert split_ids(encoder, {"text": text}, start) == whole_ids(encoder, {"text": text}, start)


def test_a_text_that_merges_with_the_separator_is_encoded_on_its_own(smollm) -> None:
    encoder = PromptEncoder(smollm, TEMPLATES["input starts with the text"], TASK)
    start = encoder.start()
    fields = {"text": "\n\n\nlate"}

    own = encoder.own_ids(fields, start)

    shared = start.head_ids + start.shared_ids
    assert whole_ids(encoder, fields, start)[: len(shared)] != shared
    assert own == encoder.encode("\n\n\nlate\nA:")


def test_a_separator_that_merges_with_every_text_belongs_to_the_text(smollm) -> None:
    encoder = PromptEncoder(smollm, TEMPLATES["separator is a space"], TASK)
    start = encoder.start()

    own = encoder.own_ids({"text": "late"}, start)

    assert smollm.decode(start.shared_ids) == "Pick late, lost:"
    assert smollm.decode(own) == " late =>"


def test_an_empty_text_may_leave_a_row_without_tokens_of_its_own(smollm) -> None:
    encoder = PromptEncoder(smollm, TEMPLATES["input is the text alone"], TASK)

    own = encoder.own_ids({"text": ""}, encoder.start())

    assert smollm.decode(own) == ""


@pytest.mark.parametrize("chat", [False, True], ids=["plain", "chat"])
@pytest.mark.parametrize(
    ("premise", "hypothesis"),
    [
        ("It rains.", "It is wet."),
        ("", ""),
        ("\n", "  "),
        ("{hypothesis}", "{premise}"),
        ("📦 " * 50, "\u200b"),
    ],
    ids=["words", "empty", "white space", "placeholders", "emoji and zero width"],
)
def test_two_texts_are_both_in_the_rows_own_tokens(smollm, premise, hypothesis, chat) -> None:
    template = read_template(prompts_folder() / "rte" / "plain.yaml")
    task = dataclasses.replace(
        TASK, labels=("entailment", "not entailment"), field_names=("premise", "hypothesis")
    )
    encoder = PromptEncoder(smollm, template, task, chat)
    fields = {"premise": premise, "hypothesis": hypothesis}
    shown = [Demonstration({"premise": "A.", "hypothesis": "B."}, "not entailment")]
    start = encoder.start(shown)

    own = smollm.decode(encoder.own_ids(fields, start))

    assert own.startswith(f"Premise: {premise}\nHypothesis: {hypothesis}\nAnswer:")
    assert split_ids(encoder, fields, start) == whole_ids(encoder, fields, start)


CONTEXTS = ["Sentiment:", "Topic:\n", "So the answer is", "(", "", "📦", "x" * 3000]


@pytest.mark.parametrize("word", ["late", "not entailment", "top up by card", "42", "-7", "étage"])
def test_a_words_tokens_are_those_that_it_adds_to_the_context(tokenizer, word) -> None:
    encoder = PromptEncoder(tokenizer, TEMPLATES["instruction"], TASK)

    rows = [encoder.encode(text) + encoder.continuation_ids(text, word) for text in CONTEXTS]

    assert rows == [encoder.encode(continue_text(text, word)) for text in CONTEXTS]


def test_the_space_belongs_to_the_word(smollm) -> None:
    encoder = PromptEncoder(smollm, TEMPLATES["instruction"], TASK)

    assert smollm.convert_ids_to_tokens(encoder.continuation_ids("A:", "late")) == ["Ġlate"]
    assert smollm.convert_ids_to_tokens(encoder.continuation_ids("A:\n", "late")) == ["late"]


@pytest.mark.parametrize("context", ["A: ", "A:\n\n"], ids=["space", "blank line"])
def test_where_a_word_changes_the_contexts_tokens_it_is_encoded_on_its_own(smollm, context) -> None:
    encoder = PromptEncoder(smollm, TEMPLATES["instruction"], TASK)

    added = encoder.continuation_ids(context, "late")

    assert encoder.encode(context) + encoder.encode("late") != encoder.encode(f"{context}late")
    assert added == encoder.encode("late")


def test_choices_are_the_label_words_after_the_input(smollm) -> None:
    template = PromptTemplate(version=1, input="{text}\nA:", label_words={"lost": "never came"})
    encoder = PromptEncoder(smollm, template, TASK)

    late, lost = map(smollm.convert_ids_to_tokens, encoder.choice_ids())

    assert (late, lost) == (["Ġlate"], ["Ġnever", "Ġcame"])


def test_in_a_chat_choices_begin_the_models_turn_without_a_space(smollm) -> None:
    encoder = PromptEncoder(smollm, TEMPLATES["instruction"], TASK, chat=True)

    late, lost = map(smollm.decode, encoder.choice_ids())

    assert (late, lost) == ("late", "lost")


@pytest.mark.parametrize("text", AWKWARD.values(), ids=AWKWARD)
def test_choices_are_the_tokens_that_follow_any_row(smollm, text) -> None:
    encoder = PromptEncoder(smollm, TEMPLATES["instruction"], TASK)
    start = encoder.start()
    prompt = encoder.render({"text": text})

    rows = [split_ids(encoder, {"text": text}, start) + choice for choice in encoder.choice_ids()]

    assert rows == [encoder.encode(f"{prompt.text} {label}") for label in TASK.labels]


def test_reasoning_is_asked_for_in_the_rows_own_tokens(smollm) -> None:
    section = ChainOfThought(input="T: {text}\nR:", trigger="Think.")
    template = PromptTemplate(version=1, input="T: {text}\nA:", chain_of_thought=section)
    encoder = PromptEncoder(smollm, template, TASK)

    own = encoder.own_ids({"text": "Hi"}, encoder.start(reasoning=True))

    assert smollm.decode(own) == "T: Hi\nR: Think."


SINGLE_TOKEN = ("ag_news", "boolq", "rte", "sst2", "support_intents", "trec")


@pytest.mark.parametrize("name", SINGLE_TOKEN)
def test_label_words_of_shipped_templates_are_one_token_each(smollm, name) -> None:
    for path in sorted((prompts_folder() / name).glob("*.yaml")):
        if path.name == "task.yaml":
            continue
        words = read_template(path).label_words.values()

        tokens = [smollm(f" {word}").input_ids for word in words]

        assert [len(ids) for ids in tokens] == [1] * len(tokens), path
        assert len({ids[0] for ids in tokens}) == len(tokens), path
