"""How the page's own events are wired: no endpoint of theirs, and none of Gradio's spinners.

What takes long, or may have to wait for something, waits in a line: a part of the queue where only
so many run and only so many wait. A crowd before one line keeps nobody out of another.
"""

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def line(name: str, limit: int) -> dict[str, Any]:
    """Return the arguments of an event that waits in a line, of which `limit` run at once."""
    return {"concurrency_id": name, "concurrency_limit": limit}


AT_ONCE: dict[str, Any] = QUIET | {"queue": False} | line("at once", 4)
"""For what takes milliseconds and waits for nothing: lists of one's own, and buttons that stop."""

MODEL = line("model", 1)
"""For what runs the base."""
READ = line("read", 2)
"""For readings, which run it in steps."""
TRAIN = line("train", 4)
"""For what starts jobs."""
LOAD = line("load", 2)
"""For what puts another base in the place of the one in memory, or measures it."""
CARD = line("card", 2)
"""For one vector's card, which is a small reading."""
FOLLOW = line("follow", 8)
"""For what follows the setting: a task or a base may have to be read first."""
PREVIEW = line("preview", 4)
"""For the prompt under the visitor's fingers."""
WATCH = line("watch", 4)
"""For looks at a job, which draw its curves and come again by themselves."""
LOOK = line("look", 4)
"""For what draws, or reads many files."""
BRING = line("bring", 2)
"""For files that are brought: read, checked and stored."""
MAKE = line("make", 2)
"""For what draws much: plans, and files to take away."""
PUSH = line("push", 2)
"""For what waits for the Hub."""
ASK = line("ask", 8)
"""For programs that ask how far a job is, and start or stop one."""

WAITING = "Waiting for the model …"
"""What the template "waiting" says before the first answer."""

_LEFT = """html => String(html || "").replace('aria-busy="true"', 'aria-busy="false"')
  .replaceAll(/<span class="wb-cursor"[^>]*><\\/span>/g, "")"""
_STOPPED = """html => String(html || "")
  .replace('<div class="wb-hint">WAITING', '<div class="wb-hint">Stopped.')""".replace(
    "WAITING", WAITING
)
_ENABLED = """given => ({__type__: "update", interactive: Boolean(given && given.length)})"""
WAITS = """() => Array(3).fill({__type__: "update", interactive: false})"""
"""Keeps two boxes and their button from being used until the server answers, in the browser."""

# Lists that are filled again say that they changed, with the same chosen as before.
_FORGOTTEN = """(html, ...causes) => {
  const seen = window.workbenchCauses ??= {}, before = seen[NUMBER];
  seen[NUMBER] = JSON.stringify(causes);
  const isGone = seen[NUMBER] !== before && String(html || "").includes("wb-problem");
  return isGone ? INSTEAD : html;
}"""


def enables(given: Any, button: gr.Button) -> None:
    """Let a button be pressed only while something is chosen or written; the browser decides."""
    given.change(None, given, button, js=_ENABLED, **AT_ONCE)


def stops(button: gr.Button, running: Any, box: gr.HTML) -> None:
    """Let a button end what is being answered, and its box no longer say that more is coming."""
    button.click(None, cancels=[running], **AT_ONCE)
    button.click(None, box, box, js=_STOPPED, **AT_ONCE)
    running.then(None, box, box, js=_LEFT, **AT_ONCE)  # once nothing more of it can come


def forgets(causes: Sequence[Any], box: gr.HTML, *, instead: str = "") -> None:
    """Take an error out of its box once what may have caused it is changed; the browser does it.

    Args:
        causes: Events of what the error may be about.
        box: Where errors are shown, and other things, which stay.
        instead: HTML that takes the error's place.
    """
    parts = list(dict.fromkeys(cause.__self__ for cause in causes))
    script = _FORGOTTEN.replace("NUMBER", str(id(box))).replace("INSTEAD", json.dumps(instead))
    gr.on(list(causes), None, [box, *parts], box, js=script, **AT_ONCE)
