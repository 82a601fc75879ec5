"""Arithmetic word problems with worked solutions, made from a seed.

For chain-of-thought where no hub can be reached: 18 story shapes of one to three steps, numbers
from 2 to 99, every division exact, nothing negative. The stories are written for this project.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.tasks.base import Sample

NAMES = (
    *("Ada", "Amir", "Beatriz", "Bo", "Carla", "Chen", "Dalia", "Dmitri", "Elif", "Emeka"),
    *("Farah", "Felix", "Greta", "Hana", "Hugo", "Imani", "Ines", "Jonas", "Kofi", "Lena"),
    *("Luca", "Mei", "Milo", "Nadia", "Noor", "Omar", "Petra", "Priya", "Rosa", "Samir"),
    *("Sven", "Tomas", "Uma", "Vera", "Wanda", "Yuki", "Zoe"),
)
THINGS = (
    *("apples", "badges", "beads", "biscuits", "books", "bottles", "buttons", "candles", "cards"),
    *("coins", "cookies", "crayons", "cups", "eggs", "envelopes", "erasers", "flowers", "keys"),
    *("lemons", "magnets", "marbles", "mugs", "muffins", "notebooks", "oranges", "pears"),
    *("pencils", "photos", "plums", "postcards", "puzzles", "ribbons", "shells", "spoons"),
    *("stamps", "stickers", "tickets", "toys", "tulips", "walnuts"),
)
CONTAINERS = ("bags", "baskets", "boxes", "bowls", "crates", "drawers", "jars", "packs", "tins")
GOODS = (  # one and several
    *(("chair", "chairs"), ("cushion", "cushions"), ("hat", "hats"), ("kettle", "kettles")),
    *(("lamp", "lamps"), ("plant", "plants"), ("scarf", "scarves"), ("towel", "towels")),
)
MAX_TRIES = 1000  # draws without a new problem before giving up; the shapes have run dry


@dataclass(frozen=True)
class _Step:
    """One calculation of a worked solution."""

    left: int
    operator: str
    right: int
    says: str

    @property
    def result(self) -> int:
        """The value; every division of a shape is exact."""
        left, right = self.left, self.right
        values = {"+": left + right, "-": left - right, "*": left * right, "/": left // right}
        return values[self.operator]

    def __str__(self) -> str:
        return f"{self.says} {self.left} {self.operator} {self.right} = {self.result}."


@dataclass(frozen=True)
class _Problem:
    question: str
    steps: Sequence[_Step]


class _Draw:
    """Draws the words and numbers of one story."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.name, self.other = self._words(NAMES, 2)
        self.things, self.more_things = self._words(THINGS, 2)
        (self.containers,) = self._words(CONTAINERS, 1)
        self.good, self.goods = GOODS[self.number(0, len(GOODS) - 1)]

    def number(self, low: int, high: int) -> int:
        """Return a number from `low` to `high`, both included."""
        return int(self._rng.integers(low, high, endpoint=True))

    def _words(self, words: Sequence[str], num_words: int) -> list[str]:
        return [words[index] for index in self._rng.permutation(len(words))[:num_words]]


def generate_problems(num: int, *, seed: int) -> list[Sample]:
    """Return `num` different problems, the shapes in turn.

    The first problems of a longer list are those of a shorter one with the same seed.

    Args:
        num: How many; some ten thousand at most.
        seed: Decides words, numbers and the order of the shapes.

    Returns:
        Samples with the field `text`, the number as target, and the worked steps as rationale;
        the rationale stops before any phrase such as "The answer is".

    Raises:
        ValueError: `num` is negative, or more than the shapes can give.
    """
    if num < 0:
        raise ValueError(f"num must be 0 or more, got {num}")
    rng = np.random.default_rng(seed)
    samples: list[Sample] = []
    seen: set[str] = set()
    order: list[int] = []
    tries = 0
    while len(samples) < num:
        order = order or rng.permutation(len(SHAPES)).tolist()
        problem = SHAPES[order[-1]](_Draw(rng))
        tries += 1
        if tries > MAX_TRIES:
            raise ValueError(f"the shapes give no {num} different problems; ask for fewer")
        if problem.question in seen:
            continue
        order.pop()
        tries = 0
        seen.add(problem.question)
        samples.append(_sample(problem, len(samples) + 1))
    return samples


def _sample(problem: _Problem, number: int) -> Sample:
    return Sample(
        id=f"arithmetic-{number:05d}",
        fields={"text": problem.question},
        target=str(problem.steps[-1].result),
        rationale=" ".join(str(step) for step in problem.steps),
    )


def _gain(draw: _Draw) -> _Problem:
    start, gained = draw.number(2, 60), draw.number(2, 39)
    return _Problem(
        f"{draw.name} has {start} {draw.things}. {draw.other} gives {draw.name} {gained} more. "
        f"How many {draw.things} does {draw.name} have now?",
        [_Step(start, "+", gained, f"{draw.name} starts with {start} and gets {gained} more:")],
    )


