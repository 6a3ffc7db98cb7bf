"""Usage over HTTP: records, aggregations, one's own, and what is refused."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest

from tests.api.gateway import ClientFor, Gateway, assert_problem
from tests.fixtures.usage import TOOL, rolled_up, used

START = datetime(2026, 11, 3, tzinfo=UTC)
USAGE, AGGREGATION, MINE = "/api/v1/admin/usage", "/api/v1/admin/usage/aggregation", "/api/v1/me/usage"
DAY = {"start": "2026-11-03", "end": "2026-11-03"}


@pytest.fixture
def auditor(client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return client_for(tenant, "vera", ["auditor"])


@pytest.fixture
async def metered(gateway: Gateway, auditor: httpx.AsyncClient, tenant: str) -> str:
    assert (await auditor.get("/api/v1/me")).status_code == 200
    database = gateway.parts.database
    for number in range(6):
        whose = {"user_id": "olga" if number % 3 else "=cmd()", "tags": {"project": "apollo"} if number == 1 else {}}
        await used(database, tenant, START + number * timedelta(hours=5), **whose)
        await used(database, tenant, START + number * timedelta(hours=5), **TOOL, **whose)
    await rolled_up(database, tenant, 7)
    return tenant


async def test_usage_is_summed_up_by_day_and_dimension(auditor: httpx.AsyncClient, metered: str) -> None:
    query = {"start": "2026-11-03", "end": "2026-11-04", "group_by": "user,kind", "step": "day"}
    found = (await auditor.get(AGGREGATION, params=query)).json()
    assert (found["start"], found["end"]) == ("2026-11-03T00:00:00Z", "2026-11-05T00:00:00Z")
    assert (found["group_by"], found["truncated"], found["whole"]) == (["user", "kind"], False, True)
    told = {
        (item["start"][:10], item["dimensions"]["user"], item["dimensions"]["kind"]): item["sums"]["records"]
        for item in found["items"]
    }
    assert told[("2026-11-03", "olga", "model")] == 3
    assert sum(told.values()) == found["total"]["records"] == 12
    assert found["total"]["total_tokens"] == 6 * 120
    assert found["total"]["costs"] == [{"currency": "USD", "amount": "0.0007407402"}]
    assert (await auditor.get(AGGREGATION.replace("/api", ""), params=query)).json() == found


async def test_the_time_zone_is_the_tenants_unless_the_request_names_one(
    client_for: ClientFor, auditor: httpx.AsyncClient, metered: str
) -> None:
    admin = client_for(metered, "ada", ["admin"])
    changed = await admin.put(f"/api/v1/admin/tenants/{metered}", json={"settings": {"time_zone": "Asia/Kolkata"}})
    assert changed.status_code == 200, changed.text
    found = (await auditor.get(AGGREGATION, params={**DAY, "step": "day"})).json()
    assert (found["time_zone"], found["start"]) == ("Asia/Kolkata", "2026-11-03T00:00:00+05:30")
    assert found["total"]["records"] == 2 * 4
    found = (await auditor.get(AGGREGATION, params={**DAY, "time_zone": "America/New_York"})).json()
    assert found["start"] == "2026-11-03T00:00:00-05:00"
    assert found["total"]["records"] == 2 * 5 - 2 * 1 + 2
    refused = await admin.put(f"/api/v1/admin/tenants/{metered}", json={"settings": {"time_zone": "Mars/Base"}})
    assert_problem(refused, 422, "tenant_settings_invalid")


async def test_filters_and_dimensions_of_single_records(auditor: httpx.AsyncClient, metered: str) -> None:
    cases: list[tuple[dict[str, str | list[str]], int]] = [
        ({"user": "olga"}, 8),
        ({"user": ["olga", "=cmd()"]}, 12),
        ({"kind": "tool", "user": "olga"}, 4),
        ({"model": ""}, 6),
        ({"tag": "project=apollo"}, 2),
        ({"tag": "project="}, 10),
        ({"run": "nonsense"}, 0),
        ({"user": "\x00"}, 0),
    ]
    for query, records in cases:
        params = {"start": "2026-11-03", "end": "2026-11-04", **query}
        found = (await auditor.get(AGGREGATION, params=params)).json()
        assert found["total"]["records"] == records, query
    by_tag = {"start": "2026-11-03", "end": "2026-11-04", "group_by": "tag:project,kind"}
    found = (await auditor.get(AGGREGATION, params=by_tag)).json()
    assert {item["dimensions"]["tag:project"] for item in found["items"]} == {"apollo", None}


async def test_too_many_groups_become_other_and_none_is_lost(auditor: httpx.AsyncClient, metered: str) -> None:
    query = {"start": "2026-11-03", "end": "2026-11-04", "group_by": "user,kind", "limit": "1"}
    found = (await auditor.get(AGGREGATION, params=query)).json()
    assert found["truncated"]
    assert [item["other"] for item in found["items"]] == [False, True]
    assert found["items"][1]["dimensions"] == {}
    assert found["total"]["records"] == 12


async def test_it_comes_as_json_lines_and_csv(auditor: httpx.AsyncClient, metered: str) -> None:
    query = {"start": "2026-11-03", "end": "2026-11-04", "group_by": "user"}
    whole = (await auditor.get(AGGREGATION, params=query)).json()
    lines = await auditor.get(AGGREGATION, params=query, headers={"accept": "application/x-ndjson"})
    assert lines.headers["content-type"].startswith("application/x-ndjson")
    assert [json.loads(line) for line in lines.text.splitlines()] == whole["items"]
    table = await auditor.get(AGGREGATION, params=query, headers={"accept": "text/csv"})
    assert table.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(table.text)))
    # A spreadsheet would take the name of a user for a formula.
    assert {row["user"] for row in rows} == {"olga", "'=cmd()"}
    assert sum(int(row["records"]) for row in rows) == 12
    assert sum(Decimal(row["cost_USD"]) for row in rows) == Decimal(whole["total"]["costs"][0]["amount"])


async def test_records_are_listed_with_their_sums_and_page_by_page(auditor: httpx.AsyncClient, metered: str) -> None:
    query = {"start": "2026-11-03", "end": "2026-11-04", "limit": "5"}
    page = (await auditor.get(USAGE, params=query)).json()
    assert page["summary"]["records"] == 12
    items = page["items"]
    while page["next_cursor"]:
        page = (await auditor.get(USAGE, params={**query, "cursor": page["next_cursor"]})).json()
        assert page["summary"] is None
        items += page["items"]
    assert len({(item["run_id"], item["call"]) for item in items}) == 12
    assert [item["at"] for item in items] == sorted((item["at"] for item in items), reverse=True)
    model = next(item for item in items if item["kind"] == "model")
    assert (model["cost"], model["currency"], model["input_tokens"]) == ("0.0001234567", "USD", 100)


async def test_everybody_sees_their_own_and_nobody_elses(
    client_for: ClientFor, metered: str, auditor: httpx.AsyncClient
) -> None:
    olga = client_for(metered, "olga", ["operator"])
    query = {"start": "2026-11-03", "end": "2026-11-04", "group_by": "user", "user": "=cmd()"}
    found = (await olga.get(MINE, params=query)).json()
    assert [(item["dimensions"], item["sums"]["records"]) for item in found["items"]] == [({"user": "olga"}, 8)]
    for path in (USAGE, AGGREGATION):
        problem = assert_problem(await olga.get(path), 403, "permission_denied")
        assert problem["permission"] == "audit:read"
    other = client_for(f"{metered}-other", "vera", ["auditor"])
    assert (await other.get(AGGREGATION, params=query)).json()["total"]["records"] == 0
    assert (await other.get(USAGE, params=query)).json()["items"] == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"start": "2026-11-04", "end": "2026-11-02"}, "period_invalid"),
        ({"start": "1990-01-01"}, "period_invalid"),
        ({"start": "2026-11-03T00:01:00Z"}, "period_unaligned"),
        ({"start": "yesterday"}, "time_invalid"),
        ({"start": "2026-11-03T00:00:00"}, "time_invalid"),
        ({**DAY, "time_zone": "Mars/Base"}, "time_zone_unknown"),
        ({**DAY, "group_by": "planet"}, "dimension_unknown"),
        ({**DAY, "group_by": "tag:"}, "dimension_unknown"),
        ({**DAY, "group_by": "user,user"}, "dimensions_invalid"),
        ({**DAY, "step": "fortnight"}, "step_unknown"),
        ({"start": "2025-01-01", "end": "2026-11-03", "step": "hour"}, "step_too_fine"),
        ({**DAY, "tag": "project"}, "filter_invalid"),
        ({**DAY, "kind": "modell"}, "kind_unknown"),
        ({**DAY, "currency": "usd"}, "currency_unknown"),
        ({**DAY, "limit": "0"}, "request_invalid"),
        ({**DAY, "user": ["x"] * 101}, "request_invalid"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_code(
    auditor: httpx.AsyncClient, query: dict[str, str], code: str
) -> None:
    assert_problem(await auditor.get(AGGREGATION, params=query), 422, code)


@pytest.mark.parametrize("cursor", ["x", "dXNhZ2V8MHww", "a2V5fHg"])
async def test_a_cursor_of_nothing_is_refused(auditor: httpx.AsyncClient, cursor: str) -> None:
    assert_problem(await auditor.get(USAGE, params={**DAY, "cursor": cursor}), 422, "cursor_invalid")
