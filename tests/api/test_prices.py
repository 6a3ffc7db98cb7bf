"""A tenant's own prices over HTTP."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from taskforce.core.domain.metering import tenant_prices
from tests.api.gateway import ClientFor, Gateway, assert_problem

PRICES = "/api/v1/admin/prices"
GPT = {"name": "openai/gpt-4o", "unit": "1M", "prices": {"input": "2.50", "output": "10"}}
AUDITED = sa.text("SELECT * FROM audit_events WHERE resource_type = 'price' ORDER BY audit_id")


@pytest.fixture
def admin(client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return client_for(tenant, "ada", ["admin"])


async def put(admin: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    """Sets a price that must be taken."""
    answer = await admin.post(PRICES, json={**GPT, **changes})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def revision(gateway: Gateway, tenant: str) -> int:
    async with gateway.parts.database.tenant(tenant) as records:
        found = await records.tenant.get()
    assert found is not None
    return found.metering_revision


async def test_a_price_is_set_shown_in_force_and_removed(
    gateway: Gateway, client_for: ClientFor, admin: httpx.AsyncClient, tenant: str
) -> None:
    before = await admin.get(f"{PRICES}/effective", params={"name": "openai/gpt-4o"})
    assert before.json()["source"].startswith("litellm:")
    assert (before.json()["each"]["input"], before.json()["per_1m"]["cached"]) == ("0.0000025", "1.25")
    tiers = [{"above": 200_000, "prices": {"input": "5"}}]
    made = await put(admin, currency="EUR", prices={"input": "2", "output": "8"}, tiers=tiers, notes="EA")
    assert (made["prices"], made["tiers"], made["unit"]) == ({"input": "2", "output": "8"}, tiers, "1M")
    assert (made["created_by"], made["valid_until"]) == ("ada", None)
    auditor = client_for(tenant, "aud", ["auditor"])
    assert (await auditor.get(f"{PRICES}/{made['price_id']}")).json() == made
    # For every spelling of the same model.
    for name in ("openai/gpt-4o", "gpt-4o"):
        found = (await auditor.get(f"{PRICES}/effective", params={"name": name})).json()
        assert (found["source"], found["currency"]) == (f"tenant:{made['price_id']}", "EUR")
        assert (found["each"]["cached"], found["per_1k"]["output"], found["per_1m"]["output"]) == (
            "0.000002",
            "0.008",
            "8",
        )
        assert found["tiers"][0]["prices"]["cached"] == "5"
        assert found["notes"] == ["EA"]
    assert await revision(gateway, tenant) == 1
    assert (await admin.delete(f"{PRICES}/{made['price_id']}")).status_code == 204
    assert_problem(await admin.delete(f"{PRICES}/{made['price_id']}"), 404, "price_not_found")
    after = await admin.get(f"{PRICES}/effective", params={"name": "openai/gpt-4o"})
    assert after.json() == before.json()
    assert await revision(gateway, tenant) == 2
    async with gateway.parts.database.tenant(tenant) as records:
        rows = await records.users._connection.all(AUDITED)
    assert [(row.action, row.actor_id, row.resource_id) for row in rows] == [
        ("price.set", "ada", made["price_id"]),
        ("price.remove", "ada", made["price_id"]),
    ]
    assert rows[0].details["after"]["prices"] == {"input": "2", "output": "8"}
    assert rows[1].details["before"] == rows[0].details["after"]


async def test_prices_of_one_model_do_not_overlap_and_one_ends_where_the_next_begins(
    gateway: Gateway, admin: httpx.AsyncClient
) -> None:
    now = gateway.parts.clock()
    days = [(now + timedelta(days=number)).isoformat() for number in range(5)]
    first = await put(admin, valid_from=days[0])
    later = {**GPT, "valid_from": days[2]}
    problem = assert_problem(await admin.post(PRICES, json=later), 409, "price_overlaps")
    assert problem["price_id"] == first["price_id"]
    assert "ends_previous" in problem["detail"]
    second = await put(admin, valid_from=days[2], valid_until=days[3], ends_previous=True)
    assert (await admin.get(f"{PRICES}/{first['price_id']}")).json()["valid_until"] == second["valid_from"]
    # Right behind the end of one, and right before the beginning of another.
    await put(admin, valid_from=days[3], valid_until=days[4])
    for begins, ends in ((days[1], days[2]), (days[2], days[3]), (days[3], None)):
        body = {**GPT, "valid_from": begins, "valid_until": ends, "ends_previous": True}
        assert_problem(await admin.post(PRICES, json=body), 409, "price_overlaps")
    await put(admin, name="openai/gpt-4o-mini", valid_from=days[0])


async def test_the_list_is_paged_and_filtered(gateway: Gateway, admin: httpx.AsyncClient) -> None:
    now = gateway.parts.clock()
    for name in ("openai/gpt-4o", "openai/gpt-4o-mini", "anthropic/claude-haiku-4-5"):
        await put(admin, name=name, valid_from=(now - timedelta(days=2)).isoformat(), valid_until=now.isoformat())
    await put(admin)
    await put(admin, resource="tool", name="a/b", unit="1K", prices={"each": "0.5"})
    await put(admin, resource="tool", name="", unit="1", prices={"each": "0.01"})
    everything = (await admin.get(PRICES)).json()["items"]
    assert [(one["resource"], one["name"]) for one in everything] == [
        ("model", "anthropic/claude-haiku-4-5"),
        ("model", "openai/gpt-4o"),
        ("model", "openai/gpt-4o"),
        ("model", "openai/gpt-4o-mini"),
        ("tool", ""),
        ("tool", "a/b"),
    ]
    for limit in (1, 2, 5):
        seen: list[Any] = []
        cursor = None
        while True:
            page = (await admin.get(PRICES, params={"limit": limit, **({"cursor": cursor} if cursor else {})})).json()
            seen += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == everything
    assert len((await admin.get(PRICES, params={"name": "openai/gpt-4o"})).json()["items"]) == 2
    assert len((await admin.get(PRICES, params={"resource": "tool"})).json()["items"]) == 2
    yesterday = (now - timedelta(days=1)).isoformat()
    assert len((await admin.get(PRICES, params={"at": yesterday})).json()["items"]) == 3
    assert_problem(await admin.get(PRICES, params={"cursor": "x"}), 422, "cursor_invalid")


async def test_other_resources_have_one_amount(admin: httpx.AsyncClient) -> None:
    await put(admin, resource="storage", name="", unit="1G", prices={"each": "0.0001"})
    stored = (await admin.get(f"{PRICES}/effective", params={"resource": "storage"})).json()
    assert stored["each"] == {"each": "0.0000000000001"}
    await put(admin, resource="tool", name="", unit="1", prices={"each": "0.01"})
    for tool in ("", "calculator"):
        found = await admin.get(f"{PRICES}/effective", params={"resource": "tool", "name": tool})
        assert (found.json()["name"], found.json()["per_1k"]) == ("", {"each": "10"})
    absent = await admin.get(f"{PRICES}/effective", params={"resource": "agent_execution", "name": "clerk"})
    assert_problem(absent, 404, "price_unknown")
    await put(admin, resource="embedding", name="text-embedding-3-small", prices={"input": "0.02"})
    embedding = await admin.get(f"{PRICES}/effective", params={"name": "openai/text-embedding-3-small"})
    assert embedding.json()["source"].startswith("tenant:")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"currency": "usd"}, "currency_unknown"),
        ({"currency": "XXX"}, "currency_unknown"),
        ({"prices": {"input": "-1", "output": "1"}}, "amount_invalid"),
        ({"prices": {"input": "NaN", "output": "1"}}, "amount_invalid"),
        ({"prices": {"input": "1e9", "output": "1"}}, "amount_invalid"),
        ({"prices": {"input": "1000000000000", "output": "1"}}, "amount_invalid"),
        ({"prices": {"input": 2.5, "output": "1"}}, "request_invalid"),
        ({"prices": {"input": "1"}}, "price_incomplete"),
        ({"prices": {"input": "1", "output": "1", "each": "1"}}, "price_part_unknown"),
        ({"resource": "tool", "name": "", "prices": {"input": "1"}}, "price_part_unknown"),
        ({"resource": "embedding", "prices": {"input": "1", "output": "1"}}, "price_part_unknown"),
        ({"resource": "storage", "prices": {"each": "1"}}, "price_name_invalid"),
        ({"name": ""}, "price_name_invalid"),
        ({"name": " gpt-4o"}, "price_name_invalid"),
        ({"name": "gpt\u00014o"}, "price_name_invalid"),
        ({"name": "x" * 201}, "request_invalid"),
        ({"unit": "1B"}, "request_invalid"),
        ({"tiers": [{"above": 5, "prices": {"input": "1"}}] * 2}, "price_tiers_invalid"),
        ({"tiers": [{"above": 0, "prices": {"input": "1"}}]}, "request_invalid"),
        ({"valid_from": "2026-01-02T00:00:00Z", "valid_until": "2026-01-01T00:00:00Z"}, "price_validity_invalid"),
        ({"valid_until": "2001-01-01T00:00:00Z"}, "price_validity_invalid"),
        ({"valid_from": "2026-01-02T00:00:00"}, "request_invalid"),
        ({"valid_from": "0001-01-01T00:00:00+12:00"}, "time_invalid"),
        ({"notes": "x" * 501}, "request_invalid"),
    ],
)
async def test_bad_prices_are_refused(admin: httpx.AsyncClient, changes: dict[str, Any], code: str) -> None:
    assert_problem(await admin.post(PRICES, json={**GPT, **changes}), 422, code)


async def test_a_mistyped_model_is_told_the_nearest_one_and_a_model_of_ones_own_is_taken(
    admin: httpx.AsyncClient,
) -> None:
    problem = assert_problem(await admin.post(PRICES, json={**GPT, "name": "openai/gtp-4o"}), 422, "model_unknown")
    assert problem["nearest"] == "openai/gpt-4o"
    assert "Did you mean openai/gpt-4o?" in problem["detail"]
    asked = await admin.get(f"{PRICES}/effective", params={"name": "openai/gtp-4o"})
    assert "Did you mean openai/gpt-4o?" in assert_problem(asked, 404, "price_unknown")["detail"]
    await put(admin, name="azure/our-deployment", custom=True)
    found = await admin.get(f"{PRICES}/effective", params={"name": "azure/our-deployment"})
    assert found.json()["per_1m"]["input"] == "2.5"


async def test_a_tenant_neither_sees_nor_uses_anothers_prices(
    client_for: ClientFor, admin: httpx.AsyncClient, tenant: str
) -> None:
    made = await put(admin)
    stranger = client_for(f"{tenant}-b", "bert", ["admin"])
    theirs = await stranger.get(f"{PRICES}/{made['price_id']}")
    absent = await stranger.get(f"{PRICES}/00000000-0000-7000-8000-000000000000")
    assert assert_problem(theirs, 404, "price_not_found")["detail"] == absent.json()["detail"]
    assert_problem(await stranger.delete(f"{PRICES}/{made['price_id']}"), 404, "price_not_found")
    assert (await stranger.get(PRICES)).json()["items"] == []
    found = await stranger.get(f"{PRICES}/effective", params={"name": "openai/gpt-4o"})
    assert found.json()["source"].startswith("litellm:")


async def test_a_tenant_has_so_many_prices_at_most(admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskforce.application.metering.prices.MAX_PRICES", 1)
    await put(admin)
    other = await admin.post(PRICES, json={**GPT, "name": "openai/gpt-4o-mini"})
    assert_problem(other, 409, "prices_limit_reached")
    assert tenant_prices.MAX_PRICES == 1_000


async def test_of_two_prices_that_are_set_at_once_one_is_taken(admin: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(admin.post(PRICES, json=GPT) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
