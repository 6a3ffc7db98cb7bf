"""A token gives no more than it claims itself, whatever other tokens of the same user claim."""

from dataclasses import replace
from datetime import timedelta

import pytest

from taskforce.application.access.authorization import require_right
from taskforce.application.identity.api_keys import NewKey, issue_key
from taskforce.application.identity.principals import Actor, load_principal, refresh_principal, resolve_principal
from taskforce.application.identity.roles import RoleChange, create_role
from taskforce.application.identity.users import NewUser, create_user
from taskforce.application.runs.control import MessageDraft, send_message
from taskforce.application.runs.creation import create_run
from taskforce.core.domain.access.decisions import subject_of
from taskforce.core.domain.errors import Forbidden
from taskforce.core.domain.identity.principals import AccessRules, Principal
from taskforce.core.domain.identity.roles import permissions_of
from taskforce.core.interfaces.identity import Permission
from tests.taskforce.application.access.policy_shelf import Shelf
from tests.taskforce.application.scenario import NOW, RULES, Stage

VIEWER, OPERATOR = permissions_of({"viewer"}), permissions_of({"operator"})


async def signs_in(stage: Stage, *roles: str, minutes: int = 0, rules: AccessRules = RULES) -> Principal:
    """Alice, by a token that was issued so many minutes from the beginning."""
    claimed = stage.identity("alice", *roles, issued_at=NOW + timedelta(minutes=minutes))
    return await resolve_principal(stage.database, stage.database, claimed, rules, stage.now)


async def grant(stage: Stage, *roles: str, until: timedelta | None = None) -> None:
    async with stage.database.tenant(stage.tenant_id) as records:
        user = await records.users.locked("alice")
        assert user is not None
        for role in roles:
            user = user.given(role, None if until is None else stage.now + until, stage.now)
        await records.users.save(user, stage.now)


async def run_by(stage: Stage, who: Principal) -> str:
    mission = stage.mission(actor=stage.acting(claims=who.claims, key_id=who.key_id))
    return (await create_run(stage.database, mission)).run_id


async def rights_of(stage: Stage, run_id: str) -> frozenset[Permission]:
    async with stage.database.tenant(stage.tenant_id) as records:
        return (await stage.tool_call_policy.user(records, (await stage.run(run_id)).spec)).permissions


@pytest.mark.parametrize("minutes", [1, 0], ids=["a newer token", "one of the same second"])
async def test_a_token_does_not_act_by_what_another_claims(stage: Stage, minutes: int) -> None:
    await signs_in(stage, "viewer")
    assert (await signs_in(stage, "admin", minutes=minutes)).permissions == frozenset(Permission)

    viewer = await signs_in(stage, "viewer")
    assert viewer.permissions <= VIEWER
    assert "admin" not in viewer.roles
    if minutes:
        # An administrator is a viewer, too; so the token loses nothing.
        assert viewer.permissions == VIEWER
        assert viewer.is_narrowed


async def test_a_token_does_not_keep_what_a_newer_one_claims_no_more(stage: Stage) -> None:
    await signs_in(stage, "viewer", minutes=1)

    assert (await signs_in(stage, "admin")).permissions == VIEWER


async def test_what_was_granted_here_counts_whatever_a_token_claims(stage: Stage) -> None:
    await signs_in(stage, "viewer")
    await grant(stage, "auditor")
    await grant(stage, "operator", until=timedelta(hours=1))
    await signs_in(stage, "admin", minutes=1)

    viewer = await signs_in(stage, "viewer")
    assert viewer.permissions == permissions_of({"viewer", "auditor", "operator"})
    assert viewer.roles == {"auditor", "operator"}
    stage.now += timedelta(hours=2)
    assert (await signs_in(stage, "viewer")).permissions == permissions_of({"viewer", "auditor"})


async def test_a_role_of_the_tenants_own_is_cut_like_any_other(stage: Stage) -> None:
    await stage.person("ada", "admin")
    async with stage.database.tenant(stage.tenant_id) as records:
        ada = Actor(await load_principal(records, "ada", RULES, stage.now), RULES, None, stage.now)
    await create_role(stage.database, ada, "clerk", RoleChange(permissions={Permission.AUDIT_READ}))
    await signs_in(stage, "custom:clerk", "viewer")
    await signs_in(stage, "custom:clerk", "operator", minutes=1)

    assert (await signs_in(stage, "custom:clerk")).permissions == {Permission.AUDIT_READ}
    assert (await signs_in(stage)).permissions == frozenset()


