"""Starting quickly: importing the deep-learning stack without looking for garbage in between."""

import gc
import importlib
import sys
from types import ModuleType


def import_quickly(name: str) -> ModuleType:
    """Return a module, imported as the first heavy work of a process.

    The stack makes millions of objects that stay until the end. Looking through them for garbage,
    again and again while they come in and once more at exit, took half the time of a short command.
    """
    if name in sys.modules:
        return sys.modules[name]
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()  # what is there now is not looked at again, not even at exit
        if was_enabled:
            gc.enable()
