"""A role that somebody asked for is given once, by those who may hand it on at that moment."""

from dataclasses import replace
from datetime import timedelta

import pytest

from taskforce.application.approval_handlers import data_export, permission_escalation
from taskforce.application.approvals.decisions import DecisionAttempt
from taskforce.application.approvals.payload_schemas import schema_problems
from taskforce.application.approvals.requests import (
    ApprovalRequestSpec,
    RequestDraft,
    create_request,
    insert_request,
)
from taskforce.application.catalog.agents import Named, NewAgent, create_agent, remove_agent
from taskforce.application.identity import resource_roles
from taskforce.application.identity.api_keys import NewKey, issue_key
from taskforce.core.domain.approvals.approval import Channel
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.errors import Conflict, Invalid
from taskforce.core.domain.ids import new_id
from taskforce.core.interfaces.identity import Permission
from tests.taskforce.application.approval_handlers.requests import SAYS, approved, asked, carried_out
from tests.taskforce.application.identity.people import actor, admin, found, refusal, role
from tests.taskforce.application.scenario import Stage

HOUR = timedelta(hours=1)


async def why_not(stage: Stage, request_id: str) -> object:
    """The code with which carrying out is refused; it gives nobody anything."""
    refused = await carried_out(stage, request_id)
    assert refused.kind == "not_carried_out"
    assert ((user := await found(stage, "bob")).granted_roles, dict(user.lent_roles)) == (frozenset(), {})
    assert [one[1:] for one in await stage.audited("approval.carry_out")] == [("denied", refused.data["code"])]
    return refused.data["code"]


@pytest.mark.parametrize("schema", [permission_escalation.SCHEMA, data_export.SCHEMA])
def test_the_schemas_are_such_as_a_tenant_may_write(schema: dict[str, object]) -> None:
    assert schema_problems(schema) == ()


async def test_a_role_is_given_once_until_its_hours_are_over(stage: Stage) -> None:
    await admin(stage)
    request_id = await asked(stage, role="operator", hours=1.5)
    await approved(stage, request_id, "ada")
    stage.now += HOUR
    given_at = stage.now
    assert (await carried_out(stage, request_id)).kind == "carried_out"
    # The hours count from when it was given, and a second time gives no more of them.
    assert (await found(stage, "bob")).lent_roles == {"operator": given_at + 1.5 * HOUR}
    assert len(await stage.audited("user.change")) == 1
    assert len(await stage.audited("approval.carry_out")) == 1


async def test_a_role_of_the_tenants_own_is_named_by_its_slug_and_kept_for_good(stage: Stage) -> None:
    await admin(stage)
    name = await role(stage, "analyst", Permission.MEMORY_READ)
    request_id = await asked(stage, role="analyst")
    async with stage.database.tenant(stage.tenant_id) as records:
        request = await records.requests.get(request_id)
    assert request is not None
    assert request.payload == {"role": name}
    await approved(stage, request_id, "ada")
    assert (await carried_out(stage, request_id)).comment == f"bob was given {name}."
    assert (await found(stage, "bob")).granted_roles == {name}


async def test_what_is_held_for_longer_is_not_cut(stage: Stage) -> None:
    await admin(stage)
    told = []
    for hours in (5, 1):
        request_id = await asked(stage, role="operator", hours=hours)
        await approved(stage, request_id, "ada")
        told.append((await carried_out(stage, request_id)).comment)
    assert told[1] == "bob holds operator for at least as long already."
    (until,) = (await found(stage, "bob")).lent_roles.values()
    assert until > stage.now + 4 * HOUR


async def test_a_role_on_one_resource_is_given_with_its_end(stage: Stage) -> None:
    ada = await admin(stage)
    until = stage.now + 3 * HOUR
    on_a1 = {"resource_type": "agent", "resource_id": "a1", "until": until.isoformat()}
    for outcome in ("bob was given operator on agent a1 until", "bob holds operator on agent a1 for at least as long"):
        request_id = await asked(stage, role="operator", **on_a1)
        await approved(stage, request_id, "ada")
        assert (await carried_out(stage, request_id)).comment.startswith(outcome)
    (grant,) = await resource_roles.list_grants(stage.database, ada, "bob")
    assert (grant.role_id, grant.resource_id, grant.expires_at) == ("operator", "a1", until)
    assert len(await stage.audited("user.grant")) == 1


@pytest.mark.parametrize("approvers", [("ada", "vera"), ("vera", "ada")])
async def test_each_who_has_approved_must_hold_what_is_handed_on(stage: Stage, approvers: tuple[str, str]) -> None:
    await admin(stage)
    await stage.person("vera", "viewer")
    request_id = await asked(stage, role="operator")
    await approved(stage, request_id, *approvers)
    assert await why_not(stage, request_id) == "approver_holds_less"


async def test_an_approver_must_hold_it_when_it_is_carried_out(stage: Stage) -> None:
    await admin(stage)
    request_id = await asked(stage, role="operator")
    await approved(stage, request_id, "ada")
    await stage.deactivate("ada")
    assert await why_not(stage, request_id) == "approver_holds_less"


async def test_a_key_hands_on_no_more_than_it_holds_and_nothing_once_it_is_revoked(stage: Stage) -> None:
    ada = await admin(stage)
    for roles, revoked in (({"viewer"}, False), ({"admin"}, True)):
        key = (await issue_key(stage.database, ada, NewKey("ada", "ci", frozenset(roles)))).key
        request_id = await asked(stage, role="operator")
        await approved(stage, request_id, "ada", key_id=key.key_id)
        if revoked:
            async with stage.database.tenant(stage.tenant_id) as records:
                assert await records.keys.revoke(key.key_id, stage.now)
        refused = await carried_out(stage, request_id)
        assert (refused.kind, refused.data["code"]) == ("not_carried_out", "approver_holds_less")
    key = (await issue_key(stage.database, ada, NewKey("ada", "ci", frozenset({"admin"})))).key
    request_id = await asked(stage, role="operator")
    await approved(stage, request_id, "ada", key_id=key.key_id)
    assert (await carried_out(stage, request_id)).kind == "carried_out"


