"""Metrics and service levels over HTTP: who sees which, and what requests count as."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from uuid import uuid4

import httpx
import pytest

from api.composition import GatewayContext
from taskforce.application.reporting.service_statistics import StatisticsLog
from taskforce.core.domain.metering.service_levels import Objective, ServiceKind
from taskforce.core.interfaces.clock import utc_now
from taskforce.core.interfaces.metrics import Observers
from taskforce.infrastructure.metrics.process_metrics import ProcessMetrics
from taskforce.infrastructure.persistence.database import Database
from tests.api.gateway import ClientFor, Gateway, assert_problem, execute, serving
from tests.fixtures.expositions import Samples, samples
from tests.fixtures.stack import DatabaseUrls

LOOPBACK = ("127.0.0.0/8",)
GOAL = Objective(ServiceKind.ENDPOINT, "/api/v1/*", availability=0.999, latency_seconds=30)
SLA = "/api/v1/admin/sla"
REQUESTS = "taskforce_http_requests_total"


@dataclass(frozen=True, slots=True)
class Counting:
    """A gateway that counts."""

    gateway: Gateway
    statistics: StatisticsLog


@pytest.fixture
async def counting(gateway_parts: GatewayContext, postgres: DatabaseUrls) -> AsyncIterator[Counting]:
    metrics, statistics = ProcessMetrics(), StatisticsLog(utc_now)
    observer = Observers(metrics.product, statistics)
    database = Database(postgres.app, observer=observer)
    parts = replace(
        gateway_parts,
        database=database,
        closing=asyncio.Event(),
        observer=observer,
        metrics=metrics,
        objectives=[GOAL],
    )
    async with serving(parts) as running:
        yield Counting(running, statistics)
    await database.close()


@pytest.fixture
async def clients(counting: Counting) -> AsyncIterator[ClientFor]:
    async with counting.gateway.clients() as make:
        yield make


def requests(found: Samples, **labels: str) -> float:
    return sum(
        value for (name, its), value in found.items() if name == REQUESTS and labels.items() <= dict(its).items()
    )


async def scraped(client: httpx.AsyncClient) -> Samples:
    answer = await client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return samples(answer.text)


async def test_requests_count_by_the_template_of_their_route(
    counting: Counting, clients: ClientFor, tenant: str
) -> None:
    operator, platform = clients(tenant, "olga", ["operator"]), clients("platform", "pia", ["admin"])
    await execute(operator)
    for _ in range(3):
        await operator.get(f"/api/v1/runs/{uuid4()}")
    # A body of a caller without a credential is not read, and the request does not come to its route.
    async with httpx.AsyncClient(base_url=operator.base_url, timeout=60) as nobody:
        assert (await nobody.post("/api/v1/agents/execute", json={"mission": "x"})).status_code == 401
        assert (await nobody.get("/api/v1/me", headers={"authorization": "Bearer x"})).status_code == 401
    await counting.gateway.parts.failed_sign_ins.aclose()
    found = await scraped(platform)
    assert requests(found, endpoint="/api/v1/agents/execute", status="202", method="POST", tenant_id=tenant) == 1
    assert requests(found, endpoint="/api/v1/runs/{run_id}", status="404", tenant_id=tenant) == 3
    assert requests(found, endpoint="/api/v1/agents/execute", status="401") == 1
    assert sum(value for (name, _), value in found.items() if name == "taskforce_sign_in_failures_total") == 1
    assert ("process_resident_memory_bytes", ()) in found


async def test_any_number_of_unknown_paths_is_one_endpoint(clients: ClientFor, tenant: str) -> None:
    operator, platform = clients(tenant, "olga", ["operator"]), clients("platform", "pia", ["admin"])
    before = len((await platform.get("/metrics")).text)
    for batch in range(10):
        paths = (f"/no/{batch}/{number}?x={number}" for number in range(20))
        await asyncio.gather(*(operator.get(path) for path in paths))
    text = (await platform.get("/metrics")).text
    assert requests(samples(text), endpoint="unmatched") == 200
    assert "/no/" not in text
    assert len(text) < before + 10_000


async def test_only_the_platforms_people_and_networks_that_may_scrape_see_all_tenants(
    counting: Counting, clients: ClientFor, tenant: str
) -> None:
    other = f"{tenant}-other"
    admin, viewer = clients(tenant, "ada", ["admin"]), clients(tenant, "vera", ["viewer"])
    await clients(other, "otto", ["admin"]).get("/api/v1/me")
    await admin.get("/api/v1/me")
    assert_problem(await viewer.get("/metrics"), 403, "permission_denied")
    own = await scraped(admin)
    assert requests(own, tenant_id=tenant, endpoint="/api/v1/me") == 1
    assert {dict(labels).get("tenant_id") for _, labels in own} == {tenant}
    async with httpx.AsyncClient(base_url=counting.gateway.url, timeout=60) as scraper:
        assert_problem(await scraper.get("/metrics"), 401, "token_missing")
        parts = replace(counting.gateway.parts, metrics_networks=LOOPBACK)
        counting.gateway.app.state.context = parts
        found = await scraped(scraper)
        assert requests(found, tenant_id=other) == 1
        # A credential counts also from there.
        assert (await viewer.get("/metrics")).status_code == 403
        counting.gateway.app.state.context = replace(parts, metrics=None)
        assert_problem(await scraper.get("/metrics"), 404, "metrics_disabled")
    await parts.failed_sign_ins.aclose()


async def test_service_levels_are_the_tenants_own(counting: Counting, clients: ClientFor, tenant: str) -> None:
    admin, platform = clients(tenant, "ada", ["admin"]), clients("platform", "pia", ["admin"])
    for _ in range(4):
        await admin.get("/api/v1/me")
    await admin.get(f"/api/v1/runs/{uuid4()}")
    await counting.statistics.flush(counting.gateway.parts.database)
    told = (await admin.get(SLA, params={"window": "1h", "kind": "endpoint"})).json()
    assert (told["tenant_id"], told["total_requests"], told["total_errors"]) == (tenant, 5, 0)
    me, runs = told["items"]
    assert (me["name"], me["total_requests"], me["error_rate_percent"]) == ("/api/v1/me", 4, 0)
    assert 0 < me["latency_p50_seconds"] <= me["latency_p95_seconds"] <= me["latency_p99_seconds"] < 60
    assert me["objective"] == {"availability_percent": 99.9, "latency_seconds": 30, "latency_percent": 95}
    assert me["burn"]["1h"] == {"availability": 0, "latency": 0, "alarm": 14.4, "alarming": False}
    assert runs["name"] == "/api/v1/runs/{run_id}"
    page = (await admin.get(SLA, params={"limit": 1})).json()
    following = (await admin.get(SLA, params={"limit": 1, "cursor": page["next_cursor"]})).json()
    assert [one["name"] for one in (*page["items"], *following["items"])] == [me["name"], runs["name"]]
    # Asked by whoever runs the platform, of any tenant; by nobody else.
    asked = (await platform.get(SLA, params={"tenant_id": tenant, "window": "1h"})).json()
    assert asked["total_requests"] >= 5
    assert_problem(await admin.get(SLA, params={"tenant_id": "platform"}), 403, "permission_denied")
    assert_problem(await clients(tenant, "olga", ["operator"]).get(SLA), 403, "permission_denied")


async def test_impossible_periods_and_cursors_are_refused(clients: ClientFor, tenant: str) -> None:
    admin = clients(tenant, "ada", ["admin"])
    backwards = {"since": "2026-02-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}
    assert_problem(await admin.get(SLA, params=backwards), 422, "period_invalid")
    assert_problem(await admin.get(SLA, params={"since": "0001-01-01T00:00:00+14:00"}), 422, "time_invalid")
    assert_problem(await admin.get(SLA, params={"until": "0001-01-01T00:00:00Z"}), 422, "time_invalid")
    last = {"since": "9999-12-31T00:00:00Z", "until": "9999-12-31T23:59:30Z"}
    assert_problem(await admin.get(SLA, params=last), 422, "period_invalid")
    assert_problem(await admin.get(SLA, params={"cursor": "bmFtZXx4"}), 422, "cursor_invalid")
    for odd in ({"window": "2y"}, {"kind": "tool"}, {"since": "yesterday"}):
        assert (await admin.get(SLA, params=odd)).status_code == 422
    early = {"since": "0001-01-01T00:00:00Z", "until": "0001-01-01T00:10:00Z"}
    assert_problem(await admin.get(SLA, params=early), 422, "period_invalid")
