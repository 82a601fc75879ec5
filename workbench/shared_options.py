"""Options that several methods have, and that the planner asks about before anything is loaded.

What a number may be is said here once. The methods make their fields of it and the planner its
questions, which it has to do without torch.
"""

from workbench.options import Size

TARGETS = ("attention_qv", "attention", "mlp", "all_linear")
"""Layers that a change of weights can be put on."""

STEPS = Size(
    default=300,
    minimum=1,
    maximum=1_000_000,
    public=(400, 2000),
    help="How many training steps are taken: more learn more and take longer.",
)
BATCH_SIZE = Size(
    default=8,
    minimum=1,
    maximum=1024,
    public=(16, 16),
    help="How many training rows each step looks at.",
)
MICRO_BATCH_SIZE = Size(
    default=1,
    minimum=1,
    maximum=1024,
    public=(2, 16),
    help="How many rows of a step run at once, which takes memory; null: as many as make "
    "2,048 tokens, at least one.",
)
CHECKPOINTING_HELP = (
    "Compute parts of each step twice instead of keeping them: less memory, more time."
)
# Lester et al. 2021, figure 3a: more than 20 brings little.
NUM_VIRTUAL_TOKENS = Size(
    default=20, minimum=1, maximum=1000, public=(50, 200), help="How many vectors are learned (P)."
)
RANK = Size(
    default=8,
    minimum=1,
    maximum=512,
    public=(16, 64),
    help="How wide the learned change is (its rank): wider learns more and costs more.",
)
INIT_RANK = Size(
    default=12,
    minimum=2,
    maximum=512,
    public=(24, 96),
    help="How wide each change is at the start (its rank).",
)
WIDTH = Size(
    default=32,
    minimum=1,
    maximum=4096,
    public=(64, 256),
    help="How wide each small network is inside.",
)
DEMONSTRATIONS = Size(
    default=6,
    minimum=0,
    maximum=256,
    public=(16, 32),
    help="How many solved rows stand in the prompt.",
)
