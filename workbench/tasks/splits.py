"""Three splits without leaks: cut, cleaned of duplicates, checked, and shortened on request.

Stratified means each class in proportion, by largest remainder and at least one row of each class
where there is room; scikit-learn's `train_test_split` refuses fewer rows than classes and may leave
a class out.
"""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.errors import ConfigError, TaskError
from workbench.tasks.base import DroppedRows, Sample, TaskKind
from workbench.tasks.forms import folded
from workbench.tasks.rows import NUM_NAMED, joined_references, listed

_CUT_SHARE = 0.2  # of the training rows, for each split that is not given
MIN_TRAIN_ROWS = 2  # rows; one alone has nothing to be told apart from


class Splits(NamedTuple):
    """Disjoint splits, and what was left out to get them."""

    train: list[Sample]
    dev: list[Sample]
    test: list[Sample]
    dropped: DroppedRows


def make_splits(
    train: Sequence[Sample],
    *,
    dev: Sequence[Sample] | None = None,
    test: Sequence[Sample] | None = None,
    seed: int,
    stratify: bool,
    where: str = "train",
    joins_texts: bool = False,
) -> Splits:
    """Return disjoint splits; a fifth of train is cut off for dev and test where not given.

    Texts are compared without regard to case, spacing, Unicode form and invisible characters, all
    fields of a sample together; they stay as they are. Within
    a split the first of equal rows stays; rows with one text and several targets all go. Across
    splits test keeps its rows, dev loses to test, train loses to both.

    Args:
        train: Rows for training, and for what has to be cut off.
        dev: Rows for choices; None to cut them off.
        test: Rows to report; None to cut them off.
        seed: Decides which rows are cut off.
        stratify: Cut each target in proportion, at least one row of each.
        where: What to call `train` in messages.
        joins_texts: Rows with one text and several targets become one row with several
            references, as a generation task wants it.

    Raises:
        TaskError: two splits share an id, or there are too few rows (of a class) to cut.
    """
    _check_ids({"train": train, "dev": dev or (), "test": test or ()})
    counts: Counter[str] = Counter()
    kept = {
        name: (_join_within if joins_texts else _drop_within)(samples, name, counts=counts)
        for name, samples in (("train", train), ("dev", dev), ("test", test))
        if samples is not None
    }
    for loser, winners in (("dev", ["test"]), ("train", ["test", "dev"])):
        for winner in winners:
            if loser in kept and winner in kept:
                reason = f"{loser}: same text as a {winner} row"
                kept[loser] = _drop_across(kept[loser], kept[winner], reason=reason, counts=counts)
    sizes = {name: _CUT_SHARE for name in ("test", "dev") if name not in kept}
    dropped = DroppedRows(dict(counts))
    if sizes and kept["train"]:
        lost = _dropped_sentence(dropped)
        _check_room(kept["train"], sorted(sizes), stratify=stratify, where=where, lost=lost)
    kept |= _cut(kept["train"], sizes, seed=seed, stratify=stratify)
    return Splits(kept["train"], kept["dev"], kept["test"], dropped)


def limit(
    samples: Sequence[Sample], num_samples: int | None, *, seed: int, stratify: bool
) -> list[Sample]:
    """Return at most `num_samples` of the samples, in their order; None returns all.

    A smaller choice is contained in every larger one of the same seed. With `stratify` each target
    keeps its share, and at least one sample if there is room for all.

    Raises:
        ConfigError: the limit is below 1.
    """
    if num_samples is None or num_samples >= len(samples):
        return list(samples)
    if num_samples < 1:
        raise ConfigError(
            f"limit {num_samples}: a split needs at least 1 sample. Give a number from 1, or no "
            "limit."
        )
    rng = np.random.default_rng(seed)
    order = _proportional_order(_groups(samples, stratify=stratify), rng)
    return [samples[index] for index in sorted(order[:num_samples])]


def check_task(
    train: Sequence[Sample],
    dev: Sequence[Sample],
    *,
    test: Sequence[Sample],
    kind: TaskKind,
    where: str,
    dropped: DroppedRows | None = None,
) -> None:
    """Raise a `TaskError` with everything that makes the splits unusable.

    That is: an empty split, too few rows, and for a classification one class only or a label that
    train never shows.
    """
    problems = []
    lost = "" if dropped is None else _dropped_sentence(dropped)
    for name, samples in (("train", train), ("dev", dev), ("test", test)):
        if not samples:
            problems.append(f"{where}: {name} has no rows.{lost} Add rows to {name}.")
    if 0 < len(train) < MIN_TRAIN_ROWS:
        problems.append(
            f"{where}: train has {_rows(len(train))}; at least {MIN_TRAIN_ROWS} are needed.{lost} "
            "Add rows."
        )
    if kind == "short_answer":
        problems += _line_problems((*train, *dev, *test), where=where)
    if kind == "classification":
        problems += _label_problems(train, {"dev": dev, "test": test}, where=where, lost=lost)
    if problems:
        raise TaskError("\n".join(problems))


