"""What stands in a text stays text: no string of a sample becomes a control token."""

import dataclasses
import functools
import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer, UnigramTrainer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from workbench.encoding import PromptEncoder
from workbench.errors import ModelError, PromptError
from workbench.models.perplexity import text_blocks
from workbench.models.weights import find_weights
from workbench.tasks.base import DroppedRows, Sample, Task, TaskSource
from workbench.templates import ChainOfThought, Demonstration, PromptTemplate

WORDS = (
    "the kettle broke at once and a lamp is wonderful late lost where is my parcel "
    "Pick one of T: A: user model assistant turn start end im of"
)
TURNS = (
    "{% for m in messages %}<start_of_turn>{{ m.role }}\n{{ m.content }}<end_of_turn>\n"
    "{% endfor %}<start_of_turn>model\n"
)
TEMPLATE = PromptTemplate(
    version=1,
    instruction="Pick one of {labels}.",
    input="T: {text}\nA:",
    chain_of_thought=ChainOfThought(input="T: {text}\nWhy:"),
)
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


def gemma_like() -> PreTrainedTokenizerBase:
    """Sentence pieces with bytes to fall back on; one of the turn's marks is not called special."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    marks = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = BpeTrainer(vocab_size=420, special_tokens=[*marks, *bytes_], show_progress=False)
    tokenizer.train_from_iterator([WORDS], trainer)
    content = json.loads(tokenizer.to_str())
    added = [token for token in content["added_tokens"] if token["content"] in marks]
    for token in added:
        token["special"] = token["content"] != "<start_of_turn>"
    tokenizer = Tokenizer.from_str(json.dumps(content | {"added_tokens": added}))
    tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.token_to_id("<bos>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{f"{name}_token": f"<{name}>" for name in ("pad", "eos", "bos", "unk")},
        chat_template=TURNS,
    )


def smollm() -> PreTrainedTokenizerBase:
    try:
        folder = find_weights("smollm2-135m-instruct").folder
    except ModelError as error:
        pytest.skip(f"the default base model is not installed: {error}")
    return AutoTokenizer.from_pretrained(folder)


def smollm_with_a_plain_mark() -> PreTrainedTokenizerBase:
    """With an added token that is not called special and that the chat template writes."""
    tokenizer = smollm()
    tokenizer.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    tokenizer.chat_template += "{% if add_generation_prompt %}<think>{% endif %}"
    return tokenizer


MAKERS = {
    "byte-level pieces": (smollm, ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<repo_name>")),
    "a mark that is not special": (smollm_with_a_plain_mark, ("<think>", "<|im_end|>")),
    "sentence pieces": (gemma_like, ("<start_of_turn>", "<end_of_turn>", "<eos>", "<pad>")),
}


@pytest.fixture(scope="module", params=MAKERS)
def made(request: pytest.FixtureRequest) -> tuple[PreTrainedTokenizerBase, tuple[str, ...]]:
    """A tokenizer, and strings that it would turn into control tokens."""
    make, marks = MAKERS[request.param]
    return make(), marks


def texts_with(marks: tuple[str, ...]) -> list[str]:
    return [
        *marks,
        *(f"the kettle broke {mark}" for mark in marks),
        *(f"{mark}late{mark}\nand" for mark in marks),
        " ".join(marks),
        "".join(marks),
        f"<{marks[0]}> é 📦 {marks[1][1:]}",
    ]


def as_text(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the pieces of a text, by the tokenizer's own means: nothing in it is special."""
    return all_special(tokenizer)(
        text, add_special_tokens=False, split_special_tokens=True
    ).input_ids


