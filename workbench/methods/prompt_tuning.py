"""Prompt tuning: learn vectors that stand where the instruction stood; the model stays frozen.

Source: Lester et al. 2021, https://arxiv.org/abs/2104.08691, section 2.
Differs from the source: by default the vectors take the place of the instruction's tokens inside
the rendered prompt, after special tokens and chat header, and start from those tokens, so that
training starts at zero-shot: exactly so when there are as many vectors as tokens. The step size is
relative to the embeddings' scale.

With `says` the vectors have to stay so near the tokens of a given sentence that they read as that
sentence while they learn the task: Khashabi et al. 2022, "Prompt Waywardness",
https://arxiv.org/abs/2112.08348. Differs from the source: the squared distance is taken
relative to the mean squared norm of an embedding, so that one strength fits bases of any scale.
"""

from dataclasses import dataclass
from typing import ClassVar

from workbench.fitting.base import Family
from workbench.fitting.soft_prompt_training import SoftPromptTraining


@dataclass(frozen=True, kw_only=True)
class PromptTuning(SoftPromptTraining):
    """Learn `num_virtual_tokens` vectors of the model's embedding width; nothing else changes."""

    family: ClassVar[Family] = "vectors"
    summary: ClassVar[str] = "learned vectors in place of the instruction"
    gloss: ClassVar[str] = (
        "Vectors that stand where the instruction would are learned: a prompt in numbers instead "
        "of words."
    )
    tiny_rate: ClassVar[float] = 0.06
