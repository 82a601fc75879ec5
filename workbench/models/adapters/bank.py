"""Weight adapters on the one resident base: added, removed, and routed row by row of a batch.

An adapter is a set of changes, one per layer, that act on what goes into a layer and what comes
out of it. They are hooks for as long as a batch runs, so the base's modules stay as they were
loaded, adapters of any kind share a batch, and a row without one takes the base's own way.
docs/decisions/0006-adapters-are-hooks.md says why PEFT's own injection is not used.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from workbench.errors import ModelError, unknown_name
from workbench.models.layers import check_is_run


class LayerChange(torch.nn.Module):
    """What an adapter does at one layer; its parameters are what is trained.

    A new change leaves the layer as it is, so that training starts at the base. Only `active` turns
    on what belongs to training alone, such as dropout.
    """

    changes_input = False  # whether `input` does anything
    is_weight_change = False  # whether another weight of the layer would do the same

    def __init__(self) -> None:
        super().__init__()
        self.eval()

    def input(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return what goes into the layer (B, T, in) instead of `inputs`."""
        return inputs

    def output(
        self, layer: torch.nn.Module, inputs: torch.Tensor, outputs: torch.Tensor
    ) -> torch.Tensor:
        """Return what comes out of the layer (B, T, out) instead of `outputs`.

        `layer.forward` may be called: it is the layer without any change.
        """
        return outputs


@dataclass(frozen=True, eq=False)
class WeightAdapter:
    """Changes of layers, by the layers' names in the base."""

    changes: Mapping[str, LayerChange]

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """Return the parameters by name, "<layer>.<parameter>", in a fixed order."""
        return {
            f"{layer}.{name}": parameter
            for layer, change in sorted(self.changes.items())
            for name, parameter in change.named_parameters()
        }


class AdapterBank:
    """All weight adapters of one base model, by name."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._layers = dict(model.named_modules())
        self._device = model.get_input_embeddings().weight.device
        self._adapters: dict[str, WeightAdapter] = {}
        self._revisions: dict[str, int] = {}
        self._current: str | None = None  # the adapter of an enclosing `active` block

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the adapters present."""
        return tuple(self._adapters)

    def revision(self, name: str | None) -> int:
        """Return a number that grows whenever the adapter's weights may have changed."""
        return 0 if name is None else self._revisions[name]

    def touch(self, name: str) -> None:
        """Note that the adapter's weights have changed."""
        self._revisions[name] += 1

    def add(self, name: str, adapter: WeightAdapter) -> None:
        """Put an adapter on the base; one of the same name makes room.

        Raises:
            ModelError: it changes a layer that the base does not have, or does not run.
        """
        for layer in adapter.changes:
            if layer not in self._layers:
                raise ModelError(
                    f"adapter '{name}': changes module '{layer}', which is not in this base model. "
                    "Use the base it was trained on."
                )
        check_is_run(self._model, adapter.changes, where=f"adapter '{name}'")
        for change in adapter.changes.values():
            change.to(self._device).eval()
        self._adapters[name] = adapter
        # Never an old number again: keys and values of prefixes are kept by it.
        self._revisions[name] = self._revisions.get(name, 0) + 1

    def remove(self, name: str) -> None:
        """Take an adapter off the base and free its memory."""
        self.adapter(name)
        del self._adapters[name]

    def parameters(self, name: str) -> dict[str, torch.nn.Parameter]:
        """Return the adapter's parameters by name, in a fixed order."""
        return self.adapter(name).parameters()

    @contextmanager
    def active(self, rows: Sequence[str | None], *, training: bool = False) -> Iterator[None]:
        """Route each row of the batch through its adapter (None: the base) inside the block.

        A single name stands for all rows. A block for one adapter may hold further blocks for the
        same adapter, which change nothing.

        Raises:
            ModelError: a name that is not present, or a layer that was not run though others were.
        """
        wanted = set(rows)
        for name in wanted - {None}:
            self.adapter(str(name))
        if self._current is not None and wanted != {self._current}:
            raise RuntimeError(f"adapter '{self._current}' is active; rows ask for {wanted}")
        # Nothing to route, or routed already by the block around this one.
        if wanted in ({None}, {self._current}):
            yield
            return
        # An adapter that has the batch to itself takes it whole, without copying rows.
        alone = next(iter(wanted)) if len(wanted) == 1 else None
        places: dict[str, torch.Tensor | None] = {
            str(name): None if alone else self._places(rows, name) for name in wanted - {None}
        }
        hooks: list[RemovableHandle] = []
        ran = set[LayerChange]()
        try:
            for name, rows_of_name in places.items():
                hooks += self._hooked(self._adapters[name], rows_of_name, ran, training=training)
            # Only what holds for all rows can hold for a block inside, whose rows may be others.
            self._current = alone
            yield
            for name in places if ran else ():
                _check_all_ran(name, self._adapters[name], ran)
        finally:
            self._current = None
            for hook in hooks:
                hook.remove()
            for name in places:
                for change in self._adapters[name].changes.values():
                    change.eval()

    def _hooked(
        self,
        adapter: WeightAdapter,
        rows: torch.Tensor | None,
        ran: set[LayerChange],
        *,
        training: bool,
    ) -> list[RemovableHandle]:
        hooks = []
        for name, change in adapter.changes.items():
            change.train(mode=training)
            layer = self._layers[name]
            if change.changes_input:
                hooks.append(layer.register_forward_pre_hook(partial(_before, change, rows)))
            hooks.append(layer.register_forward_hook(partial(_after, change, rows=rows, ran=ran)))
        return hooks

    def _places(self, rows: Sequence[str | None], name: str | None) -> torch.Tensor:
        places = [place for place, row in enumerate(rows) if row == name]
        return torch.tensor(places, device=self._device)

    def adapter(self, name: str) -> WeightAdapter:
        """Return the adapter of that name.

        Raises:
            ModelError: it is not present.
        """
        if name not in self._adapters:
            raise ModelError(f"adapter: {unknown_name('adapter', name, self.names)}")
        return self._adapters[name]


def _check_all_ran(name: str, adapter: WeightAdapter, ran: Set[LayerChange]) -> None:
    """Refuse what acted on some layers and was passed over at others, without a word.

    Experts of a mixture are run only where a token is sent to them.
    """
    missed = [
        layer
        for layer, change in adapter.changes.items()
        if change not in ran and "expert" not in layer
    ]
    if missed:
        raise ModelError(
            f"adapter '{name}': changes module '{missed[0]}', whose weight this base uses without "
            "running the module, so the change would be ignored. Use other targets, or merge the "
            "adapter into its base with PEFT and use the merged folder as the base."
        )


def _before(
    change: LayerChange, rows: torch.Tensor | None, _layer: torch.nn.Module, args: tuple[Any, ...]
) -> tuple[Any, ...]:
    inputs, *rest = args
    if rows is None:
        return (change.input(inputs), *rest)
    return (inputs.index_copy(0, rows, change.input(inputs[rows])), *rest)


def _after(
    change: LayerChange,
    layer: torch.nn.Module,
    args: tuple[Any, ...],
    outputs: torch.Tensor,
    *,
    rows: torch.Tensor | None,
    ran: set[LayerChange],
) -> torch.Tensor:
    ran.add(change)
    inputs = args[0]
    if rows is None:
        return change.output(layer, inputs, outputs)
    # `index_copy`, not in place: the plain outputs belong to the gradient of the other rows.
    changed = change.output(layer, inputs[rows], outputs[rows])
    return outputs.index_copy(0, rows, changed)
