"""A process that starts quickly: fewer looks for garbage while the deep-learning stack comes in."""

import atexit
import gc

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
