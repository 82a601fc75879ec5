"""A labelled budget: training and dev share it, and a smaller one lies within a larger one."""

from itertools import pairwise

import pytest

from toys import toy_samples
from workbench.errors import ConfigError
from workbench.tasks.base import Sample
from workbench.tasks.labelled_budget import MOST_DEV_ROWS, share_budget


def shared(
    num_rows: int | None, *, train: int = 240, dev: int = 80, seed: int = 0
) -> tuple[list[Sample], list[Sample]]:
    return share_budget(
        toy_samples("train", train),
        toy_samples("dev", dev),
        num_rows,
        seed=seed,
        stratify=True,
    )


@pytest.mark.parametrize("num_rows", [2, 3, 4, 60, 150, 319, 320])
def test_both_together_are_as_many_as_are_allowed(num_rows):
    train, dev = shared(num_rows)

    assert len(train) + len(dev) == num_rows
    assert len(dev) == max(1, round(num_rows / 4))


def test_without_a_limit_and_below_the_bound_the_cut_stays_as_it_is():
    assert shared(None) == (list(toy_samples("train", 240)), list(toy_samples("dev", 80)))
    assert shared(1000) == shared(None)


@pytest.mark.parametrize("num_rows", [None, 4480, 4000])
def test_dev_is_bounded_and_the_rest_of_it_is_learned_from(num_rows):
    train, dev = shared(num_rows, train=3360, dev=1120)

    assert len(dev) == MOST_DEV_ROWS
    assert len(train) == (num_rows or 4480) - MOST_DEV_ROWS
    assert len({sample.id for sample in (*train, *dev)}) == len(train) + len(dev)
    assert {sample.target for sample in dev} == {"good", "bad"}


@pytest.mark.parametrize("seed", [0, 3])
def test_a_smaller_budget_takes_its_rows_among_those_of_a_larger_one(seed):
    found = [
        shared(num_rows, train=840, dev=560, seed=seed)
        for num_rows in (4, 40, 200, 201, 599, 600, 900, 1300, 1399, None)
    ]

    for part in (0, 1):
        ids = [{sample.id for sample in split[part]} for split in found]
        assert all(smaller <= larger for smaller, larger in pairwise(ids))


def _uneven(name: str, sizes: tuple[int, ...]) -> list[Sample]:
    return [
        Sample(f"{name}-{label}-{number}", {"text": f"{name} {label} {number}"}, label)
        for label, size in zip("abcdef", sizes, strict=False)
        for number in range(size)
    ]


@pytest.mark.parametrize("sizes", [(60, 20, 3, 1), (9, 9, 9, 9, 9, 9), (100, 7)])
def test_so_do_uneven_classes_at_every_budget(sizes):
    train = _uneven("train", tuple(3 * size for size in sizes))
    dev = _uneven("dev", sizes)
    found = [
        share_budget(train, dev, budget, seed=1, stratify=True)
        for budget in range(2, len(train) + len(dev) + 1)
    ]

    for part in (0, 1):
        ids = [{sample.id for sample in split[part]} for split in found]
        assert all(smaller <= larger for smaller, larger in pairwise(ids))
    for budget, (kept, _) in enumerate(found, start=2):
        if budget > len(sizes):
            assert len({sample.target for sample in kept}) == len(sizes), budget


def test_one_row_cannot_be_shared():
    with pytest.raises(ConfigError) as error:
        shared(1)

    assert str(error.value) == (
        "limit_train 1: dev is cut off these rows, so at least 2 are needed. Give a higher limit, "
        "or a limit for dev as well, or rows for dev."
    )
