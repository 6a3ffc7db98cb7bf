"""Failed sign-ins, counted in the process and written to the audit log in batches.

They need no credential, so whoever makes many must cost little: neither a transaction each nor memory without bound.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog

from taskforce.core.domain.access.rate_limits import Rate
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.errors import Unavailable
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.store import Platform, Store

BETWEEN_WRITES = 1.0
MOST_GROUPS = 1_000
# Anybody could make the audit log grow without bound; beyond it, the next event has the number of those before it.
_EVENTS = Rate.per_minute(60)

_Key = tuple[str, ...]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Group:
    """Failed sign-ins that are alike, of which the first is kept whole."""

    tenant_id: str
    first: AuditEvent
    count: int = 1

    def event(self) -> AuditEvent:
        if self.count == 1:
            return self.first
        return replace(self.first, details={**(self.first.details or {}), "count": self.count})


class FailedSignInLog:
    """Collects failed sign-ins and writes them at most once a second; the first after a pause at once.

    Those that are alike within that time (tenant, user, reason, address, key) become one event with their number.

    Args:
        store: The tenants' data.
        platform: Registers the tenant whose log has those that concern no tenant.
        unclaimed: That tenant.
        clock: The time, UTC.
        seconds: The time between two writes.
    """

    def __init__(
        self, store: Store, platform: Platform, unclaimed: str, *, clock: Clock, seconds: float = BETWEEN_WRITES
    ) -> None:
        self._store = store
        self._platform = platform
        self._unclaimed = unclaimed
        self._clock = clock
        self._seconds = seconds
        self._groups: dict[_Key, _Group] = {}
        self._writer: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    @property
    def pending(self) -> int:
        """Returns the number of failed sign-ins that are not written yet."""
        return sum(group.count for group in self._groups.values())

    async def add(self, tenant_id: str | None, event: AuditEvent) -> None:
        """Adds a failed sign-in.

        Args:
            tenant_id: The tenant that it concerns; None where no accepted credential names one.
            event: Its audit event.
        """
        self._put(tenant_id or self._unclaimed, event)
        if self._writer is None or self._writer.done():
            # In the log when its caller is answered, as one would expect; those that follow closely are not.
            written = asyncio.get_running_loop().create_future()
            self._writer = asyncio.create_task(self._write_until_idle(written))
            await written

    async def flush(self) -> None:
        """Writes what is pending now, as far as the log takes it."""
        await self._write()

    async def aclose(self) -> None:
        """Writes what is pending: where it is more than the log takes, one event for each tenant."""
        self._closing.set()
        if self._writer is not None:
            await self._writer
        for tenant_id in {group.tenant_id for group in self._groups.values()}:
            self._merge(tenant_id)
        await self._write(bounded=False)
        if self._groups:
            _log.warning("audit.not_written", code="auth.failed", count=self.pending)

    def _put(self, tenant_id: str, event: AuditEvent) -> None:
        client = (event.details or {}).get("client")
        key = tuple(map(str, (tenant_id, event.actor_id, event.reason, client, event.key_id)))
        if key not in self._groups and len(self._groups) >= MOST_GROUPS:
            self._merge(tenant_id)
            key = (tenant_id,)
        self._add(key, _Group(tenant_id, event))

    def _add(self, key: _Key, group: _Group) -> None:
        known = self._groups.get(key)
        self._groups[key] = group if known is None else replace(known, count=known.count + group.count)

    def _merge(self, tenant_id: str) -> None:
        """Makes one group of all that a tenant has."""
        for key in [key for key, group in self._groups.items() if group.tenant_id == tenant_id and len(key) > 1]:
            self._add((tenant_id,), self._groups.pop(key))

    async def _write_until_idle(self, written: "asyncio.Future[None]") -> None:
        await self._write()
        if not written.done():
            written.set_result(None)
        while not self._closing.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._seconds)
            if self._closing.is_set() or not self._groups:
                return
            await self._write()

    async def _write(self, *, bounded: bool = True) -> None:
        groups, self._groups = self._groups, {}
        for tenant_id in dict.fromkeys(group.tenant_id for group in groups.values()):
            mine = {key: group for key, group in groups.items() if group.tenant_id == tenant_id}
            try:
                left = await self._append(tenant_id, mine, bounded=bounded)
            except Unavailable as gone:
                _log.warning("audit.postponed", code=gone.code, count=len(mine))
                left = mine
            except Exception:  # noqa: BLE001 - what can never be written, as of a tenant that is gone, holds up no other
                _log.exception("audit.not_written", tenant_id=tenant_id, count=len(mine))
                left = {}
            for key, group in left.items():
                self._add(key, group)

    async def _append(self, tenant_id: str, groups: Mapping[_Key, _Group], *, bounded: bool) -> Mapping[_Key, _Group]:
        """Appends a tenant's groups, as many as its rate allows; returns the others."""
        now, left = self._clock(), dict(groups)
        if tenant_id == self._unclaimed:
            await self._platform.register_tenant(tenant_id, now)
        async with self._store.tenant(tenant_id) as records:
            for key, group in groups.items():
                if bounded and not (await records.rates.take("failed-sign-ins", _EVENTS, now)).allowed:
                    break
                await records.audit.append(group.event())
                del left[key]
        return left
