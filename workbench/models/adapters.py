"""Weight adapters on the one resident base: load, save, switch, and route rows of one batch.

PEFT keeps which adapter is active as global state of the injected layers. This bank is its only
owner: outside `active` every adapter is off, so the base answers as the base.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from workbench.errors import ModelError, unknown_name

_BASE = "__base__"  # PEFT's name for "no adapter" in a mixed batch


class AdapterBank:
    """All weight adapters of one base model, by name."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._peft: PeftModel | None = None
        self._revisions: dict[str, int] = {}
        self._current: str | None = None  # the adapter of an enclosing `active` block

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the adapters present."""
        return tuple(self._revisions)

    def revision(self, name: str | None) -> int:
        """Return a number that grows whenever the adapter's weights may have changed."""
        return 0 if name is None else self._revisions[name]

    def touch(self, name: str) -> None:
        """Note that the adapter's weights have changed."""
        self._revisions[name] += 1

    def add(self, name: str, config: PeftConfig) -> None:
        """Inject a fresh adapter; the base's own weights stay as they are.

        Raises:
            ModelError: an adapter of that name exists, or PEFT refuses the config.
        """
        if name in self._revisions:
            raise ModelError(f"adapter '{name}': exists already. Remove it first.")
        try:
            if self._peft is None:
                self._peft = PeftModel(self._model, config, adapter_name=name)
            else:
                self._peft.add_adapter(name, config)
        except ValueError as error:
            raise ModelError(f"adapter '{name}': {error}") from error
        self._revisions[name] = 0
        self._switch_off()

    def load(self, name: str, folder: Path) -> None:
        """Load an adapter in PEFT's format (safetensors only).

        Raises:
            ModelError: files are missing, or the shapes do not fit this base.
        """
        if not (folder / "adapter_model.safetensors").is_file():
            raise ModelError(
                f"adapter folder {folder}: no adapter_model.safetensors in it. Only safetensors "
                "are read; save the adapter with PEFT's save_pretrained."
            )
        if name in self._revisions:
            self.remove(name)
        try:
            if self._peft is None:
                self._peft = PeftModel.from_pretrained(
                    self._model, folder, adapter_name=name, use_safetensors=True
                )
            else:
                self._peft.load_adapter(folder, adapter_name=name, use_safetensors=True)
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"adapter folder {folder}: does not fit base model "
                f"'{self._model.config._name_or_path}': {error}"
            ) from error
        self._revisions[name] = 0
        self._switch_off()

    def save(self, name: str, folder: Path, *, base_name: str) -> None:
        """Write the adapter in PEFT's format: safetensors and adapter_config.json.

        `base_name` is where others find the base; PEFT would write this machine's cache folder.
        """
        peft = self._owner_of(name)
        peft.peft_config[name].base_model_name_or_path = base_name
        peft.active_adapter = name  # it may still name one that was removed, and be looked up
        peft.save_pretrained(folder, selected_adapters=[name], save_embedding_layers=False)
        nested = folder / name  # PEFT puts every adapter but "default" into a folder of its own
        if nested.is_dir():
            for file in nested.iterdir():
                file.replace(folder / file.name)
            nested.rmdir()

    def remove(self, name: str) -> None:
        """Delete an adapter and free its memory."""
        self._owner_of(name).delete_adapter(name)
        del self._revisions[name]
        self._switch_off()

    def parameters(self, name: str) -> dict[str, torch.nn.Parameter]:
        """Return the adapter's parameters by name, in a fixed order."""
        marker = f".{name}."
        return {
            key: parameter
            for key, parameter in sorted(self._owner_of(name).named_parameters())
            if marker in key or key.endswith(f".{name}")
        }

    @contextmanager
    def active(self, rows: Sequence[str | None], *, training: bool = False) -> Iterator[None]:
        """Route each row of the batch through its adapter (None: the base) inside the block.

        A block for one adapter may hold further blocks for the same adapter: leaving those changes
        nothing, so that a backward pass can follow several forward passes.

        Raises:
            ModelError: a name that is not present.
        """
        wanted = set(rows)
        for name in wanted - {None}:
            if name not in self._revisions:
                raise ModelError(f"adapter: {unknown_name('adapter', str(name), self.names)}")
        if self._current is not None and wanted != {self._current}:
            raise RuntimeError(f"adapter '{self._current}' is active; rows ask for {wanted}")
        if self._peft is None or wanted in ({None}, {self._current}):
            yield
            return
        hooks: list[RemovableHandle] = []
        try:
            for layer in self._layers():
                layer.enable_adapters(enabled=True)
            if len(wanted) == 1:
                (name,) = wanted
                self._peft.base_model.set_adapter(name)
                self._set_dropout(training=training)
                self._current = name
                yield
            else:
                hooks = self._route_rows([_BASE if row is None else row for row in rows])
                yield
        finally:
            for hook in hooks:
                hook.remove()
            self._current = None
            self._set_dropout(training=False)
            self._switch_off()

    def _route_rows(self, names: list[str]) -> list[RemovableHandle]:
        """Tell every injected layer which adapter each row uses.

        PEFT's own context manager for this leaves its hooks behind when the block is left by an
        exception or by closing a generator, as stopping a stream does.
        """

        def add_names(
            _module: torch.nn.Module, args: tuple[object, ...], kwargs: dict[str, object]
        ) -> tuple[tuple[object, ...], dict[str, object]]:
            return args, {**kwargs, "adapter_names": names}

        return [
            layer.register_forward_pre_hook(add_names, with_kwargs=True) for layer in self._layers()
        ]

    def _switch_off(self) -> None:
        for layer in self._layers():
            layer.enable_adapters(enabled=False)

    def _set_dropout(self, *, training: bool) -> None:
        """Adapter dropout acts while training; the base's own modules always stay in eval mode."""
        for layer in self._layers():
            for module in layer.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.train(mode=training)

    def _layers(self) -> Iterator[BaseTunerLayer]:
        return (module for module in self._model.modules() if isinstance(module, BaseTunerLayer))

    def _owner_of(self, name: str) -> PeftModel:
        if self._peft is None or name not in self._revisions:
            raise ModelError(f"adapter: {unknown_name('adapter', name, self.names)}")
        return self._peft
