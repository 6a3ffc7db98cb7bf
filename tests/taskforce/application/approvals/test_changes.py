"""Who lets others decide an open request, and that it happens once."""

from dataclasses import replace
from datetime import timedelta

import pytest

from taskforce.application.approvals.changes import ApprovalChanges
from taskforce.application.identity.api_keys import NewKey, issue_key
from taskforce.application.identity.roles import RoleChange, create_role
from taskforce.core.domain.approvals.approval import Approval
from taskforce.core.domain.approvals.changes import Change
from taskforce.core.domain.approvals.terms import Deciders
from taskforce.core.domain.errors import Forbidden
from taskforce.core.interfaces.identity import Permission
from tests.taskforce.application.approvals.deputies import actor, deputy
from tests.taskforce.application.approvals.requests import opened
from tests.taskforce.application.scenario import RULES, Stage


async def approval_of(stage: Stage, request_id: str) -> Approval:
    async with stage.database.tenant(stage.tenant_id) as records:
        request = await records.requests.get(request_id)
    assert request is not None
    return request.approval


async def test_a_change_that_is_recorded_again_is_the_same_change(stage: Stage) -> None:
    """The worker died before it could tell that the change is there: who made it may not make it any more."""
    _, request_id = await opened(stage)
    await stage.person("bob", "admin")
    await stage.person("dan", "agent_designer", "admin")
    changing = ApprovalChanges(stage.database, RULES)
    change = Change("bob", "reassign", stage.now, "yours", Deciders(people=("dan",)))
    await changing.record(stage.tenant_id, request_id, change)
    # By the time of the second attempt he decides nothing here, by rights either.
    await stage.deactivate("bob")
    await changing.record(stage.tenant_id, request_id, change)
    assert (await approval_of(stage, request_id)).who == Deciders(people=("dan",))
    assert len(await stage.audited("approval.reassign")) == 1


async def test_a_change_that_is_refused_is_told_to_nobody(stage: Stage) -> None:
    _, request_id = await opened(stage)
    await stage.person("victor", "viewer")
    await stage.person("bob", "admin")
    change = Change("victor", "reassign", stage.now, "", Deciders(people=("bob",)))
    with pytest.raises(Forbidden):
        await ApprovalChanges(stage.database, RULES).record(stage.tenant_id, request_id, change)
    assert await stage.audited("approval.reassign") == []
    assert [row[0] for row in await stage.rows("approval_happenings", "kind")] == ["created"]


@pytest.mark.parametrize("more", [(), (Permission.TOOL_EXECUTE,)])
async def test_who_manages_policies_lets_in_others_only_where_a_definition_could(
    stage: Stage, more: tuple[Permission, ...]
) -> None:
    """Else somebody who may not call tools would have a friend, or themselves, approve what calls them."""
    _, request_id = await opened(stage)
    await deputy(stage, *more)
    change = Change("dan", "reassign", stage.now + timedelta(seconds=1), "", Deciders(people=("dan",)))
    changing = ApprovalChanges(stage.database, RULES)
    if more:
        await changing.record(stage.tenant_id, request_id, change)
    else:
        with pytest.raises(Forbidden) as refused:
            await changing.record(stage.tenant_id, request_id, change)
        assert refused.value.code == "not_yours_to_change"
    assert ("dan" in (await approval_of(stage, request_id)).who.people) is bool(more)


async def test_whoever_is_lent_the_right_lets_in_nobody_who_could_not_decide_anyway(stage: Stage) -> None:
    _, request_id = await opened(stage)
    await stage.person("victor", "viewer")
    await stage.person("bob", "admin")
    await stage.person("sue", "viewer")
    async with stage.database.tenant(stage.tenant_id) as records:
        sue = await records.users.locked("sue")
        assert sue is not None
        await records.users.save(sue.given("admin", stage.now + timedelta(hours=1), stage.now), stage.now)
    changing = ApprovalChanges(stage.database, RULES)
    friend = Change("sue", "reassign", stage.now, "", Deciders(people=("victor",)))
    with pytest.raises(Forbidden) as refused:
        await changing.check(stage.tenant_id, request_id, friend)
    assert refused.value.code == "beyond_terms"
    await changing.check(stage.tenant_id, request_id, replace(friend, to=Deciders(people=("bob",))))


async def test_whoever_is_lent_the_right_takes_back_no_request_of_another_but_their_own(stage: Stage) -> None:
    """A withdrawal is final, and outlasts the loan."""
    _, request_id = await opened(stage)
    requester = (await approval_of(stage, request_id)).requester_id
    await stage.person("sue", "viewer")
    await stage.person("bob", "admin")
    async with stage.database.tenant(stage.tenant_id) as records:
        for name in ("sue", requester):
            user = await records.users.locked(name)
            assert user is not None
            await records.users.save(user.given("admin", stage.now + timedelta(hours=1), stage.now), stage.now)
    changing = ApprovalChanges(stage.database, RULES)
    with pytest.raises(Forbidden) as refused:
        await changing.check(stage.tenant_id, request_id, Change("sue", "withdraw", stage.now))
    assert refused.value.code == "not_yours_to_change"
    for name in (requester, "bob"):
        await changing.check(stage.tenant_id, request_id, Change(name, "withdraw", stage.now))


async def test_a_key_that_manages_policies_lets_in_others_only_where_it_could_itself(stage: Stage) -> None:
    """Its user holds what the key was cut from."""
    _, request_id = await opened(stage)
    dan = await deputy(stage, Permission.TOOL_EXECUTE)
    await create_role(stage.database, await actor(stage), "Writer", RoleChange(permissions={Permission.POLICY_MANAGE}))
    ada = await actor(stage)
    await update_user_roles(stage, "dan", "custom:deputy", "custom:writer")
    key = (await issue_key(stage.database, ada, NewKey("dan", "ci", frozenset({"custom:writer"})))).key
    change = Change(dan.principal.user.user_id, "reassign", stage.now, "", Deciders(people=("dan",)))
    changing = ApprovalChanges(stage.database, RULES)
    with pytest.raises(Forbidden) as refused:
        await changing.check(stage.tenant_id, request_id, replace(change, key_id=key.key_id))
    assert refused.value.code == "not_yours_to_change"
    await changing.check(stage.tenant_id, request_id, change)


async def update_user_roles(stage: Stage, user_id: str, *roles: str) -> None:
    async with stage.database.tenant(stage.tenant_id) as records:
        user = await records.users.locked(user_id)
        assert user is not None
        await records.users.save(replace(user, granted_roles=frozenset(roles)), stage.now)
