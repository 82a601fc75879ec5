"""Label words that begin one another: each can win, and together they are one probability."""

from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import normalizers
from transformers import AutoModelForCausalLM

from toys import TOY_TEMPLATE
from workbench.encoding import PromptEncoder
from workbench.errors import PromptError
from workbench.fitting.base import FitContext
from workbench.fitting.learning import dev_score, training_examples
from workbench.fitting.prediction import predict
from workbench.methods.catalog import make_method, method_class
from workbench.runs.execute import RunRequest, execute, restore
from workbench.runs.session import Session
from workbench.runs.store import RunStore
from workbench.runs.task_metrics import measure
from workbench.tasks.base import DroppedRows, Sample, Task, TaskSource

NESTED = ("good", "good deal")
RATINGS = tuple(str(number) for number in range(1, 11))


def nested_task(labels: tuple[str, ...] = NESTED) -> Task:
    words = ("yes sun", "no rain")

    def samples(split: str, num: int) -> tuple[Sample, ...]:
        return tuple(
            Sample(f"{split}-{i}", {"text": f"{words[i % 2]} {i % 7}"}, labels[i % len(labels)])
            for i in range(num)
        )

    return Task(
        name="nested", kind="classification", labels=labels, field_names=("text",),
        train=samples("train", 24), dev=samples("dev", 10), test=samples("test", 10),
        source=TaskSource("embedded", "tests", "none"), dropped=DroppedRows({}),
    )  # fmt: skip


@pytest.fixture
def context(tiny_engine, tmp_path) -> FitContext:
    encoder = PromptEncoder(tiny_engine.tokenizer, TOY_TEMPLATE, nested_task())
    return FitContext(tiny_engine, encoder, seed=0, folder=tmp_path / "run")


def plain_logprob(model, tokenizer, prompt: str, continuation: str) -> float:
    """Return log p(continuation | prompt) by one forward pass of the whole text."""
    start = tokenizer(prompt, add_special_tokens=False).input_ids
    ids = tokenizer(prompt + continuation, add_special_tokens=False).input_ids
    with torch.no_grad():
        logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    places = range(len(start), len(ids))
    return float(sum(logprobs[place - 1, ids[place]] for place in places))


@pytest.mark.parametrize("labels", [NESTED, RATINGS], ids=["words", "ratings"])
def test_each_label_scores_as_its_word_and_the_end_after_it(context, tiny_folder, labels):
    encoder = replace(context.encoder, task=nested_task(labels))
    fitted = make_method("zero_shot", {}).fit(replace(context, encoder=encoder))
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)

    found = predict(context.engine, fitted, encoder.task.test[:3])

    for prediction, sample in zip(found, encoder.task.test, strict=False):
        prompt = encoder.render(sample.fields).text
        wanted = np.exp(
            [plain_logprob(model, encoder.tokenizer, prompt, f" {w}\n\n") for w in labels]
        )
        assert prediction.label_mass == pytest.approx(wanted.sum(), rel=1e-3, abs=0)
        assert list(prediction.probabilities.values()) == pytest.approx(
            list(wanted / wanted.sum()), rel=1e-3, abs=0
        )


def test_without_such_words_nothing_is_scored_after_them(context, toy_task):
    encoder = replace(context.encoder, task=toy_task)

    assert encoder.choice_ids() == (encoder.encode(" good"), encoder.encode(" bad"))
    crossed = replace(toy_task, labels=("bad", "badly", "good"))
    assert [ids[-2:] for ids in replace(encoder, task=crossed).choice_ids()] == [
        encoder.encode("\n\n")
    ] * 3


@pytest.mark.parametrize("name", ["lora", "prefix_tuning"])
def test_both_words_are_learned_and_the_mass_is_no_more_than_one(name, context):
    rate = method_class(name).tiny_rate
    method = make_method(
        name, {"steps": 60, "batch_size": 8, "eval_every": 20, "learning_rate": rate}
    )

    fitted = method.fit(context)

    found = predict(context.engine, fitted, context.task.test)
    assert [p.answer for p in found] == [s.target for s in context.task.test]
    assert max(p.label_mass for p in found) <= 1
    assert measure(context.task, found)["accuracy"].value == 1.0
    assert dev_score(context, fitted).accuracy == 1.0


