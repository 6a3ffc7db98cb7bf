"""Cost reports over HTTP: previews, drafts, what is issued, its forms, and what is refused."""

import asyncio
import csv
import hashlib
import io
import json
from base64 import b64encode
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import httpx
import pytest
import sqlalchemy as sa

from api.schemas.costs import CostReportOut
from taskforce.core.domain.metering.aggregation import AggregationQuery, UsageFilter
from taskforce.core.domain.metering.cost_lines import LINE_DIMENSIONS
from taskforce.core.domain.metering.periods import Period
from taskforce.infrastructure.config.settings import driver_arguments
from taskforce.infrastructure.persistence.sqlstates import StatementError
from tests.api.gateway import ClientFor, Gateway, assert_problem
from tests.fixtures.focus import assert_focus
from tests.fixtures.plans import watched
from tests.fixtures.stack import DatabaseUrls
from tests.fixtures.usage import TOOL, rolled_up, used

START = datetime(2026, 10, 3, tzinfo=UTC)
COSTS, REPORT, REPORTS = "/api/v1/admin/costs", "/api/v1/admin/costs/report", "/api/v1/admin/costs/reports"
MONTH = {"start": "2026-10-01", "end": "2026-10-31"}
DAY = {"start": "2026-11-03", "end": "2026-11-03"}
GPT = {"model": "openai/gpt-4o", "input_tokens": 1_000, "output_tokens": 100, "cached_tokens": 400}
# 600 x 2.50 + 400 x 1.25 + 100 x 10.00 for a million each.
GPT_COST = Decimal("0.003")
FORGED = (
    "INSERT INTO cost_reports SELECT tenant_id, gen_random_uuid(), status, terms, adjustments, created_by, created_at, "
    "issued_by, issued_at, totals, document, sha256 FROM cost_reports WHERE status = 'issued'"
)
AUDITED = sa.text("SELECT * FROM audit_events WHERE resource_type = 'cost_report' ORDER BY audit_id")


