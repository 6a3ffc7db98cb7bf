"""Responses of JSON Lines, sent as they are read, while the reader keeps the right to read them."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import structlog
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.composition import GatewayContext
from api.in_flight import OpenPlace
from taskforce.core.domain.errors import DomainError

MEDIA_TYPE = "application/x-ndjson"
ANCHOR = "Audit-Anchor"
"""The header that says where an export of the audit log must end."""

_log = structlog.get_logger(__name__)


class LinesResponse(StreamingResponse):
    """Sends JSON Lines out of a source that is closed at once, whichever side ends the response.

    Args:
        source: The lines.
        headers: Further headers.
        place: The export's place among those that are open, which it gives back at its end.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self, source: AsyncGenerator[str, None] | AsyncGenerator[bytes, None], headers: dict[str, str], place: OpenPlace
    ) -> None:
        super().__init__(source, headers={"x-accel-buffering": "no", **headers})
        self._source = source
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the response."""
        with self._place:
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        """Sends what the source yields. Where it fails, the response stays unfinished and the connection is closed."""
        try:
            # Closed here, not by the garbage collector at some later time, so that the source releases what it holds.
            async with aclosing(self._source):
                await super().stream_response(send)
        except DomainError as error:
            _log.warning("lines.broken", code=error.code, detail=error.message)


def still(context: GatewayContext, look: Callable[[], Awaitable[bool]]) -> Callable[[], Awaitable[bool]]:
    """Returns a check of the reader's rights, which are evaluated anew as often as for an event stream.

    Args:
        context: The gateway's context.
        look: Evaluates the rights.
    """
    seconds = asyncio.get_running_loop().time
    checked_at = seconds()

    async def may_go_on() -> bool:
        nonlocal checked_at
        if seconds() - checked_at < context.rhythm.recheck:
            return True
        checked_at = seconds()
        return await look()

    return may_go_on
