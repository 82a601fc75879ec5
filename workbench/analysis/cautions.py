"""What to be careful about in a run's answers, as plain sentences."""

from collections.abc import Mapping, Sequence

from workbench.analysis.answers import Answer
from workbench.estimates import Estimate
from workbench.presentation.display import estimate_text, one_line, percent
from workbench.runs.search import SearchOutcome, edge_of

_LOW_LABEL_MASS = 0.5  # below it most of the probability is on something that is no label
_LOW_EXTRACTION = 0.8  # a fifth of the answers lost decides most rankings
_HIGH_TRUNCATION = 0.1


def cautions_of_row(
    answers: Sequence[Answer],
    accuracy: Estimate,
    *,
    has_labels: bool,
    majority: Estimate | None,
    writes_texts: bool = False,
) -> list[str]:
    """Return the cautions about one run that is no baseline, as sentences to follow its name.

    Args:
        answers: What the run answered.
        accuracy: What the run reached; ROUGE-L where answers are texts.
        has_labels: Whether the task is a classification.
        majority: Accuracy of the majority-class row, if the table has one; for texts the ROUGE-L
            of copying the nearest training example.
        writes_texts: Whether answers are texts that are held against references.
    """
    if writes_texts:
        found = [
            _constant(answers),
            *_truncation(answers, option="answer_tokens in the wording"),
            _above_copy(accuracy, majority),
            _unscored(answers, verdict="scores 0", verdicts="score 0"),
        ]
        return [sentence for sentence in found if sentence]
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
        values = dict.fromkeys(_without_reason(key, e[key]) for e in environments if key in e)
        if len(values) > 1:
            differing.append(f"{key} ({', '.join(values)})")
    if not differing:
        return []
    # How weights lie in memory is the one part that changes no number.
    can_change = any(not said.startswith("weights_in_memory ") for said in differing)
    also = ", and accuracies may differ by some points for this reason alone" if can_change else ""
    return [
        f"The rows were made in different environments: {one_line('; '.join(differing))}. Times "
        f"are not comparable{also}."
    ]


def _without_reason(key: str, value: object) -> str:
    """Return a part of an environment as far as it decides numbers.

    The dtype of products stands with its reason, which is another on a worker that was told it.
    """
    return str(value).partition(":")[0] if key == "products" else str(value)


def caution_of_search(search: SearchOutcome) -> list[str]:
    """Return a caution if the best learning rate lies at the edge of those tried."""
    edge = edge_of(search.trials)
    if edge is None:
        return []
    times = "once" if search.num_extended == 1 else f"{search.num_extended} times"
    grown = f", although the grid was extended {times}" if search.num_extended else ""
    beyond = "higher" if edge == "highest" else "lower"
    return [
        f"lower bound: the best learning rate on dev, {search.best.learning_rate:g}, is the {edge} "
        f"of the {len(search.trials)} tried{grown}; a {beyond} one may be better still."
    ]


def caution_of_tuning(evaluations: Mapping[str, float | int | None]) -> list[str]:
    """Return a caution if rows that choose on dev looked at it differently often.

    Args:
        evaluations: Row name to evaluations on dev; rows without any have nothing to choose.
    """
    counts = {name: int(count) for name, count in evaluations.items() if count}
    if len(set(counts.values())) < 2:
        return []
    ordered = sorted(counts.items(), key=lambda pair: (pair[1], pair[0]))
    figures = ", ".join(f"{one_line(name)} {count}" for name, count in ordered)
    return [
        f"The rows were tuned with unequal effort; evaluations on dev: {figures}. More looks at "
        "dev find better settings and luckier steps."
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
    found = []
    if lenient < _LOW_EXTRACTION:
        found.append(f"an answer can be read from only {percent(lenient)} of the generated texts.")
    elif strict < _LOW_EXTRACTION:
        found.append(
            f"only {percent(strict)} of the generated texts give the answer in the form asked for."
        )
    return found + _truncation(answers, option="max_new_tokens")


def _truncation(answers: Sequence[Answer], *, option: str) -> list[str]:
    flags = [answer.is_truncated for answer in answers if answer.is_truncated is not None]
    truncated = sum(flags) / len(flags) if flags else 0.0
    if truncated <= _HIGH_TRUNCATION:
        return []
    return [
        f"{percent(truncated)} of the generated texts were cut off at the upper bound of "
        f"their length; a larger one ({option}) may change the figures."
    ]


def _above_majority(accuracy: Estimate, majority: Estimate | None) -> str | None:
    if majority is None or majority.value is None or accuracy.low is None:
        return None
    if accuracy.low > majority.value:
        return None
    return (
        f"accuracy {estimate_text(accuracy)} is not clearly above always answering with the "
        f"majority class ({percent(majority.value)})."
    )


def _above_copy(rouge: Estimate, copied: Estimate | None) -> str | None:
    if copied is None or copied.value is None or rouge.low is None or rouge.low > copied.value:
        return None
    return (
        f"ROUGE-L {estimate_text(rouge)} is not clearly above copying the text of the nearest "
        f"training example ({percent(copied.value)})."
    )


def _unscored(
    answers: Sequence[Answer],
    *,
    verdict: str = "counts as wrong",
    verdicts: str = "count as wrong",
) -> str | None:
    missing = sum(answer.answer is None for answer in answers)
    if not missing:
        return None
    verbs = f"has no answer and {verdict}" if missing == 1 else f"have no answer and {verdicts}"
    return f"{missing} of {len(answers)} items {verbs}."
