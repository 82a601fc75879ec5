"""Short answers: how they are written, read and called right, on dev, in reports and readings."""

from workbench.answer_forms import is_match
from workbench.encoding import PromptEncoder
from workbench.extraction import ExtractedAnswer, extract_answer
from workbench.models.base import GenerationOptions
from workbench.tasks.base import Sample, Task


def writing_options(encoder: PromptEncoder) -> GenerationOptions:
    """Return how an answer is written where nothing is reasoned about."""
    return GenerationOptions(max_new_tokens=encoder.answer_tokens, stop=encoder.answer_ends)


def read_answer(task: Task, text: str, phrase: str = "") -> ExtractedAnswer:
    """Return the short answer in a written text by the strict and the lenient rule.

    Args:
        task: Says whether answers are numbers.
        text: What was written.
        phrase: Announces the answer; empty: the text's start counts.
    """
    return extract_answer(text, phrase, {}, numeric=task.answers_are_numbers)


def is_right(task: Task, answer: str | None, sample: Sample) -> bool:
    """Return whether an answer is the label, or one of the right short answers."""
    if task.labels:
        return answer == sample.target
    return is_match(answer, sample.all_references)
