"""Launch the workbench in the browser; this is also what a Hugging Face Space runs."""

import logging
from contextlib import suppress
from pathlib import Path

from workbench.startup import import_quickly

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # asks for a package not to install

with suppress(ImportError):
    import spaces  # noqa: F401  before torch, where accelerators are lent by the call

if __name__ == "__main__":
    import_quickly("workbench.ui.app").launch(Path("runs"))
