"""Health of what the gateway depends on, checked at most once a second however many ask."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from api.schemas.health import PartOut, ReadyOut
from taskforce.core.domain.errors import DomainError

# Less than probes wait: a part that hangs is told as such, and not as a gateway that does not answer.
CHECK_SECONDS = 2.0
FRESH_SECONDS = 1.0


class HealthCheck:
    """Checks the parts that the gateway depends on.

    Everybody may ask, without a credential: callers share a check that is under way, and its result for a second.

    Args:
        ping: Asks the database.
        pollers: Asks Temporal how many workers poll the task queue.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        ping: Callable[[], Awaitable[None]],
        pollers: Callable[[], Awaitable[int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ping = ping
        self._pollers = pollers
        self._clock = clock
        self._check: asyncio.Task[ReadyOut] | None = None
        self._stale_at = 0.0

    async def check(self) -> ReadyOut:
        """Returns the health of every part, at most a second old."""
        check = self._check
        if check is None or (check.done() and self._clock() >= self._stale_at):
            check = self._check = asyncio.create_task(self._ask())
        # Shielded: a caller who is cancelled must not take the result from the others.
        return await asyncio.shield(check)

    async def _ask(self) -> ReadyOut:
        database, (temporal, worker) = await asyncio.gather(_asked(self._ping), self._workflows())
        found = {"database": database, "temporal": temporal, "worker": worker}
        self._stale_at = self._clock() + FRESH_SECONDS
        return ReadyOut(status="ready" if all(part.ok for part in found.values()) else "not_ready", parts=found)

    async def _workflows(self) -> tuple[PartOut, PartOut]:
        polling = 0

        async def count() -> None:
            nonlocal polling
            polling = await self._pollers()

        temporal = await _asked(count)
        if not temporal.ok:
            # Temporal alone knows who polls.
            return temporal, PartOut(ok=False, detail="unknown while Temporal does not answer")
        if polling == 0:
            return temporal, PartOut(ok=False, detail="no worker polls the task queue")
        return temporal, PartOut(ok=True)


async def _asked(question: Callable[[], Awaitable[None]]) -> PartOut:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await question()
    except TimeoutError:
        return PartOut(ok=False, detail=f"no answer within {CHECK_SECONDS:g} s")
    except DomainError as error:
        return PartOut(ok=False, detail=error.code)
    return PartOut(ok=True)
