"""How the page's own events are wired: no endpoint of theirs, and none of Gradio's spinners."""

from typing import Any

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
AT_ONCE: dict[str, Any] = QUIET | {"queue": False}
"""For what never waits behind the model: lists, looks, and buttons that stop something."""
