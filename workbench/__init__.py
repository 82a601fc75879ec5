"""Prompt Workbench: words, soft prompts and weight adapters on one frozen 4-bit base model.

From Python it is a third door, beside page and commands (docs/python.md):

    base = workbench.open_base()
    task = workbench.open_task("support_intents", limit_train=80)
    results = workbench.compare(base, task, ["zero_shot", "prompt_tuning"])

Its functions are loaded when they are first asked for, so that `import workbench` costs nothing.
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.errors import WorkbenchError
    from workbench.notebook.answers import ask
    from workbench.notebook.bases import open_base
    from workbench.notebook.comparisons import compare, train
    from workbench.notebook.inspections import read
    from workbench.notebook.stored import open_run
    from workbench.notebook.tasks import open_task
    from workbench.notebook.tour import open_tour

__version__ = "0.1.0"
__all__ = [
    "open_base",
    "open_task",
    "compare",
    "train",
    "ask",
    "open_run",
    "read",
    "open_tour",
    "WorkbenchError",
]

_PLACES = {
    "open_base": "workbench.notebook.bases",
    "open_task": "workbench.notebook.tasks",
    "compare": "workbench.notebook.comparisons",
    "train": "workbench.notebook.comparisons",
    "ask": "workbench.notebook.answers",
    "open_run": "workbench.notebook.stored",
    "read": "workbench.notebook.inspections",
    "open_tour": "workbench.notebook.tour",
    "WorkbenchError": "workbench.errors",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    with warnings.catch_warnings():
        # What a library's bar would need in a notebook; bars here are our own.
        warnings.filterwarnings("ignore", message="IProgress not found")
        return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
