"""How much the answer looks at the prompt: attention mass per layer, head and vector.

Source: Petrov, Torr and Bibi 2024, https://arxiv.org/abs/2310.19698: what stands before
the content only takes a share of the attention (the mass shown here); it cannot change how the rest
is divided among the content in the first layer.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from workbench.options import option
from workbench.presentation.blocks import Bar, Bars, Heatmap
from workbench.presentation.reading import Reading
from workbench.readings.base import NUM_RANDOM, Cost, Kind, Subject
from workbench.readings.vectors.chance import standing

_NOTES = [
    "Attention is how much is read from a position, not how much it matters for the answer; "
    "whether a vector matters is shown by leaving it out.",
    "Models park attention on the first position whatever stands there; a large share on vector 0 "
    "is usual.",
]


@dataclass(frozen=True, kw_only=True)
class AttentionMass:
    """The share of attention that the answer's position gives to the prompt."""

    title: ClassVar[str] = "Attention on the prompt"
    summary: ClassVar[str] = "how much the answer looks at each vector, per layer and head"
    kind: ClassVar[Kind] = "vectors"
    cost: ClassVar[Cost] = "seconds"
    needs_base: ClassVar[bool] = True

    items: int = option(
        16,
        minimum=1,
        maximum=64,
        public=(16, 64),
        help="How many items the figures are averaged over.",
    )

    def read(self, subject: Subject) -> Reading:
        """Return the attention mass on the prompt."""
        prompt = subject.soft_prompt
        mass = self.mass(subject, prompt.vectors)  # (L, heads, P)
        random = []
        for number, vectors in enumerate(subject.random_prompts()):
            subject.step("random vectors", number, NUM_RANDOM)
            random.append(float(self.mass(subject, vectors).sum(axis=2).mean()))
        total = mass.sum(axis=2)
        place = standing(
            "mean share of attention on the prompt",
            float(total.mean()),
            "random vectors of the same norms",
            random,
        )
        judged = "more than" if place.is_better else "no better than chance: no more than"
        layer, head = np.unravel_index(int(total.argmax()), total.shape)
        return Reading(
            name="attention",
            title=self.title,
            verdict=(
                f"The answer's position gives {100 * place.value:.0f} % of its attention to the "
                f"prompt, {judged} it gives random vectors ({100 * place.median:.0f} %). It looks "
                f"most in layer {layer}, head {head} ({100 * total[layer, head]:.0f} %)."
            ),
            standings=[place],
            charts=[_heatmap(total), _slots(mass)],
            notes=_NOTES,
            data={"per_layer": total.mean(axis=1).round(4).tolist()},
        )

    def mass(self, subject: Subject, vectors: np.ndarray) -> np.ndarray:
        """Return (L, heads, P) attention of the last token before the answer, mean over items."""
        rows = subject.scorer.rows(subject.prefix(vectors))[: self.items]
        place = subject.place_of(len(vectors))
        last = torch.tensor([len(row.token_ids) - 1 for row in rows])
        layers: dict[int, np.ndarray] = {}

        def watch(layer: int, weights: torch.Tensor) -> None:
            chosen = weights[torch.arange(len(rows)), :, last]  # (B, heads, K)
            on_prompt = chosen[:, :, place]
            layers[layer] = on_prompt.mean(dim=0).cpu().numpy()

        subject.session.engine.observe(rows, watch)
        return np.stack([layers[layer] for layer in sorted(layers)])


def _heatmap(total: np.ndarray) -> Heatmap:
    return Heatmap(
        title="Share of attention on the prompt",
        x="head",
        y="layer",
        columns=[str(head) for head in range(total.shape[1])],
        rows=[str(layer) for layer in range(total.shape[0])],
        values=[[round(float(v), 4) for v in row] for row in total],
        low=0.0,
        high=1.0,
        note="From the last token before the answer, mean over items.",
    )


def _slots(mass: np.ndarray) -> Bars:
    shares = mass.mean(axis=(0, 1))
    bars = [Bar(name=f"vector {slot}", value=float(share)) for slot, share in enumerate(shares)]
    return Bars(
        title="Share of attention by vector",
        x="share of attention, mean over layers and heads",
        bars=bars,
        is_percent=True,
    )
