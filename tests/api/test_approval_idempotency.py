"""A decision that is sent again under its key counts once, and is answered as it was at first."""

from collections import Counter

import httpx
import pytest
from temporalio.client import Client

from taskforce.core.domain.approvals.approval import workflow_id
from tests.api.gateway import MODEL, ClientFor, assert_problem
from tests.fixtures.agents import GOOD

REQUESTS = "/api/v1/admin/requests"
KEY = {"idempotency-key": "once-and-no-more"}


@pytest.fixture
async def asked(working_client_for: ClientFor, tenant: str) -> str:
    olga = working_client_for(tenant, "olga", ["operator"])
    wanted = {"request_type": "data_export", "title": "All of it", "payload": {"what": "audit"}}
    made = await olga.post(REQUESTS, json=wanted)
    return str(made.json()["request_id"])


@pytest.fixture
def ada(working_client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return working_client_for(tenant, "ada", ["admin"])


async def events(temporal: Client, tenant: str, request_id: str) -> Counter[str]:
    history = await temporal.get_workflow_handle(workflow_id(tenant, request_id)).fetch_history()
    return Counter(event.WhichOneof("attributes") or "" for event in history.events)


@pytest.mark.parametrize("verdict", ["approve", "reject"])
async def test_a_decision_that_counted_is_answered_alike_also_after_the_end(
    ada: httpx.AsyncClient, asked: str, temporal: Client, tenant: str, verdict: str
) -> None:
    path, body = f"{REQUESTS}/{asked}/{verdict}", {"comment": "as I say"}
    first = await ada.post(path, json=body, headers=KEY)
    assert (first.status_code, "idempotency-replayed" in first.headers) == (200, False)
    closed = {**first.json(), "closed_at": None}
    for headers in (KEY, KEY, {}):
        again = await ada.post(path, json=body, headers=headers)
        assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
        assert {**again.json(), "closed_at": None} | {"reason": closed["reason"]} == closed
    assert (await events(temporal, tenant, asked))["workflow_execution_update_accepted_event_attributes"] == 1
    assert_problem(await ada.post(path, json={"comment": "as I do not say"}), 409, "request_closed")
    log = (await ada.get("/api/v1/admin/audit", params={"action": "approval.decide"})).json()["items"]
    # The refusal is of the other comment.
    assert [one["outcome"] for one in log].count("denied") == 1


async def test_a_decision_that_was_refused_is_refused_alike_and_uses_up_none_of_the_requests_updates(
    ada: httpx.AsyncClient, asked: str, temporal: Client, tenant: str
) -> None:
    path, body = f"{REQUESTS}/{asked}/approve", {"content_hash": "0" * 64}
    for _ in range(3):
        assert_problem(await ada.post(path, json=body, headers=KEY), 409, "content_changed")
    assert (await events(temporal, tenant, asked))["workflow_execution_update_accepted_event_attributes"] == 0
    log = (await ada.get("/api/v1/admin/audit", params={"action": "approval.decide"})).json()["items"]
    assert [(one["outcome"], one["reason"]) for one in log] == [("denied", "content_changed")] * 3


async def test_a_key_stands_for_one_body_of_one_person(
    ada: httpx.AsyncClient, working_client_for: ClientFor, tenant: str, asked: str
) -> None:
    path = f"{REQUESTS}/{asked}"
    stale = {"content_hash": "0" * 64}
    assert_problem(await ada.post(f"{path}/approve", json=stale, headers=KEY), 409, "content_changed")
    assert_problem(await ada.post(f"{path}/approve", headers=KEY), 422, "idempotency_key_reused")
    assert_problem(await ada.post(f"{path}/reject", json=stale, headers=KEY), 422, "idempotency_key_reused")
    other = working_client_for(tenant, "arno", ["admin"])
    assert (await other.post(f"{path}/approve", headers=KEY)).json()["status"] == "approved"


async def test_who_may_not_decide_is_told_so_each_time(
    ada: httpx.AsyncClient, working_client_for: ClientFor, tenant: str, asked: str
) -> None:
    olga = working_client_for(tenant, "olga", ["operator"])
    for _ in range(2):
        assert_problem(await olga.post(f"{REQUESTS}/{asked}/approve", headers=KEY), 409, "self_approval")
    assert (await ada.get(f"{REQUESTS}/{asked}")).json()["decisions"] == []


async def test_the_verdict_on_a_version_is_given_once_too(
    ada: httpx.AsyncClient, working_client_for: ClientFor, tenant: str
) -> None:
    dora = working_client_for(tenant, "dora", ["agent_designer"])
    await dora.get("/api/v1/me")
    made = await dora.post("/api/v1/admin/agents", json={"name": "Counter", "definition": {**GOOD, "model": MODEL}})
    assert made.status_code == 201, made.text
    here = "/api/v1/admin/agents/counter/versions/0.1.0"
    assert (await dora.post(f"{here}/submit")).status_code == 200
    for replayed in (False, True):
        answer = await ada.post(f"{here}/approve", json={"comment": "Good."}, headers=KEY)
        assert (answer.status_code, "idempotency-replayed" in answer.headers) == (200, replayed)
        assert answer.json()["status"] == "approved"
    assert_problem(await ada.post(f"{here}/approve"), 409, "transition_not_allowed")
