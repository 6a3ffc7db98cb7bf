"""Who is told of an event, in one statement that costs nothing where nobody wants to be told."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from taskforce.application.events import announce
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.errors import Unavailable
from taskforce.core.domain.ids import is_id, new_id
from taskforce.core.domain.webhooks.delivery import Delivery
from taskforce.core.domain.webhooks.endpoint import EVENTS, FixedWebhook, Secrets, Webhook, WebhookFormat, new_secret
from taskforce.core.domain.webhooks.signatures import WebhookMessage
from taskforce.core.interfaces.due_rows import DueKind, DueRow
from taskforce.infrastructure.persistence.column_encryption import ColumnSealer
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.stack import MASTER_KEY, DatabaseUrls
from tests.fixtures.webhooks import Hooks
from tests.taskforce.infrastructure.persistence.factories import NASTY, NOW, SECOND, STORED

URL = "https://hooks.example.com/"


@pytest.fixture
def hooks(database: Database, tenant: str) -> Hooks:
    return Hooks(database, None, tenant, lambda: NOW)


async def rows(hooks: Hooks, query: str) -> Sequence[Any]:
    async with hooks.database.tenant(hooks.tenant_id) as records:
        return await records.users._connection.all(sa.text(query))


async def test_each_webhook_is_told_of_what_it_wants_as_the_rule_says(hooks: Hooks) -> None:
    made = [
        (await hooks.make(URL, events=events, definition_id=definition, enabled=enabled))[0]
        for events in (None, ("request_created",), ("request_created", "request_expired"))
        for definition in (None, "data-export")
        for enabled in (True, False)
    ]
    for event in EVENTS:
        for definition_id in (None, "data-export", "other"):
            before = {webhook.webhook_id: len(await hooks.deliveries(webhook)) for webhook in made}
            await hooks.announce(event, definition_id=definition_id)
            for webhook in made:
                told = len(await hooks.deliveries(webhook)) - before[webhook.webhook_id]
                assert told == webhook.wants(event, definition_id), (webhook, event, definition_id)


async def test_one_event_has_one_id_and_each_delivery_its_own(hooks: Hooks) -> None:
    first, _ = await hooks.make(URL)
    second, _ = await hooks.make(URL)
    await hooks.announce(subject={"text": NASTY})
    [one], [other] = await hooks.deliveries(first), await hooks.deliveries(second)
    assert one.what == other.what
    assert one.delivery_id != other.delivery_id
    assert is_id(one.delivery_id)
    assert one.what.subject == {"tenant_id": hooks.tenant_id, "text": STORED}
    assert (one.what.at, one.created_at, one.state.status) == (NOW, NOW, "queued")


async def test_it_is_written_with_what_else_waits_in_one_statement(hooks: Hooks) -> None:
    webhook, _ = await hooks.make(URL)
    async with hooks.database.tenant(hooks.tenant_id) as records:
        await announce(records, "request_created", {}, NOW)
        await records.audit.append(AuditEvent("alice", "x", "approval", "r", "allowed", NOW))
        assert [set(write.parts) for write in records.users._connection._later] == [{"announced"}, {"audited"}]
    assert len(await hooks.deliveries(webhook)) == 1


async def test_what_did_not_happen_is_told_to_nobody(hooks: Hooks) -> None:
    webhook, _ = await hooks.make(URL)

    async def fail() -> None:
        async with hooks.database.tenant(hooks.tenant_id) as records:
            await announce(records, "request_created", {}, NOW)
            await records.users.get("alice")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert await hooks.deliveries(webhook) == []


async def test_two_events_of_one_transaction_are_both_told(hooks: Hooks) -> None:
    webhook, _ = await hooks.make(URL)
    async with hooks.database.tenant(hooks.tenant_id) as records:
        await announce(records, "request_created", {}, NOW)
        await announce(records, "request_approved", {}, NOW + SECOND)
    assert [one.what.event for one in await hooks.deliveries(webhook)] == ["request_approved", "request_created"]


async def test_a_commit_that_may_have_queued_something_says_so(hooks: Hooks) -> None:
    await hooks.make(URL)
    hooks.database.queued.take()
    await hooks.make(URL)
    assert hooks.database.queued.take() == []
    await hooks.announce()
    await hooks.announce()
    assert hooks.database.queued.take() == [hooks.tenant_id]


async def test_a_secret_is_sealed_where_it_stands_and_opens_nowhere_else(hooks: Hooks) -> None:
    first, secret = await hooks.make(URL)
    second, _ = await hooks.make(URL)
    await hooks.rotate(first.webhook_id, Secrets(new_secret(), secret, NOW))
    for row in await rows(hooks, "SELECT secret, previous_secret FROM webhooks"):
        for sealed in filter(None, row):
            assert sealed.startswith(b"tfs1")
            assert b"whsec" not in sealed
    copied = "UPDATE webhooks SET secret = (SELECT secret FROM webhooks WHERE webhook_id = :a) WHERE webhook_id = :b"
    async with hooks.database.tenant(hooks.tenant_id) as records:
        await records.users._connection.change(sa.text(copied), {"a": first.webhook_id, "b": second.webhook_id})
        assert (await records.webhooks.secrets(first.webhook_id)).previous == secret
        with pytest.raises(Unavailable) as refused:
            await records.webhooks.target(second.webhook_id)
    assert refused.value.code == "encryption_key_wrong"


async def test_another_tenant_finds_nothing(hooks: Hooks, database: Database) -> None:
    webhook, _ = await hooks.make(URL)
    await hooks.announce()
    [delivery] = await hooks.deliveries(webhook)
    stranger = Hooks(database, None, f"{hooks.tenant_id}-other", lambda: NOW)
    await stranger.make(URL)
    assert await stranger.webhook(webhook.webhook_id) is None
    assert await stranger.deliveries(webhook) == []
    await stranger.announce()
    assert len(await hooks.deliveries(webhook)) == 1
    async with database.tenant(stranger.tenant_id) as records:
        assert await records.webhooks.target(webhook.webhook_id) is None
        assert await records.deliveries.get(delivery.delivery_id) is None
        assert not await records.webhooks.remove(webhook.webhook_id)
        assert await records.deliveries.stop_all(webhook.webhook_id, NOW) == 0


async def test_what_is_queued_is_claimed_with_its_event_and_what_has_begun_is_not(
    hooks: Hooks, database: Database
) -> None:
    webhook, _ = await hooks.make(URL)
    await hooks.announce()
    await hooks.announce()
    begun, waiting = await hooks.deliveries(webhook)
    async with database.tenant(hooks.tenant_id) as records:
        await records.deliveries.begin(begun.delivery_id)
        claimed = await records.due_rows.claim(DueKind.DELIVERY_START, NOW + SECOND, NOW + SECOND, 10)
        assert claimed == [DueRow(waiting.delivery_id, "request_approved", waiting.what.event_id)]


def fixed(event: str) -> FixedWebhook:
    webhook = Webhook(new_id(), URL, WebhookFormat.GUIDE, "profile", NOW, NOW, (event,))
    return FixedWebhook(webhook, Secrets("from-the-profile"))


async def test_the_deployments_own_webhooks_are_told_of_every_tenants_events_and_stored_nowhere(
    hooks: Hooks, postgres: DatabaseUrls
) -> None:
    mine, other = fixed("request_created"), fixed("request_expired")
    door = Database(
        postgres.app,
        pool_size=2,
        sealer=ColumnSealer(MASTER_KEY),
        fixed_webhooks={one.webhook.webhook_id: one for one in (mine, other)},
    )
    within = Hooks(door, None, hooks.tenant_id, lambda: NOW)
    own, _ = await within.make(URL)
    await within.announce("request_created")
    assert len(await within.deliveries(own)) == len(await within.deliveries(mine.webhook)) == 1
    assert await within.deliveries(other.webhook) == []
    async with door.tenant(hooks.tenant_id) as records:
        assert await records.webhooks.target(mine.webhook.webhook_id) == (mine.webhook, mine.secrets)
        assert await records.webhooks.get(mine.webhook.webhook_id) is None
    await door.close()
    async with hooks.database.tenant(hooks.tenant_id) as records:
        assert await records.webhooks.target(mine.webhook.webhook_id) is None


async def test_a_delivery_that_was_queued_by_itself_is_as_any_other(hooks: Hooks) -> None:
    webhook, _ = await hooks.make(URL)
    earlier = str(uuid4())
    delivery = Delivery(
        new_id(), webhook.webhook_id, WebhookMessage(str(uuid4()), "test", {"a": 1.5}, NOW), NOW, redelivery_of=earlier
    )
    async with hooks.database.tenant(hooks.tenant_id) as records:
        await records.deliveries.add(delivery)
    assert await hooks.delivery(delivery.delivery_id) == delivery