@pytest.fixture
def auditor(client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return client_for(tenant, "vera", ["auditor"])


@pytest.fixture
def admin(client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return client_for(tenant, "ada", ["admin"])


@pytest.fixture
async def metered(gateway: Gateway, auditor: httpx.AsyncClient, admin: httpx.AsyncClient, tenant: str) -> str:
    """A month of three departments: 12 calls of a known model, a failed one, tools at a price and without, and more."""
    for client in (auditor, admin):
        assert (await client.get("/api/v1/me")).status_code == 200
    database = gateway.parts.database
    for number in range(12):
        at = START + number * timedelta(hours=7)
        whose = {"department": ("eng", "ops", "=cmd()")[number % 3], "tags": {"project": f"p{number % 2}"}}
        await used(database, tenant, at, cost=GPT_COST, **GPT, **whose)
        priced = {"cost": Decimal("0.335"), "currency": "EUR"} if number < 6 else {}
        await used(database, tenant, at, **{**TOOL, **priced}, **whose)
    await used(database, tenant, START, **{**GPT, "cost": GPT_COST, "error_code": "rate_limited"}, department="eng")
    await used(database, tenant, START, model="own/unknown", cost=None, currency=None, department="eng")
    await rolled_up(database, tenant, 13)
    return tenant


async def draft(admin: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await admin.post(REPORT, json={**MONTH, "group_by": ["department"], **changes})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"{REPORTS}/{made['report_id']}"
    return made


def add(amounts: Iterable[str | None]) -> Decimal:
    return sum((Decimal(amount or 0) for amount in amounts), Decimal())


def sums(report: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {one["currency"]: (one["cost"], one["total"]) for one in report["totals"]}


async def test_a_preview_agrees_with_the_aggregation_and_with_what_was_computed_by_hand(
    auditor: httpx.AsyncClient, metered: str
) -> None:
    answer = await auditor.get(COSTS, params={**MONTH, "group_by": "department"})
    report = answer.json()
    CostReportOut.model_validate_json(answer.text)
    assert (report["status"], report["report_id"], report["time_zone"]) == ("preview", None, "UTC")
    assert sums(report) == {"EUR": ("2.01", "2.01"), "USD": ("0.039", "0.04")}
    found = (await auditor.get("/api/v1/admin/usage/aggregation", params=MONTH)).json()
    assert {one["currency"]: Decimal(one["amount"]) for one in found["total"]["costs"]} == {
        currency: Decimal(cost) for currency, (cost, _) in sums(report).items()
    }
    lines = [line for line in report["lines"] if line["currency"] == "USD"]
    engineering = {line["part"]: line for line in lines if line["dimensions"] == {"department": "eng"}}
    assert {part: (line["quantity"], line["unit_price"], line["cost"]) for part, line in engineering.items()} == {
        "input": ("3000", "0.0000025", "0.0075"),
        "cached": ("2000", "0.00000125", "0.0025"),
        "output": ("500", "0.00001", "0.005"),
    }
    assert not any(line["averaged"] for line in lines)
    for total in report["totals"]:
        amounts = [line["amount"] for line in report["lines"] if line["currency"] == total["currency"]]
        assert add(amounts) == add([one["amount"] for one in total["groups"]]) == Decimal(total["total"])
    groups = {one["dimensions"]["department"]: one["amount"] for one in report["totals"][1]["groups"]}
    # 0.015, 0.012 and 0.012 exactly: of the four cents the one that is missing goes to the largest remainder.
    assert groups == {"eng": "0.02", "=cmd()": "0.01", "ops": "0.01"}
    assert {(line["model"], line["part"], line["quantity"]) for line in report["unpriced"]} == {
        ("own/unknown", "input", "100"),
        ("own/unknown", "output", "20"),
    }
    assert [(one["dimensions"]["department"], one["tokens"]) for one in report["wasted"]] == [("eng", 1_100)]
    assert (await auditor.get(COSTS.replace("/api", ""), params=MONTH)).status_code == 200


async def test_every_chargeback_adds_up_to_the_same_whole(auditor: httpx.AsyncClient, metered: str) -> None:
    whole = sums((await auditor.get(COSTS, params=MONTH)).json())
    for group_by in ("user", "agent", "model", "cost_center,department", "tag:project", "tag:project,department"):
        report = (await auditor.get(COSTS, params={**MONTH, "group_by": group_by})).json()
        assert sums(report) == whole, group_by
        for total in report["totals"]:
            assert add([one["amount"] for one in total["groups"]]) == Decimal(total["total"])


async def test_a_draft_is_adjusted_issued_and_frozen_while_new_usage_arrives(
    gateway: Gateway, admin: httpx.AsyncClient, auditor: httpx.AsyncClient, metered: str
) -> None:
    database = gateway.parts.database
    made = await draft(admin)
    path = f"{REPORTS}/{made['report_id']}"
    discount = {"amount": "-0.51", "currency": "EUR", "reason": "Volume discount"}
    adjusted = await admin.post(f"{path}/adjustments", json=discount)
    assert adjusted.status_code == 201
    (one,) = adjusted.json()["adjustments"]
    assert {**one, "at": ""} == {**discount, "author": "ada", "at": ""}
    # A draft follows the usage.
    await used(database, metered, START, cost=Decimal(1), department="eng", model="own/dear")
    assert sums((await auditor.get(path)).json()) == {"EUR": ("2.01", "1.50"), "USD": ("1.039", "1.04")}
    issued = await admin.post(f"{path}/issue")
    assert issued.status_code == 200, issued.text
    report = issued.json()
    assert (report["status"], report["issued_by"]) == ("issued", "ada")
    digest = hashlib.sha256(issued.content).digest()
    await used(database, metered, START, cost=Decimal(100), department="eng")
    await rolled_up(database, metered)
    again = await auditor.get(path)
    assert again.content == issued.content
    assert again.headers["repr-digest"] == f"sha-256=:{b64encode(digest).decode()}:"
    assert sums((await auditor.get(COSTS, params=MONTH)).json())["USD"] == ("101.039", "101.04")
    for answer in (
        await admin.post(f"{path}/issue"),
        await admin.post(f"{path}/adjustments", json=discount),
    ):
        assert_problem(answer, 409, "cost_report_issued")
    (listed,) = (await auditor.get(REPORTS)).json()["items"]
    assert (listed["status"], listed["adjustments"], listed["sha256"]) == ("issued", 1, digest.hex())
    assert listed["totals"] == [{"currency": "EUR", "total": "1.50"}, {"currency": "USD", "total": "1.04"}]
    async with database.tenant(metered) as records:
        events = await records.users._connection.all(AUDITED)
    assert [event.action for event in events] == ["cost_report.create", "cost_report.adjust", "cost_report.issue"]


async def test_of_two_who_issue_at_once_one_does_and_an_adjustment_is_in_or_refused(
    admin: httpx.AsyncClient, metered: str
) -> None:
    path = f"{REPORTS}/{(await draft(admin))['report_id']}"
    body = {"amount": "1", "currency": "USD", "reason": "x"}
    asked = [admin.post(f"{path}/issue"), admin.post(f"{path}/adjustments", json=body), admin.post(f"{path}/issue")]
    one, adjusted, other = await asyncio.gather(*asked)
    assert sorted([one.status_code, other.status_code]) == [200, 409]
    report = (await admin.get(path)).json()
    assert len(report["adjustments"]) == (1 if adjusted.status_code == 201 else 0)


async def test_the_database_itself_refuses_to_change_what_is_issued(
    gateway: Gateway, admin: httpx.AsyncClient, metered: str, postgres: DatabaseUrls
) -> None:
    made = await draft(admin)
    assert (await admin.post(f"{REPORTS}/{made['report_id']}/issue")).status_code == 200
    later = await draft(admin)
    for statement, refusal in (
        ("UPDATE cost_reports SET document = '{}' WHERE status = 'issued'", "does not change"),
        ("UPDATE cost_reports SET adjustments = '[1]' WHERE status = 'issued'", "does not change"),
        ("UPDATE cost_reports SET status = 'draft'", "does not change"),
        ("UPDATE cost_reports SET created_by = 'eve' WHERE status = 'draft'", "only the adjustments"),
        ("UPDATE cost_reports SET terms = '{}' WHERE status = 'draft'", "only the adjustments"),
        (FORGED, "begins as a draft"),
        ("DELETE FROM cost_reports", "permission denied"),
        ("TRUNCATE cost_reports", "permission denied"),
    ):
        with pytest.raises(StatementError, match=refusal):
            async with gateway.parts.database.tenant(metered) as records:
                await records.users._connection.change(sa.text(statement))
    owner = await asyncpg.connect(**driver_arguments(postgres.admin))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await owner.execute("UPDATE cost_reports SET sha256 = 'x' WHERE report_id = $1", made["report_id"])
    with pytest.raises(asyncpg.CheckViolationError):
        await owner.execute(
            "UPDATE cost_reports SET status = 'issued', issued_by = 'eve', issued_at = now(), totals = '[]', "
            "document = '{}', sha256 = 'x' WHERE report_id = $1",
            later["report_id"],
        )
    await owner.close()


async def test_a_discount_of_more_than_the_sum_is_a_credit_in_every_form(
    admin: httpx.AsyncClient, metered: str
) -> None:
    path = f"{REPORTS}/{(await draft(admin))['report_id']}"
    body = {"amount": "-5", "currency": "EUR", "reason": "Outage in September"}
    await admin.post(f"{path}/adjustments", json=body)
    assert sums((await admin.post(f"{path}/issue")).json())["EUR"] == ("2.01", "-2.99")
    assert "**total -2.99 EUR**" in (await admin.get(path, params={"format": "markdown"})).text
    charges = assert_focus((await admin.get(path, params={"format": "focus"})).text)
    assert add(one["BilledCost"] for one in charges if one["BillingCurrency"] == "EUR") == Decimal("-2.99")


async def test_every_form_says_the_same(admin: httpx.AsyncClient, metered: str) -> None:
    made = await draft(admin)
    path = f"{REPORTS}/{made['report_id']}"
    credit = {"amount": "-0.5", "currency": "EUR", "reason": "+goodwill | *all*"}
    await admin.post(f"{path}/adjustments", json=credit)
    report = (await admin.post(f"{path}/issue")).json()
    table = await admin.get(path, headers={"accept": "text/csv"})
    assert table.headers["content-disposition"].endswith('costs-2026-10-01.csv"')
    rows = list(csv.DictReader(io.StringIO(table.text)))
    for currency, (cost, total) in sums(report).items():
        of = [row for row in rows if row["currency"] == currency]
        assert add([row["amount"] for row in of]) == Decimal(total)
        assert add([row["cost"] for row in of]) == Decimal(cost)
    # A spreadsheet would take these for formulas.
    assert {row["department"] for row in rows} == {"eng", "ops", "'=cmd()", ""}
    assert [row["reason"] for row in rows if row["entry"] == "adjustment"] == ["'+goodwill | *all*"]
    assert len([row for row in rows if row["entry"] == "unpriced"]) == 2
    text = (await admin.get(path, params={"format": "markdown"})).text
    assert r"| \+goodwill \| \*all\* | ada |" in text
    assert "**total 1.51 EUR**" in text
    assert "## Unpriced" in text
    assert (await admin.get(path, headers={"accept": "text/markdown"})).text == text
    focus = await admin.get(path, params={"format": "focus"})
    charges = assert_focus(focus.text)
    for currency, (_, total) in sums(report).items():
        billed = [one for one in charges if one["BillingCurrency"] == currency]
        assert add(one["BilledCost"] for one in billed) == Decimal(total)
        assert {one["InvoiceId"] for one in billed} == {f"{report['report_id']}-{currency}"}
    priced = [one for one in charges if one["ChargeCategory"] == "Usage"]
    assert add([one["ListCost"] for one in priced]) == Decimal("2.049")
    assert {one["SubAccountId"] for one in priced} == {"eng", "ops", "'=cmd()"}
    assert {json.loads(one["Tags"])["department"] for one in priced} == {"eng", "ops", "=cmd()"}
    assert len([one for one in charges if one["x_Unpriced"]]) == 2


async def test_nobody_sees_another_tenants_report_and_an_auditor_writes_none(
    client_for: ClientFor, admin: httpx.AsyncClient, auditor: httpx.AsyncClient, metered: str
) -> None:
    path = f"{REPORTS}/{(await draft(admin))['report_id']}"
    stranger = client_for(f"{metered}-other", "ada", ["admin"])
    foreign = assert_problem(await stranger.get(path), 404, "cost_report_not_found")
    made_up = assert_problem(await stranger.get(f"{REPORTS}/x"), 404, "cost_report_not_found")
    assert foreign["detail"] == made_up["detail"]
    body = {"amount": "1", "currency": "USD", "reason": "x"}
    for answer in (
        await stranger.post(f"{path}/adjustments", json=body),
        await stranger.post(f"{path}/issue"),
    ):
        assert_problem(answer, 404, "cost_report_not_found")
    assert (await stranger.get(REPORTS)).json()["items"] == []
    assert (await stranger.get(COSTS, params=MONTH)).json()["totals"] == []
    for answer in (
        await auditor.post(REPORT, json=MONTH),
        await auditor.post(f"{path}/adjustments", json=body),
        await auditor.post(f"{path}/issue"),
    ):
        assert assert_problem(answer, 403, "permission_denied")["permission"] == "tenant:manage"
    operator = client_for(metered, "olga", ["operator"])
    for asked in (COSTS, REPORTS, path):
        assert assert_problem(await operator.get(asked), 403, "permission_denied")["permission"] == "audit:read"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"start": "2026-11-04", "end": "2026-11-02"}, "period_invalid"),
        ({"start": "2026-11-03T00:01:00Z"}, "period_unaligned"),
        ({"start": "yesterday"}, "time_invalid"),
        ({**DAY, "time_zone": "Mars/Base"}, "time_zone_unknown"),
        ({**DAY, "group_by": "planet"}, "dimension_unknown"),
        ({**DAY, "group_by": "session"}, "dimension_unknown"),
        ({**DAY, "group_by": "user,user"}, "dimensions_invalid"),
        ({**DAY, "group_by": "user,agent,model"}, "dimensions_invalid"),
        ({**DAY, "format": "pdf"}, "request_invalid"),
    ],
)
async def test_a_preview_that_makes_no_sense_is_refused_by_code(
    auditor: httpx.AsyncClient, query: dict[str, str], code: str
) -> None:
    assert_problem(await auditor.get(COSTS, params=query), 422, code)