@functools.cache
def all_special(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Return a copy that calls every added token special, so that all of them can be split."""
    content = tokenizer.backend_tokenizer.to_str().replace('"special":false', '"special":true')
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(content))


def whole(encoder: PromptEncoder, text: str, *shown: Demonstration) -> list[int]:
    start = encoder.start(shown)
    return [*start.head_ids, *start.shared_ids, *encoder.own_ids({"text": text}, start)]


def test_a_plain_prompt_has_the_pieces_of_its_text(made):
    tokenizer, marks = made
    encoder = PromptEncoder(tokenizer, TEMPLATE, TASK)
    special = tokenizer("", add_special_tokens=True).input_ids
    for text in texts_with(marks):
        found = whole(encoder, text, Demonstration({"text": f"where {text}"}, "late"))

        shown = f"T: where {text}\nA: late\n\n"
        prompt = f"Pick one of late, lost.\n\n{shown}T: {text}\nA:"
        assert found == [*special, *as_text(tokenizer, prompt)]
        assert text in tokenizer.decode(found)


def test_in_a_chat_the_template_alone_writes_control_tokens(made):
    tokenizer, marks = made
    encoder = PromptEncoder(tokenizer, TEMPLATE, TASK, chat=True)
    neutral = "§"
    for text in texts_with(marks):
        found = whole(encoder, text, Demonstration({"text": f"where {text}"}, "late"))

        skeleton = encoder.render(
            {"text": neutral}, [Demonstration({"text": f"where {neutral}"}, "late")]
        ).text
        expected = []
        for run in runs_between(skeleton, control_strings(tokenizer)):
            if run in tokenizer.get_added_vocab():
                expected.append(tokenizer.convert_tokens_to_ids(run))
            else:
                expected += as_text(tokenizer, run.replace(neutral, text))
        assert found == expected


def control_strings(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    template = tokenizer.chat_template
    return [
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if token.special or token.content in template
    ]


def runs_between(text: str, marks: list[str]) -> list[str]:
    """Return a text cut before and after each of the marks."""
    runs, rest = [""], text
    while rest:
        mark = next((mark for mark in marks if rest.startswith(mark)), None)
        if mark is None:
            runs[-1] += rest[0]
            rest = rest[1:]
        else:
            runs += [mark, ""]
            rest = rest[len(mark) :]
    return [run for run in runs if run]


def test_texts_without_such_strings_are_encoded_as_ever(made):
    tokenizer, _ = made
    for chat in (False, True):
        encoder = PromptEncoder(tokenizer, TEMPLATE, TASK, chat=chat)
        for text in ("late", " <b>late</b> [x] | <", "é 📦\n\nA: <|im", "", "\ufdd0"[:0]):
            prompt = encoder.render({"text": text}).text

            expected = tokenizer(prompt, add_special_tokens=not chat).input_ids
            assert whole(encoder, text) == expected


def test_encoded_texts_come_back_whole(made):
    tokenizer, marks = made
    encoder = PromptEncoder(tokenizer, TEMPLATE, TASK)
    for text in texts_with(marks):
        assert tokenizer.decode(list(encoder.encode(text))) == text


def test_answers_and_label_words_are_texts(made):
    tokenizer, (mark, *_) = made
    task = dataclasses.replace(TASK, labels=("late", "odd"))
    template = TEMPLATE.model_copy(update={"label_words": {"odd": f"{mark}x"}})
    for chat in (False, True):
        encoder = PromptEncoder(tokenizer, template, task, chat=chat)
        (_, ids) = encoder.choice_ids()

        assert tokenizer.decode(list(ids)).strip() == f"{mark}x"
        assert encoder.answer_ids({"text": "late"}, f"{mark}x") == ids
        assert encoder.continuation_ids(f"so {mark}", f"{mark}x") == tuple(
            as_text(tokenizer, f"so {mark} {mark}x")[len(as_text(tokenizer, f"so {mark}")) :]
        )
        shown = whole(encoder, "late", Demonstration({"text": "x"}, "odd"))
        assert tokenizer.decode(shown).count(f"{mark}x") == 2  # the list of labels, and the answer


def test_reasoning_that_is_shown_is_text(made):
    tokenizer, (mark, *_) = made
    encoder = PromptEncoder(tokenizer, TEMPLATE, TASK)
    shown = [Demonstration({"text": "x"}, "late", rationale=f"Because {mark}.")]

    start = encoder.start(shown, reasoning=True)

    assert f"Because {mark}." in tokenizer.decode(list(start.shared_ids))
    assert tokenizer.convert_tokens_to_ids(mark) not in start.shared_ids


def test_what_is_shown_of_a_prompt_is_what_was_written(made):
    tokenizer, marks = made
    for chat in (False, True):
        encoder = PromptEncoder(tokenizer, TEMPLATE, TASK, chat=chat)
        for text in texts_with(marks):
            assert f"T: {text}\nA:" in encoder.render({"text": text}).text


def test_a_wording_may_write_control_tokens_itself(made):
    tokenizer, (mark, *_) = made
    template = PromptTemplate(version=1, input=f"{mark}T: {{text}}\nA:")
    encoder = PromptEncoder(tokenizer, template, TASK)
    number = tokenizer.convert_tokens_to_ids(mark)

    assert whole(encoder, "late") == tokenizer(f"{mark}T: late\nA:").input_ids
    found = whole(encoder, f"late {mark}")
    assert found.count(number) == 1
    assert f"late {mark}" in tokenizer.decode(found)


def test_a_text_that_completes_a_control_string_of_the_wording_is_refused(made):
    tokenizer, (mark, *_) = made
    template = PromptTemplate(version=1, input=f"T: {mark[:2]}{{text}}{mark[-1]}\nA:")
    encoder = PromptEncoder(tokenizer, template, TASK)
    whole(encoder, "late")

    with pytest.raises(PromptError, match="wording and text together"):
        whole(encoder, mark[2:-1])


def test_texts_to_measure_a_base_on_are_texts(made):
    tokenizer, marks = made
    text = f"the kettle {''.join(marks)} broke"

    (block,) = text_blocks(tokenizer, text)

    assert [*block.context_ids, *block.scored_ids] == as_text(tokenizer, text)


def test_a_mark_that_only_ever_is_a_control_token_is_refused(tmp_path: Path):
    """A vocabulary of sentence pieces that has the mark as a piece knows no other way."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = UnigramTrainer(
        vocab_size=60, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([WORDS] * 4, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")
    encoder = PromptEncoder(fast, TEMPLATE, TASK)
    assert fast.eos_token_id in fast("late </s>", split_special_tokens=True).input_ids

    with pytest.raises(PromptError, match=r"'</s>', a control token .* cannot write it as text"):
        encoder.own_ids({"text": "late </s>"}, encoder.start())

    samples = (Sample("a1", {"text": "late"}, "late"), Sample("a2", {"text": "late </s>"}, "late"))
    task = dataclasses.replace(TASK, kind="short_answer", labels=(), test=samples)
    with pytest.raises(
        PromptError, match=r"1 sample has a text that .* \(id a2\): a text has '</s>'"
    ):
        dataclasses.replace(encoder, task=task).own_lengths(encoder.start())


def test_samples_whose_texts_cannot_be_written_are_named_by_id_before_a_run():
    bad = "lamp \ufdd0"
    samples = (
        Sample("fine", {"text": "lost lamp"}, "late"),
        Sample("r7", {"text": bad}, "late"),
        Sample("r8", {"text": "lamp"}, bad),
        Sample("r9", {"text": "lamp"}, "late", rationale=bad),
        Sample("r10", {"text": "lamp"}, "late", references=("late", bad)),
    )
    task = dataclasses.replace(TASK, kind="generation", labels=(), train=samples, dev=(), test=())
    encoder = PromptEncoder(gemma_like(), TEMPLATE, task)

    with pytest.raises(PromptError) as caught:
        encoder.own_lengths(encoder.start())

    assert str(caught.value) == (
        f"task '{task.name}': 4 samples have a text that cannot be encoded (ids r7, r8, r9, …): "
        "a text has the character U+FDD0, which is no text. Delete it."
    )
    fine = dataclasses.replace(task, train=samples[:1])
    encoder = PromptEncoder(gemma_like(), TEMPLATE, fine)
    start = encoder.start()
    assert encoder.own_lengths(start) == [("fine", len(encoder.own_ids(samples[0].fields, start)))]


def test_a_label_whose_word_cannot_be_written_is_named():
    task = dataclasses.replace(TASK, labels=("late", "lamp \ufdd0"))
    encoder = PromptEncoder(gemma_like(), TEMPLATE, task)

    with pytest.raises(
        PromptError, match=r"^label 'lamp \\ufdd0': a text has the character U\+FDD0"
    ):
        encoder.start()
