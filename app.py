"""Launch the workbench in the browser; this is also what a Hugging Face Space runs."""

import logging
from contextlib import suppress
from pathlib import Path

from workbench.startup import collect_rarely, page_begins

collect_rarely()
page_begins()
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # asks for a package not to install

with suppress(ImportError):
    import spaces  # noqa: F401  before torch, where accelerators are lent by the call

from workbench.ui.starting import launch  # noqa: E402  after what has to come before torch

if __name__ == "__main__":
    launch(Path("runs"))
