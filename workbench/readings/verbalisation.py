"""Verbalisation: let the base itself put the prompt into words.

One by one: a vector stands in a list of the form "cat = cat ; water = water ; ...", and the base
says which token it would write for it (the token-identity prompt of Patchscopes). As a whole: the
vectors, or their states after some layers, are patched into a few-shot prompt that asks to copy a
text, and into one that asks what an instruction is about.

Sources: Ghandeharioun et al. 2024, "Patchscopes", https://arxiv.org/abs/2401.06102; Ramati
et al. 2024, "InSPEcT", https://arxiv.org/abs/2410.11660.
Differs from the sources: several positions are patched at once, each into its own place, and the
vector stands in the list's last two places but one, not in one only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from workbench.models.base import Conditioning, GenerationOptions, Patch, Prefix
from workbench.options import option
from workbench.presentation.blocks import Cell, Table
from workbench.presentation.reading import NO_BETTER, Reading, Standing
from workbench.readings.base import NUM_RANDOM, Cost, Kind, Subject, plain_words
from workbench.readings.vectors.chance import standing
from workbench.readings.vectors.neighbours import nearest

_LISTED = (" cat", " 135", " hello", "ing", " The", ":", " water", "est")
_EQUALS, _NEXT = " =", " ;"
_COPY = (
    "Text: The bus leaves at noon.\nCopy: The bus leaves at noon.\n\n"
    "Text: Please water the plants twice a week!\nCopy: Please water the plants twice a week!\n\n"
    "Text: How far is it from here to the old harbour?\n"
    "Copy: How far is it from here to the old harbour?\n\nText:"
)
_ABOUT = (
    "Instruction: Translate the sentence into French.\nAsks for: translation\n\n"
    "Instruction: Add the two numbers.\nAsks for: arithmetic\n\n"
    "Instruction: Shorten the article to two sentences.\nAsks for: summary\n\n"
    "Instruction: Which animal is in the picture? Answer cat or dog.\nAsks for: animal\n\n"
    "Instruction:"
)
_PROMPTS = {"copy": (_COPY, "\nCopy:"), "about": (_ABOUT, "\nAsks for:")}
_PROMPTS_AT_ONCE = 7  # of 8 rows each: the engine's batch
_NAMED_AT_ONCE = 32  # vectors; the mask of a pass grows with the square
_RECOVERED = 0.9  # share of a known instruction's tokens from which on the base can be asked
_NOTES = [
    "What the base writes is a guess coloured by the examples in the asking prompt; random vectors "
    "make it write things too. Only words of the task that random vectors do not bring up count.",
    "Where training started from the instruction, the start brings up the same words: what counts "
    "as learned is what the start does not say.",
    "The verdict goes by the words of the task where it has any, else by the vectors named: 19 "
    "random prompts can show one thing at the 5 % level, not two.",
    "The known instruction runs through the same procedure: where it is not recovered, the base "
    "cannot be asked in this way.",
]

Texts = dict[tuple[str, int, int], str]
"""What was written, by asking prompt, source layer and target layer."""


@dataclass(frozen=True, kw_only=True)
class Verbalisation:
    """What the base says for each vector, and writes when asked to copy or describe the prompt."""

    title: ClassVar[str] = "What it says"
    summary: ClassVar[str] = "let the base name, copy and describe the prompt, beside known vectors"
    kind: ClassVar[Kind] = "vectors"
    cost: ClassVar[Cost] = "minutes"
    needs_base: ClassVar[bool] = True

    max_new_tokens: int = option(
        16, minimum=1, maximum=200, public=(32, 64), help="How many tokens the base may write."
    )

    def read(self, subject: Subject) -> Reading:
        """Return what is said of the prompt, of the known instruction, and of random vectors."""
        prompt, tokens = subject.soft_prompt, subject.vocabulary.tokens
        cells = _cells(subject.session.engine.forward.num_layers)
        near = nearest(subject.vocabulary, prompt.vectors, k=2, measures=("distance",))
        near_ids = near["distance"].ids[:, 0]
        said = self.said(subject, prompt.vectors, "vectors, one by one")
        known = self._known(subject)
        controls = subject.random_prompts()
        asked = [prompt.vectors, *controls]
        if prompt.start is not None:
            asked.append(prompt.start)
        found, *others = self._written(subject, asked, cells)
        random, start = others[:NUM_RANDOM], next(iter(others[NUM_RANDOM:]), None)
        words = _countable_words(subject)
        named = standing(
            "share of vectors named as their nearest token",
            float(np.mean(said == near_ids)),
            "random vectors of the same norms",
            [self._named(subject, vectors) for vectors in controls],
        )
        about = _word_standing(found, random, words) if words else None
        return Reading(
            name="verbalisation",
            title=self.title,
            verdict=_verdict(named, about, known, None if start is None else _share(start, words)),
            standings=[named] if about is None else [named, about],
            tables=[
                _said_table(tokens, said, near_ids, prompt.vectors),
                _text_table(found, start, random[0]),
            ],
            notes=_NOTES,
            data={
                "said": said.tolist(),
                "nearest": near_ids.tolist(),
                "instruction_recovered": known,
                "words": sorted(words),
                "copy": found["copy", 0, 0],
            },
        )

    @staticmethod
    def said(subject: Subject, vectors: np.ndarray, stage: str) -> np.ndarray:
        """Return (P,) the token the base writes for each vector."""
        encoder, engine = subject.session.encoder, subject.session.engine
        equals, following = encoder.encode(_EQUALS), encoder.encode(_NEXT)
        listed: list[int] = []
        for text in _LISTED:
            token = encoder.encode(text)[:1]
            listed += [*token, *equals, *token, *following]
        found: list[int] = []
        for first in range(0, len(vectors), _NAMED_AT_ONCE):
            subject.step(stage, first, len(vectors))
            part = torch.from_numpy(
                np.ascontiguousarray(vectors[first : first + _NAMED_AT_ONCE], dtype=np.float32)
            )
            branches = [(v, equals, v, following, v, equals) for v in part[:, None]]
            states = engine.states_of_branches(tuple(listed), branches)
            with torch.inference_mode():
                found += engine.forward.logits(states).argmax(dim=-1).tolist()
        return np.array(found)

    def _known(self, subject: Subject) -> float | None:
        """Return the share of the instruction's own tokens that the base names; None without."""
        ids = np.array(subject.instruction_ids)
        if not ids.size:
            return None
        vectors = subject.vocabulary.embeddings[ids]
        return float(np.mean(self.said(subject, vectors, "the known instruction") == ids))

    def _named(self, subject: Subject, vectors: np.ndarray) -> float:
        """Return the share of random vectors that are named as their nearest token."""
        near = nearest(subject.vocabulary, vectors, k=2, measures=("distance",))["distance"]
        said = self.said(subject, vectors, "random vectors, one by one")
        return float(np.mean(said == near.ids[:, 0]))

    def _written(
        self, subject: Subject, prompts: Sequence[np.ndarray], cells: Sequence[tuple[int, int]]
    ) -> list[Texts]:
        """Return what is written when each prompt, or its states, stands where it is asked for."""
        engine = subject.session.engine
        options = GenerationOptions(max_new_tokens=self.max_new_tokens, stop=("\n",))
        found: list[Texts] = []
        for first in range(0, len(prompts), _PROMPTS_AT_ONCE):
            subject.step("copies and descriptions", first, len(prompts))
            asked = [
                _asking(subject, vectors, cells)
                for vectors in prompts[first : first + _PROMPTS_AT_ONCE]
            ]
            rows = [row for one in asked for row in one.values()]
            texts = iter(engine.generate(rows, options, should_stop=subject.should_stop))
            found += [{key: next(texts).text.strip() for key in one} for one in asked]
        return found