async def test_the_default_role_is_of_a_token_that_claims_none(stage: Stage) -> None:
    rules = replace(RULES, default_role="viewer")
    await signs_in(stage, rules=rules)
    await signs_in(stage, "admin", minutes=1, rules=rules)

    assert (await signs_in(stage, rules=rules)).permissions == VIEWER
    assert (await signs_in(stage, "unheard-of", rules=rules)).permissions == VIEWER


async def test_what_lasts_stays_cut_when_it_is_looked_at_anew(stage: Stage) -> None:
    viewer = await signs_in(stage, "viewer")
    await signs_in(stage, "admin", minutes=1)

    still = await refresh_principal(stage.database, viewer, RULES, stage.now)
    assert still.permissions == VIEWER


async def test_a_run_acts_by_what_the_token_claimed_that_asked_for_it(stage: Stage) -> None:
    run_id = await run_by(stage, await signs_in(stage, "operator"))
    await signs_in(stage, "admin", minutes=1)

    assert await rights_of(stage, run_id) == OPERATOR
    await grant(stage, "auditor")
    assert await rights_of(stage, run_id) == OPERATOR | permissions_of({"auditor"})


async def test_a_run_loses_what_a_newer_token_claims_no_more(stage: Stage) -> None:
    run_id = await run_by(stage, await signs_in(stage, "admin"))
    await signs_in(stage, "viewer", minutes=1)

    assert await rights_of(stage, run_id) == VIEWER


async def test_a_run_of_before_this_was_kept_acts_for_its_user(stage: Stage) -> None:
    await signs_in(stage, "operator")
    run_id = (await create_run(stage.database, stage.mission())).run_id
    await signs_in(stage, "admin", minutes=1)

    assert (await stage.run(run_id)).spec.claimed_roles is None
    assert await rights_of(stage, run_id) == frozenset(Permission)


async def test_a_token_steers_no_run_that_may_more_than_it(stage: Stage) -> None:
    narrow = await run_by(stage, await signs_in(stage, "operator"))
    wide = await run_by(stage, await signs_in(stage, "admin", minutes=1))
    who = await signs_in(stage, "operator")
    draft, actor = MessageDraft("Pay."), Actor(who, RULES, None, stage.now)

    await send_message(stage.database, actor, await stage.run(narrow), draft)
    with pytest.raises(Forbidden) as refused:
        await send_message(stage.database, actor, await stage.run(wide), draft)
    assert refused.value.code == "run_may_more"
    assert "token" in refused.value.message


async def test_nothing_that_outlives_a_token_is_wider_than_it(stage: Stage) -> None:
    """Keys, people and roles that it makes; an administrator's token was seen since."""
    await stage.person("ada", "admin")
    await signs_in(stage, "viewer")
    await signs_in(stage, "admin", minutes=1)
    actor = Actor(await signs_in(stage, "viewer"), RULES, None, stage.now)

    with pytest.raises(Forbidden):
        await issue_key(stage.database, actor, NewKey(None, "k", frozenset({"admin"})))
    with pytest.raises(Forbidden):
        await create_user(stage.database, actor, NewUser("service", roles=frozenset({"viewer"})))
    with pytest.raises(Forbidden):
        await create_role(stage.database, actor, "mine", RoleChange(permissions={Permission.AUDIT_READ}))
    own = await issue_key(stage.database, actor, NewKey(None, "k", frozenset({"viewer"})))
    assert own.key.roles == {"viewer"}


RULE = {"actions": ["agent:execute"], "resources": [{"type": "agent", "ids": ["payroll"]}], "roles": ["auditor"]}


async def test_a_policy_gives_a_token_nothing_by_a_role_that_it_does_not_claim(stage: Stage) -> None:
    shelf = Shelf({stage.tenant_id: [{**RULE, "id": "share", "effect": "allow"}]})
    await signs_in(stage, "viewer")
    auditor = await signs_in(stage, "auditor", minutes=1)
    viewer = await signs_in(stage, "viewer")

    await require_right(shelf.engine(), subject_of(auditor), Permission.AGENT_EXECUTE, "payroll")
    with pytest.raises(Forbidden) as refused:
        await require_right(shelf.engine(), subject_of(viewer), Permission.AGENT_EXECUTE, "payroll")
    assert refused.value.code == "permission_denied"


async def test_a_token_does_not_leave_out_a_role_that_a_policy_denies(stage: Stage) -> None:
    shelf = Shelf({stage.tenant_id: [{**RULE, "id": "stop", "effect": "deny"}]})
    await signs_in(stage, "operator")
    await signs_in(stage, "operator", "auditor", minutes=1)

    operator = subject_of(await signs_in(stage, "operator"))
    with pytest.raises(Forbidden) as refused:
        await require_right(shelf.engine(), operator, Permission.AGENT_EXECUTE, "payroll")
    assert refused.value.code == "policy_denied"
