"""The parts of a batch that is shared among processes: what each draws, and gradients as a vector.

See `workbench.training.ranks`.
"""

from collections.abc import Mapping

import numpy as np
import torch

from workbench.errors import ModelError


def part_seed(seed: int, step: int, part: int) -> int:
    """Return what dropout is drawn from in a part of a step."""
    words = np.random.SeedSequence([seed, step, part]).generate_state(2, np.uint32).tolist()
    return int(words[0]) << 31 | int(words[1]) >> 1


def as_vector(parameters: Mapping[str, torch.nn.Parameter], loss: float | None) -> torch.Tensor:
    """Return the gradients of all parameters and then the loss, float32 (N + 1,).

    Args:
        parameters: Just differentiated.
        loss: Of the part; None where it has no examples, whose gradients are zero.

    Raises:
        ModelError: a gradient is missing.
    """
    first = next(iter(parameters.values()))
    if loss is None:
        size = sum(parameter.numel() for parameter in parameters.values())
        return torch.zeros(size + 1, device=first.device)
    found = []
    for name, parameter in parameters.items():
        if parameter.grad is None:
            raise ModelError(
                f"the gradient of {name} is missing. Try precision 'fp32', or another method."
            )
        found.append(parameter.grad.reshape(-1).float())
    return torch.cat([*found, torch.tensor([loss], device=first.device)])


def put_back(parameters: Mapping[str, torch.nn.Parameter], vector: torch.Tensor) -> float:
    """Give parameters the gradients of a vector made by `as_vector`; return the loss."""
    place = 0
    for parameter in parameters.values():
        end = place + parameter.numel()
        parameter.grad = vector[place:end].reshape(parameter.shape).to(parameter.dtype)
        place = end
    return float(vector[-1])
