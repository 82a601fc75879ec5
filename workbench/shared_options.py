"""Options that several methods have, and that the planner asks about before anything is loaded.

What a number may be is said here once. The methods make their fields of it and the planner its
questions, which it has to do without torch.
"""

from workbench.options import Size

TARGETS = ("attention_qv", "attention", "mlp", "all_linear")
"""Layers that a change of weights can be put on."""

STEPS = Size(default=300, minimum=1, maximum=1_000_000, public=(400, 2000), help="Optimizer steps.")
BATCH_SIZE = Size(default=8, minimum=1, maximum=1024, public=(16, 16), help="Examples per step.")
MICRO_BATCH_SIZE = Size(
    default=1,
    minimum=1,
    maximum=1024,
    public=(2, 16),
    help="Examples of a batch that run at once; null: as many as make 2,048 tokens, at least one.",
)
CHECKPOINTING_HELP = "Keep the inputs of layers alone and compute the rest again: less memory."
# Lester et al. 2021, figure 3a: more than 20 brings little.
NUM_VIRTUAL_TOKENS = Size(
    default=20, minimum=1, maximum=1000, public=(50, 200), help="Vectors (P)."
)
RANK = Size(default=8, minimum=1, maximum=512, public=(16, 64), help="Rank r of the change.")
INIT_RANK = Size(
    default=12, minimum=2, maximum=512, public=(24, 96), help="Rank of each change at the start."
)
WIDTH = Size(
    default=32, minimum=1, maximum=4096, public=(64, 256), help="Inner width m of each adapter."
)
DEMONSTRATIONS = Size(
    default=6, minimum=0, maximum=256, public=(16, 32), help="Number of demonstrations."
)
