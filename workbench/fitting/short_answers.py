"""Short answers: how they are written, read and called right, on dev, in reports and readings."""

import re

from workbench.answer_forms import bare, is_match, normalise_answer
from workbench.encoding import PromptEncoder
from workbench.extraction import ExtractedAnswer, extract_answer
from workbench.models.base import GenerationOptions
from workbench.tasks.base import Sample, Task

_CLAUSE_END = re.compile(
    r"[,;:.!?](?=\s|$)|[()\u2013\u2014\u2026\u3002\u3001\uff0c\uff1b\uff1a\uff01\uff1f]|\s-+\s"
)


def writing_options(encoder: PromptEncoder) -> GenerationOptions:
    """Return how an answer is written where nothing is reasoned about."""
    return GenerationOptions(max_new_tokens=encoder.answer_tokens, stop=encoder.answer_ends)


def read_answer(task: Task, text: str, phrase: str = "") -> ExtractedAnswer:
    """Return the short answer in a written text by the strict and the lenient rule.

    Where several examples share an answer, what follows it after a comma or a full stop is left
    out: "Yes, it is" says yes.

    Args:
        task: Says whether answers are numbers, and which of them are shared.
        text: What was written.
        phrase: Announces the answer; empty: the text's start counts.
    """
    found = extract_answer(text, phrase, {}, numeric=task.answers_are_numbers)
    return ExtractedAnswer(_shared(task, found.strict), _shared(task, found.lenient))


def is_right(task: Task, answer: str | None, sample: Sample) -> bool:
    """Return whether an answer is the label, or one of the right short answers."""
    if task.labels:
        return answer == sample.target
    return is_match(answer, sample.all_references)


def _shared(task: Task, answer: str | None) -> str | None:
    if answer is None or normalise_answer(answer) in task.shared_answers:
        return answer
    clause = bare(_CLAUSE_END.split(answer, maxsplit=1)[0])
    return clause if normalise_answer(clause) in task.shared_answers else answer