def _asking(
    subject: Subject, vectors: np.ndarray, cells: Sequence[tuple[int, int]]
) -> dict[tuple[str, int, int], Conditioning]:
    """Return the asking prompts with the vectors, or their states, in place."""
    encoder, engine = subject.session.encoder, subject.session.engine
    soft = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32))
    states = engine.states_of_prefix(Prefix((soft,)))
    rows = {}
    for name, (before, after) in _PROMPTS.items():
        head = encoder.encode(before)
        for source, target in cells:
            patch = Patch(target, len(head), states[source])
            patches = () if (source, target) == (0, 0) else (patch,)
            prefix = Prefix((head, soft), patches)
            rows[name, source, target] = Conditioning(prefix, encoder.encode(after))
    return rows


def _cells(depth: int) -> list[tuple[int, int]]:
    """Return (source layer, target layer): the vectors themselves, and later states."""
    early, middle, half = depth // 10, depth // 4, depth // 2
    chosen = [(0, 0), (middle, early), (half, early), (middle, middle)]
    return list(dict.fromkeys(chosen))


def _countable_words(subject: Subject) -> set[str]:
    """Return the task's words that the asking prompts do not mention themselves."""
    mentioned = set(plain_words(_COPY + _ABOUT + " copy asks for text instruction"))
    return {word for word in subject.task_words if word not in mentioned and len(word) > 2}


