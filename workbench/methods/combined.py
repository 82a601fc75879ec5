"""Combined: adapters that were trained apart, put together without further training.

Changes of weights are added, or merged by SVD, TIES or DARE (`workbench.models.adapters.merging`).
Soft prompts are put one behind the other, or averaged: Vu et al. 2021,
https://arxiv.org/abs/2110.07904, find prompts of related tasks close enough for that to mean
something.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import ClassVar

import torch

from workbench.errors import ConfigError, require_all
from workbench.fitting.base import Family, FitContext, FittedMethod, Offer, TrainedCost
from workbench.fitting.learning import read_learned_vectors
from workbench.models.adapters.merging import WAYS, check_weights, combine
from workbench.models.adapters.named_base import caution_of_base
from workbench.models.adapters.peft_changes import adapter_of, caution_of_layers
from workbench.models.adapters.reading import read_adapter
from workbench.models.base import Prefix
from workbench.options import FREE, TEXT, option
from workbench.tasks.base import Task
from workbench.templates import PromptTemplate

_VECTOR_WAYS = ("concatenation", "average")
_BYTES = 4  # of a float32


@dataclass(frozen=True, kw_only=True)
class Combined:
    """Answer with several trained adapters at once."""

    family: ClassVar[Family] = "weights"
    summary: ClassVar[str] = "adapters trained apart, put together"
    gloss: ClassVar[str] = (
        "Results that were trained apart are used together as one, without training again."
    )
    offers: ClassVar[Sequence[Offer]] = ()  # adapters are offered one by one

    adapters: str | None = option(
        None,
        holds="runs",
        public=TEXT,
        help="What is put together: adapter folders in PEFT's format, comma-separated.",
    )
    weights: str = option(
        "",
        holds="text",
        public=TEXT,
        help="How much each of them counts, comma-separated; empty: 1 for each.",
    )
    way: str = option(
        "linear",
        choices=(*WAYS, *_VECTOR_WAYS),
        help="How they are put together: changes of weights by linear, svd, ties or dare; soft "
        "prompts by concatenation or average.",
    )
    rank: int = option(
        16,
        minimum=1,
        maximum=512,
        public=(16, 64),
        help="How many directions of the sum are kept (its rank); not used by linear.",
    )
    density: float = option(
        0.5,
        minimum=0.01,
        maximum=0.99,
        public=FREE,
        help="Which share of its entries TIES and DARE keep of each.",
    )

    def fit(self, context: FitContext) -> FittedMethod:
        """Return the method with the adapters put together.

        Raises:
            ConfigError: fewer than two adapters, or a way that does not fit what they are.
            ModelError: an adapter cannot be read, or does not fit the base.
        """
        self.check(context.task, context.template)
        folders = self._folders
        adapters = [read_adapter(folder) for folder in folders]
        kinds = {adapter.summary.kind for adapter in adapters}
        base = context.engine.info.name
        found = [caution_of_base(adapter.summary.base_name, base) for adapter in adapters]
        cautions = tuple(dict.fromkeys(chain.from_iterable(found)))
        if self.way in _VECTOR_WAYS:
            return replace(self._vectors(context, folders, kinds), cautions=cautions)
        if kinds & {"prompt_tuning", "prefix_tuning"}:
            raise ConfigError(
                f"methods.combined.way: '{self.way}' is for changes of weights, and among the "
                f"adapters are {', '.join(sorted(kinds))}. Use one of: {', '.join(_VECTOR_WAYS)}."
            )
        engine = context.engine
        model = engine.forward.model
        changes = [adapter_of(a, model, base_name=base) for a in adapters]
        left_out = chain.from_iterable(caution_of_layers(a, model) for a in adapters)
        cautions = tuple(dict.fromkeys([*cautions, *left_out]))
        adapter = combine(
            changes,
            check_weights(self.weights, len(folders), where="methods.combined.weights"),
            dict(model.named_modules()),
            way=self.way,
            rank=self.rank,
            density=self.density,
            seed=context.seed,
        )
        engine.adapters.add(context.adapter_name, adapter)
        start = context.encoder.start()
        size = sum(parameter.numel() for parameter in adapter.parameters().values())
        cost = TrainedCost(0, size * _BYTES)
        return FittedMethod(
            context.encoder,
            start,
            start.prefix,
            adapter=context.adapter_name,
            cost=cost,
            cautions=cautions,
        )

    def check(self, task: Task, template: PromptTemplate) -> None:
        """Refuse fewer than two adapters, and weights that are not theirs.

        Raises:
            ConfigError: both at once.
        """
        require_all(
            self._check_folders,
            lambda: check_weights(
                self.weights, len(self._folders), where="methods.combined.weights"
            ),
        )

    @property
    def _folders(self) -> list[Path]:
        return [Path(part.strip()) for part in (self.adapters or "").split(",") if part.strip()]

    def _check_folders(self) -> None:
        if len(self._folders) < 2:
            raise ConfigError(
                f"methods.combined.adapters: {len(self._folders)} given, two or more are needed, "
                "comma-separated. Example: runs/a/adapter,runs/b/adapter"
            )

    def restore(self, context: FitContext, folder: Path) -> FittedMethod:
        """Put them together again; a run stores no copy."""
        return self.fit(context)

    def labelled_examples(self, task: Task) -> int:
        """Return 0: nothing is trained here."""
        return 0

    def _vectors(self, context: FitContext, folders: list[Path], kinds: Set[str]) -> FittedMethod:
        if kinds != {"prompt_tuning"}:
            raise ConfigError(
                f"methods.combined.way: '{self.way}' is for soft prompts, and the adapters are "
                f"{', '.join(sorted(kinds))}. Use one of: {', '.join(WAYS)}."
            )
        prompts = [read_learned_vectors(context, folder) for folder in folders]
        factors = check_weights(self.weights, len(folders), where="methods.combined.weights")
        vectors = torch.cat(prompts)
        if self.way == "concatenation" and any(factor != 1 for factor in factors):
            raise ConfigError(
                f"methods.combined.weights: {self.weights!r} would have no effect: a concatenation "
                "takes every prompt as it is. Leave the weights out, or use way 'average'."
            )
        if self.way == "average":
            lengths = {len(prompt) for prompt in prompts}
            if len(lengths) > 1 or sum(factors) == 0:
                raise ConfigError(
                    f"methods.combined.way: an average needs prompts of one length and factors "
                    f"that do not cancel; lengths are {sorted(lengths)}. Use concatenation."
                )
            weighted = [prompt * factor for prompt, factor in zip(prompts, factors, strict=True)]
            vectors = torch.stack(weighted).sum(0) / sum(factors)
        start = context.encoder.start()
        prefix = Prefix((start.head_ids, vectors.to(context.engine.forward.device)))
        cost = TrainedCost(0, vectors.numel() * _BYTES)
        return FittedMethod(context.encoder, start, prefix, cost=cost)
