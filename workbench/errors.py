"""The error tree: everything in it is the user's to fix, everything outside it is our bug.

    WorkbenchError
    ├── ConfigError   a spec, an experiment file, an option, a command-line value
    ├── PromptError   a template or a rendered prompt (unknown field, longer than the context)
    ├── TaskError     labelled data (unreadable file, missing column, leak, one class only)
    ├── ModelError    a base model or an adapter (not found, wrong precision, wrong shape)
    ├── StoreError    the run store (no space, unreadable record, locked run)
    │   ├── DamagedFile   a stored file that is not what was written
    │   ├── BusyRun       another process has it now: come back later
    │   │   └── LostRun   this process had it, and another one has taken it over
    │   └── RoomError     a shared server's bound on what may be stored is reached
    └── RunError      runs of a comparison that failed while the others went on

The command line prints the message of a `WorkbenchError` alone and exits with 2; any other
exception keeps its traceback and exits with 1.
"""

import difflib
import re
from collections.abc import Callable, Collection, Iterable

_FOLDERS = re.compile(r"(?<![\w./:~-])/(?:[^\s/'\"()<>,;:]+/)+")
_MOST_NAMED = 4  # in a message


class WorkbenchError(Exception):
    """Something the user can fix; the message says where, what, what is allowed, what to do."""

    def __str__(self) -> str:
        """Return the message; half a character (a lone surrogate) in it is written as its code."""
        return super().__str__().encode("utf-8", "backslashreplace").decode()


class ConfigError(WorkbenchError):
    """A spec, an experiment file, an option or a command-line value is wrong."""


class PromptError(WorkbenchError):
    """A template or a rendered prompt is wrong."""


class TaskError(WorkbenchError):
    """Labelled data is missing, unreadable or inconsistent."""


class ModelError(WorkbenchError):
    """A base model or an adapter cannot be loaded or used."""


class StoreError(WorkbenchError):
    """The run store cannot be read or written."""


class DamagedFile(StoreError):
    """A stored file is not what was written: torn, changed, or something else in its place."""


class BusyRun(StoreError):
    """Another process works on a run, or in an experiment's folder: come back later.

    Args:
        message: The whole message.
        host: Name of the machine it works on; None if that is not known.
        pid: Its number there; None if that is not known.
    """

    def __init__(self, message: str, *, host: str | None = None, pid: int | None = None) -> None:
        super().__init__(message)
        self.host, self.pid = host, pid


class LostRun(BusyRun):
    """A run that this process held has been taken over by another one, so it writes no more."""


class RoomError(StoreError):
    """What a shared server lets its visitors store is full."""


class RunError(WorkbenchError):
    """A run failed; whatever it was, a file beside the run has the traceback."""


def require_all(*checks: Callable[[], object]) -> None:
    """Run all checks, and raise what they raise as one error: a line for each problem, once.

    Raises:
        WorkbenchError: the very error where only one check failed.
        ConfigError: several failed.
    """
    found = []
    for check in checks:
        try:
            check()
        except WorkbenchError as error:
            found.append(error)
    if len(found) == 1:
        raise found[0]
    if found:
        lines = (line for error in found for line in str(error).splitlines())
        raise ConfigError("\n".join(dict.fromkeys(lines)))


def without_folders(text: str) -> str:
    """Return a message with every absolute path cut to its last part, for readers elsewhere."""
    return _FOLDERS.sub("", text)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message for an unknown name: what it is, the closest match, everything known."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"unknown {kind} '{name}'.{hint} Known: {', '.join(names) or 'none'}."


def some_of(names: Collection[str]) -> str:
    """Return names for a message: the first four, and how many more there are."""
    shown = list(names)[:_MOST_NAMED]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
