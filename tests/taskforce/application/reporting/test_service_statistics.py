"""Service statistics: counted in minutes by each process, right across processes and restarts."""

from datetime import UTC, datetime, timedelta

import pytest

from taskforce.application.reporting.service_levels import report_service_levels
from taskforce.application.reporting.service_statistics import StatisticsLog, drop_old_statistics, storing
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.metering.periods import MinutePeriod
from taskforce.core.domain.metering.service_levels import Objective, ServiceKind, ServiceStatistics
from taskforce.core.interfaces.metrics import ModelCalled, RequestAnswered, RunEnded
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.stack import DatabaseUrls

NOW = datetime(2026, 3, 4, 12, 30, 20, tzinfo=UTC)
EXECUTE = "/api/v1/agents/execute"
GOAL = Objective(ServiceKind.ENDPOINT, "/api/*", availability=0.99, latency_seconds=1.0, latency_share=0.9)


class Hand:
    """A clock that stands until it is moved."""

    def __init__(self, at: datetime = NOW) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


def answered(seconds: float, status: int = 200, endpoint: str = EXECUTE) -> RequestAnswered:
    return RequestAnswered(endpoint, "POST", status, seconds)


async def sums(database: Database, tenant: str, since: datetime, until: datetime) -> dict[str, ServiceStatistics]:
    async with database.reading(tenant) as records:
        found = await records.service_statistics.sums(tuple(ServiceKind), since, until)
    return {f"{one.kind} {one.name}": one.statistics for one in found}


async def test_what_several_processes_count_adds_up_and_nothing_counts_twice(database: Database, tenant: str) -> None:
    await database.register_tenant(tenant, NOW)
    clock = Hand()
    first, second = StatisticsLog(clock), StatisticsLog(clock)
    first.observed(tenant, [answered(0.2), answered(0.2, 503)])
    second.observed(tenant, [answered(1.2), answered(3.0, 404), RunEnded("helper", "failed", 70.0, 3, 100)])
    second.observed(tenant, [ModelCalled("gpt-4o", 2.0), ModelCalled("gpt-4o", 2.0, failed="model_unavailable")])
    for log in (first, second):
        await log.flush(database)
        await log.flush(database)
    first.observed(tenant, [answered(0.2)])
    clock.at += timedelta(minutes=1)
    # A process that is started anew goes on where it may.
    third = StatisticsLog(clock)
    third.observed(tenant, [answered(0.2)])
    for log in (third, first, first):
        await log.flush(database)
    found = await sums(database, tenant, NOW - timedelta(minutes=1), NOW + timedelta(minutes=5))
    assert set(found) == {f"endpoint {EXECUTE}", "agent helper", "model gpt-4o"}
    requests = found[f"endpoint {EXECUTE}"]
    assert (requests.requests, requests.errors, requests.longest) == (6, 1, 3.0)
    assert requests.seconds == pytest.approx(5.0)
    assert sum(requests.counts) == 6
    assert (found["agent helper"].requests, found["agent helper"].errors) == (1, 1)
    assert (found["model gpt-4o"].requests, found["model gpt-4o"].errors) == (2, 1)
    # The first minute alone, and of no other tenant.
    whole = NOW.replace(second=0)
    assert (await sums(database, tenant, whole, whole + timedelta(minutes=1)))[f"endpoint {EXECUTE}"].requests == 5
    assert await sums(database, f"{tenant}-other", NOW - timedelta(days=1), NOW + timedelta(days=1)) == {}


async def test_what_cannot_be_stored_is_stored_later_and_a_deleted_tenant_forgotten(
    postgres: DatabaseUrls, database: Database, tenant: str
) -> None:
    await database.register_tenant(tenant, NOW)
    clock = Hand()
    log = StatisticsLog(clock)
    log.observed(tenant, [answered(0.2)])
    log.observed("", [answered(0.2)])
    closed = Database(postgres.app)
    await closed.close()
    await log.flush(closed)
    # Who has no row in the table of tenants is deleted, or never was.
    log.observed("nobody-of-ours", [answered(0.2)])
    clock.at += timedelta(minutes=10)
    await log.flush(database)
    assert (await sums(database, tenant, NOW - timedelta(minutes=1), clock()))[f"endpoint {EXECUTE}"].requests == 1
    async with storing(log, database, seconds=3_600):
        log.observed(tenant, [answered(0.2)])
    assert f"endpoint {EXECUTE}" in await sums(database, tenant, clock() - timedelta(minutes=1), clock())


async def test_a_report_has_percentiles_and_burn_rates_of_the_time_until_now(database: Database, tenant: str) -> None:
    await database.register_tenant(tenant, NOW)
    clock = Hand(NOW - timedelta(hours=2))
    log = StatisticsLog(clock)
    log.observed(tenant, [answered(0.1)] * 90 + [answered(4.0, 500)] * 10)
    clock.at = NOW
    log.observed(tenant, [answered(0.1)] * 94 + [answered(4.0)] * 5 + [answered(0.1, 500), answered(9, 200, "/ready")])
    await log.flush(database)
    period = MinutePeriod.touched(NOW - timedelta(hours=24), NOW)
    report = await report_service_levels(
        database, tenant, period, [GOAL], kinds=[ServiceKind.ENDPOINT], now=NOW, after=None, most=10
    )
    assert report.requests.requests == 201
    execute, ready = report.levels
    assert (execute.name, execute.statistics.requests, execute.statistics.errors) == (EXECUTE, 200, 11)
    assert execute.statistics.quantile(0.5) == pytest.approx(0.1, rel=0.3)
    assert execute.statistics.quantile(0.99) == pytest.approx(4.0, rel=0.3)
    assert (ready.objective, ready.burn) == (None, {})
    # 1 of 100 failed in the last hour where 1 in 100 may; 11 of 200 in six.
    burn = execute.burn
    assert burn["1h"].availability == pytest.approx(1.0)
    assert burn["6h"].availability == pytest.approx(5.5)
    assert burn["3d"] == burn["6h"]
    assert burn["1h"].latency == pytest.approx(0.5)
    page = await report_service_levels(
        database, tenant, period, [GOAL], kinds=tuple(ServiceKind), now=NOW, after=("endpoint", EXECUTE), most=1
    )
    assert [one.name for one in page.levels] == ["/ready"]


def test_a_period_ends_after_it_begins_and_is_of_whole_minutes() -> None:
    period = MinutePeriod.touched(NOW, NOW + timedelta(seconds=50))
    assert (period.start.second, period.end) == (0, NOW.replace(second=0) + timedelta(minutes=2))
    for since, until in ((NOW, NOW), (NOW, NOW - timedelta(days=1)), (NOW - timedelta(days=500), NOW)):
        with pytest.raises(Invalid, match="period"):
            MinutePeriod.touched(since, until)


async def test_old_minutes_are_dropped(database: Database, tenant: str) -> None:
    await database.register_tenant(tenant, NOW)
    clock = Hand(datetime.now(UTC) - timedelta(days=36))
    log = StatisticsLog(clock)
    log.observed(tenant, [answered(0.2)])
    clock.at += timedelta(days=36)
    log.observed(tenant, [answered(0.2)])
    await log.flush(database)
    assert await drop_old_statistics(database, database, 35, clock()) >= 1
    found = await sums(database, tenant, clock() - timedelta(days=99), clock() + timedelta(minutes=1))
    assert found[f"endpoint {EXECUTE}"].requests == 1
