"""From predictions to metrics: which figures a task's predictions allow."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from importlib import import_module
from types import ModuleType

from workbench import metrics
from workbench.answer_forms import is_match
from workbench.estimates import Estimate
from workbench.fitting.prediction import Prediction
from workbench.presentation.quantities import check_declared
from workbench.tasks.base import HEADLINE_METRICS, Task


def with_scores(task: Task, predictions: Sequence[Prediction]) -> list[Prediction]:
    """Return the predictions of a generation task with what each text scores; others unchanged."""
    if task.kind != "generation":
        return list(predictions)
    scores = _of_texts().rouge_scores(*_texts_and_references(predictions))
    headline = scores[HEADLINE_METRICS[task.kind]]
    return [
        replace(prediction, score=float(score))
        for prediction, score in zip(predictions, headline, strict=True)
    ]


def measure(task: Task, predictions: Sequence[Prediction]) -> dict[str, Estimate]:
    """Return every metric that the predictions allow, by name.

    For short answers "accuracy" compares normalised answers; an unreadable one counts as wrong.
    Generated texts are held against their references; the empty ones score 0.

    Raises:
        ValueError: a metric is not declared in `workbench/presentation/quantities.py`.
    """
    if task.kind == "generation":
        found = _text_metrics(predictions)
    else:
        found = _answer_metrics(task, predictions)
    check_declared(found)
    return found


def _answer_metrics(task: Task, predictions: Sequence[Prediction]) -> dict[str, Estimate]:
    answers = [p.answer for p in predictions]
    targets = [p.target for p in predictions]
    if task.labels:
        found = {
            "accuracy": metrics.accuracy(answers, targets),
            "macro_f1": metrics.macro_f1(answers, targets, labels=task.labels),
        }
        found |= _probability_metrics(predictions)
    else:
        exact = metrics.exact_match(answers, targets, references=_references(predictions))
        found = {"accuracy": exact, "exact_match": exact}
    return found | _extraction_metrics(task, predictions) | _oracle_metric(task, predictions)


def _text_metrics(predictions: Sequence[Prediction]) -> dict[str, Estimate]:
    texts, references = _texts_and_references(predictions)
    num_empty = sum(p.answer is None for p in predictions)
    text_metrics = _of_texts()
    rouge = text_metrics.rouge_scores(texts, references)
    found = {
        name: text_metrics.mean_score(rouge[name].tolist(), num_unscored=num_empty)
        for name in ("rouge_l", "rouge_1", "rouge_2")  # the one that ranks the rows comes first
    }
    found["bleu"] = text_metrics.bleu(texts, references)
    found["chrf"] = text_metrics.chrf(texts, references)
    found["length_ratio"] = text_metrics.length_ratio(texts, references)
    generated = [p.is_truncated for p in predictions if p.is_truncated is not None]
    if generated:
        found["truncation_rate"] = metrics.rate(generated)
    return found


@cache
def _of_texts() -> ModuleType:
    """Return `workbench.text_metrics`, whose libraries load longer than all other metrics do."""
    return import_module("workbench.text_metrics")


def _texts_and_references(
    predictions: Sequence[Prediction],
) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return what was written, empty where nothing was, and what it is held against."""
    return (
        [p.answer or "" for p in predictions],
        _references(predictions),
    )


def _references(predictions: Sequence[Prediction]) -> list[tuple[str, ...]]:
    """Return everything that counts as correct, item by item."""
    return [p.references or (p.target,) for p in predictions]


def _probability_metrics(predictions: Sequence[Prediction]) -> dict[str, Estimate]:
    scored = [p for p in predictions if p.probabilities is not None]
    found = {}
    if scored:
        confidences = [_confidence(p) for p in scored]
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
    score = metrics.accuracy
    if not task.labels:
        score = partial(metrics.exact_match, references=_references(generated))
    rules: Mapping[str, list[str | None]] = {
        "strict": [p.strict_answer for p in generated],
        "lenient": [p.lenient_answer for p in generated],
    }
    found = {"truncation_rate": metrics.rate([bool(p.is_truncated) for p in generated])}
    for rule, answers in rules.items():
        found[f"{rule}_extraction_rate"] = metrics.rate([a is not None for a in answers])
        found[f"{rule}_accuracy"] = score(answers, targets)
    return found


def _confidence(prediction: Prediction) -> float:
    """Return the probability of the answer given, which a vote may take from the most probable."""
    probabilities = prediction.probabilities or {}
    return probabilities.get(prediction.answer or "", max(probabilities.values()))


def _oracle_metric(task: Task, predictions: Sequence[Prediction]) -> dict[str, Estimate]:
    """Return how often any of the drawn chains is right: what no vote over them can exceed."""
    drawn = [p for p in predictions if p.sampled_answers is not None]
    if not drawn:
        return {}
    found = [
        any(
            answer == p.target if task.labels else is_match(answer, right)
            for answer in p.sampled_answers or ()
        )
        for p, right in zip(drawn, _references(drawn), strict=True)
    ]
    return {"oracle_accuracy": metrics.rate(found)}
