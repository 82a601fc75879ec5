"""Launch the workbench in the browser; this is also what a Hugging Face Space runs."""

from contextlib import suppress
from pathlib import Path

with suppress(ImportError):
    import spaces  # noqa: F401  before torch, where accelerators are lent by the call

from workbench.ui.app import launch

if __name__ == "__main__":
    launch(Path("runs"))
