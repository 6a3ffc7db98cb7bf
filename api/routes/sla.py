"""Route of service levels."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from api.auth.caller import Caller, Context
from api.auth.guard import Allowed
from api.schemas.sla import ServiceLevelsOut, service_levels_out
from api.web.pagination import Cursor, Limit, name_cursor, parse_name
from taskforce.application.reporting.service_levels import report_service_levels, watched_tenant
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.metering.periods import MinutePeriod
from taskforce.core.domain.metering.service_levels import ServiceKind
from taskforce.core.interfaces.identity import Permission

router = APIRouter(prefix="/admin/sla", tags=["service levels"])

Watcher = Annotated[Caller, Allowed(Permission.SYSTEM_METRICS)]
Window = Literal["5m", "1h", "6h", "24h", "3d", "7d", "30d"]
WINDOWS: dict[Window, timedelta] = {
    "5m": timedelta(minutes=5),
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(hours=24),
    "3d": timedelta(days=3),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}


@router.get("", name="read_service_levels")
async def read_service_levels(
    caller: Watcher,
    context: Context,
    window: Annotated[Window, Query(description="The time until now, unless `since` is given")] = "24h",
    since: Annotated[AwareDatetime | None, Query(description="From when on, with its zone")] = None,
    *,
    until: Annotated[AwareDatetime | None, Query(description="Until when; now, if left out")] = None,
    kind: Annotated[ServiceKind | None, Query(description="Of endpoints, agents or models alone")] = None,
    tenant_id: Annotated[
        str | None, Query(max_length=64, description="Another tenant, for the platform's own people")
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ServiceLevelsOut:
    """Returns requests, errors and durations by endpoint, agent and model, right across processes and restarts.

    What is newer than a few seconds may be missing. Burn rates are of the windows until now, whatever the period.
    """
    of_tenant = watched_tenant(caller.tenant_id, tenant_id, context.rules.platform_tenant)
    now = context.clock()
    kinds = tuple(ServiceKind) if kind is None else (kind,)
    report = await report_service_levels(
        context.database,
        of_tenant,
        _period(window, since, until, now),
        context.objectives,
        kinds=kinds,
        now=now,
        after=parse_name(cursor),
        most=limit + 1,
    )
    last = report.levels[limit - 1] if len(report.levels) > limit else None
    following = None if last is None else name_cursor(last.kind.value, last.name)
    return service_levels_out(of_tenant, report, limit, following)


def _period(window: Window, since: datetime | None, until: datetime | None, now: datetime) -> MinutePeriod:
    try:
        end = now if until is None else until.astimezone(UTC)
        return MinutePeriod.touched(end - WINDOWS[window] if since is None else since.astimezone(UTC), end)
    # The first and the last hours that `datetime` holds may be outside of it in UTC, and there is nothing before them.
    except OverflowError:
        raise Invalid("time_invalid", "There is no such time in UTC.") from None
