"""How far a stored weight matrix is from the original one: the noun, without a model."""

import re
from dataclasses import dataclass

OUTSIDE = "-"  # stands for the layer of modules outside the layers
_LAYER = re.compile(r"(?:.*?\.)?(\d+)\.(.+)", flags=re.ASCII)


@dataclass(frozen=True)
class WeightError:
    """One weight matrix of a base in one precision, beside the one in the file.

    Attributes:
        module: Name of the module in the model.
        num_weights: Entries of the matrix.
        value_bytes: Memory of the stored values.
        scale_bytes: Memory of their scales.
        table_bytes: Memory of the tables of codes that the layer carries.
        error: Frobenius norm of restored minus original by that of the original; None where the
            file has no matrix of that name and shape.
    """

    module: str
    num_weights: int
    value_bytes: int
    scale_bytes: int
    table_bytes: int
    error: float | None

    @property
    def layer(self) -> str:
        """The layer's number, or `OUTSIDE`."""
        match = _LAYER.fullmatch(self.module)
        return match[1] if match else OUTSIDE

    @property
    def kind(self) -> str:
        """The module's name within its layer."""
        match = _LAYER.fullmatch(self.module)
        return match[2] if match else self.module

    @property
    def num_bytes(self) -> int:
        """Memory of values, scales and tables together."""
        return self.value_bytes + self.scale_bytes + self.table_bytes
