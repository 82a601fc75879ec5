"""How many labelled rows may be used, and how training and choosing share them.

Rows that choose anything were labelled like those that are learned from (Perez et al. 2021, "True
Few-Shot Learning with Language Models", https://arxiv.org/abs/2105.11447, section 2), so a dev
split that is cut off the training rows is part of what these are allowed to be.
"""

from collections.abc import Sequence

from workbench.errors import ConfigError
from workbench.tasks.base import Sample
from workbench.tasks.splits import limit

MOST_DEV_ROWS = 500
"""Of a dev split that is cut off: an accuracy is known to 2.2 points there (one standard error at
most), and further rows are worth more where they are learned from."""


def share_budget(
    train: Sequence[Sample],
    dev: Sequence[Sample],
    num_rows: int | None,
    *,
    seed: int,
    stratify: bool,
) -> tuple[list[Sample], list[Sample]]:
    """Return train and dev with `num_rows` rows together, or with all there are.

    Dev keeps the share that it was cut off with, up to `MOST_DEV_ROWS`; what that leaves of it goes
    back to train. With `stratify` it is smaller where train would lose a target otherwise. Train
    and dev of a smaller budget are contained in those of a larger one.

    Args:
        train: What was left when dev was cut off it.
        dev: What was cut off.
        num_rows: Labelled rows for both; None for all.
        seed: Decides which rows are kept.
        stratify: Keep each target's share in both.

    Raises:
        ConfigError: fewer than two rows are allowed, and each of both needs one.
    """
    both = len(train) + len(dev)
    budget = both if num_rows is None else min(num_rows, both)
    if budget < 2:
        raise ConfigError(
            f"limit_train {budget}: dev is cut off these rows, so at least 2 are needed. Give a "
            "higher limit, or a limit for dev as well, or rows for dev."
        )
    num_targets = len({sample.target for sample in train}) if stratify else 1
    most = max(1, budget - num_targets)
    num_dev = min(max(1, round(budget * len(dev) / both)), MOST_DEV_ROWS, most)
    kept = limit(dev, num_dev, seed=seed, stratify=stratify)
    num_back = budget - num_dev - len(train)
    if num_back <= 0:
        return limit(train, budget - num_dev, seed=seed, stratify=stratify), kept
    ids = {sample.id for sample in kept}
    left = [sample for sample in dev if sample.id not in ids]
    return [*train, *limit(left, num_back, seed=seed, stratify=stratify)], kept
