"""From the API to a receiver and back into the log: a gateway, a worker, Temporal and a receiver, all real."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import httpx
import pytest
from temporalio.client import Client

from api.composition import GatewayContext
from taskforce.application.webhooks.dispatch import starting
from taskforce.infrastructure.net.guarded_http import GuardedHttp
from taskforce.infrastructure.net.webhook_urls import DeploymentUrls
from taskforce.infrastructure.persistence.database import Database
from tests.api.gateway import Gateway, serving
from tests.fixtures.missions import now
from tests.fixtures.stack import PROOF_KEY
from tests.fixtures.webhook_receivers import Receiver, check_guide, check_standard, receiving
from tests.fixtures.webhooks import Hooks
from worker import WorkerParts, build_worker
from workflows.client.client import WorkflowClient

PATH = "/api/v1/admin/webhooks"


@dataclass(frozen=True)
class Sending:
    gateway: Gateway
    receiver: Receiver


@pytest.fixture(scope="module")
async def sending(gateway_parts: GatewayContext, temporal: Client, parts: WorkerParts) -> AsyncIterator[Sending]:
    queue = f"sending-{uuid4().hex[:12]}"
    async with receiving() as receiver:
        allowed = frozenset({receiver.place})
        worker = build_worker(temporal, queue, replace(parts, http=GuardedHttp(allowed)))
        workflow_client, urls = WorkflowClient(temporal, queue, PROOF_KEY), DeploymentUrls(allowed, development=True)
        within = replace(gateway_parts, workflow_client=workflow_client, webhook_urls=urls, closing=asyncio.Event())
        database = gateway_parts.database
        async with (
            worker,
            serving(within) as gateway,
            starting(database, database.queued, workflow_client.deliveries.start, now),
        ):
            yield Sending(gateway, receiver)


@pytest.fixture
def receiver(sending: Sending) -> Receiver:
    sending.receiver.got.clear()
    sending.receiver.answer(200)
    return sending.receiver


@pytest.fixture
async def admin(sending: Sending, tenant: str) -> AsyncIterator[httpx.AsyncClient]:
    async with sending.gateway.clients() as client_for:
        yield client_for(tenant, "ada", ["admin"])


@pytest.fixture
def hooks(database: Database, tenant: str) -> Hooks:
    return Hooks(database, None, tenant)


async def made(admin: httpx.AsyncClient, **asked: object) -> dict[str, Any]:
    answer = await admin.post(PATH, json=asked)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_what_happens_is_told_logged_and_told_again_on_demand(
    admin: httpx.AsyncClient, hooks: Hooks, receiver: Receiver
) -> None:
    webhook = await made(admin, url=receiver.url(), events=["request_approved"])
    place = f"{PATH}/{webhook['webhook_id']}/deliveries"
    await hooks.announce("request_created")
    await hooks.announce("request_approved")
    await receiver.until(1)
    [first] = (await admin.get(place)).json()["items"]
    await hooks.ended(first["delivery_id"])
    logged = (await admin.get(f"{place}/{first['delivery_id']}")).json()
    assert (logged["status"], logged["event"]) == ("delivered", "request_approved")
    assert [(one["number"], one["http_status"], one["error"]) for one in logged["attempts"]] == [(1, 200, None)]

    again = (await admin.post(f"{place}/{first['delivery_id']}/redeliver")).json()
    sent, resent = await receiver.until(2)
    assert (sent.event_id, sent.body) == (resent.event_id, resent.body)
    assert sent.event_id == first["event_id"]
    for got in (sent, resent):
        check_standard(got, webhook["secret"], now().timestamp())
    assert (await hooks.ended(again["delivery_id"])).redelivery_of == first["delivery_id"]


async def test_a_test_event_says_at_once_whether_a_receiver_understands(
    admin: httpx.AsyncClient, hooks: Hooks, receiver: Receiver
) -> None:
    secret = "a-secret-of-my-own-0123456789"
    webhook = await made(admin, url=receiver.url(), format="guide", secret=secret)
    receiver.answer(401, body=b"who are you?")
    sent = await admin.post(f"{PATH}/{webhook['webhook_id']}/test")
    await hooks.ended(sent.json()["delivery_id"])
    logged = (await admin.get(sent.headers["location"])).json()
    assert (logged["status"], logged["event"]) == ("failed", "test")
    assert logged["attempts"][0]["error"] == "The receiver answered 401."
    assert logged["attempts"][0]["excerpt"] == "who are you?"
    [got] = receiver.got
    check_guide(got, secret)
    assert got.json()["event"] == "test"


async def test_after_a_rotation_over_http_either_secret_is_good_until_the_old_one_is_ended(
    admin: httpx.AsyncClient, receiver: Receiver
) -> None:
    webhook = await made(admin, url=receiver.url())
    place = f"{PATH}/{webhook['webhook_id']}"
    second = (await admin.post(f"{place}/rotate", json={})).json()["secret"]
    await admin.post(f"{place}/test")
    [got] = await receiver.until(1)
    for secret in (webhook["secret"], second):
        check_standard(got, secret, now().timestamp())
    third = (await admin.post(f"{place}/rotate", json={"keep_old_hours": 0})).json()["secret"]
    await admin.post(f"{place}/test")
    _, got = await receiver.until(2)
    check_standard(got, third, now().timestamp())
    assert len(got.headers["webhook-signature"].split(" ")) == 1
