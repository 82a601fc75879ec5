"""Tensors that are known by their shape and made when something computes with them.

transformers hands masks, keys and values through each model's own code. Our attention needs only
what they are made of; whatever else looks at one gets the whole tensor.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_map

# What says how a tensor looks without computing with it.
_LOOKS = frozenset(
    {getattr(torch.Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim")}
    | {torch.Tensor.dim, torch.Tensor.size}
)


class LazyTensor(torch.Tensor):
    """A tensor without memory; `_make` makes the whole one at its first use, and it is kept."""

    def __init__(self) -> None:
        self._made: torch.Tensor | None = None

    def _make(self) -> torch.Tensor:
        raise NotImplementedError

    def _parts(self) -> Sequence[torch.Tensor]:
        """Return the tensors that gradients of the whole one flow to."""
        return ()

    def whole(self) -> torch.Tensor:
        """Return the plain tensor."""
        if self._made is None:
            self._made = self._make()
        return self._made

    @classmethod
    def __torch_function__(
        cls,
        func: Any,
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> Any:
        """Run a function of torch on the whole tensor, with gradients."""
        if func in _LOOKS:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **dict(kwargs or {}))
        args, options = tree_map(_whole, (args, dict(kwargs or {})))
        return func(*args, **options)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch declares a default that disables it
        cls,
        func: Any,
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> Any:
        """Run an operation that torch itself asks for, below what records gradients.

        Raises:
            RuntimeError: a gradient would be lost.
        """
        lazy = [one for one in args if isinstance(one, LazyTensor)]
        if any(part.requires_grad for one in lazy for part in one._parts()):
            raise RuntimeError(f"{func} would lose the gradients of a {cls.__name__}")
        args, options = tree_map(_whole, (args, dict(kwargs or {})))
        return func(*args, **options)


def _whole(value: object) -> object:
    return value.whole() if isinstance(value, LazyTensor) else value
