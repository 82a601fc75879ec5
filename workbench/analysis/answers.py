"""A run's predictions and training history, read back from its folder and judged."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.answer_forms import as_one, is_match, normalise_answer
from workbench.errors import StoreError
from workbench.runs.store import StoredRun
from workbench.tasks.base import HEADLINE_METRICS


@dataclass(frozen=True)
class Answer:
    """What a run answered to one item.

    Attributes:
        sample_id: Which item it is.
        target: The correct answer.
        answer: None when nothing could be read from the output.
        is_correct: Whether it is the label, or a right short answer (see `is_match`). A text is
            correct if it is one of the references, which says little: read its score.
        probabilities: Label to probability; None where labels were not scored.
        label_mass: Probability of all labels together before renormalising.
        strict_answer: Read in exactly the form asked for; of generated text only.
        lenient_answer: Read as the last possible answer; of generated text only.
        is_truncated: Whether generation ended at its upper bound; None if nothing was generated.
        references: All correct texts of a generation task, the target first; empty otherwise.
        score: What a text scores against them, 0 to 1; None where answers are right or wrong.
    """

    sample_id: str
    target: str
    answer: str | None
    is_correct: bool
    probabilities: Mapping[str, float] | None
    label_mass: float | None
    strict_answer: str | None
    lenient_answer: str | None
    is_truncated: bool | None
    references: tuple[str, ...] = ()
    score: float | None = None

    @property
    def credit(self) -> float:
        """What the item adds to the run's headline metric: its score, or 1 if right, else 0."""
        return float(self.is_correct) if self.score is None else self.score

    @property
    def confidence(self) -> float | None:
        """The highest probability of a label; None where labels were not scored."""
        return max(self.probabilities.values()) if self.probabilities else None


def is_classification(run: StoredRun) -> bool:
    """Return whether a run's task has labels."""
    return run.spec.task.kind == "classification"


def headline_metric_of(run: StoredRun) -> str:
    """Return the name of the metric that a run's task ranks runs by."""
    return HEADLINE_METRICS[run.spec.task.kind]


def read_answers(run: StoredRun) -> tuple[Answer, ...]:
    """Return a run's answers in the order of the test split.

    Raises:
        StoreError: the predictions are missing or cannot be read, or an id appears twice.
    """
    has_labels = is_classification(run)
    try:
        answers = tuple(_answer(line, has_labels=has_labels) for line in run.predictions())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"run {run.record.run_id}: predictions.jsonl cannot be read ({error!r}). Delete the "
            "folder to run it again."
        ) from error
    counts = Counter(answer.sample_id for answer in answers)
    repeated = sorted(name for name, count in counts.items() if count > 1)
    if repeated:
        raise StoreError(
            f"run {run.record.run_id}: {len(repeated)} items appear twice in predictions.jsonl "
            f"(first: {first_few(repeated)}). Delete the folder to run it again."
        )
    return answers


def is_unanimous(answers: Sequence[Answer], *, has_labels: bool) -> bool:
    """Return whether the answers to one item all count as one; short ones as in a vote on them."""
    given = [answer.answer for answer in answers]
    if has_labels:
        return len(set(given)) == 1
    if any(answer.score is not None for answer in answers):  # whole texts
        return len({text if text is None else normalise_answer(text) for text in given}) == 1
    return len(set(as_one(given))) == 1


def read_history(run: StoredRun) -> tuple[Mapping[str, float], ...]:
    """Return the steps and dev evaluations of a run's training; empty if it trained nothing.

    Raises:
        StoreError: history.jsonl cannot be read.
    """
    try:
        return tuple(run.history())
    except (OSError, ValueError) as error:
        raise StoreError(
            f"run {run.record.run_id}: history.jsonl cannot be read ({error}). Delete the folder "
            "to run it again."
        ) from error


def first_few(names: Iterable[str], *, limit: int = 3) -> str:
    """Return the first names, and how many more there are."""
    known: Sequence[str] = list(names)
    more = f" and {len(known) - limit} more" if len(known) > limit else ""
    return ", ".join(known[:limit]) + more


def _answer(line: Mapping[str, Any], *, has_labels: bool) -> Answer:
    references = tuple(line.get("references") or ())
    return Answer(
        sample_id=line["sample_id"],
        target=line["target"],
        answer=line["answer"],
        is_correct=_is_correct(line, has_labels=has_labels),
        probabilities=line.get("probabilities"),
        label_mass=line.get("label_mass"),
        strict_answer=line.get("strict_answer"),
        lenient_answer=line.get("lenient_answer"),
        is_truncated=line.get("is_truncated"),
        references=references,
        score=line.get("score"),
    )


def _is_correct(line: Mapping[str, Any], *, has_labels: bool) -> bool:
    answer, right = line["answer"], (line["target"], *(line.get("references") or ()))
    if answer is None or has_labels:
        return bool(answer == line["target"])
    if line.get("score") is not None:  # a whole text
        return normalise_answer(answer) in set(map(normalise_answer, right))
    return is_match(answer, right)
