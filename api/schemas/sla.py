"""Schemas of service levels."""

from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel

from taskforce.application.reporting.service_levels import BurnRate, ServiceLevel, ServiceLevelReport
from taskforce.core.domain.metering.service_levels import BURN_WINDOWS, Objective, ServiceStatistics


class LatenciesOut(BaseModel):
    """Requests, errors and durations.

    Attributes:
        total_requests: The requests.
        total_errors: How many of them failed: HTTP answers from 500 on, failed runs, model calls without a reply.
        error_rate_percent: Their percentage.
        latency_mean_seconds: The mean duration.
        latency_p50_seconds, latency_p95_seconds, latency_p99_seconds: Percentiles of the durations.
    """

    total_requests: int
    total_errors: int
    error_rate_percent: float
    latency_mean_seconds: float
    latency_p50_seconds: float
    latency_p95_seconds: float
    latency_p99_seconds: float


class BurnOut(BaseModel):
    """The rate at which an objective's allowance is used up over a window.

    Attributes:
        availability: By errors; null without an objective for them.
        latency: By slow requests; null without an objective for them.
        alarm: The rate from which on it should alarm somebody.
        alarming: Whether one of the rates has reached it.
    """

    availability: float | None
    latency: float | None
    alarm: float
    alarming: bool


class ObjectiveOut(BaseModel):
    """An objective of service.

    Attributes:
        availability_percent: The percentage of requests that are to succeed; null without such an objective.
        latency_seconds: The duration within which requests are to be done; null without such an objective.
        latency_percent: The percentage of requests that are to be done within it.
    """

    availability_percent: float | None
    latency_seconds: float | None
    latency_percent: float | None


class ServiceLevelOut(LatenciesOut):
    """The service level of one endpoint, agent or model.

    Attributes:
        kind: `endpoint`, `agent` or `model`.
        name: The template of the route, the agent's id or the model's name.
        objective: The objective that covers it; null without one.
        burn: Burn rates by window, of the time until now: `1h`, `6h`, `3d`; empty without an objective.
    """

    kind: str
    name: str
    objective: ObjectiveOut | None
    burn: Mapping[str, BurnOut]


class ServiceLevelsOut(LatenciesOut):
    """A page of the service levels of a tenant, with the sums of all its HTTP requests.

    Attributes:
        tenant_id: The tenant.
        since: The beginning of the period, UTC.
        until: Its end, UTC.
        items: The service levels, by kind and name.
        next_cursor: The cursor of the next page; null when there is none.
    """

    tenant_id: str
    since: datetime
    until: datetime
    items: list[ServiceLevelOut]
    next_cursor: str | None


def service_levels_out(tenant_id: str, report: ServiceLevelReport, limit: int, cursor: str | None) -> ServiceLevelsOut:
    """Renders a page of service levels.

    Args:
        tenant_id: The tenant.
        report: The report, which may have more entries than a page.
        limit: The entries of a page.
        cursor: The cursor of the next page; None when there is none.
    """
    return ServiceLevelsOut(
        tenant_id=tenant_id,
        since=report.period.start,
        until=report.period.end,
        items=[_level_out(one) for one in report.levels[:limit]],
        next_cursor=cursor,
        **_latencies(report.requests),
    )


def _level_out(one: ServiceLevel) -> ServiceLevelOut:
    return ServiceLevelOut(
        kind=one.kind.value,
        name=one.name,
        objective=None if one.objective is None else _objective_out(one.objective),
        burn={window: _burn_out(window, rates) for window, rates in one.burn.items()},
        **_latencies(one.statistics),
    )


def _latencies(sums: ServiceStatistics) -> dict[str, float]:
    return {
        "total_requests": sums.requests,
        "total_errors": sums.errors,
        "error_rate_percent": 100 * sums.error_rate,
        "latency_mean_seconds": sums.seconds / sums.requests if sums.requests else 0.0,
        **{f"latency_p{percent}_seconds": sums.quantile(percent / 100) for percent in (50, 95, 99)},
    }


def _objective_out(one: Objective) -> ObjectiveOut:
    return ObjectiveOut(
        availability_percent=None if one.availability is None else round(100 * one.availability, 6),
        latency_seconds=one.latency_seconds,
        latency_percent=None if one.latency_seconds is None else round(100 * one.latency_share, 6),
    )


def _burn_out(window: str, rates: BurnRate) -> BurnOut:
    alarm = BURN_WINDOWS[window][1]
    alarming = any(rate is not None and rate >= alarm for rate in (rates.availability, rates.latency))
    return BurnOut(availability=rates.availability, latency=rates.latency, alarm=alarm, alarming=alarming)
