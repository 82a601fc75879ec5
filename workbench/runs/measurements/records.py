"""What is measured beside runs, as data: a base in one precision, and what an adapter forgot.

Each part is kept in a file named by what decides it, so that the same question finds its answer. No
deep-learning stack is needed to read one.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, field_validator

from workbench.estimates import Estimate
from workbench.metrics import ratio
from workbench.models.weight_error import WeightError
from workbench.runs.provenance import Provenance
from workbench.sealed import is_there, read_sealed, write_sealed

Record = TypeVar("Record", bound=BaseModel)

MEASUREMENT_VERSION = 1  # of what the figures mean; a change makes older parts be measured again

_log = logging.getLogger(__name__)


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TextLoss(_Record):
    """How improbable a text is, block by block.

    Attributes:
        losses: (W,) negative log-probability of each block in nats.
        num_tokens: (W,) tokens scored.
        num_bytes: (W,) their UTF-8 bytes.
    """

    losses: list[float]
    num_tokens: list[int]
    num_bytes: list[int]

    @property
    def per_token(self) -> Estimate:
        """Nats per token; its exponential is the perplexity."""
        return ratio(self.losses, self.num_tokens)

    @property
    def per_byte(self) -> Estimate:
        """Nats per byte, which bases with different tokens share."""
        some = [(loss, size) for loss, size in zip(self.losses, self.num_bytes, strict=True)
                if size > 0]  # fmt: skip
        return ratio([loss for loss, _ in some], [size for _, size in some])

    def difference_to(self, reference: "TextLoss") -> Estimate:
        """Return nats per token above the reference's, paired on the same blocks."""
        if self.num_tokens != reference.num_tokens:
            raise ValueError("losses of different blocks cannot be paired")
        pairs = zip(self.losses, reference.losses, strict=True)
        return ratio([ours - theirs for ours, theirs in pairs], self.num_tokens)


class Answers(_Record):
    """What was answered to the items of a test split, in order.

    Attributes:
        targets: The correct answers.
        answers: None where nothing could be read.
        is_right: Whether each is correct.
        metrics: Name to estimate.
        milliseconds_per_item: Time taken.
    """

    targets: list[str]
    answers: list[str | None]
    is_right: list[bool]
    metrics: dict[str, Estimate]
    milliseconds_per_item: float


class PrecisionRecord(_Record):
    """A base in one precision.

    Attributes:
        base: What is known about it; see `BaseInfo`.
        weights: Memory and error of every matrix between embedding and output head.
        text_name: Which text `text` is about.
        text: Its loss.
        answers: Answers on the task by row: zero-shot, and calibrated where there are labels.
        decoded_tokens_per_second: Alone in its batch, the prompt's time left out; None if nothing
            was written.
        packed_tokens_per_second: The same without weights kept unpacked beside 4 bits; None where
            there were none.
        environment: Versions, processor, threads.
        provenance: The code that measured it; None in records from before it was kept.
    """

    base: dict[str, str | int]
    weights: list[WeightError]
    text_name: str
    text: TextLoss
    answers: dict[str, Answers]
    decoded_tokens_per_second: float | None
    environment: dict[str, str | int]
    provenance: Provenance | None = None
    packed_tokens_per_second: float | None = None

    @field_validator("base")
    @classmethod
    def _says_its_precision(cls, base: dict[str, str | int]) -> dict[str, str | int]:
        if "precision" not in base:
            raise ValueError("no precision")
        return base

    @field_validator("weights")
    @classmethod
    def _has_sizes(cls, weights: list[WeightError]) -> list[WeightError]:
        for one in weights:
            if max(one.num_weights, one.value_bytes, one.scale_bytes, one.table_bytes) > 2**53:
                raise ValueError(f"{one.module} is larger than any matrix")
        return weights

    @property
    def precision(self) -> str:
        """Storage of the matrices."""
        return str(self.base["precision"])

    @property
    def restored_bytes(self) -> int:
        """Memory of weights that were kept unpacked beside their 4 bits, for speed."""
        return int(self.base.get("restored_bytes", 0))

    @property
    def num_weights(self) -> int:
        """Entries of all matrices."""
        return sum(weight.num_weights for weight in self.weights)

    @property
    def bits_per_weight(self) -> float:
        """Memory of all matrices with scales and tables, in bits per entry."""
        return 8 * sum(weight.num_bytes for weight in self.weights) / max(self.num_weights, 1)

    @property
    def scale_bits_per_weight(self) -> float:
        """Memory of the scales alone, in bits per entry."""
        return 8 * sum(weight.scale_bytes for weight in self.weights) / max(self.num_weights, 1)


class MeasurementStore:
    """Finished parts below one folder.

    Args:
        folder: Made when needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, name: str, spec: Mapping[str, Any], kind: type[Record]) -> Record | None:
        """Return the part with this spec; None where there is none, or a damaged one."""
        path = self._path(name, spec)
        if not is_there(path):
            return None
        try:
            # Parts of older versions have no digest; they took minutes to measure.
            return kind(**read_sealed(path, is_digest_needed=False)["result"])
        except (OSError, KeyError, TypeError, ValueError):
            _log.warning("%s: is damaged, and is measured again.", path)
            return None

    def keep(self, name: str, spec: Mapping[str, Any], record: BaseModel) -> None:
        """Write a part in one step."""
        content = {"spec": spec, "result": record.model_dump(mode="json")}
        write_sealed(self._path(name, spec), content)

    def _path(self, name: str, spec: Mapping[str, Any]) -> Path:
        payload = json.dumps([MEASUREMENT_VERSION, spec], sort_keys=True, ensure_ascii=False)
        return self.folder / f"{name}_{hashlib.sha256(payload.encode()).hexdigest()[:12]}.json"


class InPlace(_Record):
    """What of a run stands before or inside the base, in words."""

    words: str


class ForgettingRecord(_Record):
    """What a run's adapter changes elsewhere.

    Attributes:
        run_id: Names the run; `method` and `row` are what it is.
        method: Name of the method.
        row: Name of the row that asked for it.
        task: Name of the task it was trained on.
        own_accuracy: On that task's test split; None where answers are not right or wrong.
        in_place: What of the run is in place afterwards, in words.
        texts: Text to its loss before and after.
        tasks: Other task to its answers before and after.
    """

    run_id: str
    method: str
    row: str
    task: str
    own_accuracy: Estimate | None
    in_place: str
    texts: dict[str, tuple[TextLoss, TextLoss]]
    tasks: dict[str, tuple[Answers, Answers]]