def _loss(draw: _Draw) -> _Problem:
    start = draw.number(10, 99)
    lost = draw.number(2, start - 2)
    return _Problem(
        f"There were {start} {draw.things} on the table. {draw.name} took {lost} of them. "
        f"How many {draw.things} are still on the table?",
        [_Step(start, "-", lost, f"{lost} of the {start} {draw.things} are gone:")],
    )


def _groups(draw: _Draw) -> _Problem:
    num_groups, size = draw.number(2, 12), draw.number(2, 20)
    return _Problem(
        f"{draw.name} fills {num_groups} {draw.containers} with {size} {draw.things} each. "
        f"How many {draw.things} does {draw.name} need?",
        [_Step(num_groups, "*", size, f"{num_groups} {draw.containers} of {size} each make:")],
    )


def _share(draw: _Draw) -> _Problem:
    num_friends = draw.number(2, 9)
    total = num_friends * draw.number(2, 99 // num_friends)
    return _Problem(
        f"{num_friends} friends share {total} {draw.things} equally. "
        f"How many {draw.things} does each friend get?",
        [_Step(total, "/", num_friends, f"{total} {draw.things} for {num_friends} friends:")],
    )


def _gain_then_loss(draw: _Draw) -> _Problem:
    start, gained = draw.number(5, 60), draw.number(2, 39)
    lost = draw.number(2, min(99, start + gained - 2))
    first = _Step(start, "+", gained, f"After buying {gained} more there are:")
    return _Problem(
        f"{draw.name} had {start} {draw.things}, bought {gained} more and then gave {lost} to "
        f"{draw.other}. How many {draw.things} does {draw.name} have left?",
        [first, _Step(first.result, "-", lost, f"After giving {lost} away there are:")],
    )


def _groups_less(draw: _Draw) -> _Problem:
    num_groups, size = draw.number(2, 10), draw.number(3, 15)
    lost = draw.number(2, min(99, num_groups * size - 2))
    first = _Step(num_groups, "*", size, f"{num_groups} {draw.containers} of {size} each make:")
    return _Problem(
        f"{draw.name} packs {num_groups} {draw.containers} with {size} {draw.things} each. Then "
        f"{lost} {draw.things} are lost. How many {draw.things} are left?",
        [first, _Step(first.result, "-", lost, f"Without the {lost} lost ones:")],
    )


def _groups_more(draw: _Draw) -> _Problem:
    num_groups, size, loose = draw.number(2, 10), draw.number(2, 15), draw.number(2, 40)
    first = _Step(num_groups, "*", size, f"In the {draw.containers} there are:")
    return _Problem(
        f"In the cellar there are {num_groups} {draw.containers} with {size} {draw.things} each, "
        f"and {loose} loose {draw.things}. How many {draw.things} are in the cellar?",
        [first, _Step(first.result, "+", loose, f"With the {loose} loose ones:")],
    )


def _change(draw: _Draw) -> _Problem:
    count = draw.number(2, 9)
    price = draw.number(2, 97 // count)
    paid = draw.number(count * price + 2, 99) if count * price < 97 else 99
    first = _Step(count, "*", price, f"The {draw.goods} cost:")
    return _Problem(
        f"A {draw.good} costs {price} dollars. {draw.name} buys {count} {draw.goods} and hands "
        f"over {paid} dollars. How many dollars does {draw.name} get back?",
        [first, _Step(paid, "-", first.result, f"From {paid} dollars there remain:")],
    )


def _pool_and_share(draw: _Draw) -> _Problem:
    num_friends = draw.number(2, 8)
    total = num_friends * draw.number(3, 120 // num_friends)
    own = draw.number(max(2, total - 99), min(99, total - 2))
    first = _Step(own, "+", total - own, "Together they have:")
    return _Problem(
        f"{draw.name} brings {own} {draw.things} and {draw.other} brings {total - own}. They put "
        f"them together and share them equally among {num_friends} children. "
        f"How many {draw.things} does each child get?",
        [first, _Step(first.result, "/", num_friends, f"Each of {num_friends} children gets:")],
    )


def _use_and_share(draw: _Draw) -> _Problem:
    num_groups = draw.number(2, 9)
    kept = num_groups * draw.number(2, 90 // num_groups)
    used = draw.number(2, 99 - kept)
    first = _Step(kept + used, "-", used, f"After {used} are used there are:")
    return _Problem(
        f"A class has {kept + used} {draw.things}. It uses {used} of them and puts the rest into "
        f"{num_groups} {draw.containers}, the same number in each. "
        f"How many {draw.things} go into each of the {draw.containers}?",
        [first, _Step(first.result, "/", num_groups, f"In {num_groups} equal parts:")],
    )


def _compare(draw: _Draw) -> _Problem:
    own, extra = draw.number(2, 60), draw.number(2, 39)
    first = _Step(own, "+", extra, f"{draw.other} has:")
    return _Problem(
        f"{draw.name} has {own} {draw.things}. {draw.other} has {extra} more than {draw.name}. "
        f"How many {draw.things} do they have together?",
        [first, _Step(own, "+", first.result, "Together they have:")],
    )


def _times_as_many(draw: _Draw) -> _Problem:
    own, factor = draw.number(2, 20), draw.number(2, 8)
    first = _Step(factor, "*", own, f"{draw.other} collects:")
    return _Problem(
        f"{draw.name} collects {own} {draw.things}. {draw.other} collects {factor} times as many. "
        f"How many {draw.things} do they collect together?",
        [first, _Step(own, "+", first.result, "Together they collect:")],
    )


def _two_kinds(draw: _Draw) -> _Problem:
    num_a, size_a = draw.number(2, 9), draw.number(2, 11)
    num_b, size_b = draw.number(2, 9), draw.number(2, 11)
    first = _Step(num_a, "*", size_a, f"The {draw.things} in bags are:")
    second = _Step(num_b, "*", size_b, f"The {draw.more_things} in boxes are:")
    return _Problem(
        f"A shop sells {num_a} bags of {size_a} {draw.things} and {num_b} boxes of {size_b} "
        f"{draw.more_things}. How many things does it sell altogether?",
        [first, second, _Step(first.result, "+", second.result, "Altogether:")],
    )


def _pages_left(draw: _Draw) -> _Problem:
    num_days, pages, extra = draw.number(2, 6), draw.number(2, 11), draw.number(2, 25)
    total = draw.number(num_days * pages + extra + 2, 99)
    first = _Step(num_days, "*", pages, f"In {num_days} days {draw.name} reads:")
    second = _Step(first.result, "+", extra, "With the weekend:")
    return _Problem(
        f"A book has {total} pages. {draw.name} reads {pages} pages a day for {num_days} days and "
        f"{extra} pages at the weekend. How many pages are left to read?",
        [first, second, _Step(total, "-", second.result, "Pages left:")],
    )


def _bake_and_pack(draw: _Draw) -> _Problem:
    size = draw.number(2, 9)
    num_trays = draw.number(2, 9)
    per_tray = draw.number(size + 1, 16)
    baked = num_trays * per_tray
    eaten = 2 + (baked - 2) % size
    first = _Step(num_trays, "*", per_tray, f"{draw.name} bakes:")
    second = _Step(baked, "-", eaten, f"After {eaten} are eaten there are:")
    return _Problem(
        f"{draw.name} bakes {num_trays} trays of {per_tray} rolls. The family eats {eaten} rolls, "
        f"and the others are packed in bags of {size}. How many bags does {draw.name} fill?",
        [first, second, _Step(second.result, "/", size, f"In bags of {size}:")],
    )


def _bus(draw: _Draw) -> _Problem:
    start, joined = draw.number(8, 60), draw.number(2, 30)
    left = draw.number(2, start - 2)
    first = _Step(start, "-", left, f"After {left} get off there are:")
    return _Problem(
        f"A bus leaves with {start} passengers. At the next stop {left} get off and {joined} get "
        f"on. How many passengers are on the bus then?",
        [first, _Step(first.result, "+", joined, f"After {joined} get on there are:")],
    )


def _savings(draw: _Draw) -> _Problem:
    num_weeks, saved = draw.number(3, 12), draw.number(3, 9)
    price = draw.number(2, min(99, num_weeks * saved - 2))
    first = _Step(num_weeks, "*", saved, f"In {num_weeks} weeks {draw.name} saves:")
    return _Problem(
        f"{draw.name} saves {saved} dollars a week. After {num_weeks} weeks {draw.name} buys a "
        f"{draw.good} for {price} dollars. How many dollars does {draw.name} have left?",
        [first, _Step(first.result, "-", price, f"After buying the {draw.good}:")],
    )


def _rows_compared(draw: _Draw) -> _Problem:
    num_rows, size = draw.number(3, 9), draw.number(4, 11)
    other_rows = draw.number(2, num_rows - 1)
    other_size = draw.number(2, size)
    first = _Step(num_rows, "*", size, f"{draw.name} plants:")
    second = _Step(other_rows, "*", other_size, f"{draw.other} plants:")
    return _Problem(
        f"{draw.name} plants {num_rows} rows of {size} tulips and {draw.other} plants "
        f"{other_rows} rows of {other_size}. How many more tulips does {draw.name} plant than "
        f"{draw.other}?",
        [first, second, _Step(first.result, "-", second.result, "The difference:")],
    )


SHAPES: tuple[Callable[[_Draw], _Problem], ...] = (
    _bake_and_pack,
    _bus,
    _change,
    _compare,
    _gain,
    _gain_then_loss,
    _groups,
    _groups_less,
    _groups_more,
    _loss,
    _pages_left,
    _pool_and_share,
    _rows_compared,
    _savings,
    _share,
    _times_as_many,
    _two_kinds,
    _use_and_share,
)
