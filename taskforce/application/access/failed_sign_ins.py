"""Failed sign-ins, counted in the process and written to the audit log in batches.

They need no credential, so whoever makes many must cost little: neither a transaction each nor memory without bound.
"""

import asyncio
from collections import Counter
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
"""Groups that are kept in memory, besides the one of all that finds no room among them."""
# Anybody could make the audit log grow without bound; beyond it, the next event has the number of those before it.
_EVENTS = Rate.per_minute(60)

_Key = tuple[str, ...]
_OTHERS: _Key = ()

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

    Those that are alike within that time (tenant, user, reason, address, key) become one event with their number. Where
    they are of too many kinds, those of the tenant with most kinds become one; and what finds no room even so, of
    whichever tenants, becomes one event in the log of those that concern no tenant, with `others` and their number.

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
        group = _Group(tenant_id or self._unclaimed, event)
        client = (event.details or {}).get("client")
        self._add(tuple(map(str, (group.tenant_id, event.actor_id, event.reason, client, event.key_id))), group)
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

    def _add(self, key: _Key, group: _Group) -> None:
        kinds = len(self._groups) - (_OTHERS in self._groups)
        if key != _OTHERS and key not in self._groups and kinds >= MOST_GROUPS:
            key, group = self._with_room(key, group)
        known = self._groups.get(key)
        self._groups[key] = group if known is None else replace(known, count=known.count + group.count)

    def _with_room(self, key: _Key, group: _Group) -> tuple[_Key, _Group]:
        """Makes room for a group of which there is none yet; returns it as it can be kept."""
        kinds = Counter(one.tenant_id for other, one in self._groups.items() if other != _OTHERS)
        (most, number), *_ = kinds.most_common(1)
        if number > 1:
            self._merge(most)
            return key, group
        if group.tenant_id in kinds:
            self._merge(group.tenant_id)
            return (group.tenant_id,), group
        return _OTHERS, self._other(group)

    def _other(self, group: _Group) -> _Group:
        """Builds what is told of a group in another tenant's log: its number, and nothing of who it was."""
        first = replace(
            group.first,
            actor_id="anonymous",
            resource_id="*",
            reason=None,
            request_id=None,
            key_id=None,
            details={"others": True},
        )
        return _Group(self._unclaimed, first, group.count)

    def _merge(self, tenant_id: str) -> None:
        """Makes one group of all that a tenant has."""
        mine = {key: group for key, group in self._groups.items() if group.tenant_id == tenant_id and key != _OTHERS}
        for key in mine:
            del self._groups[key]
        for group in mine.values():
            self._add((tenant_id,), group)

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
