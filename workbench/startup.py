"""A process that starts quickly, and says so: before the deep-learning stack comes in."""

import atexit
import gc
import logging
import sys

# Of new objects before the youngest are looked at, and of looks before older ones are. Python's own
# thresholds are for programs that make little and drop most of it.
_THRESHOLDS = (5000, 20, 20)


def collect_rarely() -> None:
    """Look for garbage less often, and not at all at the end; called before the heavy imports.

    The stack makes millions of objects that stay until the end. Looking through them again and
    again while they come in, and once more at exit, is a large part of a short command's time.
    """
    gc.set_threshold(*_THRESHOLDS)
    atexit.register(gc.freeze)  # what is frozen is not looked at


def quiet_libraries() -> None:
    """Keep libraries from saying what is no concern of the user."""
    # It reports at import that an optional package is absent, which must not be installed.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # our message names the hub


def page_begins() -> None:
    """Say that the page is starting, and look for no garbage until it is there."""
    gc.disable()
    say("Prompt Workbench is starting: its libraries take some seconds to load …")


def page_is_there() -> None:
    """Look for garbage again, among what is made from now on: the stack stays as it is."""
    gc.freeze()
    gc.enable()


def say(line: str) -> None:
    """Tell the terminal at once what is happening; beside what a command prints as its result."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
