"""Imported: an adapter that was trained elsewhere with PEFT, of weights or of vectors.

Nothing is trained and nothing is known about the training: neither its cost nor its data. A soft
prompt or a prefix takes the place of special tokens and chat header too: PEFT puts it first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from workbench.errors import ConfigError
from workbench.fitting.base import Family, FitContext, FittedMethod, Offer, TrainedCost
from workbench.models.adapters.named_base import caution_of_base
from workbench.models.adapters.peft_changes import adapter_of, caution_of_layers
from workbench.models.adapters.reading import CheckedAdapter, read_adapter
from workbench.models.base import Prefix
from workbench.options import TEXT, option
from workbench.tasks.base import Task
from workbench.templates import PromptTemplate


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Answer with the matrices or vectors in the folder `adapter`."""

    family: ClassVar[Family] = "weights"
    summary: ClassVar[str] = "an adapter trained elsewhere with PEFT"
    gloss: ClassVar[str] = "A result that somebody trained elsewhere, brought here as a file."
    offers: ClassVar[Sequence[Offer]] = ()  # adapters are offered one by one

    adapter: str | None = option(
        None,
        holds="adapter",
        public=TEXT,
        help="The result to use: a folder with adapter_config.json and adapter_model.safetensors.",
    )

    def fit(self, context: FitContext) -> FittedMethod:
        """Return the method with the adapter's vectors or states, or its matrices in the engine.

        Raises:
            ConfigError: no adapter is given.
            ModelError: the adapter does not pass the checks, or does not fit the base.
        """
        adapter = self._read()
        start = context.encoder.start()
        size = sum(t.numel() * t.element_size() for t in adapter.tensors.values())
        cost = TrainedCost(adapter.summary.num_parameters, size)
        cautions = caution_of_base(adapter.summary.base_name, context.engine.info.name)
        if adapter.summary.kind == "prompt_tuning":
            vectors = adapter.prompt_vectors(context.engine.forward.embedding_width)
            prefix = Prefix((vectors,))
            return FittedMethod(context.encoder, start, prefix, cost=cost, cautions=cautions)
        engine = context.engine
        if adapter.summary.kind == "prefix_tuning":
            states = adapter.prefix_states(engine.forward.state_shape)
            prefix = Prefix(states=states)
            return FittedMethod(context.encoder, start, prefix, cost=cost, cautions=cautions)
        changes = adapter_of(adapter, engine.forward.model, base_name=engine.info.name)
        cautions += caution_of_layers(adapter, engine.forward.model)
        engine.adapters.add(context.adapter_name, changes)
        return FittedMethod(
            context.encoder,
            start,
            start.prefix,
            adapter=context.adapter_name,
            cost=cost,
            cautions=cautions,
        )

    def check(self, task: Task, template: PromptTemplate) -> None:
        """Refuse an adapter that is not given, or whose files do not pass the checks.

        Raises:
            WorkbenchError: see `fit`.
        """
        self._read()

    def _read(self) -> CheckedAdapter:
        if not self.adapter:
            raise ConfigError(
                "methods.imported.adapter: no adapter is given. A folder with adapter_config.json "
                "and adapter_model.safetensors is needed. Example: "
                "--set methods.imported.adapter=my_adapter"
            )
        return read_adapter(Path(self.adapter))

    def restore(self, context: FitContext, folder: Path) -> FittedMethod:
        """Return what `fit` returns; a run stores no copy of the adapter in `folder`."""
        return self.fit(context)

    def labelled_examples(self, task: Task) -> int:
        """Return 0: none of this task's examples are used."""
        return 0
