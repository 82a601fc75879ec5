"""Tasks that ask for a text, on the tiny model: what is written, how long, and what is learned."""

from dataclasses import replace

import numpy as np
import pytest

from toys import TOY_TEMPLATE
from workbench.encoding import PromptEncoder
from workbench.fitting.base import FitContext
from workbench.fitting.learning import dev_score, training_examples
from workbench.fitting.prediction import predict, read_written
from workbench.methods.catalog import make_method
from workbench.models.base import Generation
from workbench.progress import ProgressEvent
from workbench.runs.baselines import COPY, applies, baseline_predictions, needs_neighbours
from workbench.runs.task_metrics import measure, with_scores
from workbench.tasks.base import DroppedRows, Sample, Task, TaskSource
from workbench.training.score import DevScore

TEMPLATE = TOY_TEMPLATE.model_copy(
    update={"instruction": "Say it loud.", "chain_of_thought": None, "label_words": {}}
)


def samples(split: str, num: int) -> tuple[Sample, ...]:
    return tuple(
        Sample(
            f"{split}-{i}", {"text": f"{split} {i}"}, "A" * (i + 1),
            references=("A" * (i + 1), "other words"),
        )
        for i in range(num)
    )  # fmt: skip


@pytest.fixture
def task() -> Task:
    return Task(
        name="loud", kind="generation", labels=(), field_names=("text",),
        train=samples("train", 20), dev=samples("dev", 4), test=samples("test", 6),
        source=TaskSource("embedded", "tests", "none"), dropped=DroppedRows({}),
    )  # fmt: skip


@pytest.fixture
def context(tiny_engine, tiny_base, task, tmp_path) -> FitContext:
    encoder = PromptEncoder(tiny_base.tokenizer, TEMPLATE, task)
    return FitContext(tiny_engine, encoder, seed=0, folder=tmp_path / "run")


def test_the_bound_of_the_length_comes_from_the_training_targets_or_the_wording(context, task):
    # The targets have 1 to 20 tokens; the 95th percentile is 19.05, a quarter more is 23.8.
    assert context.encoder.answer_tokens == 24
    own = replace(context.encoder, template=TEMPLATE.model_copy(update={"answer_tokens": 7}))
    assert own.answer_tokens == 7
    short = replace(context.encoder, task=replace(task, kind="short_answer"))
    assert short.answer_tokens == 24
    long = replace(task, train=tuple(replace(s, target=s.target * 3) for s in task.train))
    assert replace(context.encoder, task=long).answer_tokens == 72


def test_a_line_ends_the_text_unless_training_texts_have_several(context, task):
    assert context.encoder.answer_ends == ("\n\n", "\n")
    lines = replace(task, train=(replace(task.train[0], target="two\nlines"), *task.train[1:]))
    assert replace(context.encoder, task=lines).answer_ends == ("\n\n",)


def test_texts_are_written_greedily_within_the_bound_and_cut_ones_are_counted(context, task):
    encoder = replace(context.encoder, template=TEMPLATE.model_copy(update={"answer_tokens": 3}))
    context = replace(context, encoder=encoder)
    fitted = make_method("zero_shot", {}).fit(context)

    told: list[ProgressEvent] = []
    found = predict(context.engine, fitted, task.test, progress=told.append)

    assert [(one.stage, one.done, one.total) for one in told] == [
        ("predict", 0, 6),
        ("predict", 6, 6),
    ]
    assert [p.sample_id for p in found] == [s.id for s in task.test]
    assert all(p.generated_tokens <= 3 for p in found)
    assert all(p.references == s.references for p, s in zip(found, task.test, strict=True))
    assert found == predict(context.engine, fitted, task.test)
    cut = [p.is_truncated for p in found]
    assert any(cut)
    assert measure(task, found)["truncation_rate"].value == np.mean(cut)
    (alone,) = predict(context.engine, fitted, task.test[2:3])
    assert alone.text == found[2].text


