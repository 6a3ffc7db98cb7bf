"""What waits, across all tenants, as the metrics show it."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Final

from taskforce.core.domain.runs.kill_switches import SwitchScope
from taskforce.core.interfaces.backlog import Backlog, Waiting
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.due_rows import DueKind
from taskforce.core.interfaces.metrics import FactObserver, RequestsPending, RowsLate, SwitchesPulled
from taskforce.core.interfaces.store import Platform

MOST_SWITCHES: Final = 1_000


class BacklogWatch:
    """Tells an observer of late rows, of requests that wait for people, of budgets, and of pulled kill switches.

    Args:
        backlog: Looks at what waits.
        platform: Lists the kill switches.
        observer: Who is told.
        clock: The time, UTC.
        late: The time for which a row must have been due to be late.
    """

    def __init__(
        self, backlog: Backlog, platform: Platform, observer: FactObserver, *, clock: Clock, late: timedelta
    ) -> None:
        self._backlog = backlog
        self._platform = platform
        self._observer = observer
        self._clock = clock
        self._late = late
        self._told: frozenset[str] = frozenset()

    async def look(self) -> None:
        """Looks once."""
        now = self._clock()
        for kind in DueKind:
            late = await self._backlog.late_rows(kind, now - self._late)
            self._observer.observed("", [RowsLate(kind.value, late.number, _age(late, now))])
        pending = await self._backlog.pending_requests()
        # Of those that have none any more, once that there is none.
        for tenant_id in sorted(self._told | pending.keys()):
            waiting = pending.get(tenant_id) or Waiting(0, None)
            self._observer.observed(tenant_id, [RequestsPending(waiting.number, _age(waiting, now))])
        self._told = frozenset(pending)
        for tenant_id, used in await self._backlog.budgets_used(now):
            self._observer.observed(tenant_id, [used])
        pulled = Counter(one.switch.scope for one in await self._platform.kill_switches(None, MOST_SWITCHES))
        self._observer.observed("", [SwitchesPulled(scope.value, pulled[scope]) for scope in SwitchScope])


def _age(waiting: Waiting, now: datetime) -> float:
    return 0.0 if waiting.since is None else max((now - waiting.since).total_seconds(), 0.0)
