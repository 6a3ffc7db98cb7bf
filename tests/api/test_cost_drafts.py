"""Drafts of cost reports: periods, what is counted when they are issued, and requests that are repeated."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from threading import current_thread
from typing import Any

import httpx
import pytest

from taskforce.application.reporting.aggregation import UsageSelection
from taskforce.application.reporting.cost_reports import CostReporting
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.metering.cost_reports import CostReport
from taskforce.core.domain.metering.periods import counted_until
from taskforce.core.domain.metering.service_levels import ServiceKind, ServiceStatistics
from taskforce.core.interfaces.repositories.service_statistics import MinuteStatistics
from tests.api.gateway import ClientFor, Gateway, assert_problem
from tests.fixtures.actors import acting
from tests.fixtures.usage import rolled_up, used

REPORT, REPORTS = "/api/v1/admin/costs/report", "/api/v1/admin/costs/reports"
MONTH = {"start": "2026-10-01", "end": "2026-10-31"}


@pytest.fixture
async def admin(client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    client = client_for(tenant, "ada", ["admin"])
    assert (await client.get("/api/v1/me")).status_code == 200
    return client


async def draft(admin: httpx.AsyncClient, **changes: str) -> dict[str, Any]:
    answer = await admin.post(REPORT, json={**MONTH, **changes})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def sums(report: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    return {one["currency"]: (one["cost"], one["total"]) for one in report["totals"]}


async def test_a_request_that_is_repeated_under_its_key_makes_one_draft_and_one_discount(
    admin: httpx.AsyncClient, tenant: str
) -> None:
    key = {"idempotency-key": "first"}
    body = {**MONTH, "group_by": ["department"]}
    made, again = [await admin.post(REPORT, json=body, headers=key) for _ in range(2)]
    assert (made.status_code, again.status_code, again.headers["idempotency-replayed"]) == (201, 201, "true")
    assert made.json()["report_id"] == again.json()["report_id"]
    assert_problem(await admin.post(REPORT, json=MONTH, headers=key), 422, "idempotency_key_reused")
    path = f"{REPORTS}/{made.json()['report_id']}"
    discount = {"amount": "-0.5", "currency": "EUR", "reason": "Volume discount"}
    twice = await asyncio.gather(*(admin.post(f"{path}/adjustments", json=discount, headers=key) for _ in range(2)))
    assert [one.status_code for one in twice] == [201, 201]
    assert (await admin.post(f"{path}/issue")).status_code == 200
    # Repeated after it was issued, it is still the same request, and no other one.
    late = await admin.post(f"{path}/adjustments", json=discount, headers=key)
    assert (late.status_code, late.json()["status"], len(late.json()["adjustments"])) == (201, "issued", 1)
    other = {**discount, "amount": "-5"}
    assert_problem(await admin.post(f"{path}/adjustments", json=other, headers=key), 422, "idempotency_key_reused")


async def test_a_month_is_that_of_the_time_zone_across_a_change_of_clocks(
    gateway: Gateway, admin: httpx.AsyncClient, tenant: str
) -> None:
    # In Berlin October begins two hours before that of UTC, and November one hour before.
    for at, cost in (
        ("2026-09-30T21:59:59Z", 1),
        ("2026-09-30T22:00:00Z", 10),
        ("2026-10-25T01:30:00Z", 100),
        ("2026-10-31T22:59:59Z", 1_000),
        ("2026-10-31T23:00:00Z", 10_000),
    ):
        await used(gateway.parts.database, tenant, datetime.fromisoformat(at), cost=Decimal(cost))
    await rolled_up(gateway.parts.database, tenant, 2)
    report = await draft(admin, time_zone="Europe/Berlin")
    assert (report["start"], report["end"]) == ("2026-09-30T22:00:00+00:00", "2026-10-31T23:00:00+00:00")
    assert sums(report) == {"USD": ("1110", "1110.00")}
    file = await admin.get(f"{REPORTS}/{report['report_id']}", params={"format": "markdown"})
    assert "- Period: 2026-10-01 00:00 to 2026-11-01 00:00" in file.text
    assert file.headers["content-disposition"].endswith('"costs-2026-10-01.md"')


async def test_calls_of_the_api_that_no_rollup_has_counted_yet_are_in_an_issued_report(
    gateway: Gateway, admin: httpx.AsyncClient, tenant: str
) -> None:
    database, now = gateway.parts.database, gateway.parts.clock()
    end = counted_until(now)
    at = end - timedelta(minutes=1)
    price = {"resource": "api_call", "currency": "EUR", "prices": {"each": "0.25"}, "unit": "1"}
    assert (await admin.post("/api/v1/admin/prices", json=price)).status_code == 201
    statistics = ServiceStatistics(3, 0, 0.5, 0.4, (1, 2))
    async with database.tenant(tenant) as records:
        calls = MinuteStatistics(ServiceKind.ENDPOINT, "/x", "2xx", at, new_id(), statistics)
        await records.service_statistics.save([calls])
    period = {"start": (end - timedelta(minutes=15)).isoformat(), "end": end.isoformat()}
    path = f"{REPORTS}/{(await draft(admin, **period))['report_id']}"
    report = (await admin.post(f"{path}/issue")).json()
    assert sums(report) == {"EUR": ("0.75", "0.75")}
    assert [(line["kind"], line["quantity"]) for line in report["lines"]] == [("api", "3")]


async def test_a_report_is_made_and_written_beside_the_loop_that_serves_others(
    gateway: Gateway, admin: httpx.AsyncClient, tenant: str
) -> None:
    await used(gateway.parts.database, tenant, datetime.fromisoformat("2026-10-02T00:00:00Z"), cost=Decimal(2))
    reporting = CostReporting(gateway.parts.database, gateway.parts.bundled_prices)
    actor, which = acting(tenant, "ada", gateway.parts.clock()), UsageSelection("2026-10-01", "2026-10-31")

    def written(report: CostReport) -> str:
        return f"{report.totals[0].total} in {current_thread().name}"

    assert (await reporting.preview(actor, which, (), written)).text.startswith("2.00 in tenants_")
    path = f"{REPORTS}/{(await draft(admin))['report_id']}"
    assert (await admin.post(f"{path}/issue")).status_code == 200
    found = await reporting.find(actor, path.rpartition("/")[2], written)
    assert found.text.startswith("2.00 in tenants_")