async def test_a_report_or_adjustment_that_makes_no_sense_is_refused_by_code(
    admin: httpx.AsyncClient, metered: str
) -> None:
    for change, code in (
        ({"start": "2026-10-04T00:07:00Z"}, "period_unaligned"),
        ({"group_by": ["planet"]}, "dimension_unknown"),
        ({"time_zone": "Mars/Base"}, "time_zone_unknown"),
        ({"colour": "red"}, "request_invalid"),
    ):
        assert_problem(await admin.post(REPORT, json={**MONTH, **change}), 422, code)
    path = f"{REPORTS}/{(await draft(admin, end='2099-12-31'))['report_id']}"
    body = {"amount": "1", "currency": "USD", "reason": "x"}
    for adjustment, code in (
        ({**body, "amount": "0"}, "amount_invalid"),
        ({**body, "amount": "1000000000000"}, "amount_invalid"),
        ({**body, "amount": "0.001"}, "amount_invalid"),
        ({**body, "currency": "DOLLAR"}, "currency_unknown"),
        ({**body, "reason": ""}, "reason_invalid"),
        ({**body, "amount": 1.5}, "request_invalid"),
        ({"amount": "1", "currency": "USD"}, "request_invalid"),
    ):
        assert_problem(await admin.post(f"{path}/adjustments", json=adjustment), 422, code)
    assert_problem(await admin.post(f"{path}/issue"), 409, "cost_report_period_open")
    assert (await admin.get(path)).json()["adjustments"] == []


