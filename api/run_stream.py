"""Server-sent events of a run: milestones from the table, and the model's text as it arrives."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

import structlog
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.auth.caller import Caller
from api.auth.guard import may_still
from api.composition import GatewayContext
from api.in_flight import OpenPlace
from api.run_watch import Watch, watching
from taskforce.application.runs.history import read_events
from taskforce.core.domain.errors import DomainError
from taskforce.core.domain.runs.records import Event
from taskforce.core.domain.runs.run import Run
from taskforce.core.interfaces.identity import Permission
from taskforce.infrastructure.persistence.notifications import Notice

PAGE = 200
MEDIA_TYPE = "text/event-stream"

_KEEP_ALIVE = b": keep-alive\n\n"
_NO_LONGER = b": you may not read this any more\n\n"
_FINISHED = "run.finished"

_log = structlog.get_logger(__name__)


class EventStreamResponse(StreamingResponse):
    """Streams from a source that is closed at once, whichever side ends the response.

    Args:
        source: The encoded events.
        place: The stream's place among those that are open, which it gives back at its end.
    """

    media_type = MEDIA_TYPE

    def __init__(self, source: AsyncGenerator[bytes, None], place: OpenPlace) -> None:
        # nginx buffers responses unless this header forbids it.
        super().__init__(source, headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        self._source = source
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the response."""
        with self._place:
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        """Sends what the source yields."""
        async with aclosing(self._source):
            await super().stream_response(send)


class RunStream:
    """Streams one run to one reader. Lost notifications, except those of the model's text, are read from the table.

    Args:
        context: The gateway's context.
        caller: The reader, whose permissions are evaluated anew at intervals.
        run: The run.
        after: The last milestone that the reader has; 0 for none.
    """

    def __init__(self, context: GatewayContext, caller: Caller, run: Run, after: int) -> None:
        self._context = context
        self._caller = caller
        self._run = run
        self._run_id, self._session_id = run.spec.run_id, run.spec.session_id
        self._seq = after
        self._replied = 0
        self._now = asyncio.get_running_loop().time
        self._sent_at = self._checked_at = self._now()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yields the encoded events, until the run ends, the reader loses the right to read, or the process ends."""
        try:
            # Subscribe before the table is read: an event between the two would be missed the other way round.
            async with (
                watching(self._context, self._caller.tenant_id, self._run_id) as watch,
                aclosing(self._follow(watch)) as following,
            ):
                async for piece in following:
                    self._sent_at = self._now()
                    yield piece
        except DomainError as error:
            # The client reconnects with the id of the last milestone, and gets the error as a response then.
            _log.warning("stream.ended", run_id=self._run_id, code=error.code)

    async def _follow(self, watch: Watch) -> AsyncGenerator[bytes, None]:
        while not watch.closed:
            events, over = await self._read()
            for event in events:
                yield self._milestone(event)
                if event.type == _FINISHED:
                    return
            # A run that is over may have milestones beyond this page, so only an empty page ends the stream.
            if over and not events:
                return
            # After a full page there is more already: a wait for a notice would hold it up.
            if len(events) == PAGE:
                continue
            async with aclosing(self._until_changed(watch)) as pieces:
                async for piece in pieces:
                    yield piece
            if not await self._may_read():
                yield _NO_LONGER
                return

    async def _read(self) -> tuple[Sequence[Event], bool]:
        return await read_events(self._context.database, self._run, self._seq, PAGE)

    async def _until_changed(self, watch: Watch) -> AsyncGenerator[bytes, None]:
        until = self._now() + self._context.rhythm.poll
        while not watch.closed and (left := until - self._now()) > 0:
            notices = await watch.notices(left)
            for piece in self._text_events(notices):
                yield piece
            if any(notice.text is None for notice in notices):
                return
        if self._now() - self._sent_at >= self._context.rhythm.keep_alive:
            yield _KEEP_ALIVE

    def _text_events(self, notices: Sequence[Notice]) -> Sequence[bytes]:
        together: dict[tuple[int, int], list[str]] = {}
        for notice in notices:
            # Text of a step is dropped once its whole reply was sent: it would only repeat it.
            if notice.text is not None and notice.step > self._replied:
                together.setdefault((notice.step, notice.attempt), []).append(notice.text)
        return [
            encoded("token", {"step": step, "attempt": attempt, "text": "".join(texts)})
            for (step, attempt), texts in together.items()
        ]

    def _milestone(self, event: Event) -> bytes:
        self._seq = event.seq
        step = event.data.get("step")
        if event.type == "step.replied" and isinstance(step, int):
            self._replied = max(self._replied, step)
        at = event.at.isoformat().replace("+00:00", "Z")
        return encoded(event.type, {**event.data, "seq": event.seq, "type": event.type, "at": at}, event.seq)

    async def _may_read(self) -> bool:
        if self._now() - self._checked_at < self._context.rhythm.recheck:
            return True
        self._checked_at = self._now()
        return await may_still(self._context, self._caller, Permission.SESSION_READ, self._session_id)


def encoded(kind: str, data: Mapping[str, object], event_id: int | None = None) -> bytes:
    """Encodes one server-sent event; its data is one line of ASCII, for some clients split lines at U+2028 too."""
    line = json.dumps(data, separators=(",", ":"), default=str)
    head = f"id: {event_id}\n" if event_id is not None else ""
    return f"{head}event: {kind}\ndata: {line}\n\n".encode()
