"""The columns of a question as cards: answer, probabilities, costs, the prompt, and agreement."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.answer_forms import as_one
from workbench.presentation.display import duration, number, one_line
from workbench.serving.asking import Column, LeftOut, PromptPiece
from workbench.ui.rendering import render

_MOST_BARS = 6


@dataclass(frozen=True)
class Card:
    """A column as the template wants it."""

    label: str
    text: str
    answer: str | None
    confidence: float | None
    bars: Sequence[Mapping[str, object]]
    cost: str
    cautions: Sequence[str]
    pieces: Sequence[PromptPiece]
    num_tokens: int
    num_learned: int
    adapter: bool
    is_written: bool
    is_folded: bool  # its text is beside the point: the labels' scores say its answer
    is_done: bool


def columns_html(
    columns: Sequence[Column],
    left_out: Sequence[LeftOut] = (),
    *,
    asked: Sequence[str] = (),
    is_done: bool,
) -> str:
    """Return the columns as cards, with how far they agree and what cannot answer.

    Args:
        columns: As they are by now.
        left_out: Ways that cannot answer.
        asked: The texts they answer, in the order of the task's fields.
        is_done: Whether nothing more is written.
    """
    cards = [_card(column, is_done=is_done) for column in columns]
    agreement = _agreement(columns, cards)
    return render(
        "columns",
        asked=asked,
        cards=cards,
        agreement=agreement,
        left_out=left_out,
        is_done=is_done,
    )


def _card(column: Column, *, is_done: bool) -> Card:
    prediction = column.prediction
    probabilities = prediction.probabilities if prediction else None
    ranked = sorted((probabilities or {}).items(), key=lambda item: -item[1])
    bars = [{"label": one_line(label), "probability": value} for label, value in ranked]
    learned = sum(piece.num_tokens for piece in column.pieces if piece.is_learned)
    found = prediction.answer if prediction else None
    return Card(
        label=one_line(column.label),
        text=column.text.strip(),
        answer=None if found is None else one_line(found),
        confidence=ranked[0][1] if ranked else None,
        bars=bars[:_MOST_BARS],
        cost=_cost(column),
        cautions=column.cautions,
        pieces=column.pieces,
        num_tokens=column.conditioning.num_tokens,
        num_learned=learned,
        adapter=column.conditioning.adapter is not None,
        is_written=column.generation is not None,
        is_folded=is_done and bool(ranked) and column.fitted.reasoning is None,
        is_done=is_done,
    )


def _cost(column: Column) -> str:
    found = column.prediction
    prompt_tokens = (found.prompt_tokens if found else 0) or column.conditioning.num_tokens
    parts = [f"{number(prompt_tokens)} prompt tokens"]
    if found is not None and found.sampled_answers is not None:
        voices = len(found.sampled_answers)
        parts.append(f"{round((found.vote_share or 0) * voices)} of {voices} votes")
    if column.generation is not None:
        parts.append(f"{len(column.generation.token_ids)} written")
    if column.first_token_seconds is not None:
        parts.append(f"first after {duration(column.first_token_seconds)}")
    if column.seconds is not None:
        parts.append(f"all after {duration(column.seconds)}")
    if column.generation is not None and column.generation.finish_reason == "length":
        parts.append("cut at the limit")
    return " · ".join(parts)


def _agreement(columns: Sequence[Column], cards: Sequence[Card]) -> dict[str, object] | None:
    """Return how many columns give each answer; None until all of several have answered.

    Short answers that would be one in a vote are one.
    """
    answers = [card.answer for card in cards if card.answer is not None]
    if len(cards) < 2 or len(answers) < len(cards):
        return None
    forms: Sequence[str | None] = answers
    if any(column.fitted.encoder.task.kind == "short_answer" for column in columns):
        forms = as_one(answers)
    first = dict(zip(reversed(forms), reversed(answers), strict=True))
    counts = [(first[form], count) for form, count in Counter(forms).most_common()]
    most = counts[0][1]
    headline = (
        f"All {len(cards)} agree:"
        if most == len(cards)
        else f"{len(counts)} different answers, {most} of {len(cards)} agree at most:"
    )
    parts = [{"answer": found, "count": count} for found, count in counts]
    return {"headline": headline, "parts": parts}
