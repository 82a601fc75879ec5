"""A separable toy task and the tiny model, for tests that need more than fixtures."""

from pathlib import Path

from workbench.models.loading import LoadedBase, load_weights
from workbench.models.weights import WeightSource
from workbench.tasks.base import Sample
from workbench.templates import ChainOfThought, PromptTemplate, WorkedDemonstration

TOY_LABELS = ("good", "bad")


def toy_samples(split: str, num: int) -> tuple[Sample, ...]:
    """Return samples whose label is written in their text: separable by any trained method."""
    words = {"good": "yes sun", "bad": "no rain"}
    return tuple(
        Sample(
            id=f"{split}-{i}",
            fields={"text": f"{words[TOY_LABELS[i % 2]]} {i % 7}"},
            target=TOY_LABELS[i % 2],
        )
        for i in range(num)
    )


TOY_TEMPLATE = PromptTemplate(
    name="toy",
    version=1,
    instruction="Say {labels}.",
    input="T: {text}\nA:",
    separator="\n\n",
    chain_of_thought=ChainOfThought(
        input="T: {text}\nR:",
        trigger="Think.",
        answer_phrase="So",
        demonstrations=[
            WorkedDemonstration(fields={"text": "sun 1"}, rationale="Sun.", answer="good"),
            WorkedDemonstration(fields={"text": "rain 2"}, rationale="Rain.", answer="bad"),
        ],
    ),
)


def open_tiny(folder: Path, precision: str = "fp32") -> LoadedBase:
    """Return the tiny model in a precision."""
    source = WeightSource(folder, "made for tests", "tiny")
    return load_weights(
        source, name=str(folder), precision=precision, compute_dtype="float32", device="cpu"
    )
