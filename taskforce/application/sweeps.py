"""Sweeps over all tenants, and over rows whose workflow a crash has left unstarted."""

from collections.abc import AsyncIterator, Awaitable, Sequence
from datetime import datetime
from typing import Protocol

from taskforce.core.domain.errors import DomainError
from taskforce.core.domain.tenants.tenant import Tenant, TenantStatus
from taskforce.core.interfaces.store import Tenants

TENANTS = 200


async def iter_tenants(platform: Tenants, now: datetime) -> AsyncIterator[Tenant]:
    """Yields all tenants by id, disabled ones too, but not those whose rows are being erased.

    Args:
        platform: The list of all tenants.
        now: The time, UTC.
    """
    after: str | None = None
    while page := await platform.tenants(after, TENANTS):
        for tenant in page:
            if is_swept(tenant, now):
                yield tenant
        after = page[-1].tenant_id


def is_swept(tenant: Tenant, now: datetime) -> bool:
    """Tells whether sweeps visit the tenant: also when it is disabled, but not while its rows are being erased."""
    # A deletion has sealed the audit log to its last anchor, which its report keeps: no sweep may change it.
    return tenant.status is not TenantStatus.DELETING or tenant.is_drained(now)


UNSTARTED_BATCH = 200


class Start(Protocol):
    """Starts the workflow of a committed row; a second start changes nothing."""

    def __call__(self, tenant_id: str, thing_id: str, /) -> Awaitable[bool]:
        """Starts the workflow; returns False where it was started before."""
        ...


class ListOrphans(Protocol):
    """Lists rows that were committed before a time and whose workflow has not begun, by id."""

    def __call__(self, before: datetime, most: int, after: str | None, /) -> Awaitable[Sequence[tuple[str, str]]]:
        """Returns a page of tenant ids and row ids, after a row id."""
        ...


class OrphanSweep:
    """Starts the workflows that a crash between commit and start has left unstarted.

    A row whose workflow waits for a worker looks the same as one without a workflow. So each sweep continues where the
    last one ended, and many waiting workflows do not keep an unstarted one from being reached.

    Args:
        unstarted: Lists the rows.
        start: Starts the workflow of one.
    """

    def __init__(self, unstarted: ListOrphans, start: Start) -> None:
        self._unstarted = unstarted
        self._start = start
        self._after: str | None = None

    async def sweep(self, before: datetime, most: int = UNSTARTED_BATCH) -> int:
        """Starts the next page of those that were committed before a time; returns the number of started workflows.

        Raises:
            DomainError: As `sweep`.
        """
        late = await self._unstarted(before, most, self._after)
        self._after = late[-1][1] if len(late) == most else None
        return await sweep(late, self._start)


async def sweep(late: Sequence[tuple[str, str]], start: Start) -> int:
    """Starts workflows that should have been started by now.

    Args:
        late: The tenant's and the row's id of each.
        start: Starts the workflow of one.

    Returns:
        The number of started workflows.

    Raises:
        DomainError: The last error of a start; the other workflows are started all the same.
    """
    started, refused = 0, None
    for tenant_id, thing_id in late:
        try:
            started += await start(tenant_id, thing_id)
        except DomainError as error:
            # Raised at the end: one that cannot be started must not keep the others waiting.
            refused = error
    if refused is not None:
        raise refused
    return started
