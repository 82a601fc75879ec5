"""Short answers: dev is judged as the report judges, and several answers may be right."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from toys import TOY_TEMPLATE
from workbench.encoding import PromptEncoder
from workbench.errors import PromptError
from workbench.fitting.base import FitContext
from workbench.fitting.learning import dev_score
from workbench.fitting.prediction import predict
from workbench.fitting.short_answers import is_right
from workbench.methods.catalog import make_method
from workbench.models.base import Generation
from workbench.runs.runner import check_lengths
from workbench.runs.session import Session
from workbench.runs.task_metrics import measure
from workbench.tasks.base import DroppedRows, Sample, Task, TaskSource

TEMPLATE = TOY_TEMPLATE.model_copy(update={"instruction": "Add.", "chain_of_thought": None})


def task_of(answers: tuple[tuple[str, ...], ...]) -> Task:
    def samples(split: str) -> tuple[Sample, ...]:
        return tuple(
            Sample(
                f"{split}-{i}", {"text": f"{split} {i}"}, right[0], references=right[1:] and right
            )
            for i, right in enumerate(answers)
        )

    return Task(
        name="short", kind="short_answer", labels=(), field_names=("text",),
        train=samples("train"), dev=samples("dev"), test=samples("test"),
        source=TaskSource("embedded", "tests", "none"), dropped=DroppedRows({}),
    )  # fmt: skip


def context_of(engine, folder, *answers: tuple[str, ...]) -> FitContext:
    encoder = PromptEncoder(engine.tokenizer, TEMPLATE, task_of(answers))
    return FitContext(engine, encoder, seed=0, folder=folder / "run")


@pytest.fixture
def writes(monkeypatch, tiny_engine):
    """Return a function that makes the base write a text for every row, ended by a line break."""

    def be(text: str) -> None:
        def generate(rows, options, **_):
            assert "\n" in options.stop
            return [Generation(text, (1,), "stop", row.num_tokens) for row in rows]

        monkeypatch.setattr(tiny_engine, "generate", generate)

    return be


@pytest.mark.parametrize(
    ("written", "right"),
    [(" 12", True), (" 4 + 8 = 12", True), (" 12.0 apples", True), (" 13", False), ("", False)],
)
def test_dev_and_report_call_the_same_answers_right(writes, tiny_engine, tmp_path, written, right):
    context = context_of(tiny_engine, tmp_path, ("12",), ("12",))
    fitted = make_method("zero_shot", {}).fit(context)
    writes(written)

    found = dev_score(context, fitted)

    reported = measure(context.task, predict(tiny_engine, fitted, context.task.dev))
    assert found.accuracy == reported["accuracy"].value == float(right)


def test_dev_answers_are_those_that_are_really_written(tiny_engine, tmp_path):
    context = context_of(tiny_engine, tmp_path, ("x",), ("y",))
    fitted = make_method("zero_shot", {}).fit(context)
    written = predict(tiny_engine, fitted, context.task.dev)
    targets = [
        replace(s, target=p.answer or "none")
        for s, p in zip(context.task.dev, written, strict=True)
    ]
    known = replace(context.task, dev=tuple(targets))
    context = replace(context, encoder=replace(context.encoder, task=known))

    assert any(p.answer for p in written)
    assert dev_score(context, fitted).accuracy == np.mean([p.answer is not None for p in written])


def test_the_dev_loss_is_that_of_the_answer_with_any_end(tiny_engine, tiny_folder, tmp_path):
    context = context_of(tiny_engine, tmp_path, ("12",))
    fitted = make_method("zero_shot", {}).fit(context)
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    (sample,) = context.task.dev
    start = context.encoder.encode(context.encoder.render(sample.fields).text)
    wanted = context.encoder.encode(" 12")

    def probability(end: int) -> float:
        ids = (*start, *wanted, end)
        with torch.no_grad():
            logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        return float(sum(logprobs[i - 1, ids[i]] for i in range(len(start), len(ids))).exp())

    # A blank line begins with a line break, so it is part of that event.
    ends = (context.encoder.tokenizer.eos_token_id, *context.encoder.encode("\n"))
    assert dev_score(context, fitted).loss == pytest.approx(
        -np.log(sum(map(probability, ends))), rel=1e-4
    )


@pytest.mark.parametrize(
    ("written", "wanted", "right"),
    [
        (" Yes, it is", "yes", True),
        (" **Yes**", "yes", True),
        (" Yes!", "yes", True),
        (" **No**, because it rains.", "no", True),
        (" yes, but no", "yes", True),
        (" yes, but no", "no", False),
        (" Maybe, or no", "no", False),
        (" No one knows", "no", False),
        (" Washington, D.C.", "Washington, D.C.", True),
        (" Washington, D.C.", "Washington", True),
        (" Washington", "Washington, D.C.", False),
        (" Paris (Texas)", "Paris (Texas)", True),
        (" (b) Paris", "Paris", False),
        (' "Yes", he said', "yes", True),
    ],
)
@pytest.mark.parametrize("train", [("other",), ("yes", "no", "Washington", "Paris")])
def test_an_answer_is_right_as_a_whole_or_by_its_first_clause_whatever_rows_share(
    writes, tiny_engine, tmp_path, written, wanted, right, train
):
    asked = context_of(tiny_engine, tmp_path, (wanted,)).task.test
    context = context_of(tiny_engine, tmp_path, *((word,) for word in train))
    known = replace(context.task, dev=(*context.task.dev, *asked))
    context = replace(context, encoder=replace(context.encoder, task=known))
    fitted = make_method("zero_shot", {}).fit(context)
    writes(written)

    found = predict(tiny_engine, fitted, asked)

    measured = measure(context.task, found)
    assert measured["accuracy"].value == measured["lenient_accuracy"].value == float(right)
    drawn = [replace(p, sampled_answers=(p.answer,)) for p in found]
    assert measure(context.task, drawn)["oracle_accuracy"].value == float(right)
    assert is_right(context.task, found[0].answer, asked[0]) == right
    on_dev = measure(context.task, predict(tiny_engine, fitted, context.task.dev))
    assert dev_score(context, fitted).accuracy == on_dev["accuracy"].value


def test_any_of_several_right_answers_counts(writes, tiny_engine, tmp_path):
    context = context_of(tiny_engine, tmp_path, ("the Netherlands", "Holland"), ("Spain",))
    fitted = make_method("zero_shot", {}).fit(context)
    writes(" Holland.")

    found = predict(tiny_engine, fitted, context.task.test)

    assert [p.references for p in found] == [("the Netherlands", "Holland"), None]
    measured = measure(context.task, found)
    assert measured["accuracy"].value == measured["lenient_accuracy"].value == 0.5
    assert dev_score(context, fitted).accuracy == 0.5


def test_whether_answers_are_numbers_does_not_depend_on_the_training_rows_kept(
    tiny_engine, tmp_path
):
    task = context_of(tiny_engine, tmp_path, ("Rome",), ("Oslo",)).task

    assert not replace(task, train=()).answers_are_numbers
    assert task_of((("2,4",), ("1.2E+06",))).answers_are_numbers
    assert not task_of((("12", "a dozen"), ("3",))).answers_are_numbers


def test_an_answer_that_holds_what_ends_it_is_refused(tiny_engine, tmp_path):
    context = context_of(tiny_engine, tmp_path, ("a | b",), ("c",))
    worded = context.template.model_copy(update={"separator": " | "})

    with pytest.raises(PromptError) as caught:
        replace(context.encoder, template=worded).check_answers()

    assert str(caught.value) == (
        "task 'short': 3 answers hold ' | ', which ends an answer in this wording, so nobody could "
        "write them (ids train-0, dev-0, test-0). Use another separator, or the kind 'generation'."
    )
    context.encoder.check_answers()


@pytest.mark.parametrize(
    ("odd", "advice"),
    [
        (
            "a dozen",
            "All answers of train and dev are numbers, so a number is read; write these as numbers "
            "too",
        ),
        ("...", "Write words or a number beside the marks"),
    ],
)
def test_answers_that_would_not_be_right_where_they_are_written_exactly_are_refused(
    tiny_engine, tmp_path, odd, advice
):
    usual = ("12",) if odd == "a dozen" else ("twelve",)
    context = context_of(tiny_engine, tmp_path, usual, usual)
    context.encoder.check_answers()
    known = task_of((usual, (odd,), (*usual, odd))).test
    task = replace(context.task, test=known)

    with pytest.raises(PromptError) as caught:
        replace(context.encoder, task=task).check_answers()

    assert str(caught.value) == (
        f"task 'short': 2 answers would count as wrong even where they are written exactly, such "
        f"as {odd!r} (ids test-1, test-2). {advice}, or leave these rows out."
    )


def test_an_answer_that_cannot_be_encoded_is_refused_with_its_id_before_the_run(
    tiny_engine, tmp_path
):
    context = context_of(tiny_engine, tmp_path, ("x",), ("lamp \ufdd0",))
    check_lengths(Session(tiny_engine, context_of(tiny_engine, tmp_path, ("x",)).encoder))

    with pytest.raises(PromptError, match=r"3 samples .* \(ids train-1, dev-1, test-1\): .*FDD0"):
        check_lengths(Session(tiny_engine, context.encoder))
