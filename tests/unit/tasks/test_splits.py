"""Splits share no text, keep their proportions, and are the same for the same seed."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import ConfigError, TaskError
from workbench.tasks.base import DroppedRows, Sample
from workbench.tasks.splits import check_task, limit, make_splits


def _sample(text: str, target: str = "a", sample_id: str | None = None) -> Sample:
    return Sample(sample_id or f"id {text} {target}", {"text": text}, target)


def _labelled(**counts: int) -> list[Sample]:
    return [_sample(f"{label} {n}", label) for label, count in counts.items() for n in range(count)]


def _targets(samples: Sequence[Sample]) -> Counter[str]:
    return Counter(sample.target for sample in samples)


def _texts(samples: Sequence[Sample]) -> list[str]:
    return [sample.fields["text"] for sample in samples]


def test_given_splits_without_overlap_stay_as_they_are() -> None:
    train, dev, test = _labelled(a=2, b=2), [_sample("x")], [_sample("y")]

    splits = make_splits(train, dev=dev, test=test, seed=0, stratify=True)

    assert splits == (train, dev, test, DroppedRows({}))


def test_dev_and_test_are_cut_off_in_proportion() -> None:
    splits = make_splits(_labelled(a=60, b=30, c=10), seed=0, stratify=True)

    assert _targets(splits.train) == {"a": 36, "b": 18, "c": 6}
    assert _targets(splits.dev) == {"a": 12, "b": 6, "c": 2}
    assert _targets(splits.test) == {"a": 12, "b": 6, "c": 2}


def test_only_the_missing_split_is_cut_off() -> None:
    test = [_sample("t")]

    splits = make_splits(_labelled(a=10, b=10), test=test, seed=0, stratify=True)

    assert (len(splits.train), len(splits.dev), splits.test) == (16, 4, test)


def test_a_rare_class_is_in_every_split() -> None:
    splits = make_splits(_labelled(a=97, b=3), seed=0, stratify=True)

    assert [_targets(part)["b"] for part in splits[:3]] == [1, 1, 1]


def test_more_classes_than_the_share_gives_still_means_one_row_of_each() -> None:
    counts = {f"c{n}": 3 for n in range(20)}

    splits = make_splits(_labelled(**counts), seed=0, stratify=True)

    assert [len(part) for part in splits[:3]] == [20, 20, 20]
    assert all(set(_targets(part)) == set(counts) for part in splits[:3])


def test_short_answers_are_cut_without_regard_to_the_answer() -> None:
    samples = [_sample(str(n), target=str(n)) for n in range(10)]

    splits = make_splits(samples, seed=0, stratify=False)

    assert [len(part) for part in splits[:3]] == [6, 2, 2]


def test_one_seed_gives_one_cut_and_order_is_kept() -> None:
    samples = _labelled(a=50, b=50)

    once, again = (make_splits(samples, seed=3, stratify=True) for _ in range(2))
    other = make_splits(samples, seed=4, stratify=True)

    assert once == again
    assert once.test != other.test
    assert all(sorted(part, key=samples.index) == part for part in once[:3])


def test_within_a_split_the_first_of_equal_texts_stays() -> None:
    train = [_sample("One  two"), _sample("one TWO\n", sample_id="2"), _sample("three")]

    splits = make_splits(train, dev=[_sample("x")], test=[_sample("y")], seed=0, stratify=True)

    assert _texts(splits.train) == ["One  two", "three"]
    assert splits.dropped == DroppedRows({"train: duplicate text": 1})


def test_equal_texts_with_different_labels_all_go() -> None:
    train = [_sample("one", "a"), _sample("ONE", "b"), _sample("one", "a", "3"), _sample("two")]

    splits = make_splits(train, dev=[_sample("x")], test=[_sample("y")], seed=0, stratify=True)

    assert _texts(splits.train) == ["two"]
    assert splits.dropped == DroppedRows({"train: conflicting labels": 3})


def test_samples_are_equal_only_if_all_fields_are() -> None:
    train = [
        Sample("1", {"premise": "a", "hypothesis": "b"}, "yes"),
        Sample("2", {"premise": "a", "hypothesis": "c"}, "no"),
        Sample("3", {"premise": "b", "hypothesis": "a"}, "no"),
    ]
    other = [Sample("4", {"premise": "x", "hypothesis": "y"}, "no")]

    splits = make_splits(train, dev=other, test=[_sample("y")], seed=0, stratify=True)

    assert splits.train == train


def test_across_splits_test_keeps_and_train_loses_to_both() -> None:
    train = [_sample(text) for text in ("1", "2", "3", "4")]
    dev = [_sample(text, sample_id=f"dev {text}") for text in ("2", "3", "5")]
    test = [_sample(text, sample_id=f"test {text}") for text in ("3", "4", "6")]

    splits = make_splits(train, dev=dev, test=test, seed=0, stratify=True)

    assert [_texts(part) for part in splits[:3]] == [["1"], ["2", "5"], ["3", "4", "6"]]
    assert splits.dropped == DroppedRows(
        {
            "dev: same text as a test row": 1,
            "train: same text as a test row": 2,
            "train: same text as a dev row": 1,
        }
    )
    assert splits.dropped.total == 4


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xy")), max_size=30),
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xy")), max_size=10),
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xy")), max_size=10),
)
def test_no_text_is_ever_in_two_splits_and_every_row_is_accounted_for(
    train: list[tuple[str, str]], dev: list[tuple[str, str]], test: list[tuple[str, str]]
) -> None:
    given_splits = {
        name: [_sample(text, target, f"{name} {n}") for n, (text, target) in enumerate(rows)]
        for name, rows in (("train", train), ("dev", dev), ("test", test))
    }

    splits = make_splits(
        given_splits["train"],
        dev=given_splits["dev"],
        test=given_splits["test"],
        seed=0,
        stratify=True,
    )

    texts = [text for part in splits[:3] for text in _texts(part)]
    assert len(texts) == len(set(texts))
    assert len(texts) + splits.dropped.total == len(train) + len(dev) + len(test)


def test_ids_are_unique_over_all_splits() -> None:
    train = [_sample("1", sample_id="same"), _sample("2", sample_id="same")]
    test = [_sample("3", sample_id="x"), _sample("4", sample_id="same")]

    with pytest.raises(TaskError) as error:
        make_splits(train, dev=[_sample("5", sample_id="x")], test=test, seed=0, stratify=True)

    assert str(error.value) == (
        "ids are used more than once: ids 'same' (train and train and test), 'x' (dev and test). "
        "Make the ids unique over train, dev and test, or leave the id column out."
    )


def test_classes_too_rare_to_cut_are_named() -> None:
    with pytest.raises(TaskError) as error:
        make_splits(_labelled(a=9, b=2, c=1), seed=0, stratify=True, where="mine.csv")

    assert str(error.value) == (
        "mine.csv: too few rows to cut off dev and test: labels 'b' (2 rows), 'c' (1 row). "
        "Each label needs at least 3. Add rows, or give a file for dev and test."
    )


def test_too_few_rows_to_cut_are_counted() -> None:
    with pytest.raises(TaskError) as error:
        make_splits([_sample("1")], test=[_sample("2")], seed=0, stratify=False)

    assert str(error.value) == (
        "train: too few rows to cut off dev: 1; at least 2 are needed. "
        "Add rows, or give a file for dev."
    )


def test_an_empty_train_split_is_left_to_the_check() -> None:
    splits = make_splits([], seed=0, stratify=True)

    assert splits == ([], [], [], DroppedRows({}))


def test_no_limit_and_a_limit_above_the_size_keep_all() -> None:
    samples = _labelled(a=3)

    assert limit(samples, None, seed=0, stratify=True) == samples
    assert limit(samples, 3, seed=0, stratify=True) == samples
    assert limit(samples, 9, seed=0, stratify=True) == samples


def test_a_limit_keeps_proportions_and_order() -> None:
    samples = _labelled(a=60, b=30, c=10)

    kept = limit(samples, 10, seed=0, stratify=True)

    assert _targets(kept) == {"a": 6, "b": 3, "c": 1}
    assert sorted(kept, key=samples.index) == kept


def test_a_limit_below_the_number_of_classes_takes_different_classes() -> None:
    kept = limit(_labelled(a=5, b=5, c=5, d=5), 3, seed=0, stratify=True)

    assert sorted(_targets(kept).values()) == [1, 1, 1]


def test_rare_classes_are_kept_at_the_cost_of_the_frequent_one() -> None:
    kept = limit(_labelled(a=98, b=1, c=1), 3, seed=0, stratify=True)

    assert _targets(kept) == {"a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sizes", [(97, 40, 7, 3, 1), (5, 5, 4), (30, 1, 1, 1, 1, 1), (64, 63)])
@pytest.mark.parametrize("stratify", [True, False])
def test_a_smaller_limit_is_contained_in_a_larger_one(
    sizes: tuple[int, ...], seed: int, stratify: bool
) -> None:
    samples = _labelled(**dict(zip("abcdef", sizes, strict=False)))
    kept = [
        {sample.id for sample in limit(samples, number, seed=seed, stratify=stratify)}
        for number in range(1, len(samples) + 1)
    ]
    assert all(smaller < larger for smaller, larger in pairwise(kept))


@pytest.mark.parametrize("sizes", [(97, 40, 7, 3, 1), (5, 5, 4), (64, 63)])
def test_a_limit_gives_each_class_nearly_its_share(sizes: tuple[int, ...]) -> None:
    """No way that never takes a row back is always within one of it (Balinski and Young)."""
    samples = _labelled(**dict(zip("abcdef", sizes, strict=False)))
    rarest_counts = len(samples) // (2 * min(sizes))  # below it its one row is more than its share
    for number in range(len(sizes), len(samples) + 1):
        counts = Counter(s.target for s in limit(samples, number, seed=0, stratify=True))
        for label, size in zip("abcdef", sizes, strict=False):
            assert counts[label] >= 1
            if number > rarest_counts:
                assert abs(counts[label] - number * size / len(samples)) < 1.5


def test_a_limit_depends_on_the_seed_alone() -> None:
    samples = _labelled(a=100)

    assert limit(samples, 9, seed=1, stratify=True) == limit(samples, 9, seed=1, stratify=True)
    assert limit(samples, 9, seed=1, stratify=True) != limit(samples, 9, seed=2, stratify=True)


@pytest.mark.parametrize("num_samples", [0, -1])
def test_a_limit_below_one_is_refused(num_samples: int) -> None:
    with pytest.raises(ConfigError) as error:
        limit(_labelled(a=3), num_samples, seed=0, stratify=True)

    assert str(error.value) == (
        f"limit {num_samples}: a split needs at least 1 sample. Give a number from 1, or no limit."
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(1, 100), st.integers(0, 9))
def test_a_stratified_limit_gives_what_was_asked_and_forgets_no_class(
    sizes: list[int], num_samples: int, seed: int
) -> None:
    samples = _labelled(**{f"c{n}": size for n, size in enumerate(sizes)})

    kept = limit(samples, num_samples, seed=seed, stratify=True)

    assert len(kept) == min(num_samples, len(samples))
    assert len({sample.id for sample in kept}) == len(kept)
    assert len(_targets(kept)) == min(len(sizes), num_samples) or num_samples < len(sizes)


def test_a_sound_task_passes_the_check() -> None:
    train = _labelled(a=1, b=1)

    check_task(train, train[:1], test=train[1:], kind="classification", where="mine")


UNUSABLE: dict[str, tuple[list[Sample], list[Sample], list[Sample], str]] = {
    "empty splits": (
        _labelled(a=1, b=1),
        [],
        [],
        "mine: dev has no rows. Dropped: 4 dev: same text as a test row. Add rows to dev.\n"
        "mine: test has no rows. Dropped: 4 dev: same text as a test row. Add rows to test.",
    ),
    "one row": (
        _labelled(a=1),
        _labelled(a=1),
        _labelled(a=1),
        "mine: train has 1 row; at least 2 are needed. Dropped: 4 dev: same text as a test row. "
        "Add rows.",
    ),
    "one class": (
        _labelled(a=5),
        _labelled(a=1),
        _labelled(b=1),
        "mine: every train row has the label 'a'; a classification needs at least two. "
        "Dropped: 4 dev: same text as a test row. Check the label column.",
    ),
    "labels that train never shows": (
        _labelled(a=5, b=5),
        _labelled(a=1, A=1),
        _labelled(c=2, d=3),
        "mine: dev has label 'A' (1 row, looks like 'a'), which train never shows. "
        "Labels of train: a, b. Correct the spelling, or add train rows.\n"
        "mine: test has labels 'd' (3 rows), 'c' (2 rows), which train never shows. "
        "Labels of train: a, b. Correct the spelling, or add train rows.",
    ),
}


@pytest.mark.parametrize(("train", "dev", "test", "message"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_splits_are_refused(
    train: list[Sample], dev: list[Sample], test: list[Sample], message: str
) -> None:
    dropped = DroppedRows({"dev: same text as a test row": 4})

    with pytest.raises(TaskError) as error:
        check_task(train, dev, test=test, kind="classification", where="mine", dropped=dropped)

    assert str(error.value) == message


def test_short_answers_may_all_differ() -> None:
    train = [_sample("1", "10"), _sample("2", "20")]

    check_task(train, [_sample("3", "30")], test=train, kind="short_answer", where="mine")


def test_many_labels_are_listed_in_part() -> None:
    train = _labelled(**{f"c{n:02d}": 1 for n in range(25)})

    with pytest.raises(TaskError, match=r"c18, c19 and 5 more\. Correct the spelling"):
        check_task(train, _labelled(x=1), test=train, kind="classification", where="mine")


LEAKS = {
    "another Unicode form": ("cafe\u0301 at noon", "café at noon"),
    "a zero-width space": ("late\u200b again", "late again"),
    "a byte order mark": ("\ufefflate", "late"),
    "a no-break space": ("late\u00a0again", "late again"),
    "other spaces": ("late \t again", "late\u3000again"),
}


@pytest.mark.parametrize("pair", LEAKS.values(), ids=LEAKS)
def test_a_text_in_another_form_is_a_leak_and_stays_as_it_is(pair: tuple[str, str]) -> None:
    train = [_sample(pair[0]), _sample("x"), _sample("y")]
    test = [_sample(pair[1], sample_id="last")]

    splits = make_splits(train, dev=[], test=test, seed=0, stratify=False)

    assert splits.dropped == DroppedRows({"train: same text as a test row": 1})
    assert splits.test == test
    assert splits.train == train[1:]


def test_copies_that_leave_too_few_rows_are_counted() -> None:
    copies = [_sample("same words", sample_id=str(n)) for n in range(12)]

    with pytest.raises(TaskError) as error:
        make_splits(copies, seed=0, stratify=True, where="mine.csv")

    assert str(error.value) == (
        "mine.csv: too few rows to cut off dev and test: 1; at least 3 are needed. "
        "Dropped: 11 train: duplicate text. Add rows, or give a file for dev and test."
    )


def test_copies_that_leave_too_few_rows_of_a_label_are_counted() -> None:
    copies = [_sample(label, label, f"{label}{n}") for label in "ab" for n in range(5)]
    copies += [_sample("other", "a"), _sample("another", "b")]

    with pytest.raises(TaskError) as error:
        make_splits(copies, seed=0, stratify=True, where="mine.csv")

    assert str(error.value) == (
        "mine.csv: too few rows to cut off dev and test: labels 'a' (2 rows), 'b' (2 rows). Each "
        "label needs at least 3. Dropped: 8 train: duplicate text. "
        "Add rows, or give a file for dev and test."
    )


def test_a_label_that_only_looks_like_one_of_train_is_shown_with_what_tells_them_apart() -> None:
    train = _labelled(pos=3, neg=3)
    test = [_sample("x", "pos\u200b"), _sample("y", "Neg")]

    with pytest.raises(TaskError) as error:
        check_task(train, train, test=test, kind="classification", where="mine")

    assert str(error.value) == (
        "mine: test has labels 'pos\\u200b' (1 row, looks like 'pos'), 'Neg' (1 row, looks like "
        "'neg'), which train never shows. Labels of train: neg, pos. Correct the spelling, or add "
        "train rows."
    )