def _label_problems(
    train: Sequence[Sample], others: dict[str, Sequence[Sample]], *, where: str, lost: str
) -> list[str]:
    problems = []
    labels = {sample.target for sample in train}
    if len(labels) == 1 and len(train) >= MIN_TRAIN_ROWS:
        problems.append(
            f"{where}: every train row has the label '{labels.pop()}'; a classification needs at "
            f"least two.{lost} Check the label column."
        )
        return problems
    for name, samples in others.items():
        unseen = Counter(sample.target for sample in samples if sample.target not in labels)
        if unseen and labels:
            shown = [_beside(label, count, labels) for label, count in unseen.most_common()]
            problems.append(
                f"{where}: {name} has {listed(shown, 'label')}, which train never shows. Labels "
                f"of train: {_shortened(sorted(labels))}. Correct the spelling, or add train rows."
            )
    return problems


def _line_problems(samples: Sequence[Sample], *, where: str) -> list[str]:
    several = [s.id for s in samples if any("\n" in answer for answer in s.all_references)]
    if not several:
        return []
    have = "1 row has" if len(several) == 1 else f"{len(several)} rows have"
    return [
        f"{where}: {have} an answer of several lines ({listed(several, 'id')}), and a short answer "
        "ends with its line. Use the kind 'generation', or keep one line of each."
    ]


def _beside(label: str, count: int, labels: Set[str]) -> str:
    """Return a label with its number of rows, and which of the labels it looks like, if any."""
    alike = sorted(known for known in labels if folded(known) == folded(label))
    if not alike:
        return f"'{label}' ({_rows(count)})"
    return f"{label!a} ({_rows(count)}, looks like {alike[0]!a})"


def _dropped_sentence(dropped: DroppedRows) -> str:
    """Return " Dropped: 3 train: duplicate text.", or nothing."""
    counts = ", ".join(f"{n} {reason}" for reason, n in dropped.counts.items())
    return f" Dropped: {counts}." if counts else ""


def _shortened(names: Sequence[str]) -> str:
    more = len(names) - 4 * NUM_NAMED
    return ", ".join(names[: 4 * NUM_NAMED]) + (f" and {more} more" if more > 0 else "")


def _check_ids(splits: dict[str, Sequence[Sample]]) -> None:
    homes: dict[str, list[str]] = {}
    for name, samples in splits.items():
        for sample in samples:
            homes.setdefault(sample.id, []).append(name)
    repeated = [f"'{name}' ({' and '.join(where)})" for name, where in homes.items() if where[1:]]
    if repeated:
        raise TaskError(
            f"ids are used more than once: {listed(repeated, 'id')}. Make the ids unique over "
            "train, dev and test, or leave the id column out."
        )


