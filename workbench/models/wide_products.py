"""Computing in float32 what is stored in less, for comparisons that rounding would blur."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

_NARROW = frozenset({torch.bfloat16, torch.float16})


class WideProducts(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of torch
    """Let torch compute in float32 inside the block, whatever tensors are stored in.

    Each operation sees its 16-bit inputs as float32, and whatever asks for 16 bits gets float32.
    So only one matrix at a time is held twice, and nothing stored is changed. Operations that look
    at a tensor in another way, without computing, are left alone.
    """

    def __torch_dispatch__(
        self,
        func: Any,
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Run one operation of torch; what is not torch's own (bitsandbytes') runs as it is."""
        options = dict(kwargs or {})
        if func.namespace != "aten":
            return func(*args, **options)
        if func.overloadpacket is torch.ops.aten.embedding:  # wide rows instead of a wide table
            return tree_map(_wide, func(*args, **options))
        is_view = any(one.alias_info is not None for one in func._schema.returns)
        args, options = tree_map(_wide_dtype if is_view else _wide, (args, options))
        return func(*args, **options)


def _wide(value: object) -> object:
    if isinstance(value, torch.Tensor):
        return value.float() if value.dtype in _NARROW else value
    return _wide_dtype(value)


def _wide_dtype(value: object) -> object:
    return torch.float32 if isinstance(value, torch.dtype) and value in _NARROW else value
