"""Hasty notes of a support agent and the formal replies they stand for, made from a seed.

A small generation task for where no hub can be reached: 14 matters, each with two ways to jot it
down and two ways to write it formally, so that every note has two references. The texts are
written for this project.
"""

from dataclasses import dataclass

import numpy as np

from workbench.tasks.base import Sample

NAMES = (
    *("Ada", "Amir", "Beatriz", "Bo", "Carla", "Chen", "Dalia", "Dmitri", "Elif", "Emeka"),
    *("Farah", "Felix", "Greta", "Hana", "Hugo", "Imani", "Ines", "Jonas", "Kofi", "Lena"),
    *("Luca", "Mei", "Milo", "Nadia", "Noor", "Omar", "Petra", "Priya", "Rosa", "Samir"),
)
GOODS = (
    *("armchair", "blanket", "camera", "coffee machine", "desk lamp", "guitar", "headset"),
    *("kettle", "keyboard", "mattress", "monitor", "printer", "rucksack", "tent", "toaster"),
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MAX_TRIES = 1000  # draws without a new note before giving up; the matters have run dry

_GREETINGS = ("hey {name}, ", "hi {name}! ", "{name}, ")
_ENDS = ("", " thx", " cheers")


@dataclass(frozen=True)
class _Matter:
    """What a note is about; `{name}`, `{good}`, `{day}` and `{number}` are filled in.

    Attributes:
        notes: Ways to jot it down.
        formal: The reply that is the target.
        other: The same said differently: a second reference.
    """

    notes: tuple[str, ...]
    formal: str
    other: str


def generate_replies(num: int, *, seed: int) -> list[Sample]:
    """Return `num` different notes with their replies, the matters in turn.

    The first notes of a longer list are those of a shorter one with the same seed.

    Args:
        num: How many; some thousand at most.
        seed: Decides words, numbers and the order of the matters.

    Returns:
        Samples with the field `text`, the formal reply as target, and two references.

    Raises:
        ValueError: `num` is negative, or more than the matters can give.
    """
    if num < 0:
        raise ValueError(f"num must be 0 or more, got {num}")
    rng = np.random.default_rng(seed)
    samples: list[Sample] = []
    seen: set[str] = set()
    order: list[int] = []
    tries = 0
    while len(samples) < num:
        order = order or rng.permutation(len(MATTERS)).tolist()
        drawn = _draw(MATTERS[order[-1]], rng, number=len(samples) + 1)
        tries += 1
        if tries > MAX_TRIES:
            raise ValueError(f"the matters give no {num} different notes; ask for fewer")
        if drawn.fields["text"] in seen:
            continue
        order.pop()
        tries = 0
        seen.add(drawn.fields["text"])
        samples.append(drawn)
    return samples


def _draw(matter: _Matter, rng: np.random.Generator, *, number: int) -> Sample:
    words = {
        "name": NAMES[rng.integers(len(NAMES))],
        "good": GOODS[rng.integers(len(GOODS))],
        "day": DAYS[rng.integers(len(DAYS))],
        "number": str(rng.integers(2, 30)),
    }
    note = matter.notes[rng.integers(len(matter.notes))]
    greeting = _GREETINGS[rng.integers(len(_GREETINGS))]
    end = _ENDS[rng.integers(len(_ENDS))]
    text = (greeting + note + end).format_map(words)
    formal = f"Dear {{name}}, {matter.formal}".format_map(words)
    other = f"Dear {{name}}, {matter.other}".format_map(words)
    return Sample(
        id=f"formal-replies-{number:05d}",
        fields={"text": text},
        target=formal,
        references=(formal, other),
    )


MATTERS: tuple[_Matter, ...] = (
    _Matter(
        (
            "ur {good} is stuck, gonna be {number} days late, sorry!!",
            "bad news, the {good} comes {number} days late",
        ),
        "your {good} will arrive {number} days late. We apologise for the delay.",
        "we are sorry to inform you that your {good} is delayed by {number} days.",
    ),
    _Matter(
        (
            "got ur {good} back, money's on its way, takes {number} days",
            "{good} arrived here, u get ur cash in {number} days",
        ),
        "we have received your {good} and will refund you within {number} days.",
        "thank you for returning the {good}. Your refund will arrive within {number} days.",
    ),
    _Matter(
        ("the {good} is sold out, back on {day} i think", "no {good} left atm, try again {day}"),
        "the {good} is currently out of stock. It should be available again on {day}.",
        "unfortunately we have no {good} in stock at present. Please try again on {day}.",
    ),
    _Matter(
        (
            "can u send a pic of the broken {good}? need it by {day}",
            "pls snap the damage on ur {good} n send it till {day}",
        ),
        "please send us a photograph of the damaged {good} by {day}.",
        "could you please provide a photograph of the damage to your {good} by {day}?",
    ),
    _Matter(
        ("we'll swap ur {good} for free, guy comes {day}", "new {good} coming {day}, no charge"),
        "we will replace your {good} free of charge on {day}.",
        "your {good} will be exchanged on {day} at no cost to you.",
    ),
    _Matter(
        (
            "nope, cant return the {good}, it's been over {number} days",
            "too late to send back the {good}, only {number} days allowed",
        ),
        "we cannot accept the return of the {good}, because more than {number} days have passed.",
        "unfortunately the {good} can only be returned within {number} days.",
    ),
    _Matter(
        (
            "u forgot to pay for the {good}, pls do it by {day}",
            "still waiting for ur money for the {good}, {day} latest",
        ),
        "we have not yet received your payment for the {good}. Please pay by {day}.",
        "may we remind you that payment for the {good} is due by {day}?",
    ),
    _Matter(
        (
            "call us {day} about ur {good}, line's open till {number} past six",
            "ring us on {day} re the {good}, we're in till {number} past six",
        ),
        "please call us on {day} about your {good}. We are available until {number} past six.",
        "you can reach us by telephone on {day} until {number} past six regarding your {good}.",
    ),
    _Matter(
        (
            "sry we sent u the wrong {good}, keep it n take {number} bucks off",
            "my bad, wrong {good}. keep it, {number} bucks off next time",
        ),
        "we apologise for sending the wrong {good}. You may keep it and receive a discount of "
        "{number} dollars.",
        "please keep the {good} that we sent by mistake and accept a discount of {number} dollars.",
    ),
    _Matter(
        (
            "need ur order no for the {good}, cant find u",
            "whats the order number of that {good}? cant see it here",
        ),
        "please send us the order number of your {good}, as we cannot find your order.",
        "could you please tell us the order number of the {good}? We are unable to locate it.",
    ),
    _Matter(
        (
            "nobody home {day}, ur {good} is at the shop, pick it up in {number} days",
            "missed u on {day}, grab the {good} at the shop within {number} days",
        ),
        "we could not deliver your {good} on {day}. Please collect it from the shop within "
        "{number} days.",
        "as nobody was at home on {day}, your {good} is waiting at the shop for {number} days.",
    ),
    _Matter(
        (
            "all sorted, ur {good} got fixed, comes {day}",
            "good news!! {good} works again, u get it {day}",
        ),
        "your {good} has been repaired and will be delivered on {day}.",
        "we are pleased to inform you that your {good} is repaired. You will receive it on {day}.",
    ),
    _Matter(
        ("cancelled the {good} for u, nothing to pay", "ok {good} order is gone, u owe nothing"),
        "we have cancelled your order of the {good}. There is nothing to pay.",
        "your order of the {good} has been cancelled, and no payment is due.",
    ),
    _Matter(
        (
            "yep the {good} has {number} months warranty, keep the bill",
            "{good} is covered for {number} months but dont lose the receipt",
        ),
        "the {good} has a warranty of {number} months. Please keep the receipt.",
        "your {good} is under warranty for {number} months. We advise you to keep the receipt.",
    ),
)
