"""One resolved spec for each run: all that decides its numbers.

No deep-learning stack is needed to read, list or compare specs.
"""

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

# Raised when an equal spec comes to other numbers: older runs are then made anew, not found.
_SPEC_VERSION = 2


class RunSpec(BaseModel):
    """Everything that decides a run's numbers, with defaults filled in.

    Attributes:
        schema_version: Of this format, and of the rules by which numbers follow from it.
        base: Name, weights identity, precision, compute dtype and device.
        task: Name and digest of the data, and the split sizes.
        template: Name, version and digest of the wording, and whether the chat template is used.
        method: Method name and all its options.
        seed: The run's one seed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = _SPEC_VERSION
    base: dict[str, str]
    task: dict[str, str | int]
    template: dict[str, str | int | bool]
    method: str
    options: dict[str, Any]
    seed: int = Field(ge=0)

    @property
    def digest(self) -> str:
        """Content hash: the same spec finds the same run."""
        payload = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(payload.encode()).hexdigest()[:12]

    @property
    def run_id(self) -> str:
        """Folder name: says what it is and ends in the digest."""
        return f"{self.task['name']}_{self.method}_s{self.seed}_{self.digest}"