def test_an_empty_text_is_unanswered_and_scores_nothing(context, task):
    fitted = make_method("zero_shot", {}).fit(context)
    empty = Generation(text=" ", token_ids=(1,), finish_reason="stop", prompt_tokens=5)
    full = replace(empty, text=f" {task.test[1].references[1]} ")

    found = [read_written(fitted, task.test[0], empty), read_written(fitted, task.test[1], full)]

    assert (found[0].answer, bool(found[0].reason)) == (None, True)
    assert (found[1].answer, found[1].reason) == ("other words", None)
    assert [p.score for p in with_scores(task, found)] == [0.0, 1.0]
    measured = measure(task, found)
    for name in ("rouge_l", "bleu", "chrf"):
        assert (measured[name].num_scored, measured[name].num_unscored) == (1, 1)
    assert measured["rouge_l"].value == 0.5


def test_training_learns_the_target_alone_and_the_end_after_it(context, task):
    start = context.encoder.start()
    end = context.encoder.tokenizer.eos_token_id

    examples = training_examples(context, start)

    assert len(examples) == len(task.train)
    for example, sample in zip(examples, task.train, strict=True):
        *tokens, last = example.answer_ids
        assert last == end
        assert context.encoder.tokenizer.decode(tokens) == f" {sample.target}"


def test_the_dev_score_is_the_mean_loss_per_token(context, task):
    fitted = make_method("zero_shot", {}).fit(context)
    rows = [fitted.condition(sample.fields) for sample in task.dev]
    wanted = [
        (*context.encoder.encode(f" {sample.target}"), context.encoder.tokenizer.eos_token_id)
        for sample in task.dev
    ]
    scores = context.engine.score(rows, [(tokens,) for tokens in wanted])
    expected = np.mean(
        [-float(s.logprobs[0]) / len(w) for s, w in zip(scores, wanted, strict=True)]
    )

    found = dev_score(context, fitted)

    assert found.accuracy is None
    assert found.loss == pytest.approx(expected)


def test_without_accuracies_the_lower_loss_is_better():
    low, high = DevScore(None, 1.0, 10), DevScore(None, 1.1, 10)
    assert low.better_than(high)
    assert not high.better_than(low)
    assert not replace(low, is_admissible=False).better_than(high)


@pytest.mark.parametrize("name", ["prompt_tuning", "lora"])
def test_trained_texts_are_closer_to_the_targets(name, context):
    before = dev_score(context, make_method("zero_shot", {}).fit(context)).loss
    options = {"steps": 40, "batch_size": 4, "eval_every": 20}
    if name == "prompt_tuning":
        options["num_virtual_tokens"] = 4
    fitted = make_method(name, options).fit(context)

    assert dev_score(context, fitted).loss < before - 0.3
    assert fitted.cost.dev_evaluations == 2
    assert fitted.cost.dev_accuracy is None


def test_demonstrations_show_the_target(context, task):
    fitted = make_method("few_shot", {"k": 3}).fit(context)
    shown = context.encoder.tokenizer.decode(fitted.start.shared_ids)

    targets = {sample.fields["text"]: sample.target for sample in task.train}
    lines = shown.split("\n")
    asked = [line.removeprefix("T: ") for line in lines if line.startswith("T: ")]
    given = [line.removeprefix("A: ") for line in lines if line.startswith("A: ")]
    assert len(given) == 3
    assert given == [targets[text] for text in asked]


class NearestByNumber:
    """Text to a unit vector on a half circle: near numbers lie near each other."""

    def encode(self, texts):
        angles = [0.1 * int(text.split()[-1]) for text in texts]
        return np.array([[np.cos(a), np.sin(a)] for a in angles])


def test_the_baseline_copies_the_target_of_the_nearest_training_text(task):
    found = baseline_predictions(COPY, task, NearestByNumber())

    assert [p.answer for p in found] == [task.train[i].target for i in range(6)]
    assert [p.references for p in found] == [sample.references for sample in task.test]
    for other in ("majority_class", "nearest_neighbour_vote"):
        assert not applies(other, task, NearestByNumber())
        assert not needs_neighbours(other, task)
    labelled = replace(task, kind="classification", labels=("A", "AA"))
    assert not applies(COPY, labelled, NearestByNumber())
