"""Webhooks over HTTP: their secret is shown once, what is done to them is audited, what was sent is logged."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from temporalio.client import Client

from api.composition import GatewayContext
from taskforce.application.approvals.payload_schemas import schema_problems
from taskforce.core.domain.approvals.definition_documents import parse
from taskforce.core.domain.approvals.definitions import DefinitionRules
from taskforce.core.domain.webhooks.delivery import workflow_id
from taskforce.core.domain.webhooks.endpoint import MOST_WEBHOOKS
from taskforce.infrastructure.net.webhook_urls import DeploymentUrls
from taskforce.infrastructure.persistence.database import Database
from tests.api.gateway import ClientFor, Gateway, assert_problem, serving
from tests.fixtures.stack import DatabaseUrls
from tests.fixtures.webhooks import Hooks

PATH = "/api/v1/admin/webhooks"
URL = "https://hooks.example.com/taskforce?token=hush"
OWN_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def admin(client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return client_for(tenant, "ada", ["admin"])


@pytest.fixture
def hooks(database: Database, tenant: str) -> Hooks:
    return Hooks(database, None, tenant)


async def made(admin: httpx.AsyncClient, **changes: object) -> dict[str, Any]:
    answer = await admin.post(PATH, json={"url": URL, **changes})
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"{PATH}/{body['webhook_id']}"
    return body


async def audited(admin: httpx.AsyncClient) -> list[dict[str, Any]]:
    answer = await admin.get("/api/v1/admin/audit", params={"resource_type": "webhook"})
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


async def test_a_webhook_is_made_with_a_secret_that_is_shown_once(admin: httpx.AsyncClient) -> None:
    webhook = await made(admin, events=["request_created", "request_approved"], description="Für die Buchhaltung")
    secret = webhook.pop("secret")
    assert webhook.pop("previous_secret_until") is None
    assert secret.startswith("whsec_")
    one = await admin.get(f"{PATH}/{webhook['webhook_id']}")
    assert one.json() == webhook
    assert (await admin.get(PATH)).json() == {"items": [webhook], "next_cursor": None}
    assert (webhook["url"], webhook["events"]) == (URL, ["request_created", "request_approved"])
    assert (webhook["format"], webhook["enabled"], webhook["created_by"]) == ("standard", True, "ada")
    for answer in (one, await admin.get(PATH), await admin.get("/api/v1/admin/audit")):
        assert secret not in answer.text


async def test_a_secret_of_the_callers_own_is_taken_if_it_is_strong(admin: httpx.AsyncClient) -> None:
    assert (await made(admin, secret=OWN_SECRET))["secret"] == OWN_SECRET
    guided = await made(admin, secret="a-secret-of-my-own-0123456789", format="guide")
    assert (guided["secret"], guided["format"]) == ("a-secret-of-my-own-0123456789", "guide")
    for secret in ("whsec_c2hvcnQ=", "webhook-secret-key", "whsec_" + "A" * 44):
        answer = await admin.post(PATH, json={"url": URL, "secret": secret})
        assert_problem(answer, 422, "webhook_secret_invalid")
        assert secret not in answer.text


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://169.254.169.254/latest",
        "https://[::1]/",
        "https://hooks.example.com:8443/",
        "https://user:password@hooks.example.com/",
        "ftp://hooks.example.com/",
        "https://db.internal/",
        "nonsense",
    ],
)
async def test_a_url_that_nothing_would_be_sent_to_is_refused_at_once(admin: httpx.AsyncClient, url: str) -> None:
    assert_problem(await admin.post(PATH, json={"url": url}), 422, "webhook_url_invalid")
    webhook = await made(admin)
    refused = await admin.put(f"{PATH}/{webhook['webhook_id']}", json={"url": url})
    assert_problem(refused, 422, "webhook_url_invalid")


@pytest.mark.parametrize(
    "changes",
    [
        {"events": []},
        {"events": ["nothing"]},
        {"events": ["test"]},
        {"events": "some"},
        {"format": "other"},
        {"definition_id": "a b"},
        {"description": "x" * 501},
        {"url": None},
        {"enabled": "yes"},
        {"unknown": 1},
    ],
)
async def test_what_a_webhook_cannot_be(admin: httpx.AsyncClient, changes: dict[str, Any]) -> None:
    assert_problem(await admin.post(PATH, json={"url": URL, **changes}), 422, "request_invalid")


async def defined(admin: httpx.AsyncClient, definition_id: str) -> str:
    wanted = {"workflow_id": definition_id, "name": "Exports", "request_type": "data_export"}
    answer = await admin.post("/api/v1/admin/workflows", json=wanted)
    assert answer.status_code == 201, answer.text
    return definition_id


async def test_a_webhook_is_bound_to_a_definition_that_exists(
    admin: httpx.AsyncClient, client_for: ClientFor, tenant: str
) -> None:
    stranger = client_for(f"{tenant}-other", "eve", ["admin"])
    await defined(stranger, "exports")
    wanted = {"url": URL, "definition_id": "exports"}
    assert_problem(await admin.post(PATH, json=wanted), 404, "workflow_not_found")
    assert (await admin.get(PATH)).json()["items"] == []
    await defined(admin, "exports")
    assert (await made(admin, definition_id="exports"))["definition_id"] == "exports"


async def test_a_webhook_is_bound_to_a_definition_of_the_profile(gateway_parts: GatewayContext, tenant: str) -> None:
    document = {"workflow_id": "of-all", "name": "Exports", "request_type": "data_export"}
    exports = parse(document, schema_problems, signals=False)
    parts = replace(gateway_parts, definitions=DefinitionRules((exports,)), closing=asyncio.Event())
    async with serving(parts) as gateway, gateway.clients() as client_for:
        admin = client_for(tenant, "ada", ["admin"])
        assert (await made(admin, definition_id="of-all"))["definition_id"] == "of-all"


async def test_what_is_left_out_stays_and_the_secret_does_too(admin: httpx.AsyncClient, hooks: Hooks) -> None:
    of = await defined(admin, "data-export")
    webhook = await made(admin, events=["request_created"], definition_id=of, description="before")
    place = f"{PATH}/{webhook['webhook_id']}"
    changed = (await admin.put(place, json={"events": "all", "description": "after"})).json()
    kept = {key: webhook[key] for key in ("url", "definition_id", "format", "enabled", "created_at")}
    assert {key: changed[key] for key in kept} == kept
    assert (changed["events"], changed["description"]) == ("all", "after")
    assert (await admin.put(place, json={"enabled": False})).json()["disabled_by"] == "person"
    assert (await admin.put(place, json={"enabled": True})).json()["disabled_by"] is None
    async with hooks.database.tenant(hooks.tenant_id) as records:
        assert (await records.webhooks.secrets(webhook["webhook_id"])).current == webhook["secret"]


async def test_rotating_shows_the_new_secret_once_and_keeps_the_old_one_for_a_while(
    admin: httpx.AsyncClient, hooks: Hooks
) -> None:
    webhook = await made(admin)
    place = f"{PATH}/{webhook['webhook_id']}"
    rotated = (await admin.post(f"{place}/rotate", json={"keep_old_hours": 2})).json()
    assert rotated["secret"] != webhook["secret"]
    until = datetime.fromisoformat(rotated["previous_secret_until"])
    assert timedelta(hours=1.9) < until - datetime.now(UTC) <= timedelta(hours=2)
    async with hooks.database.tenant(hooks.tenant_id) as records:
        secrets = await records.webhooks.secrets(webhook["webhook_id"])
    assert secrets.at(datetime.now(UTC)) == (rotated["secret"], webhook["secret"])
    assert rotated["secret"] not in (await admin.get(place)).text

    leaked = (await admin.post(f"{place}/rotate", json={"keep_old_hours": 0, "secret": OWN_SECRET})).json()
    assert (leaked["secret"], leaked["previous_secret_until"]) == (OWN_SECRET, None)
    again = await admin.post(f"{place}/rotate", json={"secret": OWN_SECRET})
    assert_problem(again, 422, "webhook_secret_invalid")
    assert_problem(await admin.post(f"{place}/rotate", json={"keep_old_hours": 169}), 422, "request_invalid")


async def test_everything_that_is_done_is_audited_without_secrets(admin: httpx.AsyncClient) -> None:
    webhook = await made(admin)
    place = f"{PATH}/{webhook['webhook_id']}"
    await admin.put(place, json={"enabled": False})
    rotated = (await admin.post(f"{place}/rotate", json={})).json()
    await admin.put(place, json={"enabled": True})
    await admin.post(f"{place}/test")
    assert (await admin.delete(place)).status_code == 204
    events = await audited(admin)
    assert [event["action"] for event in reversed(events)] == [
        "webhook.create",
        "webhook.change",
        "webhook.rotate",
        "webhook.change",
        "webhook.test",
        "webhook.delete",
    ]
    assert {event["resource_id"] for event in events} == {webhook["webhook_id"]}
    assert {event["actor_id"] for event in events} == {"ada"}
    for hidden in (webhook["secret"], rotated["secret"], "hush"):
        assert hidden not in str(events)


async def test_a_deleted_webhook_is_gone_and_what_waited_for_it_stops(admin: httpx.AsyncClient, hooks: Hooks) -> None:
    webhook = await made(admin)
    place = f"{PATH}/{webhook['webhook_id']}"
    await hooks.announce()
    [waiting] = (await admin.get(f"{place}/deliveries")).json()["items"]
    assert (await admin.delete(place)).status_code == 204
    assert (await hooks.delivery(waiting["delivery_id"])).state.status == "stopped"
    for method, path in (("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", "/rotate"), ("POST", "/test")):
        answer = await admin.request(method, f"{place}{path}", json={} if method in {"PUT", "POST"} else None)
        assert_problem(answer, 404, "webhook_not_found")
    assert_problem(await admin.get(f"{place}/deliveries"), 404, "webhook_not_found")


async def test_a_disabled_webhook_sends_nothing_and_stops_what_waits(admin: httpx.AsyncClient, hooks: Hooks) -> None:
    webhook = await made(admin)
    place = f"{PATH}/{webhook['webhook_id']}"
    await hooks.announce()
    await admin.put(place, json={"enabled": False})
    await hooks.announce()
    [stopped] = (await admin.get(f"{place}/deliveries")).json()["items"]
    assert (stopped["status"], stopped["next_attempt_at"]) == ("stopped", None)
    assert_problem(await admin.post(f"{place}/test"), 409, "webhook_disabled")
    again = await admin.post(f"{place}/deliveries/{stopped['delivery_id']}/redeliver")
    assert_problem(again, 409, "webhook_disabled")


async def test_the_log_is_read_page_by_page_newest_first(admin: httpx.AsyncClient, hooks: Hooks) -> None:
    webhook = await made(admin)
    for number in range(5):
        await hooks.announce(subject={"request_id": f"r{number}"})
    seen: list[str] = []
    cursor = None
    while True:
        query = {"limit": 2} if cursor is None else {"limit": 2, "cursor": cursor}
        page = (await admin.get(f"{PATH}/{webhook['webhook_id']}/deliveries", params=query)).json()
        seen += [item["subject"]["request_id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ["r4", "r3", "r2", "r1", "r0"]


async def test_redelivering_sends_the_same_event_as_another_delivery(
    admin: httpx.AsyncClient, hooks: Hooks, temporal: Client
) -> None:
    webhook = await made(admin)
    place = f"{PATH}/{webhook['webhook_id']}/deliveries"
    await hooks.announce()
    [first] = (await admin.get(place)).json()["items"]
    answer = await admin.post(f"{place}/{first['delivery_id']}/redeliver")
    assert answer.status_code == 202
    again = answer.json()
    same = ("event_id", "event", "subject", "happened_at", "webhook_id")
    assert {key: again[key] for key in same} == {key: first[key] for key in same}
    assert again["delivery_id"] != first["delivery_id"]
    assert (again["status"], again["redelivery_of"], again["attempts"]) == ("queued", first["delivery_id"], [])
    assert (await admin.get(answer.headers["location"])).json() == again
    started = temporal.get_workflow_handle(workflow_id(hooks.tenant_id, again["delivery_id"]))
    assert (await started.describe()).workflow_type == "WebhookDelivery"
    assert_problem(await admin.post(f"{place}/{uuid4()}/redeliver"), 404, "delivery_not_found")
    other = await made(admin)
    elsewhere = f"{PATH}/{other['webhook_id']}/deliveries/{first['delivery_id']}"
    assert_problem(await admin.get(elsewhere), 404, "delivery_not_found")
    assert_problem(await admin.post(f"{elsewhere}/redeliver"), 404, "delivery_not_found")


async def test_a_test_event_goes_to_one_webhook_whatever_it_wants(
    admin: httpx.AsyncClient, hooks: Hooks, temporal: Client
) -> None:
    webhook = await made(admin, events=["request_created"])
    await made(admin)
    answer = await admin.post(f"{PATH}/{webhook['webhook_id']}/test")
    assert answer.status_code == 202
    sent = answer.json()
    assert (sent["event"], sent["webhook_id"]) == ("test", webhook["webhook_id"])
    assert sent["subject"] == {
        "tenant_id": hooks.tenant_id,
        "webhook_id": webhook["webhook_id"],
        "asked_by": "ada",
    }
    started = temporal.get_workflow_handle(workflow_id(hooks.tenant_id, sent["delivery_id"]))
    assert (await started.describe()).workflow_type == "WebhookDelivery"


async def test_a_tenant_has_only_so_many(admin: httpx.AsyncClient) -> None:
    for _ in range(MOST_WEBHOOKS):
        await made(admin)
    assert_problem(await admin.post(PATH, json={"url": URL}), 409, "webhooks_too_many")
    whole = (await admin.get(PATH, params={"limit": 100})).json()["items"]
    assert len(whole) == MOST_WEBHOOKS


@pytest.fixture(scope="module")
async def keyless(gateway_parts: GatewayContext, postgres: DatabaseUrls) -> AsyncIterator[Gateway]:
    """A gateway without a key, that may send to one place in the clear."""
    database = Database(postgres.app, pool_size=2)
    urls = DeploymentUrls(frozenset({"127.0.0.1:9999"}), development=True)
    async with serving(replace(gateway_parts, database=database, webhook_urls=urls)) as running:
        yield running
    await database.close()


async def test_without_a_key_no_secret_is_kept_and_the_error_says_what_to_do(keyless: Gateway, tenant: str) -> None:
    async with keyless.clients() as client_for:
        admin = client_for(tenant, "ada", ["admin"])
        problem = assert_problem(await admin.post(PATH, json={"url": URL}), 503, "encryption_key_missing")
        assert "TASKFORCE_ENCRYPTION_KEY" in problem["detail"]
        assert (await admin.get(PATH)).json()["items"] == []


async def test_in_development_an_allowed_place_may_be_told_in_the_clear(keyless: Gateway, tenant: str) -> None:
    async with keyless.clients() as client_for:
        admin = client_for(tenant, "ada", ["admin"])
        allowed = await admin.post(PATH, json={"url": "http://127.0.0.1:9999/hook"})
        assert_problem(allowed, 503, "encryption_key_missing")
        other = await admin.post(PATH, json={"url": "http://127.0.0.1:9998/hook"})
        assert_problem(other, 422, "webhook_url_invalid")
