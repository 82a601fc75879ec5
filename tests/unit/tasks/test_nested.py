"""Training splits of growing size: nested, balanced, and the task itself when whole."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from toys import TOY_LABELS, toy_samples
from workbench.errors import ConfigError
from workbench.tasks.base import DroppedRows, Sample, Task, TaskSource
from workbench.tasks.nested import fixed_sample, nested_order, with_train_size


def task_of(train: tuple[Sample, ...], labels: tuple[str, ...] = TOY_LABELS) -> Task:
    return Task(
        name="toy",
        kind="classification" if labels else "short_answer",
        labels=labels,
        field_names=("text",),
        train=train,
        dev=toy_samples("dev", 4),
        test=toy_samples("test", 4),
        source=TaskSource("embedded", "tests", "none"),
        dropped=DroppedRows({}),
    )


def ids(task: Task) -> set[str]:
    return {sample.id for sample in task.train}


@pytest.mark.parametrize("labels", [TOY_LABELS, ()])
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_every_smaller_split_is_contained_in_every_larger_one(labels, seed):
    task = task_of(toy_samples("train", 24), labels)

    splits = [ids(with_train_size(task, size, seed=seed)) for size in range(25)]

    assert [len(split) for split in splits] == list(range(25))
    assert all(smaller < larger for smaller, larger in pairwise(splits))


@pytest.mark.parametrize("size", [1, 2, 5, 8, 11])
def test_labels_take_turns_until_one_runs_out(size):
    rare = tuple(replace(s, target="bad") for s in toy_samples("rare", 4))
    common = tuple(replace(s, target="good") for s in toy_samples("common", 30))

    counts = Counter(
        sample.target for sample in with_train_size(task_of(common + rare), size, seed=3).train
    )

    assert counts["bad"] in {min(4, size // 2), min(4, (size + 1) // 2)}


def test_the_whole_split_is_the_task_itself():
    task = task_of(toy_samples("train", 24))

    assert with_train_size(task, 24, seed=5).digest == task.digest


def test_seeds_give_other_orders_and_one_seed_the_same():
    samples = toy_samples("train", 24)

    orders = [nested_order(samples, TOY_LABELS, seed=seed) for seed in (0, 0, 1)]

    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[2]) == list(range(24))


def test_dev_and_test_stay():
    task = task_of(toy_samples("train", 24))

    smaller = with_train_size(task, 0, seed=0)

    assert (smaller.train, smaller.dev, smaller.test) == ((), task.dev, task.test)


def test_more_than_there_are_is_refused():
    with pytest.raises(ConfigError) as refused:
        with_train_size(task_of(toy_samples("train", 24)), 25, seed=0)

    assert str(refused.value) == (
        "25 training examples wanted, the training split of 'toy' has 24. Use 0 to 24, or more "
        "training data."
    )


# A fixed sample


def of_labels(**counts: int) -> list[Sample]:
    return [
        replace(sample, id=f"{label}-{number}", fields={"text": f"{label} {number}"}, target=label)
        for label, count in counts.items()
        for number, sample in enumerate(toy_samples("dev", count))
    ]


@pytest.mark.parametrize("stratify", [True, False])
def test_a_smaller_sample_is_contained_in_every_larger_one(stratify):
    samples = of_labels(a=30, b=7, c=1)

    chosen = [{s.id for s in fixed_sample(samples, num, stratify=stratify)} for num in range(39)]

    assert [len(one) for one in chosen] == list(range(39))
    assert all(smaller < larger for smaller, larger in pairwise(chosen))


def test_a_sample_follows_from_content_and_keeps_the_order_it_finds():
    samples = of_labels(a=30, b=7)
    renamed = [replace(sample, id=f"row {n}") for n, sample in enumerate(reversed(samples))]

    chosen = fixed_sample(samples, 10, stratify=True)
    again = fixed_sample(renamed, 10, stratify=True)

    assert [s.fields for s in chosen] == [s.fields for s in reversed(again)]
    assert chosen == [sample for sample in samples if sample in chosen]


@pytest.mark.parametrize("num", [3, 10, 20, 33, 80])
def test_each_label_keeps_its_share_and_has_at_least_one_item(num):
    samples = of_labels(a=80, b=40, c=4)

    counts = Counter(s.target for s in fixed_sample(samples, num, stratify=True))

    for label, size in (("a", 80), ("b", 40), ("c", 4)):
        assert counts[label] >= 1
        assert abs(counts[label] - num * size / 124) <= 2
