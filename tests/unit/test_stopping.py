"""The wish to stop reaches whatever computes for long, between two layers at the latest."""

import itertools
import threading

import pytest
import torch

from workbench.batches import Example
from workbench.fitting.base import FitContext
from workbench.fitting.dev_sample import dev_sample
from workbench.fitting.learning import training_examples
from workbench.fitting.prediction import predict
from workbench.methods.catalog import make_method
from workbench.models.base import Prefix
from workbench.models.engine import Engine
from workbench.progress import Interrupted, raise_if_stopped, stopped_by
from workbench.training.loss import answer_loss


class LayersRun:
    """Counts the layers of a base that are run, and those run after somebody asked to stop."""

    def __init__(self, engine: Engine, stop_after: int) -> None:
        self.count, self.stop_after = 0, stop_after
        for layer in engine.forward.model.get_decoder().layers:
            layer.register_forward_hook(self._count)

    def _count(self, *_: object) -> None:
        self.count += 1

    def should_stop(self) -> bool:
        return self.count >= self.stop_after


def conditioned(context: FitContext, **options: object) -> tuple:
    fitted = make_method("zero_shot", options).fit(context)
    return fitted, [fitted.condition(sample.fields) for sample in context.task.test]


def _two_passes(engine: Engine, vectors: torch.nn.Parameter, batch: list[Example]) -> None:
    for _ in range(2):
        answer_loss(engine, Prefix((vectors,)), None, batch).backward()


# Two layers; the shared prompt is run first, then the rows.
@pytest.mark.parametrize("stop_after", [0, 1, 2, 3])
def test_scoring_ends_before_the_next_layer(stop_after, toy_context):
    engine = toy_context.engine
    _, rows = conditioned(toy_context)
    layers = LayersRun(engine, stop_after)

    with pytest.raises(Interrupted), stopped_by(layers.should_stop):
        engine.score(rows, [toy_context.encoder.choice_ids()] * len(rows))

    assert layers.count == stop_after
    assert len(engine.score(rows, [toy_context.encoder.choice_ids()] * len(rows))) == len(rows)


@pytest.mark.parametrize("stop_after", [1, 3])
def test_answering_a_split_ends_before_the_next_layer(stop_after, toy_context):
    fitted, _ = conditioned(toy_context)
    layers = LayersRun(toy_context.engine, stop_after)

    with (
        pytest.raises(Interrupted, match="prediction stopped after 0 of 10"),
        stopped_by(layers.should_stop),
    ):
        predict(toy_context.engine, fitted, toy_context.task.test)

    assert layers.count == stop_after


@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_step_ends_before_the_next_layer(stop_after, toy_context):
    engine, start = toy_context.engine, toy_context.encoder.start()
    vectors = torch.nn.Parameter(engine.forward.embed(start.shared_ids))
    batch = training_examples(toy_context, start)[:4]
    layers = LayersRun(engine, stop_after)

    with pytest.raises(Interrupted), stopped_by(layers.should_stop):
        _two_passes(engine, vectors, batch)

    assert layers.count == stop_after


def test_the_way_back_ends_too(toy_context):
    engine, start = toy_context.engine, toy_context.encoder.start()
    vectors = torch.nn.Parameter(engine.forward.embed(start.shared_ids))
    is_back = threading.Event()

    with stopped_by(is_back.is_set):
        loss = answer_loss(
            engine, Prefix((vectors,)), None, training_examples(toy_context, start)[:4]
        )
        is_back.set()
        with pytest.raises(Interrupted):
            loss.backward()

    assert vectors.grad is None


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("few_shot", {"k": 4, "calibrate": True}),
        ("demonstration_search", {"k": 2, "budget": 3}),
        ("instruction_search", {"budget": 3}),
        ("chain_of_thought", {"max_new_tokens": 6}),
        ("prompt_tuning", {"steps": 3, "eval_every": 1, "batch_size": 4}),
    ],
)
def test_whatever_fits_and_answers_ends_before_the_next_layer(name, options, toy_context):
    engine = toy_context.engine
    whole = LayersRun(engine, 10**9)
    method = make_method(name, options)
    predict(engine, method.fit(toy_context), toy_context.task.test)
    total = whole.count
    assert total > 4

    for share in (0.2, 0.5, 0.9):
        # Its keys and values are known by now, and would not be computed again.
        fresh = FitContext(engine, toy_context.encoder, 0, toy_context.folder / str(share))
        engine.prefixes.clear()
        layers = LayersRun(engine, int(share * total))
        with pytest.raises(Interrupted), stopped_by(layers.should_stop):
            predict(engine, method.fit(fresh), toy_context.task.test)
        assert layers.count == layers.stop_after


def test_the_wish_of_one_thread_is_not_that_of_another():
    asked: list[bool] = []

    def elsewhere() -> None:
        raise_if_stopped()
        asked.append(True)

    with stopped_by(lambda: True):
        with stopped_by(lambda: False), pytest.raises(Interrupted):
            raise_if_stopped()
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    raise_if_stopped()

    assert asked == [True]


def test_an_evaluation_cut_short_is_made_again_and_no_step_is_lost(toy_context):
    options = {"steps": 6, "eval_every": 3, "batch_size": 4, "learning_rate": 0.01}
    method = make_method("lora", options)
    engine, numbers = toy_context.engine, itertools.count()
    evaluations: list[int] = []
    score = engine.score

    def first_is_stopped(rows, choices):
        evaluations.append(len(rows))
        if next(numbers) == 0:
            with stopped_by(lambda: True):
                return score(rows, choices)
        return score(rows, choices)

    engine.score = first_is_stopped
    with pytest.raises(Interrupted, match="training stopped after step 3 of 6"):
        method.fit(toy_context)
    engine.adapters.remove(toy_context.adapter_name)
    seen = []
    again = FitContext(engine, toy_context.encoder, 0, toy_context.folder, progress=seen.append)

    fitted = method.fit(again)

    assert [(event.done, "dev_loss" in event.figures) for event in seen] == [
        (3, True), (4, False), (5, False), (6, True)
    ]  # fmt: skip
    assert "loss" not in seen[0].figures
    assert evaluations == [len(dev_sample(toy_context.encoder, method))] * 3
    assert fitted.cost.dev_evaluations == 2
