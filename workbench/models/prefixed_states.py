"""The keys or values of one layer: prefixes that rows share, each once, before the rows' own."""

from collections.abc import Sequence

import torch

from workbench.models.lazy_tensors import LazyTensor

SharedTensor = tuple[torch.Tensor | None, torch.Tensor]
"""Rows (None: all) and what stands before their own tokens, (H, P, head width)."""


class PrefixedStates(LazyTensor):
    """Keys or values (B, H, P + T, head width), made whole where they cannot be used in parts.

    Attributes:
        own: (B, H, T, head width).
        shared: Of each prefix, in the dtype it is stored in; no row stands in two, and one without
            a prefix in none.
    """

    @staticmethod
    def __new__(
        cls: type["PrefixedStates"], own: torch.Tensor, shared: Sequence[SharedTensor], longest: int
    ) -> "PrefixedStates":
        """Return a tensor without memory."""
        rows, heads, length, width = own.shape
        made: PrefixedStates = torch.Tensor._make_wrapper_subclass(
            cls, (rows, heads, longest + length, width), dtype=own.dtype, device=own.device
        )
        return made

    def __init__(self, own: torch.Tensor, shared: Sequence[SharedTensor], longest: int) -> None:
        super().__init__()
        self.own, self.shared, self._longest = own, shared, longest

    def _parts(self) -> Sequence[torch.Tensor]:
        return self.own, *(states for _, states in self.shared)

    def _make(self) -> torch.Tensor:
        """Return the rows with their prefixes, padded on the left to the longest one."""
        if len(self.shared) == 1 and self.shared[0][0] is None:
            before = self.shared[0][1].to(self.own.dtype).expand(len(self.own), -1, -1, -1)
            return torch.cat([before, self.own], dim=2)
        _, heads, _, width = self.own.shape
        empty = self.own.new_zeros((heads, self._longest, width))
        padded = [empty] * len(self.own)
        for rows, states in self.shared:
            missing = self._longest - states.shape[1]
            one = torch.nn.functional.pad(states.to(self.own.dtype), (0, 0, missing, 0))
            for row in range(len(padded)) if rows is None else rows.tolist():
                padded[row] = one
        return torch.cat([torch.stack(padded), self.own], dim=2)
