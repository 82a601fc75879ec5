"""Specs of runs that nobody executes: every part is there, and a test names what it is about."""

from collections.abc import Mapping
from typing import Any

from workbench.runs.spec import RunSpec

BASE = {
    "name": "toy-base",
    "identity": "sha256:aa",
    "precision": "nf4",
    "compute_dtype": "float32",
    "device": "cpu",
}
TASK = {
    "name": "toy_task",
    "digest": "d1",
    "kind": "classification",
    "num_train": 20,
    "num_dev": 10,
    "num_test": 4,
}
TEMPLATE = {"name": "plain", "version": 1, "digest": "t1", "chat": False}


def spec_of(
    method: str = "zero_shot",
    *,
    base: Mapping[str, Any] | None = None,
    task: Mapping[str, Any] | None = None,
    template: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> RunSpec:
    """Return a spec; of base, task and template only what differs is given."""
    content: dict[str, Any] = {
        "base": {**BASE, **(base or {})},
        "task": {**TASK, **(task or {})},
        "template": {**TEMPLATE, **(template or {})},
        "method": method,
        "options": dict(options or {}),
        "seed": seed,
    }
    return RunSpec(**content)
