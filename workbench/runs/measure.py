"""From predictions to metrics: which figures a task's predictions allow."""

from collections.abc import Mapping, Sequence

from workbench import metrics
from workbench.methods.prediction import Prediction
from workbench.metrics import Estimate
from workbench.tasks.base import Task


def measure(task: Task, predictions: Sequence[Prediction]) -> dict[str, Estimate]:
    """Return every metric that the predictions allow, by name.

    For short answers "accuracy" compares normalised answers; an unreadable one counts as wrong.
    """
    answers = [p.answer for p in predictions]
    targets = [p.target for p in predictions]
    if task.labels:
        found = {
            "accuracy": metrics.accuracy(answers, targets),
            "macro_f1": metrics.macro_f1(answers, targets, labels=task.labels),
        }
        found |= _probability_metrics(predictions)
    else:
        exact = metrics.exact_match(answers, targets)
        found = {"accuracy": exact, "exact_match": exact}
    return found | _extraction_metrics(task, predictions)


def _probability_metrics(predictions: Sequence[Prediction]) -> dict[str, Estimate]:
    scored = [p for p in predictions if p.probabilities is not None]
    found = {}
    if scored:
        confidences = [max((p.probabilities or {}).values()) for p in scored]
        correct = [p.answer == p.target for p in scored]
        found["calibration_error"] = metrics.expected_calibration_error(confidences, correct)
    masses = [p.label_mass for p in predictions if p.label_mass is not None]
    if masses:
        found["label_mass"] = metrics.legal_label_mass(masses)
    return found


def _extraction_metrics(task: Task, predictions: Sequence[Prediction]) -> dict[str, Estimate]:
    """Return how often each extraction rule found an answer and how often it was right."""
    generated = [p for p in predictions if p.is_truncated is not None]
    if not generated:
        return {}
    targets = [p.target for p in generated]
    score = metrics.accuracy if task.labels else metrics.exact_match
    rules: Mapping[str, list[str | None]] = {
        "strict": [p.strict_answer for p in generated],
        "lenient": [p.lenient_answer for p in generated],
    }
    found = {"truncation_rate": metrics.rate([bool(p.is_truncated) for p in generated])}
    for rule, answers in rules.items():
        found[f"{rule}_extraction_rate"] = metrics.rate([a is not None for a in answers])
        found[f"{rule}_accuracy"] = score(answers, targets)
    return found