def test_training_and_demonstrations_end_an_answer_as_it_is_scored(context):
    encoder, task = context.encoder, context.task
    start = encoder.start()
    end = encoder.label_choices().end

    examples = training_examples(context, start)
    shown = make_method("few_shot", {"k": 2}).fit(context)

    assert {e.answer_ids for e in examples} == set(encoder.choice_ids())
    text = encoder.tokenizer.decode(shown.start.shared_ids)
    for demonstration in shown.start.demonstrations:
        answered = f"A: {demonstration.answer}{end}"
        assert answered in text, (task.name, text)


@pytest.mark.parametrize("name", ["zero_shot", "few_shot"])
def test_calibration_divides_by_the_same_events(name, context):
    fitted = make_method(name, {"calibrate": True}).fit(context)
    rows = [fitted.condition({"text": text}) for text in ("N/A", "[MASK]", "")]

    scores = context.engine.score(rows, [context.encoder.choice_ids()] * 3)

    mean = np.mean([score.probabilities for score in scores], axis=0)
    np.testing.assert_allclose(np.exp(fitted.log_prior), mean, atol=1e-9)


def test_a_conclusion_ends_as_worked_demonstrations_do(context, tiny_folder):
    encoder = context.encoder
    fitted = make_method("chain_of_thought", {"k": 0, "max_new_tokens": 1}).fit(context)
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    sample = context.task.test[0]

    (found,) = predict(context.engine, fitted, [sample])

    reasoned = encoder.render(sample.fields, reasoning=True).text + found.text.rstrip()
    wanted = np.exp(
        [
            plain_logprob(model, encoder.tokenizer, f"{reasoned} So", f" {word}.\n\n")
            for word in NESTED
        ]
    )
    assert found.label_mass == pytest.approx(wanted.sum(), rel=1e-3, abs=0)


def test_a_chat_ends_an_answer_as_the_models_own_template_does(context):
    encoder = replace(context.encoder, chat=True)

    assert encoder.choice_ids() == tuple(encoder.encode(f" {word}\n") for word in NESTED)
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>\n{% endfor %}"
    encoder.tokenizer.chat_template = template + "<assistant>"
    ends = [ids[-2:] for ids in encoder.choice_ids()]
    assert ends == [(*encoder.encode("d"), 0), (*encoder.encode("l"), 0)]


def test_where_the_wording_ends_in_a_word_the_tokenizers_own_end_is_taken(context):
    worded = context.template.model_copy(update={"separator": " deal"})
    encoder = replace(context.encoder, template=worded)

    # "good" and what follows it in the wording is the other word again.
    assert [ids[-1] for ids in encoder.choice_ids()] == [0, 0]


def test_words_that_the_tokenizer_cannot_tell_apart_are_refused(context):
    context.encoder.tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    encoder = replace(context.encoder, task=nested_task(("Good", "good")))

    with pytest.raises(PromptError) as caught:
        encoder.choice_ids()

    assert str(caught.value) == (
        "labels 'Good' and 'good': in the tokens of the base model one word is or begins the "
        "other, and no end after them tells them apart. Give one of them another word under "
        "label_words."
    )


def test_what_a_card_scores_is_what_is_scored_here(context):
    encoder = context.encoder

    texts = [f" {word}{encoder.label_choices().end}" for word in NESTED]
    assert tuple(map(encoder.encode, texts)) == encoder.choice_ids()
    chat = replace(encoder, chat=True)
    texts = [f" {word}{chat.label_choices().end}" for word in NESTED]
    assert tuple(map(encoder.encode, texts)) == chat.choice_ids()


@pytest.mark.parametrize("chat", [False, True])
def test_the_script_of_a_card_scores_every_word_with_its_end(context, tmp_path, chat):
    encoder = replace(context.encoder, chat=chat)
    session, store = Session(context.engine, encoder), RunStore(tmp_path / "runs")
    method = make_method("lora", {"steps": 20, "eval_every": 20, "learning_rate": 0.01})
    run = execute(session, store, RunRequest("lora", method, 0))
    script = (run.adapter_folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    prompt = encoder.render(encoder.task.test[0].fields).text
    # The same script, asked about a text and not for the best word alone.
    asked = f"prompt = {prompt!r}\nfound = [float(logprob(word)) for word in words]"
    script = script.split("print(")[0] + asked
    base = Path(context.engine.info.name)
    assert f'base = "path/to/{base.name}"' in script
    script = script.replace(f"path/to/{base.name}", str(base))
    known: dict[str, object] = {}

    with chdir(run.adapter_folder):
        exec(script, known)

    restored = restore(session, run)
    row = restored.condition(encoder.task.test[0].fields)
    (score,) = context.engine.score([row], [encoder.choice_ids()])
    np.testing.assert_allclose(known["found"], score.logprobs, atol=1e-3)
