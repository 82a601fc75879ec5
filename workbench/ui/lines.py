"""How calls of many visitors wait, and what a visit costs: Gradio's queue and sessions, bounded.

Gradio bounds the queue as a whole, so that a crowd before one button keeps everybody from all
others; and for each new session it describes every component of the page once more, for links that
this page does not have, which takes a tenth of a second in which nobody is served.
"""

from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
from gradio.data_classes import PredictBodyInternal
from gradio.queueing import Queue
from gradio.route_utils import get_fn
from gradio.routes import App
from gradio.state_holder import SessionState, StateHolder
from gradio.utils import LRUCache
from starlette.exceptions import HTTPException
from starlette.requests import Request

from workbench.service.profile import Bound
from workbench.ui.refusals import for_one
from workbench.ui.sessions import address_of

AT_HOME = Bound(32, 32)  # calls that wait in one line of a page of one's own
MOST_THREADS = 64  # more than all lines run at once; beside those that serve files
_MOST_SESSIONS = 2000  # whose messages are kept until they are read
_MOST_UNREAD = 256  # messages of one session; answers come ten times a second at most
_BUSY = "busy: the line for this is full. Nothing was started; try again in a minute."
_WAIT = "Wait until they are done, then try again."
_UNREAD = "busy: this session has many answers that were not read. Nothing was started; read them."


class Lines(Queue):
    """Gradio's queue with a bound on each line instead of one on all of them together.

    Args:
        page: Whose events wait.
        waiting: How many may wait in one line; one more is told so at once.
    """

    def __init__(self, page: gr.Blocks, waiting: Bound) -> None:
        self._waiting = waiting
        super().__init__(
            live_updates=True,
            concurrency_count=MOST_THREADS,
            update_intervals=1,
            max_size=None,
            blocks=page,
        )
        self.pending_messages_per_session = _Mailboxes(_MOST_SESSIONS)

    async def push(
        self, body: PredictBodyInternal, request: Request, username: str | None
    ) -> tuple[bool, Any, Any]:
        """Let an event wait; if its line is full, or its session reads no answers, tell so.

        Raises:
            HTTPException: as many of the address wait in its line as may.
        """
        if body.fn_index is not None:
            name = get_fn(self.blocks, None, body).concurrency_id
            waiting = self.event_queue_per_concurrency_id.get(name)
            line = [] if waiting is None else waiting.queue
            if len(line) >= self._waiting.total:
                return False, _BUSY, "queue_full"
            address = "" if request.client is None else request.client.host
            if sum(address_of(event) == address for event in line) >= self._waiting.own:
                refusal = for_one("waiting calls", self._waiting.own, _WAIT)
                raise HTTPException(refusal.status, refusal.sentence)
        unread = self.pending_messages_per_session.get(body.session_hash or "")
        if unread is not None and unread.qsize() >= _MOST_UNREAD:
            return False, _UNREAD, "queue_full"
        self._forget_sessions()
        return await super().push(body, request, username)

    def _forget_sessions(self) -> None:
        """Drop what Gradio would keep for ever of each session, however long it is gone."""
        kept = self.pending_event_ids_session
        if len(kept) > 2 * _MOST_SESSIONS:
            for session in kept.keys() - self.pending_messages_per_session.keys():
                del kept[session]

    def compute_analytics_summary(self, records: list[Any]) -> dict[str, Any]:
        """Return nothing: after every event Gradio would go through the last 10,000 for nobody."""
        return {"functions": {}}

    def set_server_app(self, app: App) -> None:
        """Take the app that was just launched, and keep its sessions as this page needs them."""
        super().set_server_app(app)
        if not isinstance(app.state_holder, _Sessions):
            app.state_holder = _Sessions()  # type: ignore[no-untyped-call]
            app.state_holder.set_blocks(self.blocks)


class _Mailboxes(LRUCache[str, Any]):
    """Messages by session; those of whom nobody reads or writes to any more are dropped first."""

    def __getitem__(self, session: str) -> Any:
        self.move_to_end(session)
        return super().__getitem__(session)


class _Sessions(StateHolder):
    """The sessions of a page."""

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            self.session_data[session_id] = _Session(self.blocks)
        return super().__getitem__(session_id)


class _Session(SessionState):
    """The values of one session, without a description of the page as it was last seen."""

    def __init__(self, blocks: gr.Blocks) -> None:
        undescribed = SimpleNamespace(default_config=blocks.default_config, blocks={})
        super().__init__(cast("gr.Blocks", undescribed))

    def _update_config(self, key: int) -> None:
        """Describe nothing."""

    def _update_value_in_config(self, key: int, value: Any) -> None:
        """Keep nothing: values of a session would stay until 200 others have come."""
