"""The process of one job: `python -m workbench.service.job_process FOLDER`."""

import os
import sys
import threading
from pathlib import Path

from workbench.startup import collect_rarely

_STOP = "stop"  # the file that asks for it; whoever names it there needs imports that take seconds
_ASK_SECONDS = 0.2


def _end_if_stopped(folder: Path, ready: threading.Event) -> None:
    """End this process if its job is asked to stop before it can ask for itself."""
    while not ready.wait(_ASK_SECONDS):
        if os.path.lexists(folder / _STOP):
            os._exit(1)


if __name__ == "__main__":
    collect_rarely()
    imported = threading.Event()
    waiting = (Path(sys.argv[1]), imported)
    threading.Thread(target=_end_if_stopped, args=waiting, daemon=True).start()

    from workbench.service.worker import main

    imported.set()
    sys.exit(main(sys.argv[1:]))