async def test_what_somebody_was_lent_they_hand_on_to_nobody(stage: Stage) -> None:
    """Else a role for an hour would make itself, or another's, last for good."""
    await admin(stage)
    for who in ("olga", "bob"):
        await stage.person(who, "viewer")
        async with stage.database.tenant(stage.tenant_id) as records:
            user = await records.users.locked(who)
            assert user is not None
            await records.users.save(replace(user, lent_roles={"admin": stage.now + HOUR}), stage.now)
        request_id = await asked(stage, role="operator")
        await approved(stage, request_id, who)
        assert (await carried_out(stage, request_id)).data["code"] == "approver_holds_less"
    assert (await found(stage, "bob")).granted_roles == frozenset()
    # What they hold for good besides is theirs to hand on.
    request_id = await asked(stage, role="viewer")
    await approved(stage, request_id, "olga")
    assert (await carried_out(stage, request_id)).kind == "carried_out"


async def test_a_role_that_gives_no_permission_is_a_name_that_one_must_hold(stage: Stage) -> None:
    await stage.person("olga", "operator")
    name = await role(stage, "approver")
    request_id = await asked(stage, role=name)
    await approved(stage, request_id, "olga")
    assert await why_not(stage, request_id) == "approver_holds_less"


async def test_a_word_in_somebodys_place_uses_the_right_of_who_was_away(stage: Stage) -> None:
    await admin(stage)
    await stage.person("vera", "viewer")
    request_id = await asked(stage, role="operator")
    await approved(stage, request_id, "vera", on_behalf_of="ada")
    assert (await carried_out(stage, request_id)).kind == "carried_out"


async def test_who_was_deactivated_meanwhile_is_given_nothing(stage: Stage) -> None:
    await admin(stage)
    request_id = await asked(stage, role="operator")
    await approved(stage, request_id, "ada")
    await stage.deactivate("bob")
    assert await why_not(stage, request_id) == "user_deactivated"


async def test_a_request_that_is_repeated_is_answered_as_the_first_though_it_could_not_be_made_any_more(
    stage: Stage,
) -> None:
    await admin(stage)
    await stage.person("bob", "viewer")
    payload = {"role": "operator", "until": (stage.now + HOUR).isoformat()}
    wish, body = RequestDraft("permission_escalation", "May I?", "", "none", "", payload), {"asked": "once"}
    first = await create_request(stage.database, await actor(stage, "bob"), wish, SAYS, key="a-key", body=body)
    stage.now += 2 * HOUR
    again = await create_request(stage.database, await actor(stage, "bob"), wish, SAYS, key="a-key", body=body)
    assert (again.request_id, again.replayed) == (first.request_id, True)
    with pytest.raises(Invalid) as other:
        await create_request(stage.database, await actor(stage, "bob"), wish, SAYS, key="a-key", body={"asked": "else"})
    assert other.value.code == "idempotency_key_reused"


async def test_what_is_approved_too_late_is_not_given(stage: Stage) -> None:
    await admin(stage)
    request_id = await asked(stage, role="operator", until=(stage.now + HOUR).isoformat())
    stage.now += HOUR
    await approved(stage, request_id, "ada")
    assert await why_not(stage, request_id) == "escalation_over"


async def test_a_role_that_is_gone_makes_the_request_void(stage: Stage) -> None:
    await admin(stage)
    name = await role(stage, "analyst", Permission.MEMORY_READ)
    request_id = await asked(stage, role=name)
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.roles.remove(name)
    attempt = stage.decisions.authorize(DecisionAttempt(stage.tenant_id, request_id, "ada", Channel.API))
    assert (await refusal(attempt)).code == "subject_changed"


async def test_what_is_not_approved_is_not_carried_out(stage: Stage) -> None:
    request_id = await asked(stage, role="operator")
    with pytest.raises(Conflict, match="Only what was approved"):
        await stage.execution.carry_out(stage.tenant_id, request_id)


@pytest.mark.parametrize("request_type", ["permission_escalation", "data_export"])
async def test_what_was_asked_for_before_payloads_were_checked_is_refused_by_code(
    stage: Stage, request_type: str
) -> None:
    await admin(stage)
    await stage.person("bob", "viewer")
    async with stage.database.tenant(stage.tenant_id) as records:
        old = ApprovalRequestSpec(request_type, "May I?", "", "none", "", {"what": "everything"}, Terms())
        request = await insert_request(records, await actor(stage, "bob"), old, new_id())
    await approved(stage, request.approval.request_id, "ada")
    assert await why_not(stage, request.approval.request_id) == "payload_invalid"


async def test_a_role_is_asked_for_on_what_is_there_and_given_while_it_is(stage: Stage) -> None:
    ada = await admin(stage)
    agent = (await create_agent(stage.database, ada, NewAgent("Counter", {"instructions": "Count."}))).agent_id
    wish = {"role": "operator", "resource_type": "agent"}
    error = await refusal(asked(stage, **wish, resource_id=new_id()))
    assert (error.code, error.details) == ("payload_invalid", {"problems": ["resource_id: there is no such resource."]})
    request_id = await asked(stage, **wish, resource_id=agent)
    await approved(stage, request_id, "ada")
    await remove_agent(stage.database, ada, Named(agent, None))
    assert await why_not(stage, request_id) == "subject_changed"
    assert await resource_roles.list_grants(stage.database, ada, "bob") == []
