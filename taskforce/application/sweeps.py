"""Going through all tenants, page by page."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.errors import DomainError
from taskforce.core.domain.tenants.tenant import Tenant, TenantStatus
from taskforce.core.interfaces.store import Tenants

TENANTS = 200


async def iter_tenants(platform: Tenants, now: datetime) -> AsyncIterator[Tenant]:
    """Tenants by their ids, those that are switched off too, but not those whose rows are being erased.

    Args:
        platform: The door that sees them.
        now: The time.
    """
    after: str | None = None
    while page := await platform.tenants(after, TENANTS):
        for tenant in page:
            # Whoever deletes a tenant seals its log, and must find it as it was when it goes.
            if tenant.status is not TenantStatus.DELETING or tenant.is_drained(now):
                yield tenant
        after = page[-1].tenant_id


UNSTARTED_BATCH = 200


class Start(Protocol):
    """Starts the workflow of something that is committed; starting it again is harmless."""

    def __call__(self, tenant_id: str, thing_id: str, /) -> Awaitable[bool]:
        """Starts it by its ids; False when it was started before."""
        ...


class ListOrphans(Protocol):
    """Sees what was committed before a time and has not begun, in the order of its ids."""

    def __call__(self, before: datetime, most: int, after: str | None, /) -> Awaitable[Sequence[tuple[str, str]]]:
        """A page of (tenant, id), after an id."""
        ...


class OrphanSweep:
    """Starts what a crash between commit and start has left behind.

    What has a workflow, and waits for a worker to begin it, looks the same: each sweep goes on where the last one
    ended, so that many of these do not keep one of those waiting.

    Args:
        unstarted: Sees it.
        start: Starts one.
    """

    def __init__(self, unstarted: ListOrphans, start: Start) -> None:
        self._unstarted = unstarted
        self._start = start
        self._after: str | None = None

    async def sweep(self, before: datetime, most: int = UNSTARTED_BATCH) -> int:
        """Looks at the next of those that were committed before a time; returns how many were started.

        Raises:
            DomainError: As `sweep`.
        """
        late = await self._unstarted(before, most, self._after)
        self._after = late[-1][1] if len(late) == most else None
        return await sweep(late, self._start)


async def sweep(late: Sequence[tuple[str, str]], start: Start) -> int:
    """Starts what a crash between commit and start has left behind.

    Args:
        late: Tenant and id of what should have been started by now.
        start: Starts one.

    Returns:
        How many were started.

    Raises:
        DomainError: What kept the last of those that could not be started; the others are started all the same.
    """
    started, refused = 0, None
    for tenant_id, thing_id in late:
        try:
            started += await start(tenant_id, thing_id)
        except DomainError as error:
            # One that cannot be started must not keep the others waiting.
            refused = error
    if refused is not None:
        raise refused
    return started


async def repeat(
    every_seconds: float, work: Callable[[], Awaitable[object]], failed: Callable[[Exception], None]
) -> None:
    """Does something again and again, until it is cancelled; a failure is reported and does not end it."""
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - a sweeper outlives whatever befalls one sweep
            failed(error)
        await asyncio.sleep(every_seconds)