def _share(texts: Texts, words: set[str]) -> float:
    return float(np.mean([bool(words & set(plain_words(text))) for text in texts.values()]))


def _word_standing(found: Texts, random: Sequence[Texts], words: set[str]) -> Standing:
    return standing(
        "share of texts with a word of the task",
        _share(found, words),
        "random vectors of the same norms",
        [_share(texts, words) for texts in random],
    )


def _verdict(
    named: Standing, about: Standing | None, known: float | None, start: float | None
) -> str:
    if known is not None and known < _RECOVERED:
        return (
            f"The base names only {100 * known:.0f} % of the tokens of a known instruction, so "
            "what it says about vectors should not be read here (no better than chance)."
        )
    tool = "" if known is None else f"a known instruction: {100 * known:.0f} %; "
    text = (
        f"The base names {100 * named.value:.0f} % of the vectors as their nearest token "
        f"({tool}random vectors: {100 * named.low:.0f} to {100 * named.high:.0f} %)"
    )
    if about is None:
        return f"{text}." if named.is_better else f"{text}, {NO_BETTER}."
    text += "."
    if not about.is_better:
        return (
            f"{text} Asked to copy or describe the prompt, it brings up words of the task no "
            f"better than chance: in {100 * about.value:.0f} % of the texts, as for random vectors "
            f"({100 * about.low:.0f} to {100 * about.high:.0f} %)."
        )
    text += (
        f" Asked to copy or describe the prompt, it brings up words of the task in "
        f"{100 * about.value:.0f} % of the texts (random vectors: {100 * about.median:.0f} %"
    )
    return (
        f"{text})." if start is None else f"{text}; where training started: {100 * start:.0f} %)."
    )


def _said_table(
    tokens: Sequence[str], said: np.ndarray, near: np.ndarray, vectors: np.ndarray
) -> Table:
    rows: list[list[Cell]] = [
        [slot, tokens[int(one)], tokens[int(other)], "yes" if one == other else "no"]
        for slot, (one, other) in enumerate(zip(said, near, strict=True))
    ]
    return Table(
        title="Named one by one",
        columns=["vector", "the base says", "nearest token", "same"],
        rows=rows,
        slots=list(range(len(vectors))),
    )


def _text_table(found: Texts, start: Texts | None, random: Texts) -> Table:
    asked = {"copy": "copy it", "about": "say what it asks for"}
    rows: list[list[Cell]] = [
        [
            asked[key[0]],
            key[1],
            key[2],
            text,
            None if start is None else start[key],
            random[key],
        ]
        for key, text in found.items()
    ]
    return Table(
        title="What the base wrote",
        columns=[
            "asked to",
            "from layer",
            "into layer",
            "this prompt",
            "its start",
            "random vectors",
        ],
        rows=rows,
        note="From layer 0 into layer 0 are the vectors themselves.",
    )
