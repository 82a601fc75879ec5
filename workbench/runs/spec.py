"""One resolved spec for each run: all that decides its numbers.

No deep-learning stack is needed to read, list or compare specs.
"""

import hashlib
import json
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from workbench.tasks.base import TaskKind

# Raised when an equal spec comes to other numbers: older runs are then made anew, not found.
_SPEC_VERSION = 4


class _Identity(BaseModel):
    # Strict, because a value that is turned into another type gives another digest.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class BaseIdentity(_Identity):
    """Which base a run is made on.

    Attributes:
        name: In the catalog, on the Hub, or of a folder.
        identity: Hash of the weights, or their revision.
        precision: How the linear layers are stored.
        compute_dtype: What products are taken in.
        device: "cpu" or "cuda".
    """

    name: str
    identity: str
    precision: str
    compute_dtype: str
    device: str

    def is_same_weights(self, other: "BaseIdentity") -> bool:
        """Return whether both are one base, under whatever name, precision and device."""
        return self.identity == other.identity


class TaskIdentity(_Identity):
    """Which data a run is made on.

    Attributes:
        name: The task's name.
        digest: Hash of all samples of the three splits.
        kind: What its answers are.
        num_train: How many samples there are to learn from.
        num_dev: How many there are to choose on.
        num_test: How many there are to report on.
    """

    name: str
    digest: str
    kind: TaskKind
    num_train: int
    num_dev: int
    num_test: int


class TemplateIdentity(_Identity):
    """Which wording a run is made with.

    Attributes:
        name: The wording's name.
        version: Raised by its author when results become incomparable.
        digest: Hash of its content.
        chat: Whether the base's chat template is put around it.
    """

    name: str
    version: int
    digest: str
    chat: bool


class RunSetting(_Identity):
    """Base, task and wording, which all runs of a comparison share."""

    base: BaseIdentity
    task: TaskIdentity
    template: TemplateIdentity

    def differences(self, other: "RunSetting") -> list[str]:
        """Return what another setting has instead, in words: "on task 'a'", "in bf16".

        Another device alone is none: the same numbers are meant to come out there. What products
        are taken in is one, and follows the device unless it is asked for.
        """
        base, mine = other.base, self.base
        found = []
        if not base.is_same_weights(mine):
            found.append(f"on base '{base.name}' ({base.identity[:15]})")
        if (base.precision, base.compute_dtype) != (mine.precision, mine.compute_dtype):
            found.append(f"in {base.precision} (products in {base.compute_dtype})")
        if other.task.digest != self.task.digest:
            found.append(f"on task '{other.task.name}' (data {other.task.digest[:8]})")
        if other.template.digest != self.template.digest:
            found.append(f"with wording '{other.template.name}' ({other.template.digest[:8]})")
        if other.template.chat != self.template.chat:
            found.append(f"with{'' if other.template.chat else 'out'} the chat template")
        return found

    def advice(self, other: "RunSetting") -> str:
        """Return what to do to use a run of another setting, as a sentence."""
        products = other.base.compute_dtype
        alike = other.base.model_copy(update={"compute_dtype": self.base.compute_dtype})
        if self.differences(other.model_copy(update={"base": alike})):
            return "Choose its base, precision, task and wording, or another run."
        return (
            f"Ask it on a machine that takes products in {products}, write compute_dtype: "
            f"{products} into an experiment for the command line, or train it again here."
        )


class RunSpec(BaseModel):
    """Everything that decides a run's numbers, with defaults filled in.

    Attributes:
        schema_version: Version of this format, and of the rules by which numbers follow from it.
        base: Which base.
        task: Which data.
        template: Which wording.
        method: Method name and all its options.
        seed: The run's one seed.
        contents: Of each option that names adapters, the digest of what lies there: another
            adapter in the same folder is another run. Left out of the JSON where there is none.
        processes: Parts into which a training cuts its batches and looks at dev, one for each
            process that shares it; the sums have other last bits. Left out of the JSON where 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = _SPEC_VERSION
    base: BaseIdentity
    task: TaskIdentity
    template: TemplateIdentity
    method: str
    options: dict[str, Any]
    seed: int = Field(ge=0)
    contents: dict[str, str] = {}
    processes: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _can_be_kept(self) -> "RunSpec":
        """Refuse what has no digest: half a character in an option, or levels without end."""
        try:
            _ = self.digest
        except (ValueError, RecursionError) as error:
            raise ValueError(f"has no digest: {error}") from error
        return self

    @model_serializer(mode="wrap")
    def _without_empty(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = handler(self)
        if not self.contents:
            found.pop("contents", None)
        if self.processes == 1:
            found.pop("processes", None)
        return found

    @property
    def setting(self) -> RunSetting:
        """What it shares with the other runs of its comparison."""
        return RunSetting(base=self.base, task=self.task, template=self.template)

    @property
    def is_older_version(self) -> bool:
        """Whether it was made by older rules: asking for the same again makes a new run."""
        return self.schema_version < _SPEC_VERSION

    @property
    def digest(self) -> str:
        """Content hash: the same spec finds the same run."""
        payload = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(payload.encode()).hexdigest()[:12]

    @property
    def run_id(self) -> str:
        """Folder name: says what it is and ends in the digest."""
        return f"{self.task.name}_{self.method}_s{self.seed}_{self.digest}"
