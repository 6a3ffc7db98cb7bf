"""Delegations of decisions over HTTP: somebody stands in for who is away."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from taskforce.core.domain.approvals.terms import Terms
from taskforce.infrastructure.persistence.database import Database
from tests.api.approvals import ask
from tests.api.gateway import ClientFor, assert_problem, execute

REQUESTS = "/api/v1/admin/requests"
DELEGATION = "/api/v1/me/delegation"
LATER = (datetime.now(UTC) + timedelta(days=7)).isoformat()


async def test_somebody_stands_in_for_who_is_away_and_no_longer_than_that(
    client_for: ClientFor, operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    dora, vera = client_for(tenant, "dora", ["agent_designer"]), client_for(tenant, "vera", ["viewer"])
    await vera.get("/api/v1/me")
    run_id = (await execute(operator))["run_id"]
    request_id = await ask(database, tenant, run_id, terms=Terms(allowed_roles=("agent_designer",)))
    assert_problem(await vera.get(f"{REQUESTS}/{request_id}"), 404, "request_not_found")
    assert_problem(await dora.get(DELEGATION), 404, "delegation_not_found")
    made = await dora.put(DELEGATION, json={"delegate_id": "vera", "until": LATER})
    assert (made.status_code, made.json()["user_id"]) == (200, "dora")
    assert (await vera.get(f"{REQUESTS}/{request_id}")).json()["can_decide"] is True
    assert [one["request_id"] for one in (await vera.get(f"{REQUESTS}/pending")).json()["items"]] == [request_id]
    assert (await dora.delete(DELEGATION)).status_code == 204
    assert_problem(await vera.get(f"{REQUESTS}/{request_id}"), 404, "request_not_found")
    assert_problem(await dora.delete(DELEGATION), 404, "delegation_not_found")


@pytest.mark.parametrize(
    "body",
    [
        {"delegate_id": "dora", "until": LATER},
        {"delegate_id": "nobody", "until": LATER},
        {"delegate_id": "vera", "until": "2020-01-01T00:00:00Z"},
        {"delegate_id": "vera", "since": LATER, "until": LATER},
        {"delegate_id": "vera", "until": "2999-01-01T00:00:00Z"},
    ],
)
async def test_a_delegation_that_makes_no_sense(client_for: ClientFor, tenant: str, body: object) -> None:
    await client_for(tenant, "vera", ["viewer"]).get("/api/v1/me")
    dora = client_for(tenant, "dora", ["agent_designer"])
    assert_problem(await dora.put(DELEGATION, json=body), 422, "delegation_invalid")
