"""Looks at dev: how many items, which ones, and what they may cost."""

import math
from dataclasses import replace

import pytest

from toys import TOY_TEMPLATE, make_toy_task
from workbench.encoding import PromptEncoder
from workbench.fitting.dev_sample import dev_sample, mean_example_tokens, mean_item_tokens
from workbench.methods.catalog import make_method
from workbench.tasks.base import Sample
from workbench.training.dev_looks import LEAST_ITEMS, SHARE, items_per_look
from workbench.training.options import TrainingOptions


def items(options: TrainingOptions, num_dev: int = 10_000, *, ratio: float = 1.0) -> int:
    return items_per_look(options, example_tokens=60.0, item_tokens=60.0 * ratio, num_dev=num_dev)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.7, 3.0])
@pytest.mark.parametrize(
    ("steps", "eval_every", "batch_size"),
    [(300, 25, 8), (150, 25, 8), (60, 20, 8), (310, 25, 8), (20, 25, 16), (800, 50, 8)],
)
def test_all_looks_together_cost_at_most_a_fifth_of_the_steps(steps, eval_every, batch_size, ratio):
    options = TrainingOptions(steps=steps, eval_every=eval_every, batch_size=batch_size)

    num = items(options, ratio=ratio)

    # A step on frozen weights: one pass forward, one back. A look: one forward.
    training = 2 * steps * batch_size * 60.0
    looking = math.ceil(steps / eval_every) * num * 60.0 * ratio
    one_more = looking * (num + 1) / num
    assert looking <= SHARE * training < one_more


def test_a_default_training_looks_at_eighty_items():
    assert items(TrainingOptions()) == 80


def test_a_small_dev_split_is_looked_at_whole():
    assert items(TrainingOptions(), 79) == 79


def test_what_is_asked_for_is_scored_whatever_it_costs():
    assert items(TrainingOptions(dev_items=5)) == 5
    assert items(TrainingOptions(dev_items=5000)) == 5000
    assert items(TrainingOptions(dev_items=5000), 300) == 300


def test_steps_as_cheap_as_nothing_are_still_followed_by_a_look():
    assert items(TrainingOptions(batch_size=1, eval_every=2)) == LEAST_ITEMS


@pytest.fixture
def encoder(tiny_base) -> PromptEncoder:
    return PromptEncoder(tiny_base.tokenizer, TOY_TEMPLATE, make_toy_task(40, 300, 4))


def test_tokens_are_those_that_are_run(encoder):
    start = encoder.start()

    def own(samples: tuple[Sample, ...]) -> float:
        return sum(len(encoder.own_ids(s.fields, start)) for s in samples) / len(samples)

    words = [len(choice) for choice in encoder.choice_ids()]
    assert mean_example_tokens(encoder) == own(encoder.task.train) + max(words)
    counted = mean_item_tokens(encoder)
    assert counted == pytest.approx(own(encoder.task.dev) + sum(words) - len(words), abs=0.2)


def test_the_same_items_are_looked_at_by_every_method_seed_and_rate(encoder):
    chosen = [
        dev_sample(encoder, make_method(name, options))
        for name, options in (
            ("prompt_tuning", {}),
            ("lora", {"learning_rate": 0.1}),
            ("prefix_tuning", {"num_virtual_tokens": 3}),
        )
    ]
    more = dev_sample(encoder, make_method("lora", {"batch_size": 16}))

    assert 16 < len(chosen[0]) < 300
    assert all(one == chosen[0] for one in chosen)
    assert {sample.id for sample in chosen[0]} < {sample.id for sample in more}


def test_a_training_scores_its_sample_and_says_how_many_items(toy_context):
    encoder = replace(toy_context.encoder, task=make_toy_task(24, 40, 4))
    context = replace(toy_context, encoder=encoder)
    scored: list[int] = []
    score = context.engine.score

    def counting(rows, choices):
        scored.append(len(rows))
        return score(rows, choices)

    context.engine.score = counting
    options = {"steps": 4, "eval_every": 2, "batch_size": 4, "dev_items": 10}

    cost = make_method("lora", options).fit(context).cost

    assert (cost.dev_evaluations, cost.dev_items) == (2, 10)
    assert scored == [10, 10]
