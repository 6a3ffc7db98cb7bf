"""Who is asking."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from taskforce.application.identity.api_keys import NewKey, issue_key
from taskforce.application.identity.principals import REFRESH_AFTER, Actor, load_principal, resolve_principal
from taskforce.core.domain.errors import Forbidden
from taskforce.core.domain.identity.principals import Principal
from taskforce.core.domain.identity.users import UserRecord
from taskforce.core.interfaces.store import Records
from taskforce.infrastructure.persistence.sqlstates import StatementError
from tests.fixtures.locks import somebody_waits_for_a_lock
from tests.taskforce.application.scenario import CLAIMS_AGE, NOW, RULES, Stage


async def kept(stage: Stage, user_id: str = "alice") -> UserRecord:
    async with stage.database.tenant(stage.tenant_id) as records:
        user = await records.users.get(user_id)
    assert user is not None
    return user


async def test_a_user_and_its_tenant_are_made_at_first_sight(stage: Stage) -> None:
    seen = await stage.person("alice", "operator")
    assert await kept(stage) == seen
    assert (seen.granted_roles, seen.claimed_roles) == (frozenset(), frozenset({"operator"}))
    assert await stage.rows("tenants", "tenant_id") == [(stage.tenant_id,)]


async def test_many_first_sights_at_once_make_one_user(stage: Stage) -> None:
    seen = await asyncio.gather(*(stage.person("alice", "operator") for _ in range(15)))
    assert set(seen) == {await kept(stage)}


async def test_claims_are_refreshed_now_and_then(stage: Stage) -> None:
    await stage.person("alice", "operator")
    stage.now += REFRESH_AFTER - timedelta(seconds=1)
    await stage.person("alice", "operator")
    assert (await kept(stage)).claims_seen_at == NOW
    stage.now += timedelta(seconds=1)
    await stage.person("alice", "operator")
    assert (await kept(stage)).claims_seen_at == stage.now


async def test_changed_roles_count_at_once(stage: Stage) -> None:
    await stage.person("alice", "operator", "admin")
    stage.now += timedelta(seconds=1)
    await stage.person("alice", "viewer")
    assert (await kept(stage)).effective_roles(stage.now, CLAIMS_AGE) == {"viewer"}


async def test_an_older_token_does_not_bring_back_roles(stage: Stage) -> None:
    await stage.person("alice", "viewer")
    older = stage.identity("alice", "admin", issued_at=NOW - timedelta(minutes=1))
    await resolve_principal(stage.database, stage.database, older, RULES, NOW)
    assert (await kept(stage)).claimed_roles == {"viewer"}


async def test_a_deactivated_user_is_refused_whatever_its_token_says(stage: Stage) -> None:
    await stage.person("alice", "operator")
    await stage.deactivate("alice")
    for _ in range(2):
        stage.now += REFRESH_AFTER
        with pytest.raises(Forbidden) as refused:
            await stage.person("alice", "admin")
        assert refused.value.code == "user_deactivated"
    async with stage.database.tenant(stage.tenant_id) as records:
        for user_id in ("alice", "nobody"):
            with pytest.raises(Forbidden):
                await load_principal(records, user_id, RULES, stage.now)


async def test_what_an_administrator_does_meanwhile_is_not_undone(stage: Stage) -> None:
    """The token is being looked at while an administrator deactivates its bearer and grants a role."""
    await stage.person("alice", "operator")
    stage.now += REFRESH_AFTER
    async with stage.database.tenant(stage.tenant_id) as records:
        alice = await records.users.locked("alice")
        assert alice is not None
        looking = asyncio.create_task(stage.person("alice", "operator"))
        await somebody_waits_for_a_lock(stage.database, stage.tenant_id)
        await records.users.save(replace(alice, active=False, granted_roles=frozenset({"auditor"})), stage.now)
    with pytest.raises(Forbidden):
        await looking
    after = await kept(stage)
    assert (after.active, after.granted_roles, after.claims_seen_at) == (False, frozenset({"auditor"}), stage.now)


async def test_changed_attributes_count_at_once(stage: Stage) -> None:
    """A policy goes by them: whoever has just lost a clearance must not keep it for five minutes."""
    before = replace(stage.identity("alice", "viewer"), attributes={"clearance": "secret"})
    await resolve_principal(stage.database, stage.database, before, RULES, stage.now)
    stage.now += timedelta(seconds=1)
    later = replace(before, attributes={}, issued_at=stage.now)
    who = await resolve_principal(stage.database, stage.database, later, RULES, stage.now)
    assert dict(who.user.attributes) == {}
    # And an older token does not bring it back.
    who = await resolve_principal(stage.database, stage.database, before, RULES, stage.now)
    assert dict(who.user.attributes) == {}


async def test_whoever_is_not_admitted_is_known_all_the_same(stage: Stage) -> None:
    """At first sight and later."""

    async def nobody(records: Records, who: Principal) -> None:
        raise Forbidden("address_not_allowed", "No.")

    for _ in range(2):
        with pytest.raises(Forbidden) as refused:
            await resolve_principal(
                stage.database, stage.database, stage.identity("eve", "viewer"), RULES, stage.now, admit=nobody
            )
        assert refused.value.code == "address_not_allowed"
    assert (await stage.rows("users", "user_id")) == [("eve",)]


async def test_the_door_of_a_key_leads_to_its_tenant_and_no_further(stage: Stage) -> None:
    """The transaction that finds the key sees all keys until then, and from then on its tenant alone."""
    other = f"{stage.tenant_id}-b"
    await stage.database.register_tenant(other, stage.now)
    await stage.person("ada", "admin")
    async with stage.database.tenant(stage.tenant_id) as records:
        actor = Actor(await load_principal(records, "ada", RULES, stage.now), RULES, None, stage.now)
    issued = await issue_key(stage.database, actor, NewKey(None, "k", frozenset({"viewer"})))
    async with stage.database.with_key(issued.key.hash) as found:
        assert found is not None
        key, records = found
        assert (key, records.tenant_id) == (issued.key, stage.tenant_id)
        seen = await records.users._connection.all(sa.text("SELECT tenant_id FROM tenants"))
        assert [row.tenant_id for row in seen] == [stage.tenant_id]
        setting = sa.text("SELECT current_setting('app.platform') || current_setting('app.tenant_id')")
        assert await records.users._connection.value(setting) == stage.tenant_id

    async def write_elsewhere() -> None:
        async with stage.database.with_key(issued.key.hash) as found:
            assert found is not None
            foreign = sa.text("INSERT INTO sessions VALUES (:other, 's', 'ada', now())")
            await found[1].users._connection.change(foreign, {"other": other})

    with pytest.raises(StatementError, match="row-level security"):
        await write_elsewhere()
