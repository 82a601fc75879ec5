"""The engine's label scores are lm-evaluation-harness's own, on one model object and equal prompts.

Tolerance: 1e-4 nats, both sides in float32; the two differ in batching, padding and in where the
prompt is split, which reorders sums. Which label wins, and whether it is greedy, must be equal.
"""

import json
import logging
import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from workbench.encoding import PromptEncoder
from workbench.errors import ModelError
from workbench.fitting.base import FitContext
from workbench.methods.catalog import make_method
from workbench.models.base import ChoiceScores
from workbench.models.engine import Engine
from workbench.models.loading import load_base
from workbench.tasks.base import DroppedRows, Sample, Task, TaskSource
from workbench.tasks.catalog import load_task, prompts_folder
from workbench.templates import Demonstration, continue_text, read_template

pytestmark = [
    pytest.mark.peer,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of lm-eval and what it imports
]

TOLERANCE = 1e-4  # nats
NUM_ITEMS = 60
BATCH_SIZE = 4
REPOSITORY = Path(__file__).parents[2]
DATA = Path(os.environ.get("WORKBENCH_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))

# Several tokens each; some share their first tokens, one is the start of another.
PHRASES = {
    "billing": "top up failed",
    "delivery": "top up",
    "return": "top up limits",
    "account": "card payment not recognised",
    "technical": "card payment wrong exchange rate",
    "cancellation": "balance not updated after bank transfer",
}


@dataclass(frozen=True)
class Scores:
    """(N, C) log-probabilities of the labels, (N, C) greedy, and the accuracy."""

    logprobs: np.ndarray
    greedy: np.ndarray
    accuracy: float


@pytest.fixture(scope="module")
def engine() -> Engine:
    try:
        base = load_base("smollm2-135m-instruct", precision="fp32", device="cpu")
    except ModelError as error:
        pytest.skip(f"the default base model is not installed: {error}")
    return Engine(base)


@pytest.fixture(scope="module")
def harness(engine):
    """Return lm-eval's model class around the engine's own model object."""
    huggingface = pytest.importorskip(
        "lm_eval.models.huggingface", reason="its package is missing: make test-peer"
    )
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return huggingface.HFLM(
        pretrained=engine.forward.model, tokenizer=engine.tokenizer, batch_size=BATCH_SIZE
    )


def samples_of(path: Path) -> tuple[Sample, ...]:
    with path.open(encoding="utf-8") as lines:
        return tuple(
            Sample(f"{path.stem}-{number}", {"text": row["text"]}, row["label"])
            for number, row in enumerate(map(json.loads, islice(lines, 200)))
        )


def sentiment_task() -> Task:
    """Return SST-2 where its data is at hand, else the embedded task."""
    folder = DATA / "sst2"
    if not folder.is_dir():
        return load_task("support_intents")
    train, test = (samples_of(folder / f"{name}.jsonl") for name in ("train", "dev"))
    source = TaskSource("file", str(folder), "see SOURCE.md there")
    labels = ("negative", "positive")
    return Task(
        "sst2", "classification", labels, ("text",), train, (), test, source, DroppedRows({})
    )


def encoder_for(engine: Engine, task: Task, *, phrases: bool = False) -> PromptEncoder:
    template = read_template(prompts_folder() / task.name / "plain.yaml")
    if phrases:
        template = template.model_copy(update={"label_words": PHRASES})
    template.check(task.field_names, task.labels, where="test")
    return PromptEncoder(engine.tokenizer, template, task)


def scores_of(task: Task, samples, logprobs, greedy) -> Scores:
    answers = [task.labels[best] for best in np.argmax(logprobs, axis=1)]
    right = [answer == sample.target for answer, sample in zip(answers, samples, strict=True)]
    return Scores(np.array(logprobs), np.array(greedy), float(np.mean(right)))


def our_scores(engine: Engine, encoder: PromptEncoder, samples, *, k: int, folder: Path) -> Scores:
    method = make_method("few_shot", {"k": k})
    fitted = method.fit(FitContext(engine, encoder, seed=0, folder=folder))
    rows = [fitted.condition(sample.fields) for sample in samples]
    found: list[ChoiceScores] = engine.score(rows, [encoder.choice_ids()] * len(rows))
    return scores_of(
        encoder.task, samples, [s.logprobs for s in found], [s.is_greedy for s in found]
    )


def their_scores(harness, encoder: PromptEncoder, samples, demonstrations) -> Scores:
    """Score the prompts' text: lm-eval tokenises, splits, batches and sums in its own way."""
    from lm_eval.api.instance import Instance

    end = encoder.label_choices().end  # belongs to words of which one begins another
    words = [encoder.template.word(label) + end for label in encoder.task.labels]
    requests = []
    for number, sample in enumerate(samples):
        prompt = encoder.render(sample.fields, demonstrations).text
        for index, word in enumerate(words):
            continuation = continue_text(prompt, word)[len(prompt) :]
            requests.append(Instance("loglikelihood", {}, (prompt, continuation), index))
            assert requests[-1].args[1].startswith(" "), number
    answers = harness.loglikelihood(requests, disable_tqdm=True)
    shape = (len(samples), len(words))
    logprobs = np.array([logprob for logprob, _ in answers]).reshape(shape)
    greedy = np.array([is_greedy for _, is_greedy in answers]).reshape(shape)
    return scores_of(encoder.task, samples, logprobs, greedy)


def demonstrations_of(engine, encoder, *, k: int, folder: Path) -> tuple[Demonstration, ...]:
    fitted = make_method("few_shot", {"k": k}).fit(FitContext(engine, encoder, 0, folder))
    return fitted.start.demonstrations


def assert_equal_scores(ours: Scores, theirs: Scores) -> None:
    np.testing.assert_allclose(ours.logprobs, theirs.logprobs, rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(ours.greedy, theirs.greedy)
    assert ours.accuracy == theirs.accuracy


@pytest.mark.parametrize("k", [0, 8], ids=["zero-shot", "eight-shot"])
def test_label_scores_and_accuracy_equal_lm_evals(engine, harness, tmp_path, k):
    task = sentiment_task()
    encoder, samples = encoder_for(engine, task), task.test[:NUM_ITEMS]
    shown = demonstrations_of(engine, encoder, k=k, folder=tmp_path)

    ours = our_scores(engine, encoder, samples, k=k, folder=tmp_path)
    theirs = their_scores(harness, encoder, samples, shown)

    assert len(samples) == NUM_ITEMS
    assert len(shown) == k
    assert_equal_scores(ours, theirs)


def test_scores_of_labels_of_several_tokens_equal_lm_evals(engine, harness, tmp_path):
    task = load_task("support_intents")
    encoder, samples = encoder_for(engine, task, phrases=True), task.test[:NUM_ITEMS]

    ours = our_scores(engine, encoder, samples, k=0, folder=tmp_path)
    theirs = their_scores(harness, encoder, samples, ())

    assert len(samples) == NUM_ITEMS
    assert min(len(choice) for choice in encoder.choice_ids()) > 1
    assert_equal_scores(ours, theirs)