async def test_what_retention_has_erased_is_not_charged_by_tags(
    gateway: Gateway, auditor: httpx.AsyncClient, metered: str
) -> None:
    since = sa.text("UPDATE tenants SET usage_whole_since = :since").bindparams(
        sa.bindparam("since", type_=sa.DateTime(timezone=True))
    )
    async with gateway.parts.database.tenant(metered) as records:
        await records.users._connection.change(since, {"since": START})
    assert_problem(await auditor.get(COSTS, params={**MONTH, "group_by": "tag:project"}), 409, "usage_erased")
    assert (await auditor.get(COSTS, params={**MONTH, "group_by": "department"})).status_code == 200


async def test_reports_are_listed_page_by_page_newest_first(
    gateway: Gateway, admin: httpx.AsyncClient, metered: str
) -> None:
    made = [(await draft(admin))["report_id"] for _ in range(5)]
    first = (await admin.get(REPORTS, params={"limit": "3"})).json()
    second = (await admin.get(REPORTS, params={"limit": "3", "cursor": first["next_cursor"]})).json()
    assert [one["report_id"] for one in (*first["items"], *second["items"])] == made[::-1]
    assert second["next_cursor"] is None
    assert_problem(await admin.get(REPORTS, params={"cursor": "x"}), 422, "cursor_invalid")


