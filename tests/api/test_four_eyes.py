"""A quorum by one person, as somebody who manages users would try it: gateway, worker and Temporal are real."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest

from tests.api.gateway import ClientFor, assert_problem

REQUESTS, KEYS = "/api/v1/admin/requests", "/api/v1/admin/api-keys"
DEFINITION = {
    "workflow_id": "two-of-us",
    "name": "Two of us",
    "request_type": "custom",
    "required_approvers": 2,
    "allowed_approver_roles": ["operator"],
}


@pytest.fixture
async def keys(working_client_for: ClientFor, tenant: str) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Two keys that ada issues in the names of olga and otto."""
    ada = working_client_for(tenant, "ada", ["admin", "operator"])
    async with AsyncExitStack() as stack:
        bearers = []
        for name in ("olga", "otto"):
            assert (await working_client_for(tenant, name, ["operator"]).get("/api/v1/me")).is_success
            issued = await ada.post(KEYS, json={"name": "ci", "user_id": name, "roles": ["operator"]})
            assert issued.status_code == 201, issued.text
            headers = {"x-api-key": issued.json()["api_key"]}
            bearer = httpx.AsyncClient(base_url=ada.base_url, headers=headers, timeout=60, trust_env=False)
            bearers.append(await stack.enter_async_context(bearer))
        yield bearers


async def asked(working_client_for: ClientFor, tenant: str, **terms: object) -> str:
    """Rita asks for what two operators decide; returns the request's path."""
    ada, rita = (working_client_for(tenant, name, [role]) for name, role in (("ada", "admin"), ("rita", "viewer")))
    defined = await ada.post("/api/v1/admin/workflows", json={**DEFINITION, **terms})
    assert defined.status_code == 201, defined.text
    made = await rita.post(REQUESTS, json={"request_type": "custom", "title": "May I?", "payload": {}})
    assert made.status_code == 201, made.text
    return f"{REQUESTS}/{made.json()['request_id']}"


async def test_keys_in_the_names_of_two_colleagues_are_no_quorum(
    keys: list[httpx.AsyncClient], working_client_for: ClientFor, tenant: str
) -> None:
    path = await asked(working_client_for, tenant)
    for bearer in keys:
        assert (await bearer.get(path)).json()["can_decide"] is False
        for verdict in ("approve", "reject"):
            assert_problem(await bearer.post(f"{path}/{verdict}"), 403, "key_may_not")


async def test_of_two_keys_of_one_issuer_that_decide_at_once_one_counts(
    keys: list[httpx.AsyncClient], working_client_for: ClientFor, tenant: str
) -> None:
    path = await asked(working_client_for, tenant, allow_service_accounts=True)
    answers = await asyncio.gather(*(bearer.post(f"{path}/approve") for bearer in keys))
    first, second = sorted(answers, key=lambda answer: answer.status_code)
    assert (first.status_code, first.json()["status"]) == (200, "pending")
    assert_problem(second, 409, "already_decided")
    ada = working_client_for(tenant, "ada", ["admin", "operator"])
    assert_problem(await ada.post(f"{path}/approve"), 409, "already_decided")
    omar = working_client_for(tenant, "omar", ["operator"])
    assert (await omar.post(f"{path}/approve")).json()["status"] == "approved"
