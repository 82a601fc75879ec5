"""Prompts that learned nothing, read by every reading: how often is one called beyond chance?"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig
from safetensors.torch import save_file
from scipy import stats

from workbench.presentation.reading import LEVEL, NO_BETTER, Reading
from workbench.readings.base import Reader, Subject, WeightChange
from workbench.readings.vectors.prompt import SoftPrompt, random_like

# How each verdict words a finding; it says so, or "no better than chance", or (with parts) both.
FINDINGS = {
    "nearest": "vectors lie closer to a token than",
    "map": "nearer than random vectors|The vectors lie among the tokens",
    "clusters": "clearer than those of random vectors|: better than chance",
    "ablation": "The prompt acts|matter by themselves",
    "truncation": "of what the whole prompt gains",
    "attention": "to the prompt, more than",
    "lens": "more probability at these vectors than at random ones",
    "rounding": "does better than",
    "verbalisation": "it brings up words of the task in",
    "similarity": "more like the others than|more alike than chance",
    "interpolation": "lie in one valley",
    "weights": "fewer than random matrices use|It writes into",
}


@dataclass
class Tally:
    """What one reading said of many prompts that learned nothing.

    Attributes:
        num_read: How many were read.
        found: Figures, by name and control, and the verdict: how often beyond chance.
        judged: How often there was such a figure.
        lowest: The smallest p-value by 1 / (controls + 1): below 1 controls were made up.
    """

    num_read: int = 0
    found: Counter[str] = field(default_factory=Counter)
    judged: Counter[str] = field(default_factory=Counter)
    lowest: float = np.inf

    def add(self, reading: Reading) -> None:
        """Count a reading.

        Raises:
            AssertionError: its verdict says neither that there is something nor that there is not.
        """
        self.num_read += 1
        is_found = re.search(FINDINGS[reading.name], reading.verdict) is not None
        assert is_found or NO_BETTER in reading.verdict.lower(), reading.verdict
        places = [(_kind(s.what, s.control), s.is_better) for s in reading.standings]
        for figure, is_better in [("the verdict", is_found), *places]:
            self.judged[figure] += 1
            self.found[figure] += is_better
        for place in reading.standings:
            self.lowest = min(self.lowest, place.p_value * (place.num_controls + 1))

    def words(self, figure: str) -> str:
        """Return how often a figure was beyond chance, and the bounds of that rate."""
        test = stats.binomtest(self.found[figure], self.judged[figure])
        low, high = test.proportion_ci(method="wilson")
        rate = 100 * self.found[figure] / self.judged[figure]
        counts = f"{self.found[figure]} of {self.judged[figure]}"
        return f"{counts}, {rate:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"

    def p_value(self, figure: str) -> float:
        """Return how probable so many are, or more, if one in twenty is beyond chance."""
        test = stats.binomtest(
            self.found[figure], self.judged[figure], LEVEL, alternative="greater"
        )
        return float(test.pvalue)


def tally(reader: Reader, subjects: Iterable[Subject], *, into: Tally | None = None) -> Tally:
    """Return what a reading says of subjects, with what it said of others."""
    found = Tally() if into is None else into
    for subject in subjects:
        found.add(reader.read(subject))
    return found


def random_subject(subject: Subject, norms: np.ndarray, seed: int, *, others: int = 1) -> Subject:
    """Return random vectors with the norms (P,) as the prompt, and such beside it."""
    drawn = np.random.default_rng(seed).integers(2**62, size=others + 1)
    shape = np.outer(norms, np.ones(subject.vocabulary.mean.size) / subject.vocabulary.mean.size)
    shape *= (norms / np.linalg.norm(shape, axis=1))[:, None]
    prompts = [
        SoftPrompt(f"random {i}", random_like(shape, seed=int(s)), task="toy" if i % 2 else "other")
        for i, s in enumerate(drawn)
    ]
    return replace(subject, prompt=prompts[0], others=tuple(prompts[1:]))


def token_subject(subject: Subject, size: int, seed: int) -> Subject:
    """Return embeddings of tokens drawn at random as the prompt."""
    ids = np.random.default_rng(seed).choice(subject.vocabulary.ordinary_ids, size, replace=False)
    return replace(subject, prompt=SoftPrompt("tokens", subject.vocabulary.embeddings[ids]))


def random_change(
    shapes: dict[str, tuple[int, int]], rank: int, folder: Path, seed: int
) -> WeightChange:
    """Write B A of normal B (out, r) and A (r, in) for each module in PEFT's format."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, (out, wide) in shapes.items():
        path = f"base_model.model.{name}"
        tensors[f"{path}.lora_A.weight"] = torch.randn(rank, wide, generator=generator)
        tensors[f"{path}.lora_B.weight"] = torch.randn(out, rank, generator=generator)
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(shapes))
    config.inference_mode = True
    config.save_pretrained(folder)
    save_file(tensors, folder / "adapter_model.safetensors")
    return WeightChange(f"random {seed}", folder)


def _kind(what: str, control: str) -> str:
    """Return a figure's name without what differs between prompts."""
    plain = re.sub(r"random \d+|\d+( \(\d+\))?", "…", what)
    return f"{plain}, beside {control}"