async def test_a_report_of_a_month_reads_by_indexes_and_by_one_statement(
    gateway: Gateway, metered: str, postgres: DatabaseUrls
) -> None:
    owner = await asyncpg.connect(**driver_arguments(postgres.admin))
    await owner.execute(_MANY, metered)
    database = gateway.parts.database
    while await rolled_up(database, metered, 5_000):
        pass
    for table in ("usage_buckets", "usage_records"):
        await owner.execute(f"VACUUM ANALYZE {table}")
    await owner.close()
    # As a report asks: by a group, and by all that a line is made of.
    by = ("department", *LINE_DIMENSIONS)
    query = AggregationQuery(UsageFilter(Period(START, START + timedelta(days=1))), by)
    async with database.tenant(metered) as records, watched(records) as statements:
        await records.usage_buckets.aggregate(query)
        sent = await statements.texts()
        plan = (await statements.plans())[-1]
    assert len([text for text in sent if "usage_" in text]) == 1
    assert plan.read_whole == frozenset()
    assert plan.indexes == {"tenants_pkey", "usage_buckets_pkey", "usage_days_pkey", "usage_records_to_roll_up"}


_MANY = """
INSERT INTO usage_records (tenant_id, run_id, step, call, attempt, part, user_id, agent_id, model, input_tokens,
                           output_tokens, cached_tokens, duration_ms, at, kind)
SELECT $1, gen_random_uuid(), 1, 0, 1, 0, 'user-' || n % 7, 'agent', 'm', 1, 1, 0, 1,
       '2026-09-20Z'::timestamptz + n * interval '1 minute', 'model'
FROM generate_series(0, 20 * 24 * 60 - 1) n
"""
