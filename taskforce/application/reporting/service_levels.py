"""Reports of service levels: what a tenant calls, over a period, beside the deployment's objectives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from taskforce.core.domain.errors import Forbidden
from taskforce.core.domain.metering.periods import MINUTE, MinutePeriod, whole_minute
from taskforce.core.domain.metering.service_levels import (
    BURN_WINDOWS,
    Objective,
    ServiceKind,
    ServiceStatistics,
    objective_of,
)
from taskforce.core.interfaces.repositories.service_statistics import NamedStatistics
from taskforce.core.interfaces.store import Records, Store


@dataclass(frozen=True, slots=True)
class BurnRate:
    """The rate at which what an objective allows is used up: at 1 by the end of its period, at 2 by the half of it.

    Attributes:
        availability: By errors; None without an objective for them.
        latency: By slow requests; None without an objective for them.
    """

    availability: float | None
    latency: float | None


@dataclass(frozen=True, slots=True)
class ServiceLevel:
    """The service level of one endpoint, agent or model.

    Attributes:
        kind: What is called.
        name: Its name.
        statistics: The sums of the period.
        objective: The objective that covers it, if any.
        burn: The burn rates by window, of the time until now.
    """

    kind: ServiceKind
    name: str
    statistics: ServiceStatistics
    objective: Objective | None = None
    burn: Mapping[str, BurnRate] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServiceLevelReport:
    """A page of a tenant's service levels.

    Attributes:
        period: The period.
        requests: The sums of all HTTP requests of the period.
        levels: The service levels of the page, by kind and name.
    """

    period: MinutePeriod
    requests: ServiceStatistics
    levels: Sequence[ServiceLevel]


def watched_tenant(own: str, asked: str | None, platform_tenant: str) -> str:
    """Returns the tenant whose service levels are reported.

    Args:
        own: The caller's tenant.
        asked: The tenant that the caller asks for; None for their own.
        platform_tenant: The tenant whose people see all tenants.

    Raises:
        Forbidden: `permission_denied`.
    """
    if asked is None or asked == own:
        return own
    if own != platform_tenant:
        raise Forbidden("permission_denied", "Only the platform's own people see the service levels of other tenants.")
    return asked


async def report_service_levels(
    store: Store,
    tenant_id: str,
    period: MinutePeriod,
    objectives: Sequence[Objective],
    *,
    kinds: Sequence[ServiceKind],
    now: datetime,
    after: tuple[str, str] | None,
    most: int,
) -> ServiceLevelReport:
    """Reports a tenant's service levels, right across processes and restarts; what is newer than seconds is missing.

    Args:
        store: The tenants' data.
        tenant_id: The tenant.
        period: The period.
        objectives: The deployment's objectives.
        kinds: The kinds to report.
        now: The time, UTC, at which the windows of burn rates end.
        after: The kind and name of the last entry of the page before.
        most: The entries at most.
    """
    async with store.reading(tenant_id) as records:
        total = await records.service_statistics.total(ServiceKind.ENDPOINT, period.start, period.end)
        found = await records.service_statistics.sums(kinds, period.start, period.end, after=after, most=most)
        burnt = await _burnt(records, found, objectives, now)
    return ServiceLevelReport(period, total, [_level(one, objectives, burnt) for one in found])


_Windows = Mapping[str, Mapping[tuple[ServiceKind, str], ServiceStatistics]]


async def _burnt(
    records: Records, found: Sequence[NamedStatistics], objectives: Sequence[Objective], now: datetime
) -> _Windows:
    kinds = sorted({one.kind for one in found if objective_of(objectives, one.kind, one.name) is not None})
    if not kinds:
        return {}
    until = whole_minute(now) + MINUTE
    windows: dict[str, Mapping[tuple[ServiceKind, str], ServiceStatistics]] = {}
    for window, (length, _) in BURN_WINDOWS.items():
        sums = await records.service_statistics.sums(kinds, whole_minute(now - length), until)
        windows[window] = {(one.kind, one.name): one.statistics for one in sums}
    return windows


def _level(one: NamedStatistics, objectives: Sequence[Objective], burnt: _Windows) -> ServiceLevel:
    objective = objective_of(objectives, one.kind, one.name)
    if objective is None:
        return ServiceLevel(one.kind, one.name, one.statistics)
    sums = {window: by_name.get((one.kind, one.name), ServiceStatistics()) for window, by_name in burnt.items()}
    burn = {
        window: BurnRate(objective.availability_burn(statistics), objective.latency_burn(statistics))
        for window, statistics in sums.items()
    }
    return ServiceLevel(one.kind, one.name, one.statistics, objective, burn)
