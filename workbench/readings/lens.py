"""Logit lens: what the base would say next at each vector, after each layer.

Source: nostalgebraist 2020, "interpreting GPT: the logit lens",
https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru; used on soft prompts as in Ramati et al. 2024,
"InSPEcT", https://arxiv.org/abs/2410.11660.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from workbench.options import FREE, option
from workbench.presentation.blocks import Cell, Heatmap, Table
from workbench.presentation.reading import Reading
from workbench.readings.base import NUM_RANDOM, Cost, Kind, Subject
from workbench.readings.vectors.chance import standing

_NOTES = [
    "The lens reads a state as if the remaining layers did nothing. Early layers therefore tend to "
    "show the vector itself, late ones the token that would follow it.",
    "A word of the task in one cell of hundreds is expected by chance; the standing compares all "
    "cells with those of random vectors.",
]


@dataclass(frozen=True, kw_only=True)
class LogitLens:
    """The most probable next token at each vector after each layer."""

    title: ClassVar[str] = "Logit lens"
    summary: ClassVar[str] = "what the base would say next at each vector, layer by layer"
    kind: ClassVar[Kind] = "vectors"
    cost: ClassVar[Cost] = "seconds"
    needs_base: ClassVar[bool] = True

    layers: int = option(
        8,
        minimum=2,
        maximum=100,
        public=FREE,
        help="How many layers are shown, first and last included.",
    )

    def read(self, subject: Subject) -> Reading:
        """Return the lens and how much probability it gives to the labels' words."""
        vectors = subject.soft_prompt.vectors
        depth = subject.session.engine.forward.num_layers
        shown = sorted({int(x) for x in np.linspace(0, depth, min(self.layers, depth + 1)).round()})
        label_ids = sorted({ids[0] for ids in subject.session.encoder.choice_ids()})
        top, labels = self._look(subject, vectors, shown, label_ids)
        standings = []
        if label_ids:
            random = []
            for number, drawn in enumerate(subject.random_prompts()):
                subject.step("random vectors", number, NUM_RANDOM)
                random.append(float(self._look(subject, drawn, shown, label_ids)[1].mean()))
            standings.append(
                standing(
                    "mean log-probability of the labels' words, nats",
                    float(labels.mean()),
                    "random vectors of the same norms",
                    random,
                )
            )
        return Reading(
            name="lens",
            title=self.title,
            verdict=_verdict(shown, labels, standings[0].is_better if standings else None),
            standings=standings,
            tables=[_table(subject, shown, top)],
            charts=[_heatmap(shown, labels)] if label_ids else [],
            notes=_NOTES,
        )

    @staticmethod
    def _look(
        subject: Subject, vectors: np.ndarray, shown: list[int], label_ids: list[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return top tokens (P, layers) and log-probability of any label's word (P, layers)."""
        engine = subject.session.engine
        states = engine.states_of_prefix(subject.prefix(vectors))[:, subject.place_of(len(vectors))]
        depth = engine.forward.num_layers
        tops, labels = [], []
        with torch.inference_mode():
            for layer in shown:
                state = states[layer]
                normed = state if layer == depth else engine.forward.final_norm(state)
                logprobs = engine.forward.logits(normed).log_softmax(dim=-1)  # (P, V)
                tops.append(logprobs.argmax(dim=-1).cpu().numpy())
                if label_ids:
                    labels.append(logprobs[:, label_ids].logsumexp(dim=-1).cpu().numpy())
        return np.stack(tops, axis=1), np.stack(labels, axis=1) if labels else np.zeros((0, 0))


def _verdict(shown: list[int], labels: np.ndarray, is_better: bool | None) -> str:
    if is_better is None:
        return "The task has no labels to look for; the table shows what each vector reads as."
    if not is_better:
        return (
            "No better than chance: the lens gives the labels' words no more probability at these "
            "vectors than at random vectors of the same norms."
        )
    slot, place = np.unravel_index(int(labels.argmax()), labels.shape)
    return (
        "The lens gives the labels' words more probability at these vectors than at random ones, "
        f"most at vector {slot} after layer {shown[place]} "
        f"({100 * float(np.exp(labels[slot, place])):.2g} %)."
    )


def _table(subject: Subject, shown: list[int], top: np.ndarray) -> Table:
    tokens = subject.vocabulary.tokens
    rows: list[list[Cell]] = [
        [slot, *(tokens[int(token)] for token in row)] for slot, row in enumerate(top)
    ]
    columns = ["vector", *(f"layer {layer}" for layer in shown)]
    return Table(
        title="Most probable next token",
        columns=columns,
        rows=rows,
        note="Layer 0 is the vector itself before any layer.",
        slots=list(range(len(rows))),
    )


def _heatmap(shown: list[int], labels: np.ndarray) -> Heatmap:
    return Heatmap(
        title="Probability of the labels' words, log10",
        x="after layer",
        y="vector",
        columns=[str(layer) for layer in shown],
        rows=[str(slot) for slot in range(len(labels))],
        values=[[round(float(v / np.log(10)), 2) for v in row] for row in labels],
    )