def normalised_text(fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return the fields of a sample in the form in which two equal texts are equal."""
    return tuple(folded(fields[name]) for name in sorted(fields))


def _normalised(sample: Sample) -> tuple[str, ...]:
    return normalised_text(sample.fields)


def _drop_within(samples: Sequence[Sample], split: str, *, counts: Counter[str]) -> list[Sample]:
    targets: dict[tuple[str, ...], set[str]] = {}
    for sample in samples:
        targets.setdefault(_normalised(sample), set()).add(sample.target)
    kept = []
    seen: set[tuple[str, ...]] = set()
    for sample in samples:
        text = _normalised(sample)
        if len(targets[text]) > 1:
            counts[f"{split}: conflicting labels"] += 1
        elif text in seen:
            counts[f"{split}: duplicate text"] += 1
        else:
            seen.add(text)
            kept.append(sample)
    return kept


def _join_within(samples: Sequence[Sample], split: str, *, counts: Counter[str]) -> list[Sample]:
    """Return one sample per text: its first row, with the targets of the others as references."""
    first: dict[tuple[str, ...], Sample] = {}
    for sample in samples:
        text = _normalised(sample)
        known = first.setdefault(text, sample)
        if known is sample:
            continue
        others = (*known.all_references, *sample.all_references)
        joined = joined_references(known.target, others)
        is_new = len(joined) > len(known.all_references)
        reason = "joined to an earlier row with the same text" if is_new else "duplicate text"
        counts[f"{split}: {reason}"] += 1
        first[text] = replace(known, references=joined)
    return list(first.values())


def _drop_across(
    samples: Sequence[Sample], winners: Sequence[Sample], *, reason: str, counts: Counter[str]
) -> list[Sample]:
    taken = {_normalised(sample) for sample in winners}
    kept = [sample for sample in samples if _normalised(sample) not in taken]
    if len(kept) < len(samples):
        counts[reason] += len(samples) - len(kept)
    return kept


def _cut(
    train: list[Sample], fractions: dict[str, float], *, seed: int, stratify: bool
) -> dict[str, list[Sample]]:
    """Return train without the rows cut off, and what was cut off for each name."""
    if not fractions or not train:
        return {name: [] for name in fractions}
    num_classes = len({sample.target for sample in train}) if stratify else 1
    rng = np.random.default_rng(seed)
    rest, cut = list(train), {}
    for remaining, (name, fraction) in zip(
        range(len(fractions), 0, -1), fractions.items(), strict=True
    ):
        size = max(round(fraction * len(train)), num_classes)
        chosen = set(_choose(rest, size, rng=rng, stratify=stratify, reserve=remaining))
        cut[name] = [sample for index, sample in enumerate(rest) if index in chosen]
        rest = [sample for index, sample in enumerate(rest) if index not in chosen]
    return {"train": rest} | cut


def _check_room(
    train: Sequence[Sample], names: Sequence[str], *, stratify: bool, where: str, lost: str
) -> None:
    needed = 1 + len(names)  # one row for train and one for each split
    cut = " and ".join(names)
    advice = f"Add rows, or give a file for {cut}."
    if len(train) < needed:
        raise TaskError(
            f"{where}: too few rows to cut off {cut}: {len(train)}; at least {needed} are "
            f"needed.{lost} {advice}"
        )
    counts = Counter(sample.target for sample in train) if stratify else Counter[str]()
    rare = [f"'{label}' ({_rows(n)})" for label, n in counts.items() if n < needed]
    if rare:
        raise TaskError(
            f"{where}: too few rows to cut off {cut}: {listed(rare, 'label')}. Each label needs at "
            f"least {needed}.{lost} {advice}"
        )


def _rows(num: int) -> str:
    return "1 row" if num == 1 else f"{num} rows"


def _choose(
    samples: Sequence[Sample],
    num_chosen: int,
    *,
    rng: np.random.Generator,
    stratify: bool,
    reserve: int,
) -> list[int]:
    """Return the positions of a random subset that leaves `reserve` samples of each target."""
    groups = _groups(samples, stratify=stratify)
    sizes = np.array([len(group) for group in groups])  # (C,)
    shares = _allocate(sizes, num_chosen, rng=rng, reserve=reserve)
    return [
        int(index)
        for group, share in zip(groups, shares, strict=True)
        for index in rng.permutation(group)[:share]
    ]


def _groups(samples: Sequence[Sample], *, stratify: bool) -> list[list[int]]:
    """Return the positions of the samples of each target, or of all."""
    groups: dict[str, list[int]] = {}
    for index, sample in enumerate(samples):
        groups.setdefault(sample.target if stratify else "", []).append(index)
    return list(groups.values())


def _proportional_order(groups: Sequence[Sequence[int]], rng: np.random.Generator) -> list[int]:
    """Return all positions in an order of which every beginning has each group in proportion.

    One of each group comes first, larger groups before smaller ones, then whoever is furthest
    behind its share: the divisors of Webster, who, unlike largest remainders, never takes one back
    when there are more to give (Balinski and Young 1982, "Fair Representation", chapters 5 and 8).
    """
    ties = rng.permutation(len(groups))
    places = {
        int(index): ((number + 0.5) / len(group) if number else 0.0, -len(group), tie)
        for group, tie in zip(groups, ties, strict=True)
        for number, index in enumerate(rng.permutation(group))
    }
    return sorted(places, key=places.__getitem__)


def _allocate(
    sizes: NDArray[np.int64], num_chosen: int, *, rng: np.random.Generator, reserve: int
) -> NDArray[np.int64]:
    """Return how many to take of each class, (C,): largest remainder, ties at random.

    At least one of each class if `num_chosen` allows, never more than `sizes - reserve`.
    """
    room = np.maximum(sizes - reserve, 0)
    num_chosen = min(num_chosen, int(room.sum()))
    quotas = num_chosen * sizes / sizes.sum()
    least = np.minimum(room, 1 if num_chosen >= np.count_nonzero(room) else 0)
    shares: NDArray[np.int64] = np.clip(np.floor(quotas).astype(np.int64), least, room)
    ties = rng.permutation(len(sizes))
    while shares.sum() < num_chosen:
        gaps = np.where(shares < room, quotas - shares, -np.inf)
        shares[np.lexsort((ties, gaps))[-1]] += 1
    while shares.sum() > num_chosen:
        gaps = np.where(shares > least, quotas - shares, np.inf)
        shares[np.lexsort((ties, gaps))[0]] -= 1
    return shares
