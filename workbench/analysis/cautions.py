"""What to be careful about in a run's answers, as plain sentences."""

from collections.abc import Mapping, Sequence

from workbench.analysis.answers import Answer
from workbench.analysis.display import estimate_text, one_line, percent
from workbench.metrics import Estimate

_LOW_LABEL_MASS = 0.5  # below it most of the probability is on something that is no label
_LOW_EXTRACTION = 0.8  # a fifth of the answers lost decides most rankings
_HIGH_TRUNCATION = 0.1


def cautions_of_row(
    answers: Sequence[Answer],
    accuracy: Estimate,
    *,
    has_labels: bool,
    majority: Estimate | None,
) -> list[str]:
    """Return the cautions about one run that is no baseline, as sentences to follow its name.

    Args:
        answers: Of the run.
        accuracy: Of the run.
        has_labels: Whether the task is a classification.
        majority: Accuracy of the majority-class row, if the table has one.
    """
    found = [
        _constant(answers) if has_labels else None,
        _label_mass(answers),
        *_extraction(answers),
        _above_majority(accuracy, majority),
        _unscored(answers),
    ]
    return [sentence for sentence in found if sentence]


def caution_of_environments(environments: Sequence[Mapping[str, object]]) -> list[str]:
    """Return a caution if rows were made with different packages or machines."""
    keys = dict.fromkeys(key for environment in environments for key in environment)
    differing = []
    for key in keys:
        values = dict.fromkeys(str(e[key]) for e in environments if key in e)
        if len(values) > 1:
            differing.append(f"{key} ({', '.join(values)})")
    if not differing:
        return []
    return [
        f"The rows were made in different environments: {one_line('; '.join(differing))}. Times "
        "are not comparable, and accuracies may differ by some points for this reason alone."
    ]


def _constant(answers: Sequence[Answer]) -> str | None:
    given = {answer.answer for answer in answers}
    if len(given) != 1 or len({answer.target for answer in answers}) < 2:
        return None
    label = given.pop()
    return None if label is None else f"answers '{one_line(label)}' to every item."


def _label_mass(answers: Sequence[Answer]) -> str | None:
    masses = [answer.label_mass for answer in answers if answer.label_mass is not None]
    if not masses or sum(masses) / len(masses) >= _LOW_LABEL_MASS:
        return None
    return (
        f"the labels together get only {percent(sum(masses) / len(masses))} of the probability "
        "on average; the model mostly wants to write something else than a label."
    )


def _extraction(answers: Sequence[Answer]) -> list[str]:
    generated = [answer for answer in answers if answer.is_truncated is not None]
    if not generated:
        return []
    strict = sum(answer.strict_answer is not None for answer in generated) / len(generated)
    lenient = sum(answer.lenient_answer is not None for answer in generated) / len(generated)
    truncated = sum(bool(answer.is_truncated) for answer in generated) / len(generated)
    found = []
    if lenient < _LOW_EXTRACTION:
        found.append(f"an answer can be read from only {percent(lenient)} of the generated texts.")
    elif strict < _LOW_EXTRACTION:
        found.append(
            f"only {percent(strict)} of the generated texts give the answer in the form asked for."
        )
    if truncated > _HIGH_TRUNCATION:
        found.append(
            f"{percent(truncated)} of the generated texts were cut off at the upper bound of "
            "their length; a larger one (max_new_tokens) may change the figures."
        )
    return found


def _above_majority(accuracy: Estimate, majority: Estimate | None) -> str | None:
    if majority is None or majority.value is None or accuracy.low is None:
        return None
    if accuracy.low > majority.value:
        return None
    return (
        f"accuracy {estimate_text(accuracy)} is not clearly above always answering with the "
        f"majority class ({percent(majority.value)})."
    )


def _unscored(answers: Sequence[Answer]) -> str | None:
    missing = sum(answer.answer is None for answer in answers)
    if not missing:
        return None
    verbs = "has no answer and counts" if missing == 1 else "have no answer and count"
    return f"{missing} of {len(answers)} items {verbs} as wrong."
