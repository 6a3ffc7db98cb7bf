"""People and the audit log."""

from dataclasses import replace

import sqlalchemy as sa

from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.identity.users import UserRecord
from taskforce.infrastructure.persistence.database import Database
from tests.taskforce.infrastructure.persistence.factories import NASTY, NOW, SECOND, STORED, settled

ALICE = UserRecord(
    tenant_id="set-by-each-test",
    user_id="alice",
    username="alice.j",
    email=None,
    granted_roles=frozenset({"admin", "custom:ünusual"}),
    claimed_roles=frozenset(),
    claims_seen_at=NOW,
    claims_issued_at=None,
)


async def test_a_user_comes_back_as_saved_and_saving_replaces(database: Database, tenant: str) -> None:
    await settled(database, tenant, "bob")
    alice = replace(ALICE, tenant_id=tenant)
    later = replace(alice, active=False, email="", claimed_roles=frozenset({"viewer"}), claims_issued_at=NOW)
    async with database.tenant(tenant) as records:
        for one in (alice, later):
            await records.users.save(one, NOW)
            assert await records.users.get("alice") == one
            assert await records.users.locked("alice") == one
        assert await records.users.get("Alice") is None
        bob = await records.users.get("bob")
    assert bob is not None
    assert bob.active


async def test_an_id_that_cannot_be_stored_names_nobody(database: Database, tenant: str) -> None:
    await settled(database, tenant, STORED)
    async with database.tenant(tenant) as records:
        assert await records.users.get(NASTY) is None
        assert await records.users.locked("\x00") is None
        assert await records.users.get("x" * 100_000) is None


async def test_names_are_kept_whatever_a_token_says(database: Database, tenant: str) -> None:
    await settled(database, tenant)
    async with database.tenant(tenant) as records:
        await records.users.save(UserRecord(tenant, "alice", NASTY, email=NASTY), NOW)
        alice = await records.users.get("alice")
    assert alice is not None
    assert (alice.username, alice.email) == (STORED, STORED)


async def test_a_tenant_is_registered_once(database: Database, tenant: str) -> None:
    await database.register_tenant(tenant, NOW)
    await database.register_tenant(tenant, NOW + SECOND)
    async with database.tenant(tenant) as records:
        rows = await records.users._connection.all(sa.text("SELECT tenant_id, status, created_at FROM tenants"))
        assert [tuple(row) for row in rows] == [(tenant, "active", NOW)]


async def test_the_audit_log_takes_whatever_is_claimed(database: Database, tenant: str) -> None:
    await settled(database, tenant)
    event = AuditEvent(
        actor_id=NASTY,
        action="tool.call",
        resource_type="tool",
        resource_id=NASTY,
        outcome="denied",
        at=NOW,
        reason=NASTY,
        on_behalf_of=NASTY,
        request_id=NASTY,
        details={"said": [NASTY]},
    )
    async with database.tenant(tenant) as records:
        await records.audit.append(event)
        await records.audit.append(replace(event, details=None, reason=None))
        rows = await records.users._connection.all(
            sa.text("SELECT actor_id, resource_id, reason, on_behalf_of, details FROM audit_events ORDER BY audit_id")
        )
        found = sorted((tuple(row) for row in rows), key=lambda row: row[2] is None)
    assert found[0] == (STORED, STORED, STORED, STORED, {"said": [STORED]})
    assert found[1][2:] == (None, STORED, {})
